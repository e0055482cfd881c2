"""Reading a table's live files from its manifests, and building the next snapshot from them.

Built on PyIceberg's manifest reader and writer, not on its Transaction: that one copies the whole metadata some
twenty times per append, retries refused appends blindly, and needs two snapshots to replace files.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
    ManifestWriter,
    read_manifest_list,
    write_manifest,
    write_manifest_list,
)
from pyiceberg.schema import Schema
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Operation, Snapshot, SnapshotSummaryCollector, Summary, update_snapshot_summaries

from headgate.errors import CommitConflict, FixInputError
from headgate.stores.iceberg.local_io import LocalIO, local_path

MERGE_AT = 50  # so many small manifests are rewritten as one
SMALL_ENTRIES = 2_000  # a manifest of so many files or more is left alone
UNUSED_S = 60.0  # after which a decoded manifest is let go
_COMPRESSION: Literal["deflate"] = "deflate"


class ManifestCache:
    """Decoded manifests by location. Manifests never change, so an entry can be stale but never wrong.

    What nobody has asked for in a while goes: a run that goes on writes some new manifests each second.
    """

    def __init__(self, entries: int = 100_000, keep_s: float = UNUSED_S) -> None:
        self._limit, self._keep_s = entries, keep_s
        self.held = 0
        self._manifests: OrderedDict[str, tuple[float, tuple[ManifestEntry, ...]]] = OrderedDict()
        self._lock = threading.Lock()

    def entries(self, io: LocalIO, manifest: ManifestFile) -> tuple[ManifestEntry, ...]:
        """The live entries of a manifest."""
        path = manifest.manifest_path
        with self._lock:
            if path in self._manifests:
                _, entries = self._manifests.pop(path)
                self._manifests[path] = time.monotonic(), entries
                return entries
        entries = tuple(manifest.fetch_manifest_entry(io, discard_deleted=True))
        with self._lock:
            if path not in self._manifests:
                self._manifests[path] = time.monotonic(), entries
                self.held += len(entries) + 1
            self._forget()
        return entries

    def _forget(self) -> None:
        """The oldest first, while they are too many or too old; never the newest."""
        while len(self._manifests) > 1:
            used, entries = next(iter(self._manifests.values()))
            if self.held <= self._limit and used >= time.monotonic() - self._keep_s:
                return
            self._manifests.popitem(last=False)
            self.held -= len(entries) + 1


def manifests_of(io: LocalIO, snapshot: Snapshot | None, table: str) -> list[ManifestFile]:
    """The manifests of a snapshot; FixInputError when it has delete files: Headgate never writes nor applies them."""
    if snapshot is None:
        return []
    manifests = list(read_manifest_list(io.new_input(snapshot.manifest_list)))
    if any(m.content != ManifestContent.DATA and (m.has_added_files() or m.has_existing_files()) for m in manifests):
        raise FixInputError(
            "the table has delete files that another writer left",
            where=table,
            hint="rewrite it without them (Spark: rewrite_data_files with delete-file-threshold 1), then run again",
        )
    return [
        m for m in manifests if m.content == ManifestContent.DATA and (m.has_added_files() or m.has_existing_files())
    ]


def live_entries(
    io: LocalIO, cache: ManifestCache, manifests: Iterable[ManifestFile], after_sequence: int = 0
) -> list[ManifestEntry]:
    """Live data files of commits after a sequence number, oldest commit first; older manifests are not read."""
    found = [
        entry
        for manifest in manifests
        if manifest.sequence_number > after_sequence or after_sequence <= 0
        for entry in cache.entries(io, manifest)
        if (entry.sequence_number or 0) > after_sequence or after_sequence <= 0
    ]
    return sorted(found, key=lambda e: e.sequence_number or 0)


def total_rows(snapshot: Snapshot | None, manifests: Sequence[ManifestFile]) -> int:
    """Rows of a snapshot, from metadata."""
    stated = snapshot.summary.get("total-records") if snapshot is not None and snapshot.summary else None
    if stated is not None:
        return int(stated)
    return sum((m.added_rows_count or 0) + (m.existing_rows_count or 0) for m in manifests)


@dataclass(frozen=True, slots=True)
class Rewrite:
    """The same rows in other files: `removed` paths, and the files that hold their rows now."""

    removed: frozenset[str]
    added: tuple[DataFile, ...]


@dataclass(slots=True)
class NextSnapshot:
    """The next snapshot of a table: files to add, files to take out, and what its summary shall say.

    With `rewrites` the snapshot holds the rows that its parent holds. A rewritten file keeps the sequence number of
    the newest file whose rows it took over, so that nobody takes old rows for new ones.
    """

    io: LocalIO
    cache: ManifestCache
    metadata: TableMetadata
    table: str
    added: Sequence[DataFile]
    removed: frozenset[str]
    properties: Mapping[str, str]
    rewrites: Sequence[Rewrite] = ()
    publication: str = ""
    snapshot_id: int = 0
    _token: str = field(init=False)
    _manifests_written: int = 0

    def __post_init__(self) -> None:
        # The publication's id in the name tells the upkeep whose file it is, should it be left behind.
        self._token = f"{self.publication or uuid.uuid4()}-{uuid.uuid4().hex[:8]}"

    def build(self) -> Snapshot:
        """Write manifests and their list; nothing points to them yet. CommitConflict when a file to remove is gone."""
        self.snapshot_id = self.metadata.new_snapshot_id()
        parent = self.metadata.current_snapshot()
        kept, rewritten, removed = self._take_out(manifests_of(self.io, parent, self.table))
        kept = self._merged(kept)
        manifests = self._added(removed) + rewritten + kept
        sequence = self.metadata.next_sequence_number()
        location = f"{self._folder()}/snap-{self.snapshot_id}-0-{self._token}.avro"
        with write_manifest_list(
            format_version=self.metadata.format_version,
            output_file=self.io.new_output(location),
            snapshot_id=self.snapshot_id,
            parent_snapshot_id=parent.snapshot_id if parent else None,
            sequence_number=sequence,
            avro_compression=_COMPRESSION,
        ) as writer:
            writer.add_manifests(manifests)
        return Snapshot.model_validate(
            {
                "snapshot-id": self.snapshot_id,
                "parent-snapshot-id": parent.snapshot_id if parent else None,
                "sequence-number": sequence,
                # A clock that was set back must not make history run backwards: readers refuse that.
                "timestamp-ms": max(time.time_ns() // 1_000_000, self.metadata.last_updated_ms),
                "manifest-list": location,
                "summary": self._summary([entry.data_file for entry in removed], parent),
                "schema-id": self.metadata.current_schema_id,
            }
        )

    def _folder(self) -> str:
        return f"{self.metadata.location.rstrip('/')}/metadata"

    def _writer(self, spec_id: int) -> ManifestWriter:
        location = f"{self._folder()}/{self._token}-m{self._manifests_written}.avro"
        self._manifests_written += 1
        return write_manifest(
            format_version=self.metadata.format_version,
            spec=self.metadata.specs()[spec_id],
            schema=self._schema(spec_id),
            output_file=self.io.new_output(location),
            snapshot_id=self.snapshot_id,
            avro_compression=_COMPRESSION,
        )

    def _schema(self, spec_id: int) -> Schema:
        """The newest schema that has all columns of a partitioning: the current one may lack some of an old one."""
        sources = {field.source_id for field in self.metadata.specs()[spec_id].fields}
        newest = (self.metadata.schema(), *sorted(self.metadata.schemas, key=lambda s: -s.schema_id))
        return next((s for s in newest if sources <= set(s._lazy_id_to_field)), newest[0])

    def _added(self, removed: Sequence[ManifestEntry]) -> list[ManifestFile]:
        numbers: dict[str, int | None] = {local_path(e.data_file.file_path): e.sequence_number for e in removed}
        files: list[tuple[DataFile, int | None]] = [(file, None) for file in self.added]
        for rewrite in self.rewrites:
            newest = max(numbers[path] or 0 for path in rewrite.removed)
            files += [(file, newest) for file in rewrite.added]
        if not files:
            return []
        with self._writer(self.metadata.default_spec_id) as writer:
            for file, sequence in files:
                entry = ManifestEntry.from_args(
                    status=ManifestEntryStatus.ADDED,
                    snapshot_id=self.snapshot_id,
                    sequence_number=sequence,
                    file_sequence_number=None,
                    data_file=file,
                )
                writer.add_entry(entry)
        return [writer.to_manifest_file()]

    def _take_out(
        self, manifests: list[ManifestFile]
    ) -> tuple[list[ManifestFile], list[ManifestFile], list[ManifestEntry]]:
        """Manifests untouched, manifests rewritten without the removed files, and the entries of those files."""
        wanted = self.removed.union(*(rewrite.removed for rewrite in self.rewrites))
        if not wanted:
            return manifests, [], []
        kept, rewritten, gone = [], [], []
        for manifest in manifests:
            entries = self.cache.entries(self.io, manifest)
            hits = [e for e in entries if local_path(e.data_file.file_path) in wanted]
            if not hits:
                kept.append(manifest)
                continue
            gone += hits
            with self._writer(manifest.partition_spec_id) as writer:
                for entry in entries:
                    writer_entry = _copy(
                        entry, self.snapshot_id, deleted=local_path(entry.data_file.file_path) in wanted
                    )
                    writer.add_entry(writer_entry)
            rewritten.append(writer.to_manifest_file())
        found = {local_path(entry.data_file.file_path) for entry in gone}
        if missing := sorted(wanted - found):
            raise CommitConflict(f"{len(missing)} files to replace are gone, first {missing[0]}", where=self.table)
        return kept, rewritten, gone

    def _merged(self, manifests: list[ManifestFile]) -> list[ManifestFile]:
        """Small manifests as one when there are many: a commit's cost must not grow with the number of commits."""
        groups: dict[int, list[ManifestFile]] = {}
        for manifest in manifests:
            if (manifest.added_files_count or 0) + (manifest.existing_files_count or 0) < SMALL_ENTRIES:
                groups.setdefault(manifest.partition_spec_id, []).append(manifest)
        merged: set[str] = set()
        out = []
        for spec_id, group in groups.items():
            if len(group) < MERGE_AT:
                continue
            with self._writer(spec_id) as writer:
                for manifest in group:
                    for entry in self.cache.entries(self.io, manifest):
                        writer.add_entry(_copy(entry, self.snapshot_id, deleted=False))
            out.append(writer.to_manifest_file())
            merged.update(m.manifest_path for m in group)
        return out + [m for m in manifests if m.manifest_path not in merged]

    def _summary(self, removed: list[DataFile], parent: Snapshot | None) -> Summary:
        collector = SnapshotSummaryCollector()
        specs = self.metadata.specs()
        added = [*self.added, *(file for rewrite in self.rewrites for file in rewrite.added)]
        for file in added:
            collector.add_file(file, self.metadata.schema(), specs[self.metadata.default_spec_id])
        for file in removed:
            collector.remove_file(file, self._schema(file.spec_id), specs[file.spec_id])
        operation = Operation.APPEND
        if removed:
            operation = Operation.OVERWRITE if added else Operation.DELETE
        summary = Summary(operation, **collector.build(), **self.properties)
        summary = update_snapshot_summaries(summary, parent.summary if parent else None)
        # PyIceberg does not count for `replace`, so it counts for `overwrite` and the name is changed after.
        return Summary(Operation.REPLACE, **summary.additional_properties) if self.rewrites else summary


def _copy(entry: ManifestEntry, snapshot_id: int, *, deleted: bool) -> ManifestEntry:
    return ManifestEntry.from_args(
        status=ManifestEntryStatus.DELETED if deleted else ManifestEntryStatus.EXISTING,
        snapshot_id=snapshot_id if deleted else entry.snapshot_id,
        sequence_number=entry.sequence_number,
        file_sequence_number=entry.file_sequence_number,
        data_file=entry.data_file,
    )


def check_data(entries: Iterable[ManifestEntry], table: str) -> None:
    """FixInputError unless all files are Parquet data files."""
    for entry in entries:
        if entry.data_file.content != DataFileContent.DATA or str(entry.data_file.file_format.value) != "PARQUET":
            raise FixInputError("the table has files that are not Parquet", where=table)

"""Reading a table's live files from its manifests, and building the next snapshot from them.

Built on PyIceberg's manifest reader and writer, not on its Transaction: that one copies the whole metadata some
twenty times per append, retries refused appends blindly, and needs two snapshots to replace files.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
)
from pyiceberg.schema import Schema
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Operation, Snapshot, SnapshotSummaryCollector, Summary, update_snapshot_summaries

from headgate.errors import CommitConflict, FixInputError
from headgate.stores.iceberg.local_io import LocalIO, local_path
from headgate.stores.iceberg.manifest_files import manifest_list_writer, manifest_writer
from headgate.stores.iceberg.manifests import ManifestCache, manifests_of

MERGE_AT = 50  # so many small manifests are rewritten as one
SMALL_ENTRIES = 2_000  # a manifest of so many files or more is left alone
_COMPRESSION: Literal["deflate"] = "deflate"


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
    _entries: dict[str, Sequence[ManifestEntry]] = field(default_factory=dict)  # of the manifests written

    def __post_init__(self) -> None:
        # The publication's id in the name tells the upkeep whose file it is, should it be left behind.
        self._token = f"{self.publication or uuid.uuid4()}-{uuid.uuid4().hex[:8]}"

    def build(self) -> Snapshot:
        """Write manifests and their list; nothing points to them yet. CommitConflict when a file to remove is gone."""
        self.snapshot_id = self.metadata.new_snapshot_id()
        parent = self.metadata.current_snapshot()
        kept, rewritten, removed = self._take_out(manifests_of(self.io, parent, self.table, self.cache))
        kept = self._merged(kept)
        manifests = self._added(removed) + rewritten + kept
        sequence = self.metadata.next_sequence_number()
        location = f"{self._folder()}/snap-{self.snapshot_id}-0-{self._token}.avro"
        with manifest_list_writer(
            self.metadata.format_version,
            self.io.new_output(location),
            self.snapshot_id,
            parent.snapshot_id if parent else None,
            sequence,
        ) as writer:
            manifests = [writer.prepare_manifest(m) if m.manifest_path in self._entries else m for m in manifests]
            writer.add_manifests(manifests)
        for manifest in manifests:
            if manifest.manifest_path in self._entries:
                self.cache.wrote(manifest, self._entries[manifest.manifest_path])
        self.cache.wrote_list(location, manifests)
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

    def _write(self, spec_id: int, entries: Sequence[ManifestEntry]) -> ManifestFile:
        """A new manifest of these entries."""
        location = f"{self._folder()}/{self._token}-m{self._manifests_written}.avro"
        self._manifests_written += 1
        with manifest_writer(
            self.metadata.format_version,
            self.metadata.specs()[spec_id],
            self._schema(spec_id),
            self.io.new_output(location),
            self.snapshot_id,
        ) as writer:
            for entry in entries:
                writer.add_entry(entry)
        self._entries[location] = entries
        return writer.to_manifest_file()

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
        entries = [
            ManifestEntry.from_args(
                status=ManifestEntryStatus.ADDED,
                snapshot_id=self.snapshot_id,
                sequence_number=sequence,
                file_sequence_number=None,
                data_file=file,
            )
            for file, sequence in files
        ]
        return [self._write(self.metadata.default_spec_id, entries)]

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
            copies = [
                _copy(entry, self.snapshot_id, deleted=local_path(entry.data_file.file_path) in wanted)
                for entry in entries
            ]
            rewritten.append(self._write(manifest.partition_spec_id, copies))
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
            entries = [e for manifest in group for e in self.cache.entries(self.io, manifest)]
            out.append(self._write(spec_id, [_copy(e, self.snapshot_id, deleted=False) for e in entries]))
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

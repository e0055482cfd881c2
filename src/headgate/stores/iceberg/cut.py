"""Several tables at one moment: all pointers in one SELECT, the immutable metadata behind them read after."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import pyarrow as pa
from pyiceberg.manifest import DataFile, ManifestEntry, ManifestFile
from pyiceberg.serializers import FromInputFile
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Snapshot

from headgate.errors import StoreUnavailable
from headgate.ports.batch import Position
from headgate.ports.store import FileInfo
from headgate.stores.iceberg.arrow_types import arrow_schema, duckdb_field_ids
from headgate.stores.iceberg.bounds import decode, python_value
from headgate.stores.iceberg.evolution import Followed
from headgate.stores.iceberg.expiry import steps
from headgate.stores.iceberg.local_io import LocalIO, local_path
from headgate.stores.iceberg.manifests import ManifestCache, manifests_of
from headgate.stores.iceberg.positions import PUBLICATION, VERSION, State, find, version_of
from headgate.stores.iceberg.snapshots import check_data, live_entries, total_rows

METADATA_KEPT = 64  # files of all tables together


class Storage:
    """Reads of the warehouse that every cut and publication of a lake shares."""

    def __init__(self, io: LocalIO) -> None:
        self.io = io
        self.durable = io.durable
        self.manifests = ManifestCache()
        self.followed = Followed()
        self._metadata: OrderedDict[str, TableMetadata] = OrderedDict()
        self._lock = threading.Lock()

    def metadata(self, location: str, table: str) -> TableMetadata:
        """A table's metadata file; StoreUnavailable when it has been cleaned away since its pointer was read.

        These files never change and a step asks for each several times, so the last ones are kept; nobody may change
        what this gives.
        """
        with self._lock:
            kept = self._metadata.get(location)
            if kept is not None:
                self._metadata.move_to_end(location)
        if kept is not None and os.path.exists(local_path(location)):
            return kept
        found = self._read(location, table)
        self.wrote(location, found)
        return found

    def wrote(self, location: str, metadata: TableMetadata) -> None:
        """Remember what stands in a metadata file."""
        with self._lock:
            self._metadata[location] = metadata
            if len(self._metadata) > METADATA_KEPT:
                self._metadata.popitem(last=False)

    def _read(self, location: str, table: str) -> TableMetadata:
        try:
            return FromInputFile.table_metadata(self.io.new_input(location))
        except FileNotFoundError as error:
            raise StoreUnavailable(
                f"the table's metadata file is gone: {location}",
                where=table,
                hint="it was read too long after the cut was taken, or the warehouse lost files",
            ) from error

    def older(self, location: str) -> TableMetadata | None:
        """An earlier metadata file, None when it is gone."""
        try:
            return FromInputFile.table_metadata(self.io.new_input(location))
        except FileNotFoundError:
            return None


class IcebergView:
    """One table as of one cut (ports.store.TableView). `metadata` and `location` are for this package."""

    def __init__(self, storage: Storage, name: str, location: str | None, metadata: TableMetadata) -> None:
        self._storage = storage
        self.name = name
        self.location = location
        self.metadata = metadata

    @cached_property
    def schema(self) -> pa.Schema:
        """The table's columns, their docs in the field metadata."""
        return arrow_schema(self.metadata.schema())

    @property
    def snapshot_id(self) -> int | None:
        """The current snapshot, None before the first."""
        return self.metadata.current_snapshot_id

    @property
    def version(self) -> int | None:
        """The snapshot that brought the present rows, None before the first; a rewrite of files makes no new one."""
        return version_of(self.metadata)

    @property
    def sort(self) -> Sequence[str]:
        """Columns that files are sorted by."""
        return [self.metadata.schema().find_field(f.source_id).name for f in self.metadata.sort_order().fields]

    @property
    def table_id(self) -> str:
        """The table's UUID."""
        return str(self.metadata.table_uuid)

    @property
    def properties(self) -> Mapping[str, str]:
        """The table's properties."""
        return self.metadata.properties

    @cached_property
    def _manifests(self) -> list[ManifestFile]:
        return self._listed(self.metadata.current_snapshot())

    def files(self, after_sequence: int = 0) -> Sequence[FileInfo]:
        """Live data files, oldest commit first; `upper` of a text column is a bound, perhaps longer than any value."""
        entries = live_entries(self._storage.io, self._storage.manifests, self._manifests, after_sequence)
        check_data(entries, self.name)
        kinds = {f.name: (f.field_id, f.field_type) for f in self.metadata.schema().fields}
        return [self._info(entry, kinds) for entry in entries]

    def _info(self, entry: ManifestEntry, kinds: Mapping[str, tuple[int, Any]]) -> FileInfo:
        file = entry.data_file
        return FileInfo(
            path=local_path(file.file_path),
            rows=file.record_count,
            size_bytes=file.file_size_in_bytes,
            sequence=entry.sequence_number or 0,
            lower=_Bounds(file.lower_bounds or {}, kinds),
            upper=_Bounds(file.upper_bounds or {}, kinds),
            partition=self._partition(file),
        )

    def _partition(self, file: DataFile) -> Mapping[str, Any]:
        spec = self.metadata.specs()[file.spec_id]
        schema = self.metadata.schema()
        found: dict[str, Any] = {}
        for number, field in enumerate(spec.fields):
            kind = field.transform.result_type(schema.find_type(field.source_id))
            found[field.name] = python_value(kind, file.partition[number])
        return found

    def rows(self) -> int:
        """Number of rows, from metadata."""
        snapshot = self.metadata.current_snapshot()
        if snapshot is None:
            return 0
        stated = snapshot.summary is not None and snapshot.summary.get("total-records") is not None
        return total_rows(snapshot, [] if stated else self._manifests)

    def snapshots(self) -> int:
        """Number of snapshots that the table remembers."""
        return len(self.metadata.snapshots)

    def publications(self) -> set[str]:
        """The publications that made the remembered snapshots."""
        summaries = (s.summary.additional_properties for s in self.metadata.snapshots if s.summary is not None)
        return {told[PUBLICATION] for told in summaries if PUBLICATION in told}

    def commits_since_rewrite(self) -> int:
        """Number of remembered snapshots since files were last rewritten."""
        count = 0
        for snapshot in sorted(self.metadata.snapshots, key=lambda s: s.sequence_number or 0, reverse=True):
            if snapshot.summary is not None and VERSION in snapshot.summary.additional_properties:
                break
            count += 1
        return count

    def commits(self) -> Iterator[tuple[int, Mapping[str, str]]]:
        """Sequence and facts of the current snapshot's ancestors of ours, the newest first, as far as they are kept."""
        by_id = {s.snapshot_id: s for s in self.metadata.snapshots}
        snapshot = self.metadata.current_snapshot()
        while snapshot is not None:
            told = snapshot.summary.additional_properties if snapshot.summary is not None else {}
            state = State.of_summary(told)
            if state is not None:
                yield snapshot.sequence_number or 0, state.facts
            parent = snapshot.parent_snapshot_id
            snapshot = by_id.get(parent) if parent is not None else None

    def _has_columns_of(self, snapshot: Snapshot) -> bool:
        schemas = {schema.schema_id: schema for schema in self.metadata.schemas}
        then = schemas.get(snapshot.schema_id) if snapshot.schema_id is not None else None
        return then is None or set(then._lazy_id_to_field) <= set(self.metadata.schema()._lazy_id_to_field)

    def changes(self, since_snapshot_id: int) -> tuple[Sequence[str], Sequence[str]] | None:
        """Paths added and removed since a snapshot; None when it has expired, when the present one does not descend
        from it, or when it had columns that are no more: its files cannot be read as this table's. Snapshots that
        only rewrote files are stepped over, unless rows have been taken from a file that one of them wrote."""
        by_id = {s.snapshot_id: s for s in self.metadata.snapshots}
        since, known = by_id.get(since_snapshot_id), steps(self.metadata)
        now = last = snapshot = self.metadata.current_snapshot()
        added, removed, taken, written = (set[str]() for _ in range(4))
        while snapshot is not None and snapshot.snapshot_id != since_snapshot_id:
            step = known.get(snapshot.snapshot_id)
            parent = None if step is None else by_id[step.ancestor]
            rewrite = snapshot.summary is not None and VERSION in snapshot.summary.additional_properties
            if parent is not None and rewrite and step is not None and step.direct:
                self._difference(snapshot, last, added, removed)
                self._difference(parent, snapshot, written, taken)
                last = parent
            snapshot = parent
        if since is None or snapshot is None or not self._has_columns_of(since):
            return None
        self._difference(since, last, added, removed)
        if removed & written:
            added, removed = set(), set()
            self._difference(since, now, added, removed)
        return sorted(added - removed), sorted(removed - added)

    def _difference(self, then: Snapshot, now: Snapshot | None, added: set[str], removed: set[str]) -> None:
        """Collect the paths that differ between two snapshots. Manifests that both share are not read."""
        before = {m.manifest_path: m for m in self._listed(then)}
        after = {m.manifest_path: m for m in self._listed(now)}
        old, new = (
            self._paths([m for path, m in mine.items() if path not in other])
            for mine, other in ((before, after), (after, before))
        )
        added |= new - old
        removed |= old - new

    def _listed(self, snapshot: Snapshot | None) -> list[ManifestFile]:
        return manifests_of(self._storage.io, snapshot, self.name, self._storage.manifests)

    def _paths(self, manifests: Sequence[ManifestFile]) -> set[str]:
        entries = live_entries(self._storage.io, self._storage.manifests, manifests, 0)
        return {local_path(entry.data_file.file_path) for entry in entries}

    @cached_property
    def state(self) -> State:
        """All positions and facts; raises PositionLost."""
        return find(self.metadata, self._storage.older, self.name)

    def position(self, stream: str) -> Position:
        """The position of a stream that feeds this table; see `positions`. Raises PositionLost."""
        return self.state.position(stream)

    def facts(self, name: str) -> str | None:
        """A named fact, found like a position. Raises PositionLost."""
        return self.state.facts.get(name)

    def field_ids(self) -> Mapping[str, Any]:
        """Field ids as DuckDB's COPY takes them."""
        return duckdb_field_ids(self.metadata.schema().fields)


class _Bounds(Mapping[str, Any]):
    """Column bounds of one file, decoded when they are asked for: most never are."""

    def __init__(self, bounds: Mapping[int, bytes], kinds: Mapping[str, tuple[int, Any]]) -> None:
        self._bounds, self._kinds = bounds, kinds

    def __getitem__(self, name: str) -> Any:
        number, kind = self._kinds[name]
        value = decode(kind, self._bounds[number])
        if value is None:
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._kinds if self.get(name) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


class IcebergCut:
    """Tables at the moment the cut was taken (ports.store.Cut)."""

    def __init__(self, storage: Storage, pointers: Mapping[str, str]) -> None:
        self._storage = storage
        self._pointers = pointers
        self._views: dict[str, IcebergView] = {}

    @classmethod
    def of(cls, storage: Storage, views: Mapping[str, IcebergView]) -> IcebergCut:
        """A cut of these views."""
        cut = cls(storage, {name: view.location or "" for name, view in views.items()})
        cut._views.update(views)
        return cut

    def table(self, name: str) -> IcebergView | None:
        """The table, None when it does not exist."""
        location = self._pointers.get(name)
        if location is None:
            return None
        if name not in self._views:
            self._views[name] = IcebergView(self._storage, name, location, self._storage.metadata(location, name))
        return self._views[name]

    def names(self) -> Sequence[str]:
        """All tables of the lake, `layer.table`, sorted."""
        return sorted(self._pointers)

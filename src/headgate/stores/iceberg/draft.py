"""One table's part of a publication: what shall change, staged on what the table is at the moment of the commit."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field, replace

from pyiceberg.manifest import DataFile
from pyiceberg.serializers import ToOutputFile
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType
from pyiceberg.table.update import (
    AddSnapshotUpdate,
    SetPropertiesUpdate,
    SetSnapshotRefUpdate,
    TableUpdate,
)

from headgate import crash
from headgate.errors import CommitConflict, DefectError
from headgate.stores.iceberg.cut import IcebergView, Storage
from headgate.stores.iceberg.evolution import without_lost_history
from headgate.stores.iceberg.expiry import expirable, forget
from headgate.stores.iceberg.local_io import LocalIO, local_path
from headgate.stores.iceberg.pointers import Swing
from headgate.stores.iceberg.positions import STATE, VERSION, Move, State, version_of
from headgate.stores.iceberg.snapshots import NextSnapshot, Rewrite
from headgate.stores.iceberg.updates import updated

EXPIRE_AT_ONCE = 5
Held = Callable[[TableMetadata], Collection[int]]  # the snapshots of a table that others still need
_VERSION = re.compile(r"(\d+)-[\w-]{36}(?:\.\w+)?\.metadata\.json")


@dataclass(frozen=True, slots=True)
class Staged:
    """A table whose next metadata file is written: the pointer's way there, and the metadata files that nobody
    needs once the pointer has moved.
    """

    swing: Swing
    outdated: tuple[str, ...]


@dataclass(slots=True)
class Draft:
    """What shall change in one table. `metadata` is what the table was, made or evolved as the publication wants it."""

    name: str
    location: str | None
    base: TableMetadata | None
    metadata: TableMetadata
    evolved: tuple[TableUpdate, ...] = ()
    added: list[DataFile] = field(default_factory=list)
    removed: set[str] = field(default_factory=set)
    cleared: bool = False
    rewrites: list[Rewrite] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    expired: set[int] = field(default_factory=set)
    expected: tuple[int | None] | None = None
    replaced: bool = False
    staged: int = 0

    @classmethod
    def of(cls, view: IcebergView) -> Draft:
        """Nothing changed yet."""
        return cls(view.name, view.location, view.metadata, view.metadata)

    @classmethod
    def created(cls, name: str, metadata: TableMetadata) -> Draft:
        """A table to be made."""
        metadata.properties[STATE] = State().dumps(None)
        return cls(name, None, None, metadata)

    def evolve(self, updates: tuple[TableUpdate, ...]) -> None:
        """Bring the table's layout further."""
        if self.base is not None:
            self.evolved += updates
        self.metadata = updated(self.metadata, updates)

    def replace(self, updates: tuple[TableUpdate, ...]) -> None:
        """Bring the table's layout anywhere and take every row, position and fact out; refused at the commit when
        the rows are not those that were seen."""
        self.evolve(updates)
        self.replaced = self.cleared = True
        self.expected = (version_of(self.metadata),)
        self.metadata = without_lost_history(self.metadata)

    def discard_folder(self) -> None:
        """Remove the folders of a table that was never made."""
        if self.base is None:
            folder = local_path(self.metadata.location)
            for path in (f"{folder}/data", f"{folder}/metadata", folder):
                with suppress(OSError):
                    os.rmdir(path)

    def stage(
        self, io: LocalIO, storage: Storage, location: str | None, publication: str, *, keep: int, held: Held
    ) -> Staged | None:
        """Write what the table's next version needs, on top of the metadata at `location`; None when nothing changes.

        Of more than `keep` snapshots the oldest go, but none that is `held`.

        Raises CommitConflict when the change is no longer possible, StalePosition when a position has moved,
        PositionLost when the table's positions cannot be known.
        """
        current = self._current(storage, location)
        state = State() if self.replaced else IcebergView(storage, self.name, location, current).state
        after = state
        for move in self.moves:
            after = after.moved(move, self.name)
        after = replace(after, facts={**after.facts, **self.facts})
        metadata = self.metadata if self.base is None else updated(current, self.evolved)
        if self.replaced:
            metadata = without_lost_history(metadata)
        removed = self._removed(storage, metadata)
        if self.added or removed or self.rewrites or self.replaced or after != state:
            updates = self._snapshot(
                io, storage, metadata, removed, after=after, publication=publication, keep=keep, held=held
            )
        elif gone := _still(metadata, self.expired):
            updates = forget(metadata, gone)
        elif self.base is None or self.evolved:
            updates = ()
        else:
            return None
        metadata = updated(metadata, updates, location)
        # The first try bears the publication's id; a later one is made under the catalog's lock, where no upkeep looks.
        token = publication if self.staged == 0 else uuid.uuid4()
        self.staged += 1
        target = f"{metadata.location.rstrip('/')}/metadata/{_version(location):05d}-{token}.metadata.json"
        ToOutputFile.table_metadata(metadata, io.new_output(target))
        storage.wrote(target, metadata)
        outdated = _outdated(current, metadata) if location else ()
        told = after.dumps(metadata.current_snapshot_id, version_of(metadata), str(metadata.table_uuid))
        swing = Swing(self.name, location, target, told)
        return Staged(swing, outdated)

    def _current(self, storage: Storage, location: str | None) -> TableMetadata:
        """The table's metadata now; CommitConflict when it is not the table that the change was made for."""
        if self.base is None:
            if location is not None:
                raise CommitConflict("another process made the table first", where=self.name)
            return self.metadata
        if location is None:
            raise CommitConflict("the table was dropped", where=self.name)
        current = self.base if location == self.location else storage.metadata(location, self.name)
        same = (
            current.table_uuid == self.base.table_uuid
            and current.current_schema_id == self.base.current_schema_id
            and current.default_spec_id == self.base.default_spec_id
        )
        if not same:
            raise CommitConflict("another process changed the table's layout", where=self.name)
        if self.expected is not None and version_of(current) != self.expected[0]:
            raise CommitConflict("another process changed the table's rows", where=self.name)
        return current

    def _snapshot(
        self,
        io: LocalIO,
        storage: Storage,
        metadata: TableMetadata,
        removed: frozenset[str],
        *,
        after: State,
        publication: str,
        keep: int,
        held: Held,
    ) -> tuple[TableUpdate, ...]:
        properties = after.summary(publication)
        version = None
        if self.rewrites:
            if self.added or removed:
                raise DefectError("a publication either rewrites a table's files or changes its rows", where=self.name)
            version = version_of(metadata)
            properties[VERSION] = str(version)
        snapshot = NextSnapshot(
            io=io,
            cache=storage.manifests,
            metadata=metadata,
            table=self.name,
            added=self.added,
            removed=removed,
            properties=properties,
            rewrites=self.rewrites,
            publication=publication,
        ).build()
        crash.point("lake: manifests written")
        updates: list[TableUpdate] = [
            AddSnapshotUpdate(snapshot=snapshot),
            SetSnapshotRefUpdate.model_validate(
                {"ref-name": MAIN_BRANCH, "type": SnapshotRefType.BRANCH, "snapshot-id": snapshot.snapshot_id}
            ),
            SetPropertiesUpdate(updates={STATE: after.dumps(snapshot.snapshot_id, version)}),
        ]
        # The snapshot being made carries all positions and facts, so any older one may go: a few at a time.
        if len(metadata.snapshots) >= keep and (old := expirable(metadata, keep - 1, held(metadata))[:EXPIRE_AT_ONCE]):
            updates += forget(metadata, old)
        return tuple(updates)

    def _removed(self, storage: Storage, metadata: TableMetadata) -> frozenset[str]:
        if not self.cleared:
            return frozenset(self.removed)
        view = IcebergView(storage, self.name, None, metadata)
        return frozenset(info.path for info in view.files())


def _still(metadata: TableMetadata, wanted: Collection[int]) -> list[int]:
    """Those of the snapshots to expire that still are there and may go."""
    if not wanted:
        return []
    free = set(expirable(metadata, 0))
    return [number for number in sorted(wanted) if number in free]


def _version(location: str | None) -> int:
    """The number of the metadata file after the one at `location`."""
    if location is None:
        return 0
    found = _VERSION.fullmatch(location.rpartition("/")[2])
    return int(found[1]) + 1 if found else 0


def _outdated(before: TableMetadata, after: TableMetadata) -> tuple[str, ...]:
    if before.properties.get("write.metadata.delete-after-commit.enabled", "false").lower() != "true":
        return ()
    kept = {entry.metadata_file for entry in after.metadata_log}
    return tuple(local_path(e.metadata_file) for e in before.metadata_log if e.metadata_file not in kept)

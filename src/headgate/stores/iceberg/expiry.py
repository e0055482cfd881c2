"""Which snapshots may go, and what is remembered of those that went: who descends from whom.

A target that was served last from an old snapshot gets only what changed since, as long as that snapshot is kept and
known to be an ancestor. Those between may expire: a *bridge*, a table property, says from which kept ancestor a
snapshot descends whose parents are gone, and when that ancestor stopped being the current one.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update import RemovePropertiesUpdate, RemoveSnapshotsUpdate, SetPropertiesUpdate, TableUpdate

from headgate.errors import FixInputError
from headgate.ports.store import Expiry
from headgate.stores.iceberg.positions import carriers

BRIDGES = "headgate.bridges"
MAX_AGE = "history.expire.max-snapshot-age-ms"
LEAST = "history.expire.min-snapshots-to-keep"


@dataclass(frozen=True, slots=True)
class Step:
    """From a snapshot to a kept ancestor, and when (ms since 1970) that one stopped being current. `direct`: it is
    the parent."""

    ancestor: int
    ended_ms: int
    direct: bool


def steps(metadata: TableMetadata) -> dict[int, Step]:
    """From each snapshot to the nearest kept ancestor, where it is known."""
    found = {}
    kept = {s.snapshot_id for s in metadata.snapshots}
    for child, (ancestor, ended) in json.loads(metadata.properties.get(BRIDGES) or "{}").items():
        if ancestor in kept:
            found[int(child)] = Step(ancestor, ended, direct=False)
    for snapshot in metadata.snapshots:
        parent = snapshot.parent_snapshot_id
        if parent is not None and parent in kept:
            found[snapshot.snapshot_id] = Step(parent, snapshot.timestamp_ms, direct=True)
    return found


def _lineage(snapshot_id: int | None, known: Mapping[int, Step]) -> Iterator[Step]:
    """The steps from a snapshot back to its oldest kept ancestor."""
    while snapshot_id is not None and (step := known.get(snapshot_id)) is not None:
        yield step
        snapshot_id = step.ancestor


def forget(metadata: TableMetadata, gone: Collection[int]) -> tuple[TableUpdate, ...]:
    """The updates that take snapshots out and bridge the gaps."""
    wanted: dict[str, list[int]] = {}
    known, lost = steps(metadata), set(gone)
    for child, first in known.items():
        near = next((step for step in _lineage(child, known) if step.ancestor not in lost), None)
        if child not in lost and near is not None and not (near is first and first.direct):
            wanted[str(child)] = [near.ancestor, near.ended_ms]
    updates: list[TableUpdate] = [RemoveSnapshotsUpdate.model_validate({"snapshot-ids": list(gone)})]
    text = json.dumps(wanted, sort_keys=True, separators=(",", ":"))
    if wanted and text != metadata.properties.get(BRIDGES):
        updates.append(SetPropertiesUpdate(updates={BRIDGES: text}))
    elif not wanted and BRIDGES in metadata.properties:
        updates.append(RemovePropertiesUpdate(removals=[BRIDGES]))
    return tuple(updates)


def ended_ms(metadata: TableMetadata) -> dict[int, int]:
    """The kept ancestors of the current snapshot, and when (ms since 1970) each stopped being the current one."""
    return {step.ancestor: step.ended_ms for step in _lineage(metadata.current_snapshot_id, steps(metadata))}


def expirable(metadata: TableMetadata, keep: int, spared: Collection[int] = ()) -> list[int]:
    """The oldest snapshots beyond those to keep, oldest first: none that is spared, that a branch or tag names, or
    without which the table's positions could not be found."""
    oldest = _free(metadata, spared)
    return [s.snapshot_id for s in oldest[: max(len(metadata.snapshots) - keep, 0)]]


def _free(metadata: TableMetadata, spared: Collection[int]) -> list[Snapshot]:
    """The snapshots that may go at all, oldest first."""
    bound = {*spared, metadata.current_snapshot_id, *carriers(metadata)}
    bound |= {ref.snapshot_id for ref in metadata.refs.values()}
    oldest = sorted(metadata.snapshots, key=lambda s: s.sequence_number or 0)
    return [s for s in oldest if s.snapshot_id not in bound]


def past(metadata: TableMetadata, wanted: Expiry, now_ms: float, spared: Collection[int] = ()) -> list[int]:
    """The snapshots to forget, oldest first: those beyond the number, or the age, that history may have."""
    least, age_ms = _limits(metadata, wanted)
    count = len(metadata.snapshots)
    chosen = []
    for snapshot in _free(metadata, spared):
        too_many = wanted.by_count and count > max(wanted.snapshots, least)
        too_old = age_ms is not None and count > least and snapshot.timestamp_ms < now_ms - age_ms
        if too_many or too_old:
            chosen.append(snapshot.snapshot_id)
            count -= 1
    return chosen


def _limits(metadata: TableMetadata, wanted: Expiry) -> tuple[int, float | None]:
    """How many snapshots stay whatever their age, and the age. What was asked for now counts before the table's
    properties, these before the project's settings."""
    least = _number(metadata.properties, LEAST)
    age_ms = _number(metadata.properties, MAX_AGE)
    asked = None if wanted.age_s is None else wanted.age_s * 1000
    if age_ms is None or not wanted.by_count:
        return least or wanted.least, asked
    return least or wanted.least, age_ms


def _number(properties: Mapping[str, Any], name: str) -> int | None:
    text = properties.get(name)
    if text is None:
        return None
    if not str(text).isdecimal():
        raise FixInputError(f"the table's property {name} is {text!r}", hint="give a whole number", stage="maintain")
    return int(text)

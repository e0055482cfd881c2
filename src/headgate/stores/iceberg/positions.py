"""Positions and facts: written into each snapshot that a publication makes, found again by walking the ancestry.

Each snapshot of ours carries *all* positions and facts of its table in its summary, so the newest ancestor of ours
says everything: a rollback rewinds them together with the rows, and snapshots of others (a compaction, a hand-made
append) are walked over. Older snapshots may expire, because the newer one carries all again.

When expiry has cut the ancestry before a snapshot of ours is met, two witnesses are asked. Older metadata
files still tell what the parents were and what they carried. The table property STATE holds the newest positions
together with the snapshot that they belong to; it does not follow a rollback, so it counts only when the cut
snapshot names that very snapshot as its parent. With neither, the position is lost for certain knowledge: PositionLost.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from headgate.errors import PositionLost, StalePosition
from headgate.ports.batch import Position

PUBLICATION = "headgate.publication"
POSITION = "headgate.position."
FACT = "headgate.fact."
STATE = "headgate.state"
VERSION = "headgate.version"  # of a snapshot that only rewrote files: the snapshot that brought its rows


@dataclass(frozen=True, slots=True)
class Move:
    """A stream's step from `start` to `end`, on the partitions that `end` names."""

    stream: str
    start: Position
    end: Position


@dataclass(frozen=True, slots=True)
class State:
    """All positions and facts of a table at one snapshot."""

    positions: Mapping[str, Position] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)

    def position(self, stream: str) -> Position:
        """Where the stream stands; the start when it has never moved."""
        return self.positions.get(stream) or Position.start()

    def moved(self, move: Move, table: str) -> State:
        """The state after the move; StalePosition unless it is at the start on the partitions that the end names."""
        here = self.position(move.stream)
        for partition in move.end.tokens:
            if here.tokens.get(partition) != move.start.tokens.get(partition):
                raise StalePosition(
                    f"the position of {move.stream!r} at {partition!r} is no longer where these rows start",
                    where=table,
                    hint="another run moved it; run again and it continues from there",
                )
        return replace(self, positions={**self.positions, move.stream: here.advanced(move.end)})

    def summary(self, publication: str) -> dict[str, str]:
        """The state as properties of a snapshot."""
        return {
            PUBLICATION: publication,
            **{POSITION + stream: position.dumps() for stream, position in self.positions.items()},
            **{FACT + name: value for name, value in self.facts.items()},
        }

    def dumps(self, snapshot_id: int | None, version: int | None = None, table: str | None = None) -> str:
        """The state as JSON, with the snapshot that it belongs to, the version of the rows (see `version_of`), and the
        table's UUID where that is wanted."""
        return json.dumps(
            {
                **({"table": table} if table else {}),
                "snapshot": snapshot_id,
                "version": snapshot_id if version is None else version,
                "positions": {stream: dict(p.tokens) for stream, p in self.positions.items()},
                "facts": dict(self.facts),
            },
            sort_keys=True,
            separators=(",", ":"),
        )

    @classmethod
    def loads(cls, text: str) -> tuple[State, int | None]:
        """The state and its snapshot from `dumps`."""
        document = json.loads(text)
        positions = {stream: Position(tokens) for stream, tokens in document["positions"].items()}
        return cls(positions, document["facts"]), document["snapshot"]

    @classmethod
    def of_summary(cls, summary: Mapping[str, str]) -> State | None:
        """The state that a snapshot carries, None when it is not one of ours."""
        if PUBLICATION not in summary:
            return None
        cut = len(POSITION)
        return cls(
            {k[cut:]: Position.loads(v) for k, v in summary.items() if k.startswith(POSITION)},
            {k[len(FACT) :]: v for k, v in summary.items() if k.startswith(FACT)},
        )


def version_of(metadata: Any) -> int | None:
    """The snapshot that brought the present rows: the current one, unless that only rewrote files."""
    snapshot = metadata.current_snapshot()
    if snapshot is None:
        return None
    return int(_summary(snapshot).get(VERSION) or snapshot.snapshot_id)


def _summary(snapshot: Any) -> Mapping[str, str]:
    return snapshot.summary.additional_properties if snapshot.summary else {}


def _walk(metadata: Any, snapshot_id: int | None) -> tuple[State | None, Any]:
    """The state of the newest ancestor of ours, and the last snapshot met."""
    last = None
    by_id = {s.snapshot_id: s for s in metadata.snapshots}
    while snapshot_id is not None and (snapshot := by_id.get(snapshot_id)) is not None:
        state = State.of_summary(_summary(snapshot))
        if state is not None:
            return state, snapshot
        last, snapshot_id = snapshot, snapshot.parent_snapshot_id
    return None, last


def carriers(metadata: Any) -> list[int]:
    """The snapshots from the current one back to the newest that carries positions and facts."""
    found = []
    by_id = {s.snapshot_id: s for s in metadata.snapshots}
    snapshot_id = metadata.current_snapshot_id
    while snapshot_id is not None and (snapshot := by_id.get(snapshot_id)) is not None:
        found.append(snapshot_id)
        if State.of_summary(_summary(snapshot)) is not None:
            break
        snapshot_id = snapshot.parent_snapshot_id
    return found


def find(metadata: Any, older: Callable[[str], Any | None], table: str) -> State:
    """The state at a table's current snapshot.

    `older` loads an earlier metadata file by its location, None when it is gone. Raises PositionLost when the
    table's history has been cut so that the state cannot be known.
    """
    state, last = _walk(metadata, metadata.current_snapshot_id)
    if state is not None:
        return state
    text = metadata.properties.get(STATE)
    kept, owner = State.loads(text) if text else (State(), None)
    if text and owner is None:
        return State()  # no publication of ours has ever carried anything
    if last is None:
        if text is None and not metadata.snapshots:
            return State()
        raise _lost(table, "the table has no current snapshot")
    if last.parent_snapshot_id is None and (last.sequence_number or 0) == 1:
        return State()  # the table's very first snapshot: what is current is older than all of ours
    if owner is not None and last.parent_snapshot_id == owner:
        return kept
    for entry in reversed(metadata.metadata_log):
        before = older(entry.metadata_file)
        if before is None:
            break
        if all(s.snapshot_id != last.snapshot_id for s in before.snapshots):
            break  # older than the snapshot whose parents we look for
        state, last = _walk(before, last.snapshot_id)
        if state is not None:
            return state
        if last.parent_snapshot_id is None and (last.sequence_number or 0) == 1:
            return State()
    raise _lost(table, "snapshots were expired beyond the last one of ours")


def _lost(table: str, reason: str) -> PositionLost:
    return PositionLost(
        f"positions cannot be found: {reason}",
        where=table,
        hint=f"roll the table back to a snapshot that carries headgate.publication; or: {way_on(table)}",
    )


def way_on(table: str) -> str:
    """What somebody does whose table cannot go on from what it holds."""
    layer, _, name = table.partition(".")
    if layer == "bronze":
        return (
            "bronze keeps what came and is never rewritten: give the dataset another name in the contract "
            f"({name}_v2, with physicalName for the source's), to be read anew into tables of its own; {table} stays"
        )
    node = table if layer == "gold" else f"silver.{name}"
    return f"headgate run {node}+ --full-refresh rebuilds it; headgate plan says what changed"

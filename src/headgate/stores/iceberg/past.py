"""A table's past: why each of its snapshots exists, and all tables as they were at a moment."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Snapshot

from headgate.errors import FixInputError
from headgate.stores.iceberg.cut import IcebergCut, IcebergView, Storage
from headgate.stores.iceberg.pointers import Line, Pointers
from headgate.stores.iceberg.positions import PUBLICATION, VERSION

_RUN = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")
_COUNTS = {
    "rows_added": "added-records",
    "rows_removed": "deleted-records",
    "files_added": "added-data-files",
    "files_removed": "deleted-data-files",
    "bytes_added": "added-files-size",
    "bytes_removed": "removed-files-size",
    "rows": "total-records",
    "files": "total-data-files",
    "bytes": "total-files-size",
}


def history(storage: Storage, pointers: Pointers, table: str, limit: int) -> list[dict[str, Any]]:
    """See ports.store.Remembers."""
    location = pointers.read().get(table)
    if location is None:
        raise FixInputError("no such table", where=table, hint="headgate status lists the tables")
    metadata = storage.metadata(location, table)
    snapshots = {_publication(s) or f"snapshot {s.snapshot_id}": s for s in metadata.snapshots}
    found = [_told(line, snapshots.pop(line.id, None), metadata) for line in pointers.lines(table)]
    foreign = [_told(None, snapshot, metadata) for snapshot in snapshots.values()]
    return sorted([*found, *foreign], key=lambda one: str(one["at"]), reverse=True)[:limit]


def _told(line: Line | None, snapshot: Snapshot | None, metadata: TableMetadata) -> dict[str, Any]:
    told: dict[str, Any] = {"at": line.at if line else None, "step": line.step if line else "another tool"}
    told["publication"] = line.id if line else None
    told["snapshot"] = None
    told["record"] = line.record if line else {}
    if snapshot is None:
        return told
    summary = snapshot.summary.additional_properties if snapshot.summary else {}
    told["at"] = told["at"] or _instant(snapshot)
    told["snapshot"] = snapshot.snapshot_id
    told["current"] = snapshot.snapshot_id == metadata.current_snapshot_id
    told["operation"] = str(snapshot.summary.operation.value) if snapshot.summary else None
    told["same_rows_as"] = int(summary[VERSION]) if VERSION in summary else None
    if line is None:
        told["record"] = {k: v for k, v in summary.items() if k in ("engine-name", "engine-version", "spark.app.id")}
    return told | {name: int(summary[key]) for name, key in _COUNTS.items() if key in summary}


def _publication(snapshot: Snapshot) -> str | None:
    return snapshot.summary.additional_properties.get(PUBLICATION) if snapshot.summary else None


def _instant(snapshot: Snapshot) -> str:
    return datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC).isoformat(timespec="microseconds")


def as_of(storage: Storage, pointers: Pointers, moment: str) -> tuple[IcebergCut, dict[str, str]]:
    """See ports.store.Remembers."""
    lines = pointers.lines()
    locations = pointers.read()
    tables = {name: storage.metadata(at, name) for name, at in locations.items()}
    last = _last(moment, lines, tables)
    order = {line.id: line.number for line in lines}
    views: dict[str, IcebergView] = {}
    gone: dict[str, str] = {}
    for name, metadata in tables.items():
        snapshot = _snapshot_at(metadata, last, order)
        if snapshot is not None:
            views[name] = IcebergView(storage, name, locations[name], _at(metadata, snapshot))
        elif any(line.number <= last.number and name in line.tables for line in lines):
            oldest = min((_instant(s) for s in metadata.snapshots), default="none")
            gone[name] = f"its snapshot of that moment has expired; the oldest that is kept is of {oldest}"
    return IcebergCut.of(storage, views), gone


def _last(moment: str, lines: Sequence[Line], tables: Mapping[str, TableMetadata]) -> Line:
    """The last publication before the moment was over."""
    if _RUN.fullmatch(moment):
        found = [line for line in lines if line.record.get("run") == moment]
        what = "no publication is of that run"
    elif moment.isascii() and moment.isdigit() and len(moment) > 8:
        ids = {_publication(s) for m in tables.values() for s in m.snapshots if s.snapshot_id == int(moment)}
        found = [line for line in lines if line.id in ids]
        what = "no table keeps a snapshot of Headgate's with that number"
    else:
        instant = _parsed(moment)
        found = [line for line in lines if datetime.fromisoformat(line.at) <= instant]
        what = "nothing had been published by then"
    if not found:
        raise FixInputError(f"as of {moment}: {what}", hint="headgate history TABLE tells what there is")
    return max(found, key=lambda line: line.number)


def _parsed(moment: str) -> datetime:
    try:
        instant = datetime.fromisoformat(moment)
    except ValueError as cause:
        raise FixInputError(
            f"not a moment: {moment!r}", hint="a run's id, a snapshot's number, or a time such as 2026-11-24T10:00:00Z"
        ) from cause
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _snapshot_at(metadata: TableMetadata, last: Line, order: Mapping[str, int]) -> Snapshot | None:
    """The table's newest snapshot that was there then: ours by the journal's order, others' by their clock."""
    ended_ms = datetime.fromisoformat(last.at).timestamp() * 1000
    chosen = None
    for snapshot in sorted(metadata.snapshots, key=lambda s: s.sequence_number or 0):
        number = order.get(_publication(snapshot) or "")
        if number <= last.number if number is not None else snapshot.timestamp_ms <= ended_ms:
            chosen = snapshot
    return chosen


def _at(metadata: TableMetadata, snapshot: Snapshot) -> TableMetadata:
    """The metadata as if the snapshot were the current one, with the columns that the table had then."""
    schema = metadata.current_schema_id if snapshot.schema_id is None else snapshot.schema_id
    return metadata.model_copy(update={"current_snapshot_id": snapshot.snapshot_id, "current_schema_id": schema})

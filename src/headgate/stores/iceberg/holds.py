"""Snapshots that others still need: a target's position names one, and expiry lets it be, for a while.

A hold is a line in the catalog. It says nothing of progress: the target itself knows where it stands. So a hold may
be late or lost; then the target's rows are replaced as a whole, as after any expiry.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from pyiceberg.table.metadata import TableMetadata

from headgate.ports.store import Hold
from headgate.stores.iceberg.cut import IcebergCut
from headgate.stores.iceberg.expiry import ended_ms
from headgate.stores.iceberg.pointers import Pointers


def hold(pointers: Pointers, reader: str, table: str, snapshots: Collection[int], keep_s: float) -> None:
    """From now on the reader needs exactly these snapshots of the table; nothing is written when that is known."""
    known = {(snapshot, s) for who, _, snapshot, s in lines(pointers, table) if who == reader}
    if known == {(snapshot, int(keep_s)) for snapshot in snapshots}:
        return
    with pointers.connection() as connection:
        pointers.database.begin(connection, pointers.name)
        pointers.run(
            connection,
            "DELETE FROM headgate_holds WHERE catalog_name = ? AND reader = ? AND table_name = ?",
            (pointers.name, reader, table),
        )
        for snapshot in sorted(snapshots):
            pointers.run(
                connection,
                "INSERT INTO headgate_holds (catalog_name, reader, table_name, snapshot_id, keep_s)"
                " VALUES (?, ?, ?, ?, ?)",
                (pointers.name, reader, table, snapshot, int(keep_s)),
            )
        pointers.run(connection, "COMMIT")


def lines(pointers: Pointers, table: str | None = None) -> list[tuple[str, str, int, int]]:
    """Reader, table, snapshot and seconds of every hold, or of those on one table."""
    rows = pointers.query(
        "SELECT reader, table_name, snapshot_id, keep_s FROM headgate_holds WHERE catalog_name = ?"
        " ORDER BY table_name, reader, snapshot_id",
        (pointers.name,),
    )
    return [(reader, name, snapshot, keep_s) for reader, name, snapshot, keep_s in rows if table in (None, name)]


def held(pointers: Pointers, table: str, metadata: TableMetadata) -> set[int]:
    """The snapshots of the table that are held now: from which the current one descends, and which stopped being
    current no longer ago than their hold allows."""
    ended, now_ms = ended_ms(metadata), time.time() * 1000
    return {
        snapshot
        for _, _, snapshot, keep_s in lines(pointers, table)
        if snapshot in ended and now_ms < ended[snapshot] + keep_s * 1000
    }


def drop_idle(pointers: Pointers, table: str, metadata: TableMetadata) -> None:
    """Forget holds on snapshots that are no more."""
    kept = {s.snapshot_id for s in metadata.snapshots}
    for reader, _, snapshot, _ in lines(pointers, table):
        if snapshot not in kept:
            with pointers.connection() as connection:
                pointers.run(
                    connection,
                    "DELETE FROM headgate_holds WHERE catalog_name = ? AND reader = ? AND table_name = ?"
                    " AND snapshot_id = ?",
                    (pointers.name, reader, table, snapshot),
                )


def told(pointers: Pointers, cut: IcebergCut) -> Sequence[Hold]:
    """Every hold that keeps something, and until when."""
    found = []
    for reader, table, snapshot, keep_s in lines(pointers):
        view = cut.table(table)
        if view is None or all(s.snapshot_id != snapshot for s in view.metadata.snapshots):
            continue
        ended = ended_ms(view.metadata).get(snapshot)
        until = None if ended is None else datetime.fromtimestamp(ended / 1000 + keep_s, UTC)
        found.append(Hold(reader, table, snapshot, until))
    return found

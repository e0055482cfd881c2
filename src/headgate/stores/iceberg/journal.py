"""The journal kept short: old lines that say the same of the same dataset become one.

A run that goes on writes some lines a second, for ever. Those that are old, and whose snapshots no table keeps, are
needed for their sums alone; the newest of them takes over what all of them say. Lines are folded within one SQL
transaction, so whoever adds the journal up finds the same before, meanwhile and after.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

from headgate import crash
from headgate.stores.iceberg.pointers import Line, Pointers

NEWEST = 1_000  # lines are always left alone
AT_ONCE = 5_000  # in one transaction: for so long nobody else publishes

AddUp = Callable[[Iterable[Mapping[str, Any]]], Mapping[str, Any]]


def long(pointers: Pointers) -> bool:
    """Whether there are so many lines that folding pays."""
    rows = pointers.query("SELECT count(*) FROM headgate_publications WHERE catalog_name = ?", (pointers.name,))
    return bool(rows) and rows[0][0] > 2 * NEWEST


def fold(pointers: Pointers, named: Collection[str], keep_s: float, add_up: AddUp) -> int:
    """Fold lines that are older than `keep_s` and whose publication is not in `named`; how many went.

    `add_up` makes one record of some, oldest first, and marks it with the number that it stands for, `folded`.
    """
    before = datetime.now(UTC) - timedelta(seconds=keep_s)
    gone = 0
    with pointers.connection() as connection:
        pointers.database.begin(connection, pointers.name)
        rows = pointers.run(
            connection,
            "SELECT number, id, at, step, record, tables FROM headgate_publications"
            " WHERE catalog_name = ? AND at < ? AND number <= (SELECT max(number) FROM headgate_publications) - ?"
            " ORDER BY number LIMIT ?",
            (pointers.name, before.isoformat(timespec="microseconds"), NEWEST, AT_ONCE),
        )
        lines = [Line(n, i, at, step, json.loads(r), json.loads(t)) for n, i, at, step, r, t in rows.fetchall()]
        for some in _alike(lines, named):
            tables: dict[str, str] = {}
            for line in some:
                tables |= line.tables
            record, last = add_up(line.record for line in some), some[-1].number
            pointers.run(
                connection,
                "UPDATE headgate_publications SET record = ?, tables = ? WHERE number = ?",
                (_text(record), _text(tables), last),
            )
            for line in some[:-1]:
                pointers.run(connection, "DELETE FROM headgate_publications WHERE number = ?", (line.number,))
            gone += len(some) - 1
        crash.point("journal: folded, not committed")
        pointers.run(connection, "COMMIT")
    return gone


def folded_until(pointers: Pointers) -> float:
    """Unix time before which a publication may have landed whose line is folded away; 0 when none is."""
    rows = pointers.query(
        "SELECT max(at) FROM headgate_publications WHERE catalog_name = ? AND record LIKE ?",
        (pointers.name, '%"folded":%'),
    )
    at = rows[0][0] if rows else None
    return datetime.fromisoformat(at).timestamp() if at else 0.0


def _alike(lines: Sequence[Line], named: Collection[str]) -> list[list[Line]]:
    """Runs of lines of one step and dataset, two or more, that no named line interrupts."""
    of: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        of.setdefault((line.step, str(line.record.get("dataset", ""))), []).append(line)
    runs = [
        list(some) for mine in of.values() for kept, some in groupby(mine, lambda line: line.id in named) if not kept
    ]
    return [some for some in runs if len(some) > 1]


def _text(value: Mapping[str, Any]) -> str:
    return json.dumps(dict(value), sort_keys=True, separators=(",", ":"))

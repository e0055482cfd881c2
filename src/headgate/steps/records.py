"""The records of publications, added up: one record that says of many what the account needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

FOLDED = "folded"  # how many records one stands for
_SUMS = ("rows", "replaced", "expired", "retired_silver", "retired_bronze")


def added_up(records: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Records of one step and dataset, oldest first, as one. A rebuild judges all rows anew: verdicts before it end.

    It may be added up again: the sum over some of the records, and then over sums, is the sum over all.
    """
    total: dict[str, Any] = {FOLDED: 0}
    for record in records:
        if record.get("rebuild"):
            total = {FOLDED: total[FOLDED], "rebuild": True}
        total[FOLDED] += int(record.get(FOLDED, 1))
        if "dataset" in record:
            total["dataset"] = record["dataset"]
        for name in _SUMS:
            if name in record:
                total[name] = total.get(name, 0) + int(record[name])
        _count(total, "verdicts", record)
        for partition, counts in record.get("partitions", {}).items():
            _count(total.setdefault("partitions", {}), partition, {partition: counts})
    return total


def _count(total: dict[str, Any], name: str, record: Mapping[str, Any]) -> None:
    if name not in record:
        return
    mine = total.setdefault(name, {})
    for verdict, rows in record[name].items():
        mine[verdict] = mine.get(verdict, 0) + int(rows)

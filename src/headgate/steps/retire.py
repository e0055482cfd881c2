"""Retention: rows that have been kept as long as the contract says go, and the account still balances.

A silver row that has aged out leaves silver for the ledger, with the verdict `retired`: one small row, so its bronze
coordinate still stands in exactly one place.

Bronze rows go by whole days of landing. They are the oldest of their partition, so a partition needs to remember
three numbers, in a fact of bronze: below which offset nothing is left, how many rows that were, and how many of their
verdicts went with them (quarantined rows, whose bytes they are, and ledger rows). Silver keeps its rows.

    bronze + retired = silver + quarantine + ledger + verdicts that went + pending
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from headgate import crash
from headgate.contract.model import Dataset, Retention
from headgate.contract.to_sql import literal, quote
from headgate.ports.batch import INGESTED_AT, OFFSET, PARTITION
from headgate.ports.engine import Engine
from headgate.ports.store import Cut, FileInfo, Lake, Publication, TableView
from headgate.steps.land import bronze_name
from headgate.steps.part import Part
from headgate.steps.run import Run
from headgate.steps.seal import CHECKSUM, SEALED_AS, form_of, row_hash

RETIRED = "retired"
_ROWS = "hg.rows"


@dataclass(frozen=True, slots=True)
class Gone:
    """What a bronze partition no longer holds: `rows` rows, all `below` that offset; `verdicts` of them went too."""

    below: int = 0
    rows: int = 0
    verdicts: int = 0


@dataclass(slots=True)
class Retirement:
    """What one retention step did to one dataset."""

    dataset: str
    silver: int = 0  # rows that left silver for the ledger
    bronze: int = 0  # rows that left bronze
    verdicts: int = 0  # quarantine and ledger rows that went with them


def retired_fact(partition: str) -> str:
    """Name of bronze's fact that says what a partition no longer holds."""
    return f"retired:{partition}"


def gone(dataset: Dataset, bronze: TableView | None) -> dict[str, Gone]:
    """What bronze no longer holds, per partition that has lost rows."""
    found = {}
    for partition in sorted(bronze.position(dataset.name).tokens) if bronze is not None else ():
        told = bronze.facts(retired_fact(partition)) if bronze is not None else None
        if told:
            found[partition] = Gone(**json.loads(told))
    return found


def retire(dataset: Dataset, lake: Lake, engine: Engine, run: Run) -> Retirement:
    """Let go of rows past their retention. CommitConflict when silver was changed meanwhile: nothing of it landed."""
    done = Retirement(dataset.name)
    for retention in dataset.retention:
        if retention.field is None:
            _retire_bronze(dataset, retention, lake, engine, run, done)
        else:
            _retire_silver(dataset, retention, retention.field, lake, engine, run, done)
    return done


def _retire_silver(
    dataset: Dataset, retention: Retention, field: str, lake: Lake, engine: Engine, run: Run, done: Retirement
) -> None:
    cut = lake.cut()
    silver, ledger = cut.table(f"silver.{dataset.name}"), cut.table(f"ledger.{dataset.name}")
    if silver is None or ledger is None or field not in silver.schema.names:
        return
    cutoff = run.at - timedelta(seconds=retention.seconds)
    old = f"{quote(field)} < {_moment(cutoff, silver.schema.field(field).type)}"
    files = [f for f in silver.files() if _may_be_older(f, field, cutoff)]
    if not files:
        return
    some = Part(_ROWS, silver, [f.path for f in files])
    hashed = row_hash(silver.facts(SEALED_AS) or form_of(dataset))
    sums = f"select count(*) as n, coalesce(sum({hashed}::hugeint), 0)::varchar as seal from {_ROWS} where {old}"
    (told,) = engine.query(sums, {_ROWS: some}).read_all().to_pylist()
    if not told["n"]:
        return
    with lake.publication("maintain") as publication:
        publication.expect(silver.name, silver.version)
        publication.remove(silver.name, [f.path for f in files])
        publication.write(silver.name, engine.query(f"select * from {_ROWS} where ({old}) is not true", {_ROWS: some}))
        rows = engine.query(f"select {PARTITION}, {OFFSET} from {_ROWS} where {old}", {_ROWS: some})
        publication.write(ledger.name, (_verdicts(batch, run) for batch in rows))
        publication.note_fact(silver.name, CHECKSUM, str(int(silver.facts(CHECKSUM) or 0) - int(told["seal"])))
        publication.note({"run": run.id, "dataset": dataset.name, "retired_silver": told["n"], "field": field})
        crash.point("retire: silver written, not published")
        publication.commit()
    done.silver += told["n"]


def _verdicts(rows: pa.RecordBatch, run: Run) -> pa.RecordBatch:
    count = rows.num_rows
    columns: dict[str, Any] = {
        PARTITION: rows.column(PARTITION),
        OFFSET: rows.column(OFFSET),
        "verdict": pa.repeat(RETIRED, count),
        "rule": pa.repeat("retention", count),
        "run_id": pa.repeat(run.id, count),
        "judged_at": pa.repeat(pa.scalar(run.at, pa.timestamp("us", "UTC")), count),
    }
    return pa.RecordBatch.from_pydict(columns)


def _moment(at: datetime, kind: pa.DataType) -> str:
    if pa.types.is_date(kind):
        return f"date {literal(at.date().isoformat())}"
    text = at.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")
    return f"timestamptz {literal(text + '+00')}" if getattr(kind, "tz", None) else f"timestamp {literal(text)}"


def _may_be_older(info: FileInfo, field: str, cutoff: datetime) -> bool:
    low = info.lower.get(field)
    if isinstance(low, datetime):
        return (low if low.tzinfo else low.replace(tzinfo=UTC)) < cutoff
    return low is None or low < cutoff.date()


def _retire_bronze(
    dataset: Dataset, retention: Retention, lake: Lake, engine: Engine, run: Run, done: Retirement
) -> None:
    cut = lake.cut()
    bronze, silver = cut.table(bronze_name(dataset)), cut.table(f"silver.{dataset.name}")
    if bronze is None or silver is None:
        return
    cutoff = (run.at - timedelta(seconds=retention.seconds)).replace(hour=0, minute=0, second=0, microsecond=0)
    judged = int(silver.facts("bronze_sequence") or 0)
    files = [f for f in bronze.files() if f.sequence <= judged and _landed_before(f, cutoff)]
    if not files:
        return
    with lake.publication("maintain") as publication:
        publication.expect(silver.name, silver.version)
        publication.note_fact(silver.name, "retired_to", cutoff.isoformat())  # so that nobody judges meanwhile
        publication.remove(bronze.name, [f.path for f in files])
        after = _gone_after(dataset, bronze, files, engine)
        for layer in ("quarantine", "ledger"):
            for partition, rows in _forget(cut, f"{layer}.{dataset.name}", after, engine, publication).items():
                one = after[partition]
                after[partition] = Gone(one.below, one.rows, one.verdicts + rows)
                done.verdicts += rows
        for partition, one in after.items():
            told = {"below": one.below, "rows": one.rows, "verdicts": one.verdicts}
            publication.note_fact(bronze.name, retired_fact(partition), json.dumps(told, sort_keys=True))
        count = sum(f.rows for f in files)
        publication.note({"run": run.id, "dataset": dataset.name, "retired_bronze": count})
        crash.point("retire: bronze taken out, not published")
        publication.commit()
    done.bronze += count


def _landed_before(info: FileInfo, cutoff: datetime) -> bool:
    newest = info.upper.get(INGESTED_AT)
    return isinstance(newest, datetime) and newest < cutoff


def _gone_after(dataset: Dataset, bronze: TableView, files: Sequence[FileInfo], engine: Engine) -> dict[str, Gone]:
    """What each partition will no longer hold once these files are out."""
    held = gone(dataset, bronze)
    sql = f"select {PARTITION} as p, max({OFFSET}) + 1 as below, count(*) as n from {_ROWS} group by all"
    for row in engine.query(sql, {_ROWS: Part(_ROWS, bronze, [f.path for f in files])}).read_all().to_pylist():
        before = held.get(row["p"], Gone())
        held[row["p"]] = Gone(max(before.below, row["below"]), before.rows + row["n"], before.verdicts)
    return held


def _forget(cut: Cut, table: str, after: dict[str, Gone], engine: Engine, publication: Publication) -> dict[str, int]:
    """Take the verdicts on rows that are gone out of a table; how many, per partition."""
    view = cut.table(table)
    lowest = max((one.below for one in after.values()), default=0)
    files = [f for f in view.files() if (f.lower.get(OFFSET) or 0) < lowest] if view is not None else []
    if view is None or not files:
        return {}
    some = Part(_ROWS, view, [f.path for f in files])
    below = " or ".join(f"({PARTITION} = {literal(p)} and {OFFSET} < {one.below})" for p, one in after.items())
    if "deleted" in view.schema.names:  # a row that deleted still decides about late rows of its key
        below = f"({below}) and deleted is null"
    counts = engine.query(
        f"select {PARTITION} as p, count(*) as n from {_ROWS} where {below} group by all", {_ROWS: some}
    )
    found = {row["p"]: row["n"] for row in counts.read_all().to_pylist()}
    if found:
        publication.remove(table, [f.path for f in files])
        publication.write(table, engine.query(f"select * from {_ROWS} where ({below}) is not true", {_ROWS: some}))
    return found

"""Audit: is every record accounted for? From the run's own records, and again from the tables alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headgate.contract.model import Dataset
from headgate.contract.to_sql import literal, quote
from headgate.ports.batch import OFFSET, PARTITION
from headgate.ports.engine import Engine
from headgate.ports.store import Cut, Lake, TableView
from headgate.steps.intervals import wrong_history
from headgate.steps.portion import pending
from headgate.steps.records import added_up
from headgate.steps.retire import Gone, gone
from headgate.steps.seal import CHECKSUM, SEALED_AS, form_of, sum_of

_COUNTS = ("bronze", "silver", "quarantine", "ledger", "unjudged", "several", "alien", "twice", "retired")
BALANCED, PENDING, BROKEN = "balanced", "pending", "broken"


@dataclass(slots=True)
class Account:
    """The account of one dataset. `state` is balanced, pending (bronze rows without a verdict yet) or broken.

    The equation: bronze + retired = silver + quarantine + ledger + pending, in rows, where `retired` are rows that
    bronze no longer holds and whose verdicts still stand; `partitions` holds it per source partition where the tables
    were read. `findings` say what is wrong, with a few coordinates each.
    """

    dataset: str
    deep: bool
    state: str = BALANCED
    bronze: int = 0
    silver: int = 0
    quarantine: int = 0
    ledger: int = 0
    pending: int = 0
    retired: int = 0
    verdicts: dict[str, int] = field(default_factory=dict)
    partitions: dict[str, dict[str, int]] = field(default_factory=dict)
    checksum: str | None = None
    findings: list[str] = field(default_factory=list)


def audit(dataset: Dataset, lake: Lake, engine: Engine | None = None) -> Account:
    """Check the account; with an engine, prove it from the rows of the tables (deep)."""
    cut = lake.cut()
    account = Account(dataset.name, deep=engine is not None)
    views = {layer: cut.table(f"{layer}.{dataset.name}") for layer in ("bronze", "silver", "quarantine", "ledger")}
    account.bronze, account.silver, account.quarantine, account.ledger = (_rows(views[x]) for x in views)
    account.pending = sum(s.stop - s.start for s in pending(dataset, cut))
    lost = gone(dataset, views["bronze"])
    account.retired = sum(one.rows - one.verdicts for one in lost.values())
    _from_records(dataset, lake, account, sum(one.rows for one in lost.values()))
    if engine is not None:
        _from_tables(dataset, cut, engine, account, lost)
    missing = account.bronze + account.retired - account.silver - account.quarantine - account.ledger - account.pending
    if missing and not account.deep:  # offsets may have gaps (Kafka), so the deep audit counts rows instead
        account.findings.append(f"{abs(missing):,} rows {'without a verdict' if missing > 0 else 'too many'}")
    if account.findings:
        account.state = BROKEN
    elif account.pending:
        account.state = PENDING
    return account


def _rows(view: TableView | None) -> int:
    return view.rows() if view else 0


def _from_records(dataset: Dataset, lake: Lake, account: Account, retired: int) -> None:
    """The records of the publications must add up to the tables. A rebuild judges all rows anew: older verdicts end."""
    records = [r for r in lake.publications(limit=None) if r.get("dataset") == dataset.name]  # the newest first
    told = {step: added_up(r for r in reversed(records) if r["step"] == step) for step in ("land", "refine")}
    landed, verdicts = int(told["land"].get("rows", 0)), told["refine"].get("verdicts", {})
    judged = sum(verdicts.values())
    account.verdicts = verdicts
    held = account.bronze + retired
    if landed and landed != held:
        account.findings.append(f"the records say {landed:,} rows landed; bronze held {held:,}")
    if judged and judged + account.pending != held:
        account.findings.append(f"the records say {judged:,} rows were judged; bronze held {held:,}")


def _from_tables(dataset: Dataset, cut: Cut, engine: Engine, account: Account, lost: Mapping[str, Gone]) -> None:
    """Every bronze coordinate has exactly one verdict, nothing else has one, and silver's content is as sealed."""
    tables = {
        f"{layer}.{dataset.name}": view
        for layer in ("bronze", "silver", "quarantine", "ledger")
        if (view := cut.table(f"{layer}.{dataset.name}")) is not None
    }
    if f"bronze.{dataset.name}" not in tables:
        return
    for row in _query(engine, _balance_sql(dataset, tables, lost), tables):
        partition = str(row["partition"])
        account.partitions[partition] = {k: int(row[k] or 0) for k in _COUNTS}
    for partition, one in lost.items():  # one whose rows are all gone
        account.partitions.setdefault(partition, dict.fromkeys(_COUNTS, 0))
        account.partitions[partition]["retired_rows"] = one.rows
    waiting = {s.partition: s for s in pending(dataset, cut)}
    account.pending = 0
    for partition, counts in account.partitions.items():
        unjudged = counts["unjudged"]
        if partition in waiting and unjudged:
            span = waiting[partition]
            late = _query(engine, _count_sql(dataset, partition, span.start, span.stop), tables)
            account.pending += int(late[0]["n"])
            unjudged -= int(late[0]["n"])
        for count, what in (
            (unjudged, "bronze rows without a verdict"),
            (counts["several"], "bronze rows with more than one verdict"),
            (counts["alien"], "verdicts for rows that bronze does not hold"),
            (counts["twice"], "bronze coordinates used more than once"),
            (
                _unlike(lost.get(partition), counts["retired"]),
                "verdicts too many or too few for rows that were retired",
            ),
        ):
            if count:
                account.findings.append(f"{partition}: {count:,} {what}")
    account.findings += wrong_history(dataset, engine, tables)
    _check_seal(dataset, engine, tables, account)


def _unlike(lost: Gone | None, verdicts: int) -> int:
    return abs((lost.rows - lost.verdicts if lost else 0) - verdicts)


def _check_seal(dataset: Dataset, engine: Engine, tables: dict[str, TableView], account: Account) -> None:
    silver = tables.get(f"silver.{dataset.name}")
    if silver is None:
        return
    form = silver.facts(SEALED_AS) or form_of(dataset)
    account.checksum = str(sum_of(engine, silver, form))
    sealed = silver.facts(CHECKSUM)
    if sealed is not None and sealed != account.checksum:
        account.findings.append(
            f"silver's content is not what was published: checksum {account.checksum}, sealed {sealed}"
        )


def _balance_sql(dataset: Dataset, tables: dict[str, TableView], lost: Mapping[str, Gone]) -> str:
    below = " or ".join(f"(v.p = {literal(p)} and v.o < {one.below})" for p, one in lost.items()) or "false"
    parts = []
    for layer in ("silver", "quarantine", "ledger"):
        name = f"{layer}.{dataset.name}"
        if name in tables:
            parts.append(f"select {PARTITION} p, {OFFSET} o, {literal(layer)} v from {_name(tables[name])}")
        else:
            parts.append(f"select null::varchar p, null::bigint o, {literal(layer)} v where false")
    bronze = _name(tables[f"bronze.{dataset.name}"])
    return f"""
        with b as (select {PARTITION} p, {OFFSET} o, count(*) n from {bronze} group by all),
        v as (select p, o, count(*) n, count(*) filter (v = 'silver') s, count(*) filter (v = 'quarantine') q,
                     count(*) filter (v = 'ledger') l from ({" union all ".join(parts)}) group by all)
        select coalesce(b.p, v.p) as partition, count(b.n) as bronze, sum(v.s) as silver, sum(v.q) as quarantine,
               sum(v.l) as ledger, count(*) filter (v.n is null) as unjudged, count(*) filter (v.n > 1) as several,
               count(*) filter (b.n is null and not ({below})) as alien,
               count(*) filter (b.n is null and ({below})) as retired, count(*) filter (b.n > 1) as twice
        from b full join v on b.p = v.p and b.o = v.o group by all order by all"""


def _count_sql(dataset: Dataset, partition: str, start: int, stop: int) -> str:
    return (
        f"select count(*) as n from {quote('bronze')}.{quote(dataset.name)} "
        f"where {PARTITION} = {literal(partition)} and {OFFSET} >= {start} and {OFFSET} < {stop}"
    )


def _name(view: TableView) -> str:
    layer, _, table = view.name.partition(".")
    return f"{quote(layer)}.{quote(table)}"


def _query(engine: Engine, sql: str, tables: dict[str, TableView]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = engine.query(sql, tables).read_all().to_pylist()
    return rows

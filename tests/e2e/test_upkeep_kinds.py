"""Every kind of table that a run writes, read by another implementation before and after upkeep: the same rows, and
what comes later is judged as if nothing had been touched."""

import json

import pytest

from e2e.command import good
from e2e.items import DELETES, contract
from headgate import Project
from rigs import iceberg_reader

FIELDS = """\
{name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1, required: true}
{name: at, logicalType: timestamp, required: true, logicalTypeOptions: {timezone: true}}
{name: shelf, logicalType: string, partitioned: true}
{name: price, logicalType: number, physicalType: 'decimal(12,2)', logicalTypeOptions: {minimum: 0}}
{name: tags, logicalType: array, items: {logicalType: string}}
{name: op, logicalType: string}"""
RETENTION = "{property: retention, value: 10, unit: y, element: items.at}"
LAYERS = ("bronze", "silver", "quarantine", "ledger")
TABLES = (*(f"{layer}.items" for layer in LAYERS), "gold.totals", "headgate.runs")
LONG_AGO, TO_COME = 2001, 2101  # the first years are past any retention, the others are not for long


def line(key, second, op="u", year=TO_COME, price="1.50"):
    at = f"{year}-01-01T00:{second // 60:02}:{second % 60:02}Z"
    return f'{{"id": {key}, "at": "{at}", "shelf": "{key % 2}", "price": {price}, "tags": ["a", null], "op": "{op}"}}'


DAYS = [
    [
        *(line(n, 1) for n in range(8)),
        *(line(n, 1, year=LONG_AGO) for n in range(20, 26)),
        line(90, 1, price="-1"),
        "{",
    ],
    [line(0, 5), line(1, 5, "d"), line(1, 5, "d"), line(0, 5), line(21, 7, year=LONG_AGO), line(91, 1, price="-2")],
    [line(0, 3), line(1, 2), line(2, 9, "d"), line(8, 1), "no json", line(22, 9, "d", year=LONG_AGO)],
    [line(1, 8), line(2, 4), line(3, 1), line(8, 2), line(9, 1), line(92, 1, price="-3")],
    [line(2, 12), line(0, 5), line(8, 1, "d"), line(20, 0, year=LONG_AGO), line(93, 1, price="-3")],
]


def made(folder, history, upkeep):
    for name in ("contracts", "in", "models"):
        (folder / name).mkdir(parents=True)
    own = [] if history == "append" else [DELETES]
    text = contract(FIELDS, history, *own, service_levels=[RETENTION])
    (folder / "contracts" / "items.odcs.yaml").write_text(text)
    (folder / "models" / "totals.sql").write_text(
        "select shelf, count(*) n, sum(price) s from silver.items group by 1\n"
    )
    (folder / "headgate.yaml").write_text(f"upkeep: {upkeep}\n")
    return folder


def day(folder, number):
    (folder / "in" / f"{number}.ndjson").write_text("".join(f"{one}\n" for one in DAYS[number]))
    return good("run", project=folder)


def locations(folder):
    with Project.open(folder) as project:
        cut = project.lake.cut()
        return {name: cut.table(name).location for name in TABLES}


def told(folder, columns="*"):
    """Every table as DuckDB's Iceberg extension reads it: all columns as text, sorted."""
    views = {name.replace(".", "_"): at for name, at in locations(folder).items()}
    answers = iceberg_reader.ask(views, *[f"select {columns} from {view}" for view in views])
    return {name: sorted(map(json.dumps, rows)) for name, rows in zip(TABLES, answers, strict=True)}


def same_rows(folder):
    """What does not depend on when and by which run: silver, gold, and the verdict of each coordinate."""
    views = {name.replace(".", "_"): at for name, at in locations(folder).items()}
    queries = [
        "select * from silver_items",
        "select * from gold_totals",
        "select _hg_offset, verdict, rule, by_offset from ledger_items",
        "select _hg_offset, raw, reasons from quarantine_items",
        "select _hg_offset, _hg_raw from bronze_items",
    ]
    return [sorted(map(json.dumps, rows)) for rows in iceberg_reader.ask(views, *queries)]


def settled(folder):
    """Everything but retention, which has been."""
    good("run", project=folder)  # gold follows it
    before = told(folder)
    kept = good("maintain", project=folder)
    assert told(folder) == before
    assert not good("run", project=folder)["moved"]
    (account,) = good("audit", "--deep", project=folder)
    assert account["state"] == "balanced", account["findings"]
    return kept


@pytest.mark.parametrize("history", ["append", "latest", "scd2"])
def test_another_reader_sees_every_table_unchanged_and_later_rows_are_judged_alike(tmp_path, history):
    plain = made(tmp_path / "plain", history, "{automatic: false}")
    kept = made(tmp_path / "kept", history, "{snapshots: 1, keep_hours: 0}")
    compacted = set()
    for number in range(len(DAYS)):
        for folder in (plain, kept):
            day(folder, number)
            good("maintain", "retire", project=folder)
        if number == 1:
            good("maintain", project=kept)
        if number == 3:
            compacted |= {one["table"] for one in settled(kept)["compacted"]}
    assert compacted >= {"bronze.items", "silver.items", "quarantine.items", "ledger.items"}
    for folder in (plain, kept):
        good("run", project=folder)
        (account,) = good("audit", "--deep", project=folder)
        assert account["state"] == "balanced", account["findings"]
    rows = same_rows(plain)
    assert same_rows(kept) == rows
    assert all(rows)

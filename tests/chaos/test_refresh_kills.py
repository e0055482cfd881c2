"""A rebuild under a contract that the stored tables cannot follow: killed anywhere, readers have the old tables or the
new ones, and the same command ends it."""

from __future__ import annotations

import pytest
from under_test import UnderTest

from headgate import Project

INTEGER, DECIMAL = "integer", "number, physicalType: 'numeric(20,2)'"
TABLES = ("silver.orders", "quarantine.orders", "ledger.orders")


def seen(project: UnderTest) -> tuple:
    """What a reader has: the type that it gets, which run judged each table, and how many rows there are."""
    with Project.open(project.folder) as opened:
        kind = opened.query("select any_value(typeof(quantity)) as t from silver.orders").to_pylist()[0]["t"]
        versions = opened.query("select distinct contract_version as v from quarantine.orders order by 1").to_pylist()
        rows = [opened.query(f"select count(*) as n from {table}").to_pylist()[0]["n"] for table in TABLES]
        balanced = [account.state for account in opened.audit(deep=True)]
    return kind, tuple(v["v"] for v in versions), tuple(rows), tuple(balanced)


def chosen(points: list[str], rng, kills: int) -> list[str]:
    """Crash points as `name@n`, all of them in a long session."""
    numbered = [f"{name}@{points[: at + 1].count(name)}" for at, name in enumerate(points)]
    return numbered if kills >= len(numbered) else sorted(rng.sample(numbered, min(kills // 3, len(numbered))))


@pytest.mark.timeout(900)
def test_a_reader_sees_the_old_tables_or_the_new_ones(files, rng, kills):
    project = files.project
    files.change()
    project.recover()
    types = [DECIMAL, INTEGER]
    project.write_contract(minimum=0, quantity=types[0])
    points = project.trace("run", "--full-refresh")
    assert "rebuild: files written, not published" in points
    both = {"old": 0, "new": 0}
    for number, point in enumerate(chosen(points, rng, kills), 1):
        before = seen(project)
        project.write_contract(minimum=0, quantity=types[number % 2])
        killed = project.run("run", "--full-refresh", crash=point)
        assert killed.killed, f"{point} was not passed: {killed.code} {killed.err[-2000:]}"
        found = seen(project)
        done = project.run("run", "--full-refresh")
        assert done.code == 0, f"after death at {point}:\n{done.err[-3000:]}"
        after = seen(project)
        assert found in (before, after), f"{point}: {found} is neither {before} nor {after}"
        both["old" if found == before else "new"] += 1
        assert before[0] != after[0]
        files.check_account()
    print(both)
    if kills >= len(points):
        assert min(both.values()) > 0, both

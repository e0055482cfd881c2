"""Checks of a whole table."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest
from typed_in_duckdb import INTEGER, STRING, dataset, record

from headgate.contract.model import TableCheck
from headgate.contract.to_sql import check_query
from headgate.errors import ContractSyntaxError

ROWS = "(VALUES (1, 'a', {'s': 'x'}), (1, 'a', {'s': NULL}), (2, '', NULL), (NULL, NULL, {'s': ''}), (NULL, NULL, NULL)) t(n, s, o)"
TABLE = dataset(n=INTEGER, s=STRING, o=record(s=STRING))


def check(metric: str, *fields: str, query: str | None = None, percent: bool = False) -> Any:
    one = TableCheck("c", metric, "mustBe", 0, fields, query, percent)
    answer = duckdb.sql(check_query(one, TABLE, ROWS)).fetchall()
    assert len(answer) == 1
    assert len(answer[0]) == 1
    return answer[0][0]


def test_counts() -> None:
    assert check("rowCount") == 5
    assert check("nullValues", "n") == 2
    assert check("nullValues", "o.s") == 3
    assert check("missingValues", "s") == 2
    assert check("missingValues", "n") == 2
    assert check("duplicateValues", "n") == 1
    assert check("duplicateValues", "n", "s") == 1
    assert check("duplicateValues", "s") == 1


def test_percent() -> None:
    assert check("nullValues", "n", percent=True) == 40
    one = TableCheck("c", "nullValues", "mustBe", 0, ("n",), percent=True)
    assert duckdb.sql(check_query(one, TABLE, f"(SELECT * FROM {ROWS} WHERE false)")).fetchall() == [(0,)]


@pytest.mark.parametrize(
    "query",
    ["SELECT count(*) FROM ${object} WHERE ${property} IS NULL;", 'SELECT count(*) FROM "d" WHERE n IS NULL -- none',
     "WITH x AS (SELECT * FROM d) SELECT count(*) FROM x WHERE n IS NULL", "SELECT count(*) FROM {object} WHERE {property} IS NULL"],
)  # fmt: skip
def test_own_queries_see_the_table_under_its_name(query: str) -> None:
    assert check("sql", "n", query=query) == 2


@pytest.mark.parametrize(
    ("metric", "fields"), [("what", ("n",)), ("nullValues", ()), ("nullValues", ("x",)), ("sql", ())]
)
def test_checks_that_make_no_sense_are_refused(metric: str, fields: tuple[str, ...]) -> None:
    with pytest.raises(ContractSyntaxError):
        check_query(TableCheck("c", metric, "mustBe", 0, fields), TABLE, ROWS)

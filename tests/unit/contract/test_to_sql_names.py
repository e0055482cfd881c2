"""Names and values in SQL text mean themselves, whatever they hold."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typed_in_duckdb import ask, session

from headgate.contract.to_sql import literal, quote
from headgate.errors import FixInputError

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
NASTY = ["'", '"', "''", '""', "\\", "\\'", "a\nb", "a\r\nb", "--", "/*", "*/", ";", "'; DROP TABLE x; --", '"; DROP TABLE x; --',
         "$$", "$1", "?", "%s", "{x}", "\u2019", "\N{FULLWIDTH APOSTROPHE}", "\x1a", "select", "e'\\n'", "\ufeff"]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(TEXT | st.sampled_from(NASTY))
def test_text_comes_back_as_it_went_in(text: str) -> None:
    assert ask(f"SELECT {literal(text)}") == [(text,)]


@settings(max_examples=300, deadline=None)
@given((TEXT | st.sampled_from(NASTY)).filter(bool))
def test_any_name_can_be_a_column(name: str) -> None:
    relation = duckdb.sql(f"SELECT {quote(name)} AS x FROM (SELECT 1 AS {quote(name)})")
    assert relation.fetchall() == [(1,)]
    assert duckdb.sql(f"SELECT 1 AS {quote(name)}").columns == [name]


@pytest.mark.parametrize("wrong", ["a\0b", "\0", "\ud800"])
def test_what_sql_cannot_hold_is_refused(wrong: str) -> None:
    with pytest.raises(FixInputError):
        quote(wrong)
    with pytest.raises(FixInputError):
        literal(wrong)


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(FixInputError):
        quote("")


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**127), 2**127 - 1),
        st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**18), max_value=10**18, places=10),
        st.floats(allow_nan=False),
        st.binary(),
        st.dates(),
        st.datetimes(),
        st.times(),
        st.uuids(),
        st.lists(st.integers(-5, 5), min_size=1),
        st.dictionaries(TEXT.filter(bool), st.integers(0, 5), min_size=1, max_size=1),
    )
)
def test_values_come_back_as_they_went_in(value: object) -> None:
    got = ask(f"SELECT {literal(value)}")[0][0]
    assert got == value
    assert type(got) is type(value)


def test_instants_do_not_depend_on_the_session() -> None:
    instant = datetime(2026, 3, 8, 2, 30, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert session().execute(f"SELECT epoch_us({literal(instant)})").fetchall() == [(instant.timestamp() * 10**6,)]


def test_odd_numbers() -> None:
    assert math.isnan(ask(f"SELECT {literal(math.nan)}")[0][0])
    assert ask(f"SELECT {literal(Decimal('-0.00000000000000000000000000000000000001'))}") == [(Decimal("-1e-38"),)]
    assert ask(f"SELECT -{literal(-(2**63))} - {literal(-1)}") == [(2**63 + 1,)]


@pytest.mark.parametrize(
    "value",
    [2**127, -(2**127) - 1, Decimal("1e38"), Decimal("1e-39"), Decimal("NaN"), Decimal("Infinity"), object(), {1},
     time(1, tzinfo=UTC)],
)  # fmt: skip
def test_values_that_sql_cannot_hold_are_refused(value: object) -> None:
    with pytest.raises(FixInputError):
        literal(value)


def test_kinds_of_literal() -> None:
    for value, name in [
        (date(1, 1, 1), "DATE"),
        (time(1), "TIME"),
        (UUID(int=1), "UUID"),
        (b"", "BLOB"),
        (1.0, "DOUBLE"),
    ]:
        assert ask(f"SELECT typeof({literal(value)})") == [(name,)]

"""Declared standardisation of text."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typed_in_duckdb import BOOLEAN, DATE, INSTANT, STRING, TIMESTAMP, decimal, typed

from headgate.contract.model import Field, Standardise, Type
from headgate.contract.sql_standardise import BLANKS
from headgate.contract.to_sql import column
from headgate.errors import FixInputError

MONEY = decimal(12, 2)


def standardised(
    of: Type, texts: list[str | None], *steps: str | tuple[str, Any], source: pa.DataType | None = None
) -> Any:
    operations = tuple(Standardise(step) if isinstance(step, str) else Standardise(*step) for step in steps)
    return typed(Field("x", of, standardise=operations), texts, source)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(st.sampled_from(BLANKS + "aBß\x1c\u200b"), max_size=8), min_size=1, max_size=30))
def test_white_space(texts: list[str]) -> None:
    assert standardised(STRING, texts, "trim") == [(text.strip(BLANKS), False) for text in texts]
    assert standardised(STRING, texts, "squeeze") == [(re.sub(f"[{BLANKS}]+", " ", text), False) for text in texts]


def test_case_and_nothing() -> None:
    assert standardised(STRING, ["aB é", None], "upper") == [("AB É", False), (None, False)]
    assert standardised(STRING, ["aB É"], "lower") == [("ab é", False)]
    assert standardised(STRING, ["o'NEILL  van-der ÉCOLE ", ""], "title") == [
        ("O'neill  Van-der École ", False),
        ("", False),
    ]
    assert standardised(STRING, ["", " "], "empty_to_null") == [(None, False), (" ", False)]
    assert standardised(STRING, ["N/A", "-", "'"], ("null_if", ("N/A", "'"))) == [
        (None, False),
        ("-", False),
        (None, False),
    ]


def test_steps_run_in_the_order_written() -> None:
    assert standardised(STRING, [" "], "trim", "empty_to_null") == [(None, False)]
    assert standardised(STRING, [" "], "empty_to_null", "trim") == [("", False)]
    assert standardised(BOOLEAN, [" Yes", "no", "?"], "trim", "lower", ("map", {"yes": "true", "no": "false"})) == [
        (True, False),
        (False, False),
        (None, True),
    ]


CURRENCY = {
    "$19.99": "19.99", "1,299.00 €": "1299.00", "(12.50)": "-12.50", "USD 5": "5", "5 USD": "5", "USD5": "5", "-$5": "-5", "$-5": "-5",
    "€\u00a01\u202f299.5": "1299.5", "1'299": "1299", "($1,299.50)": "-1299.50", "£.50": "0.50", "1,234,567.89": "1234567.89",
    "US$ 5": "5", "+5": "5", "0": "0", "12": "12", "-12.5": "-12.5", "¥100": "100", "1 000": "1000", "- 5": None, "1.299,00": None,
    "12,34": None, "1,2345": None, "1,234'567": None, "$5 USD": None, "5%": None, "": None, "$": None, "abc": None, "5-": None, "-(5)": None,
    "(-5)": None, "1.2.3": None, "--5": None, "$ $5": None, "5.": None, "１": None, " 5": None, "5\n": None, "NaN": None, "1e5": None,
    "19.999": None,
}  # fmt: skip


def test_currency() -> None:
    wanted = [(None if text is None else Decimal(text), text is None) for text in CURRENCY.values()]
    assert standardised(MONEY, list(CURRENCY), "currency") == wanted


def test_currency_with_a_decimal_comma() -> None:
    texts = ["1.299,50 €", "1,5", "1.299", "$1,299.00", "1299.5"]
    got = standardised(MONEY, list(texts), ("currency", {"decimal": ","}))
    assert [one for one, _ in got] == [Decimal("1299.50"), Decimal("1.5"), Decimal(1299), None, None]
    assert [bad for _, bad in got] == [False, False, False, True, True]


def test_refused_text_is_bad_even_where_any_text_would_do() -> None:
    assert standardised(STRING, ["1.299,00", "1,000", None], "currency") == [
        (None, True),
        ("1000", False),
        (None, False),
    ]
    assert standardised(STRING, ["31.12.2020"], ("date", ["%Y-%m-%d"])) == [(None, True)]


def test_number() -> None:
    texts = ["1,299.5", "1299", "-1,000", "$5", "(5)", "1,00"]
    assert [one for one, _ in standardised(MONEY, texts, "number")] == [
        Decimal("1299.5"),
        1299,
        -1000,
        None,
        None,
        None,
    ]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.decimals(-(10**9), 10**9, places=2), min_size=1, max_size=30))
def test_money_written_with_groups_comes_back(amounts: list[Decimal]) -> None:
    for layout in ("{:,.2f}", "${:,.2f}", "{:,.2f} EUR"):
        texts = [layout.format(one).replace("$-", "-$") for one in amounts]
        assert standardised(MONEY, texts, "currency") == [(one, False) for one in amounts]


def test_dates() -> None:
    formats = ("date", ["%d/%m/%Y", "%d.%m.%y", "%Y-%m-%d", "%d %b %Y"])
    cases = {
        "31/12/2020": date(2020, 12, 31), "1/2/2020": date(2020, 2, 1), "1.2.20": date(2020, 2, 1), "2020-02-29": date(2020, 2, 29),
        "3 Mar 2020": date(2020, 3, 3), "31/02/2020": None, "29/02/2021": None, " 1/2/2020": None, "1/2/2020 ": None, "1/2/2020x": None,
        "1/2/20": None, "1/2/02020": None, "2020-13-01": None, "": None, "infinity": None, "1 /2/2020": None, "0000-01-01": None,
        "3  Mar 2020": None, "01/02/2020 00:00": None,
    }  # fmt: skip
    assert standardised(DATE, list(cases), formats) == [(one, one is None) for one in cases.values()]


def test_times_of_day_are_never_cut_off() -> None:
    formats = ("date", ["%d/%m/%Y %H:%M"])
    assert standardised(DATE, ["1/2/2020 10:30", "1/2/2020 00:00"], formats) == [(None, True)] * 2
    assert standardised(TIMESTAMP, ["1/2/2020 8:26"], formats) == [(datetime(2020, 2, 1, 8, 26), False)]
    assert standardised(TIMESTAMP, ["1/2/2020 1:02 PM"], ("date", "%d/%m/%Y %I:%M %p")) == [
        (datetime(2020, 2, 1, 13, 2), False)
    ]


def test_zones_in_formats() -> None:
    formats = ("date", ["%d/%m/%Y %H:%M %z"])
    assert standardised(INSTANT, ["1/2/2020 10:00 +0130"], formats) == [
        (datetime(2020, 2, 1, 8, 30, tzinfo=UTC), False)
    ]
    assert standardised(TIMESTAMP, ["1/2/2020 10:00 +0130"], formats) == [(None, True)]
    assert standardised(INSTANT, ["1/2/2020 10:00"], ("date", ["%d/%m/%Y %H:%M"])) == [(None, True)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.datetimes(min_value=datetime(1000, 1, 1)), min_size=1, max_size=20))
def test_dates_come_back_in_many_formats(moments: list[datetime]) -> None:
    for layout in (
        "%Y/%m/%d %H-%M-%S.%f",
        "%d %B %Y, %H:%M:%S.%f",
        "%a %d %b %Y %I:%M:%S.%f %p",
        "%Y%m%dT%H%M%S.%f",
        "%j %Y %H:%M:%S.%f",
    ):
        texts = [one.strftime(layout) for one in moments]
        assert standardised(TIMESTAMP, texts, ("date", [layout])) == [(one, False) for one in moments]


def test_typed_columns_become_text_only_for_a_declared_step() -> None:
    assert standardised(STRING, [7, None], ("map", {"7": "seven"}), source=pa.int32()) == [
        ("seven", False),
        (None, False),
    ]
    assert column(Field("x", STRING), "x", pa.string(), None).value == "x"


@pytest.mark.parametrize(
    "step",
    [("shout", None), ("date", []), ("date", ["%Q"]), ("map", ["a"]), ("currency", {"decimal": ";"}), ("date", None)],
)
def test_what_is_no_standardisation_is_refused(step: tuple[str, Any]) -> None:
    with pytest.raises(FixInputError):
        standardised(STRING, ["a"], step)

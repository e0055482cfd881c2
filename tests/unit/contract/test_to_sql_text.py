"""Text to typed values: equal to a slow obvious model, or bad."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from typed_in_duckdb import (
    BINARY,
    BOOLEAN,
    DATE,
    INSTANT,
    INTEGER,
    INTEGER_32,
    NUMBER,
    NUMBER_32,
    STRING,
    TIME,
    TIMESTAMP,
    decimal,
    typed,
)

from headgate.contract.model import Kind, Type

BAD = object()
NUMBER_TEXT = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,9})?")


def integer_model(bits: int) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        if not re.fullmatch("[+-]?[0-9]+", text):
            return BAD
        return int(text) if -(2 ** (bits - 1)) <= int(text) < 2 ** (bits - 1) else BAD

    return read


def decimal_model(precision: int, scale: int) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        if not NUMBER_TEXT.fullmatch(text):
            return BAD
        sign, digits, exponent = Decimal(text).as_tuple()
        while len(digits) > 1 and digits[-1] == 0:
            digits, exponent = digits[:-1], exponent + 1
        if digits == (0,):
            return Decimal(0)
        shift = exponent + scale
        if shift < 0 or shift + len(digits) > precision:
            return BAD
        return Decimal((sign, digits, exponent))

    return read


@dataclass
class Perhaps:
    """Exactly this value or bad: halfway cases that may be rounded either way."""

    value: float


def number_model(text: str) -> Any:
    return float_model(text, float, lambda one, way: float(np.nextafter(one, way)), -400)


def number_32_model(text: str) -> Any:
    return float_model(text, np.float32, lambda one, way: np.nextafter(one, np.float32(way)), -60)


def float_model(text: str, make: Any, step: Callable[[Any, float], Any], least: int) -> Any:
    """The nearest float, when it is within half a unit of the text's last digit that is not a trailing zero."""
    if not NUMBER_TEXT.fullmatch(text):
        return BAD
    exact = Decimal(text)
    if exact == 0:
        return float(text)
    if exact.adjusted() < least or exact.adjusted() > 400:
        return BAD
    with np.errstate(over="ignore"):
        near = make(float(text))
        around = [one for one in (step(near, -np.inf), near, step(near, np.inf)) if np.isfinite(one)]
    if not np.isfinite(near):
        return BAD
    away = [abs(Fraction(float(one)) - Fraction(exact)) for one in around]
    # float() has rounded once already: of the three candidates the nearest to the text, not to that.
    value = around[away.index(min(away))]
    _, digits, exponent = exact.as_tuple()
    while digits[-1] == 0:
        digits, exponent = digits[:-1], exponent + 1
    half = Fraction(10) ** exponent / 2
    if min(away) == half or away.count(min(away)) > 1:
        return Perhaps(float(near))
    return float(value) if min(away) < half else BAD


def boolean_model(text: str) -> Any:
    return {"true": True, "t": True, "false": False, "f": False}.get(text.lower() if text.isascii() else text, BAD)


DATE_TEXT = r"(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})"
TIME_TEXT = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})(?:\.(?P<micro>[0-9]{1,6})0*)?"
ZONE_TEXT = r"(?P<zone>Z|(?P<sign>[+-])(?P<zh>0[0-9]|1[0-5])(?P<rest>[0-5][0-9]|(?::[0-5][0-9]){1,2})?)"


def moment(match: re.Match[str] | None) -> datetime:
    if match is None:
        raise ValueError
    got = match.groupdict()
    clock = [int(got.get(name) or 0) for name in ("hour", "minute", "second")]
    day = [int(got.get(name) or 1) for name in ("year", "month", "day")]
    if got.get("year") == "0000":
        raise ValueError
    return datetime(*day, *clock, int((got.get("micro") or "").ljust(6, "0") or 0))


def date_model(text: str) -> Any:
    try:
        return moment(re.fullmatch(DATE_TEXT, text)).date()
    except ValueError:
        return BAD


def time_model(text: str) -> Any:
    try:
        return moment(re.fullmatch(TIME_TEXT, text)).time()
    except ValueError:
        return BAD


def timestamp_model(text: str) -> Any:
    try:
        return moment(re.fullmatch(f"{DATE_TEXT}[ T]{TIME_TEXT}", text))
    except ValueError:
        return BAD


def instant_model(text: str) -> Any:
    match = re.fullmatch(f"{DATE_TEXT}[ T]{TIME_TEXT}{ZONE_TEXT}", text)
    try:
        local = moment(match)
        rest = (match["rest"] or "").replace(":", "").ljust(4, "0")
        away = timedelta(hours=int(match["zh"] or 0), minutes=int(rest[:2]), seconds=int(rest[2:]))
        return (local - away if match["sign"] == "+" else local + away).replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return BAD


def binary_model(text: str) -> Any:
    return bytes.fromhex(text[2:]) if re.fullmatch(r"\\x(?:[0-9a-fA-F]{2})*", text) else BAD


MODELS: list[tuple[str, Type, Callable[[str], Any]]] = [
    ("int64", INTEGER, integer_model(64)),
    ("int32", INTEGER_32, integer_model(32)),
    ("decimal(12,3)", decimal(12, 3), decimal_model(12, 3)),
    ("decimal(38,0)", decimal(38, 0), decimal_model(38, 0)),
    ("decimal(38,38)", decimal(38, 38), decimal_model(38, 38)),
    ("decimal(1,1)", decimal(1, 1), decimal_model(1, 1)),
    ("decimal(18,2)", decimal(18, 2), decimal_model(18, 2)),
    ("float64", NUMBER, number_model),
    ("float32", NUMBER_32, number_32_model),
    ("boolean", BOOLEAN, boolean_model),
    ("date", DATE, date_model),
    ("time", TIME, time_model),
    ("timestamp", TIMESTAMP, timestamp_model),
    ("instant", INSTANT, instant_model),
    ("binary", BINARY, binary_model),
    ("string", STRING, lambda text: text),
]

EDGES = """
NaN nan Infinity -Infinity inf infinity epoch now today yes no on off y n 1 0 01 -0 +0 --1 +-1 5. .5 . - + e5 1e 1e+ 1e5
-0.0 0e9 0e999999999 1e-21 1e21 1E3 1.5e3 15e-1 1_000 1,000 0x1F 0b1 0o7 1f 1d ½ ² １２ ١٢ 9007199254740993
9007199254740992 9223372036854775807 9223372036854775808 -9223372036854775808 -9223372036854775809 2147483647
2147483648 -2147483648 -2147483649 0.1 0.30000000000000004 0.1000000000000000055511151231257827 1e400 1e-400 5e-324
2.4703282292062327e-324 1.7976931348623157e308 1.7976931348623159e308 3.4028235e38 3.4028236e38 1e-45 16777217
123456789012345678901234567890123456789012345678901 999999999.999 1000000000 -999999999.9990 0.0005 1.2345 1.2000
1e999999999 1e-999999999 1e9999999999 true TRUE True tRuE t T f F false ｔ 2024-02-29 2023-02-29 2100-02-29 2000-02-29
2026-02-30 2026-2-3 26-02-03 0000-01-01 0001-01-01 9999-12-31 10000-01-01 -0001-01-01 2026-13-01 2026-00-10 2026-01-00
2026/01/01 20260101 2026-W01-1 24:00:00 23:59:60 23:59:59.999999 23:59:59.9999990000 23:59:59.9999999 00:00 1:02:03
12:00:00Z 12:00:00+02 2026-03-29T02:30:00Z 2026-03-29T02:30:00 2026-11-01T01:30:00-04:00 2026-11-01T01:30:00-05
0001-01-01T00:00:00+00:01 9999-12-31T23:59:59.999999-00:01 9999-12-31T23:59:59.999999Z 0001-01-01T00:00:00Z
2026-01-01T00:00:00z 2026-01-01t00:00:00Z 2026-01-01T24:00:00Z 2026-01-01T00:00:00+15:59:59 2026-01-01T00:00:00+16
2026-01-01T00:00:00+0530 2026-01-01T00:00:00+05:3 2026-01-01T00:00:00.Z 2026-01-01T00:00:00,5Z 2016-12-31T23:59:60Z
\\x \\xAB \\xabc \\xAg 0xAB 1900-01-01T00:00:00-00:19:32 1e5.5 ٣ 1\N{MINUS SIGN}2 \N{MINUS SIGN}1 \N{LATIN SMALL LETTER LONG S}
""".split() + [
    "", " ", " 12", "12 ", "1 2", "12\n", "\n12", "\t1", "1\0", "\0", "1\u00a0", "1.5\n", "true\n", " true",
    "2026-01-01 ", " 2026-01-01", "2026-01-01\n", "2026-01-01 00:00:00", "2026-01-01 00:00:00 ", "2026-01-01  00:00:00",
    "2026-01-01 00:00:00 UTC", "2026-01-01 00:00:00 America/New_York", "2026-01-01 00:00:00 +02", "0044-03-15 (BC)",
    "0044-03-15 BC", "2026-01-01 00:00:00+00 BC", "0" * 60 + "1", "1." + "0" * 60, "0." + "0" * 40 + "1", "9" * 38,
    "1" + "0" * 38, "." + "9" * 38, "0." + "0" * 37 + "1", "1e37", "1e38", "1e-38", "1e-39", "0" * 400 + "1.5",
]  # fmt: skip

NEAR = "0123456789+-.eE:T Z/_,xnafiIN\n\u0661"
DIGITS = st.text("0123456789", max_size=22)
NUMBERS = st.builds(
    "{}{}{}{}{}".format,
    st.sampled_from(["", "", "-", "+"]),
    DIGITS,
    st.sampled_from(["", ".", "."]),
    DIGITS,
    st.one_of(st.just(""), st.integers(-45, 45).map("e{}".format), st.integers(-400, 400).map("E{:+}".format)),
)
MOMENTS = st.builds(
    "{}{}{}{}".format,
    st.one_of(st.dates().map(str), st.from_regex(r"[0-9]{4}-[01][0-9]-[0-3][0-9]", fullmatch=True)),
    st.sampled_from(["", " ", "T"]),
    st.one_of(
        st.just(""),
        st.times().map(str),
        st.from_regex(r"[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\.[0-9]{1,5}0{0,4})?", fullmatch=True),
    ),
    st.one_of(st.just(""), st.just("Z"), st.from_regex(r"[+-][01][0-9](:?[0-6][0-9]){0,2}", fullmatch=True)),
)
FLOATS = st.floats(allow_nan=True, allow_infinity=True).map(repr)
FLOATS_32 = st.floats(width=32).map(lambda one: str(np.float32(one)))
DECIMALS = st.decimals(allow_nan=True, places=3).map(str)


def spoiled(texts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """A text with one character put in."""
    return st.builds(
        lambda text, at, extra: text[: at % (len(text) + 1)] + extra + text[at % (len(text) + 1) :],
        texts,
        st.integers(0, 60),
        st.sampled_from(NEAR),
    )


PLAIN = st.one_of(
    NUMBERS, MOMENTS, FLOATS, FLOATS_32, DECIMALS, st.integers(-(2**65), 2**65).map(str), st.times().map(str)
)
TEXTS = st.one_of(
    PLAIN,
    spoiled(PLAIN),
    st.sampled_from(EDGES),
    st.text(NEAR, max_size=12),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)


def check(of: Type, model: Callable[[str], Any], texts: list[str]) -> None:
    for text, (value, bad) in zip(texts, typed(of, texts), strict=True):
        wanted = model(text)
        if isinstance(wanted, Perhaps):
            wanted = BAD if bad else wanted.value
        if wanted is BAD:
            assert bad, (text, value)
            assert value is None, text
        else:
            assert not bad, text
            assert value == wanted, text
            assert type(value) is type(wanted) or isinstance(value, Decimal), text
            if of.kind is Kind.NUMBER:
                assert np.copysign(1, value) == np.copysign(1, wanted), text


@pytest.mark.parametrize(("of", "model"), [one[1:] for one in MODELS], ids=[one[0] for one in MODELS])
def test_edge_texts_are_exact_or_bad(of: Type, model: Callable[[str], Any]) -> None:
    check(of, model, EDGES)


@pytest.mark.parametrize(("of", "model"), [one[1:] for one in MODELS], ids=[one[0] for one in MODELS])
@settings(max_examples=25, deadline=None, phases=(Phase.explicit, Phase.generate))  # the message names the text
@given(texts=st.lists(TEXTS, min_size=30, max_size=150))
def test_any_text_is_exact_or_bad(of: Type, model: Callable[[str], Any], texts: list[str]) -> None:
    check(of, model, texts)


def test_the_models_accept_something() -> None:
    accepted = {name: sum(model(text) is not BAD for text in EDGES) for name, _, model in MODELS}
    assert all(count >= 2 for count in accepted.values()), accepted


def test_null_is_neither_value_nor_bad() -> None:
    for _, of, _ in MODELS:
        assert typed(of, [None]) == [(None, False)]


def test_dates_keep_their_python_type() -> None:
    assert typed(DATE, ["2024-02-29"]) == [(date(2024, 2, 29), False)]
    assert typed(TIME, ["23:59:59.5"]) == [(time(23, 59, 59, 500000), False)]

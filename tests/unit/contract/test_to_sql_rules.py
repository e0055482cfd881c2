"""Row rules against slow obvious Python."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import math
import re
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
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
    array,
    ask,
    broken,
    dataset,
    decimal,
    mapping,
    record,
)

from headgate.contract.model import Dataset, Field, Rule, Type
from headgate.contract.to_sql import dropped, duckdb_type, fails, literal
from headgate.errors import ContractSyntaxError

PRICE = decimal(12, 3)


def rule(check: str, argument: Any = None, field: str | None = "x") -> Rule:
    return Rule(f"x.{check}", check, field, argument)


COMPARISONS = {
    "minimum": lambda value, bound: value < bound,
    "maximum": lambda value, bound: value > bound,
    "exclusive_minimum": lambda value, bound: value <= bound,
    "exclusive_maximum": lambda value, bound: value >= bound,
}
BOUNDS = st.one_of(
    st.decimals(-10, 10, places=4),
    st.integers(-(2**66), 2**66).map(Decimal),
    st.sampled_from([Decimal(one) for one in ("2147483647", "-2147483648", "9223372036854775807", "-9223372036854775808",
                                              "9223372036854775807.5", "1e9", "-1e9", "999999999.999", "-999999999.9995", "1e40")]),
)  # fmt: skip


@pytest.mark.parametrize("check", COMPARISONS)
@pytest.mark.parametrize(("of", "arrow"), [(INTEGER, pa.int64()), (INTEGER_32, pa.int32())], ids=["int64", "int32"])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_bounds_of_integers(check: str, of: Type, arrow: pa.DataType, data: st.DataObject) -> None:
    low, high = -(2 ** (of.bits - 1)), 2 ** (of.bits - 1) - 1
    bound = data.draw(BOUNDS)
    near = [one for one in (int(bound) - 1, int(bound), int(bound) + 1) if low <= one <= high]
    values = [low, high, 0, None, *near, *data.draw(st.lists(st.integers(-20, 20), max_size=5))]
    wanted = [value is not None and COMPARISONS[check](value, bound) for value in values]
    assert broken(rule(check, bound), of, values, arrow) == wanted


@pytest.mark.parametrize("check", COMPARISONS)
@settings(max_examples=60, deadline=None)
@given(bound=BOUNDS, values=st.lists(st.decimals(-10, 10, places=3) | st.none(), min_size=1))
def test_bounds_of_decimals(check: str, bound: Decimal, values: list[Decimal | None]) -> None:
    values += [Decimal("999999999.999"), Decimal("-999999999.999")]
    wanted = [value is not None and COMPARISONS[check](value, bound) for value in values]
    assert broken(rule(check, bound), PRICE, values, pa.decimal128(12, 3)) == wanted


@pytest.mark.parametrize("check", COMPARISONS)
@settings(max_examples=60, deadline=None)
@given(
    bound=BOUNDS,
    values=st.lists(st.floats() | st.none() | st.sampled_from([0.1, 0.3, 0.30000000000000004]), min_size=1),
)
def test_bounds_of_floats(check: str, bound: Decimal, values: list[float | None]) -> None:
    wanted = [value is not None and (math.isnan(value) or COMPARISONS[check](value, float(bound))) for value in values]
    assert broken(rule(check, bound), NUMBER, values, pa.float64()) == wanted


def test_not_a_number_is_within_no_bounds() -> None:
    for check in COMPARISONS:
        assert broken(rule(check, 0), NUMBER_32, [math.nan], pa.float32()) == [True]


def test_bounds_of_times() -> None:
    assert broken(rule("minimum", "2026-01-01"), DATE, [date(2025, 12, 31), date(2026, 1, 1), None]) == [
        True,
        False,
        False,
    ]
    assert broken(rule("exclusive_maximum", "12:00:00"), TIME, [time(11), time(12)]) == [False, True]
    naive = [datetime(2026, 1, 1), datetime(2026, 1, 1, 0, 0, 0, 1)]
    assert broken(rule("maximum", "2026-01-01T00:00:00"), TIMESTAMP, naive, pa.timestamp("us")) == [False, True]
    zoned = [datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 5, 30, tzinfo=UTC)]
    arrow = pa.timestamp("us", "UTC")
    assert broken(rule("minimum", "2026-01-01T02:30:00+02:00"), INSTANT, zoned, arrow) == [True, False]
    assert broken(rule("exclusive_minimum", "2026-01-01"), INSTANT, zoned, arrow) == [True, False]


@settings(max_examples=80, deadline=None)
@given(
    values=st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-50, 50) | st.none(), min_size=1),
    step=st.sampled_from([Decimal(one) for one in ("1", "5", "0.5", "2.5", "1000", "0.3")]),
)
def test_multiples_of_integers(values: list[int | None], step: Decimal) -> None:
    wanted = [value is not None and Decimal(value) * 10 % int(step * 10) != 0 for value in values]
    assert broken(rule("multiple_of", step), INTEGER, values, pa.int64()) == wanted


@settings(max_examples=80, deadline=None)
@given(
    values=st.lists(st.decimals(-1000, 1000, places=3) | st.none(), min_size=1),
    step=st.sampled_from([Decimal(one) for one in ("0.01", "0.05", "1", "0.25", "3", "0.0001", "1E+2")]),
)
def test_multiples_of_decimals(values: list[Decimal | None], step: Decimal) -> None:
    wanted = [value is not None and int(value * 10**4) % int(step * 10**4) != 0 for value in values]
    assert broken(rule("multiple_of", step), PRICE, values, pa.decimal128(12, 3)) == wanted


def test_multiples_of_floats_are_judged_by_what_they_are_written_as() -> None:
    values = [0.3, 0.1 + 0.2, 19.99, 1e300, -0.1, 0.0, math.nan, math.inf, 1e-21, None]
    wanted = [False, True, True, True, False, False, True, True, True, False]
    assert broken(rule("multiple_of", Decimal("0.1")), NUMBER, values, pa.float64()) == wanted


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)


@settings(max_examples=60, deadline=None)
@given(values=st.lists(TEXTS | st.none(), min_size=1), bound=st.integers(0, 6))
def test_lengths_count_characters(values: list[str | None], bound: int) -> None:
    short = [value is not None and len(value) < bound for value in values]
    long = [value is not None and len(value) > bound for value in values]
    assert broken(rule("min_length", bound), STRING, values, pa.string()) == short
    assert broken(rule("max_length", bound), STRING, values, pa.string()) == long


def test_length_of_bytes() -> None:
    assert broken(rule("max_length", 2), BINARY, [b"ab", b"abc"]) == [False, True]


@settings(max_examples=60, deadline=None)
@given(values=st.lists(TEXTS | st.none(), min_size=1), listed=st.lists(TEXTS, min_size=1, max_size=5))
def test_lists_of_text(values: list[str | None], listed: list[str]) -> None:
    values += listed
    wanted = [value is not None and value not in listed for value in values]
    assert broken(rule("enum", listed), STRING, values, pa.string()) == wanted
    assert broken(rule("valid_values", tuple(listed)), STRING, values, pa.string()) == wanted


def test_lists_of_other_values() -> None:
    assert broken(rule("enum", [1, Decimal("2.0"), "3"]), INTEGER, [1, 2, 3, 4, None]) == [
        False,
        False,
        False,
        True,
        False,
    ]
    assert broken(rule("enum", [Decimal("0.1")]), NUMBER, [0.1, 0.2]) == [False, True]
    assert broken(rule("enum", ["2026-01-01"]), DATE, [date(2026, 1, 1), date(2026, 1, 2)]) == [False, True]
    assert broken(rule("enum", ["-9223372036854775808"]), INTEGER, [-(2**63)]) == [False]
    assert broken(rule("enum", []), STRING, ["a", None], pa.string()) == [True, False]


@pytest.mark.parametrize(
    "pattern", ["^[A-Z]{2}[0-9]+$", "b", "^$", "'", "a|^b", r"\\", r"\d\.", "(?i)AB", '"; --', "[é]"]
)
@settings(max_examples=40, deadline=None)
@given(values=st.lists(st.text("aAbB0123.'\\\"é\n;-", max_size=5) | st.none(), min_size=1))
def test_patterns_are_searched_for(pattern: str, values: list[str | None]) -> None:
    # Python's $ also matches before a last line end, RE2's and JSON Schema's does not.
    compiled = re.compile(re.sub(r"\$$", r"\\Z", pattern), re.ASCII)
    wanted = [value is not None and not compiled.search(value) for value in values]
    assert broken(rule("pattern", pattern), STRING, values, pa.string()) == wanted


def is_address(kind: Any, text: str) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return "%" not in text


V6 = st.one_of(
    st.ip_addresses(v=6).map(str),
    st.ip_addresses(v=6).map(lambda one: one.exploded),
    st.text("0123456789abcdefF:.", max_size=20),
    st.lists(st.sampled_from(["0", "1", "ffff", "", "abcd", "12345"]), max_size=9).map(":".join),
    st.builds("{}:{}".format, st.ip_addresses(v=6).map(str), st.ip_addresses(v=4).map(str)),
    st.builds("::{}{}".format, st.sampled_from(["", "ffff:", "1:2:3:4:5:"]), st.ip_addresses(v=4).map(str)),
)
V4 = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.text("0123456789.", max_size=15),
    st.lists(st.integers(0, 300).map(str), max_size=5).map(".".join),
)


@settings(max_examples=60, deadline=None)
@given(v6=st.lists(V6, min_size=20), v4=st.lists(V4, min_size=20))
def test_addresses(v6: list[str], v4: list[str]) -> None:
    assert broken(rule("format", "ipv6"), STRING, v6, pa.string()) == [
        not is_address(ipaddress.IPv6Address, one) for one in v6
    ]
    assert broken(rule("format", "ipv4"), STRING, v4, pa.string()) == [
        not is_address(ipaddress.IPv4Address, one) for one in v4
    ]


FORMATS = [
    ("uuid", ["123e4567-e89b-12d3-a456-426614174000", "00000000-0000-0000-0000-000000000000", "ABCDEF01-2345-6789-ABCD-EF0123456789"],
     ["", "123e4567e89b12d3a456426614174000", "{123e4567-e89b-12d3-a456-426614174000}", "123e4567-e89b-12d3-a456-42661417400g", "x"]),
    ("email", ["a@b.de", "first.last+tag@sub.example.co.uk", "o'neill@x-y.org", "a" * 64 + "@b.de"],
     ["", "a", "@b.de", "a@", "a@b", "a..b@c.de", ".a@b.de", "a@-b.de", "a b@c.de", "a@b.de\n", "a@b@c.de", "a@" + "b" * 64 + ".de", "a@" + "b." * 130 + "de"]),
    ("uri", ["https://a.de/b?c=d#e", "mailto:a@b.de", "urn:isbn:1", "http://[::1]:80/", "file:///a%20b"],
     ["", "a", "/a/b", "//a", "http:", "1a:b", "http://a b", "http://a%2", "http://ä.de", "a:\n"]),
    ("hostname", ["a", "a.b", "xn--bcher-kva.de", "1.2.3.4", "a" * 63], ["", ".", "a.", ".a", "-a", "a-", "a_b", "ä", "a" * 64, "a..b", "a b", ("a" * 60 + ".") * 4 + "abcdefghij"]),
    ("ipv4", ["1.2.3.4", "255.255.255.255"], ["01.2.3.4", "1.2.3", "1.2.3.4.5", "256.1.1.1", " 1.2.3.4", "1.2.3.4\n"]),
    ("byte", ["", "YQ==", "YWI=", "YWJj"], ["Y", "YQ=", "YQ", "Y===", "YQ==YQ==", "YQ-_"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "right", "wrong"), FORMATS, ids=[one[0] for one in FORMATS])
def test_formats(name: str, right: list[str], wrong: list[str]) -> None:
    assert dict(zip(right + wrong, broken(rule("format", name), STRING, right + wrong), strict=True)) == {
        **dict.fromkeys(right, False),
        **dict.fromkeys(wrong, True),
    }
    assert broken(rule("format", name), STRING, [None], pa.string()) == [False]


def test_formats_that_say_nothing_about_the_value() -> None:
    assert fails(rule("format", "yyyy-MM-dd"), dataset(x=DATE)) == "false"
    assert fails(rule("format", "password"), dataset(x=STRING)) == "false"


def test_required() -> None:
    assert broken(rule("required"), STRING, ["", None], pa.string()) == [False, True]


def test_items() -> None:
    lists = [[], [1], [1, 1], [1, None], [None, None], None]
    of, arrow = array(INTEGER), pa.list_(pa.int64())
    assert broken(rule("min_items", 1), of, lists, arrow) == [True, False, False, False, False, False]
    assert broken(rule("max_items", 1), of, lists, arrow) == [False, False, True, True, True, False]
    assert broken(rule("unique_items", True), of, lists, arrow) == [False, False, True, False, True, False]
    assert broken(rule("min_items", 1), mapping(STRING, STRING), [[], [("a", "b")], None], pa.map_(pa.string(), pa.string())) == [
        True, False, False,
    ]  # fmt: skip


PAYLOAD = record(sku=STRING, items=array(record(qty=INTEGER, tags=array(STRING))), prices=mapping(STRING, PRICE))
PAYLOADS = pa.struct([
    ("sku", pa.string()),
    ("items", pa.list_(pa.struct([("qty", pa.int64()), ("tags", pa.list_(pa.string()))]))),
    ("prices", pa.map_(pa.string(), pa.decimal128(12, 3))),
])  # fmt: skip


def payload(*quantities: int | None, tags: Any = None, prices: Any = None) -> Any:
    return {"sku": None, "items": [{"qty": one, "tags": tags} for one in quantities], "prices": prices}


def test_paths_into_lists_judge_every_item() -> None:
    rows = [payload(1, 2), payload(1, 0), payload(None), payload(), {"sku": "a", "items": None, "prices": None}, None]
    assert broken(rule("minimum", 1, "x.items[].qty"), PAYLOAD, rows, PAYLOADS) == [
        False,
        True,
        False,
        False,
        False,
        False,
    ]
    assert broken(rule("required", None, "x.items[].qty"), PAYLOAD, rows, PAYLOADS) == [
        False,
        False,
        True,
        False,
        False,
        False,
    ]
    assert broken(rule("required", None, "x.items"), PAYLOAD, rows, PAYLOADS) == [
        False,
        False,
        False,
        False,
        True,
        False,
    ]
    assert broken(rule("required", None, "x.sku"), PAYLOAD, rows, PAYLOADS) == [True, True, True, True, False, False]
    assert broken(rule("required", None, "x"), PAYLOAD, rows, PAYLOADS) == [False, False, False, False, False, True]
    assert broken(rule("max_items", 1, "x.items"), PAYLOAD, rows, PAYLOADS) == [True, True, False, False, False, False]


def test_paths_into_lists_in_lists_and_maps() -> None:
    rows = [payload(1, tags=["a", None]), payload(1, tags=["b"]), payload(1, prices=[("a", Decimal(-1))])]
    assert broken(rule("enum", ["a"], "x.items[].tags[]"), PAYLOAD, rows, PAYLOADS) == [False, True, False]
    assert broken(rule("min_items", 2, "x.items[].tags"), PAYLOAD, rows, PAYLOADS) == [False, True, False]
    assert broken(rule("required", None, "x.items[].tags[]"), PAYLOAD, rows, PAYLOADS) == [True, False, False]
    assert broken(rule("minimum", 0, "x.prices[]"), PAYLOAD, rows, PAYLOADS) == [False, False, True]


def test_sql_rules_pass_on_null() -> None:
    assert broken(rule("sql", "x > 1 -- at least two", None), INTEGER, [1, 2, None]) == [True, False, False]
    assert broken(rule("sql", "x > 1 OR x = 0", None), INTEGER, [0, 1]) == [False, True]
    assert ask(f"SELECT {dropped(rule('sql', 'x > 1 -- big'))} FROM (VALUES (1), (2), (NULL)) t(x)") == [
        (False,),
        (True,),
        (False,),
    ]


def test_type_is_judged_elsewhere() -> None:
    assert fails(rule("type"), dataset(x=INTEGER)) == "false"


NAMES = Dataset("d", (Field('we"ird name', STRING), Field("order", INTEGER)), "c", "1")


def test_names_are_quoted() -> None:
    condition = fails(rule("enum", ["it's"], 'we"ird name'), NAMES)
    assert ask(f"""SELECT {condition} FROM (SELECT 'it''s' AS "we""ird name")""") == [(False,)]
    assert ask(f'SELECT {fails(rule("minimum", 1, "order"), NAMES)} FROM (SELECT 0 AS "order")') == [(True,)]


NONSENSE = [
    rule("minimum", "x"), rule("minimum", True), rule("enum", [1.5]), rule("enum", [2**63]), rule("min_length", 1),
    rule("pattern", "a"), rule("min_items", 1), rule("required", None, "y"), rule("required", None, "x.y"), rule("required", None, "x[]"),
    rule("required", None, None), rule("what"), rule("multiple_of", 0), rule("multiple_of", Decimal("1e-30")),
    rule("checksum", {"field": "x", "of": "x", "algorithm": "sha256"}), rule("checksum", {"field": "y", "of": "x", "algorithm": "md5"}),
]  # fmt: skip


@pytest.mark.parametrize("wrong", NONSENSE, ids=lambda one: f"{one.check}-{one.argument}")
def test_rules_that_make_no_sense_are_refused(wrong: Rule) -> None:
    with pytest.raises(ContractSyntaxError):
        fails(wrong, dataset(x=INTEGER))


def test_more_nonsense() -> None:
    for of, wrong in [
        (STRING, rule("format", "zip")),
        (TIMESTAMP, rule("minimum", "2026-01-01T00:00:00Z")),
        (DATE, rule("minimum", "2026-02-30")),
        (PRICE, rule("enum", [Decimal("1.0005")])),
        (PRICE, rule("enum", [Decimal("1e9")])),
    ]:
        with pytest.raises(ContractSyntaxError):
            fails(wrong, dataset(x=of))


def checksum_breaks(of: Type, value: str, given_sum: Any, algorithm: str = "sha256", sum_of: Type = STRING) -> bool:
    one = Rule("c", "checksum", None, {"field": "sum", "of": "x", "algorithm": algorithm})
    condition = fails(one, dataset(x=of, sum=sum_of))
    row = f"SELECT CAST({value} AS {duckdb_type(of)}) AS x, {literal(given_sum)} AS sum"
    return bool(ask(f"SELECT {condition} FROM ({row})")[0][0])


def test_checksums_of_text() -> None:
    digest = hashlib.sha256("é'".encode())
    assert not checksum_breaks(STRING, literal("é'"), digest.hexdigest().upper())
    assert not checksum_breaks(STRING, literal("é'"), digest.digest(), sum_of=BINARY)
    assert not checksum_breaks(STRING, literal("é'"), hashlib.md5("é'".encode()).hexdigest(), "md5")
    assert checksum_breaks(STRING, literal("é"), digest.hexdigest())
    assert checksum_breaks(STRING, literal("é'"), "")
    assert not checksum_breaks(STRING, "NULL", digest.hexdigest())
    assert not checksum_breaks(STRING, literal("a"), None)


MEMBERS = {"z": STRING, "a": INTEGER, "é": NUMBER, "list": array(record(b=STRING)), "ok": BOOLEAN}


@settings(max_examples=80, deadline=None)
@given(
    st.fixed_dictionaries({
        "z": st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5),
        "a": st.none() | st.integers(-(2**63), 2**63 - 1),
        "é": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "list": st.none() | st.lists(st.none() | st.fixed_dictionaries({"b": st.none() | st.text("a\"\\\n\x1f/'", max_size=4)}), max_size=3),
        "ok": st.none() | st.booleans(),
    })
)  # fmt: skip
def test_checksums_of_objects_are_over_what_python_writes(value: dict[str, Any]) -> None:
    of = record(**{name: MEMBERS[name] for name in value})
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    as_sql = (
        "{"
        + ", ".join(
            f"{literal(k)}: {literal(v) if v != [] else 'CAST([] AS ' + duckdb_type(MEMBERS[k]) + ')'}"
            for k, v in value.items()
        )
        + "}"
    )
    assert not checksum_breaks(of, as_sql, hashlib.sha256(text.encode()).hexdigest()), text


def test_canonical_text_of_other_types() -> None:
    of = record(p=PRICE, d=DATE, t=INSTANT, n=TIMESTAMP, m=mapping(STRING, INTEGER))
    row = (
        "{'p': 19.990, 'd': DATE '2026-01-02', 't': TIMESTAMPTZ '2026-01-02 03:04:05.5+01', "
        "'n': TIMESTAMP '2026-01-02 03:04:05', 'm': MAP(['b', 'a'], [1, 2])}"
    )
    text = '{"d":"2026-01-02","m":{"a":2,"b":1},"n":"2026-01-02T03:04:05","p":19.99,"t":"2026-01-02T02:04:05.5Z"}'
    assert not checksum_breaks(of, row, hashlib.sha256(text.encode()).hexdigest())

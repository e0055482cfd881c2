"""JSON text and PostgreSQL array literals to arrays, objects and maps."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from typed_in_duckdb import BOOLEAN, INSTANT, INTEGER, NUMBER, STRING, array, decimal, mapping, record, typed

from headgate.contract.model import Kind, Type

BAD = object()
ORDER = record(id=INTEGER, price=decimal(30, 12), note=STRING, tags=array(STRING), ok=BOOLEAN, inner=record(x=NUMBER))


def test_numbers_keep_every_digit() -> None:
    texts = ["[123456789.123456789123, 1.10, 1e2]", "[1.1234567890123]", "[123456789012345678901234567890]"]
    got = [[str(one) for one in value] if value else None for value, _ in typed(array(decimal(30, 12)), texts)]
    assert got == [["123456789.123456789123", "1.100000000000", "100.000000000000"], None, None]


@pytest.mark.parametrize(
    "text",
    ['{"id": "1"}', '{"id": 1.0}', '{"id": true}', '{"note": 1}', '{"ok": "true"}', '{"ok": 1}', '{"tags": "a"}',
     '{"tags": {}}', '{"inner": []}', '{"inner": {"x": "1"}}', '{"id": 1, "id": 2}', '{"id": 1, "id": 1}', '{"unknown": 1}',
     '{"inner": {"y": 1}}', '{"id": 1,}', '{"tags": ["a",]}', '{"id": NaN}', '{"id": Infinity}', '{"id": 01}', '{"id": +1}',
     '{"inner": {"x": 1e400}}', "{'id': 1}", "{id: 1}", '{"id": 1} {}', '{"id": 1} // x', "null", "1", '"a"', "[]", "", " ",
     "nan", '{"id": 1', '{"note": "\ud800"}'.encode("utf-8", "backslashreplace").decode(), '{"note": "a\nb"}', "{1: 2}",
     '{"note": "\\x41"}', '{"id": 1e3}', '{"id": 9223372036854775808}', "\ufeff{}", '{"ID": 1}'],
)  # fmt: skip
def test_what_is_no_order_is_bad(text: str) -> None:
    assert typed(ORDER, [text]) == [(None, True)]


def test_absent_members_and_nulls_are_null() -> None:
    empty = {"id": None, "price": None, "note": None, "tags": None, "ok": None, "inner": None}
    texts = ["{}", '{"id":null,"inner":null,"tags":null}', ' { "inner" : { "x" : null } , "tags" : [ null ] } ']
    assert typed(ORDER, [*texts, None]) == [
        (empty, False),
        (empty, False),
        ({**empty, "inner": {"x": None}, "tags": [None]}, False),
        (None, False),
    ]


def test_strings_in_json_are_unescaped_once() -> None:
    texts = [json.dumps([one]) for one in ('"', "\\", "é", "\x01", "1", "\x011", "1\x01", "\U0001f600", "\\u0001", "")]
    assert [value for value, _ in typed(array(STRING), texts)] == [json.loads(one) for one in texts]


def test_times_in_json() -> None:
    got = typed(array(INSTANT), ['["2026-01-01T00:00:00Z"]', '["2026-01-01T00:00:00"]', "[1767225600]"])
    assert [bad for _, bad in got] == [False, True, True]


JSON_TYPES = st.recursive(
    st.sampled_from([INTEGER, STRING, BOOLEAN, decimal(12, 3)]),
    lambda inner: st.one_of(
        inner.map(array),
        inner.map(lambda one: mapping(STRING, one)),
        st.dictionaries(st.sampled_from(["a", 'q"', "b c", "ü", "d.e", "$", "\\"]), inner, min_size=1, max_size=3).map(
            lambda members: record(**members)
        ),
    ),
    max_leaves=6,
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.decimals(-(10**10), 10**10, places=2).map(float)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4)
)
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", 'q"', "zz"]), inner, max_size=3),
    max_leaves=5,
)


def fitting(of: Type) -> st.SearchStrategy[Any]:
    """JSON values that mostly fit the type."""
    match of.kind:
        case Kind.INTEGER:
            right: st.SearchStrategy[Any] = st.integers(-(2**63), 2**63 - 1)
        case Kind.STRING:
            right = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
        case Kind.BOOLEAN:
            right = st.booleans()
        case Kind.DECIMAL:
            right = st.integers(-(10**6), 10**6)
        case Kind.ARRAY:
            right = st.lists(fitting(of.item.type), max_size=3)
        case Kind.MAP:
            right = st.dictionaries(st.text("ab\"\\é'", max_size=3), fitting(of.item.type), max_size=3)
        case _:
            right = st.fixed_dictionaries({}, optional={one.name: fitting(one.type) for one in of.fields})
    return st.integers(0, 30).flatmap(lambda pick: ANYTHING if pick == 0 else st.none() if pick == 1 else right)


def model(of: Type, value: Any, *, top: bool = False) -> Any:
    if value is None:
        return BAD if top else None
    match of.kind:
        case Kind.INTEGER:
            return value if type(value) is int and -(2**63) <= value < 2**63 else BAD
        case Kind.STRING:
            return value if isinstance(value, str) else BAD
        case Kind.BOOLEAN:
            return value if isinstance(value, bool) else BAD
        case Kind.DECIMAL:
            fits = type(value) in (int, float) and abs(value) < 10**9
            return round(value, 3) if fits else BAD
        case Kind.ARRAY:
            items = [model(of.item.type, one) for one in value] if isinstance(value, list) else [BAD]
            return BAD if any(one is BAD for one in items) else items
        case Kind.MAP:
            if not isinstance(value, dict):
                return BAD
            pairs = [(key, model(of.item.type, one)) for key, one in value.items()]
            return BAD if any(one is BAD for _, one in pairs) else pairs
        case _:
            if not isinstance(value, dict) or not set(value) <= {one.name for one in of.fields}:
                return BAD
            members = {one.name: model(one.type, value.get(one.name)) for one in of.fields}
            return BAD if any(one is BAD for one in members.values()) else members


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(plain(one) for one in value)
    return value if value is None or isinstance(value, int | str) else float(value)


@settings(max_examples=120, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(data=st.data())
def test_any_json_is_exact_or_bad(data: st.DataObject) -> None:
    of = array(data.draw(JSON_TYPES))
    values = data.draw(st.lists(fitting(of), min_size=1, max_size=10))
    texts = [json.dumps(value, ensure_ascii=data.draw(st.booleans())) for value in values]
    for text, value, (got, bad) in zip(texts, values, typed(of, texts), strict=True):
        wanted = model(of, value, top=True)
        assert bad is (wanted is BAD), (of, text)
        assert plain(got) == (None if wanted is BAD else plain(wanted)), (of, text)


def literal_of(items: list[str | None]) -> str:
    """As PostgreSQL writes an array."""

    def element(item: str | None) -> str:
        if item is None:
            return "NULL"
        quoted = item == "" or item.upper() == "NULL" or any(one in '{},"\\ \t\n\r\v\f' for one in item)
        return '"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"' if quoted else item

    return "{" + ",".join(element(item) for item in items) + "}"


@settings(max_examples=150, deadline=None)
@given(st.lists(st.none() | st.text('ab{},"\\ \n\tNULé', max_size=5), max_size=5))
def test_postgres_arrays_of_text_come_back(items: list[str | None]) -> None:
    assert typed(array(STRING), [literal_of(items)]) == [(items, False)]


def test_postgres_arrays() -> None:
    texts = [
        "{1,2,NULL}",
        "{}",
        "{{1,2},{3,4}}",
        "[0:1]={1,2}",
        "{1,}",
        "{,1}",
        "{ 1 }",
        "{1.5}",
        "{1",
        "1}",
        '{"1"}',
        "{null}",
    ]
    got = typed(array(INTEGER), texts)
    assert got == [
        ([1, 2, None], False), ([], False), (None, True), (None, True), (None, True), (None, True), (None, True), (None, True),
        (None, True), (None, True), ([1], False), ([None], False),
    ]  # fmt: skip
    assert typed(array(BOOLEAN), ["{t,f,NULL}"]) == [([True, False, None], False)]
    assert typed(array(array(INTEGER)), ["{{1}}", "[[1],null]"]) == [(None, True), ([[1], None], False)]

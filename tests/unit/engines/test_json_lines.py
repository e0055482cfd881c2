"""Raw JSON: what is let through is exact, what is not has every reason, and no line is lost."""

from __future__ import annotations

import json
import tempfile
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from refine_rig import Rig, dataset, instant, integer, money, sql_rule, text

from headgate import native
from headgate.contract.model import Field, Kind, Limits, Rule, Standardise, Type
from headgate.engines.duckdb.connection import Settings, connect
from headgate.engines.duckdb.json_lines import JsonDecoder
from headgate.ports.batch import FORMAT, INGESTED_AT, INSTANT, OFFSET, PARTITION, RAW

ITEM = Field("item", Type(Kind.OBJECT, fields=(text("sku"), integer("qty"), money("price"))))
PAYLOAD = Type(
    Kind.OBJECT,
    fields=(text("order"), money("amount"), Field("items", Type(Kind.ARRAY, item=ITEM))),
)
EVENT = dataset(
    [
        text("id", required=True, key_position=1),
        text("kind", required=True, enum=("new", "paid")),
        integer("qty", required=True, limits=Limits(minimum=Decimal(1), maximum=Decimal(1_000_000))),
        instant("at", required=True),
        Field("ratio", Type(Kind.NUMBER), required=True),
        Field("ok", Type(Kind.BOOLEAN), required=True),
        Field("payload", PAYLOAD, required=True),
        text("zip", required=True, limits=Limits(pattern="^[0-9]{5}$")),
    ],
    key=("id",),
    rules=(
        *(Rule(f"payload.{n}.required", "required", f"payload.{n}") for n in ("order", "amount", "items")),
        *(Rule(f"payload.items[].{n}.required", "required", f"payload.items[].{n}") for n in ("sku", "qty", "price")),
        Rule("payload.amount.minimum", "minimum", "payload.amount", Decimal(0)),
    ),
)
GOOD = {
    "id": "e1",
    "kind": "new",
    "qty": 2,
    "at": "2026-08-01T10:00:00.123Z",
    "ratio": 0.5,
    "ok": True,
    "payload": {"order": "o1", "amount": 19.99, "items": [{"sku": "s", "qty": 1, "price": 3.50}]},
    "zip": "01234",
}


def lines_table(lines):
    return pa.table({RAW: pa.array(lines, pa.binary()), FORMAT: ["json"] * len(lines)})


def dumps(**changes):
    return json.dumps({**GOOD, **changes}, ensure_ascii=False).encode()


def payload(**changes):
    return dumps(payload={**GOOD["payload"], **changes})


def reasons_of(rig):
    return {r[OFFSET]: [(x["rule"], x["field"], x["value"]) for x in r["reasons"]] for r in rig.rows("quarantine")}


def judged(tmp_path, of, lines):
    rig = Rig(tmp_path, of)
    rig.land(lines_table(lines))
    rig.refine()
    return rig


TORTURE = {
    "blank": b"",
    "white": b"   ",
    "list": b"[1,2]",
    "null": b"null",
    "bom": b"\xef\xbb\xbf" + dumps(),
    "bad utf-8 in a value": dumps(id="@").replace(b"@", b"\xff"),
    "bad utf-8 in an unknown field": dumps(x="@").replace(b"@", b"\xc0\x80"),
    "nul behind": dumps() + b"\0",
    "nul inside": dumps(id="@").replace(b"@", b"\0"),
    "nan": dumps(ratio=1).replace(b'"ratio": 1', b'"ratio": NaN'),
    "infinity": dumps(ratio=1).replace(b'"ratio": 1', b'"ratio": -Infinity'),
    "too large": dumps(ratio=1).replace(b'"ratio": 1', b'"ratio": 1e400'),
    "vanishing": dumps(ratio=1).replace(b'"ratio": 1', b'"ratio": 1e-400'),
    "vanishing amount": payload(amount=1).replace(b'"amount": 1', b'"amount": 1E-0400'),
    "true as amount": payload(amount=True),
    "null as amount": payload(amount=None),
    "text as amount": payload(amount="19.99"),
    "amount too exact": payload(amount=19.999),
    "amount too long": payload(amount=1).replace(b'"amount": 1', b'"amount": 19.990000000000000001'),
    "amount too large": payload(amount=1e11),
    "price too exact": payload(items=[{"sku": "s", "qty": 1, "price": 0.001}]),
    "repeated key": dumps()[:-1] + b', "qty": 3}',
    "repeated key inside": dumps().replace(b'"sku": "s"', b'"sku": "s", "sku": "t"'),
    "repeated key written as an escape": dumps()[:-1] + b', "\\u0071ty": 3}',
    "unknown key": dumps(extra=1),
    "unknown key inside": payload(extra=1),
    "missing key": json.dumps({k: v for k, v in GOOD.items() if k != "kind"}).encode(),
    "missing key inside": payload(items=[{"sku": "s", "qty": 1}]),
    "zip as number": dumps(zip=1234),
    "zip too short": dumps(zip="1234"),
    "trailing comma": dumps()[:-1] + b",}",
    "garbage behind": dumps() + b"xx",
    "two values": dumps() + dumps(),
    "cut short": dumps()[:40],
    "lone surrogate": dumps().replace(b'"e1"', b'"\\ud800"'),
    "half of a qty": dumps(qty=1.5),
    "qty as 2.0": dumps(qty=2.0),
    "qty as text": dumps(qty="2"),
    "huge qty": dumps(qty=10**11),
    "qty of 30 digits": dumps(qty=10**30),
    "no such day": dumps(at="2026-02-30T10:00:00Z"),
    "no zone": dumps(at="2026-02-20T10:00:00"),
    "nanoseconds": dumps(at="2026-02-20T10:00:00.123456789Z"),
    "nanoseconds and offset": dumps(at="2026-02-20T10:00:00.1234567+01:00"),
    "out of years": dumps(at="9999-12-31T23:30:00-01:00"),
    "epoch as number": dumps(at=1_790_000_000),
    "items as object": payload(items={}),
    "payload as text": dumps(payload="{}"),
    "deep": b'{"id":' * 3000,
    "digits without end": dumps(ratio=1).replace(b'"ratio": 1', b'"ratio": 0.' + b"1" * 5000),
}
FINE = [
    dumps(),
    dumps(id="e2\u00e9\U0001f600").replace(b"e2", b"\\u0065\\u0032"),
    b"  " + dumps(id="e3") + b"\t\r",
    dumps(id="e4", at="2026-08-01 10:00:00.123456+05:30"),
    dumps(id="e5", ratio=0.30000000000000004),
    dumps(id="e6", ratio=-0.0, qty=1_000_000),
    dumps(id="e7").replace(b"19.99", b"1.9990e1"),
    dumps(id="e8").replace(b"19.99", b"19.990000000000000000000000"),
    dumps(id="e9", payload={**GOOD["payload"], "items": []}),
]


def test_every_torture_line_is_quarantined_whole_and_every_fine_line_accepted(tmp_path):
    lines = [*FINE, *TORTURE.values()]
    rig = judged(tmp_path, EVENT, lines)
    assert [r[OFFSET] for r in rig.rows("silver")] == list(range(len(FINE)))
    names = list(TORTURE)
    kept = {r[OFFSET]: r["raw"] for r in rig.rows("quarantine")}
    missed = [names[n] for n in range(len(names)) if n + len(FINE) not in kept]
    assert missed == []
    assert list(kept.values()) == list(TORTURE.values())
    assert all(reasons_of(rig).values())
    silver = {r["id"]: r for r in rig.rows("silver")}
    assert silver["e2\u00e9\U0001f600"]["qty"] == 2
    assert str(silver["e4"]["at"]) == "2026-08-01 04:30:00.123456+00:00"
    assert {r["payload"]["amount"] for r in silver.values()} == {Decimal("19.99")}
    assert silver["e5"]["ratio"] == 0.30000000000000004


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("text as amount", [("payload.amount.type", "payload.amount", "19.99")]),
        ("null as amount", [("payload.amount.required", "payload.amount", None)]),
        ("missing key", [("kind.required", "kind", None)]),
        ("missing key inside", [("payload.items[].price.required", "payload.items[].price", None)]),
        ("zip too short", [("zip.pattern", "zip", "1234")]),
        ("zip as number", [("zip.type", "zip", "1234")]),
        ("huge qty", [("qty.maximum", "qty", "100000000000")]),
        ("repeated key", [("record", None, "key `qty` comes twice")]),
        ("unknown key inside", [("record", None, "unknown key `payload.extra`")]),
        ("payload as text", [("payload.type", "payload", "{}")]),
        ("half of a qty", [("qty.type", "qty", "1.5")]),
        ("amount too exact", [("payload.amount.type", "payload.amount", "19.999")]),
        ("cut short", [("record", None, "Input data was truncated")]),
        ("garbage behind", [("record", None, "JSON is malformed: trailing characters (byte 196)")]),
    ],
)
def test_a_reason_names_the_rule_the_field_and_the_value(tmp_path, line, expected):
    rig = judged(tmp_path, EVENT, [TORTURE[line]])
    found = reasons_of(rig)[0]
    if line == "missing key inside":
        found = [(rule, field, None) for rule, field, _ in found]
    if line == "garbage behind":
        found = [(rule, field, expected[0][2]) for rule, field, value in found if "trailing" in value]
    assert found == expected


def test_all_reasons_of_a_line_are_told_not_only_the_first(tmp_path):
    rig = judged(tmp_path, EVENT, [dumps(kind="old", qty=0, zip="x", at=1, extra=2, ratio="r")])
    assert sorted(rule for rule, _, _ in reasons_of(rig)[0]) == sorted(
        ["record", "kind.enum", "qty.minimum", "zip.pattern", "at.type", "ratio.type"]
    )


def test_values_in_reasons_are_cut_at_a_thousand_characters(tmp_path):
    rig = judged(tmp_path, EVENT, [dumps(qty="9" * 5000), dumps(zip="9" * 5000)])
    assert [len(r[0][2]) for r in reasons_of(rig).values()] == [1000, 1000]


WHO = Type(Kind.OBJECT, fields=(text("name"), integer("age")))
OPTIONAL = dataset(
    [
        text("id", required=True),
        text("note"),
        integer("n"),
        Field("tags", Type(Kind.ARRAY, item=text("tag"))),
        Field("who", WHO),
        Field("more", Type(Kind.MAP, key=text("k"), item=integer("v"))),
    ],
)


def test_optional_keys_may_be_absent_or_null_and_repeated_ones_are_still_found(tmp_path):
    lines = [
        b'{"id":"a"}',
        b'{"id":"b","note":null,"n":null,"tags":null,"who":null,"more":null}',
        b'{"id":"c","note":"x","n":1,"tags":["t",null],"who":{"name":"w"},"more":{"k":1,"l":null}}',
        b'{"id":"d","note":"x","note":"y"}',
        b'{"id":"e","who":{"age":1,"age":2}}',
        b'{"id":"f","more":{"k":1,"k":2}}',
        b'{"id":"g","who":{"age":1,"extra":2}}',
    ]
    rig = judged(tmp_path, OPTIONAL, lines * 3)
    assert [r["id"] for r in rig.rows("silver")] == ["a", "b", "c"] * 3
    third = rig.rows("silver")[2]
    assert third["tags"] == ["t", None]
    assert third["who"] == {"name": "w", "age": None}
    assert dict(third["more"]) == {"k": 1, "l": None}
    assert [r[0][2] for r in reasons_of(rig).values()][:4] == [
        "key `note` comes twice",
        "key `who.age` comes twice",
        "key `more.k` comes twice",
        "unknown key `who.extra`",
    ]


def test_unknown_keys_are_ignored_when_the_contract_says_so(tmp_path):
    of = dataset([text("id", required=True), integer("n")], properties={"unknown_fields": "ignore"})
    rig = judged(tmp_path, of, [b'{"id":"a","x":{"y":[1,2]}}', b'{"id":"b","n":1,"x":1}', b'{"id":"c","n":"1","x":1}'])
    assert [r["id"] for r in rig.rows("silver")] == ["a", "b"]
    assert [x[0] for x in reasons_of(rig)[2]] == ["n.type"]


def test_standardised_fields_take_text_or_number_and_transforms_read_source_keys(tmp_path):
    fields = [
        text("id", required=True, standardise=(Standardise("trim"), Standardise("lower"))),
        money("price", standardise=(Standardise("currency"),)),
        Field("day", Type(Kind.DATE), standardise=(Standardise("date", ["%d.%m.%Y"]),)),
        integer("total", transform="CAST(a AS BIGINT) * CAST(b AS BIGINT)"),
        text("b"),
    ]
    lines = [
        b'{"id":" A ","price":"$1,299.00","day":"24.12.2026","a":2,"b":"3"}',
        b'{"id":"B","price":12.50,"a":"4","b":"5"}',
        b'{"id":"C","price":true,"b":"1"}',
        b'{"id":5,"price":"abc","day":"2026-12-24"}',
    ]
    rig = judged(tmp_path, dataset(fields), lines)
    rows = rig.rows("silver")
    assert [(r["id"], r["price"], str(r["day"]), r["total"], r["b"]) for r in rows] == [
        ("a", Decimal("1299.00"), "2026-12-24", 6, "3"),
        ("b", Decimal("12.50"), "None", 20, "5"),
    ]
    assert [[x[0] for x in r] for r in reasons_of(rig).values()] == [
        ["price.type"],
        ["id.type", "price.type", "day.type"],
    ]


def test_warnings_are_counted_and_drops_leave_the_table(tmp_path):
    of = dataset(
        [text("id", required=True), integer("n")],
        rules=(sql_rule("big", "n < 10", warning=True),),
        drops=(Rule("tests", "sql", None, "id LIKE 'test%'"),),
    )
    lines = [
        b'{"id":"a","n":5}',
        b'{"id":"b","n":50}',
        b'{"id":"test1","n":50}',
        b'{"id":"test2","n":"x"}',
        b'{"id":"c"}',
    ]
    rig = Rig(tmp_path, of)
    rig.land(lines_table(lines))
    refined = rig.refine()
    assert refined.warnings == {"big": 1}
    assert refined.verdicts["p"] == {
        "accepted": 3,
        "duplicate": 0,
        "superseded": 0,
        "quarantined": 1,
        "dropped": 1,
        "deleted": 0,
    }
    assert [(r[OFFSET], r["verdict"], r["rule"], r["by_offset"]) for r in rig.rows("ledger")] == [
        (2, "dropped", "tests", None)
    ]


@pytest.fixture(autouse=True, params=["compiled", "python"], scope="module")
def way(request):
    """Every test here twice: with the compiled decoder in front, and without."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADGATE_PURE", "1" if request.param == "python" else "0")
        if request.param == "compiled" and native.load("json_rows") is None:
            pytest.skip("not compiled: tests/unit/test_native.py says whether it must be")
        yield request.param


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
numbers = st.one_of(
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False, allow_infinity=False),
    st.decimals(-(10**12), 10**12, allow_nan=False, places=3).map(float),
)
values = st.one_of(
    st.none(),
    st.booleans(),
    texts,
    numbers,
    st.sampled_from(
        ["2026-01-01", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00.1234567Z", "12:00:00", "\\x00ff", "1e-400"]
    ),
)
anything = st.recursive(values, lambda v: st.lists(v, max_size=3) | st.dictionaries(texts, v, max_size=3), max_leaves=6)
KINDS = [
    text("s", limits=Limits(max_length=5)),
    integer("i", limits=Limits(minimum=Decimal(-5))),
    Field("i32", Type(Kind.INTEGER, bits=32)),
    Field("f", Type(Kind.NUMBER), limits=Limits(maximum=Decimal("1e10"))),
    Field("f32", Type(Kind.NUMBER, bits=32)),
    money("d"),
    money("wide", 38, 10),
    Field("b", Type(Kind.BOOLEAN)),
    Field("day", Type(Kind.DATE)),
    Field("clock", Type(Kind.TIME)),
    instant("at"),
    Field("local", Type(Kind.TIMESTAMP)),
    Field("bytes", Type(Kind.BINARY)),
    Field("list", Type(Kind.ARRAY, item=money("x"))),
    Field("object", Type(Kind.OBJECT, fields=(money("m"), text("t")))),
]
MAP = Field("map", Type(Kind.MAP, key=text("k"), item=Field("v", Type(Kind.NUMBER))))
FITTING = {
    "s": texts,
    "i": st.integers(-7, 7),
    "i32": st.integers(-(2**31) - 2, 2**31 + 2),
    "f": st.floats(allow_nan=False, allow_infinity=False),
    "f32": st.floats(width=32, allow_nan=False, allow_infinity=False),
    "d": st.decimals(-(10**6), 10**6, places=2).map(float),
    "wide": numbers,
    "b": st.booleans(),
    "day": st.dates().map(str),
    "clock": st.times().map(str),
    "at": st.datetimes().map(lambda d: d.isoformat() + "Z"),
    "local": st.datetimes().map(lambda d: d.isoformat()),
    "bytes": st.binary(max_size=3).map(lambda b: "\\x" + b.hex()),
    "list": st.lists(st.decimals(-99, 99, places=2).map(float), max_size=3),
    "object": st.fixed_dictionaries({}, optional={"m": st.just(1.25), "t": texts}),
    "map": st.dictionaries(texts, st.floats(allow_nan=False, allow_infinity=False), max_size=2),
}
rows = st.fixed_dictionaries({}, optional={name: st.one_of(of, of, of, anything) for name, of in FITTING.items()})


@pytest.fixture(scope="module")
def decoders(way):
    """The fast way and the slow one. The compiled decoder reads no maps: there the map is a key that is ignored."""
    of = dataset(KINDS, properties={"unknown_fields": "ignore"}) if way == "compiled" else dataset([*KINDS, MAP])
    with connect(Settings(), threads=1) as connection:
        fast, slow = JsonDecoder(connection, of), JsonDecoder(connection, of)
        assert (fast.rows is not None) == (way == "compiled")
        yield fast, slow


@settings(max_examples=100, deadline=None)
@example([{"f32": 99671088.0}])
@given(objects=st.lists(rows, min_size=1, max_size=12))
def test_the_fast_way_takes_only_what_careful_reading_takes_and_makes_the_same_of_it(decoders, objects):
    fast, slow = decoders
    table = _bronze([json.dumps(one).encode() for one in objects])
    quick = fast.decode(table)
    slow._waiting, slow._refusals = [table.select([PARTITION, OFFSET, INGESTED_AT, RAW])], [None] * len(objects)
    careful = slow.careful_rest()
    wanted = _by_offset(careful.rows, careful.keep)
    found = _by_offset(quick.rows, quick.keep)
    assert found.keys() <= wanted.keys()
    assert {k: wanted[k] for k in found} == found
    if fast.waiting:
        rest = fast.careful_rest()
        found.update(_by_offset(rest.rows, rest.keep))
    assert found == wanted


def _bronze(lines):
    return (
        lines_table(lines)
        .append_column(PARTITION, pa.array(["p"] * len(lines)))
        .append_column(OFFSET, pa.array(range(len(lines)), pa.int64()))
        .append_column(INGESTED_AT, pa.array([0] * len(lines), INSTANT))
    )


def _all_of(decoder, table):
    """Kept rows by offset, and the refused rows."""
    quick = decoder.decode(table)
    rest = decoder.careful_rest()
    rows = [one.rows.filter(pa.array(one.keep)).to_pylist() for one in (quick, rest)]
    return {row[OFFSET]: repr(row) for row in [*rows[0], *rows[1]]}, rest.refused.to_pylist()


def test_how_lines_lie_in_memory_does_not_matter():
    lines = [
        line for n, bad in enumerate(TORTURE.values()) for line in (dumps(id=f"a{n}"), bad, payload(amount=n / 100))
    ]
    lines.append(dumps(ratio=1).replace(b'"ratio": 1', b'"ratio": 0.1000000000000000055'))
    with connect(Settings(), threads=1) as connection:
        whole = _bronze(lines)
        kept, refused = _all_of(JsonDecoder(connection, EVENT), whole)
        parts = [whole.slice(n, 4).take(list(range(len(whole.slice(n, 4))))) for n in range(0, len(lines), 4)]
        sliced = [whole.slice(n, 5) for n in range(0, len(lines), 5)]
        empty = whole.slice(0, 0)
        for other in ([empty, *parts], [*sliced, empty]):
            table = pa.concat_tables(other)
            assert table[RAW].num_chunks > 3
            assert _all_of(JsonDecoder(connection, EVENT), table) == (kept, refused)
    assert len(kept) + len(refused) == len(lines)


@pytest.mark.parametrize(
    "vanishing",
    [
        dumps(ratio=7).replace(b'"ratio": 7', b'"ratio": 7e-400'),
        payload(amount=7).replace(b'"amount": 7', b'"amount": 7E-0400'),
        payload(items=[{"sku": "s", "qty": 1, "price": 7}]).replace(b'"price": 7', b'"price": 7e-400'),
    ],
)
def test_a_number_that_vanishes_is_found_among_lines_that_fit(vanishing):
    zeros = [dumps(ratio=0), payload(amount=0), payload(items=[{"sku": "s", "qty": 1, "price": 0}])]
    with connect(Settings(), threads=1) as connection:
        decoder = JsonDecoder(connection, EVENT)
        for lines, waiting in (([dumps(), dumps()], 0), ([dumps(), vanishing, *zeros], 1), ([*zeros, dumps()], 0)):
            decoded = decoder.decode(_bronze(lines))
            assert decoder.waiting == waiting
            assert int(decoded.keep.sum()) == len(lines) - waiting
            if waiting:
                assert decoder.careful_rest().refused[OFFSET].to_pylist() == [1]


def test_each_piece_gets_its_own_lines_from_statements_made_once():
    with connect(Settings(), threads=1) as connection:
        decoder = JsonDecoder(connection, EVENT)
        for number in range(3):
            lines = [dumps(id=f"piece {number}, line {n}") for n in range(5)]
            decoded = decoder.decode(_bronze(lines))
            assert decoded.rows["id"].to_pylist() == [f"piece {number}, line {n}" for n in range(5)]


def _by_offset(rows, keep):
    return {r[OFFSET]: repr(r) for r, k in zip(rows.to_pylist(), keep, strict=True) if k}


def test_a_dataset_of_lines_survives_being_spilled_and_cut_into_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("headgate.engines.duckdb.pieces.PIECE_BYTES", 4096)
    monkeypatch.setattr("headgate.engines.duckdb.worker.HOLD_SHARE", 2**40)
    lines = [dumps(id=f"e{n % 700}", qty=1 + n % 7) for n in range(1000)] + list(TORTURE.values())
    with tempfile.TemporaryDirectory() as temp:
        rig = Rig(tmp_path, EVENT, temp_directory=temp)
        rig.land(lines_table(lines), row_group_size=64)
        refined = rig.refine()
        import os

        assert os.listdir(temp) == []
    assert refined.verdicts["p"]["accepted"] == 700
    assert refined.verdicts["p"]["quarantined"] == len(TORTURE)
    assert sum(refined.verdicts["p"].values()) == len(lines)


def test_a_key_that_is_ignored_may_come_twice_whatever_stands_beside_its_line(tmp_path):
    of = dataset([text("id"), Field("who", WHO)], properties={"unknown_fields": "ignore"})
    twice = [b'{"id":"a","x":1,"x":2,"who":null}', b'{"id":"b","who":{"name":"n","age":1,"y":1,"y":2}}']
    broken = [b'{"id":"c","id":"d","who":null}', b'{"id":"e","who":{"name":"n","name":"m"}}']
    for number, others in enumerate(([], [b'{"id":"f"}'])):
        rig = judged(tmp_path / str(number), of, [*twice, *broken, *others])
        assert [r["id"] for r in rig.rows("silver")] == ["a", "b", "f"][: 2 + len(others)]
        assert [r[0][2] for r in reasons_of(rig).values()] == ["key `id` comes twice", "key `who.name` comes twice"]


def test_bytes_that_are_no_text_in_what_is_ignored_refuse_only_their_line(tmp_path):
    of = dataset([text("id")], properties={"unknown_fields": "ignore"})
    rig = judged(tmp_path, of, [b'{"id":"a"}', b'{"id":"b","x":"\xff"}', b'{"id":"c","x":"\\ud800"}', b'{"id":"d"}'])
    assert [r["id"] for r in rig.rows("silver")] == ["a", "d"]
    assert [x[0][0] for x in reasons_of(rig).values()] == ["record", "record"]

"""The compiled decoder: what it takes is what careful reading makes of it, and nothing depends on whether it is there."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from decimal import Decimal
from random import Random

import numpy as np
import pyarrow as pa
import pytest
from bench import events
from json_maker import make_dataset, make_line, mixed_up
from refine_rig import dataset, instant, integer, money, text

from headgate import native
from headgate.contract.model import Field, Kind, Limits, Rule, Severity, Standardise, Type
from headgate.contract.parse import load_contract
from headgate.contract.to_arrow import arrow_type
from headgate.engines.duckdb.connection import Settings, connect
from headgate.engines.duckdb.json_careful import CarefulReader
from headgate.engines.duckdb.json_layout import layout_of
from headgate.engines.duckdb.json_lines import JsonDecoder
from headgate.engines.duckdb.json_native import native_rows
from headgate.ports.batch import FORMAT, INGESTED_AT, INSTANT, OFFSET, PARTITION, RAW

json_rows = native.load("json_rows")
pytestmark = pytest.mark.skipif(
    json_rows is None, reason="not compiled: tests/unit/test_native.py says whether it must be"
)


@pytest.fixture(scope="module")
def connection():
    with connect(Settings(), threads=1) as one:
        yield one


def bronze(lines):
    return pa.table({
        PARTITION: pa.array(["p"] * len(lines)),
        OFFSET: pa.array(range(len(lines)), pa.int64()),
        INGESTED_AT: pa.array([0] * len(lines), INSTANT),
        RAW: pa.array(lines, pa.binary()),
        FORMAT: ["json"] * len(lines),
    })  # fmt: skip


def rows_of(connection, of):
    return native_rows(connection, of, unknown=str(of.properties.get("unknown_fields") or "refuse"))


def taken_from(connection, of, *lines):
    """Which lines are taken, and the rows that they become."""
    values, taken = rows_of(connection, of).typed(pa.chunked_array([pa.array(lines, pa.binary())]))
    for column in values:
        column.validate(full=True)
    names = [f.name for f in of.fields]
    return taken.tolist(), [
        dict(zip(names, row, strict=True)) for row in zip(*(v.to_pylist() for v in values), strict=True)
    ]


def check_against_care(connection, of, lines):
    """How many lines are taken, and how many fit; each taken is whole to careful reading, and has the same values."""
    taken, rows = taken_from(connection, of, *lines)
    careful = CarefulReader(of, [], unknown=str(of.properties.get("unknown_fields") or "refuse"))
    reads, found = [careful.read(line, None) for line in lines], iter(rows)
    for line, one, read in zip(lines, taken, reads, strict=True):
        if one:
            row = next(found)
            assert (read.whole, read.reasons) == (True, []), line
            for field in of.fields:
                if field.standardise:
                    wanted = read.texts[field.name]
                else:
                    wanted = pa.array([read.values[field.name]], arrow_type(field.type)).to_pylist()[0]
                assert repr(row[field.name]) == repr(wanted), (line, field.name)
    assert next(found, None) is None
    return np.array([sum(taken), sum(read.whole and not read.reasons for read in reads)])


def check_seeds(connection, seeds):
    """Contracts and lines of these seeds against careful reading; the share of fitting lines that are taken."""
    counts = np.zeros(2, int)
    for seed in seeds:
        random = Random(seed)
        of = make_dataset(random)
        counts += check_against_care(connection, of, [make_line(random, of) for _ in range(40)])
    return counts[0] / counts[1]


def test_what_is_taken_is_whole_and_has_the_values_of_careful_reading(connection):
    assert check_seeds(connection, range(100)) > 0.5


@pytest.mark.slow
def test_what_is_taken_is_right_in_many_thousand_contracts(connection):
    assert check_seeds(connection, range(1000, 5000)) > 0.5


def everything_of(decoder, lines):
    """What becomes of lines: rows by offset with their hashes, refused lines with their reasons, warnings."""
    parts = [decoder.decode(bronze(lines))]
    if decoder.waiting:
        parts.append(decoder.careful_rest())
    rows, refused, warnings = {}, {}, Counter()
    for part in parts:
        rows.update({row[OFFSET]: repr(row) for row in part.rows.filter(pa.array(part.keep)).to_pylist()})
        refused.update({row[OFFSET]: row for row in part.refused.to_pylist()})
        warnings.update(part.warnings)
    return rows, refused, warnings


def check_both_ways(connection, monkeypatch, seeds):
    taken = 0
    for seed in seeds:
        random = Random(seed)
        of = make_dataset(random)
        lines = [make_line(random, of) for _ in range(40)]
        monkeypatch.setenv("HEADGATE_PURE", "0")
        compiled = JsonDecoder(connection, of)
        monkeypatch.setenv("HEADGATE_PURE", "1")
        python = JsonDecoder(connection, of)
        assert compiled.rows is not None
        assert python.rows is None
        assert everything_of(compiled, lines) == everything_of(python, lines), seed
        taken += sum(taken_by(compiled, lines))
    return taken


def taken_by(decoder, lines):
    return decoder.rows.typed(pa.chunked_array([pa.array(lines, pa.binary())]))[1].tolist()


def test_rows_reasons_and_warnings_are_the_same_without_the_compiled_decoder(connection, monkeypatch):
    assert check_both_ways(connection, monkeypatch, range(10_000, 10_030)) > 100


@pytest.mark.slow
def test_rows_reasons_and_warnings_are_the_same_in_many_contracts(connection, monkeypatch):
    assert check_both_ways(connection, monkeypatch, range(20_000, 20_600)) > 2000


EVENT = dataset(
    [
        text("id", required=True, key_position=1),
        text("kind", enum=("new", "paid", "naïve")),
        integer("qty", limits=Limits(minimum=Decimal(1))),
        instant("at"),
        money("amount", limits=Limits(minimum=Decimal(0))),
        Field("ratio", Type(Kind.NUMBER), limits=Limits(maximum=Decimal(1))),
        Field("tags", Type(Kind.ARRAY, item=text("tag"))),
        Field("who", Type(Kind.OBJECT, fields=(text("name"), Field("ok", Type(Kind.BOOLEAN))))),
        text("code", limits=Limits(min_length=2, max_length=3)),
        money("wide", 38, 10),
        Field("small", Type(Kind.NUMBER, bits=32)),
        Field("day", Type(Kind.DATE)),
    ],
    key=("id",),
    rules=(Rule("tags.max_items", "max_items", "tags", 3), Rule("tags.min_items", "min_items", "tags", 1)),
)


@pytest.mark.parametrize(
    ("line", "column", "value"),
    [
        (b'{"id":"a"}', "qty", None),
        (b' { "id" : "a" , "qty" : 7 } ', "qty", 7),
        (b'{"qty":7,"id":"a"}', "qty", 7),
        (b'{"id":"a","kind":"na\\u00efve"}', "kind", "naïve"),
        (b'{"id":"\\ud83d\\ude00\\n\\/\\"\\\\"}', "id", '\U0001f600\n/"\\'),
        ('{"id":"ü中\U0001f600"}'.encode(), "id", "ü中\U0001f600"),
        (b'{"id":"a","amount":12}', "amount", Decimal("12.00")),
        (b'{"id":"a","amount":9999999999.99}', "amount", Decimal("9999999999.99")),
        (b'{"id":"a","ratio":0.30000000000000004}', "ratio", 0.30000000000000004),
        (b'{"id":"a","wide":-123456789.0123456789}', "wide", Decimal("-123456789.0123456789")),
        (b'{"id":"a","small":0.125}', "small", 0.125),
        (b'{"id":"a","day":"2024-02-29"}', "day", dt.date(2024, 2, 29)),
        (b'{"id":"a","ratio":-0.0}', "ratio", -0.0),
        (b'{"id":"a","ratio":-25e-1}', "ratio", -2.5),
        ('{"id":"a","code":"éàü"}'.encode(), "code", "éàü"),
        (b'{"id":"a","tags":["x","y","z"]}', "tags", ["x", "y", "z"]),
        (b'{"id":"a","tags":["x",null , "y"]}', "tags", ["x", None, "y"]),
        (b'{"id":"a","who":null}', "who", None),
        (b'{"id":"a","who":{}}', "who", {"name": None, "ok": None}),
        (b'{"id":"a","who":{"ok":true}}', "who", {"name": None, "ok": True}),
        (b'{"id":"a","at":"2026-08-01T00:30:00.5+05:30"}', "at", dt.datetime(2026, 7, 31, 19, 0, 0, 500_000, dt.UTC)),
    ],
)
def test_usual_lines_are_taken_exactly(connection, line, column, value):
    taken, rows = taken_from(connection, EVENT, line)
    assert taken == [True]
    assert str(rows[0][column]) == str(value)


LEFT = {
    "a line that is no object": b"[1]",
    "nothing": b"",
    "only blanks": b"  ",
    "a required field that is missing": b'{"qty":1}',
    "a required field that is null": b'{"id":null}',
    "a value that is not among those listed": b'{"id":"a","kind":"old"}',
    "an integer below its bound": b'{"id":"a","qty":0}',
    "an integer with a fraction": b'{"id":"a","qty":1.0}',
    "an integer with a zero before it": b'{"id":"a","qty":01}',
    "an integer of 65 bits": b'{"id":"a","qty":18446744073709551616}',
    "a decimal with too many places": b'{"id":"a","amount":1.001}',
    "a decimal with too many digits": b'{"id":"a","amount":10000000000}',
    "a decimal below its bound": b'{"id":"a","amount":-0.01}',
    "a text with too few characters": '{"id":"a","code":"é"}'.encode(),
    "a text with too many characters": b'{"id":"a","code":"abcd"}',
    "a list with too few items": b'{"id":"a","tags":[]}',
    "a list with too many items": b'{"id":"a","tags":["w","x","y","z"]}',
    "a decimal of more digits than are counted": b'{"id":"a","wide":12345678901234567890.5}',
    "an integer that no float of 32 bits is": b'{"id":"a","small":16777217}',
    "a day of the year 0": b'{"id":"a","day":"0000-12-31"}',
    "a key without its closing quote": b'{"idx:"a","qty":1,"code":"abc"}',
    "a float above its bound": b'{"id":"a","ratio":1.0000000000000002}',
    "a float that is written too exactly": b'{"id":"a","ratio":0.1000000000000000055}',
    "a float that vanishes": b'{"id":"a","ratio":1e-400}',
    "a number that ends in a point": b'{"id":"a","ratio":1.}',
    "a number that ends in an exponent": b'{"id":"a","ratio":1e}',
    "a number with a plus": b'{"id":"a","ratio":+1}',
    "a text where a number is due": b'{"id":"a","qty":"1"}',
    "a number where a text is due": b'{"id":1}',
    "a known key twice": b'{"id":"a","qty":1,"qty":1}',
    "a known key twice, the second time in another place": b'{"id":"a","qty":1,"kind":"new","qty":1}',
    "a known key twice, inside": b'{"id":"a","who":{"ok":true,"ok":true}}',
    "a known key written with an escape": b'{"id":"a","\\u0071ty":1}',
    "an unknown key": b'{"id":"a","other":1}',
    "an unknown key inside": b'{"id":"a","who":{"other":1}}',
    "a comma at the end": b'{"id":"a",}',
    "a comma at the end of a list": b'{"id":"a","tags":["x",]}',
    "a list that does not end": b'{"id":"a","tags":["x"',
    "something behind": b'{"id":"a"}{}',
    "a control character": b'{"id":"a\tb"}',
    "the character zero": b'{"id":"a\\u0000b"}',
    "the first half of a pair": b'{"id":"\\ud800"}',
    "the second half of a pair": b'{"id":"\\udc00"}',
    "the first half of a pair twice": b'{"id":"\\ud800\\ud800"}',
    "the second half of a pair twice": b'{"id":"\\udc00\\udc00"}',
    "a character of three bytes that needs one": b'{"id":"\xe0\x80\x80"}',
    "an unknown escape": b'{"id":"\\x41"}',
    "a byte that UTF-8 does not have": b'{"id":"\xff"}',
    "a character in too many bytes": b'{"id":"\xc1\x81"}',
    "half a pair as bytes": b'{"id":"\xed\xa0\x80"}',
    "a character beyond the last": b'{"id":"\xf4\x90\x80\x80"}',
    "a character that is cut": b'{"id":"\xe2\x82',
    "an instant without its zone": b'{"id":"a","at":"2026-08-01T00:00:00"}',
    "a day that is not": b'{"id":"a","at":"2026-02-29T00:00:00Z"}',
    "a second that is not": b'{"id":"a","at":"2026-02-28T00:00:60Z"}',
    "seven digits of a fraction": b'{"id":"a","at":"2026-02-28T00:00:00.1234560Z"}',
    "an instant before year 1": b'{"id":"a","at":"0001-01-01T00:00:00+01:00"}',
    "an instant after year 9999": b'{"id":"a","at":"9999-12-31T23:59:59-01:00"}',
}


@pytest.mark.parametrize("line", LEFT.values(), ids=LEFT.keys())
def test_what_is_not_sure_is_left_to_others_and_leaves_nothing_behind(connection, line):
    good = b'{"id":"good","qty":3,"tags":["t"],"who":{"name":"n"}}'
    taken, rows = taken_from(connection, EVENT, good, line, good)
    assert taken == [True, False, True]
    assert rows[0] == rows[1]


OPEN = dataset([text("id", required=True), integer("n")], properties={"unknown_fields": "ignore"})


@pytest.mark.parametrize(
    ("line", "right"),
    [
        (b'{"x":{"y":[1,{"z":null}],"z":"\\u00e9"},"id":"a","w":[true,false,-1.5e3,[],{}]}', True),
        (b'{"id":"a","x":1,"y":1,"x":1}', True),
        (b'{"id":"a","x":nul}', False),
        (b'{"id":"a","x":{"y"}}', False),
        (b'{"id":"a","x":[1,]}', False),
        (b'{"id":"a","x":[1}}', False),
        (b'{"id":"a","x":"\\ud800"}', False),
        (b'{"id":"a","x":{"\xff":1}}', False),
        (b'{"id":"a","x":' + b"[" * 60 + b"]" * 60 + b"}", True),
        (b'{"id":"a","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", False),
        (b'{"id":"a",' + b",".join(b'"x%d":0' % n for n in range(1000)) + b"}", True),
    ],
)
def test_unknown_keys_are_passed_over_when_they_may_be_there_and_are_right(connection, line, right):
    assert taken_from(connection, OPEN, line)[0] == [right]


def test_a_text_of_any_length_stays_whole(connection):
    random = Random(7)
    for size in (0, 1, 15, 16, 17, 4094, 4095, 4096, 4097, 8192, 100_001):
        for letters in ("a", "é中\U0001f600", 'a"\\\n\t'):
            whole = "".join(random.choices(letters, k=size))
            for line in (json.dumps({"id": whole}), json.dumps({"id": whole}, ensure_ascii=False)):
                taken, rows = taken_from(connection, EVENT, line.encode())
                assert taken == [True]
                assert rows[0]["id"] == whole


def test_broken_texts_are_found_wherever_they_end(connection):
    random = Random(8)
    for _ in range(300):
        line = json.dumps({"id": "".join(random.choices("aé中\U0001f600", k=random.choice([20, 4090, 4100])))}).encode()
        mixed = [mixed_up(random, line), line[: random.randrange(len(line))]]
        check_against_care(connection, EVENT, mixed)


def test_chunks_and_slices_are_read_where_they_lie(connection):
    lines = [b'{"id":"%d","tags":["%d"]}' % (n, n) if n % 3 else b"{" for n in range(100)]
    plain = pa.array(lines, pa.binary())
    chunks = pa.chunked_array([plain[:10], plain[10:10], plain[10:57], plain[57:]], pa.binary())
    values, taken = rows_of(connection, EVENT).typed(chunks)
    assert taken.tolist() == [n % 3 > 0 for n in range(100)]
    assert values[0].to_pylist() == [str(n) for n in range(100) if n % 3]
    assert values[6].to_pylist() == [[str(n)] for n in range(100) if n % 3]
    values, taken = rows_of(connection, EVENT).typed(pa.chunked_array([], pa.binary()))
    assert (len(values[0]), len(taken)) == (0, 0)


def test_lines_that_would_grow_out_of_all_measure_are_left_to_others(connection):
    members = tuple(money(f"m{n}", 38, 2) for n in range(100))
    of = dataset([text("id"), Field("list", Type(Kind.ARRAY, item=Field("item", Type(Kind.OBJECT, fields=members))))])
    large = b'{"id":"a","list":[' + b",".join([b"{}"] * 300_000) + b"]}"
    taken, rows = taken_from(connection, of, b'{"id":"b"}', large, b'{"id":"c","list":[{}]}')
    assert taken == [True, False, True]
    assert [row["id"] for row in rows] == ["b", "c"]


@pytest.mark.parametrize("edges", [[0, 5, 4, 9], [0, 5, 11], [-1, 5], [6, 2]])
def test_edges_that_are_out_of_order_are_refused(edges):
    layout = layout_of(json_rows, EVENT, unknown="refuse")
    with pytest.raises(ValueError, match="edges"):
        layout.compiled.read([(b'{"id":"a"}', np.array(edges, np.int32), 0, len(edges) - 1)])


@pytest.mark.parametrize(("first", "lines"), [(0, 3), (3, 0), (-1, 1), (0, -1), (2**62, 2**62)])
def test_a_chunk_with_fewer_edges_than_lines_is_refused(first, lines):
    layout = layout_of(json_rows, EVENT, unknown="refuse")
    with pytest.raises(ValueError, match="fewer edges"):
        layout.compiled.read([(b"{}{}", np.array([0, 2, 4], np.int32), first, lines)])


@pytest.mark.parametrize(
    "nodes",
    [
        [],
        [(b"", "TEXT", 0, 0)],
        [(b"", "OBJECT", 1, 2), (b"a", "TEXT", 0, 0)],
        [(b"", "OBJECT", 0, 1), (b"a", "TEXT", 0, 0)],
        [(b"", "OBJECT", 1, 1), (b"a", "OBJECT", 1, 1)],
        [(b"", "OBJECT", 1, 1), (b"a", "TEXT", 0, 0), (b"b", "TEXT", 0, 0)],
        [(b"", "OBJECT", 1, 2), (b"a", "TEXT", 0, 0), (b"a", "TEXT", 0, 0)],
        [(b"", "OBJECT", 1, 1), (b"a", "ARRAY", 2, 0)],
        [(b"", "OBJECT", 1, 1), (b"a", "TEXT", 2, 1), (b"b", "TEXT", 0, 0)],
        [(b"", "OBJECT", 1, -1), (b"a", "TEXT", 0, 0)],
        [(b"", "OBJECT", 1, 1), (b'a"', "TEXT", 0, 0)],
        [*((b"", "OBJECT" if not n else "ARRAY", n + 1, 1) for n in range(40)), (b"", "TEXT", 0, 0)],
    ],
)
def test_nodes_that_are_no_tree_make_no_layout(nodes):
    given = [
        (key, getattr(json_rows, kind), False, first, count, 0, 0, 0, 0, 0.0, 0.0, ())
        for key, kind, first, count in nodes
    ]
    with pytest.raises(ValueError, match=r"node|tree|child|key"):
        json_rows.layout_of(given, True)


@pytest.mark.parametrize(
    "one",
    [
        Field("m", Type(Kind.MAP, key=text("k"), item=text("v"))),
        Field("o", Type(Kind.OBJECT, fields=(Field("m", Type(Kind.MAP, key=text("k"), item=text("v"))),))),
        text("t", transform="upper(id)"),
        text("e", source='with "quotes"'),
        Field("o", Type(Kind.OBJECT, fields=(text("t", standardise=(Standardise("trim"),)),))),
    ],
)
def test_contracts_with_what_is_not_read_go_the_slower_way(connection, one):
    assert rows_of(connection, dataset([text("id"), one])) is None


def test_rules_that_only_warn_or_cannot_be_proven_are_left_to_sql():
    of = dataset(
        [text("t"), integer("i"), money("wide", 38, 2), Field("small", Type(Kind.NUMBER, bits=32))],
        rules=(
            Rule("warns", "minimum", "i", Decimal(1), Severity.WARNING),
            Rule("errs", "minimum", "i", Decimal(1)),
            Rule("errs too", "exclusive_maximum", "i", Decimal("7.5")),
            Rule("beyond", "maximum", "i", Decimal(10) ** 30),
            Rule("wide", "minimum", "wide", Decimal(1)),
            Rule("small", "minimum", "small", Decimal(1)),
            Rule("pattern", "pattern", "t", "a"),
            Rule("enum", "enum", "t", ["a", "b"]),
            Rule("second enum", "enum", "t", ["a"]),
        ),
    )
    assert layout_of(json_rows, of, unknown="refuse").proven == {"errs", "errs too", "enum"}


def test_nearly_every_line_of_the_benchmark_is_taken(connection, tmp_path):
    contract, file = tmp_path / "events.odcs.yaml", tmp_path / "events.ndjson"
    contract.write_text(events.CONTRACT)
    made = events.write_events(str(file), 5000)
    (of,) = load_contract(contract).datasets
    lines = file.read_bytes().splitlines()
    decoder = JsonDecoder(connection, of)
    taken = taken_by(decoder, lines)
    assert len(lines) - sum(taken) == made["broken"] < 0.02 * len(lines)
    assert decoder.decode(bronze(lines)).keep.tolist() == [True] * sum(taken)


def test_lines_that_are_left_wait_until_they_are_many(connection, monkeypatch):
    monkeypatch.setattr("headgate.engines.duckdb.json_lines._MANY", 3)
    decoder = JsonDecoder(connection, EVENT)
    others = [b'{"\\u0069d":"%d"}' % n for n in range(3)]
    assert decoder.decode(bronze([b'{"id":"a"}', *others[:2]])).rows["id"].to_pylist() == ["a"]
    assert decoder.waiting == 2
    assert decoder.decode(bronze([b'{"id":"b"}', *others])).rows["id"].to_pylist() == ["b", "0", "1", "2"]
    assert decoder.waiting == 2
    assert decoder.careful_rest().rows["id"].to_pylist() == ["0", "1"]
    assert decoder.waiting == 0

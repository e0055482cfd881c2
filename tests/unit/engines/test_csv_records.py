"""Raw CSV: records as RFC 4180 says, whole in quarantine when they are none."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refine_rig import Rig, dataset, integer, money, text

from headgate.contract.model import Server, Standardise
from headgate.formats.csv_records import Dialect, fields, parse
from headgate.ports.batch import FILE, FORMAT, HEADER, LINE, OFFSET, RAW

NAMES = ["id", "name", "price", "note"]
THINGS = [
    integer("id", required=True, key_position=1),
    text("name", required=True),
    money("price"),
    text("note", standardise=(Standardise("trim"), Standardise("upper"))),
]


def records_table(records, names=NAMES, file="f.csv"):
    count = len(records)
    return pa.table(
        {
            RAW: pa.array(records, pa.binary()),
            FORMAT: ["csv"] * count,
            HEADER: [json.dumps(names) if names else ""] * count,
            FILE: [file] * count,
            LINE: list(range(1, count + 1)),
        }
    )


def parsed(records, names):
    return parse(pa.array(records, pa.binary()), names, Dialect())


def test_records_become_typed_rows_or_stand_in_quarantine_with_the_reason(tmp_path):
    records = {
        b"1,a,1.50,x": None,
        b'2,"q,""z""\r\nn",2, y ': None,
        b'3,,,""': ["name.required"],
        b"4,a": ["record"],
        b"4,a,1,x,": ["record"],
        b'5,"a"b,1,x': ["record"],
        b'6,a"b,1.505,x': ["price.type"],
        b"7,\xff,1,x": ["record"],
        b"8,a\0,1,x": ["record"],
        b"": ["record"],
        b'9,a,1,"': ["record"],
        b"x,b,$,c": ["id.type", "price.type"],
    }
    rig = Rig(tmp_path, dataset(THINGS, key=("id",)))
    rig.land(records_table(list(records)))
    rig.refine()
    assert [(r["id"], r["name"], r["price"], r["note"]) for r in rig.rows("silver")] == [
        (1, "a", Decimal("1.50"), "X"),
        (2, 'q,"z"\r\nn', Decimal("2.00"), "Y"),
    ]
    found = {r["raw"]: [x["rule"] for x in r["reasons"]] for r in rig.rows("quarantine")}
    assert found == {record: rules for record, rules in records.items() if rules}


def test_a_reason_tells_what_is_wrong_with_a_record():
    wrong = parsed([b"a", b'"a"b,c', b'"a', b"\xff,b"], ["x", "y"]).wrong
    assert wrong == {
        0: "1 field, the header names 2",
        1: "text behind the closing quote at character 4",
        2: "the quote at character 1 is not closed",
        3: "not UTF-8: invalid start byte at byte 0",
    }


def test_fields_are_found_by_the_header_of_their_file(tmp_path):
    rig = Rig(tmp_path, dataset(THINGS, key=("id",)))
    rig.land(
        pa.concat_tables(
            [
                records_table([b"a,1,more"], ["name", "id", "extra"]),
                records_table([b"2\tb\t3\t", b"3,c"], NAMES, file="g.tsv"),
                records_table([b"4,d,5,n"], None),
            ]
        )
    )
    rig.refine()
    assert [(r["id"], r["name"], r["price"], r["note"]) for r in rig.rows("silver")] == [
        (1, "a", None, None),
        (2, "b", Decimal("3.00"), None),
        (4, "d", Decimal("5.00"), "N"),
    ]
    assert [r[OFFSET] for r in rig.rows("quarantine")] == [2]


def test_the_servers_delimiter_and_quote_are_honoured(tmp_path):
    server = Server("files", "local", {"delimiter": "semicolon", "quote": ""})
    rig = Rig(tmp_path, dataset(THINGS, key=("id",), servers=(server,)))
    rig.land(records_table([b'1;"a;1;x', b"2;a,b;1;x"]))
    rig.refine()
    assert [r["name"] for r in rig.rows("silver")] == ['"a', "a,b"]


cells = st.text(st.sampled_from('ab,"\n\r é;'), max_size=6)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(cells, min_size=3, max_size=3), min_size=1, max_size=10),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
)
def test_what_a_csv_writer_writes_is_read_back(rows, quoting):
    records = []
    for row in rows:
        out = io.StringIO(newline="")
        csv.writer(out, quoting=quoting, lineterminator="").writerow(row)
        records.append(out.getvalue().encode())
    got = parsed(records, ["x", "y", "z"])
    assert got.wrong == {}
    assert [[v or "" for v in row.values()] for row in got.texts.to_pylist()] == rows


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(st.sampled_from('a,"\r'), max_size=8), min_size=1, max_size=8))
def test_reading_at_once_and_one_by_one_agree_on_anything(records):
    got = parsed([r.encode() for r in records], ["x", "y"])
    expected, wrong = [], set()
    for number, record in enumerate(records):
        try:
            values = list(fields(record, Dialect()))
        except ValueError:
            values = []
        if len(values) == 2:
            expected.append(values)
        else:
            wrong.add(number)
    assert [list(row.values()) for row in got.texts.to_pylist()] == expected
    assert set(got.wrong) == wrong
    assert [n for n in range(len(records)) if n not in wrong] == got.rows.tolist()


@pytest.mark.parametrize("name", ["a", "a\n", 'x"y', "_hg", "select"])
def test_any_header_name_is_only_a_name(tmp_path, name):
    fields_ = [integer("id", source=name)]
    rig = Rig(tmp_path, dataset(fields_))
    rig.land(records_table([b"1", b"x"], [name]))
    rig.refine()
    assert [r["id"] for r in rig.rows("silver")] == [1]

"""What discover says of files: types that the sample does not contradict."""

import gzip
import json
from decimal import Decimal

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.contract.model import Field, Kind, Standardise
from headgate.contract.to_sql import column, quote
from headgate.errors import FixInputError
from headgate.sources.files import discover
from headgate.sources.files_infer import text_type


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def of_csv(here, *values):
    (here / "a.csv").write_text("v,w\n" + "".join(f"{value},x\n" for value in values))
    return discover("a.csv").fields[0]


@pytest.mark.parametrize(
    ("values", "type_text", "required"),
    [
        (["1", "-20"], "integer", True),
        (["1", ""], "integer", False),
        (["007", "12"], "string", True),
        (["+49", "12"], "string", True),
        (["-0"], "decimal(18,0)", True),
        ([str(2**63 - 1)], "integer", True),
        ([str(2**63)], "decimal(38,0)", True),
        (["1" * 39], "string", True),
        (["1.5", "2"], "decimal(18,1)", True),
        (["1.50", "2.123"], "decimal(18,3)", True),
        (["0.12345678901234567"], "decimal(38,17)", True),
        (["1e5", "1.5"], "number", True),
        (["0.1e-400"], "string", True),
        (["0.12345678901234567890e1", "1.5"], "string", True),
        (["NaN", "1.5"], "decimal(18,1)", False),
        (["true", "False"], "boolean", True),
        (["t", "f"], "string", True),
        (["2024-02-29"], "date", True),
        (["2023-02-29"], "string", True),
        (["2024-01-01 10:00:00", "2024-01-01T10:00:00.123456"], "timestamp", True),
        (["2024-01-01 10:00:00", "2024-01-01T10:00:00Z"], "string", True),
        (["2024-01-01T10:00:00+02:00", "2024-01-01 10:00:00Z"], "timestamp with time zone", True),
        (["2024-01-01 10:00"], "string", True),
        (["2024-01-01 25:00:00"], "string", True),
        (["12:30:00"], "time", True),
        (["1", "x"], "string", True),
        (["", ""], "string", False),
        (["NA", "x"], "string", True),
    ],
)
def test_types_of_texts(here, values, type_text, required):
    found = of_csv(here, *values)
    assert (str(found.type), found.required) == (type_text, required)


def test_marks_for_missing_values_become_a_standardisation(here):
    found = of_csv(here, "NA", "1", "-")
    assert (str(found.type), found.required) == ("integer", False)
    assert found.standardise == (Standardise("null_if", ["NA", "-"]),)


UTC = duckdb.connect()
UTC.execute("SET GLOBAL TimeZone = 'UTC'")
TEXTS = st.one_of(
    st.integers().map(str),
    st.decimals(allow_nan=False, allow_infinity=False, places=3).map(str),
    st.floats(allow_nan=False).map(repr),
    st.dates().map(str),
    st.datetimes().map(lambda t: t.isoformat(timespec="microseconds")),
    st.text("0123456789.-+eE:TZ ", min_size=1, max_size=12),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_refining_takes_every_text_of_the_type_found_for_it(values):
    found, marks = text_type(values)
    told = column(Field("v", found), quote("v"), pa.string(), None)
    kept = [value for value in values if value not in marks]
    table = pa.table({"v": pa.array(kept, pa.string())})
    with UTC.cursor() as connection:
        connection.register("given", table)
        judged = connection.execute(f"SELECT {told.bad}, ({told.value}) IS NULL FROM given").fetchall()
    assert judged == [(False, False)] * len(kept)


def test_json_fields_nest(here):
    lines = [
        {"id": 1, "price": 1.25, "at": "2024-01-01T00:00:00Z", "zip": "12345", "user": {"name": "a"}, "tags": ["x"]},
        {"id": 2, "price": 3, "at": None, "zip": "99999", "user": {"name": "b", "age": 3}, "tags": [], "ok": True},
    ]
    (here / "a.ndjson").write_text("\n".join(map(json.dumps, lines)) + "\n{broken\n[1]\n")
    found = discover("a.ndjson")
    assert {f.name: (str(f.type), f.required) for f in found.fields} == {
        "id": ("integer", True),
        "price": ("decimal(18,2)", True),
        "at": ("timestamp with time zone", False),
        "zip": ("string", True),
        "user": ("object", True),
        "tags": ("array", True),
        "ok": ("boolean", False),
    }
    user = found.fields[4].type
    assert [(f.name, str(f.type), f.required) for f in user.fields] == [
        ("name", "string", True),
        ("age", "integer", False),
    ]
    assert (found.format, found.records, found.undecodable, found.whole) == ("ndjson", 4, 2, True)
    assert found.samples[0]["id"] == 1


def test_json_values_of_several_types_become_text_and_say_so(here):
    (here / "a.ndjson").write_text('{"postcode": 1234}\n{"postcode": "EH1"}\n')
    found = discover("a.ndjson").fields[0]
    assert found.type.kind is Kind.STRING
    assert found.description == "Values of several types were seen: number, text."


def test_objects_with_many_keys_are_maps(here):
    (here / "a.ndjson").write_text(json.dumps({"m": {f"k{i}": i for i in range(100)}, "e": {}}))
    many, empty = discover("a.ndjson").fields
    assert (many.type.kind, many.type.item.type.kind) == (Kind.MAP, Kind.INTEGER)
    assert empty.type.kind is Kind.MAP


def test_parquet_types_are_taken_over(here):
    table = pa.table(
        {
            "i": pa.array([1, 2], pa.int16()),
            "d": pa.array([Decimal("1.5"), None], pa.decimal128(9, 2)),
            "t": pa.array([0, 0], pa.timestamp("ns", "UTC")),
            "l": pa.array([[1], []], pa.list_(pa.int64())),
        }
    )
    pq.write_table(table, "a.parquet")
    found = discover("a.parquet")
    assert [(f.name, str(f.type), f.required) for f in found.fields] == [
        ("i", "integer", True),
        ("d", "decimal(9,2)", False),
        ("t", "timestamp with time zone", True),
        ("l", "array", True),
    ]
    assert (found.format, found.records) == ("parquet", 2)


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("a.csv", b"a;b\n1;x,y\n", {"delimiter": ";"}),
        ("a.tsv", b"a\tb\n1\tx\n", {}),
        ("a.csv", b"a|b\n1|2\n", {"delimiter": "|"}),
        ("a.csv", b"a,b\n1,2\n", {}),
        ("a.csv", b"n\xe4me,b\n1,2\n", {"encoding": "cp1252"}),
        ("a.txt", b"a,b\n1,2\n", {"format": "csv"}),
        ("a.txt", b'{"a": 1}\n', {"format": "json"}),
        ("a.csv.gz", gzip.compress(b"a;b\n1;2\n", mtime=0), {"delimiter": ";"}),
    ],
)
def test_the_server_found_reads_the_file(here, name, content, options):
    (here / name).write_bytes(content)
    found = discover(name)
    assert {k: v for k, v in found.server.options.items() if k != "path" and (k != "format" or k in options)} == options
    assert len(found.samples) == 1


def test_a_header_that_lacks_the_row_names_is_completed(here):
    (here / "a.csv").write_text('"x","y"\n"1",2,3\n"2",3,4\n')
    found = discover("a.csv")
    assert [f.name for f in found.fields] == ["row", "x", "y"]
    assert found.server.options["header"] == ["row", "x", "y"]


def test_ragged_and_undecodable_records_tell_nothing(here):
    (here / "a.csv").write_bytes(b"a,b\n1,2\n1\nx,y,z\n3,4\n")
    found = discover("a.csv")
    assert [str(f.type) for f in found.fields] == ["integer", "integer"]
    assert (found.records, found.undecodable) == (4, 2)


@pytest.mark.parametrize(("name", "content"), [("a.ndjson", b""), ("a.ndjson", b"[]\n"), ("a.csv", b"")])
def test_nothing_to_learn_from_is_refused(here, name, content):
    (here / name).write_bytes(content)
    with pytest.raises(FixInputError, match="no record"):
        discover(name)


def test_a_missing_file_is_refused_by_name():
    with pytest.raises(FixInputError, match=r"missing\.csv"):
        discover("missing.csv")
    with pytest.raises(FixInputError, match="no file matches"):
        discover("*.csv")


def test_globs_and_parents_may_be_discovered(here):
    (here / "in").mkdir()
    (here / "work").mkdir()
    (here / "in/a.csv").write_text("a\n1\n")
    (here / "in/b.csv").write_text("a\nx\n")
    assert str(discover("work/../in/*.csv").fields[0].type) == "string"

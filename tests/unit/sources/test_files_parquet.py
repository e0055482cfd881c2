"""Parquet files: exact values, columns over several files, limits and corruption."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from files_rig import batches, end, read_all, rows, source

from headgate.errors import FixInputError
from headgate.ports.batch import FILE, INSTANT, LINE, ODD

UTC = dt.UTC


def save(path, columns, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    pq.write_table(table, path, **options)
    return path


def one(tmp_path, column, **options):
    save(tmp_path / "a.parquet", {"v": column}, **options)
    return [row["v"] for row in read_all(tmp_path, "a.parquet")]


def landing(tmp_path, column):
    save(tmp_path / "a.parquet", {"v": column})
    return source(tmp_path, "a.parquet").schema().field("v").type


NS = [1_700_000_000_000_001_000, None, 1_700_000_000_000_002_000]


@pytest.mark.parametrize(
    ("column", "landed", "values"),
    [
        (pa.array([-128, None], pa.int8()), pa.int32(), [-128, None]),
        (pa.array([2**31 - 1]), pa.int64(), [2**31 - 1]),
        (pa.array([2**16 - 1], pa.uint16()), pa.int32(), [65535]),
        (pa.array([2**32 - 1], pa.uint32()), pa.int64(), [2**32 - 1]),
        (pa.array([2**64 - 1, 0, None], pa.uint64()), pa.decimal128(20, 0), [Decimal(2**64 - 1), Decimal(0), None]),
        (pa.array([np.float16(1.5), None], pa.float16()), pa.float32(), [1.5, None]),
        (pa.array([1.5, float("inf")], pa.float64()), pa.float64(), [1.5, float("inf")]),
        (pa.array([Decimal("1.50")], pa.decimal128(5, 2)), pa.decimal128(5, 2), [Decimal("1.50")]),
        (pa.array([Decimal("1.50")], pa.decimal256(38, 2)), pa.decimal128(38, 2), [Decimal("1.50")]),
        (pa.array(["a", None, "a"]).dictionary_encode(), pa.string(), ["a", None, "a"]),
        (pa.array(["ü"], pa.large_string()), pa.string(), ["ü"]),
        (pa.array([b"ab"], pa.binary(2)), pa.binary(), [b"ab"]),
        (pa.array([True, None]), pa.bool_(), [True, None]),
        (pa.array([None, None], pa.null()), pa.string(), [None, None]),
        (pa.array([dt.date(1, 1, 1)]), pa.date32(), [dt.date(1, 1, 1)]),
        (pa.array([1000], pa.time32("ms")), pa.time64("us"), [dt.time(0, 0, 1)]),
        (pa.array([1], pa.timestamp("s")), pa.timestamp("us"), [dt.datetime(1970, 1, 1, 0, 0, 1)]),
        (pa.array([1], pa.timestamp("ms", "Asia/Tokyo")), INSTANT, [dt.datetime(1970, 1, 1, 0, 0, 0, 1000, UTC)]),
        (
            pa.array(NS, pa.timestamp("ns")),
            pa.timestamp("us"),
            [dt.datetime(2023, 11, 14, 22, 13, 20, 1), None, dt.datetime(2023, 11, 14, 22, 13, 20, 2)],
        ),
        (pa.array([[1], None, []], pa.list_(pa.uint8())), pa.list_(pa.field("element", pa.int32())), [[1], None, []]),
        (
            pa.array([{"a": 1, "b": [NS[0]]}], pa.struct([("a", pa.int8()), ("b", pa.list_(pa.timestamp("ns")))])),
            pa.struct([("a", pa.int32()), ("b", pa.list_(pa.field("element", pa.timestamp("us"))))]),
            [{"a": 1, "b": [dt.datetime(2023, 11, 14, 22, 13, 20, 1)]}],
        ),
        (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int8())), pa.map_(pa.string(), pa.int32()), [[("k", 1)]]),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_values_land_exactly(tmp_path, column, landed, values):
    assert landing(tmp_path, column) == landed
    assert one(tmp_path, column) == values


def test_a_value_that_the_type_cannot_hold_lands_as_text(tmp_path):
    nanos = [1_700_000_000_000_000_001, 1_700_000_000_000_001_000, None] * 50
    save(tmp_path / "a.parquet", {"t": pa.array(nanos, pa.timestamp("ns")), "n": pa.array(range(150))})
    got = read_all(tmp_path, "a.parquet")
    assert [r["t"] for r in got[:3]] == [None, dt.datetime(2023, 11, 14, 22, 13, 20, 1), None]
    assert [r[ODD] for r in got[:3]] == [[("t", "2023-11-14 22:13:20.000000001")], None, None]
    assert sum(r[ODD] is not None for r in got) == 50
    assert [r["n"] for r in got] == list(range(150))


def test_a_nested_value_that_the_type_cannot_hold_lands_as_text(tmp_path):
    save(tmp_path / "a.parquet", {"t": pa.array([[1], [1000], None], pa.list_(pa.timestamp("ns")))})
    got = read_all(tmp_path, "a.parquet")
    assert [r["t"] for r in got] == [None, [dt.datetime(1970, 1, 1, 0, 0, 0, 1)], None]
    assert "00:00:00.000000001" in dict(got[0][ODD])["t"]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1], pa.duration("s")),
        pa.array([Decimal(1)], pa.decimal256(50, 0)),
        pa.array([[1]], pa.list_(pa.duration("s"))),
    ],
    ids=lambda column: str(column.type),
)
def test_types_without_an_exact_home_are_refused_by_name(tmp_path, column):
    save(tmp_path / "a.parquet", {"v": column})
    with pytest.raises(FixInputError, match=r"a\.parquet: column 'v(\[\])?' has type"):
        source(tmp_path, "a.parquet").schema()


@pytest.mark.parametrize("names", [["_hg_file"], ["a", "A"], [""]])
def test_names_that_cannot_be_columns_are_refused(tmp_path, names):
    save(tmp_path / "a.parquet", pa.Table.from_arrays([pa.array([1])] * len(names), names=names))
    with pytest.raises(FixInputError, match="column"):
        source(tmp_path, "a.parquet").schema()


def test_rows_know_their_file_and_number(tmp_path):
    save(tmp_path / "in/a.parquet", {"v": list(range(10))}, row_group_size=3)
    save(tmp_path / "in/b.parquet", {"v": [10, 11]})
    got = read_all(tmp_path, "in")
    assert [(r["v"], r[FILE], r[LINE]) for r in got] == [
        *((i, "a.parquet", i + 1) for i in range(10)),
        (10, "b.parquet", 1),
        (11, "b.parquet", 2),
    ]


def test_files_may_lack_columns_and_hold_narrower_ones(tmp_path):
    save(tmp_path / "in/a.parquet", {"i": pa.array([1], pa.int16()), "x": pa.array([None], pa.null())})
    save(tmp_path / "in/b.parquet", {"i": pa.array([2**40]), "f": pa.array([0.5], pa.float32()), "x": ["t"]})
    one = source(tmp_path, "in")
    assert [(r["i"], r["x"], r["f"]) for r in rows(batches(one))] == [(1, None, None), (2**40, "t", 0.5)]


def test_files_that_contradict_each_other_are_refused_by_name(tmp_path):
    save(tmp_path / "in/a.parquet", {"v": [1]})
    save(tmp_path / "in/b.parquet", {"v": ["1"]})
    with pytest.raises(FixInputError, match=r"b\.parquet: column 'v' is string here and int64 in a\.parquet"):
        read_all(tmp_path, "in")


def test_the_rows_read_are_of_the_schema_told_before(tmp_path):
    save(tmp_path / "in/a.parquet", {"v": [1]})
    one = source(tmp_path, "in")
    schema = one.schema()
    save(tmp_path / "in/b.parquet", {"v": [2], "w": [3]})
    first = batches(one)
    assert [batch.rows.schema for batch in first] == [schema]
    assert [(r["v"], r["w"]) for r in rows(batches(source(tmp_path, "in"), end(first)))] == [(2, 3)]


def test_reading_on_after_any_end_equals_reading_at_once(tmp_path):
    for name in "ab":
        values = [f"{name}{i}" * (i % 5) for i in range(1000)]
        save(tmp_path / f"in/{name}.parquet", {"v": values, "i": list(range(1000))}, row_group_size=170)
    whole = batches(source(tmp_path, "in", batch_bytes=2000))
    assert len(whole) > 20
    assert rows(whole) == read_all(tmp_path, "in")
    for index, batch in enumerate(whole):
        assert rows(whole[: index + 1]) + rows(batches(source(tmp_path, "in"), batch.end)) == rows(whole)


@pytest.mark.parametrize(
    "spoil", [lambda d: d[:-4], lambda d: b"PAR1", lambda d: b"", lambda d: d[:40] + b"\xff" * 60 + d[100:]]
)
def test_a_corrupt_file_is_refused_by_name(tmp_path, spoil):
    data = save(tmp_path / "a.parquet", {"v": list(range(1000))}, write_page_checksum=True).read_bytes()
    (tmp_path / "a.parquet").write_bytes(spoil(data))
    with pytest.raises(FixInputError, match=r"a\.parquet: not a whole Parquet file"):
        read_all(tmp_path, "a.parquet")


def test_a_footer_that_declares_too_much_is_refused_before_reading(tmp_path):
    save(tmp_path / "a.parquet", {"v": ["x" * (1 << 20)] * 40}, use_dictionary=False, compression="zstd")
    with pytest.raises(FixInputError, match=r"a\.parquet: the footer declares more than max_ratio allows"):
        read_all(tmp_path, "a.parquet")
    with pytest.raises(FixInputError, match="max_file_bytes"):
        read_all(tmp_path, "a.parquet", max_file_bytes=1 << 20)
    assert len(read_all(tmp_path, "a.parquet", max_ratio=1e9)) == 40


def test_a_dictionary_that_would_blow_up_is_laid_out_piece_by_piece(tmp_path):
    save(tmp_path / "a.parquet", {"v": ["x" * 100_000] * 500})
    assert (tmp_path / "a.parquet").stat().st_size < 10_000
    got = source(tmp_path, "a.parquet", batch_bytes=1 << 20)
    sizes = [batch.rows.nbytes for batch in batches(got)]
    assert max(sizes) < 3 << 20
    with pytest.raises(FixInputError, match="max_record_bytes"):
        read_all(tmp_path, "a.parquet", max_record_bytes=50_000)


def test_a_place_without_files_has_no_schema_yet(tmp_path):
    with pytest.raises(FixInputError, match="no file yet"):
        source(tmp_path, "*.parquet").schema()


def test_a_place_whose_files_were_taken_away_gives_no_rows(tmp_path):
    path = save(tmp_path / "in/a.parquet", {"v": [1]})
    first = batches(source(tmp_path, "in"))
    path.unlink()
    assert source(tmp_path, "in").idle(end(first))
    assert batches(source(tmp_path, "in"), end(first)) == []

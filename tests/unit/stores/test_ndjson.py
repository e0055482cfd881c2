"""NDJSON files: how they are cut and named, and that every record comes back as it was."""

from __future__ import annotations

import base64
import datetime as dt
import json
from decimal import Decimal

import pyarrow as pa
import pytest
import zstandard

from headgate.errors import FixInputError
from headgate.ports.batch import INGESTED_AT, INSTANT, OFFSET, PARTITION, RAW, Batch, Position
from headgate.stores.ndjson import open_sink
from headgate.stores.ndjson_lines import BYTES_BASE64, encode

SCHEMA = pa.schema([(PARTITION, pa.string()), (OFFSET, pa.int64()), (RAW, pa.binary())])


def batch(start: int, values: list, partition: str = "topic/0", *, next_: int | None = None) -> Batch:
    rows = [{PARTITION: partition, OFFSET: start + n, RAW: v} for n, v in enumerate(values)]
    begin = Position({partition: str(start)}) if start else Position.start()
    return Batch(
        pa.RecordBatch.from_pylist(rows, schema=SCHEMA),
        begin,
        Position({partition: str(next_ or start + len(values))}),
    )


def lines_of(rows: pa.RecordBatch) -> list[bytes]:
    return [line.removesuffix(b"\n") for line in encode(rows).to_pylist()]


def test_a_name_says_partition_offsets_day_and_time(tmp_path):
    sink = open_sink(str(tmp_path), {"compression": "none", "roll_rows": 3})
    sink.commit("events", [batch(0, [b"{}"] * 7, "my topic/0")])
    names = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.ndjson"))
    today = f"{dt.datetime.now(dt.UTC):%Y-%m-%d}"
    assert [name.rsplit(".", 2)[0] for name in names] == [
        f"events/ingest_date={today}/my%20topic@0.{first:012}-{last:012}" for first, last in ((0, 2), (3, 5), (6, 6))
    ]
    assert all(dt.datetime.strptime(name.split(".")[-2], "%Y%m%dT%H%M%SZ") for name in names)


def test_partitions_whose_names_look_alike_do_not_share_a_file(tmp_path):
    sink = open_sink(str(tmp_path), {"compression": "none"})
    for number, partition in enumerate(("a/b", "a@b", "a-b", "a%2Fb")):
        sink.commit("events", [batch(0, [b"%d" % number], partition)])
    assert sorted(p.read_bytes() for p in tmp_path.rglob("*.ndjson")) == [b"0\n", b"1\n", b"2\n", b"3\n"]


def test_files_are_cut_by_bytes_as_written(tmp_path):
    sink = open_sink(str(tmp_path), {"compression": "none", "roll_bytes": 100_000})
    sink.commit("events", [batch(0, [b"x" * 99] * 10_000)])
    sizes = [p.stat().st_size for p in tmp_path.rglob("*.ndjson")]
    assert sum(sizes) == 1_000_000
    assert max(sizes) <= 300_000  # a limit is looked at every two thousand rows


def test_rows_go_to_the_day_of_their_landing(tmp_path):
    at = [dt.datetime(2026, 1, 1, 23, 59, 59, tzinfo=dt.UTC), dt.datetime(2026, 1, 2, tzinfo=dt.UTC)]
    one = batch(0, [b"1", b"2"])
    rows = one.rows.append_column(INGESTED_AT, pa.array(at, INSTANT))
    open_sink(str(tmp_path), {}).commit("events", [Batch(rows, one.start, one.end)])
    found = {
        p.parent.name: zstandard.ZstdDecompressor().stream_reader(p.read_bytes()).read()
        for p in tmp_path.rglob("*.zst")
    }
    assert found == {"ingest_date=2026-01-01": b"1\n", "ingest_date=2026-01-02": b"2\n"}


def test_what_a_dead_process_had_committed_becomes_visible_and_is_not_doubled(tmp_path, monkeypatch):
    sink = open_sink(str(tmp_path), {"compression": "none"})
    with monkeypatch.context() as patch:
        patch.setattr(sink, "_reveal", lambda _entry: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            sink.commit("events", [batch(0, [b"1", b"2"])])
    assert not list(tmp_path.rglob("*.ndjson"))
    assert open_sink(str(tmp_path), {}).position("events") == Position({"topic/0": "2"})
    assert [p.read_bytes() for p in tmp_path.rglob("*.ndjson")] == [b"1\n2\n"]


def test_the_log_stays_short(tmp_path):
    sink = open_sink(str(tmp_path), {"compression": "none"})
    for number in range(140):
        sink.commit("events", [batch(number, [b"1"])])
    assert len(list(tmp_path.glob("events/_log/*"))) < 130
    assert sink.position("events") == Position({"topic/0": "140"})
    assert len(list(tmp_path.rglob("*.ndjson"))) == 140


def test_records_stand_byte_for_byte_and_those_that_cannot_stand_on_a_line_in_base64():
    values = [b'{"a": 1}', "é\u2028".encode(), b"", b"two\nlines", b"\r", b"\xff\xfe", None, b'{"b":"\\ud800"}']
    lines = lines_of(batch(5, values).rows)
    for number, (value, line) in enumerate(zip(values, lines, strict=True)):
        if number in (3, 4, 5, 6):
            told = json.loads(line)
            held = told[BYTES_BASE64]
            assert (None if held is None else base64.b64decode(held)) == value
            assert (told[PARTITION], told[OFFSET]) == ("topic/0", 5 + number)
        else:
            assert line == value


def test_typed_values_lose_nothing():
    nested = pa.struct([("amount", pa.decimal128(38, 10)), ("when", pa.timestamp("us", "UTC"))])
    row = {
        PARTITION: "p",
        OFFSET: 2**62 + 1,
        "d": Decimal("12345678901234567890.1234567890"),
        "f": float("nan"),
        "g": 0.1,
        "b": b"\x00\xff",
        "t": dt.datetime(2026, 2, 3, 4, 5, 6, 7, tzinfo=dt.UTC),
        "n": {"amount": Decimal("0.0000000001"), "when": dt.datetime(1, 1, 1, tzinfo=dt.UTC)},
        "l": [{"amount": None, "when": None}],
        "m": [("k", Decimal("1.50"))],
        "s": 'q"\n',
    }
    schema = pa.schema(
        [
            (PARTITION, pa.string()), (OFFSET, pa.int64()), ("d", pa.decimal128(38, 10)), ("f", pa.float64()),
            ("g", pa.float64()), ("b", pa.binary()), ("t", pa.timestamp("us", "UTC")), ("n", nested),
            ("l", pa.list_(nested)), ("m", pa.map_(pa.string(), pa.decimal128(5, 2))), ("s", pa.string()),
        ]
    )  # fmt: skip
    [line] = lines_of(pa.RecordBatch.from_pylist([row], schema=schema))
    assert json.loads(line) == {
        PARTITION: "p",
        OFFSET: 2**62 + 1,
        "d": "12345678901234567890.1234567890",
        "f": "nan",
        "g": 0.1,
        "b": "AP8=",
        "t": "2026-02-03T04:05:06.000007Z",
        "n": {"amount": "0.0000000001", "when": "0001-01-01T00:00:00Z"},
        "l": [{"amount": None, "when": None}],
        "m": [{"key": "k", "value": "1.50"}],
        "s": 'q"\n',
    }


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("ftp://somewhere", {}),
        ("x", {"roll_rows": 0}),
        ("x", {"roll_bytes": "64MB"}),
        ("x", {"compression": "rar"}),
    ],
)
def test_a_wrong_setting_is_refused_by_name(target, options):
    with pytest.raises(FixInputError):
        open_sink(target, options)

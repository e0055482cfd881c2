"""Real data: nothing lost, and every record told as the format's own readers tell it."""

import csv
import gzip
import io
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from files_rig import batches, raw, rows, source

from headgate.sources.files import discover
from rigs import real_data

REAL = real_data.folder() or Path("absent")
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not REAL.is_dir(), reason="the real files are not beside the checkout"),
]


@pytest.mark.parametrize("path", ["retail/*.csv.gz", "sensors/PRSA*.csv.gz", "products/*.csv.gz"])
def test_csv_records_are_those_of_the_csv_module(path):
    got = batches(source(REAL, path))  # kept out of the assertions: pytest would print it all
    expected = []
    for file in sorted(REAL.glob(path)):
        with gzip.open(file, "rt", encoding="utf-8", newline="") as text:
            expected += list(csv.reader(text))[1:]
    records = raw(got)
    assert len(records) == len(expected)
    alike = list(csv.reader(io.StringIO("\n".join(record.decode() for record in records), newline=""))) == expected
    assert alike


def test_the_retail_file_has_its_370_931_lines():
    assert sum(b.rows.num_rows for b in batches(source(REAL, "retail"))) == 370_931


def test_events_land_byte_for_byte():
    (file,) = (REAL / "events").glob("*.ndjson.gz")
    assert raw(batches(source(REAL, "events"))) == gzip.decompress(file.read_bytes()).splitlines()


def test_array_elements_are_those_of_the_json_module():
    (file,) = (REAL / "products").glob("*.json.gz")
    got = raw(batches(source(REAL, "products/*.json.gz", batch_bytes=50_000)))
    assert [json.loads(record) for record in got] == json.loads(gzip.decompress(file.read_bytes()))


def test_taxi_rows_are_those_of_the_file():
    (file,) = (REAL / "taxi").glob("*.parquet")
    table = pq.read_table(file)
    got = rows(batches(source(REAL, "taxi")))
    assert len(got) == table.num_rows == 10_000
    for name in ("fare_amount", "PULocationID", "store_and_fwd_flag"):
        assert [row[name] for row in got] == table.column(name).to_pylist()


@pytest.mark.parametrize(
    "path", ["retail", "sensors/occupancy_datatraining.csv", "taxi", "products/*.json.gz", "events"]
)
def test_discover_describes_every_example(path):
    found = discover(str(REAL / path))
    assert found.fields
    assert found.undecodable == 0

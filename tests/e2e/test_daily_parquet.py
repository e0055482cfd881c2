"""Raw NDJSON by day to Parquet: the same verdicts as a run, at most so many rows a file, a day whole or not at all."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from command import good, headgate

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "orders"


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Two days of raw events; what was planted in each."""
    folder, made = tmp_path_factory.mktemp("raw"), {}
    for number, day in enumerate(("2026-08-01", "2026-08-02")):
        command = [sys.executable, str(EXAMPLE / "simulate.py"), "--orders", "150", "--seed", str(number)]
        done = subprocess.run(command, capture_output=True, check=True)
        made[day] = json.loads(done.stderr)
        lines = done.stdout.splitlines(keepends=True)
        into = folder / "order_events" / f"ingest_date={day}"
        into.mkdir(parents=True)
        for part in range(0, len(lines), 300):
            path = into / f"order_events@0.{part:012}-{part + 299:012}.x.ndjson.gz"
            path.write_bytes(gzip.compress(b"".join(lines[part : part + 300])))
    return folder, made


def broken(made: dict[str, int]) -> int:
    return sum(n for kind, n in made.items() if kind not in ("events", "distinct", "doubled", "late"))


def test_every_day_is_judged_and_cut(raw, tmp_path):
    folder, made = raw
    days = good("export", "parquet", "order_events", "--from", folder, "--to", tmp_path, "--rows", 150, project=EXAMPLE)
    assert [one["day"] for one in days] == sorted(made)
    for one in days:
        planted = made[one["day"]]
        assert one["lines"] == planted["events"] == one["rows"] + one["duplicate"] + one["quarantined"]
        assert (one["duplicate"], one["quarantined"]) == (planted["doubled"], broken(planted))
        files = sorted((tmp_path / f"ingest_date={one['day']}").glob("*.parquet"))
        sizes = [pq.ParquetFile(path).metadata.num_rows for path in files]
        assert len(files) == one["files"]
        assert sizes[:-1] == [150] * (len(sizes) - 1)
        assert sum(sizes) == one["rows"]
        ids = Counter(i for path in files for i in pq.read_table(path, columns=["event_id"])["event_id"].to_pylist())
        assert max(ids.values()) == 1
        rejected = list((tmp_path / "_quarantine" / f"ingest_date={one['day']}").glob("*.parquet"))
        assert sum(pq.ParquetFile(path).metadata.num_rows for path in rejected) == one["quarantined"]
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_one_day_again_replaces_that_day_only(raw, tmp_path):
    folder, made = raw
    arguments = ("export", "parquet", "order_events", "--from", folder, "--to", tmp_path, "--date", "2026-08-02")
    good(*arguments, project=EXAMPLE)
    before = {p.name: p.stat().st_size for p in (tmp_path / "ingest_date=2026-08-02").iterdir()}
    good(*arguments, project=EXAMPLE)
    assert {p.name: p.stat().st_size for p in (tmp_path / "ingest_date=2026-08-02").iterdir()} == before
    assert not (tmp_path / "ingest_date=2026-08-01").exists()


def test_a_day_that_a_killed_process_had_set_aside_comes_back(raw, tmp_path):
    folder, made = raw
    good("export", "parquet", "order_events", "--from", folder, "--to", tmp_path, project=EXAMPLE)
    (tmp_path / "ingest_date=2026-08-01").rename(tmp_path / ".replaced-ingest_date=2026-08-01-0123abcd")
    good(
        "export", "parquet", "order_events", "--from", folder, "--to", tmp_path, "--date", "2026-08-02", project=EXAMPLE
    )
    assert list((tmp_path / "ingest_date=2026-08-01").glob("*.parquet"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--date", "2026-08-09"), "no ingest_date=2026-08-09"),
        (("--rows", "0"), "cannot hold 0 rows"),
    ],
)
def test_what_is_not_there_is_refused_by_name(raw, tmp_path, arguments, said):
    folder, _ = raw
    command = ("export", "parquet", "order_events", "--from", folder, "--to", tmp_path / "out")
    answer = headgate(*command, *arguments, project=EXAMPLE)
    assert answer.code == 2
    assert said in answer.err

"""A lake that changes all the time and stays fast: commits, compaction, queries and bytes after a thousand commits."""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from contextlib import suppress

import duckdb
import numpy as np
import pyarrow as pa

from bench.measure import Cost
from bench.report import Figure, figure
from headgate.engines.duckdb import open_engine
from headgate.ports.batch import Position
from headgate.ports.store import Expiry, TableSpec
from headgate.runtime.upkeep import LEAST_S
from headgate.steps.compact import Sizes, compact
from headgate.stores.iceberg import open_lake

COMMITS = int(os.environ.get("BENCH_COMMITS", "1000"))
FILES = int(os.environ.get("BENCH_FILES", "1000"))
FILE_ROWS = 10_000
SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("day", pa.date32()),
        pa.field("at", pa.timestamp("us", tz="UTC")),
        pa.field("country", pa.string()),
        pa.field("product", pa.string()),
        pa.field("quantity", pa.int64()),
        pa.field("price", pa.decimal128(12, 2)),
        pa.field("note", pa.string()),
    ]
)
QUERIES = (
    "select day, sum(quantity * price) from silver.sales group by day order by day",
    "select country, sum(quantity * price), count(*) from silver.sales group by country order by 2 desc",
    "select product, sum(quantity) from silver.sales group by product order by 2 desc limit 20",
    "select country, day, count(*) from silver.sales where quantity < 3 group by all",
    "select count(*), sum(price) from silver.sales where id between 400000 and 410000",
)


def rows(start: int, count: int) -> pa.RecordBatch:
    """Sales that arrive in the order of their ids."""
    rng = np.random.default_rng(start)
    at = 1_760_000_000_000_000 + np.arange(start, start + count, dtype=np.int64) * 1_000_000
    columns = [
        pa.array(np.arange(start, start + count, dtype=np.int64)),
        pa.array((at // 86_400_000_000).astype(np.int32)).cast(pa.date32()),
        pa.array(at).cast(pa.timestamp("us", tz="UTC")),
        pa.array(rng.integers(0, 40, count)).cast(pa.string()),
        pa.array(rng.integers(0, 4000, count)).cast(pa.string()),
        pa.array(rng.integers(1, 20, count)),
        pa.array(rng.integers(100, 10_000, count).astype(np.int32)).cast(pa.decimal128(12, 2)),
        pa.array(rng.integers(0, 10**12, count)).cast(pa.string()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def commit(lake, start: int, count: int, table: str = "silver.sales") -> None:
    """One publication: rows and the position behind them."""
    before = Position({"p": str(start)}) if start else Position.start()
    with lake.publication("refine") as publication:
        publication.ensure(TableSpec(table, SCHEMA, sort=("id",), key=("id",)))
        publication.write(table, [rows(start, count)])
        publication.move(table, "s", before, Position({"p": str(start + count)}))
        publication.commit()


def measure(rounds: int) -> list[Figure]:
    """Growth of a commit's cost, compaction against DuckDB, queries against a fresh table, and bytes per event."""
    folder = tempfile.mkdtemp(prefix="headgate-upkeep-")
    try:
        figures = [*_commits(folder, rounds), _compaction(folder, rounds), *_events(folder)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return figures


def _commits(folder: str, rounds: int) -> list[Figure]:
    lake, engine = open_lake({"warehouse": os.path.join(folder, "commits")}), open_engine({})
    begun, seconds, upkeep_s = time.perf_counter(), [], 0.0
    for number in range(COMMITS):
        start = time.process_time()
        commit(lake, number * 1000, 1000)
        seconds.append(time.process_time() - start)
        start = time.perf_counter()
        _tend(lake, engine)
        upkeep_s += time.perf_counter() - start
    wall = time.perf_counter() - begun
    tenth = max(COMMITS // 10, 1)
    early, late = statistics.median(seconds[:tenth]), statistics.median(seconds[-tenth:])
    view = lake.cut().table("silver.sales")
    told = f"{early * 1000:.1f} ms, then {late * 1000:.1f} ms of CPU; {len(view.files())} files, {view.snapshots()} snapshots; upkeep {upkeep_s:.1f} s in all"
    first = figure(
        "upkeep: commit of 1,000 rows, last / first", late / early, "ratio", 1.5, 1.1, told, Cost(wall, sum(seconds), 0)
    )
    fresh = open_lake({"warehouse": os.path.join(folder, "fresh")})
    with fresh.publication("refine") as publication:
        publication.ensure(TableSpec("silver.sales", SCHEMA, sort=("id",), key=("id",)))
        publication.write("silver.sales", lake.scan(view))
        publication.commit()
    other = fresh.cut().table("silver.sales")
    ratios, ours = [], 0.0
    for _ in range(max(rounds, 3) * 2):
        ours, theirs = (_asked(engine, one) for one in (view, other))
        ratios.append(ours / theirs)
    told = f"{len(other.files())} file, {other.rows():,} rows"
    return [
        first,
        figure(
            "upkeep: five queries / on a fresh table",
            statistics.median(ratios),
            "ratio",
            1.5,
            1.1,
            told,
            Cost(ours, ours, 0),
        ),
    ]


def _tend(lake, engine) -> None:
    """What a run does by itself, with its defaults and nothing kept for readers."""
    view = lake.cut().table("silver.sales")
    if lake.commits_since_rewrite(view) >= 8:
        compact(view.name, lake, engine, Sizes(), until=time.monotonic() + LEAST_S)
    if view.snapshots() > 45:
        lake.expire(view.name, Expiry())
        lake.clean(0.0)


def _asked(engine, view) -> float:
    begun = time.process_time()
    for sql in QUERIES:
        engine.query(sql, {"silver.sales": view}).read_all()
    return time.process_time() - begun


def _compaction(folder: str, rounds: int) -> Figure:
    """The same files, one publication of compaction against one COPY of DuckDB."""
    lake, engine = open_lake({"warehouse": os.path.join(folder, "small")}), open_engine({})
    with lake.publication("refine") as publication:
        publication.ensure(TableSpec("silver.sales", SCHEMA, sort=("id",), key=("id",)))
        for number in range(FILES):
            publication.write("silver.sales", [rows(number * FILE_ROWS, FILE_ROWS)])
        publication.commit()
    base = [info.path for info in lake.cut().table("silver.sales").files()]
    ours, theirs = [], []
    for number in range(rounds + 1):
        copy = os.path.join(folder, f"small-{number}")
        shutil.copytree(os.path.join(folder, "small"), copy)  # tables name their files: the copy is DuckDB's
        theirs.append(_timed(lambda: _duckdb(base, os.path.join(folder, "out.parquet"))))
        ours.append(_timed(lambda: compact("silver.sales", lake, engine, Sizes(), everything=True)))
        _undo(lake, base)
        shutil.rmtree(copy)
    told = f"DuckDB {statistics.median(t.wall_s for t in theirs[1:]):.2f} s; {FILES:,} files of {FILE_ROWS:,} rows"
    ratio = statistics.median(a.cpu_s / b.cpu_s for a, b in zip(ours[1:], theirs[1:], strict=True))
    return figure("upkeep: compaction / DuckDB's COPY, CPU", ratio, "ratio", 1.5, 1.1, told, ours[-1])


def _undo(lake, paths) -> None:
    """The small files again, by their names."""
    with lake.publication("refine") as publication:
        publication.clear("silver.sales")
        for number, path in enumerate(paths):
            target = os.path.join(publication.folder("silver.sales"), f"{number}.parquet")
            with suppress(FileExistsError):
                os.link(path, target)
            publication.append("silver.sales", [target])
        publication.commit()
    paths[:] = [info.path for info in lake.cut().table("silver.sales").files()]


def _duckdb(paths, target) -> None:
    with duckdb.connect() as connection:
        connection.execute("SET preserve_insertion_order = true")
        connection.execute(
            f"COPY (SELECT * FROM read_parquet({paths!r})) TO '{target}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)"
        )


def _timed(work) -> Cost:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Cost(time.perf_counter() - wall, time.process_time() - cpu, 0)


def _events(folder: str) -> list[Figure]:
    """E4: what 1,000 events a commit cost in time and bytes, metadata, history and upkeep included."""
    lake, engine = open_lake({"warehouse": os.path.join(folder, "events")}), open_engine({})
    raw = plain = 0
    begun = time.perf_counter()
    for number in range(100):
        commit(lake, number * 1000, 1000)
        plain += rows(number * 1000, 1000).nbytes
        _tend(lake, engine)
    wall = time.perf_counter() - begun
    raw = sum(
        os.path.getsize(os.path.join(d, f)) for d, _, names in os.walk(os.path.join(folder, "events")) for f in names
    )
    compact("silver.sales", lake, engine, Sizes(), everything=True)
    kept = sum(info.size_bytes for info in lake.cut().table("silver.sales").files())
    cost = Cost(wall, wall, 0)
    return [
        figure(
            "upkeep: E4, MB that 100 events add, all told",
            raw / 1000 / 1e6,
            "MB",
            50,
            0.5,
            "E4 asks 50 MB; 100 times better is 0.5",
            cost,
        ),
        figure(
            "upkeep: E4, ms for an event, 1,000 a commit",
            wall / 100_000 * 1000,
            "ms",
            10,
            0.1,
            "E4 asks 100 events/s",
            cost,
        ),
        figure("upkeep: E4, stored / Arrow bytes", kept / plain, "ratio", 0.5, 0.25, "E4 asks 1 : 2", cost),
    ]

"""Changes by key merged into silver: against DuckDB rewriting the same Parquet, delta-rs and PyIceberg.

All are timed within a process that has imported its libraries, from a Parquet file of changes to a merged table that is
on the disk for certain: peers that do not sync what they wrote have it synced for them. Ours is the whole of
`run silver.sales`, the changes being landed in bronze: judging them, silver, quarantine and ledger in one publication,
upkeep, the run's record as a file and as a row of `headgate.runs`. The peers merge by key, in one commit.
"""

from __future__ import annotations

import os
import sys

from bench import kept, peers
from bench.measure import Cost, in_turn, median, ratio, run
from bench.report import Figure, figure
from headgate import Project

ROWS = int(os.environ.get("BENCH_MERGE_ROWS", "1940000"))
KEYS = int(os.environ.get("BENCH_MERGE_KEYS", "100000"))
LARGE = int(os.environ.get("BENCH_MERGE_LARGE", "10000000"))
UPSERT = int(os.environ.get("BENCH_UPSERT_KEYS", "100000"))
DAYS = 93
CONTRACT = """apiVersion: v3.2.0
kind: DataContract
id: bench.sales
name: sales
version: 1.0.0
status: active
servers:
  - {server: drop, type: local, path: 'in/*.parquet', format: parquet}
schema:
  - name: sales
    properties:
      - {name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1, required: true}
      - {name: day, logicalType: date, required: true, DAY}
      - {name: sold_at, logicalType: timestamp, required: true, logicalTypeOptions: {timezone: true}}
      - {name: updated_at, logicalType: timestamp, required: true, logicalTypeOptions: {timezone: true}}
      - {name: store, logicalType: integer}
      - {name: customer, logicalType: integer}
      - {name: sku, logicalType: string}
      - {name: channel, logicalType: string}
      - {name: quantity, logicalType: integer}
      - {name: price, logicalType: number, physicalType: 'numeric(12,2)'}
      - {name: discount, logicalType: number, physicalType: 'numeric(12,2)'}
      - {name: total, logicalType: number, physicalType: 'numeric(12,2)'}
      - {name: note, logicalType: string}
    customProperties:
      - {property: headgate.order, value: [updated_at]}
"""
PARTITIONED = "customProperties: [{property: headgate.partition, value: day}]"
_DATA = """
import sys, duckdb
out, keys, rows, days, change = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
duckdb.sql(f'''copy (select i as id, date '2026-01-01' + (i * {days} // {rows})::int as day, timestamptz '2026-01-01' + to_seconds(i * 4) as sold_at,
  timestamptz '2026-01-01' + to_seconds(i * 4 + {change}) as updated_at, (i * 31) % 500 as store, (i * 7919) % 200000 as customer,
  'sku-' || ((i * 104729) % 20000) as sku, ['web', 'shop', 'phone'][1 + i % 3] as channel, 1 + i % 9 as quantity,
  ((1 + (i * 37) % 9999) / 100)::decimal(12, 2) as price, (((i * 13) % 500) / 100)::decimal(12, 2) as discount,
  (((i * 41) % 99999 + {change} % 7) / 100)::decimal(12, 2) as total, case when i % 10 = 0 then 'note ' || i end as note
  from ({keys}) t(i)) to '{out}' (format parquet, compression zstd)''')
"""
_STEP = """
import resource, sys, time
from headgate import Project
import headgate.engines.duckdb.engine, headgate.steps.refine, headgate.steps.replay  # the peers' imports do not count either
project = Project.open(sys.argv[1])
project.run("bronze.sales")
wall, cpu = time.perf_counter(), time.process_time()
print("merged", project.run("silver.sales").total("accepted"))
print("step", time.perf_counter() - wall, time.process_time() - cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
_REWRITE = """
import resource, sys, time
import duckdb
con = duckdb.connect()
wall, cpu = time.perf_counter(), time.process_time()
con.execute(f"copy (select * from read_parquet({sys.argv[2:]})) to '{sys.argv[1]}' (format parquet, compression zstd, compression_level 1)")
print("step", time.perf_counter() - wall, time.process_time() - cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
_ON_DISK = """
import os
def files(folder):
    return {os.path.join(at, name) for at, _, names in os.walk(folder) for name in names}
def sync(paths):
    for path in [*paths, *{os.path.dirname(path) for path in paths}]:
        opened = os.open(path, os.O_RDONLY)
        os.fsync(opened)
        os.close(opened)
"""
_DELTA = """
import os, resource, sys, time
import pyarrow.parquet as pq
from deltalake import DeltaTable, write_deltalake
folder, first, changes = sys.argv[1:]
if not os.path.exists(folder):
    write_deltalake(folder, pq.read_table(first), partition_by=["day"])
before = files(folder)
wall, cpu = time.perf_counter(), time.process_time()
rows = pq.read_table(changes)
days = ", ".join(f"'{d}'" for d in rows["day"].unique().to_pylist())
merge = DeltaTable(folder).merge(rows, f"t.day in ({days}) and t.day = s.day and t.id = s.id", source_alias="s", target_alias="t")
merge.when_matched_update_all(predicate="s.updated_at > t.updated_at").when_not_matched_insert_all().execute()
sync(files(folder) - before)
print("step", time.perf_counter() - wall, time.process_time() - cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
_UPSERT = """
import os, resource, sys, time
import pyarrow.parquet as pq
from pyiceberg.catalog.sql import SqlCatalog
folder, first, changes = sys.argv[1:]
os.makedirs(folder, exist_ok=True)
catalog = SqlCatalog("peer", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")
catalog.create_namespace_if_not_exists("s")
rows = pq.read_table(first)
table = catalog.create_table("s.sales", rows.schema)
table.append(rows)
before = files(folder)
wall, cpu = time.perf_counter(), time.process_time()
rows = pq.read_table(changes)
table.upsert(rows, join_cols=["id"])
sync(files(folder) - before)
print("step", time.perf_counter() - wall, time.process_time() - cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def measure(rounds: int) -> list[Figure]:
    """Wall seconds of the merge step over the peers'; each round merges other changes into the same project."""
    with kept.folder("merge") as folder:
        return [*_spread(folder, rounds), *_last_days(folder, rounds), *_large(folder), *_upsert(folder)]


def prepare() -> None:
    """Silver tables to merge into."""
    with kept.folder("merge") as folder:
        _project(folder, "spread", ROWS, partitioned=False)
        _project(folder, "days", ROWS, partitioned=True)
        if LARGE:
            _project(folder, "large", LARGE, partitioned=False)
        if UPSERT:
            _project(folder, "upsert", ROWS, partitioned=False)


def _spread(folder: str, rounds: int) -> list[Figure]:
    project = _project(folder, "spread", ROWS, partitioned=False)

    def theirs() -> Cost:
        with Project.open(project) as opened:
            silver = opened.lake.cut().table("silver.sales")
            assert silver is not None
            paths = [info.path for info in silver.files()]  # those of this moment: replaced ones are still on the disk
        return _step(sys.executable, _REWRITE, os.path.join(folder, "rewritten.parquet"), *paths)

    def ours() -> Cost:
        _data(os.path.join(project, "in"), _scattered(ROWS, KEYS, change := _changes(project)), ROWS, change)
        return _step(sys.executable, _STEP, project)

    contenders = {
        "DuckDB rewrites": theirs,
        "headgate merge": ours,
    }
    costs = in_turn(rounds, contenders)
    mine, duckdb = costs["headgate merge"], costs["DuckDB rewrites"]
    against = f"{KEYS:,} keys spread over {ROWS:,} rows; DuckDB {median(duckdb).wall_s:.2f} s"
    return [figure("merge: wall / DuckDB rewriting", ratio(mine, duckdb), "ratio", 1.5, 1.0, against, median(mine))]


def _last_days(folder: str, rounds: int) -> list[Figure]:
    project = _project(folder, "days", ROWS, partitioned=True)
    delta = os.path.join(folder, "delta")
    first = os.path.join(project, "in", "0.parquet")
    start = ROWS * (DAYS - 3) // DAYS + 1
    changes: list[str] = []

    def ours() -> Cost:
        keys = f"select i from range({start}, {ROWS}) t(i) where hash(i) % 10 < 8"
        changes.append(_data(os.path.join(project, "in"), keys, ROWS, _changes(project)))
        return _step(sys.executable, _STEP, project)

    contenders = {
        "headgate merge": ours,
        "delta-rs merge": lambda: _step(peers.python(), _ON_DISK + _DELTA, delta, first, changes[-1]),
    }
    costs = in_turn(rounds, contenders)
    mine, theirs = costs["headgate merge"], costs["delta-rs merge"]
    against = f"keys in 3 of {DAYS} days; delta-rs {median(theirs).wall_s:.2f} s"
    return [
        figure("merge: wall / delta-rs, last 3 days", ratio(mine, theirs), "ratio", 1.0, 0.5, against, median(mine))
    ]


def _large(folder: str) -> list[Figure]:
    if not LARGE:
        return []
    project = _project(folder, "large", LARGE, partitioned=False)
    change = _changes(project)
    _data(os.path.join(project, "in"), _scattered(LARGE, LARGE // 10, change), LARGE, change)
    cost = _step(sys.executable, _STEP, project)
    print(f"    headgate merge, large: {cost}", file=sys.stderr)
    against = f"{LARGE // 10:,} keys into {LARGE:,} rows"
    return [
        figure("merge large: wall", cost.wall_s, "s", 15, 5, against, cost),
        figure("merge large: peak memory", cost.peak_rss_mib, "MiB", 2048, 1024, against, cost),
    ]


def _upsert(folder: str) -> list[Figure]:
    if not UPSERT:
        return []
    project = _project(folder, "upsert", ROWS, partitioned=False)
    first = os.path.join(project, "in", "0.parquet")
    change = _changes(project)
    changes = _data(os.path.join(project, "in"), _scattered(ROWS, UPSERT, change), ROWS, change)
    mine = _step(sys.executable, _STEP, project)
    theirs = _step(peers.python(), _ON_DISK + _UPSERT, os.path.join(folder, f"iceberg-{change}"), first, changes)
    against = f"{UPSERT:,} keys into {ROWS:,} rows; upsert {theirs.wall_s:.1f} s"
    return [figure("merge: wall / PyIceberg upsert", mine.wall_s / theirs.wall_s, "ratio", 0.2, 0.1, against, mine)]


def _project(folder: str, name: str, rows: int, *, partitioned: bool) -> str:
    """A project whose silver holds the first rows."""
    project = os.path.join(folder, name)
    if os.path.exists(os.path.join(project, "made")):
        return project
    os.makedirs(os.path.join(project, "contracts"))
    with open(os.path.join(project, "contracts", "sales.odcs.yaml"), "w") as out:
        day = ", " + PARTITIONED if partitioned else ""
        out.write(CONTRACT.replace(", DAY", day))
    with open(os.path.join(project, "headgate.yaml"), "w") as out:
        out.write("datasets: {sales: {}}\n")
    _data(os.path.join(project, "in"), f"select * from range({rows})", rows, 0)
    _step(sys.executable, _STEP, project)
    open(os.path.join(project, "made"), "w").close()
    return project


def _changes(project: str) -> int:
    """The number of the next batch of changes."""
    return len(os.listdir(os.path.join(project, "in")))


def _scattered(rows: int, keys: int, change: int) -> str:
    """Keys all over the table, four fifths of them known."""
    known = f"select distinct (hash(i + {change * rows}) % {rows})::bigint from range({keys * 4 // 5}) t(i)"
    return f"{known} union all select * from range({rows + change * keys}, {rows + change * keys + keys // 5})"


def _data(folder: str, keys: str, rows: int, change: int) -> str:
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, f"{change}.parquet")
    run([sys.executable, "-c", _DATA, path, keys, str(rows), str(DAYS), str(change)])
    return path


def _step(python: str, script: str, *arguments: str) -> Cost:
    """What the script says of its timed part."""
    whole = run([python, "-c", script, *arguments])
    said = next(line for line in whole.output.splitlines() if line.startswith("step"))
    wall, cpu, peak = (float(x) for x in said.split()[1:])
    return Cost(wall, cpu, peak, whole.output)

"""20,000 new rows: the whole `headgate run`, to silver and gold, at two sizes of history, against dlt's load alone."""

from __future__ import annotations

import os
import shutil
import tempfile

from bench import peers, sales
from bench.hops.postgres import DLT_QUIET
from bench.measure import Cost, headgate, in_turn, median, ratio, run
from bench.report import Figure, figure

ROWS = int(os.environ.get("BENCH_ROWS", "2000000"))
HISTORY = int(os.environ.get("BENCH_HISTORY", "50000000"))
NEW = 20_000
_DLT = """
import sys
address, out = sys.argv[1:3]
import dlt
from dlt.sources.sql_database import sql_table
table = sql_table(credentials=address.replace("postgresql://", "postgresql+psycopg2://"), table="sales", backend="connectorx", reflection_level="full_with_precision",
                  incremental=dlt.sources.incremental("updated_at"))
files = dlt.destinations.filesystem(bucket_url="file://" + out + "/data")
pipeline = dlt.pipeline("bench", destination=files, dataset_name="sales", pipelines_dir=out + "/state")
pipeline.run(table, loader_file_format="parquet").raise_on_failed_jobs()
"""


def measure(rounds: int) -> list[Figure]:
    """Seconds of a run with 20,000 new rows; the same with a long history; and over dlt's."""
    folder = tempfile.mkdtemp(prefix="headgate-bench-")
    try:
        with sales.database() as source:
            small, peer = _rounds(source, os.path.join(folder, "small"), ROWS, rounds, dlt=True)
        large: list[Cost] = []
        if HISTORY:
            with sales.database() as source:
                large, _ = _rounds(source, os.path.join(folder, "large"), HISTORY, rounds, dlt=False)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    cost = median(small)
    figures = [
        figure("incremental: 20,000 rows to gold", cost.wall_s, "s", 1.5, 0.8, f"{ROWS:,} rows of history", cost),
        figure(
            "incremental: wall / dlt's load",
            ratio(small, peer),
            "ratio",
            1.0,
            0.5,
            f"dlt {median(peer).wall_s:.2f} s",
            cost,
        ),
    ]
    if large:
        long = median(large)
        against = f"{HISTORY:,} rows of history over {ROWS:,}"
        figures.append(
            figure("incremental: long history / short", long.wall_s / cost.wall_s, "ratio", 1.3, 1.0, against, long)
        )
    return figures


def _rounds(source: sales.Database, folder: str, rows: int, rounds: int, *, dlt: bool) -> tuple[list[Cost], list[Cost]]:
    sales.fill(source, rows, spread=max(1, rows // 2_000_000))
    env = sales.environment(source)
    project = sales.project(folder, source)
    headgate("run", project=project, env=env)
    add = [lambda: (sales.add(source, NEW), headgate("run", project=project, env=env))[1]]
    contenders = {"headgate run": add[0]}
    if dlt:
        out = os.path.join(folder, "dlt")
        os.makedirs(out)
        argv = [peers.python(), "-c", _DLT, sales.address(source), out]
        run(argv, env=env | DLT_QUIET)
        contenders["dlt, incremental load"] = lambda: run(argv, env=env | DLT_QUIET)
    costs = in_turn(max(rounds, 5), contenders)
    return costs["headgate run"], costs.get("dlt, incremental load", [])

"""PostgreSQL table -> bronze Iceberg, whole process, against `psql \\copy … binary > /dev/null` and dlt."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile

from bench import peers, sales
from bench.measure import Cost, headgate, in_turn, median, ratio, run
from bench.report import Figure, figure

ROWS = int(os.environ.get("BENCH_ROWS", "2000000"))
_DLT = """
import os, shutil, sys
backend, address, out = sys.argv[1:4]
shutil.rmtree(out, ignore_errors=True)
import dlt
from dlt.sources.sql_database import sql_table
credentials = address.replace("postgresql://", "postgresql+psycopg2://")
table = sql_table(credentials=credentials, table="sales", backend=backend, chunk_size=50_000, reflection_level="full_with_precision")
files = dlt.destinations.filesystem(bucket_url="file://" + out + "/data")
pipeline = dlt.pipeline("bench", destination=files, dataset_name="sales", pipelines_dir=out + "/state")
pipeline.run(table, loader_file_format="parquet").raise_on_failed_jobs()
"""
DLT_QUIET = {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR"}


def measure(rounds: int) -> list[Figure]:
    """Wall over the limit and over dlt's fastest backend; peak memory, also at four times the rows."""
    folder = tempfile.mkdtemp(prefix="headgate-bench-")
    try:
        with sales.database() as source:
            sales.fill(source, ROWS)
            env = sales.environment(source)
            project = sales.project(os.path.join(folder, "project"), source, model=False)

            def ours() -> Cost:
                shutil.rmtree(os.path.join(project, ".headgate"), ignore_errors=True)
                return headgate("run", "bronze.sales", project=project, env=env)

            def limit() -> Cost:
                return run(
                    ["psql", "-qXc", f"\\copy (select {sales.COLUMNS} from sales) to '/dev/null' (format binary)"],
                    env=env,
                )

            def dlt(backend: str) -> Cost:
                return run(
                    [peers.python(), "-c", _DLT, backend, sales.address(source), os.path.join(folder, "dlt")],
                    env=env | DLT_QUIET,
                )

            costs = in_turn(
                rounds,
                {"psql \\copy binary": limit, "headgate run bronze": ours, "dlt connectorx": lambda: dlt("connectorx")},
            )
            pyarrow = in_turn(1, {"dlt pyarrow": lambda: dlt("pyarrow")}, warm=0)["dlt pyarrow"]
            sales.fill(source, 3 * ROWS, first=ROWS + 1)
            large = ours()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    mine, bare, peer = costs["headgate run bronze"], costs["psql \\copy binary"], costs["dlt connectorx"]
    cost = median(mine)
    fastest = min(median(peer).wall_s, pyarrow[0].wall_s)
    version = subprocess.run(
        [peers.python(), "-c", "import importlib.metadata as m; print(m.version('dlt'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    against = f"psql \\copy binary {median(bare).wall_s:.2f} s"
    return [
        figure("postgres: wall / limit", ratio(mine, bare), "ratio", 2.0, 1.5, against, cost),
        figure(
            "postgres: wall / dlt",
            cost.wall_s / fastest,
            "ratio",
            0.7,
            0.5,
            f"dlt {version}, its fastest backend, {fastest:.2f} s",
            cost,
        ),
        figure("postgres: peak memory", cost.peak_rss_mib, "MiB", 400, 300, f"{ROWS:,} rows", cost),
        figure("postgres: peak memory, 4 x rows", large.peak_rss_mib, "MiB", 400, 300, f"{4 * ROWS:,} rows", large),
        figure(
            "postgres: peak memory, 4 x rows / 1 x",
            large.peak_rss_mib / cost.peak_rss_mib,
            "ratio",
            1.1,
            1.0,
            "flat memory",
            large,
        ),
    ]

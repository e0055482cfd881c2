"""Bronze -> silver and quarantine, typed rows with twelve rules and a key, against writing the same Parquet."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile

from bench import sales
from bench.measure import Cost, headgate, in_turn, median, run
from bench.report import Figure, figure

ROWS = int(os.environ.get("BENCH_ROWS", "2000000"))
_WRITE = """
import glob, sys, time, resource
import pyarrow as pa, pyarrow.parquet as pq
table = pa.concat_tables([pq.read_table(f) for f in glob.glob(sys.argv[1] + "/**/*.parquet", recursive=True)]).combine_chunks()
begun = time.process_time()
pq.write_table(table, sys.argv[2] + "/written.parquet", compression="zstd", compression_level=1)
print(time.process_time() - begun)
"""


def measure(rounds: int) -> list[Figure]:
    """CPU seconds of refining alone, less the Parquet write of silver measured in the same run."""
    folder = tempfile.mkdtemp(prefix="headgate-bench-")
    try:
        with sales.database() as source:
            sales.fill(source, ROWS)
            env = sales.environment(source)
            project = sales.project(os.path.join(folder, "project"), source, model=False)
            headgate("run", "bronze.sales", project=project, env=env)
        lake, kept = os.path.join(project, ".headgate"), os.path.join(folder, "bronze")
        shutil.copytree(lake, kept)

        def ours() -> Cost:
            shutil.rmtree(lake)
            shutil.copytree(kept, lake)
            return headgate("run", "silver.sales", project=project)

        costs = in_turn(rounds, {"headgate run silver": ours}, warm=0)["headgate run silver"]
        silver = os.path.join(lake, "lake", "silver")
        write_s = float(run([sys.executable, "-c", _WRITE, silver, folder]).output.split()[-1])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    cost = median(costs)
    against = f"Parquet write of silver {write_s:.2f} CPU s"
    return [
        figure("refine typed: CPU less Parquet write", cost.cpu_s - write_s, "s", 3.0, None, against, cost),
        figure("refine typed: wall / CPU", cost.wall_s / cost.cpu_s, "ratio", 0.8, 0.6, "2 cores", cost),
    ]

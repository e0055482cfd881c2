"""Silver -> PostgreSQL, the serve step and the whole process, against plain COPY of the same rows; 20,000 changed rows."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import replace

from bench import sales
from bench.measure import Cost, headgate, in_turn, median, ratio, run
from bench.report import Figure, figure

ROWS = int(os.environ.get("BENCH_ROWS", "2000000"))
NEW = 20_000
OUTLET = "serve.postgres.silver.sales"
_SERVE = "serve:\n  - postgres: ${SERVE_URL}\n    tables: [silver.sales]\n"


def measure(rounds: int) -> list[Figure]:
    """Wall over COPY's, text and binary, with the key that the table has; peak memory; seconds for few changes."""
    folder = tempfile.mkdtemp(prefix="headgate-bench-")
    try:
        with sales.database() as source:
            sales.fill(source, ROWS)
            env = sales.environment(source) | {"SERVE_URL": sales.address(source)}
            project = sales.project(os.path.join(folder, "project"), source, model=False)
            with open(os.path.join(project, "headgate.yaml"), "a") as out:
                out.write(_SERVE)
            headgate("run", project=project, env=env)
            for form in ("text", "binary"):
                _psql(f"\\copy silver.sales to '{folder}/rows.{form}' (format {form})", env)

            def ours() -> Cost:
                source.run("drop schema silver cascade; checkpoint")
                return headgate("run", OUTLET, "--json", project=project, env=env)

            def copy(form: str, key: bool) -> Cost:
                source.run("drop table if exists plain; create table plain (like silver.sales); checkpoint")
                then = ["alter table plain add primary key (id)"] if key else []
                return _psql(f"\\copy plain from '{folder}/rows.{form}' (format {form})", env, *then)

            costs = in_turn(
                rounds,
                {
                    "headgate run serve": ours,
                    "COPY text, then key": lambda: copy("text", True),
                    "COPY binary, then key": lambda: copy("binary", True),
                    "COPY text, no key": lambda: copy("text", False),
                },
            )
            changed = []
            for _ in range(max(3, rounds)):
                sales.add(source, NEW)
                headgate("run", "silver.sales", "bronze.sales", project=project, env=env)
                changed.append(headgate("run", OUTLET, project=project, env=env))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    mine, few = costs["headgate run serve"], median(changed)
    steps = [replace(cost, wall_s=_step_s(cost.output)) for cost in mine]
    cost = median(mine)
    told = f"{ROWS:,} rows, {ROWS / cost.wall_s:,.0f}/s"
    hop, text = "serve postgres", costs["COPY text, then key"]
    rate = f"{ROWS:,} rows, {ROWS / median(steps).wall_s:,.0f}/s"
    return [
        figure(f"{hop}: step / COPY text", ratio(steps, text), "ratio", 1.43, 1.1, rate, median(steps)),
        figure(
            f"{hop}: step / COPY binary", ratio(steps, costs["COPY binary, then key"]), "ratio", 2.0, 1.43, rate, cost
        ),
        figure(
            f"{hop}: step / COPY text without key",
            ratio(steps, costs["COPY text, no key"]),
            "ratio",
            2.0,
            1.43,
            rate,
            cost,
        ),
        figure(f"{hop}: whole process / COPY text", ratio(mine, text), "ratio", 1.43, 1.1, told, cost),
        figure(f"{hop}: peak memory", cost.peak_rss_mib, "MiB", 500, 300, told, cost),
        figure(f"{hop}: 20,000 changed rows", few.wall_s, "s", 3.0, 1.5, f"into {ROWS:,} rows", few),
    ]


def _step_s(output: str) -> float:
    """Seconds of the serve step alone, from the run's record."""
    return json.loads(output[output.index("{") :])["served"][0]["seconds"]


def _psql(command: str, env: dict[str, str], *then: str) -> Cost:
    more = [word for sql in then for word in ("-c", sql)]
    return run(["psql", "-qX", "-v", "ON_ERROR_STOP=1", "-c", command, *more], env=env)

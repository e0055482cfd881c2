"""De-duplication against history: events with random keys, the step alone, at a short and a long history."""

from __future__ import annotations

import os
import sys
from functools import partial

from bench import kept
from bench.measure import Cost, in_turn, median, ratio, run
from bench.report import Figure, figure

SHORT = int(os.environ.get("BENCH_SHORT", "200000"))
LONG = int(os.environ.get("BENCH_LONG", "20000000"))
LOAD = 2_000_000
_HISTORIES = {"short": SHORT, "long": LONG}
CONTRACT = """apiVersion: v3.2.0
kind: DataContract
id: bench.events
name: events
version: 1.0.0
status: active
servers:
  - {server: drop, type: local, path: 'in/*.parquet', format: parquet}
schema:
  - name: events
    properties:
      - {name: event_id, logicalType: string, primaryKey: true, primaryKeyPosition: 1, required: true}
      - {name: at, logicalType: timestamp, required: true, logicalTypeOptions: {timezone: true}}
      - {name: user, logicalType: string}
      - {name: quantity, logicalType: integer}
      - {name: sku, logicalType: string}
"""
# One in a hundred is a copy of an event from anywhere in the history.
_DATA = """
import sys, duckdb
out, start, rows, history = sys.argv[1], *map(int, sys.argv[2:])
key = "md5(i::varchar)"
duckdb.sql(f'''copy (select {key}[:8] || '-' || {key}[9:12] || '-' || {key}[13:16] || '-' || {key}[17:20] || '-' || {key}[21:] as event_id,
  timestamptz '2026-01-01' + to_milliseconds(i) as at, 'user ' || (i % 5000) as user, i % 17 as quantity, 'sku ' || (i * 7919 % 100000) as sku
  from (select case when {history} > 0 and i % 100 = 0 then (hash(i) % greatest({history}, 1))::bigint else i end
        from range({start}, {start + rows}) t(i)) t(i)) to '{out}' (format parquet, compression zstd)''')
"""
_STEP = """
import resource, sys, time
import headgate.engines.duckdb.engine
from headgate import Project
project = Project.open(sys.argv[1])
project.run("bronze.events")
wall, cpu = time.perf_counter(), time.process_time()
print("copies", project.run("silver.events").total("duplicate"))
print("step", time.perf_counter() - wall, time.process_time() - cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def measure(rounds: int) -> list[Figure]:
    """CPU of the refine step per batch, long history over short, in batches of a thousand and of a hundred thousand."""
    with kept.folder("history") as folder:
        projects = _projects(folder)
        figures = []
        for size in (1000, 100_000):
            contenders = {f"{name} history, {size:,}": partial(project.add, size) for name, project in projects.items()}
            short, long = in_turn(max(rounds, 5), contenders).values()
            against = f"batches of {size:,}: {LONG:,} keys of history over {SHORT:,}"
            name = f"de-duplication: long history / short, {size:,} events"
            figures.append(figure(name, ratio(long, short, "cpu_s"), "ratio", 1.5, 1.1, against, median(long)))
        return figures


def prepare() -> None:
    """The histories."""
    with kept.folder("history") as folder:
        _projects(folder)


def _projects(folder: str) -> dict[str, _Project]:
    return {name: _Project(os.path.join(folder, name), rows) for name, rows in _HISTORIES.items()}


class _Project:
    """A project whose silver holds so many events."""

    def __init__(self, folder: str, history: int) -> None:
        self.folder, self.history, self.events = folder, history, 0
        os.makedirs(os.path.join(folder, "contracts"), exist_ok=True)
        os.makedirs(os.path.join(folder, "in"), exist_ok=True)
        with open(os.path.join(folder, "contracts", "events.odcs.yaml"), "w") as out:
            out.write(CONTRACT)
        self._set("")
        if landed := sorted(os.listdir(os.path.join(folder, "in"))):  # an earlier run's: go on behind it
            _land(folder)
            self.events = sum(map(int, landed[-1].removesuffix(".parquet").split("-")))
        while self.events < history:
            self._land(min(LOAD, history - self.events), 0)
        # A history has been compacted as it grew. Meanwhile nothing is: it would fall into one round and not into another.
        self._set("upkeep: {automatic: false}\n")

    def _set(self, more: str) -> None:
        with open(os.path.join(self.folder, "headgate.yaml"), "w") as out:
            out.write(f"datasets: {{events: {{}}}}\n{more}")

    def add(self, events: int) -> Cost:
        return self._land(events, self.history)

    def _land(self, events: int, history: int) -> Cost:
        path = os.path.join(self.folder, "in", f"{self.events:012}-{events}.parquet")
        run([sys.executable, "-c", _DATA, path, str(self.events), str(events), str(history)])
        self.events += events
        return _land(self.folder)


def _land(project: str) -> Cost:
    """Land and refine what is new; the cost of refining."""
    whole = run([sys.executable, "-c", _STEP, project])
    wall, cpu, peak = (float(x) for x in next(s for s in whole.output.splitlines() if s.startswith("step")).split()[1:])
    return Cost(wall, cpu, peak, whole.output)

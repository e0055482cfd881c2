"""Kafka to bronze against what others run for it: Apache Iceberg's Kafka Connect sink, and Quix Streams to Parquet files.

The events are those of the hop `kafka` without the broken ones, at which the peers stop. Headgate is measured as a whole
process, Kafka Connect without its start: from its first event to the commit that holds all."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from tests.rigs.own_environment import environment

from bench.connect.worker import COMMIT_S, classpath, sink
from bench.hops.kafka import EVENTS, PARTITIONS, TOPIC, land
from bench.measure import ROOT, Cost, in_turn, median, ratio, run
from bench.report import Figure, figure

_QUIX = """
import sys
from quixstreams import Application
from quixstreams.sinks.community.file.formats import ParquetFormat
from quixstreams.sinks.community.file.local import LocalFileSink
bootstrap, events, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
app = Application(
    broker_address=bootstrap, consumer_group=folder, auto_offset_reset="earliest", state_dir=folder + "/state"
)
stream = app.dataframe(app.topic("events", value_deserializer="json", key_deserializer="bytes"))
stream.sink(LocalFileSink(directory=folder, format=ParquetFormat(compression="zstd")))
app.run(count=events, collect=False)
"""


def measure(rounds: int) -> list[Figure]:
    """Wall and CPU over each peer's."""
    sys.path.insert(0, os.path.join(ROOT, "examples", "broker"))
    from broker import running

    classpath()
    quix = str(environment("quix") / "bin" / "python")
    folder = tempfile.mkdtemp(prefix="headgate_bench_")
    try:
        with running(Path(folder, "kafka")) as cluster:
            bootstrap = cluster.bootstrap()
            fill = f"from bench.hops.kafka import fill; print(fill({bootstrap!r}, {folder!r}, broken=False))"
            size = int(run([sys.executable, "-c", fill], cwd=ROOT).output.split()[-1])
            costs = in_turn(
                rounds,
                {
                    "headgate run bronze.events": lambda: land(bootstrap, folder),
                    "Kafka Connect Iceberg sink": lambda: sink(bootstrap, TOPIC, EVENTS, folder),
                    "Quix Streams to Parquet": lambda: _quix(quix, bootstrap, folder),
                },
                warm=0,
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    ours, connect, streams = costs.values()
    cost, said = median(ours), f"{EVENTS:,} events of {size} B, {PARTITIONS} partitions, {_rate(ours)}"
    start = sorted(float(c.output) for c in connect)[len(connect) // 2]
    sunk = f"{said}; sink {_rate(connect)}, committing every {COMMIT_S} s, {median(connect).peak_rss_mib:,.0f} MiB, {start} s to start apart"
    quixed = f"{said}; Quix {_rate(streams)}, {median(streams).peak_rss_mib:,.0f} MiB"
    hop = "kafka"
    return [
        figure(f"{hop}: wall / Kafka Connect Iceberg sink", ratio(ours, connect), "ratio", 0.25, 0.1, sunk, cost),
        figure(
            f"{hop}: CPU / Kafka Connect Iceberg sink", ratio(ours, connect, "cpu_s"), "ratio", 0.25, 0.1, sunk, cost
        ),
        figure(f"{hop}: wall / Quix Streams", ratio(ours, streams), "ratio", 1.0, 0.25, quixed, cost),
        figure(f"{hop}: CPU / Quix Streams", ratio(ours, streams, "cpu_s"), "ratio", 1.0, 0.25, quixed, cost),
    ]


def _rate(costs: list[Cost]) -> str:
    return f"{EVENTS / median(costs).wall_s:,.0f}/s"


def _quix(python: str, bootstrap: str, folder: str) -> Cost:
    import pyarrow.parquet as pq

    target = tempfile.mkdtemp(dir=folder)
    cost = run([python, "-c", _QUIX, bootstrap, str(EVENTS), target])
    got = sum(pq.read_metadata(path).num_rows for path in Path(target).rglob("*.parquet"))
    if got != EVENTS:
        raise RuntimeError(f"Quix Streams wrote {got:,} rows, not {EVENTS:,}:\n{cost.output[-2000:]}")
    shutil.rmtree(target)
    return cost

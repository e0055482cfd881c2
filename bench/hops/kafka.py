"""Kafka to bronze: `headgate run bronze.events` against what is possible (a loop that throws messages away) and against
the loop that tutorials show (poll, json.loads, write a line)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile

from bench.events import write_events
from bench.measure import ROOT, Cost, headgate, in_turn, median, ratio, run
from bench.report import Figure, figure

EVENTS = int(os.environ.get("BENCH_KAFKA_EVENTS", "2000000"))  # enough that a start of 0.8 s does not decide
PARTITIONS = 12
TOPIC = "events"
_CONTRACT = """apiVersion: v3.2.0
kind: DataContract
id: events
version: 1.0.0
status: active
servers: [{{server: bus, type: kafka, host: '{bootstrap}', format: json}}]
schema:
  - name: events
    properties: [{{name: event_id, logicalType: string}}]
"""
# Each counts what it got, so that nobody wins by reading less.
_BARE = """
import sys
from confluent_kafka import Consumer, TopicPartition
bootstrap, events = sys.argv[1], int(sys.argv[2])
consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bare", "enable.auto.commit": False})
consumer.assign([TopicPartition("events", n, 0) for n in range(12)])
got = 0
while got < events:
    got += len(consumer.consume(500, 1.0))
consumer.close()
"""
_TUTORIAL = """
import json, sys
from confluent_kafka import Consumer
bootstrap, events, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": path, "auto.offset.reset": "earliest"})
consumer.subscribe(["events"])
got = 0
with open(path, "w") as out:
    while got < events:
        message = consumer.poll(1.0)
        if message is None:
            continue
        got += 1
        try:
            event = json.loads(message.value())
        except ValueError:
            continue
        out.write(json.dumps(event) + "\\n")
consumer.close()
"""


def measure(rounds: int) -> list[Figure]:
    """Wall over the bare loop's and over the tutorial's, CPU per event, and memory with all of it waiting in the topic."""
    sys.path.insert(0, os.path.join(ROOT, "examples", "broker"))
    from pathlib import Path

    from broker import running

    folder = tempfile.mkdtemp(prefix="headgate-bench-")
    try:
        with running(Path(folder, "kafka")) as cluster:
            bootstrap = cluster.bootstrap()
            fill = f"from bench.hops.kafka import fill; print(fill({bootstrap!r}, {folder!r}))"
            size = int(
                run([sys.executable, "-c", fill], cwd=ROOT).output.split()[-1]
            )  # apart: its memory is not what is measured
            costs = in_turn(
                rounds,
                {
                    "bare consume(500)": lambda: run([sys.executable, "-c", _BARE, bootstrap, str(EVENTS)]),
                    "headgate run bronze.events": lambda: land(bootstrap, folder),
                    "tutorial loop": lambda: run(
                        [sys.executable, "-c", _TUTORIAL, bootstrap, str(EVENTS), tempfile.mktemp(dir=folder)]
                    ),
                },
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    bare, ours, tutorial = costs.values()
    cost, said = median(ours), f"{EVENTS:,} events of {size} B, {PARTITIONS} partitions"
    return [
        figure("kafka: wall / bare consume", ratio(ours, bare), "ratio", 2.0, 1.3, said, cost),
        figure("kafka: wall / tutorial loop", ratio(ours, tutorial), "ratio", 0.125, 0.05, said, cost),
        figure("kafka: CPU per event", cost.cpu_s / EVENTS * 1e6, "µs", 4.0, 2.5, said, cost),
        figure("kafka: memory while catching up", cost.peak_rss_mib, "MiB", 500, 300, said, cost),
    ]


def fill(bootstrap: str, folder: str, *, broken: bool = True) -> int:
    """The events of the other hops into the topic; bytes per event."""
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(TOPIC, PARTITIONS)])[TOPIC].result(30)
    path = os.path.join(folder, "events.ndjson")
    write_events(path, EVENTS, broken=broken)
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 50, "batch.size": 500_000})
    with open(path, "rb") as lines:
        for number, line in enumerate(lines):
            while True:
                try:
                    producer.produce(TOPIC, line.rstrip(b"\n"), b"%d" % (number // 4), number % PARTITIONS)
                    break
                except BufferError:
                    producer.poll(0.1)
            if number % 1000 == 0:
                producer.poll(0)
    if producer.flush(120):
        raise RuntimeError("the events could not be stored")
    size = os.path.getsize(path) // EVENTS
    os.remove(path)
    return size


def land(bootstrap: str, folder: str) -> Cost:
    """The topic into a new project's bronze, counted."""
    project = tempfile.mkdtemp(dir=folder)
    os.makedirs(os.path.join(project, "contracts"))
    with open(os.path.join(project, "contracts", "events.odcs.yaml"), "w") as out:
        out.write(_CONTRACT.format(bootstrap=bootstrap))
    cost = headgate("run", "bronze.events", project=project)
    told = subprocess.run(
        [sys.executable, "-m", "headgate", "query", "select count(*) as n from bronze.events", "--json", "-p", project],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    if f'"n": {EVENTS}' not in told:
        raise RuntimeError(f"bronze holds {told}, not {EVENTS:,} events")
    shutil.rmtree(project)
    return cost

"""A Kafka Connect worker with Apache Iceberg's sink, as its documentation sets it up: one process, JSON events without a
schema, the table made by the sink, a Hadoop catalog in a folder."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from bench.measure import ROOT, Cost

POM = Path(__file__).with_name("pom.xml")
COMMIT_S = 5
TASKS = 2
LIMIT_S = 300.0
# Connect gives the sink a turn when there are messages or at each flush; with the usual flush every 60 s, a sink that has
# drained its topic would take minutes to commit.
_WORKER = """bootstrap.servers={bootstrap}
key.converter=org.apache.kafka.connect.converters.ByteArrayConverter
value.converter=org.apache.kafka.connect.json.JsonConverter
value.converter.schemas.enable=false
offset.storage.file.filename={folder}/offsets
offset.flush.interval.ms=500
listeners=HTTP://127.0.0.1:0
plugin.discovery=only_scan
"""
_SINK = """name={name}
connector.class=org.apache.iceberg.connect.IcebergSinkConnector
tasks.max={tasks}
topics={topic}
iceberg.tables=lake.events
iceberg.tables.auto-create-enabled=true
iceberg.control.topic={name}
iceberg.control.commit.interval-ms={commit_ms}
iceberg.catalog.type=hadoop
iceberg.catalog.warehouse=file://{folder}/warehouse
"""


def classpath() -> str:
    """The jars that `pom.xml` names; resolved by Maven on first use."""
    known = Path(ROOT, "build", f"connect-{hashlib.sha256(POM.read_bytes()).hexdigest()[:12]}")
    if not known.exists():
        known.parent.mkdir(exist_ok=True)
        argv = ["mvn", "-q", "-B", "-f", str(POM), "dependency:build-classpath", f"-Dmdep.outputFile={known}"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"Maven could not resolve Kafka Connect:\n{(done.stdout + done.stderr)[-2000:]}")
    return known.read_text()


def sink(bootstrap: str, topic: str, events: int, folder: str) -> Cost:
    """From the first event that the sink has got (it makes the table then) until all are in committed snapshots, with
    the peak memory; `output` holds the seconds before that, the worker's start. RuntimeError when it fails."""
    from confluent_kafka.admin import AdminClient, NewTopic

    home = Path(folder, f"connect-{time.monotonic_ns()}")
    home.mkdir()
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(home.name, 1)])[home.name].result(30)
    given = {"bootstrap": bootstrap, "folder": home, "topic": topic, "name": home.name}
    (home / "worker").write_text(_WORKER.format(**given))
    (home / "sink").write_text(_SINK.format(**given, tasks=TASKS, commit_ms=COMMIT_S * 1000))
    java = ["java", "-Xmx1g", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", classpath()]
    argv = [*java, "org.apache.kafka.connect.cli.ConnectStandalone", str(home / "worker"), str(home / "sink")]
    table = home / "warehouse" / "lake" / "events"
    with open(home / "log", "wb") as log:
        begun = time.perf_counter()
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        first = _until(table.exists, process, home)
        cpu = _cpu_s(process.pid)
        last = _until(lambda: committed(table) >= events, process, home)
        cost = Cost(last - first, _cpu_s(process.pid) - cpu, _peak_mib(process.pid), f"{first - begun:.1f}")
        if (got := committed(table)) != events:
            raise RuntimeError(f"the sink's table holds {got:,} rows, not {events:,}")
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(home, ignore_errors=True)
    return cost


def committed(table: Path) -> int:
    """Rows of the table's current snapshot, as its newest metadata says."""
    named = {int(path.name[1:].partition(".")[0]): path for path in (table / "metadata").glob("v*.metadata.json")}
    if not named:
        return 0
    metadata = json.loads(named[max(named)].read_text())
    current = metadata.get("current-snapshot-id")
    return sum(int(s["summary"]["total-records"]) for s in metadata["snapshots"] if s["snapshot-id"] == current)


def _until(true: Callable[[], bool], process: subprocess.Popen[bytes], home: Path) -> float:
    """When it became true; looked at twenty times a second."""
    end = time.monotonic() + LIMIT_S
    while not true():
        said = (home / "log").read_text(errors="replace")
        if process.poll() is not None or "unrecoverable exception" in said or time.monotonic() > end:
            raise RuntimeError(f"Kafka Connect's Iceberg sink does not get there:\n{said[-4000:]}")
        time.sleep(0.05)
    return time.perf_counter()


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

"""Readings of sensors: Kafka -> bronze -> silver and quarantine -> two PostgreSQL tables, one `headgate run`, against plain
COPY of the same rows into tables of the same shape, with their keys."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from tests.rigs.postgres import Database, Server

from bench import sales
from bench.measure import ROOT, Cost, headgate, in_turn, median, ratio, run
from bench.report import Figure, figure

READINGS = int(os.environ.get("BENCH_READINGS", "500000"))
PARTITIONS = 12
TOPIC = "sensor_readings_raw"
TABLES = ("silver.sensor_readings", "quarantine.sensor_readings")
EXAMPLE = os.path.join(ROOT, "examples", "sensors")
_PROJECT = f"""datasets:
  sensor_readings: {{server: stream}}
serve:
  - postgres: ${{SERVE_URL}}
    tables: [{", ".join(TABLES)}]
"""
_ROWS = " union all ".join(f"select count(*) as n from {name}" for name in TABLES)


def measure(rounds: int) -> list[Figure]:
    """Wall of the whole process over that of COPY, which neither reads a topic nor judges."""
    sys.path.insert(0, os.path.join(ROOT, "examples", "broker"))
    from broker import running

    folder = tempfile.mkdtemp(prefix="headgate-bench-")
    server = Server({"shared_buffers": "512MB", "max_wal_size": "4GB"}).start()
    try:
        with server.database() as database, running(Path(folder, "kafka")) as cluster:
            bootstrap = cluster.bootstrap()
            fill = f"from bench.hops.kafka_postgres import fill; fill({bootstrap!r})"
            run([sys.executable, "-c", fill], cwd=ROOT)
            env = sales.environment(database) | {"SERVE_URL": sales.address(database), "KAFKA_BOOTSTRAP": bootstrap}
            _ours(database, folder, env)
            rows = [n for (n,) in database.run(_ROWS)]
            _copied_out(database, folder, env)
            costs = in_turn(
                rounds,
                {
                    "headgate run": lambda: _ours(database, folder, env),
                    "COPY text, then keys": lambda: _copy(database, folder, env, keys=True),
                    "COPY text, no key": lambda: _copy(database, folder, env, keys=False),
                },
                warm=0,
            )
            if (now := [n for (n,) in database.run(_ROWS)]) != rows:
                raise RuntimeError(f"the tables hold {now} rows, before {rows}")
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    ours, copy, bare = costs.values()
    cost, hop = median(ours), "kafka to postgres"
    told = (
        f"{sum(rows):,} rows of which {rows[1]:,} rejected, {sum(rows) / cost.wall_s:,.0f}/s; {_parts(ours[-1].output)}"
    )
    return [
        figure(f"{hop}: whole process / COPY text", ratio(ours, copy), "ratio", 3.333, 1.667, told, cost),
        figure(f"{hop}: whole process / COPY without keys", ratio(ours, bare), "ratio", 3.333, 1.667, told, cost),
    ]


def fill(bootstrap: str) -> None:
    """The example's readings, with all their faults, into a new topic."""
    sys.path.insert(0, EXAMPLE)
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic
    from simulate import Simulator

    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(TOPIC, PARTITIONS)])[TOPIC].result(30)
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 50, "queue.buffering.max.messages": 1_000_000})
    for number, line in enumerate(Simulator(READINGS).lines()):
        producer.produce(TOPIC, line, partition=number % PARTITIONS)
        if number % 10_000 == 0:
            producer.flush(60)
    if producer.flush(60):
        raise RuntimeError("the readings could not be stored")


def _ours(database: Database, folder: str, env: dict[str, str]) -> Cost:
    database.run("drop schema if exists silver cascade; drop schema if exists quarantine cascade")
    database.run("drop schema if exists headgate cascade")
    database.run("checkpoint")
    project = tempfile.mkdtemp(dir=folder)
    os.mkdir(os.path.join(project, "contracts"))
    shutil.copy(os.path.join(EXAMPLE, "contracts", "sensor_readings.odcs.yaml"), os.path.join(project, "contracts"))
    with open(os.path.join(project, "headgate.yaml"), "w") as out:
        out.write(_PROJECT)
    cost = headgate("run", "--json", project=project, env=env)
    shutil.rmtree(project)
    return cost


def _parts(output: str) -> str:
    """Where the time went, from the run's record; the rest of the wall is start and end."""
    record = json.loads(output[output.index("{") :])
    parts = record["datasets"][0]["seconds"] | {"serve": sum(each["seconds"] for each in record["served"])}
    return ", ".join(f"{name} {seconds:.2f} s" for name, seconds in parts.items())


def _copied_out(database: Database, folder: str, env: dict[str, str]) -> None:
    """The rows as files, and what makes the tables' indexes on the copies, which are in schemas of their own."""
    database.run("create schema plain_silver; create schema plain_quarantine")
    for name in TABLES:
        run(["psql", "-qX", "-c", f"\\copy {name} to '{folder}/{name}' (format text)"], env=env)
    made = database.run(
        "select indexdef from pg_indexes where schemaname in ('silver', 'quarantine') and tablename = 'sensor_readings'"
    )
    with open(os.path.join(folder, "keys.sql"), "w") as out:
        for (sql,) in made:
            out.write(
                sql.replace(" ON silver.", " ON plain_silver.").replace(" ON quarantine.", " ON plain_quarantine.")
                + ";\n"
            )


def _copy(database: Database, folder: str, env: dict[str, str], *, keys: bool) -> Cost:
    commands = []
    for name in TABLES:
        plain = f"plain_{name}"
        database.run(f"drop table if exists {plain}")
        database.run(f"create table {plain} (like {name})")
        commands += ["-c", f"\\copy {plain} from '{folder}/{name}' (format text)"]
    database.run("checkpoint")
    made = ["-f", os.path.join(folder, "keys.sql")] if keys else []
    return run(["psql", "-qX", "-v", "ON_ERROR_STOP=1", *commands, *made], env=env)

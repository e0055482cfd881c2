"""Rows into a topic: one commit of the Kafka store against a loop that only produces the same bytes, without a transaction
and without making messages of rows. Both read the rows, or the bytes, from a file before the clock starts."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile

from bench.measure import ROOT, Cost, in_turn, median, ratio, run
from bench.report import Figure, figure

ROWS = int(os.environ.get("BENCH_KAFKA_ROWS", "500000"))
_BEGIN = """
import sys, time, uuid
import pyarrow.parquet as pq
bootstrap, folder = sys.argv[1:]
table = pq.read_table(folder + "/rows.parquet")
name = "bench-" + uuid.uuid4().hex[:8]
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
admin = AdminClient({"bootstrap.servers": bootstrap})
admin.create_topics([NewTopic(name, 3)], operation_timeout=30)[name].result(30)
from headgate.formats.messages import Encoder, Form
from headgate.ports.batch import Batch, Position
from headgate.ports.store import TableSpec
from headgate.stores.kafka import open_sink
batches = table.to_batches(max_chunksize=50_000)
def told(begun, cpu):
    print(f"MEASURED {time.perf_counter() - begun} {time.process_time() - cpu}")
"""
_STORE = (
    _BEGIN
    + """
sink = open_sink(bootstrap, {"topic": name}, TableSpec("silver.rows", table.schema, key=("id",)))
sink.position("rows")
def chained():
    at, rows = Position.start(), 0
    for one in batches:
        rows += one.num_rows
        end = Position({"p": str(rows)})
        yield Batch(one, at, end)
        at = end
begun, cpu = time.perf_counter(), time.process_time()
assert sink.commit("rows", chained()) == table.num_rows
told(begun, cpu)
sink.close()
"""
)
_BARE = (
    _BEGIN
    + """
encoder = Encoder(Form.of("rows", table.schema), ["id"])
made = [encoder.encode(one) for one in batches]
producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 20,
    "batch.size": 1_000_000, "compression.type": "lz4", "queue.buffering.max.messages": 200_000,
    "queue.buffering.max.kbytes": 256 * 1024})
producer.list_topics(name)
begun, cpu = time.perf_counter(), time.process_time()
for one in made:
    for key, value in zip(one.keys, one.values):
        while True:
            try:
                producer.produce(name, value, key)
                break
            except BufferError:
                producer.poll(0.01)
    producer.poll(0)
assert producer.flush(120) == 0
told(begun, cpu)
"""
)
_ROWS = """
SELECT 'public.rows' AS _hg_partition, i AS _hg_offset, i AS id, 'customer ' || i % 5000 AS customer,
  CAST(i * 1.01 AS DECIMAL(18, 2)) AS amount, TIMESTAMPTZ '2026-01-01 00:00:00+00' + to_microseconds(i * 1001) AS updated_at,
  i % 2 = 0 AS paid, i / 7.0 AS rate, DATE '2026-01-01' + CAST(i % 1000 AS INTEGER) AS day,
  CASE WHEN i % 3 > 0 THEN 'a note of some length' END AS note FROM range({rows}) AS r(i)
"""


def measure(rounds: int) -> list[Figure]:
    """Wall and CPU over the bare loop's."""
    import duckdb

    sys.path.insert(0, os.path.join(ROOT, "examples", "broker"))
    from pathlib import Path

    from broker import running

    folder = tempfile.mkdtemp(prefix="headgate-bench-")
    try:
        with duckdb.connect() as connection:
            connection.execute(f"COPY ({_ROWS.format(rows=ROWS)}) TO '{folder}/rows.parquet'")
        with running(Path(folder, "kafka")) as cluster:
            bootstrap = cluster.bootstrap()
            costs = in_turn(
                rounds,
                {
                    "bare produce": lambda: _part(_BARE, bootstrap, folder),
                    "one commit of the store": lambda: _part(_STORE, bootstrap, folder),
                },
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    bare, ours = costs.values()
    cost, said = median(ours), f"{ROWS:,} rows of 8 columns, exact JSON, one transaction"
    return [
        figure("kafka store: wall / bare produce", ratio(ours, bare), "ratio", 3.0, 2.0, said, cost),
        figure("kafka store: CPU / bare produce", ratio(ours, bare, "cpu_s"), "ratio", 2.5, 1.5, said, cost),
    ]


def _part(program: str, bootstrap: str, folder: str) -> Cost:
    """A program's own measure of the part that counts."""
    cost = run([sys.executable, "-c", program, bootstrap, folder])
    line = next(one for one in cost.output.splitlines() if one.startswith("MEASURED "))
    wall, cpu = (float(word) for word in line.split()[1:])
    return Cost(wall, cpu, cost.peak_rss_mib)

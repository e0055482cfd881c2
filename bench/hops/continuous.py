"""A run that goes on, reading a real Kafka on the same machine: events a second, how soon they are seen, and memory."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

from bench.events import CONTRACT, write_events
from bench.measure import ROOT, Cost
from bench.report import Figure, figure

sys.path.insert(0, os.path.join(ROOT, "tests"))

EVENTS = int(os.environ.get("BENCH_STREAM_EVENTS", "400000"))  # for the sustained rate
RATE_S = int(os.environ.get("BENCH_STREAM_SECONDS", "30"))  # at 5,000 a second
FLAT_S = int(os.environ.get("BENCH_FLAT_SECONDS", "60"))  # at 10,000 a second; 1800 for the full figure
PARTITIONS = 12
DISTINCT = 200_000


def measure(rounds: int) -> list[Figure]:
    """Each figure once: they take their time by themselves. The account must balance at the end of each."""
    from rigs.kafka import Broker

    lines = _lines()
    broker = Broker().start()
    try:
        rate, cost, lag = _sustained(broker, lines)
        slow, slow_cost = _paced(broker, lines, 5_000, RATE_S)
        _, flat = _paced(broker, lines, 10_000, FLAT_S)
    finally:
        broker.stop()
    against = f"broker on the same {os.cpu_count()} cores; bar 40,000/s, stretch 100,000/s"
    return [
        figure("continuous: us per event sustained", 1e6 / rate, "us", 25, 10, f"{rate:,.0f}/s; {against}", cost),
        figure("continuous: p99 produced to visible at 5,000/s", slow, "s", 3, 1, f"{RATE_S} s; {lag}", slow_cost),
        figure("continuous: memory at 10,000/s", flat.peak_rss_mib, "MiB", 500, 300, f"{FLAT_S} s", flat),
    ]


def _lines() -> list[bytes]:
    path = os.path.join(ROOT, "build", f"stream-{DISTINCT}.ndjson")
    if not os.path.exists(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write_events(path, DISTINCT)
    with open(path, "rb") as file:
        return file.read().splitlines()


class _Going:
    """The project of a topic, and the process that follows it."""

    def __init__(self, broker, topic: str) -> None:
        self.folder = tempfile.mkdtemp(prefix="headgate-stream-")
        os.makedirs(os.path.join(self.folder, "contracts"))
        server = f"  - {{server: bus, type: kafka, host: '{broker.bootstrap}', format: json}}\n"
        head, _, rest = CONTRACT.partition("servers:\n")
        body = server + rest.partition("\n")[2].replace(
            "physicalType: file", f"physicalType: topic\n    physicalName: {topic}"
        )
        with open(os.path.join(self.folder, "contracts", "events.odcs.yaml"), "w") as out:
            out.write(head + "servers:\n" + body)
        self.log = open(os.path.join(self.folder, "log"), "w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "headgate", "run", "--continuous", "-p", self.folder],
            stdout=subprocess.DEVNULL,
            stderr=self.log,
        )
        self.begun = time.perf_counter()

    def live(self) -> dict | None:
        try:
            with open(os.path.join(self.folder, ".headgate", "live", f"{self.process.pid}.json")) as file:
                return json.load(file)
        except (OSError, ValueError):
            if self.process.poll() is not None:
                raise RuntimeError(open(self.log.name).read()[-3000:]) from None
            return None

    def judged(self) -> int:
        found = self.live()
        if not found:
            return 0
        totals = found["datasets"][0]["totals"]
        return int(sum(v for k, v in totals.items() if k not in ("landed", "bytes")))

    def until_judged(self, rows: int, limit_s: float = 600) -> None:
        deadline = time.perf_counter() + limit_s
        while self.judged() < rows:
            if time.perf_counter() > deadline:
                raise RuntimeError(f"{self.judged()} of {rows} judged: {self.live()}")
            time.sleep(0.1)

    def stop(self, rows: int) -> Cost:
        """Drain, prove the account, and say what it cost."""
        self.process.send_signal(signal.SIGTERM)
        _, status, usage = os.wait4(self.process.pid, 0)
        wall = time.perf_counter() - self.begun
        self.process.returncode = os.waitstatus_to_exitcode(status)
        said = open(self.log.name).read()
        if self.process.returncode:
            raise RuntimeError(said[-3000:])
        told = subprocess.run(
            [sys.executable, "-m", "headgate", "audit", "--deep", "--json", "-p", self.folder],
            capture_output=True,
            text=True,
            check=True,
        )
        account = json.loads(told.stdout)[0]
        if (account["state"], account["bronze"]) != ("balanced", rows):
            raise RuntimeError(f"the account is {account}, not {rows} rows")
        (name,) = os.listdir(os.path.join(self.folder, ".headgate", "runs"))
        with open(os.path.join(self.folder, ".headgate", "runs", name)) as file:
            memory = json.load(file)["peak_rss_mib"]  # not the system's account: that also remembers a large parent's
        shutil.rmtree(self.folder, ignore_errors=True)
        return Cost(wall, usage.ru_utime + usage.ru_stime, memory, said)


def _produce(broker, topic: str, lines: list[bytes], count: int, rate: int | None, stop=lambda: False) -> None:
    """Messages made before; at a rate, a twentieth of a second's worth at a time."""
    producer = broker.producer(**{"linger.ms": 5, "compression.type": "lz4", "queue.buffering.max.messages": 1_000_000})
    begun, sent = time.perf_counter(), 0
    while sent < count and not stop():
        for _ in range(min((rate or 200_000) // 20, count - sent)):
            producer.produce(topic, lines[sent % len(lines)], partition=sent % PARTITIONS)
            sent += 1
        producer.poll(0)
        if rate:
            time.sleep(max(0, begun + sent / rate - time.perf_counter()))
    producer.flush(60)


def _sustained(broker, lines) -> tuple[float, Cost, str]:
    """A topic that already holds everything, from the first verdict to the last."""
    topic = broker.topic(PARTITIONS)
    _produce(broker, topic, lines, EVENTS, None)
    going = _Going(broker, topic)
    going.until_judged(1)
    first, begun = going.judged(), time.perf_counter()
    going.until_judged(EVENTS)
    seconds = time.perf_counter() - begun
    return (EVENTS - first) / seconds, going.stop(EVENTS), f"{EVENTS:,} events"


def _paced(broker, lines, rate: int, seconds: int) -> tuple[float, Cost]:
    """Produced at a rate while it is followed: the 99th percentile over the last minute, and the cost."""
    topic = broker.topic(PARTITIONS)
    going = _Going(broker, topic)
    while not going.live():
        time.sleep(0.1)
    count = rate * seconds
    thread = threading.Thread(target=_produce, args=(broker, topic, lines, count, rate))
    thread.start()
    thread.join()
    going.until_judged(count)
    slow = (going.live() or {})["datasets"][0]["latency_s"]["p99"]
    return slow, going.stop(count)

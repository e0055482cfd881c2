"""A run that goes on, reading a real Kafka on the same machine: events a second, how soon they are seen, memory, and
what a second worker costs."""

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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.events import CONTRACT, write_events
from bench.measure import ROOT, Cost
from bench.report import Figure, figure
from headgate.stores.iceberg import peek

if TYPE_CHECKING:
    from rigs.kafka import Broker

sys.path.insert(0, os.path.join(ROOT, "tests"))

EVENTS = int(os.environ.get("BENCH_STREAM_EVENTS", "400000"))  # for the sustained rate
RATE_S = int(os.environ.get("BENCH_STREAM_SECONDS", "30"))  # at 5,000 a second
PAIRS = 5  # of one worker and two
PARTITIONS = 12
DISTINCT = 200_000
_GROUP = "datasets: {events: {read: {group: bench}}}\n"


def measure(rounds: int) -> list[Figure]:
    """Each figure once, as they take their time by themselves, but of workers the median of pairs, which differ by a
    tenth. The account must balance at the end of each."""
    with stream() as (broker, lines):
        first = _sustained(broker, lines)
        slow, slow_cost = _paced(broker, lines, 5_000, RATE_S)
        pairs = [
            (_sustained(broker, lines, _GROUP), _sustained(broker, lines, _GROUP, workers=2))
            for _ in range(max(rounds, PAIRS))
        ]
    one, two = sorted(pairs, key=lambda pair: pair[1].us / pair[0].us)[len(pairs) // 2]
    told = (
        f"{first.rate:,.0f}/s, {first.us:.1f} us of CPU; {EVENTS:,} events, broker on the same {os.cpu_count()} cores"
    )
    whole = f"median of {len(pairs)} pairs: {two.us:.1f} us by two at {two.rate:,.0f}/s, {one.us:.1f} us by one at {one.rate:,.0f}/s"
    half = f"{two.later_us:.1f} us by two, {one.later_us:.1f} us by one; the second half of the events"
    return [
        figure("continuous: us per event sustained", 1e6 / first.rate, "us", 25, 10, told, first.cost),
        figure("continuous: p99 produced to visible at 5,000/s", slow, "s", 3, 1, f"{RATE_S} s", slow_cost),
        figure("continuous: CPU per event, two workers / one", two.us / one.us, "ratio", 1.1, 1, whole, two.cost),
        figure("continuous: the same once both run", two.later_us / one.later_us, "ratio", 1.1, 1, half, two.cost),
    ]


@contextmanager
def stream() -> Iterator[tuple[Broker, list[bytes]]]:
    """A broker of its own, and what to send to it."""
    from rigs.kafka import Broker

    lines = _lines()
    broker = Broker().start()
    try:
        yield broker, lines
    finally:
        broker.stop()


def _lines() -> list[bytes]:
    path = os.path.join(ROOT, "build", f"stream-{DISTINCT}.ndjson")
    if not os.path.exists(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write_events(path, DISTINCT)
    with open(path, "rb") as file:
        return file.read().splitlines()


class Going:
    """The project of a topic, and the processes that follow it."""

    def __init__(self, broker: Broker, topic: str, settings: str = "", workers: int = 1) -> None:
        self.folder = tempfile.mkdtemp(prefix="headgate-stream-")
        os.makedirs(os.path.join(self.folder, "contracts"))
        server = f"  - {{server: bus, type: kafka, host: '{broker.bootstrap}', format: json}}\n"
        head, _, rest = CONTRACT.partition("servers:\n")
        body = server + rest.partition("\n")[2].replace(
            "physicalType: file", f"physicalType: topic\n    physicalName: {topic}"
        )
        with open(os.path.join(self.folder, "contracts", "events.odcs.yaml"), "w") as out:
            out.write(head + "servers:\n" + body)
        with open(os.path.join(self.folder, "headgate.yaml"), "w") as out:
            out.write(settings)
        self.log = open(os.path.join(self.folder, "log"), "w+")
        self.begun = time.perf_counter()
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-m", "headgate", "run", "--continuous", "-p", self.folder],
                stdout=subprocess.DEVNULL,
                stderr=self.log,
            )
            for _ in range(workers)
        ]

    def live(self, worker: int = 0) -> dict[str, Any] | None:
        """What a worker shows of itself; None before it does. RuntimeError when it has ended."""
        process = self.processes[worker]
        try:
            with open(os.path.join(self.folder, ".headgate", "live", f"{process.pid}.json")) as file:
                found: dict[str, Any] = json.load(file)
                return found
        except (OSError, ValueError):
            if process.poll() is not None:
                raise RuntimeError(open(self.log.name).read()[-3000:]) from None
            return None

    def until_live(self) -> None:
        """Until all workers are there."""
        while not all(self.live(number) for number in range(len(self.processes))):
            time.sleep(0.1)

    def judged(self) -> int:
        """Rows that have a verdict, by all workers."""
        found = [one for number in range(len(self.processes)) if (one := self.live(number))]
        totals = [one["datasets"][0]["totals"] for one in found]
        return int(sum(v for one in totals for k, v in one.items() if k not in ("landed", "bytes")))

    def shown(self) -> int:
        """Events that silver is past, whoever judged them: by the catalog, which is exact at any moment."""
        settings = {"warehouse": os.path.join(self.folder, ".headgate", "lake")}
        position = peek(settings).position("silver.events", "bronze.events")
        return sum(map(int, position.tokens.values())) if position is not None else 0

    def until_shown(self, rows: int, limit_s: float = 600) -> tuple[int, float, float]:
        """Events that silver is past, once they are so many; CPU seconds so far; and when that was."""
        deadline = time.perf_counter() + limit_s
        while (shown := self.shown()) < rows:
            if time.perf_counter() > deadline:
                raise RuntimeError(f"{shown} of {rows} judged: {self.live()}")
            time.sleep(0.02)
        return shown, self.cpu_s(), time.perf_counter()

    def cpu_s(self) -> float:
        """CPU seconds of all workers so far."""
        ticks = 0
        for process in self.processes:
            with open(f"/proc/{process.pid}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def until_judged(self, rows: int, limit_s: float = 600) -> None:
        deadline = time.perf_counter() + limit_s
        while self.judged() < rows:
            if time.perf_counter() > deadline:
                raise RuntimeError(f"{self.judged()} of {rows} judged: {self.live()}")
            time.sleep(0.1)

    def stop(self, rows: int) -> Cost:
        """Drain, prove the account, and say what it cost."""
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        cpu_s = 0.0
        for process in self.processes:
            _, status, usage = os.wait4(process.pid, 0)
            cpu_s += usage.ru_utime + usage.ru_stime
            process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - self.begun
        said = open(self.log.name).read()
        if any(process.returncode for process in self.processes):
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
        records = os.path.join(self.folder, ".headgate", "runs")
        memory = 0.0
        for name in os.listdir(records):
            with open(os.path.join(records, name)) as file:  # the system's account also remembers a large parent's
                memory = max(memory, json.load(file)["peak_rss_mib"])
        shutil.rmtree(self.folder, ignore_errors=True)
        return Cost(wall, cpu_s, memory, said)


def produce(broker, topic: str, lines: list[bytes], count: int, rate: int | None, stop=lambda: False) -> None:
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


@dataclass(frozen=True, slots=True)
class _Sustained:
    """Events a second, and microseconds of CPU for each in all workers: from the first verdict on, and of the second
    half of the events, when every worker has loaded what it needs."""

    rate: float
    us: float
    later_us: float
    cost: Cost


def _sustained(broker: Broker, lines: Sequence[bytes], settings: str = "", workers: int = 1) -> _Sustained:
    """A topic that already holds everything."""
    topic = broker.topic(PARTITIONS)
    produce(broker, topic, lines, EVENTS, None)
    going = Going(broker, topic, settings, workers)
    going.until_live()
    first, middle, last = (going.until_shown(rows) for rows in (1, EVENTS // 2, EVENTS))
    us, later_us = (1e6 * (last[1] - since[1]) / (last[0] - since[0]) for since in (first, middle))
    return _Sustained((last[0] - first[0]) / (last[2] - first[2]), us, later_us, going.stop(EVENTS))


def _paced(broker: Broker, lines: Sequence[bytes], rate: int, seconds: int) -> tuple[float, Cost]:
    """Produced at a rate while it is followed: the 99th percentile over the last minute, and the cost."""
    topic = broker.topic(PARTITIONS)
    going = Going(broker, topic)
    going.until_live()
    count = rate * seconds
    thread = threading.Thread(target=produce, args=(broker, topic, lines, count, rate))
    thread.start()
    thread.join()
    going.until_judged(count)
    slow = (going.live() or {})["datasets"][0]["latency_s"]["p99"]
    return slow, going.stop(count)

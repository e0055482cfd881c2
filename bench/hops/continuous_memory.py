"""A run that goes on at 10,000 events a second: its memory minute by minute, which must not grow.

`BENCH_FLAT_SECONDS=1800 python -m bench continuous_memory` is the full figure.
"""

from __future__ import annotations

import os
import statistics
import sys
import threading
import time

from bench.hops.continuous import PARTITIONS, Going, produce, stream
from bench.report import Figure, figure

SECONDS = int(os.environ.get("BENCH_FLAT_SECONDS", "60"))
RATE = 10_000
PIECES = 30  # of the time; each is told, a minute long in the full figure


def measure(rounds: int) -> list[Figure]:
    """Peak, and how much the last third holds above the middle one. Exit code 1 when that is not flat."""
    with stream() as (broker, lines):
        topic = broker.topic(PARTITIONS)
        going = Going(broker, topic)
        going.until_live()
        count, samples = RATE * SECONDS, list[float]()
        thread = threading.Thread(target=produce, args=(broker, topic, lines, count, RATE))
        begun = time.perf_counter()
        thread.start()
        while going.judged() < count:
            live, told = going.live(), len(samples)
            if live:
                samples.append(live["process"]["rss_mib"])
            piece = max(SECONDS // PIECES, 10)
            if told // piece != len(samples) // piece:
                _tell(samples[-piece:], time.perf_counter() - begun, live)
            time.sleep(1)
        thread.join()
        cost = going.stop(count)
    third = len(samples) // 3
    middle, last = (statistics.median(some) for some in (samples[third : 2 * third], samples[2 * third :]))
    told = f"{SECONDS} s; middle third {middle:.0f} MiB, last third {last:.0f} MiB"
    return [
        figure("continuous: memory at 10,000/s", cost.peak_rss_mib, "MiB", 500, 300, told, cost),
        figure("continuous: memory, last third - middle third", last - middle, "MiB", 25, 10, told, cost),
    ]


def _tell(samples: list[float], seconds: float, live: dict | None) -> None:
    flow = (live or {})["datasets"][0]
    print(
        f"    {seconds / 60:5.1f} min  {statistics.mean(samples):6.0f} MiB, at most {max(samples):.0f}; "
        f"{flow['totals']['landed']:,.0f} landed, {flow['waiting_rows']:,} waiting, p99 {flow['latency_s']['p99']} s",
        file=sys.stderr,
        flush=True,
    )

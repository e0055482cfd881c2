"""What a running process counts: every metric by its name, with its meaning; safe for several threads."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"
BOUNDS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
WINDOW_S = 60  # percentiles look so far back
_GROWTH = 1.1  # each finer bucket is a tenth wider than the one before: percentiles are right to a tenth
_LEAST_S = 0.001
_Key = tuple[str, tuple[tuple[str, str], ...]]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: its kind, what it says, and its labels."""

    kind: str
    help: str
    labels: tuple[str, ...] = ()


METRICS: Mapping[str, Metric] = {
    "headgate_info": Metric(GAUGE, "Always 1; the version and the run.", ("version", "run")),
    "headgate_landed_rows_total": Metric(COUNTER, "Rows landed in bronze.", ("dataset",)),
    "headgate_landed_bytes_total": Metric(COUNTER, "Arrow bytes landed in bronze.", ("dataset",)),
    "headgate_verdict_rows_total": Metric(COUNTER, "Bronze rows judged, by verdict.", ("dataset", "verdict")),
    "headgate_reason_rows_total": Metric(COUNTER, "Quarantined rows by broken rule.", ("dataset", "rule")),
    "headgate_publications_total": Metric(COUNTER, "Commits by step.", ("dataset", "step")),
    "headgate_step_seconds": Metric(HISTOGRAM, "Duration of one step of one micro-batch.", ("dataset", "step")),
    "headgate_visible_seconds": Metric(
        HISTOGRAM, "Time of an event from its source's clock, or its arrival, until silver shows it.", ("dataset",)
    ),
    "headgate_waiting_rows": Metric(GAUGE, "Bronze rows without a verdict.", ("dataset",)),
    "headgate_source_lag_rows": Metric(GAUGE, "Rows the source holds that are not landed.", ("dataset", "partition")),
    "headgate_retries_total": Metric(
        COUNTER, "Errors after which a step was tried again.", ("dataset", "step", "code")
    ),
    "headgate_gold_held": Metric(GAUGE, "1 while an error budget keeps gold closed.", ("dataset",)),
    "headgate_alert_raised": Metric(GAUGE, "1 while a declared limit is passed.", ("dataset", "alert")),
    "headgate_model_rows": Metric(GAUGE, "Rows of a gold model when it was last built.", ("model",)),
    "headgate_served_rows_total": Metric(COUNTER, "Rows sent to a target outside of the lake.", ("outlet",)),
    "headgate_table_rows": Metric(GAUGE, "Rows of a table.", ("table",)),
    "headgate_table_bytes": Metric(GAUGE, "Bytes of a table's live files.", ("table",)),
    "headgate_table_files": Metric(GAUGE, "Live files of a table.", ("table",)),
    "headgate_table_snapshots": Metric(GAUGE, "Snapshots that a table remembers.", ("table",)),
    "headgate_last_run_seconds": Metric(GAUGE, "Duration of the newest run record."),
    "headgate_last_run_started_seconds": Metric(GAUGE, "Start of the newest run record, Unix time."),
    "headgate_last_run_failed": Metric(GAUGE, "1 when the newest run record says failed."),
    "process_resident_memory_bytes": Metric(GAUGE, "Memory of this process."),
    "process_cpu_seconds_total": Metric(COUNTER, "CPU seconds of this process."),
    "process_start_time_seconds": Metric(GAUGE, "Start of this process, Unix time."),
}


class Spread:
    """Durations of the last minute, for percentiles: counts in buckets, second by second."""

    def __init__(self) -> None:
        self._seconds: deque[tuple[int, dict[int, int]]] = deque()

    def add(self, seconds: float, count: int, now: float) -> None:
        """Count some events that took so long."""
        tick = int(now)
        if not self._seconds or self._seconds[-1][0] != tick:
            self._seconds.append((tick, {}))
            while self._seconds[0][0] < tick - WINDOW_S:
                self._seconds.popleft()
        bucket = max(0, math.ceil(math.log(max(seconds, _LEAST_S) / _LEAST_S, _GROWTH)))
        buckets = self._seconds[-1][1]
        buckets[bucket] = buckets.get(bucket, 0) + count

    def percentiles(self, asked: Sequence[float], now: float) -> list[float | None]:
        """The durations below which these shares of the window's events stay; None without events."""
        total: dict[int, int] = {}
        for tick, buckets in self._seconds:
            if tick >= int(now) - WINDOW_S:
                for bucket, count in buckets.items():
                    total[bucket] = total.get(bucket, 0) + count
        whole = sum(total.values())
        if not whole:
            return [None] * len(asked)
        found: list[float | None] = []
        for share in asked:
            left = math.ceil(share * whole)
            for bucket in sorted(total):
                left -= total[bucket]
                if left <= 0:
                    found.append(_LEAST_S * _GROWTH**bucket)
                    break
        return found


@dataclass(slots=True)
class Distribution:
    """A histogram as Prometheus wants it: counts below each bound, their sum and number."""

    below: list[int]
    total_s: float = 0.0
    count: int = 0


class Meter:
    """Counts of one process. A name that METRICS does not know is a KeyError: nothing is counted undocumented."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[_Key, float] = {}
        self._distributions: dict[_Key, Distribution] = {}
        self._spreads: dict[_Key, Spread] = {}

    def add(self, name: str, value: float = 1, **labels: str) -> None:
        """Let a counter grow."""
        key = _key(name, labels)
        with self._lock:
            self._values[key] = self._values.get(key, 0) + value

    def set(self, name: str, value: float, **labels: str) -> None:
        """What a gauge shows now."""
        key = _key(name, labels)
        with self._lock:
            self._values[key] = value

    def observe(self, name: str, durations: Iterable[tuple[float, int]], **labels: str) -> None:
        """Durations in seconds with how many events each stands for."""
        key, now = _key(name, labels), time.monotonic()
        with self._lock:
            mine = self._distributions.setdefault(key, Distribution([0] * len(BOUNDS_S)))
            spread = self._spreads.setdefault(key, Spread())
            for seconds, count in durations:
                for at, bound in enumerate(BOUNDS_S):
                    if seconds <= bound:
                        mine.below[at] += count
                mine.total_s += seconds * count
                mine.count += count
                spread.add(seconds, count, now)

    def value(self, name: str, **labels: str) -> float:
        """What a counter or gauge stands at; 0 when it has never been touched."""
        with self._lock:
            return self._values.get(_key(name, labels), 0)

    def by(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """The values of a metric by one label, the others fixed."""
        with self._lock:
            every = [(dict(key[1]), value) for key, value in self._values.items() if key[0] == name]
        return {had[label]: value for had, value in every if all(had[k] == v for k, v in labels.items())}

    def percentiles(self, name: str, asked: Sequence[float], **labels: str) -> list[float | None]:
        """Percentiles over the last minute."""
        with self._lock:
            spread = self._spreads.get(_key(name, labels))
            return spread.percentiles(asked, time.monotonic()) if spread else [None] * len(asked)

    def everything(self) -> tuple[dict[_Key, float], dict[_Key, Distribution]]:
        """A copy of all counters and gauges, and of all histograms, by name and labels."""
        with self._lock:
            copies = {k: Distribution([*d.below], d.total_s, d.count) for k, d in self._distributions.items()}
            return dict(self._values), copies


def _key(name: str, labels: Mapping[str, str]) -> _Key:
    metric = METRICS[name]
    if set(labels) != set(metric.labels):
        raise KeyError(f"{name} has the labels {metric.labels}")
    return name, tuple((label, labels[label]) for label in metric.labels)

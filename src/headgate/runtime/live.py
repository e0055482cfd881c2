"""What a run that goes on shows of itself: a small file, replaced each second, for whoever watches from elsewhere."""

from __future__ import annotations

import json
import os
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import headgate
from headgate.errors import HeadgateError
from headgate.runtime.continuous import Conductor, state_of
from headgate.runtime.memory import rss_bytes
from headgate.runtime.observe import Meter

if TYPE_CHECKING:
    from headgate.ports.store import Lake
    from headgate.runtime.flow import Flow

EVERY_S = 1.0
TABLES_EVERY_S = 5.0
STALE_S = 10.0  # a file that has not been replaced for so long belongs to a process that hangs or is gone
HISTORY = 120  # samples kept for sparklines
TOP_REASONS = 5
_SHARES = (0.5, 0.95, 0.99)
_COUNTED = ("landed", "accepted", "quarantined", "bytes")


class Pulse:
    """Samples the process each second, and keeps `<folder>/<pid>.json` while its context is open."""

    def __init__(self, conductor: Conductor, folder: Path, name: str) -> None:
        self.conductor, self.meter, self.name = conductor, conductor.meter, name
        self.path = folder / f"{os.getpid()}.json"
        self._stop = Event()
        self._thread = Thread(target=self._beat, name="pulse", daemon=True)
        self._begun = time.time()
        self._before: dict[str, float] = {}
        self._at = (time.monotonic(), time.process_time())
        self._tables: list[dict[str, Any]] = []
        self._tables_due = 0.0
        self._first_bytes: dict[str, int] = {}
        self._history: dict[str, deque[float]] = {}

    def __enter__(self) -> Pulse:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.meter.set("process_start_time_seconds", self._begun)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        with suppress(OSError):
            self.path.unlink()

    def _beat(self) -> None:
        while not self._stop.wait(EVERY_S):
            with suppress(OSError):  # a full disk must not end the run that it tells of
                draft = self.path.with_suffix(".tmp")
                draft.write_text(json.dumps(self.sample()), "utf-8")
                draft.replace(self.path)

    def sample(self) -> dict[str, Any]:
        """The present state, JSON-safe. Rates are per second since the last sample."""
        now, cpu = time.monotonic(), time.process_time()
        seconds = now - self._at[0]
        used, self._at = cpu - self._at[1], (now, cpu)
        memory = measure_process(self.meter)
        if now >= self._tables_due:
            with suppress(HeadgateError):
                self._tables = measure_tables(self.conductor.project.lake, self.meter)
            self._tables_due = now + TABLES_EVERY_S
        return {
            "name": self.name,
            "pid": os.getpid(),
            "version": headgate.__version__,
            "run_id": self.conductor.run.id,
            "started_at": self._begun,
            "at": time.time(),
            **state_of(self.conductor),
            "datasets": [self._dataset(flow, seconds) for flow in self.conductor.flows],
            "models": self.meter.by("headgate_model_rows", "model"),
            "served": self.meter.by("headgate_served_rows_total", "outlet"),
            "tables": self._tables,
            "process": {
                "rss_mib": round(memory / 2**20, 1),
                "cpu_percent": round(100 * used / seconds, 1) if seconds else 0.0,
                "history": {
                    "rss_mib": self._kept("rss", memory / 2**20),
                    "cpu_percent": self._kept("cpu", 100 * used / max(seconds, 0.001)),
                },
            },
        }

    def _dataset(self, flow: Flow, seconds: float) -> dict[str, Any]:
        name, meter = flow.dataset.name, self.meter
        totals = {
            "landed": meter.value("headgate_landed_rows_total", dataset=name),
            "bytes": meter.value("headgate_landed_bytes_total", dataset=name),
            **meter.by("headgate_verdict_rows_total", "verdict", dataset=name),
        }
        rates = {}
        for what in _COUNTED:
            key, value = f"{name} {what}", totals.get(what, 0)
            rates[what] = round((value - self._before.get(key, 0)) / max(seconds, 0.001), 1)
            self._before[key] = value
        latency = meter.percentiles("headgate_visible_seconds", _SHARES, dataset=name)
        reasons = sorted(meter.by("headgate_reason_rows_total", "rule", dataset=name).items(), key=lambda r: -r[1])
        return {
            "dataset": name,
            "totals": totals,
            "rates": rates,
            "waiting_rows": flow.waiting_rows,
            "held": flow.held,
            "alerts": [
                limit for limit, raised in meter.by("headgate_alert_raised", "alert", dataset=name).items() if raised
            ],
            "lag": meter.by("headgate_source_lag_rows", "partition", dataset=name),
            "latency_s": {"p50": latency[0], "p95": latency[1], "p99": latency[2]},
            "reasons": dict(reasons[:TOP_REASONS]),
            "compression": self._compression(name, totals["bytes"]),
            "history": {
                "landed": self._kept(f"{name} landed", rates["landed"]),
                "quarantined": self._kept(f"{name} quarantined", rates["quarantined"]),
                "p99": self._kept(f"{name} p99", latency[2] or 0.0),
            },
        }

    def _compression(self, name: str, landed_bytes: float) -> float | None:
        """Arrow bytes landed by this process over what bronze grew on disk meanwhile."""
        held = next((t["bytes"] for t in self._tables if t["table"] == f"bronze.{name}"), None)
        if held is None:
            return None
        grown = held - self._first_bytes.setdefault(name, 0 if landed_bytes else held)
        return round(landed_bytes / grown, 1) if grown > 0 and landed_bytes else None

    def _kept(self, key: str, value: float) -> list[float]:
        history = self._history.setdefault(key, deque(maxlen=HISTORY))
        history.append(round(value, 3))
        return list(history)


def measure_process(meter: Meter) -> int:
    """Resident bytes of this process; notes them and its CPU seconds."""
    memory = rss_bytes()
    meter.set("process_resident_memory_bytes", memory)
    meter.set("process_cpu_seconds_total", time.process_time())
    return memory


def measure_tables(lake: Lake, meter: Meter) -> list[dict[str, Any]]:
    """Rows, bytes, live files and snapshots of every table; noted too."""
    cut, tables = lake.cut(), []
    for name in cut.names():
        view = cut.table(name)
        if view is None:
            continue
        files = view.files()
        one: dict[str, Any] = {
            "table": name,
            "rows": view.rows(),
            "bytes": sum(f.size_bytes for f in files),
            "files": len(files),
            "snapshots": view.snapshots(),
        }
        for what in ("rows", "bytes", "files", "snapshots"):
            meter.set(f"headgate_table_{what}", float(one[what]), table=name)
        tables.append(one)
    return tables


def running(state: Path) -> list[dict[str, Any]]:
    """What the project's running processes showed last, the oldest first. `stale` when a file is no longer replaced;
    files of processes that are gone are removed."""
    found = []
    for path in sorted((state / "live").glob("*.json")):
        try:
            told = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):
            continue  # it has just ended
        if not _alive(int(path.stem)):
            with suppress(OSError):
                path.unlink()
            continue
        found.append({**told, "stale": time.time() - told["at"] > STALE_S})
    return sorted(found, key=lambda one: one["started_at"])


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

"""Makes readings of sensors in a building, with all that goes wrong with sensors: drift, dropouts, readings sent twice,
late, out of order, and impossible ones.

    python examples/sensors/simulate.py --readings 10000 > inbox/readings.ndjson
    python examples/sensors/simulate.py --readings 0 --rate 10 --now |
        headgate topic produce sensor_readings --key sensor_id

One JSON reading a line, in order of arrival. The same seed gives the same bytes (but for --now). What was made stands
on stderr as one JSON document: readings, duplicates and each kind of fault, so that it can be compared with what a
pipeline says it found.

No packages are needed.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

# Share of readings with each fault that the contract rejects, 2 % together; a reading has at most one.
REJECTED = {
    "too_hot": 0.003,
    "too_humid": 0.003,
    "battery_below_zero": 0.002,
    "no_sensor": 0.002,
    "text_for_number": 0.003,
    "not_a_number": 0.002,
    "unknown_unit": 0.001,
    "year_2099": 0.001,
    "cut_off": 0.003,
}
DOUBLED = 0.02  # sent again, byte for byte
LATE = 0.03  # held back for up to an hour; readings of one sensor may overtake each other
SILENT = 0.001  # chance that a sensor falls silent, for up to an hour

PLACES = ["roof", "hall", "server room", "cellar", "office 1", "office 2", "laboratory", "greenhouse"]
START = datetime(2026, 8, 1, tzinfo=UTC)


@dataclass(slots=True)
class Sensor:
    """One sensor: where it hangs, how far off it has drifted, and until when it is silent."""

    name: str
    place: str
    base_c: float
    drift_c_per_day: float
    battery_pct: float
    sequence: int = 0
    silent_until: datetime = START


@dataclass(slots=True)
class Simulator:
    """`sensors` sensors that measure in turn, `every_s` seconds apart in their time; `readings` in all, 0: endless."""

    readings: int = 1000
    seed: int = 1
    sensors: int = 20
    start: datetime = START
    every_s: float = 0.1
    faults: bool = True
    made: Counter[str] = field(default_factory=Counter)

    def lines(self) -> Iterator[bytes]:
        """Readings in order of arrival."""
        rng = random.Random(self.seed)
        field_ = [self._sensor(rng, n) for n in range(self.sensors)]
        waiting: list[tuple[datetime, int, bytes]] = []
        number = tick = 0
        while number < self.readings or not self.readings:
            at = self.start + timedelta(seconds=tick * self.every_s)
            sensor = field_[tick % self.sensors]
            tick += 1
            if self.faults and self._is_silent(rng, sensor, at):
                continue
            number += 1
            self._send(rng, sensor, at, waiting, number)
            yield from self._arrived(waiting, at)
        yield from self._arrived(waiting, datetime.max.replace(tzinfo=UTC))

    def _sensor(self, rng: random.Random, number: int) -> Sensor:
        drift = rng.gauss(0, 0.3) if self.faults else 0.0
        return Sensor(
            f"S-{number:04}", PLACES[number % len(PLACES)], 15 + rng.random() * 10, drift, 60 + rng.random() * 40
        )

    def _is_silent(self, rng: random.Random, sensor: Sensor, at: datetime) -> bool:
        if at < sensor.silent_until:
            self.made["dropped_out"] += 1
            return True
        if rng.random() < SILENT:
            sensor.silent_until = at + timedelta(seconds=rng.random() * 3600)
        return False

    def _send(
        self, rng: random.Random, sensor: Sensor, at: datetime, waiting: list[tuple[datetime, int, bytes]], number: int
    ) -> None:
        line, whole = self._reading(rng, sensor, at)
        arrival = at + timedelta(seconds=rng.random() * 0.5)
        if self.faults and rng.random() < LATE:
            arrival += timedelta(seconds=5 + rng.random() * 3600)
            self.made["late"] += 1
        heapq.heappush(waiting, (arrival, 2 * number, line))
        if self.faults and whole and rng.random() < DOUBLED:
            heapq.heappush(waiting, (arrival + timedelta(seconds=rng.random() * 60), 2 * number + 1, line))
            self.made["doubled"] += 1

    def _arrived(self, waiting: list[tuple[datetime, int, bytes]], until: datetime) -> Iterator[bytes]:
        while waiting and waiting[0][0] <= until:
            self.made["readings"] += 1
            yield heapq.heappop(waiting)[2]

    def _reading(self, rng: random.Random, sensor: Sensor, at: datetime) -> tuple[bytes, bool]:
        days = (at - self.start).total_seconds() / 86_400
        swing = math.sin(2 * math.pi * (days - 0.3))
        sensor.sequence += 1
        sensor.battery_pct = max(sensor.battery_pct - 0.0001, 1.0)
        reading: dict[str, Any] = {
            "reading_id": f"{sensor.name}-{int(at.timestamp() * 1000)}",
            "sensor_id": sensor.name,
            "place": sensor.place,
            "measured_at": f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z",
            "sequence": sensor.sequence,
            "temperature_c": round(sensor.base_c + 4 * swing + sensor.drift_c_per_day * days + rng.gauss(0, 0.2), 2),
            "humidity_pct": round(min(max(50 - 10 * swing + rng.gauss(0, 2), 0), 100), 1),
            "battery_pct": round(sensor.battery_pct, 1),
            "unit": "C",
        }
        self.made["distinct"] += 1
        fault = _chosen(rng.random()) if self.faults else None
        if fault is None:
            return _line(reading), True
        self.made[fault] += 1
        return _broken(reading, fault), False


def _broken(reading: dict[str, Any], fault: str) -> bytes:
    match fault:
        case "too_hot":
            reading["temperature_c"] = 999.9
        case "too_humid":
            reading["humidity_pct"] = 140.0
        case "battery_below_zero":
            reading["battery_pct"] = -1.0
        case "no_sensor":
            del reading["sensor_id"]
        case "text_for_number":
            reading["temperature_c"] = str(reading["temperature_c"])
        case "not_a_number":
            reading["temperature_c"] = math.nan  # Python writes NaN, which is not JSON: as real firmware does
        case "unknown_unit":
            reading["unit"] = "K"
        case "year_2099":
            reading["measured_at"] = f"2099{reading['measured_at'][4:]}"
    line = _line(reading)
    return line[: len(line) // 2] if fault == "cut_off" else line


def _chosen(share: float) -> str | None:
    for fault, part in REJECTED.items():
        share -= part
        if share < 0:
            return fault
    return None


def _line(reading: dict[str, Any]) -> bytes:
    return json.dumps(reading, separators=(",", ":")).encode()


def main() -> int:
    """Write readings to stdout or a file, as fast as possible or so many a second."""
    parser = argparse.ArgumentParser(description="Make sensor readings, one JSON document a line.")
    parser.add_argument("--readings", type=int, default=1000, help="how many; 0: without end (default: 1000)")
    parser.add_argument("--sensors", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0.0, help="readings a second (default: as fast as possible)")
    parser.add_argument("--every", type=float, default=0.1, metavar="S", help="seconds between readings, in their time")
    parser.add_argument("--now", action="store_true", help="let time begin now instead of 2026-08-01")
    parser.add_argument("--clean", action="store_true", help="no fault, no duplicate, nothing late, no dropout")
    parser.add_argument("--to", metavar="FILE", help="write here instead of stdout (the file appears when it is whole)")
    given = parser.parse_args()
    start = datetime.now(UTC) if given.now else START
    simulator = Simulator(given.readings, given.seed, given.sensors, start, given.every, not given.clean)
    target = f"{given.to}.part" if given.to else None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    begun, sent = time.monotonic(), 0
    try:
        with open(target, "wb") if target else os.fdopen(sys.stdout.fileno(), "wb", closefd=False) as out:
            for line in simulator.lines():
                out.write(line + b"\n")
                sent += 1
                if given.rate:
                    out.flush()
                    time.sleep(max(0.0, begun + sent / given.rate - time.monotonic()))
    except (KeyboardInterrupt, BrokenPipeError, SystemExit):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads what is still buffered
    else:
        if target:
            os.replace(target, given.to)
    print(json.dumps(dict(sorted(simulator.made.items()))), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())

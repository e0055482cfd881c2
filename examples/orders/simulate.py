"""Makes the event stream of a web shop: life cycles of orders, as late, doubled and broken as real streams are.

    python examples/orders/simulate.py --orders 5000 > inbox/events.ndjson
    python examples/orders/simulate.py --orders 0 --rate 200 --now |
        headgate topic produce order_events --key payload.order_id

One JSON event a line, in order of arrival; the events of one order always come in order. The same seed gives the same
bytes (but for --now). What was made stands on stderr as one JSON document: events, duplicates, and each kind of fault,
so that it can be compared with what a pipeline says it found.

No packages are needed.
"""

from __future__ import annotations

import argparse
import hashlib
import heapq
import json
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

# Share of events with each fault that the contract rejects, 1 % together; an event has at most one.
REJECTED = {
    "no_tenant": 0.001,
    "amount_in_words": 0.001,
    "amount_as_text": 0.001,
    "negative_amount": 0.001,
    "impossible_day": 0.001,
    "unknown_type": 0.001,
    "cut_off": 0.001,
    "user_as_number": 0.001,
    "half_an_item": 0.001,
    "wrong_checksum": 0.001,
}
DOUBLED = 0.02  # sent again, byte for byte
LATE = 0.01  # held back for up to a day, and with them what follows in the same order

FIRST_TYPE = "order_created"
TENANTS = [f"tenant_{n:03}" for n in range(40)]
SYSTEMS = ["web", "ios", "android", "pos"]
PLACES = [
    ("Berlin", "DE", "EUR", "Königsallee"),
    ("Paris", "FR", "EUR", "Rue de Lyon"),
    ("London", "GB", "GBP", "High Road"),
    ("Mumbai", "IN", "INR", "Marine Drive"),
    ("Ōsaka", "JP", "JPY", "御堂筋"),
    ("Zürich", "CH", "CHF", "Bahnhofstrasse"),
]
START = datetime(2026, 8, 1, tzinfo=UTC)


@dataclass(slots=True)
class Order:
    """One order on its way: who, what, and the steps that are still to come."""

    number: int
    at: datetime
    frame: dict[str, Any]  # of the envelope, the same for all its events
    payload: dict[str, Any]
    steps: list[tuple[str, float]]  # event type, seconds after the one before


@dataclass(slots=True)
class Simulator:
    """A shop with `orders` orders (0: without end), a new one every `every_s` seconds of its own time."""

    orders: int = 200
    seed: int = 1
    start: datetime = START
    every_s: float = 30.0
    faults: bool = True
    made: Counter[str] = field(default_factory=Counter)

    def lines(self) -> Iterator[tuple[str, bytes]]:
        """Order id and event, in order of arrival."""
        rng = random.Random(self.seed)
        waiting: list[tuple[datetime, int, int, bytes, str]] = []  # arrival, number of the event, of the order, …
        following: dict[int, datetime] = {}  # order -> no event of it arrives before
        number = event = 0
        alive: list[tuple[datetime, int, Order]] = []
        while number < self.orders or not self.orders or alive or waiting:
            if number < self.orders or not self.orders:
                order = self._order(rng, number)
                heapq.heappush(alive, (order.at, number, order))
                number += 1
            horizon = order.at if number < self.orders or not self.orders else datetime.max.replace(tzinfo=UTC)
            while alive and alive[0][0] <= horizon:
                at, key, order_now = heapq.heappop(alive)
                arrival = at + timedelta(seconds=0.02 + rng.random() * 1.5)
                if self.faults and rng.random() < LATE:
                    arrival += timedelta(seconds=600 + rng.random() * 86_000)
                    self.made["late"] += 1
                arrival = max(arrival, following.get(key, arrival))
                following[key] = arrival
                line, whole = self._event(rng, order_now, at, arrival)
                order_id = order_now.payload["order_id"]
                event += 1
                heapq.heappush(waiting, (arrival, event, key, line, order_id))
                if self.faults and rng.random() < DOUBLED and whole:
                    event += 1
                    again = arrival + timedelta(seconds=rng.random() * 120)
                    following[key] = again
                    heapq.heappush(waiting, (again, event, key, line, order_id))
                    self.made["doubled"] += 1
                if order_now.steps:
                    _, after_s = order_now.steps[0]
                    heapq.heappush(alive, (at + timedelta(seconds=after_s), key, order_now))
            while waiting and waiting[0][0] <= horizon:
                _, _, key, line, order_id = heapq.heappop(waiting)
                self.made["events"] += 1
                yield order_id, line

    def _order(self, rng: random.Random, number: int) -> Order:
        city, country, currency, street = rng.choice(PLACES)
        items, pence = [], 0
        for _ in range(rng.randint(1, 4)):
            quantity, price = rng.randint(1, 5), rng.randint(100, 19_999)
            pence += quantity * price
            items.append({"sku": f"SKU-{rng.randrange(5000):05}", "qty": quantity, "price": _money(price)})
        payload = {
            "order_id": f"ORD-{number:09}",
            "amount": _money(pence),
            "currency": currency,
            "items": items,
            "address": {
                "street": f"{rng.randint(1, 400)} {street}",
                "city": city,
                "zip": f"{rng.randrange(99_999):05}",
                "country": country,
            },
        }
        frame = {
            "tenant_id": rng.choice(TENANTS),
            "user_id": f"usr_{rng.randrange(200_000)}",
            "session_id": f"ses_{rng.getrandbits(80):020x}",
            "source_system": rng.choice(SYSTEMS),
        }
        at = self.start + timedelta(seconds=number * self.every_s)
        return Order(number, at, frame, payload, _steps(rng))

    def _event(self, rng: random.Random, order: Order, at: datetime, arrival: datetime) -> tuple[bytes, bool]:
        """The order's next event, and whether it is as the contract wants it."""
        kind, _ = order.steps.pop(0)
        event = {
            "event_id": _uuid(rng),
            "event_type": kind,
            "schema_version": 1,
            "event_time": _instant(at),
            "ingest_time": _instant(arrival),
            **order.frame,
            "environment": "production",
            "record_source": "shop.orders",
            "payload": order.payload,
            "checksum": checksum(order.payload),
        }
        self.made["distinct"] += 1
        fault = _chosen(rng.random()) if self.faults else None
        if fault is None:
            return _line(event), True
        self.made[fault] += 1
        return _broken(event, fault), False


def checksum(payload: dict[str, Any]) -> str:
    """SHA-256 of the payload as JSON without white space, its members sorted by name."""
    text = json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _steps(rng: random.Random) -> list[tuple[str, float]]:
    """A life: created, then paid, shipped and delivered, or cancelled on the way."""
    steps = [(FIRST_TYPE, 0.0)]
    for kind, longest_s, loss in (
        ("payment_authorized", 600, 0.08),
        ("order_shipped", 172_800, 0.03),
        ("order_delivered", 345_600, 0.02),
    ):
        if rng.random() < loss:
            return [*steps, ("order_cancelled", 5 + rng.random() * longest_s)]
        steps.append((kind, 5 + rng.random() * longest_s))
    return steps


def _broken(event: dict[str, Any], fault: str) -> bytes:
    payload = dict(event["payload"])
    match fault:
        case "no_tenant":
            del event["tenant_id"]
        case "amount_in_words":
            payload["amount"] = "twelve"
        case "amount_as_text":
            payload["amount"] = str(payload["amount"])
        case "negative_amount":
            payload["amount"] = -payload["amount"]
        case "impossible_day":
            event["event_time"] = f"{event['event_time'][:4]}-02-30T10:00:00.000Z"
        case "unknown_type":
            event["event_type"] = "order_exploded"
        case "user_as_number":
            event["user_id"] = int(event["user_id"].removeprefix("usr_"))
        case "half_an_item":
            payload["items"] = [{**payload["items"][0], "qty": 1.5}, *payload["items"][1:]]
        case "wrong_checksum":
            event["checksum"] = checksum({**payload, "amount": 0})
    if payload != event["payload"]:
        event["payload"], event["checksum"] = payload, checksum(payload)
    line = _line(event)
    return line[: len(line) // 2] if fault == "cut_off" else line


def _chosen(share: float) -> str | None:
    for fault, part in REJECTED.items():
        share -= part
        if share < 0:
            return fault
    return None


def _line(event: dict[str, Any]) -> bytes:
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode()


def _money(pence: int) -> float | int:
    """Pence as a JSON number without zeros at its end: then any language writes the same text for it."""
    return pence // 100 if pence % 100 == 0 else pence / 100


def _instant(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z"


def _uuid(rng: random.Random) -> str:
    text = f"{rng.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


def main() -> int:
    """Write events to stdout or a file, as fast as possible or so many a second."""
    parser = argparse.ArgumentParser(description="Make order events, one JSON document a line.")
    parser.add_argument("--orders", type=int, default=200, help="how many orders; 0: without end (default: 200)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0.0, help="events a second (default: as fast as possible)")
    parser.add_argument("--every", type=float, default=30.0, metavar="S", help="seconds between orders, in shop time")
    parser.add_argument("--now", action="store_true", help="let the shop's time begin now instead of 2026-08-01")
    parser.add_argument("--clean", action="store_true", help="no fault, no duplicate, nothing late")
    parser.add_argument("--to", metavar="FILE", help="write here instead of stdout (the file appears when it is whole)")
    given = parser.parse_args()
    start = datetime.now(UTC) if given.now else START
    simulator = Simulator(given.orders, given.seed, start, given.every, not given.clean)
    target = f"{given.to}.part" if given.to else None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    begun, sent = time.monotonic(), 0
    try:
        with open(target, "wb") if target else os.fdopen(sys.stdout.fileno(), "wb", closefd=False) as out:
            for _, line in simulator.lines():
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

"""Runs a streaming example live: a broker, a topic, a simulator, and Headgate reading on until all has been judged.

    python examples/stream.py orders --rate 200 --seconds 30
    python examples/stream.py sensors --rate 10 --seconds 60

The broker is the one that KAFKA_BOOTSTRAP names, else one is started for as long as this runs. On a terminal the live
view stands there meanwhile. At the end: what the simulator planted beside what Headgate found, the account proved from
the tables, and a look at gold. The project stays in build/<example>-live.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
HEADGATE = [sys.executable, "-m", "headgate"]


@dataclass(frozen=True)
class Example:
    """What differs between the examples."""

    dataset: str
    topic: str
    key: str
    amount: str  # the simulator's option that says how many
    each: float  # events that one of them makes, about
    look: str  # a query on gold


EXAMPLES = {
    "orders": Example(
        "order_events", "order_events", "payload.order_id", "--orders", 3.9, "from daily_orders order by day, currency"
    ),
    "sensors": Example(
        "sensor_readings",
        "sensor_readings_raw",
        "sensor_id",
        "--readings",
        1.02,
        "from sensor_health order by sensor_id",
    ),
}
BOOKKEEPING = {"events", "readings", "distinct", "doubled", "late", "dropped_out"}


def project_of(name: str, folder: Path) -> None:
    """A fresh copy of the example's project that reads the topic."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for part in ("contracts", "models"):
        shutil.copytree(HERE / name / part, folder / part)
    (folder / "contracts" / "air_quality.odcs.yaml").unlink(missing_ok=True)
    (folder / "models" / "air_by_month.sql").unlink(missing_ok=True)
    dataset = EXAMPLES[name].dataset
    (folder / "headgate.yaml").write_text(f"datasets:\n  {dataset}:\n    server: stream\n")


def headgate(folder: Path, *words: str) -> str:
    """Run one command to its end; what it said on stdout."""
    command = [*HEADGATE, *words, "-p", str(folder)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def simulate(
    name: str, rate: float, seconds: float, seed: int
) -> tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]:
    """The simulator, and the producer that sends its lines to the topic."""
    example = EXAMPLES[name]
    amount = max(1, round(rate * seconds / example.each))
    options = [example.amount, str(amount), "--rate", str(rate), "--seed", str(seed), "--now"]
    made = subprocess.Popen(
        [sys.executable, str(HERE / name / "simulate.py"), *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    sent = subprocess.Popen(
        [*HEADGATE, "topic", "produce", example.topic, "-", "--key", example.key],
        stdin=made.stdout,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert made.stdout is not None
    made.stdout.close()
    return made, sent


def follow(folder: Path, sent: subprocess.Popen[bytes]) -> None:
    """Headgate reads on while the producer sends; then it is asked to stop, and what is left is read."""
    running = subprocess.Popen([*HEADGATE, "run", "--continuous", "-p", str(folder)], stderr=subprocess.DEVNULL)
    watching = None
    if sys.stdout.isatty():
        watching = subprocess.Popen([*HEADGATE, "status", "--watch", "-p", str(folder)])
    try:
        while sent.poll() is None and running.poll() is None:
            time.sleep(0.2)
    finally:
        running.send_signal(signal.SIGTERM)
        ended = running.wait()
        if watching is not None:
            watching.send_signal(signal.SIGINT)
            watching.wait()
    if ended:
        raise SystemExit(f"headgate run --continuous ended with {ended}: headgate runs -p {folder}")
    subprocess.run([*HEADGATE, "run", "-p", str(folder)], check=True, stderr=subprocess.DEVNULL)


def compare(folder: Path, dataset: str, planted: dict[str, int]) -> bool:
    """What was planted beside what was found; whether they agree."""
    [account] = [one for one in json.loads(headgate(folder, "audit", "--deep", "--json")) if one["dataset"] == dataset]
    rejected = sum(count for kind, count in planted.items() if kind not in BOOKKEEPING)
    sent = planted.get("events") or planted.get("readings") or 0
    rows = [
        ("sent", sent, account["bronze"]),
        ("sent twice", planted.get("doubled", 0), account["verdicts"]["duplicate"]),
        ("broken", rejected, account["quarantine"]),
        ("good", planted["distinct"] - rejected, account["silver"]),
    ]
    print(f"\n{'':12}{'planted':>12}{'found':>12}")
    for what, made, found in rows:
        print(f"{what:12}{made:12,}{found:12,}{'' if made == found else '   <- differs'}")
    print(f"account of {dataset}: {account['state']}, proved from the tables\n")
    return all(made == found for _, made, found in rows) and account["state"] == "balanced"


def main() -> int:
    """See the module."""
    asked = argparse.ArgumentParser(description="Run a streaming example live.")
    asked.add_argument("example", choices=sorted(EXAMPLES))
    asked.add_argument("--rate", type=float, default=200.0, help="events a second (default: 200)")
    asked.add_argument("--seconds", type=float, default=30.0, help="for how long (default: 30)")
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--partitions", type=int, default=3)
    args = asked.parse_args()
    if "KAFKA_BOOTSTRAP" not in os.environ:
        broker = [sys.executable, str(HERE / "broker" / "broker.py"), "--folder", f"build/kafka-{args.example}"]
        return subprocess.run([*broker, sys.executable, *sys.argv], check=False).returncode
    example, folder = EXAMPLES[args.example], Path("build") / f"{args.example}-live"
    project_of(args.example, folder)
    headgate(folder, "topic", "create", example.topic, "--partitions", str(args.partitions))
    made, sent = simulate(args.example, args.rate, args.seconds, args.seed)
    try:
        follow(folder, sent)
    finally:
        made.terminate()
    assert made.stderr is not None
    planted = json.loads(made.stderr.read().splitlines()[-1])
    agree = compare(folder, example.dataset, planted)
    print(headgate(folder, "query", example.look, "--limit", "10"))
    print(f"The project is in {folder}: headgate query …, headgate quarantine list, headgate history -p {folder}")
    return 0 if agree else 1


if __name__ == "__main__":
    raise SystemExit(main())

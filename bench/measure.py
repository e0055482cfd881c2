"""Runs whole processes and reads the operating system's own account of them."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# Modules are found compiled, as an installer leaves them, also where the shell tells Python to compile them each time.
_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


@dataclass(frozen=True, slots=True)
class Cost:
    """What one process cost: wall and CPU seconds (with children it waited for), peak MiB of its largest process."""

    wall_s: float
    cpu_s: float
    peak_rss_mib: float
    output: str = ""


def run(
    argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: str | None = None, ok: Sequence[int] = (0,)
) -> Cost:
    """Run a command to its end. RuntimeError with its output when it fails."""
    with tempfile.TemporaryFile() as out:
        begun = time.perf_counter()
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**_ENVIRONMENT, **(env or {})},
            cwd=cwd,
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read().decode(errors="replace")
    if process.returncode not in ok:
        raise RuntimeError(f"{' '.join(argv)[:200]} ended with {process.returncode}:\n{text[-3000:]}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, text)


def in_turn(rounds: int, contenders: Mapping[str, Callable[[], Cost]], *, warm: int = 1) -> dict[str, list[Cost]]:
    """Every contender once in each round, so that a drift of the machine meets all alike; the first rounds do not count."""
    costs: dict[str, list[Cost]] = {name: [] for name in contenders}
    for number in range(-warm, rounds):
        for name, contender in contenders.items():
            cost = contender()
            if number >= 0:
                costs[name].append(cost)
                print(
                    f"    {name:<28} wall {cost.wall_s:6.2f} s  cpu {cost.cpu_s:6.2f} s  {cost.peak_rss_mib:6.0f} MiB",
                    file=sys.stderr,
                )
    return costs


def median(costs: Sequence[Cost]) -> Cost:
    """Field by field."""
    return Cost(*(statistics.median(getattr(c, f) for c in costs) for f in ("wall_s", "cpu_s", "peak_rss_mib")))


def ratio(ours: Sequence[Cost], theirs: Sequence[Cost], field: str = "wall_s") -> float:
    """Median of the ratios round by round."""
    return statistics.median(getattr(a, field) / getattr(b, field) for a, b in zip(ours, theirs, strict=True))


def headgate(*arguments: str, project: str, env: Mapping[str, str] | None = None) -> Cost:
    """One `headgate` command as a whole process."""
    return run([sys.executable, "-m", "headgate", *arguments, "-p", project], env=env)

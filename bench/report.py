"""A hop's figures, the machine's state, and what is written down."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version

from bench.measure import ROOT, Cost


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure of a hop against its bar (lower is better)."""

    hop: str
    figure: float
    unit: str
    bar: float
    stretch: float | None
    met: bool
    against: str
    wall_s: float
    cpu_s: float
    peak_rss_mib: float


def figure(hop: str, value: float, unit: str, bar: float, stretch: float | None, against: str, cost: Cost) -> Figure:
    """A figure; it is met when it is not above the bar."""
    return Figure(
        hop,
        round(value, 3),
        unit,
        bar,
        stretch,
        value <= bar,
        against,
        round(cost.wall_s, 3),
        round(cost.cpu_s, 3),
        round(cost.peak_rss_mib, 1),
    )


def machine() -> dict[str, str]:
    """What it was measured on, and how busy that was."""
    cpu = next((line.partition(":")[2].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    memory = next((int(line.split()[1]) // 2**20 for line in open("/proc/meminfo") if line.startswith("MemTotal")), 0)
    return {
        "when": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "cpu": f"{os.cpu_count()} x {cpu}",
        "memory": f"{memory} GiB",
        "load": " ".join(f"{x:.2f}" for x in os.getloadavg()),
        "python": platform.python_version(),
        **{name: version(name) for name in ("headgate", "duckdb", "pyarrow", "pyiceberg")},
    }


def as_table(figures: list[Figure], state: dict[str, str]) -> str:
    """Markdown: the machine, then the figures."""
    lines = [f"{k}: {v}  " for k, v in state.items()]
    lines += [
        "",
        "| hop | figure | unit | bar | stretch | met | against | wall s | CPU s | peak MiB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for f in figures:
        lines.append(
            f"| {f.hop} | {f.figure:g} | {f.unit} | {f.bar:g} | {'' if f.stretch is None else f'{f.stretch:g}'} | "
            f"{'yes' if f.met else '**no**'} | {f.against} | {f.wall_s:g} | {f.cpu_s:g} | {f.peak_rss_mib:g} |"
        )
    return "\n".join(lines) + "\n"


def write(figures: list[Figure]) -> list[Figure]:
    """build/bench.json: figures measured now replace those of the same hop; others stay. All that it holds then."""
    path = os.path.join(ROOT, "build", "bench.json")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    kept = []
    if os.path.exists(path):
        now = {f.hop for f in figures}
        kept = [f for f in json.load(open(path)) if f["hop"] not in now]
    everything = kept + [asdict(f) for f in figures]
    with open(path, "w") as out:
        json.dump(everything, out, indent=1)
    return [Figure(**f) for f in everything]

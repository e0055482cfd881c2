"""`headgate status --watch`: a running project, live in the terminal; plain lines when piped, documents with --json."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from headgate.runtime import settings as settings_file
from headgate.runtime.live import running

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

BARS = " ▁▂▃▄▅▆▇█"
WIDTH = 40  # of a sparkline, in samples
NOBODY = "nothing is running here: headgate run --continuous"


def watch(arguments: argparse.Namespace) -> int:
    """Show what runs until interrupted, or `--times` times."""
    folder = Path(arguments.project).resolve()
    state = settings_file.load(folder if folder.is_dir() else folder.parent).state
    left = arguments.times
    face = _document if arguments.json else _lines if not sys.stdout.isatty() else None
    if face is None:
        return _in_terminal(state, arguments.interval, left)
    while True:
        face(running(state))
        left = left - 1 if left else 0
        if arguments.times and not left:
            return 0
        time.sleep(arguments.interval)


def _document(found: Sequence[dict[str, Any]]) -> None:
    sys.stdout.write(json.dumps(list(found), ensure_ascii=False) + "\n")
    sys.stdout.flush()


def _lines(found: Sequence[dict[str, Any]]) -> None:
    at = time.strftime("%H:%M:%S")
    for one in found:
        process = one["process"]
        for told in one["datasets"]:
            rates, slow = told["rates"], told["latency_s"]["p99"]
            sys.stdout.write(
                f"{at} {told['dataset']}: {rates['landed']:,.0f} rows/s in, {rates['accepted']:,.0f} accepted, "
                f"{rates['quarantined']:,.0f} quarantined; {told['waiting_rows']:,} waiting; "
                f"p99 {_seconds(slow)}; {process['rss_mib']:,.0f} MiB, CPU {process['cpu_percent']:.0f} %"
                f"{' HELD' if told['held'] else ''}{_alerts(told)}{' STALE' if one['stale'] else ''}\n"
            )
        for stage, problem in one["problems"].items():
            sys.stdout.write(f"{at} {stage}: {problem}\n")
    if not found:
        sys.stdout.write(f"{at} {NOBODY}\n")
    sys.stdout.flush()


def _in_terminal(state: Path, interval: float, times: int) -> int:
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    left = times
    with Live(console=console, screen=not times, auto_refresh=False, vertical_overflow="crop") as live:
        try:
            while True:
                live.update(screen(running(state)), refresh=True)
                left = left - 1 if left else 0
                if times and not left:
                    return 0
                time.sleep(interval)
        except KeyboardInterrupt:
            return 0


def screen(found: Sequence[dict[str, Any]]) -> RenderableType:
    """Everything that runs, one panel each."""
    from rich.console import Group
    from rich.text import Text

    if not found:
        return Text(f"\n  {NOBODY}\n", style="dim")
    return Group(*(_panel(one) for one in found))


def _panel(one: dict[str, Any]) -> RenderableType:
    from rich import box
    from rich.console import Group
    from rich.panel import Panel
    from rich.text import Text

    if one["stale"]:
        mark, style = f"silent for {time.time() - one['at']:.0f} s", "red"
    elif one["problems"]:
        mark, style = "trying again", "yellow"
    else:
        mark, style = ("draining", "yellow") if one["stopping"] else ("running", "green")
    title = Text.assemble(("headgate ", "bold"), (one["name"], "bold cyan"), "  ", (f"● {mark}", style))
    under = Text(f"run {one['run_id']}  pid {one['pid']}  up {_age(time.time() - one['started_at'])}", style="dim")
    parts: list[RenderableType] = []
    for told in one["datasets"]:
        parts += [_dataset(told), Text()]
    parts.append(_footer(one))
    parts += [Text(f"{stage}: {problem}", style="yellow") for stage, problem in one["problems"].items()]
    return Panel(Group(*parts), title=title, title_align="left", subtitle=under, subtitle_align="left", box=box.ROUNDED)


def _alerts(told: dict[str, Any]) -> str:
    return f"  alert: {', '.join(told['alerts'])}" if told["alerts"] else ""


def _dataset(told: dict[str, Any]) -> RenderableType:
    """One dataset: what flows, how fast it is seen, what is refused, what is still in the source."""
    from rich.text import Text

    totals, rates, history = told["totals"], told["rates"], told["history"]
    slow, lag = told["latency_s"], sum(told["lag"].values())
    table = _grid()
    name = Text(told["dataset"], style="bold cyan")
    if told["held"]:
        name.append("  gold is held", "bold red")
    table.add_row(name, "", Text(_alerts(told).strip(), "bold red"), "")
    judged = sum(totals.get(v, 0) for v in ("accepted", "duplicate", "superseded", "quarantined", "dropped"))
    for label, key, style in (
        ("in", "landed", "white"),
        ("accepted", "accepted", "green"),
        ("quarantined", "quarantined", "red"),
    ):
        total = totals.get(key, 0)
        share = (
            f"{100 * total / judged:.2f} %" if judged and key != "landed" else f"{rates['bytes'] / 2**20:,.1f} MiB/s"
        )
        line = sparkline(history[key]) if key in history else ""
        table.add_row(
            Text(label, style), Text(f"{rates[key]:,.0f}/s", "bold"), f"{total:,.0f}  {share}", Text(line, style)
        )
    seen = f"p50 {_seconds(slow['p50'])}  p95 {_seconds(slow['p95'])}"
    table.add_row(
        Text("visible", "magenta"),
        Text(f"p99 {_seconds(slow['p99'])}", "bold"),
        seen,
        Text(sparkline(history["p99"]), "magenta"),
    )
    behind = f"{lag:,.0f} in the source" if told["lag"] else ""
    worst = ", ".join(f"{p} {n:,.0f}" for p, n in sorted(told["lag"].items(), key=lambda x: -x[1])[:4] if n)
    table.add_row(Text("waiting", "yellow"), Text(f"{told['waiting_rows']:,}", "bold"), behind, Text(worst, "dim"))
    if told["reasons"]:
        why = "  ".join(f"{rule} {rows:,.0f}" for rule, rows in list(told["reasons"].items())[:3])
        table.add_row(Text("because", "red"), "", Text(why, "dim"), "")
    return table


def _footer(one: dict[str, Any]) -> RenderableType:
    from rich.text import Text

    process, table = one["process"], _grid()
    table.add_row(
        Text("memory", "blue"),
        Text(f"{process['rss_mib']:,.0f} MiB", "bold"),
        "",
        Text(sparkline(process["history"]["rss_mib"]), "blue"),
    )
    table.add_row(
        Text("cpu", "blue"),
        Text(f"{process['cpu_percent']:.0f} %", "bold"),
        "",
        Text(sparkline(process["history"]["cpu_percent"]), "blue"),
    )
    for held in one["tables"]:
        layer = held["table"].partition(".")[0]
        ratio = next((d["compression"] for d in one["datasets"] if held["table"] == f"bronze.{d['dataset']}"), None)
        facts = f"{held['files']:,} files  {held['snapshots']} snapshots  {held['bytes'] / 2**20:,.1f} MiB"
        tone = {"bronze": "yellow", "silver": "white", "gold": "bright_yellow", "quarantine": "red"}.get(layer, "dim")
        table.add_row(
            Text(held["table"], tone),
            Text(f"{held['rows']:,}", "bold"),
            facts,
            Text(f"compressed {ratio:g} : 1" if ratio else "", "dim"),
        )
    return table


def _grid() -> Table:
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    widths: tuple[tuple[Literal["left", "right"], int], ...] = (("left", 18), ("right", 12), ("left", 46))
    for justify, width in widths:
        table.add_column(justify=justify, min_width=width, max_width=width, no_wrap=True)
    table.add_column(max_width=WIDTH, no_wrap=True)
    return table


def sparkline(values: Sequence[float], width: int = WIDTH) -> str:
    """The last values as bars, the greatest of them full; nothing at all is a low line."""
    shown = list(values)[-width:]
    most = max(shown, default=0)
    if most <= 0:
        return BARS[1] * len(shown)
    return "".join(BARS[max(1, round(value / most * (len(BARS) - 1)))] for value in shown)


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def _age(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"

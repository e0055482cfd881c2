"""Tables and progress for people. On a terminal in colour and moving; piped, plain and quiet."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from threading import Lock
from typing import Any


def document(value: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(value, indent=1, default=str, ensure_ascii=False) + "\n")


def table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Iterable[str] = (), file: Any = None
) -> None:
    """A table on stdout; numbers with separators, `right` columns aligned right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    out = file or sys.stdout
    console = Console(file=out, highlight=False, width=None if out.isatty() else 160)
    made = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    aligned = set(right)
    for column in columns:
        made.add_column(column, justify="right" if column in aligned else "left", overflow="fold")
    for row in rows:
        made.add_row(*(cell(v) for v in row))
    console.print(made)


def cell(value: Any) -> str:
    """One value as text for a table; markup in data is shown, not obeyed."""
    from rich.markup import escape

    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | Decimal):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.3f}"
    if isinstance(value, bytes):
        return escape(value.decode("utf-8", "backslashreplace"))
    return escape(str(value))


def line(text: str) -> None:
    """One line for people, on stderr."""
    sys.stderr.write(text + "\n")


class Progress:
    """Tells how a run goes: a moving line on a terminal; piped, only what a run that goes on has to say."""

    def __init__(self, *, steady: bool = False) -> None:
        self._live = sys.stderr.isatty()
        self._steady = steady
        self._begun = time.monotonic()
        self._lock = Lock()

    def __call__(self, event: str, **facts: Any) -> None:
        """Take one event of a step."""
        told = _sentence(event, facts) if self._steady else ""
        with self._lock:
            if told:
                sys.stderr.write(("\r\x1b[K" if self._live else "") + told + "\n")
                sys.stderr.flush()
            elif self._live:
                name = facts.get("dataset") or facts.get("model") or ""
                rows = f"{facts['rows']:,} rows" if "rows" in facts else ""
                rest = f", {facts['quarantined']:,} quarantined" if facts.get("quarantined") else ""
                seconds = time.monotonic() - self._begun
                sys.stderr.write(f"\r\x1b[K{seconds:6.1f} s  {event:<8} {name} {rows}{rest}")
                sys.stderr.flush()

    def close(self) -> None:
        """Leave a clean line."""
        if self._live:
            sys.stderr.write("\r\x1b[K")


def _sentence(event: str, facts: Mapping[str, Any]) -> str:
    match event:
        case "following":
            return f"following {', '.join(facts['datasets'])}; SIGTERM or Ctrl-C drains and stops, twice stops at once"
        case "stopping":
            return "stopping: what has come is published and judged"
        case "retry":
            return f"{facts['step']} {facts['dataset']}: {facts['code']}: {facts['error']}; trying again"
        case "alert":
            return f"alert: {facts['text']}"
        case _:
            return ""


def counts(values: Mapping[str, int]) -> str:
    """`a 12, b 3` of the counts that are not zero, largest first."""
    some = sorted(((v, k) for k, v in values.items() if v), reverse=True)
    return ", ".join(f"{k} {v:,}" for v, k in some) or "none"

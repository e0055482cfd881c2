"""`headgate maintain | history`: keeps the lake small and fast, and tells its past."""

from __future__ import annotations

import argparse
import re
from typing import Any

from headgate.cli import show
from headgate.errors import FixInputError
from headgate.ports.store import Remembers
from headgate.runtime.project import Project


def maintain(arguments: argparse.Namespace) -> int:
    """Compact, expire and clean; rows, positions and the account stay as they are."""
    from headgate.runtime.upkeep import maintain as keep

    older_s = None if arguments.older_than is None else _age_s(arguments.older_than)
    if older_s is not None and arguments.verb != "expire":
        raise FixInputError("--older-than is for expire", hint="headgate maintain expire --older-than 7d")
    with Project.open(arguments.project) as project:
        verbs = [arguments.verb] if arguments.verb else []
        kept = keep(project, verbs, arguments.table, dry_run=arguments.dry_run, older_s=older_s)
    if arguments.json:
        show.document(kept.as_dict())
        return 0
    for gone in kept.retired:
        show.line(
            f"{gone.dataset}: {gone.silver:,} silver rows and {gone.bronze:,} bronze rows past their retention "
            f"(with {gone.verdicts:,} verdicts)"
        )
    for one in kept.compacted:
        show.line(
            f"{one.table}: {one.files_before:,} files became {one.files_after:,}, "
            f"{_mib(one.bytes_before)} became {_mib(one.bytes_after)}"
            + ("; gave up: others change the table too fast, the rest waits" if one.gave_up else "")
        )
    for table, count in kept.expired.items():
        show.line(f"{table}: {count:,} snapshots expired")
    if kept.folded:
        show.line(f"journal: {kept.folded:,} old lines folded into others")
    for left in kept.cleaned:
        waiting = f"; {left.waiting_files:,} more ({_mib(left.waiting_bytes)}) are not old enough, or in use"
        show.line(
            f"{left.table}: {left.files:,} left-over files ({_mib(left.bytes)}) "
            f"{'would be removed' if arguments.dry_run else 'removed'}{waiting if left.waiting_files else ''}"
        )
    if not kept.moved and not kept.cleaned:
        show.line("nothing to do")
    return 0


def _age_s(text: str) -> float:
    """Seconds of `90m`, `12h`, `7d` or `30s`."""
    found = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if found is None:
        raise FixInputError(f"not an age: {text!r}", hint="a number and s, m, h or d, such as 90m, 12h or 7d")
    return int(found[1]) * {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}[found[2]]


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:,.1f} MiB"


def history(arguments: argparse.Namespace) -> int:
    """Why each snapshot of a table exists."""
    with Project.open(arguments.project) as project:
        if not isinstance(project.lake, Remembers):
            raise FixInputError("this lake does not remember its past")
        found = project.lake.history(arguments.table, arguments.limit)
    if arguments.json:
        show.document(found)
        return 0
    columns = ["at", "step", "run", "snapshot", "rows", "+rows", "-rows", "files", "+files", "-files", "MiB", "why"]
    show.table(arguments.table, columns, [_row(one) for one in found], right=columns[3:11])
    return 0


def _row(one: Any) -> list[Any]:
    record = one["record"]
    numbers = [one.get(k) for k in ("rows", "rows_added", "rows_removed", "files", "files_added", "files_removed")]
    size = one.get("bytes")
    snapshot = str(one["snapshot"]) if one["snapshot"] else "expired"
    mib = None if size is None else round(size / 2**20, 1)
    return [one["at"][:19], one["step"], record.get("run"), snapshot, *numbers, mib, _why(one)]


def _why(one: Any) -> str:
    record = one["record"]
    if "compacted" in record:
        return f"{record['files_before']} files became {record['files_after']}, same rows"
    if "retired_silver" in record or "retired_bronze" in record:
        return f"{record.get('retired_silver') or record.get('retired_bronze'):,} rows past their retention"
    if "folded" in record:
        return f"{record['folded']:,} older publications together"
    if "expired" in record:
        return f"{record['expired']} snapshots expired"
    if "verdicts" in record:
        return show.counts(record["verdicts"])
    if "models" in record:
        return "built"
    if "rows" in record:
        return f"{record['rows']:,} rows landed"
    return ", ".join(f"{k}={v}" for k, v in record.items() if k != "run" and isinstance(v, str | int))

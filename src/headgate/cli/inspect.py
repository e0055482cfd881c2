"""`headgate status | audit | runs | plan | doctor`: looks, changes nothing."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from headgate.cli import show
from headgate.errors import AccountError
from headgate.runtime.project import Project
from headgate.steps.audit import BROKEN


def status(arguments: argparse.Namespace) -> int:
    """Tables, positions, freshness, and what the source cannot tell; `--watch`: what runs, live."""
    if arguments.watch:
        from headgate.cli.watch import watch

        return watch(arguments)
    from headgate.runtime.status import status_of

    with Project.open(arguments.project) as project:
        found = status_of(project)
    if arguments.json:
        show.document(found)
        return 0
    show.table(
        "tables",
        ["table", "rows", "files", "MiB", "snapshots", "small files", "history MiB", "left-over MiB"],
        [
            [
                *(t["table"], t["rows"], t["files"], _mib(t["bytes"]), t["snapshots"], t["small_files"]),
                *(_mib(t["history_bytes"]), _mib(t["unnamed_bytes"])),
            ]
            for t in found["tables"]
        ],
        right=["rows", "files", "MiB", "snapshots", "small files", "history MiB", "left-over MiB"],
    )
    for one in found["tables"]:
        for path in one["missing_files"][:3]:
            show.line(f"{one['table']}: DAMAGED: {path} is gone, and the table needs it")
    for one in found["datasets"]:
        late = (
            f"{one['pending']:,} bronze rows wait for a verdict"
            if one["pending"]
            else "every bronze row has its verdict"
        )
        show.line(f"{one['dataset']}: {late}")
        for fresh in one["freshness"]:
            state = "fresh" if fresh["met"] else "STALE"
            show.line(f"  {fresh['field']}: newest {fresh['newest']}, {state} (at most {fresh['seconds']:,.0f} s old)")
        for sentence in one["limitations"]:
            show.line(f"  note: {sentence}")
        if one["hold"]:
            show.line("  gold is closed: an error budget was exceeded; see headgate quarantine list")
        if one["source_error"]:
            show.line(f"  source: {one['source_error']}")
    for one in found["served"]:
        show.line(f"{one['outlet']}: {one['state']}" + (f"; {one['error']}" if one["error"] else ""))
    for one in found["holds"]:
        if one["until"]:
            show.line(
                f"{one['table']}: a snapshot that {one['reader']} stands at is kept until {one['until']}; "
                "after that the target is replaced as a whole"
            )
    return 0


def _mib(size_bytes: int) -> float:
    return round(size_bytes / 2**20, 1)


def audit(arguments: argparse.Namespace) -> int:
    """The account of every dataset; exit 5 when one is broken."""
    with Project.open(arguments.project) as project:
        accounts = project.audit(deep=arguments.deep, select=arguments.select)
    if arguments.json:
        show.document([asdict(a) for a in accounts])
    else:
        came = ["bronze", "retired"] if any(a.retired for a in accounts) else ["bronze"]
        went = ["silver", "quarantine", "ledger", "pending"]
        show.table(
            f"{' + '.join(came)} = {' + '.join(went)}",
            ["dataset", *came, *went, "account"],
            [[a.dataset, *(getattr(a, name) for name in came + went), a.state] for a in accounts],
            right=came + went,
        )
        for account in accounts:
            for finding in account.findings:
                show.line(f"  {account.dataset}: {finding}")
            if account.deep and account.checksum:
                show.line(f"  {account.dataset}: content checksum {account.checksum}, recomputed from silver")
    broken = [a.dataset for a in accounts if a.state == BROKEN]
    if broken and not arguments.json:
        raise AccountError(
            f"the account of {', '.join(broken)} does not balance",
            hint="headgate audit --deep names the rows; headgate run --full-refresh rebuilds from bronze",
        )
    return AccountError.exit_code if broken else 0


def runs(arguments: argparse.Namespace) -> int:
    """The newest runs."""
    from headgate.runtime.record import read_records

    with Project.open(arguments.project) as project:
        records = [*read_records(project.settings.state / "runs", arguments.limit)]
    if arguments.json:
        show.document(records)
        return 0
    rows = []
    for record in records:
        verdicts: dict[str, int] = {}
        for one in record["datasets"]:
            for verdict, count in one["verdicts"].items():
                verdicts[verdict] = verdicts.get(verdict, 0) + count
        landed = sum(one["landed_rows"] for one in record["datasets"])
        problem = record["error"]["code"] if record["error"] else ""
        rows.append([record["run_id"], record["status"], landed, show.counts(verdicts), record["seconds"], problem])
    show.table("runs", ["run", "status", "landed", "verdicts", "seconds", "error"], rows, right=["landed", "seconds"])
    return 0


def plan(arguments: argparse.Namespace) -> int:
    """What would run, and what today's contract does to rows already stored."""
    from headgate.runtime.plan import plan_of

    with Project.open(arguments.project) as project:
        found = plan_of(project, arguments.select, full_refresh=arguments.full_refresh)
    if arguments.json:
        show.document(found)
        return 0
    show.table("would run", ["node", "why"], [[n["node"], n["why"]] for n in found["nodes"]])
    for one in found["datasets"]:
        for change in one["changes"]:
            show.line(f"{one['dataset']}: {'BREAKING ' if change['breaking'] else ''}{change['message']}")
        if one["would_be_quarantined"] or one["would_be_recovered"]:
            show.line(
                f"{one['dataset']}: under today's contract {one['would_be_quarantined']:,} stored rows would be "
                f"quarantined ({show.counts(one['rules'])}) and {one['would_be_recovered']:,} quarantined rows "
                "recovered"
            )
        _tell_refresh(one["dataset"], one["full_refresh"])
    return 0


def _tell_refresh(dataset: str, refresh: Mapping[str, Any]) -> None:
    what = f"judges {refresh['rows']:,} bronze rows anew and replaces {', '.join(refresh['tables'])}"
    if refresh["needed"]:
        show.line(f"{dataset}: a run would stop: {refresh['why']}")
    if refresh["needed"] or "verdicts" in refresh:
        show.line(f"{dataset}: {refresh['command']} {what}")
    if "verdicts" in refresh:
        why = f" ({show.counts(refresh['reasons'])})" if refresh["reasons"] else ""
        show.line(f"{dataset}: the verdicts would be {show.counts(refresh['verdicts'])}{why}")


def doctor(arguments: argparse.Namespace) -> int:
    """Check this machine, the lake and every source; exit 1 when something is wrong."""
    from headgate.runtime.doctor import examine

    found = examine(arguments.project)
    if arguments.json:
        show.document(found)
    else:
        show.table("doctor", ["check", "state", "what"], [[c["check"], c["state"], c["what"]] for c in found])
    return 0 if all(c["state"] != "wrong" for c in found) else 1

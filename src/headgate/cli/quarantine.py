"""`headgate quarantine list | show | replay`."""

from __future__ import annotations

import argparse
from typing import Any

from headgate.cli import show
from headgate.contract.to_sql import literal, quote
from headgate.runtime.project import Project

Rows = list[dict[str, Any]]


def _datasets(project: Project, names: list[str]) -> list[str]:
    cut = project.lake.cut()
    chosen = [project.dataset(n).name for n in names] or [d.name for d in project.datasets]
    return [n for n in chosen if cut.table(f"quarantine.{n}") is not None]


def reasons(arguments: argparse.Namespace) -> int:
    """Count the reasons."""
    rows: Rows = []
    with Project.open(arguments.project) as project:
        for name in _datasets(project, arguments.select):
            answer = project.query(
                "select reason.rule as rule, reason.field as field, count(*) as rows, min(reason.value) as example "
                f"from (select unnest(reasons) as reason from quarantine.{quote(name)}) "
                "group by all order by rows desc, rule"
            )
            rows += [{"dataset": name, **row} for row in answer.to_pylist()]
    if arguments.json:
        show.document(rows)
    else:
        show.table(
            "reasons for quarantine",
            ["dataset", "rule", "field", "rows", "example"],
            [[*r.values()] for r in rows],
            right=["rows"],
        )
    return 0


def show_rows(arguments: argparse.Namespace) -> int:
    """Show rejected rows: coordinates, reasons, raw record."""
    rows: Rows = []
    with Project.open(arguments.project) as project:
        for name in _datasets(project, arguments.select):
            where = ""
            if arguments.rule:
                where = f"where list_contains(list_transform(reasons, lambda r: r.rule), {literal(arguments.rule)})"
            answer = project.query(
                "select _hg_partition as partition, _hg_offset as offset, reasons, raw, contract_version, run_id, "
                f"quarantined_at from quarantine.{quote(name)} {where} order by all limit {int(arguments.limit)}"
            )
            rows += [{"dataset": name, **row} for row in answer.to_pylist()]
    for row in rows:
        row["raw"] = row["raw"].decode("utf-8", "backslashreplace")
    if arguments.json:
        show.document(rows)
        return 0
    show.table(
        "quarantine",
        ["dataset", "partition", "offset", "reasons", "raw"],
        [
            [
                r["dataset"],
                r["partition"],
                r["offset"],
                "\n".join(f"{x['rule']}: {x['value']}" for x in r["reasons"]),
                r["raw"],
            ]
            for r in rows
        ],
        right=["offset"],
    )
    return 0


def replay(arguments: argparse.Namespace) -> int:
    """Judge rows again; say how many left quarantine."""
    with Project.open(arguments.project) as project:
        done = project.replay(arguments.select, dry_run=arguments.dry_run)
    if arguments.json:
        from dataclasses import asdict

        show.document({name: asdict(one) for name, one in done.items()})
        return 0
    for name, one in done.items():
        verb = "would leave" if arguments.dry_run else "left"
        show.line(
            f"{name}: {one.recovered:,} of {one.read:,} rows {verb} quarantine; "
            f"{one.remaining:,} stay ({show.counts(one.reasons)})"
        )
    return 0

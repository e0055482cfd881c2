"""`headgate validate | discover | export`."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from headgate.cli import show
from headgate.contract.parse import check_contract
from headgate.errors import FixInputError

if TYPE_CHECKING:
    from headgate.runtime.project import Project


def validate(arguments: argparse.Namespace) -> int:
    """Check contracts (and the project file); every complaint with its place. Exit 2 when one is an error."""
    paths = [Path(p) for p in arguments.paths] or [Path(arguments.project)]
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += sorted(path.glob("**/*.odcs.yaml"))
        elif path.is_file():
            files.append(path)
        else:
            raise FixInputError(f"no such file: {path}", hint="give contracts or folders")
    if not files:
        raise FixInputError(
            "no contracts found", where=", ".join(map(str, paths)), hint="contracts are called NAME.odcs.yaml"
        )
    complaints = [c for file in files for c in check_contract(file)]
    errors = [c for c in complaints if c.severity == "error"]
    if arguments.json:
        show.document({"files": [str(f) for f in files], "complaints": [c.as_dict() for c in complaints]})
    for c in complaints:
        show.line(f"{c.place}: {c.severity}: {c.message}" + (f"\n  what to do: {c.hint}" if c.hint else ""))
    if not errors:
        from headgate.runtime.outlets import check_routes
        from headgate.runtime.project import Project

        if not arguments.paths and (Path(arguments.project) / "headgate.yaml").exists():
            check_routes(Project.open(arguments.project))
        show.line("1 contract is valid" if len(files) == 1 else f"{len(files)} contracts are valid")
    return FixInputError.exit_code if errors else 0


def discover(arguments: argparse.Namespace) -> int:
    """Write a contract from a live table or a file."""
    from headgate.runtime.discover import contract_from

    text = contract_from(arguments.url)
    if arguments.output:
        target = Path(arguments.output)
        if target.exists():
            raise FixInputError(f"{target} exists", hint="choose another name; nothing was written")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, "utf-8")
        show.line(f"wrote {target}; now: headgate validate {target}")
    elif arguments.json:
        show.document({"contract": text})
    else:
        sys.stdout.write(text)
    return 0


def export(arguments: argparse.Namespace) -> int:
    """Write files for others: tables' DDL, JSON Schema of a dataset's rows or of run records, raw NDJSON as Parquet."""
    if arguments.what == "run-schema":
        from headgate.runtime.record import record_schema

        show.document(record_schema())
        return 0
    from headgate.runtime.project import Project

    project = Project.open(arguments.project)
    if arguments.what == "parquet":
        return _parquet(project, arguments)
    chosen = [project.dataset(n) for n in arguments.select] or project.datasets
    if arguments.what == "ddl":
        from headgate.exports.ddl import ddl

        statements = {d.name: ddl(d, arguments.dialect, location=arguments.location) for d in chosen}
        if arguments.json:
            show.document(statements)
        else:
            sys.stdout.write("\n".join(statements.values()))
        return 0
    from headgate.exports.json_schema import json_schema

    show.document({d.name: json_schema(d) for d in chosen})
    return 0


def _parquet(project: Project, arguments: argparse.Namespace) -> int:
    from headgate.runtime.daily_parquet import daily_parquet

    if not (arguments.source and arguments.to and len(arguments.select) == 1):
        raise FixInputError(
            "one dataset, --from and --to are needed", hint="headgate export parquet DATASET --from RAW --to OUT"
        )
    dataset = project.dataset(arguments.select[0])
    days = daily_parquet(
        project, dataset, arguments.source, Path(arguments.to), days=arguments.date, rows_per_file=arguments.rows
    )
    rows = [dataclasses.asdict(day) for day in days]
    if arguments.json:
        show.document(rows)
    elif rows:
        show.table("", list(rows[0]), [list(row.values()) for row in rows], right=list(rows[0])[1:])
    return 0

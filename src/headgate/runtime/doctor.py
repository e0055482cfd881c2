"""Looks at the machine, the project, the lake and every source, and says what would fail."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import headgate
from headgate import native
from headgate.errors import HeadgateError
from headgate.runtime.outlets import state_of_outlets
from headgate.runtime.project import Project

FREE_BYTES = 1 << 30


def examine(folder: str) -> list[dict[str, str]]:
    """One row a check: check, state (good, weak, wrong), what. Never raises for what it examines."""
    found = [
        _row(
            "headgate",
            "good",
            f"{headgate.__version__}, Python {platform.python_version()} on {platform.system()} {platform.machine()}",
        ),
        _row(
            "packages",
            "good",
            ", ".join(f"{p} {_version(p)}" for p in ("duckdb", "pyarrow", "pyiceberg", "msgspec", "psycopg2-binary")),
        ),
        _row("cores", "good" if (os.cpu_count() or 1) > 1 else "weak", f"{os.cpu_count()} cores"),
        _compiled(),
        _row("python", "good" if sys.version_info >= (3, 11) else "wrong", sys.executable),
    ]
    try:
        project = Project.open(folder)
    except HeadgateError as error:
        return [*found, _row("project", "wrong", _said(error))]
    with project:
        found.append(_row("project", "good", f"datasets: {len(project.datasets)}, models: {len(project.models)}"))
        found.append(_space(project.folder))
        try:
            cut = project.lake.cut()
            names = cut.names()
            for name in names:
                cut.table(name)  # a lake that was moved has tables that cannot be read
            found.append(_row("lake", "good", f"{project.settings.lake.warehouse}: {len(names)} tables"))
        except HeadgateError as error:
            found.append(_row("lake", "wrong", _said(error)))
        found += [_source(project, dataset) for dataset in project.datasets]
        found += _targets(project)
    return found


def _compiled() -> dict[str, str]:
    parts = native.parts()
    if lacking := [name for name, there in parts.items() if not there]:
        return _row("compiled", "weak", f"without {', '.join(lacking)}: all works, slower (a C compiler at install)")
    return _row("compiled", "good", ", ".join(parts))


def _targets(project: Project) -> list[dict[str, str]]:
    """Whether each target of `serve:` answers; tables that are not there yet cannot be asked for."""
    try:
        states = state_of_outlets(project, project.lake.cut())
    except HeadgateError as error:
        return [_row("serve", "wrong", _said(error))]
    return [_row(s["outlet"], "wrong" if s["error"] else "good", s["error"] or s["state"]) for s in states]


def _source(project: Project, dataset: Any) -> dict[str, str]:
    try:
        source = project.connect(dataset)
        try:
            columns = len(source.schema().names)
        finally:
            source.close()
    except HeadgateError as error:
        return _row(f"source {dataset.name}", "wrong", _said(error))
    return _row(f"source {dataset.name}", "good", f"answers; {columns} columns")


def _space(folder: Path) -> dict[str, str]:
    free = shutil.disk_usage(folder).free
    return _row("disk", "good" if free > FREE_BYTES else "weak", f"{free / 2**30:,.1f} GiB free")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def _said(error: HeadgateError) -> str:
    return f"{error}" + (f" ({error.hint})" if error.hint else "")


def _row(check: str, state: str, what: str) -> dict[str, str]:
    return {"check": check, "state": state, "what": what}

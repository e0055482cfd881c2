"""The state of a project: tables, positions, freshness."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any

from headgate.contract.model import Dataset
from headgate.contract.to_sql import quote
from headgate.errors import HeadgateError
from headgate.ports.source import Tells
from headgate.ports.store import Hold, Keeps
from headgate.runtime.outlets import state_of_outlets
from headgate.steps.compact import Sizes, small_files
from headgate.steps.judged import HOLD
from headgate.steps.portion import pending

if TYPE_CHECKING:
    from headgate.runtime.workspace import Workspace


def status_of(project: Workspace) -> dict[str, Any]:
    """Everything `headgate status` shows, JSON-safe. A source that does not answer is reported, not raised."""
    cut = project.lake.cut()
    lake, upkeep = project.lake, project.settings.upkeep
    debts = {one.table: one for one in lake.debts()} if isinstance(lake, Keeps) and cut.names() else {}
    sizes = Sizes(upkeep.target_mib * 2**20, upkeep.fan)
    tables = []
    for name in cut.names():
        view = cut.table(name)
        if view is None:
            continue
        files = view.files()
        tables.append(
            {
                "table": name,
                "rows": view.rows(),
                "files": len(files),
                "bytes": sum(f.size_bytes for f in files),
                "snapshots": view.snapshots(),
                "small_files": small_files(files, sizes),
                "history_bytes": debts[name].history_bytes if name in debts else 0,
                "unnamed_files": debts[name].unnamed_files if name in debts else 0,
                "unnamed_bytes": debts[name].unnamed_bytes if name in debts else 0,
                "missing_files": list(debts[name].missing) if name in debts else [],
            }
        )
    return {
        "tables": tables,
        "datasets": [_dataset(project, d) for d in project.datasets],
        "served": state_of_outlets(project, cut),
        "holds": [_hold(one) for one in lake.holds()] if isinstance(lake, Keeps) else [],
    }


def _hold(one: Hold) -> dict[str, Any]:
    """A snapshot that is kept for a target that is behind (`until` then), or that is current (`until` None)."""
    return {
        "reader": one.reader,
        "table": one.table,
        "snapshot": one.snapshot,
        "until": None if one.until is None else one.until.isoformat(timespec="seconds"),
    }


def _dataset(project: Workspace, dataset: Dataset) -> dict[str, Any]:
    cut = project.lake.cut()
    silver, bronze = cut.table(f"silver.{dataset.name}"), cut.table(f"bronze.{dataset.name}")
    told: dict[str, Any] = {}
    problem = None
    try:
        source = project.connect(dataset)
        try:
            told = dict(source.tell()) if isinstance(source, Tells) else {}
        finally:
            source.close()
    except HeadgateError as error:
        problem = f"{error.code}: {error}"
    return {
        "dataset": dataset.name,
        "contract_version": dataset.contract_version,
        "pending": sum(s.stop - s.start for s in pending(dataset, cut)),
        "position": dict(bronze.position(dataset.name).tokens) if bronze else {},
        "hold": bool(silver and silver.facts(HOLD)),
        "freshness": _freshness(project, dataset) if silver else [],
        "limitations": told.pop("limitations", []),
        "source": told,
        "source_error": problem,
    }


def _freshness(project: Workspace, dataset: Dataset) -> list[dict[str, Any]]:
    found = []
    for promise in dataset.freshness:
        answer = project.query(f"select max({quote(promise.field)}) as newest from silver.{quote(dataset.name)}")
        newest = answer["newest"][0].as_py()
        age = _age_s(newest)
        found.append(
            {
                "field": promise.field,
                "seconds": promise.seconds,
                "newest": None if newest is None else str(newest),
                "age_seconds": age,
                "met": age is not None and age <= promise.seconds,
            }
        )
    return found


def _age_s(newest: Any) -> float | None:
    if isinstance(newest, date) and not isinstance(newest, datetime):
        newest = datetime.combine(newest, time(), UTC)
    if not isinstance(newest, datetime):
        return None
    instant = newest if newest.tzinfo else newest.replace(tzinfo=UTC)
    return (datetime.now(UTC) - instant).total_seconds()

"""What a run would do, and what today's contract does to rows already stored. Changes nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from headgate.contract.model import Dataset, Severity
from headgate.contract.to_sql import fails, quote
from headgate.errors import FixInputError
from headgate.ports.store import Cut
from headgate.runtime.loop import new_run, nodes_of
from headgate.runtime.outlets import outlets, why
from headgate.runtime.select import select
from headgate.steps.derive import ordered, state_of
from headgate.steps.refine import pending
from headgate.steps.replay import replay

if TYPE_CHECKING:
    from headgate.runtime.workspace import Workspace


def plan_of(project: Workspace, selections: Sequence[str]) -> dict[str, Any]:
    """Nodes with the reason why each would run, and per dataset the impact of the contract as it is now."""
    nodes = nodes_of(project)
    chosen = select(nodes, selections)
    cut = project.lake.cut()
    rows: list[dict[str, str]] = []
    for dataset in project.datasets:
        if f"bronze.{dataset.name}" in chosen:
            rows.append({"node": f"bronze.{dataset.name}", "why": "ask the source for what is new"})
        if f"silver.{dataset.name}" in chosen:
            waiting = sum(s.stop - s.start for s in pending(dataset, cut))
            rows.append(
                {
                    "node": f"silver.{dataset.name}",
                    "why": f"{waiting:,} bronze rows without a verdict, and what will be landed",
                }
            )
    for model, reads in ordered(project.models, project.engine):
        if model.table in chosen:
            rows.append({"node": model.table, "why": _why(cut, model.table, model.fingerprint, reads)})
    rows += [{"node": o.id, "why": why(project, o, cut, chosen)} for o in outlets(project) if o.id in chosen]
    datasets = [_impact(project, d, cut) for d in project.datasets if f"silver.{d.name}" in chosen]
    return {"nodes": rows, "datasets": datasets}


def _why(cut: Cut, table: str, fingerprint: str, reads: Sequence[str]) -> str:
    held = cut.table(table)
    if held is None:
        return "not built yet"
    if held.facts("model") != fingerprint:
        return "its query changed"
    views = {t: cut.table(t) for t in reads}
    now = json.dumps({t: state_of(v) if v else None for t, v in views.items()}, sort_keys=True)
    return "its inputs changed" if held.facts("inputs") != now else "only if its inputs change in this run"


def _impact(project: Workspace, dataset: Dataset, cut: Cut) -> dict[str, Any]:
    silver = cut.table(f"silver.{dataset.name}")
    impact: dict[str, Any] = {
        "dataset": dataset.name,
        "changes": [],
        "would_be_quarantined": 0,
        "would_be_recovered": 0,
        "rules": {},
    }
    if silver is None:
        return impact
    stored = silver.facts("contract")
    if stored != dataset.contract_version:
        impact["changes"].append({"breaking": False, "message": f"contract {stored} -> {dataset.contract_version}"})
    names = set(silver.schema.names)
    known = [
        r
        for r in dataset.rules
        if r.check != "type" and r.severity is Severity.ERROR and _columns_known(dataset, r.field, names)
    ]
    for field in dataset.fields:
        if field.name not in names:
            impact["changes"].append({"breaking": field.required, "message": f"new field {field.name}"})
    if known:
        counted = ", ".join(f"count(*) filter ({fails(r, dataset)}) as {quote(r.id)}" for r in known)
        union = " or ".join(f"({fails(r, dataset)})" for r in known)
        row = project.query(
            f"select count(*) filter ({union}) as {quote('=any')}, {counted} from silver.{quote(dataset.name)}"
        ).to_pylist()[0]
        impact["would_be_quarantined"] = row.pop("=any")
        impact["rules"] = {k: v for k, v in row.items() if v}
    try:
        impact["would_be_recovered"] = replay(dataset, project.lake, project.engine, new_run(), dry_run=True).recovered
    except FixInputError as error:
        impact["changes"].append({"breaking": True, "message": str(error)})
    return impact


def _columns_known(dataset: Dataset, field: str | None, names: set[str]) -> bool:
    if field is None:
        return all(f.name in names for f in dataset.fields)
    return field.partition(".")[0].removesuffix("[]") in names

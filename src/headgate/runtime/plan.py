"""What a run would do, and what today's contract does to rows already stored. Changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from headgate.contract.compare import compare
from headgate.contract.model import Dataset, Severity
from headgate.contract.parse import read_dataset
from headgate.contract.to_sql import fails, quote
from headgate.errors import BreakingChangeError
from headgate.ports.engine import VERDICTS
from headgate.ports.store import Cut, TableSpec, TableView
from headgate.runtime.loop import nodes_of
from headgate.runtime.outlets import outlets, why
from headgate.runtime.select import Node, select
from headgate.steps.derive import ordered, state_of
from headgate.steps.land import bronze_name
from headgate.steps.layers import CONTRACT, specs
from headgate.steps.portion import pending
from headgate.steps.refine import rebuilt
from headgate.steps.replay import replay
from headgate.steps.run import Run

if TYPE_CHECKING:
    import pyarrow as pa

    from headgate.runtime.workspace import Workspace


def plan_of(project: Workspace, selections: Sequence[str], *, full_refresh: bool = False) -> dict[str, Any]:
    """Nodes with the reason why each would run, and per dataset the impact of the contract as it is now.

    With `full_refresh` all of bronze is judged as a full refresh would, and the verdicts are counted and thrown away.
    """
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
    datasets = [_impact(project, d, cut, nodes) for d in project.datasets if f"silver.{d.name}" in chosen]
    if full_refresh:
        for one in datasets:
            judged = rebuilt(project.dataset(one["dataset"]), project.lake, project.engine, Run.begin())
            one["full_refresh"]["verdicts"] = {verdict: judged.total(verdict) for verdict in VERDICTS}
            one["full_refresh"]["reasons"] = judged.reasons
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


def _impact(project: Workspace, dataset: Dataset, cut: Cut, nodes: Mapping[str, Node]) -> dict[str, Any]:
    name = f"silver.{dataset.name}"
    silver, bronze = cut.table(name), cut.table(bronze_name(dataset))
    rebuild = {name, f"quarantine.{dataset.name}", f"ledger.{dataset.name}", *select(nodes, [f"{name}+"])}
    refresh: dict[str, Any] = {
        "needed": False,
        "why": None,
        "command": f"headgate run {name}+ --full-refresh",
        "rows": bronze.rows() if bronze else 0,
        "tables": sorted(t for t in rebuild if not t.startswith("serve.")),
    }
    impact: dict[str, Any] = {
        "dataset": dataset.name,
        "changes": [],
        "would_be_quarantined": 0,
        "would_be_recovered": 0,
        "rules": {},
        "full_refresh": refresh,
    }
    if silver is None or bronze is None:
        return impact
    impact["changes"] = _changes(silver, dataset)
    wanted = specs(dataset, bronze.schema)
    refusal = _refusal(project, wanted.values())
    _judge_stored(project, dataset, silver, wanted["silver"].schema, impact)
    if refusal:
        refresh |= {"needed": True, "why": str(refusal)}
    else:
        again = replay(dataset, project.lake, project.engine, Run.begin(), dry_run=True)
        impact["would_be_recovered"] = again.recovered
    return impact


def _changes(silver: TableView, dataset: Dataset) -> list[dict[str, Any]]:
    """What the contract says otherwise than the one that silver last followed."""
    changes: list[dict[str, Any]] = []
    stored = silver.facts("contract")
    if stored != dataset.contract_version:
        message = f"contract {stored} -> {dataset.contract_version}"
        changes.append({"kind": "version", "field": None, "breaking": False, "message": message})
    followed = read_dataset(silver.properties.get(CONTRACT, ""))
    return changes + [asdict(change) for change in compare(followed, dataset)] if followed else changes


def _refusal(project: Workspace, wanted: Iterable[TableSpec]) -> BreakingChangeError | None:
    """Why the stored tables cannot follow, asked of the lake itself; nothing is published."""
    try:
        with project.lake.publication("refine") as publication:
            for spec in wanted:
                publication.ensure(spec)
    except BreakingChangeError as error:
        return error
    return None


def _judge_stored(
    project: Workspace, dataset: Dataset, silver: TableView, wanted: pa.Schema, impact: dict[str, Any]
) -> None:
    """How many stored rows break today's rules, as far as their columns are what the rules judge."""
    names = {f.name for f in silver.schema if f.name in wanted.names and f.type == wanted.field(f.name).type}
    known = [
        r
        for r in dataset.rules
        if r.check != "type" and r.severity is Severity.ERROR and _columns_known(dataset, r.field, names)
    ]
    if not known:
        return
    counted = ", ".join(f"count(*) filter ({fails(r, dataset)}) as {quote(r.id)}" for r in known)
    union = " or ".join(f"({fails(r, dataset)})" for r in known)
    row = project.query(
        f"select count(*) filter ({union}) as {quote('=any')}, {counted} from silver.{quote(dataset.name)}"
    ).to_pylist()[0]
    impact["would_be_quarantined"] = row.pop("=any")
    impact["rules"] = {k: v for k, v in row.items() if v}


def _columns_known(dataset: Dataset, field: str | None, names: set[str]) -> bool:
    if field is None:
        return all(f.name in names for f in dataset.fields)
    return field.partition(".")[0].removesuffix("[]") in names

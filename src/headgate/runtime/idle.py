"""Is there anything to do? Answered from the catalog's own notes and the sources, before anything heavy is imported."""

from __future__ import annotations

import json
from collections.abc import Collection
from contextlib import suppress
from typing import TYPE_CHECKING

from headgate.contract.model import Dataset
from headgate.errors import HeadgateError
from headgate.ports.batch import Position
from headgate.ports.source import Peeks
from headgate.runtime.outlets import Outlet, nothing_served, outlets
from headgate.runtime.record import DatasetRecord, RunRecord
from headgate.runtime.wire import standing

if TYPE_CHECKING:
    from headgate.runtime.workspace import Workspace
    from headgate.stores.iceberg import Peek

HOLD, BUILT = "hold", "built"  # as the steps write them; importing those would import Arrow


def nothing_to_do(project: Workspace, chosen: Collection[str], record: RunRecord) -> bool:
    """True only when a run would certainly move nothing; the record then says so for each dataset.

    False means "perhaps": the run looks itself.
    """
    if not (project.folder / project.settings.lake.warehouse).is_dir():
        return False
    seen = project.noted()
    kept = [model.name for model in project.models if model.table in chosen]
    if not all(_model_is_current(seen, m.table, m.fingerprint) for m in project.models if m.table in chosen):
        return False
    records = []
    for dataset in project.datasets:
        layers = {f"{layer}.{dataset.name}" for layer in ("bronze", "silver")} & set(chosen)
        if layers and not _dataset_is_current(project, seen, dataset, layers):
            return False
        if layers:
            position = seen.position(f"bronze.{dataset.name}", dataset.name)
            tokens = dict(position.tokens) if position else {}
            records.append(DatasetRecord(dataset.name, dataset.contract_version, start=tokens, end=tokens))
    served = [one for one in outlets(project) if one.id in chosen]
    if not all(_outlet_is_current(project, seen, one) for one in served):
        return False
    record.datasets, record.models_kept = records, kept
    record.served = [nothing_served(one) | {"seconds": 0.0} for one in served]
    return True


def noted_position(project: Workspace, dataset: Dataset) -> Position | None:
    """Where bronze stands by the catalog's notes; None when only the table itself can tell."""
    bronze = f"bronze.{dataset.name}"
    with suppress(HeadgateError):
        seen = project.noted()
        return seen.position(bronze, dataset.name) if bronze in seen.tables else Position.start()
    return None


def _dataset_is_current(project: Workspace, seen: Peek, dataset: Dataset, layers: Collection[str]) -> bool:
    bronze, silver = f"bronze.{dataset.name}", f"silver.{dataset.name}"
    position = seen.position(bronze, dataset.name)
    if position is None or not position.tokens:
        return False
    if silver in layers:
        judged = seen.position(silver, bronze)
        if judged is None or seen.fact(silver, HOLD):
            return False
        for partition in position.tokens:
            if judged.tokens.get(partition) != seen.fact(bronze, f"offset:{partition}"):
                return False
    if bronze not in layers:
        return True
    source = project.connect(dataset)
    try:
        return isinstance(source, Peeks) and source.idle(position)
    finally:
        source.close()


def _outlet_is_current(project: Workspace, seen: Peek, one: Outlet) -> bool:
    token = seen.token(one.table)
    if token is None:
        return False
    try:
        at = standing(one.route, one.table, project.env, project.folder)
    except HeadgateError:
        return False  # the run comes to it in its turn, and says so
    return at is not None and at.tokens.get(one.table) == token


def _model_is_current(seen: Peek, table: str, fingerprint: str) -> bool:
    inputs = seen.fact(table, "inputs")
    if inputs is None or seen.fact(table, "model") != fingerprint:
        return False
    return all(
        seen.known(t) and (seen.fact(t, BUILT) or str(seen.version(t))) == state
        for t, state in json.loads(inputs).items()
    )

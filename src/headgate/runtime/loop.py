"""The run: land, refine, derive, serve, for what is selected; then the record."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import headgate
from headgate import crash
from headgate.contract.model import Dataset
from headgate.errors import BudgetExceeded, DefectError, FixInputError, HeadgateError
from headgate.ports.engine import VERDICTS, Prepares
from headgate.ports.source import Begins
from headgate.runtime.idle import noted_position, nothing_to_do
from headgate.runtime.memory import peak_rss_mib
from headgate.runtime.outlets import outlet_nodes, outlets, serve_chosen
from headgate.runtime.record import FAILED, DatasetRecord, RunRecord, write_record
from headgate.runtime.select import Node, select
from headgate.runtime.turns import short_turns
from headgate.steps.run import Run, silent

if TYPE_CHECKING:
    from headgate.runtime.workspace import Workspace
    from headgate.steps.derive import Model
    from headgate.steps.judged import Judged
    from headgate.steps.land import Landed


def nodes_of(project: Workspace) -> dict[str, Node]:
    """Everything that can run, with what it needs."""
    from headgate.steps.derive import ordered

    nodes: dict[str, Node] = {}
    for dataset in project.datasets:
        bronze, silver = f"bronze.{dataset.name}", f"silver.{dataset.name}"
        nodes[bronze] = Node(bronze, tags=dataset.tags)
        nodes[silver] = Node(silver, (bronze,), dataset.tags)
    if project.models:
        for model, reads in ordered(project.models, project.engine):
            nodes[model.table] = Node(model.table, tuple(t for t in reads if t in nodes), model.tags)
    return nodes | outlet_nodes(project, nodes) if project.settings.serve else nodes


def run(
    project: Workspace,
    selections: Sequence[str] = (),
    *,
    full_refresh: bool = False,
    accept_quarantine: bool = False,
    tell: Callable[..., None] = silent,
) -> RunRecord:
    """Run what is selected and return the record; a failed run leaves its record too and raises.

    `full_refresh` judges all of bronze anew and rebuilds silver, quarantine, ledger and gold. `accept_quarantine`
    opens gold again after a run past its error budget.
    Raises whatever stopped the run: see headgate.errors; steps that were published before it stay.
    """
    begun, this = time.perf_counter(), Run.begin(tell)
    record = RunRecord(this.id, this.at.isoformat(), list(selections), headgate.__version__)
    with recorded(project, record, this):
        chosen = chosen_nodes(project, selections)
        if not full_refresh and not accept_quarantine and nothing_to_do(project, chosen, record):
            return record
        for dataset in project.datasets:
            if {f"bronze.{dataset.name}", f"silver.{dataset.name}"} & chosen:
                _dataset(project, dataset, chosen, this, record, full_refresh, accept_quarantine)
        models = chosen_models(project, chosen)
        if models:
            _gold(project, models, this, record, full_refresh)
        if any(c.startswith("serve.") for c in chosen):
            _serve(project, chosen, this, record)
        if record.moved and project.settings.upkeep.automatic:
            _tend(project, record, time.perf_counter() - begun)
    return record


@contextmanager
def recorded(project: Workspace, record: RunRecord, this: Run) -> Iterator[None]:
    """However the run inside ends, its record is kept, and every error is one of ours. A run that moved something and
    ended well is a row of `headgate.runs` too."""
    started = time.perf_counter()
    try:
        yield
    except HeadgateError as error:
        _failed(record, error)
        raise
    except MemoryError as cause:
        hint = "set engine_options: {memory_limit: …} in headgate.yaml"
        raise _failed(record, FixInputError("out of memory", hint=hint, stage="run")) from cause
    except Exception as cause:
        what, hint = (
            f"{type(cause).__name__}: {cause}",
            "please report this with the output of `headgate doctor --json`",
        )
        raise _failed(record, DefectError(what, hint=hint, stage="run")) from cause
    finally:
        record.seconds = round(time.perf_counter() - started, 3)
        record.peak_rss_mib = peak_rss_mib()
        write_record(project.settings.state / "runs", record)
    if record.moved:
        from headgate.runtime.runs_table import publish_record

        with short_turns():
            publish_record(project.lake, record, this)


def chosen_models(project: Workspace, chosen: Collection[str]) -> list[Model]:
    """The models among the chosen nodes."""
    if not any(name.startswith("gold.") for name in chosen):
        return []
    return [m for m in project.models if m.table in chosen]


def _tend(project: Workspace, record: RunRecord, ran_s: float) -> None:
    from headgate.runtime.upkeep import tend

    kept = tend(project, ran_s)
    if kept.moved or kept.error:
        record.upkeep = kept.as_dict()


def _failed(record: RunRecord, error: HeadgateError) -> HeadgateError:
    record.status, record.error = FAILED, error.as_dict()
    return error


def chosen_nodes(project: Workspace, selections: Sequence[str]) -> set[str]:
    """Names of the nodes that the selections mean."""
    if not selections:  # everything: the models' references are not needed to know that
        names = {f"{layer}.{d.name}" for d in project.datasets for layer in ("bronze", "silver")}
        return names | {m.table for m in project.models} | {one.id for one in outlets(project)}
    plain = {word for selection in selections for word in selection.split()}
    if plain <= {f"{layer}.{d.name}" for d in project.datasets for layer in ("bronze", "silver")}:
        return plain
    return select(nodes_of(project), selections)


def _dataset(
    project: Workspace,
    dataset: Dataset,
    chosen: set[str],
    this: Run,
    record: RunRecord,
    full_refresh: bool,
    accept_quarantine: bool,
) -> None:
    mine = DatasetRecord(dataset.name, dataset.contract_version)
    record.datasets.append(mine)
    if f"bronze.{dataset.name}" in chosen:
        begun = time.perf_counter()
        landed = _land(project, dataset, chosen, this)
        mine.landed_rows, mine.landed_bytes = landed.rows, landed.size_bytes
        mine.start, mine.end = dict(landed.start.tokens), dict(landed.end.tokens)
        mine.seconds["land"] = round(time.perf_counter() - begun, 3)
        record.moved |= landed.publications > 0
        crash.point("run: landed, not refined")
    if f"silver.{dataset.name}" not in chosen:
        return
    from headgate.steps.refine import refine
    from headgate.steps.replay import release

    begun = time.perf_counter()
    if accept_quarantine:
        record.moved |= release(dataset, project.lake, this)
    with short_turns():
        judged = refine(dataset, project.lake, project.engine, this, rebuild=full_refresh)
    _note(mine, judged)
    mine.seconds["refine"] = round(time.perf_counter() - begun, 3)
    record.moved |= judged.publications > 0
    if not accept_quarantine:
        within_budget(project, dataset, judged)
    if judged.publications and dataset.checks:
        from headgate.runtime.checks import check_tables, refuse_failed

        mine.checks = check_tables(project, dataset)
        refuse_failed(dataset, mine.checks)


def _land(project: Workspace, dataset: Dataset, chosen: set[str], this: Run) -> Landed:
    source = project.connect(dataset)
    try:
        if dataset.full_reads:
            from headgate.steps.full_reads import land_full_reads

            return land_full_reads(dataset, source, project.lake, project.engine, this)
        if isinstance(source, Begins) and (position := noted_position(project, dataset)) is not None:
            source.begin(position)  # the lake takes a third of a second to load, on one core
        with short_turns():
            from headgate.steps.land import land

            project.lake  # noqa: B018 - loads it
        return land(dataset, source, project.lake, this, much=_get_ready(project, dataset, chosen))
    except HeadgateError as error:
        error.stage = error.stage or "extract"
        raise
    finally:
        source.close()


def _get_ready(project: Workspace, dataset: Dataset, chosen: set[str]) -> Callable[[], None] | None:
    """What to do when much is landed that will be judged: let the engine begin to load beside it."""
    if f"silver.{dataset.name}" not in chosen:
        return None

    def prepare() -> None:
        if isinstance(project.engine, Prepares):
            project.engine.prepare()

    return prepare


def _note(mine: DatasetRecord, judged: Judged) -> None:
    mine.read = judged.read
    mine.verdicts = {verdict: judged.total(verdict) for verdict in VERDICTS}
    mine.partitions = judged.verdicts
    mine.replaced, mine.reasons, mine.warnings = judged.replaced, judged.reasons, judged.warnings


def within_budget(project: Workspace, dataset: Dataset, judged: Judged) -> None:
    """Stop before gold when this run, or an earlier one that nobody dealt with, is past the budget."""
    from headgate.steps.judged import HOLD, check_budget

    error = check_budget(dataset, judged)
    if error:
        raise error
    if dataset.error_budget or any(r.tolerance for r in dataset.rules):
        silver = project.lake.cut().table(f"silver.{dataset.name}")
        if silver is not None and silver.facts(HOLD):
            raise BudgetExceeded(
                "an earlier run rejected more rows than the contract allows, and they still wait in quarantine",
                where=f"silver.{dataset.name}",
                hint=f"headgate quarantine list {dataset.name}; then quarantine replay, "
                "or: headgate run --accept-quarantine",
                stage="refine",
            )


def _gold(project: Workspace, models: Sequence[Model], this: Run, record: RunRecord, full_refresh: bool) -> None:
    from headgate.runtime.model_tests import run_tests
    from headgate.steps.derive import derive

    begun = time.perf_counter()
    derived = derive(models, project.lake, project.engine, this, rebuild=full_refresh)
    record.models, record.models_kept, record.models_partly = derived.built, derived.kept, derived.partly
    record.moved |= bool(derived.built)
    if derived.built:
        record.tests = run_tests(project)
        failed = [t["name"] for t in record.tests if t["rows"]]
        if failed:
            raise BudgetExceeded(
                f"tests on models failed: {', '.join(failed)}", where="gold", hint="headgate query …", stage="derive"
            )
    this.tell("derived", seconds=round(time.perf_counter() - begun, 3))


def _serve(project: Workspace, chosen: set[str], this: Run, record: RunRecord) -> None:
    record.served, errors = serve_chosen(project, chosen, this)
    record.moved |= any(one.get("moved") for one in record.served)
    if errors:
        raise errors[0]

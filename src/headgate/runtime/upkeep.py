"""Upkeep of a project's lake: by command, and by itself within runs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from headgate import crash
from headgate.errors import FixInputError, HeadgateError
from headgate.ports.store import Cleaned, Expiry, Keeps
from headgate.steps.compact import Compacted, Sizes, compact
from headgate.steps.records import added_up
from headgate.steps.retire import Retirement, retire
from headgate.steps.run import Run

if TYPE_CHECKING:
    from headgate.ports.store import Cut
    from headgate.runtime.settings import UpkeepSettings
    from headgate.runtime.workspace import Workspace

VERBS = ("retire", "compact", "expire", "clean")
LEAST_S = 1.0  # of upkeep that a run may add, however short it was
BYTES_PER_S = 32 * 2**20  # what compaction is reckoned to rewrite


@dataclass(slots=True)
class Kept:
    """What upkeep did, table by table; tables with nothing to do are left out. `error` is what stopped it within a
    run, which goes on."""

    retired: list[Retirement] = field(default_factory=list)
    compacted: list[Compacted] = field(default_factory=list)
    expired: dict[str, int] = field(default_factory=dict)  # table -> snapshots
    folded: int = 0  # lines of the journal
    cleaned: list[Cleaned] = field(default_factory=list)
    seconds: float = 0.0
    error: dict[str, str | None] | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON-safe values."""
        return asdict(self)

    @property
    def moved(self) -> bool:
        """Whether anything was done."""
        return bool(
            self.retired or self.compacted or self.expired or self.folded or any(one.files for one in self.cleaned)
        )


def maintain(
    project: Workspace,
    verbs: Sequence[str] = (),
    tables: Sequence[str] = (),
    *,
    dry_run: bool = False,
    older_s: float | None = None,
) -> Kept:
    """Do all upkeep now, or only these verbs, on all tables or these; `dry_run` only says what `clean` would remove.
    With `older_s` snapshots of that age expire, however many or few there are.

    FixInputError for a table that does not exist; a StoreUnavailable or CommitConflict leaves what was done before it.
    """
    begun = time.perf_counter()
    cut = project.lake.cut()
    names = list(tables) or list(cut.names())
    if unknown := sorted(set(names) - set(cut.names())):
        raise FixInputError(f"no table {unknown[0]}", hint="headgate status lists the tables")
    kept = Kept()
    wanted = set(verbs or VERBS)
    if "retire" in wanted and not dry_run:
        _retire(project, kept, names)
        cut = project.lake.cut()
    if "compact" in wanted and not dry_run:
        for name in names:
            _compact(project, cut, name, kept, everything=True)
        crash.point("maintain: compacted, not expired")
    if "expire" in wanted and not dry_run:
        for name in names:
            _expire(project, name, kept, expiry(project.settings.upkeep, older_s))
        _fold(project, kept)
    if "clean" in wanted:
        cleaned = _keeps(project).clean(project.settings.upkeep.keep_hours * 3600, dry_run=dry_run)
        kept.cleaned = [one for one in cleaned if one.table in names]
    kept.seconds = round(time.perf_counter() - begun, 3)
    return kept


def tend(project: Workspace, ran_s: float, *, beside: bool = False) -> Kept:
    """Upkeep within a run, or between two micro-batches, that took `ran_s`: only tables whose debt is past a threshold,
    for at most the allowed share of that time; what was begun is finished. Never raises: the run's work stands.
    """
    begun, settings, kept = time.monotonic(), project.settings.upkeep, Kept()
    budget_s = max(ran_s * settings.share, LEAST_S)
    until = begun + budget_s
    lake, cut = _keeps(project), project.lake.cut()
    for name in cut.names():
        if time.monotonic() >= until:
            break
        with _noted(kept):
            view = cut.table(name)
            if view is not None and lake.commits_since_rewrite(view) >= settings.fan:
                _compact(project, cut, name, kept, until=until, batch_bytes=int(budget_s * BYTES_PER_S), beside=beside)
            if view is not None and lake.expiry_due(view, expiry(settings)):
                _expire(project, name, kept, expiry(settings))
    if settings.retire and (kept.compacted or kept.expired):
        with _noted(kept):
            _retire(project, kept, cut.names())
    with _noted(kept):
        ago_s, keep_s = lake.cleaned_ago_s(), settings.keep_hours * 3600
        if (kept.expired or lake.left_behind()) and (ago_s is None or ago_s >= keep_s / 8):
            kept.cleaned = list(lake.clean(keep_s))
    with _noted(kept):
        _fold(project, kept)
    kept.seconds = round(time.monotonic() - begun, 3)
    return kept


@contextmanager
def _noted(kept: Kept) -> Iterator[None]:
    """An error of upkeep is noted; the next table has its turn."""
    try:
        yield
    except HeadgateError as error:
        kept.error = error.as_dict()


def _keeps(project: Workspace) -> Keeps:
    if not isinstance(project.lake, Keeps):
        raise FixInputError("this lake keeps itself")
    return project.lake


def _retire(project: Workspace, kept: Kept, tables: Sequence[str]) -> None:
    """Rows past their retention, of the datasets of these tables."""
    run = Run.begin()
    for dataset in project.datasets:
        if dataset.retention and any(table.partition(".")[2] == dataset.name for table in tables):
            done = retire(dataset, project.lake, project.engine, run)
            if done.silver or done.bronze:
                kept.retired.append(done)


def _compact(
    project: Workspace,
    cut: Cut,
    name: str,
    kept: Kept,
    *,
    everything: bool = False,
    until: float | None = None,
    batch_bytes: int | None = None,
    beside: bool = False,
) -> None:
    settings = project.settings.upkeep
    sizes = Sizes(settings.target_mib * 2**20, settings.fan)
    batch: dict[str, int] = {} if batch_bytes is None else {"batch_bytes": batch_bytes}
    done = compact(
        name,
        project.lake,
        project.engine,
        sizes,
        everything=everything,
        judged=judged_sequence(cut, name),
        until=until,
        beside=beside,
        **batch,
    )
    if done.publications or done.gave_up:
        kept.compacted.append(done)


def judged_sequence(cut: Cut, table: str) -> int | None:
    """Up to which commit a bronze table's rows have all been judged; None for other tables, which need not wait."""
    layer, _, name = table.partition(".")
    if layer != "bronze":
        return None
    silver = cut.table(f"silver.{name}")
    return int(silver.facts("bronze_sequence") or 0) if silver is not None else 0


def expiry(settings: UpkeepSettings, older_s: float | None = None) -> Expiry:
    """How much history the project keeps; with `older_s`, what somebody asks for now."""
    if older_s is not None:
        return Expiry(age_s=older_s, by_count=False)
    age_s = None if settings.max_age_hours is None else settings.max_age_hours * 3600
    return Expiry(settings.snapshots, settings.min_snapshots, age_s)


def _expire(project: Workspace, name: str, kept: Kept, wanted: Expiry) -> None:
    needed = needed_snapshots(project.lake.cut()).get(name, set())
    done = _keeps(project).expire(name, wanted, needed)
    if done:
        kept.expired[name] = done


def _fold(project: Workspace, kept: Kept) -> None:
    """Old lines of the journal. Twice as old as what `clean` looks at: it asks the journal whose files are whose."""
    kept.folded = _keeps(project).fold(2 * project.settings.upkeep.keep_hours * 3600, added_up)


def needed_snapshots(cut: Cut) -> dict[str, set[int]]:
    """The snapshots that models were last built from: with them the next build looks only at what has changed."""
    needed: dict[str, set[int]] = {}
    for name in cut.names():
        view = cut.table(name) if name.startswith("gold.") else None
        for source, state in json.loads((view.facts("inputs") if view else None) or "{}").items():
            if state.isdigit():
                needed.setdefault(source, set()).add(int(state))
    return needed

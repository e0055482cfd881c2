"""Upkeep of a project's lake: by command, and by itself within a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headgate.errors import FixInputError
from headgate.steps.compact import Compacted, Sizes, compact

if TYPE_CHECKING:
    from headgate.ports.store import Cut
    from headgate.runtime.workspace import Workspace

VERBS = ("compact",)


@dataclass(slots=True)
class Kept:
    """What upkeep did, table by table; tables with nothing to do are left out."""

    compacted: list[Compacted] = field(default_factory=list)


def maintain(project: Workspace, verbs: Sequence[str] = (), tables: Sequence[str] = ()) -> Kept:
    """Do all upkeep now, or only these verbs, on all tables or these. FixInputError for a table that does not exist."""
    cut = project.lake.cut()
    names = list(tables) or list(cut.names())
    if unknown := sorted(set(names) - set(cut.names())):
        raise FixInputError(f"no table {unknown[0]}", hint="headgate status lists the tables")
    kept = Kept()
    for name in names if "compact" in (verbs or VERBS) else ():
        done = compact(name, project.lake, project.engine, Sizes(), everything=True, judged=judged_sequence(cut, name))
        if done.publications or done.gave_up:
            kept.compacted.append(done)
    return kept


def judged_sequence(cut: Cut, table: str) -> int | None:
    """Up to which commit a bronze table's rows have all been judged; None for other tables, which need not wait."""
    layer, _, name = table.partition(".")
    if layer != "bronze":
        return None
    silver = cut.table(f"silver.{name}")
    return int(silver.facts("bronze_sequence") or 0) if silver is not None else 0

"""The project's tables as they were."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.errors import FixInputError
from headgate.ports.store import Remembers

if TYPE_CHECKING:
    from headgate.ports.store import Cut
    from headgate.runtime.workspace import Workspace


def cut_of(project: Workspace, sql: str, moment: str) -> Cut:
    """All tables as of a moment. FixInputError when one that the query reads cannot be shown any more."""
    lake = project.lake
    if not isinstance(lake, Remembers):
        raise FixInputError("this lake does not remember its past")
    cut, gone = lake.as_of(moment)
    for name in project.engine.references(sql):
        full = name if "." in name else f"gold.{name}"
        if full in gone:
            raise FixInputError(
                f"as of {moment}: {gone[full]}", where=full, hint="upkeep: {snapshots: …} keeps more; see history"
            )
    return cut

"""Tables as they were."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.errors import FixInputError
from headgate.ports.store import Remembers

if TYPE_CHECKING:
    from headgate.ports.engine import Engine
    from headgate.ports.store import Cut, Lake


def cut_of(lake: Lake, engine: Engine, sql: str, moment: str) -> Cut:
    """All tables as of a moment. FixInputError when one that the query reads cannot be shown any more."""
    if not isinstance(lake, Remembers):
        raise FixInputError("this lake does not remember its past")
    cut, gone = lake.as_of(moment)
    for name in engine.references(sql):
        full = name if "." in name else f"gold.{name}"
        if full in gone:
            raise FixInputError(
                f"as of {moment}: {gone[full]}", where=full, hint="upkeep: {snapshots: …} keeps more; see history"
            )
    return cut

"""The public face: open a project, run it, ask it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from headgate.runtime.workspace import Workspace

if TYPE_CHECKING:
    from headgate.runtime.record import RunRecord
    from headgate.steps.audit import Account
    from headgate.steps.replay import Replayed


class Project(Workspace):
    """One folder's pipelines. Open it with `Project.open(folder)`; close it, or use it as a context manager.

    Nothing is read from a source and nothing heavy is imported before a method needs it.
    """

    def run(self, select: str | Sequence[str] = (), **options: Any) -> RunRecord:
        """Land, refine and derive what is new. See headgate.runtime.loop.run for the options and errors."""
        from headgate.runtime.loop import run

        return run(self, [select] if isinstance(select, str) and select else list(select), **options)

    def audit(self, *, deep: bool = False, select: Sequence[str] = ()) -> list[Account]:
        """The account of every dataset; `deep` proves it from the rows."""
        from headgate.steps.audit import audit

        return [audit(d, self.lake, self.engine if deep else None) for d in self.selected(select)]

    def replay(self, select: Sequence[str] = (), *, dry_run: bool = False) -> dict[str, Replayed]:
        """Judge quarantined rows again under today's contract."""
        from headgate.steps.replay import replay
        from headgate.steps.run import Run

        run = Run.begin()
        return {d.name: replay(d, self.lake, self.engine, run, dry_run=dry_run) for d in self.selected(select)}

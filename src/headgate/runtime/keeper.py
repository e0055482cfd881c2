"""The upkeep's stage of a run that goes on: of its tables, and of its memory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from threading import Event
from typing import TYPE_CHECKING

from headgate.runtime.flow import Flow
from headgate.runtime.memory import give_back
from headgate.runtime.stages import turn_at
from headgate.runtime.upkeep import tend

if TYPE_CHECKING:
    from headgate.runtime.workspace import Workspace

EVERY_S = 2.0  # between two looks
MEMORY_EVERY_S = 10.0
PATIENCE_S = 60.0  # the longest wait for a backlog, or for another process' turn: that may stand still


class Keeper:
    """Upkeep beside the other stages, in its share of the time that passes; what is left waits for the next turn."""

    step = "maintain"
    subject = "lake"

    def __init__(self, project: Workspace, flows: Sequence[Flow], stop: Event) -> None:
        self.project, self.flows, self.stop = project, flows, stop
        self._since = time.monotonic()
        self._seen = 0
        self._memory_due = 0.0

    def over(self) -> bool:
        """At once after a stop."""
        return self.stop.is_set()

    def turn(self) -> None:
        """Wait, then tend the tables if any has moved."""
        self._keep_memory()
        moved = sum(flow.mark + flow.moved for flow in self.flows)
        if self.stop.wait(EVERY_S) or moved == self._seen or (self._behind() and not self._waited_enough()):
            return
        with turn_at(self.project.lake, "upkeep") as mine:
            if not mine and not self._waited_enough():
                return
            now = time.monotonic()
            kept = tend(self.project, now - self._since, beside=True)
            self._since, self._seen = now, moved
        if kept.moved and self.flows:
            self.flows[0].meter.observe(
                "headgate_step_seconds", [(kept.seconds, 1)], dataset=self.subject, step=self.step
            )

    def _keep_memory(self) -> None:
        if (now := time.monotonic()) >= self._memory_due:
            self._memory_due = now + MEMORY_EVERY_S
            give_back()

    def _behind(self) -> bool:
        """Whether more waits for a verdict than one publication takes: the others need the cores, and the memory."""
        return any(flow.waiting_rows > flow.settings.batch_rows for flow in self.flows)

    def _waited_enough(self) -> bool:
        return time.monotonic() >= self._since + PATIENCE_S

    def reset(self) -> None:
        """Nothing is kept between turns but the tables."""

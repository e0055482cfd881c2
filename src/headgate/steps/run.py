"""What every step of one run shares: who runs, since when, and whom to tell."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self


def silent(_event: str, **_facts: Any) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run: its id, its instant (UTC; every row it lands or judges carries it), and a listener.

    `tell(event, **facts)` is called for progress: `land`, `refine`, `derive` with rows so far and names.
    """

    id: str
    at: datetime
    tell: Callable[..., None] = silent

    @classmethod
    def begin(cls, tell: Callable[..., None] = silent) -> Self:
        """A run that begins now. Ids sort by time."""
        at = datetime.now(UTC)
        return cls(f"{at:%Y%m%dT%H%M%SZ}-{at.microsecond:05x}{secrets.randbelow(4096):03x}", at, tell)

    @property
    def at_us(self) -> int:
        """Microseconds since 1970."""
        delta = self.at - datetime(1970, 1, 1, tzinfo=UTC)
        return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds

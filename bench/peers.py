"""Peers live in an environment of their own, installed from the locks."""

from __future__ import annotations

from tests.rigs.own_environment import environment


def python() -> str:
    """The peers' interpreter; made on first use."""
    return str(environment("peers", "bench") / "bin" / "python")

"""Loads contracts; the standard's own schema is consulted once per content, not once per run."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import headgate
from headgate.contract.model import Contract
from headgate.contract.parse import load_contract


def load_contracts(files: Sequence[Path], root: Path, state: Path) -> list[Contract]:
    """All contracts, checked. A file that passed the standard's schema before is not sent through it again:
    our own checks always run. Places are relative to the project."""
    contracts = []
    for path in files:
        mark = state / "cache" / f"{hashlib.sha256(path.read_bytes()).hexdigest()[:32]}.{headgate.__version__}.ok"
        known = mark.exists()
        contracts.append(load_contract(path, standard=not known, shown=str(path.relative_to(root))))
        if not known:
            with suppress(OSError):  # a cache that cannot be written only costs time
                mark.parent.mkdir(parents=True, exist_ok=True)
                mark.touch()
    return contracts

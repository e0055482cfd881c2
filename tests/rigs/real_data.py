"""Real files that some tests read when they are there: HEADGATE_REAL_DATA, or a folder beside the checkout that has
`data/retail` and its like. They are not part of the repository; the tests skip without them."""

from __future__ import annotations

import os
from pathlib import Path


def folder() -> Path | None:
    """The folder that holds `retail`, `sensors`, `events`, …; None where there is none."""
    named = os.environ.get("HEADGATE_REAL_DATA")
    if named:
        return Path(named)
    beside = Path(__file__).resolve().parents[3]
    return next((found.parent for found in sorted(beside.glob("*/data/retail"))), None)

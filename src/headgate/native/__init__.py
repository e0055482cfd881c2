"""Parts written in C, each with a slower twin in Python that gives the same: nothing depends on a compiler.

`HEADGATE_PURE=1` takes the twins even where the compiled parts are there.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from types import ModuleType


def load(name: str) -> ModuleType | None:
    """The compiled module of that name; None where it was not built or is not wanted."""
    if os.environ.get("HEADGATE_PURE", "0") not in {"", "0"}:
        return None
    try:
        return importlib.import_module(f"headgate.native.{name}")
    except ModuleNotFoundError:
        return None


def parts() -> dict[str, bool]:
    """Every part by name, and whether its compiled module is in use."""
    names = sorted(source.stem for source in Path(__file__).parent.glob("*.c"))
    return {name: load(name) is not None for name in names}

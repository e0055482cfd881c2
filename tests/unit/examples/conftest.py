"""The example's scripts stand alone beside each other; tests import them as they import each other."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Protocol

import pytest

RETAIL = Path(__file__).resolve().parents[3] / "examples" / "retail"
SCRIPTS = ("generator", "load", "server", "shop", "report", "pictures", "page", "demo")


class Script(Protocol):
    def __call__(self, name: str) -> ModuleType: ...


@pytest.fixture(scope="session")
def retail() -> Iterator[Script]:
    """Imports a script of the retail example by name; other examples may use the same names."""
    kept = {name: sys.modules.pop(name) for name in SCRIPTS if name in sys.modules}
    sys.path.insert(0, str(RETAIL))
    try:
        yield importlib.import_module
    finally:
        sys.path.remove(str(RETAIL))
        for name in SCRIPTS:
            sys.modules.pop(name, None)
        sys.modules.update(kept)


@pytest.fixture(scope="session")
def retail_folder() -> Path:
    return RETAIL

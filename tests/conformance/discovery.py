"""Finds every connector of the package, and the rig that shows it to the suites.

The rig of `headgate.sources.<kind>` is `rigs_<kind>.py` beside this file, with a class `SourceRig`; the rig of
`headgate.stores.<kind>` is `rigs_<kind>.py` with a class `LakeRig` or `SinkRig`. A connector without one fails
the build.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType


def connectors(package: str, verbs: tuple[str, ...]) -> dict[str, ModuleType]:
    """Modules of the package that offer one of the verbs, by kind. A name with _ in it is a part of a connector."""
    root = importlib.import_module(package)
    found = {}
    for module in pkgutil.iter_modules(root.__path__):
        if "_" in module.name:
            continue
        loaded = importlib.import_module(f"{package}.{module.name}")
        if any(callable(getattr(loaded, verb, None)) for verb in verbs):
            found[module.name] = loaded
    return found


def rigs(kind: str, name: str) -> list[type]:
    """Classes of `rigs_<kind>.py` whose names end in `name`; a kind may have several (one per format or mode)."""
    try:
        module = importlib.import_module(f"rigs_{kind}")
    except ModuleNotFoundError as error:
        if error.name != f"rigs_{kind}":
            raise
        return []
    return [
        value
        for key, value in vars(module).items()
        if isinstance(value, type) and key.endswith(name) and value.__module__ == module.__name__
    ]


def cases(package: str, verbs: tuple[str, ...], name: str, suite: type) -> list[tuple[type, str]]:
    """(rig, behaviour) for every connector of the package."""
    return [
        (rig, behaviour)
        for kind in connectors(package, verbs)
        for rig in rigs(kind, name)
        for behaviour in suite.applicable(rig)
    ]

"""Puts a project together: the kind in a contract *is* the name of the module that serves it."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from headgate.contract.model import Dataset, Server
from headgate.errors import FixInputError, MissingSecretError, UnknownKindError
from headgate.ports.batch import Position
from headgate.ports.engine import Engine
from headgate.ports.source import Source
from headgate.ports.store import Lake, Sink, TableSpec
from headgate.runtime.relay import relayed
from headgate.runtime.settings import Route, Settings
from headgate.runtime.variables import resolve

_SPELLINGS = {"postgresql": "postgres", "local": "files"}  # the standard has two names for these
_KIND = re.compile(r"[a-z][a-z0-9_]{0,31}")


def connect(dataset: Dataset, settings: Settings, folder: Path, env: Mapping[str, str]) -> Source:
    """The dataset's source, with every variable resolved. Errors name the server's place in the contract."""
    mine = settings.datasets.get(dataset.name)
    server = choose_server(dataset, mine.server if mine else None)
    where = str(server.place or dataset.name)
    options = resolve(dict(server.options), env, where) | {"_base": str(folder)}
    read: Mapping[str, Any] = resolve(dict(mine.read), env, "headgate.yaml") if mine else {}
    module = source_module(server.kind, where)
    resolved = Server(server.name, server.kind, options, server.place)
    source: Source = module.connect(dataset.as_read(), resolved, read)
    if mine is not None and mine.transport is not None:
        if dataset.full_reads is not None:
            hint = "full reads are compared where they land: remove the transport, or headgate.full_reads"
            raise FixInputError("full reads cannot go through a transport", where=dataset.name, hint=hint)
        kind, place = mine.transport.kind, f"headgate.yaml: {dataset.name}"
        carried = source_module(f"{kind}_carried", place)
        return relayed(dataset, source, mine.transport, env, store_module(kind, place), carried)
    return source


def choose_server(dataset: Dataset, name: str | None) -> Server:
    """The server to read from: the named one, or the contract's first."""
    for server in dataset.servers:
        if name is None or server.name == name:
            return server
    known = ", ".join(s.name for s in dataset.servers) or "none"
    raise FixInputError(
        f"no server {name}" if name else "the contract names no server to read from",
        where=str(dataset.place or dataset.name),
        hint=f"servers in the contract: {known}",
    )


def is_file_source(kind: str) -> bool:
    """Whether rows of this kind of source are text records whose dialect matters to the engine."""
    return _SPELLINGS.get(kind, kind) == "files"


def source_module(kind: str, where: str) -> Any:
    """The connector's module: ours, or one that another package offers as entry point `headgate.sources`."""
    module = _module("headgate.sources", kind)
    if module is None:
        hint = f"kinds: {', '.join(source_kinds())}"
        raise UnknownKindError(f"no source of kind {kind!r}", where=where, hint=hint, stage="extract")
    return module


def store_module(kind: str, where: str) -> Any:
    """The module with `open_sink`: ours, or one that another package offers as entry point `headgate.stores`."""
    module = _module("headgate.stores", kind)
    if module is None or not hasattr(module, "open_sink"):
        hint = f"kinds: {', '.join(k for k in _kinds('headgate.stores') if k != 'iceberg')}"
        raise UnknownKindError(f"nothing can be served to {kind!r}", where=where, hint=hint, stage="serve")
    return module


def open_sink(route: Route, spec: TableSpec, mode: str, env: Mapping[str, str], folder: Path) -> Sink:
    """The sink of one served table, with every variable resolved."""
    where = str(route.place or "headgate.yaml")
    options = resolve(dict(route.options), env, where) | {"mode": mode, "_base": str(folder)}
    target = str(resolve(route.target, env, where))
    sink: Sink = store_module(route.kind, where).open_sink(target, options, spec)
    return sink


def standing(route: Route, table: str, env: Mapping[str, str], folder: Path) -> Position | None:
    """Where the stream of a served table stands at its target, asked without knowing the table; None for a kind of
    store that cannot be asked so."""
    where = str(route.place or "headgate.yaml")
    ask = getattr(store_module(route.kind, where), "standing", None)
    if ask is None:
        return None
    options = resolve(dict(route.options), env, where) | {"_base": str(folder)}
    position: Position = ask(str(resolve(route.target, env, where)), options, table)
    return position


def _module(package: str, kind: str) -> Any:
    name = _SPELLINGS.get(kind, kind)
    if not _KIND.fullmatch(name):
        return None
    full = f"{package}.{name}"
    try:
        return importlib.import_module(full)
    except ModuleNotFoundError as cause:
        if cause.name != full:
            raise
    return next((found.load() for found in entry_points(group=package, name=name)), None)


def source_kinds() -> list[str]:
    """Kinds that can be read."""
    return _kinds("headgate.sources")


def _kinds(package: str) -> list[str]:
    import pkgutil

    ours = [m.name for m in pkgutil.iter_modules(importlib.import_module(package).__path__) if "_" not in m.name]
    spellings = [spelling for spelling, name in _SPELLINGS.items() if name in ours]
    return sorted({*ours, *spellings, *(e.name for e in entry_points(group=package))})


def lake_settings(settings: Settings, folder: Path, env: Mapping[str, str]) -> dict[str, Any]:
    """The lake's settings with paths made absolute."""
    warehouse = str(resolve(settings.lake.warehouse, env, "headgate.yaml"))
    return {"catalog": settings.lake.catalog, "warehouse": str((folder / Path(warehouse)).resolve())}


def open_lake(settings: Settings, folder: Path, env: Mapping[str, str]) -> Lake:
    """The project's lake, made when it does not exist."""
    from headgate.stores.iceberg import open_lake as open_iceberg

    return open_iceberg(lake_settings(settings, folder, env))


def registries(datasets: Sequence[Dataset], settings: Settings, env: Mapping[str, str]) -> dict[str, str]:
    """The schema registry of each dataset that has one. A variable that is not set stays as it is written: it is
    missed only by who needs the registry."""
    found = {}
    for dataset in datasets:
        mine = settings.datasets.get(dataset.name)
        given = (mine.read if mine else {}).get("registry")
        given = given or (dataset.servers[0].options.get("registry") if dataset.servers else None)
        if given:
            with suppress(MissingSecretError):
                given = resolve(given, env, "headgate.yaml")
            found[dataset.name] = str(given)
    return found


def largest(datasets: Sequence[Dataset], settings: Settings) -> dict[str, int]:
    """How large a message may be that is looked into, for each dataset that says so. What is no number is refused where
    the source is opened."""
    found = {}
    for dataset in datasets:
        mine = settings.datasets.get(dataset.name)
        given = (mine.read if mine else {}).get("max_message_bytes")
        given = given or (dataset.servers[0].options.get("max_message_bytes") if dataset.servers else None)
        if given is not None and str(given).isdecimal():
            found[dataset.name] = int(given)
    return found


def open_engine(
    settings: Settings, schema_registries: Mapping[str, str], largest_messages: Mapping[str, int]
) -> Engine:
    """The project's engine."""
    module = importlib.import_module(f"headgate.engines.{settings.engine}")
    places: dict[str, Any] = {
        "temp_directory": str(settings.state / "tmp"),
        "cache_directory": str(settings.state / "keys"),
    }
    if schema_registries:
        places |= {"schema_directory": str(settings.state / "schemas"), "registries": schema_registries}
    if largest_messages:
        places["largest"] = largest_messages
    engine: Engine = module.open_engine({**settings.engine_options, **places})
    return engine

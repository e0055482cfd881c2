"""headgate.yaml: where things run. Every setting has a default, and the file may be missing."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from headgate.contract.model import Place
from headgate.errors import ContractSyntaxError, UnknownKindError

FILE = "headgate.yaml"
CATALOGS = ("sqlite",)
ENGINES = ("duckdb",)
MODES = ("append", "upsert", "replace")  # as steps/serve.py knows them; importing it would import Arrow
TRANSPORTS = ("kafka",)
_ROUTE_KEYS = ("tables", "mode", "key", "name")
BUDGETS = ("stop", "hold")


@dataclass(frozen=True, slots=True)
class LakeSettings:
    """Where the tables are: `catalog` kind, `warehouse` folder or URL (relative to the project)."""

    catalog: str = "sqlite"
    warehouse: str = ".headgate/lake"


@dataclass(frozen=True, slots=True)
class UpkeepSettings:
    """How the lake is kept small and fast.

    `automatic`: runs do it by themselves, with at most `share` of their own time (and a second). So many files of like
    size (`fan`) become one, up to `target_mib`. Rows past their contract's retention go within runs only with
    `retire`: that cannot be undone. Expiry keeps at most `snapshots`, none older than `max_age_hours` if that is set,
    but always `min_snapshots`; and for `hold_hours` one that a target of `serve:` still stands at. What nobody names
    any more stays readable for `keep_hours`.
    """

    automatic: bool = True
    retire: bool = False
    share: float = 0.2
    fan: int = 8
    target_mib: int = 128
    snapshots: int = 30
    min_snapshots: int = 1
    max_age_hours: float | None = None
    hold_hours: float = 168.0
    keep_hours: float = 1.0


@dataclass(frozen=True, slots=True)
class TransportSettings:
    """What rows go through on their way to bronze: `kind` of store and source, a `server` of the contract, and options
    of both (`topic`, `partitions`, …) with their `${VAR}` not yet resolved."""

    kind: str
    server: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class DatasetSettings:
    """How one dataset is read: which server of its contract, the source's own settings, and what lies between."""

    server: str | None = None
    read: Mapping[str, Any] = field(default_factory=dict)
    transport: TransportSettings | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """One entry of `serve:`: tables of the lake and where they go. `kind` names the store; `target` and `options` have
    their `${VAR}` not yet resolved. `name` tells entries apart. `mode` None: as fits each table's layer."""

    kind: str
    target: str = field(repr=False)
    tables: tuple[str, ...]
    name: str
    mode: str | None = None
    key: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class ContinuousSettings:
    """How `run --continuous` works. A micro-batch is published after `batch_rows` rows, `batch_bytes` Arrow bytes or
    `batch_ms` milliseconds since its first row, whichever comes first; after half of them while one takes less than
    that to be landed and judged.

    A source that cannot wait for what comes next is asked each `poll_ms`, up to eight times as seldom while nothing
    comes. `ahead_batches` is how many micro-batches bronze may be ahead of silver before landing waits. Gold is built
    every `gold_ms`. `budget_s` is the time over which an error budget is counted; past it the run stops (`on_budget:
    stop`), or goes on with gold closed (`hold`).
    """

    batch_rows: int = 50_000
    batch_bytes: int = 32 << 20
    batch_ms: int = 500
    poll_ms: int = 250
    ahead_batches: int = 2
    gold_ms: int = 10_000
    budget_s: int = 60
    on_budget: str = "stop"


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """Where the metrics of a running process are shown: nowhere unless there is a `port` (0: any free one).

    Another `host` than this machine's own must be written here: the page has no password.
    """

    port: int | None = None
    host: str = "127.0.0.1"


LIMITS = ("lag_rows", "freshness_s", "quarantine_share", "no_data_s")


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """Limits of a run that goes on, and who is told when one is passed.

    `limits` are for every dataset, `datasets` those that one has beside or above them (None: no such limit). They are
    looked at each `every_s`. `log` is a file below the project's folder, `webhook` an address, `command` a program with
    its arguments; `${VAR}` are not yet resolved.
    """

    limits: Mapping[str, float | None] = field(default_factory=dict)
    datasets: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    every_s: float = 5.0
    log: str | None = ".headgate/alerts.ndjson"
    webhook: str | None = field(default=None, repr=False)
    command: Sequence[str] = field(default=(), repr=False)

    def of(self, dataset: str) -> dict[str, float]:
        """The limits of one dataset."""
        return {n: most for n, most in {**self.limits, **self.datasets.get(dataset, {})}.items() if most is not None}


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole file. `state` is the folder for run records and caches."""

    lake: LakeSettings = LakeSettings()
    engine: str = "duckdb"
    engine_options: Mapping[str, Any] = field(default_factory=dict)
    datasets: Mapping[str, DatasetSettings] = field(default_factory=dict)
    dataset_places: Mapping[str, Place] = field(default_factory=dict)
    serve: Sequence[Route] = ()
    continuous: ContinuousSettings = ContinuousSettings()
    metrics: MetricsSettings = MetricsSettings()
    alerts: AlertSettings = AlertSettings()
    upkeep: UpkeepSettings = UpkeepSettings()
    state: Path = Path(".headgate")


_KEYS = {
    "": ("lake", "engine", "engine_options", "datasets", "serve", "continuous", "metrics", "alerts", "upkeep"),
    "continuous": tuple(f.name for f in fields(ContinuousSettings)),
    "metrics": tuple(f.name for f in fields(MetricsSettings)),
    "lake": ("catalog", "warehouse"),
    "alerts": (*LIMITS, "every_s", "log", "webhook", "command"),
    "limits": LIMITS,
    "dataset": ("server", "read", "transport", "alerts"),
    "upkeep": tuple(f.name for f in fields(UpkeepSettings)),
    "engine_options": ("threads", "memory_limit"),
}


def load(folder: Path) -> Settings:
    """The project file of a folder, or all defaults. Raises ContractSyntaxError with file:line:column."""
    path = folder / FILE
    if not path.is_file():
        return Settings(state=folder / ".headgate")
    from headgate.contract.yaml_reader import read_yaml

    document = read_yaml(path, shown=FILE)
    value = document.value
    if value is None:
        return Settings(state=folder / ".headgate")
    reader = _Reader(document)
    reader.mapping((), value, "")
    lake = reader.mapping(("lake",), value.get("lake") or {}, "lake")
    reader.one_of(("lake", "catalog"), lake.get("catalog", "sqlite"), CATALOGS, "catalog")
    reader.one_of(("engine",), value.get("engine", "duckdb"), ENGINES, "engine")
    datasets, places = {}, {}
    for name, one in reader.mapping(("datasets",), value.get("datasets") or {}, None).items():
        settings = reader.mapping(("datasets", name), one or {}, "dataset")
        read = reader.mapping(("datasets", name, "read"), settings.get("read") or {}, None)
        transport = _transport(reader, ("datasets", name, "transport"), settings.get("transport"))
        datasets[name] = DatasetSettings(settings.get("server"), read, transport)
        places[name] = document.key_place(("datasets", name))
    return Settings(
        lake=LakeSettings(**lake),
        engine=value.get("engine", "duckdb"),
        engine_options=reader.mapping(("engine_options",), value.get("engine_options") or {}, "engine_options"),
        datasets=datasets,
        dataset_places=places,
        serve=_routes(reader, value.get("serve") or []),
        continuous=reader.continuous(value.get("continuous") or {}),
        metrics=reader.metrics(value.get("metrics") or {}),
        alerts=_alerts(reader, value.get("alerts") or {}, value.get("datasets") or {}),
        upkeep=_upkeep(reader, value.get("upkeep") or {}),
        state=folder / ".headgate",
    )


def _alerts(reader: _Reader, value: Any, datasets: Mapping[str, Any]) -> AlertSettings:
    """The section `alerts`, and what datasets have of it."""
    given = reader.mapping(("alerts",), value, "alerts")
    limits = _limits(reader, ("alerts",), given)
    own = {}
    for name, one in datasets.items():
        path = ("datasets", name, "alerts")
        own[name] = _limits(reader, path, reader.mapping(path, (one or {}).get("alerts") or {}, "limits"))
    rest = {name: one for name, one in given.items() if name not in LIMITS}
    if not _positive(rest.get("every_s", 5.0)):
        raise reader.wrong(("alerts", "every_s"), "every_s must be a number of seconds", "every_s: 5")
    for name in ("log", "webhook"):
        if not isinstance(rest.get(name, ""), str | None):
            raise reader.wrong(("alerts", name), f"{name} must be a text", "webhook: ${ALERT_URL}")
    command = rest.get("command") or []
    if not isinstance(command, list) or not all(isinstance(part, str) for part in command):
        raise reader.wrong(("alerts", "command"), "command must be a list of texts", "command: [bin/page-somebody]")
    return AlertSettings(limits, own, **rest)


def _limits(reader: _Reader, path: tuple[Any, ...], given: Mapping[str, Any]) -> dict[str, float | None]:
    limits = {name: given[name] for name in LIMITS if name in given}
    for name, most in limits.items():
        if most is not None and not (_positive(most) and (name != "quarantine_share" or most < 1)):
            example = "quarantine_share: 0.05" if name == "quarantine_share" else f"{name}: 60"
            raise reader.wrong((*path, name), f"{name} is {most!r}", example)
    return limits


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e15


def _transport(reader: _Reader, path: tuple[Any, ...], value: Any) -> TransportSettings | None:
    """`kafka`, or a mapping with `kind`."""
    if value is None:
        return None
    given = {"kind": value} if isinstance(value, str) else reader.mapping(path, value, None)
    kind, server = given.pop("kind", None), given.pop("server", None)
    if kind not in TRANSPORTS or not isinstance(server, str | None):
        raise reader.wrong(
            path, "a transport needs a kind that can carry rows", "transport: {kind: kafka, server: bus}"
        )
    return TransportSettings(kind, server, given)


def _routes(reader: _Reader, entries: Any) -> tuple[Route, ...]:
    """The entries of `serve:`; each begins with the kind of store and the target."""
    if not isinstance(entries, list):
        raise reader.wrong(("serve",), "serve must be a list", "- postgres: ${SERVE_URL}")
    routes = []
    for number, entry in enumerate(entries):
        path = ("serve", number)
        given = reader.mapping(path, entry, None)
        if not given or (kind := str(next(iter(given)))) in _ROUTE_KEYS:
            raise reader.wrong(path, "an entry of serve begins with its kind", "- postgres: ${SERVE_URL}")
        target, tables, mode = given.pop(kind), given.pop("tables", None), given.pop("mode", None)
        if not isinstance(target, str) or not target:
            raise reader.wrong((*path, kind), f"the target of {kind} must be a text", "- postgres: ${SERVE_URL}")
        if not isinstance(tables, list) or not tables or not all(isinstance(t, str) and t for t in tables):
            raise reader.wrong(path, "tables must be a list of names", "tables: [silver.orders, daily_revenue]")
        if mode is not None:
            reader.one_of((*path, "mode"), mode, MODES, "mode")
        key = given.pop("key", None) or []
        if not isinstance(key, list) or not all(isinstance(k, str) for k in key):
            raise reader.wrong((*path, "key"), "key must be a list of columns", "key: [day, country]")
        name = str(given.pop("name", kind))
        full = tuple(t if "." in t else f"gold.{t}" for t in tables)
        routes.append(Route(kind, target, full, name, mode, tuple(key), given, reader.document.place(path)))
    for number, route in enumerate(routes):
        twice = [t for t in route.tables if route.tables.count(t) > 1]
        twice += [t for other in routes[:number] if other.name == route.name for t in route.tables if t in other.tables]
        if twice:
            raise reader.wrong(
                ("serve", number), f"{twice[0]} is served twice by {route.name}", "give the entries a `name` each"
            )
    return tuple(routes)


_LEAST_MOST: Mapping[str, tuple[float, float]] = {
    "share": (0, 1),
    "fan": (2, 100),
    "target_mib": (1, 128),
    "snapshots": (1, 60),
    "min_snapshots": (1, 60),
    "max_age_hours": (0, 87_600),
    "hold_hours": (0, 8760),
    "keep_hours": (0, 8760),
}


def _upkeep(reader: _Reader, value: Any) -> UpkeepSettings:
    given = reader.mapping(("upkeep",), value, "upkeep")
    for name, one in given.items():
        whole = name in ("fan", "target_mib", "snapshots", "min_snapshots")
        fits = (
            isinstance(one, bool) if name in ("automatic", "retire") else isinstance(one, int if whole else int | float)
        )
        least, most = _LEAST_MOST.get(name, (0, 1))
        if not fits or (name in _LEAST_MOST and (isinstance(one, bool) or not least <= one <= most)):
            wanted = "true or false" if name not in _LEAST_MOST else f"a number from {least} to {most}"
            raise ContractSyntaxError(
                f"upkeep.{name} is {one!r}", where=str(reader.document.place(("upkeep", name))), hint=f"give {wanted}"
            )
    return UpkeepSettings(**given)


class _Reader:
    """Checks shapes and names, with places."""

    def __init__(self, document: Any) -> None:
        self.document = document

    def mapping(self, path: tuple[Any, ...], value: Any, keys: str | None) -> dict[str, Any]:
        """The mapping at a path, with only the keys of that section."""
        if not isinstance(value, dict):
            raise ContractSyntaxError(
                f"{'.'.join(path) or FILE} must be a mapping", where=str(self.document.place(path))
            )
        for key in value:
            if keys is not None and key not in _KEYS[keys]:
                near = difflib.get_close_matches(str(key), _KEYS[keys], 1)
                raise ContractSyntaxError(
                    f"unknown setting {key}",
                    where=str(self.document.key_place((*path, key))),
                    hint=f"did you mean {near[0]}?" if near else f"settings here: {', '.join(_KEYS[keys])}",
                )
        return dict(value)

    def wrong(self, path: tuple[Any, ...], message: str, example: str) -> ContractSyntaxError:
        """The error for a wrong shape, with its place and the right form."""
        return ContractSyntaxError(message, where=str(self.document.place(path)), hint=f"for example: {example}")

    def continuous(self, value: Any) -> ContinuousSettings:
        """The section `continuous`: whole numbers from 1 (gold_ms, poll_ms too), and what happens past a budget."""
        given = self.mapping(("continuous",), value, "continuous")
        for name, one in given.items():
            if name == "on_budget":
                self.one_of(("continuous", name), one, BUDGETS, name)
            else:
                self._whole(("continuous", name), one, 1, 1 << 40)
        return ContinuousSettings(**given)

    def metrics(self, value: Any) -> MetricsSettings:
        """The section `metrics`."""
        given = self.mapping(("metrics",), value, "metrics")
        if given.get("port") is not None:
            self._whole(("metrics", "port"), given["port"], 0, 65_535)
        return MetricsSettings(**given)

    def _whole(self, path: tuple[Any, ...], value: Any, least: int, most: int) -> None:
        if type(value) is not int or not least <= value <= most:
            raise ContractSyntaxError(
                f"{path[-1]} must be a whole number from {least} to {most}", where=str(self.document.place(path))
            )

    def one_of(self, path: tuple[Any, ...], value: Any, known: Sequence[str], what: str) -> None:
        """Refuse a kind that does not exist."""
        if value not in known:
            raise UnknownKindError(
                f"unknown {what} {value!r}", where=str(self.document.place(path)), hint=f"known: {', '.join(known)}"
            )

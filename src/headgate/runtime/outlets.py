"""What leaves the lake: each table of each entry of `serve:`, sent to its target as the last stage of a run."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headgate.errors import FixInputError, HeadgateError
from headgate.runtime.select import Node
from headgate.runtime.settings import Route

if TYPE_CHECKING:
    from headgate.ports.store import Cut, TableSpec, TableView
    from headgate.runtime.workspace import Workspace
    from headgate.steps.run import Run
    from headgate.steps.serve import Hold

TAG = "serve"
AT_ONCE = 4  # tables on their way: most of the time one waits for its target


@dataclass(frozen=True, slots=True)
class Outlet:
    """One table on its way to one target."""

    route: Route
    table: str

    @property
    def id(self) -> str:
        """The node that can be selected, such as `serve.postgres.silver.orders`."""
        return f"serve.{self.route.name}.{self.table}"

    @property
    def place(self) -> tuple[str, ...]:
        """Alike for tables that may end in one place; these are sent one after the other, so the second is refused by
        name."""
        named = self.route.options.get("schema") or self.route.options.get("topic")
        return (self.route.kind, str(named), self.table.partition(".")[2]) if named else (self.route.kind, self.table)


def outlets(project: Workspace) -> list[Outlet]:
    """Every table of every entry, in the order of the file. FixInputError for a table that no contract and no model
    makes."""
    found = []
    for route in project.settings.serve:
        for table in route.tables:
            _exist(project, route, table)
            found.append(Outlet(route, table))
    return found


def _exist(project: Workspace, route: Route, table: str) -> None:
    at, _, name = table.partition(".")
    known = {
        **{layer: [d.name for d in project.datasets] for layer in ("bronze", "silver", "quarantine", "ledger")},
        "gold": [m.name for m in project.models],
        "headgate": ["runs"],
    }
    if name not in known.get(at, ()):
        there = [f"{x}.{n}" for x in ("silver", "quarantine", "gold") for n in known[x]]
        raise FixInputError(
            f"serve names {table}, which nothing makes",
            where=str(route.place),
            hint=f"tables: {', '.join(there)}, also of bronze and ledger",
            stage="validate",
        )


def check_routes(project: Workspace) -> None:
    """FixInputError for an entry of `serve:` whose kind or tables do not exist. Asks no target."""
    from headgate.runtime.wire import store_module

    for one in outlets(project):
        store_module(one.route.kind, str(one.route.place))


def outlet_nodes(project: Workspace, nodes: Mapping[str, Node]) -> dict[str, Node]:
    """What can be selected: after the table that it sends, tagged `serve`."""
    made = {}
    for one in outlets(project):
        layer, _, name = one.table.partition(".")
        needs = f"silver.{name}" if layer in ("quarantine", "ledger") else one.table
        made[one.id] = Node(one.id, (needs,) if needs in nodes else (), (TAG,))
    return made


def serve_chosen(
    project: Workspace, chosen: Collection[str], run: Run
) -> tuple[list[dict[str, Any]], list[HeadgateError]]:
    """Serve the selected tables; a record for each, and the errors of those whose target failed.

    A target that fails keeps what it had and does not hold up the others.
    """
    by_place: dict[tuple[str, ...], list[Outlet]] = {}
    for one in outlets(project):
        if one.id in chosen:
            by_place.setdefault(one.place, []).append(one)
    if len(by_place) > 1:
        project.lake, project.engine  # noqa: B018 - made once, before threads ask for them

    def in_turn(wanted: list[Outlet]) -> list[tuple[dict[str, Any], HeadgateError | None]]:
        return [_served(project, one, run) for one in wanted]

    with ThreadPoolExecutor(min(AT_ONCE, len(by_place) or 1), "headgate-serve") as threads:
        told = list(chain.from_iterable(threads.map(in_turn, by_place.values())))
    return [record for record, _ in told], [error for _, error in told if error is not None]


def _served(project: Workspace, one: Outlet, run: Run) -> tuple[dict[str, Any], HeadgateError | None]:
    begun = time.perf_counter()
    record: dict[str, Any] = {"outlet": one.id, "table": one.table}
    failed: HeadgateError | None = None
    try:
        record |= serve_one(project, one, run)
    except HeadgateError as error:
        error.stage = error.stage or "serve"
        failed = error
        record["error"] = error.as_dict()
    record["seconds"] = round(time.perf_counter() - begun, 3)
    return record, failed


def serve_one(project: Workspace, one: Outlet, run: Run) -> dict[str, Any]:
    """Bring one target to the table's present state; what was sent, JSON-safe."""
    from headgate.runtime.wire import open_sink
    from headgate.steps.serve import serve

    view = project.lake.cut().table(one.table)
    if view is None:
        return nothing_served(one)
    mode, spec = _as(project, one, view)
    sink = open_sink(one.route, spec, mode, project.env, project.folder)
    try:
        hold, owner = _holder(project, one), owner_of(project.folder)
        return asdict(serve(view, spec, mode, sink, project.engine, run, hold=hold, owner=owner))
    finally:
        sink.close()


def _holder(project: Workspace, one: Outlet) -> Hold | None:
    """Tells the lake which snapshots a target stands at."""
    from headgate.ports.store import Keeps

    if not isinstance(project.lake, Keeps):
        return None
    return partial(project.lake.hold, one.id, one.table, keep_s=project.settings.upkeep.hold_hours * 3600)


def owner_of(folder: Path) -> str:
    """Names a project to others: its folder's name and host, and what tells equal names apart."""
    place = folder.resolve()
    apart = hashlib.sha256(f"{socket.gethostname()}:{place}".encode()).hexdigest()[:8]
    return f"{place.name}@{socket.gethostname()} ({apart})"


def nothing_served(one: Outlet) -> dict[str, Any]:
    """The record of a table whose target lacks nothing."""
    told = {"mode": _mode(one), "rows": 0, "removed": 0, "whole": None, "moved": False}
    return {"outlet": one.id, "table": one.table, **told}


def _mode(one: Outlet) -> str:
    from headgate.steps.serve import DEFAULT_MODES, UPSERT

    layer = one.table.partition(".")[0]
    return one.route.mode or (UPSERT if one.route.key else DEFAULT_MODES.get(layer, UPSERT))


def _as(project: Workspace, one: Outlet, view: TableView) -> tuple[str, TableSpec]:
    """The mode and the shape in which a table is served."""
    from headgate.steps.serve import served_spec, table_spec

    layer, _, name = one.table.partition(".")
    mode = _mode(one)
    dataset = next((d for d in project.datasets if d.name == name), None) if layer != "gold" else None
    model = next((m for m in project.models if m.table == one.table), None) if layer == "gold" else None
    return mode, served_spec(view, table_spec(view, dataset, model.description if model else ""), mode, one.route.key)


def state_of_outlets(project: Workspace, cut: Cut) -> list[dict[str, Any]]:
    """For `status`: each served table, and whether its target is behind. A target that does not answer is reported."""
    return [_state(project, one, cut) for one in outlets(project)]


def _state(project: Workspace, one: Outlet, cut: Cut) -> dict[str, Any]:
    from headgate.runtime.wire import open_sink
    from headgate.steps.serve import changed

    view = cut.table(one.table)
    told: dict[str, Any] = {"outlet": one.id, "table": one.table, "mode": one.route.mode, "state": "no table yet"}
    if view is None:
        return told | {"error": None}
    try:
        told["mode"], spec = _as(project, one, view)
        sink = open_sink(one.route, spec, told["mode"], project.env, project.folder)
        try:
            at = sink.position(one.table)
        finally:
            sink.close()
    except HeadgateError as error:
        return told | {"state": "unknown", "error": f"{error.code}: {error}"}
    state = "behind" if changed(view, at) else "current"
    return told | {"state": state if at.tokens else "never served", "error": None}


def why(project: Workspace, one: Outlet, cut: Cut, chosen: Collection[str]) -> str:
    """For `plan`: why a table would be sent."""
    if one.table in chosen or f"silver.{one.table.partition('.')[2]}" in chosen:
        return "what this run changes in it"
    return f"the target is {_state(project, one, cut)['state']}"

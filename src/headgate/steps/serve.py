"""Serve: a table of the lake as a source of changes for a sink outside of it.

The position of a served table is its snapshot, kept by the sink in the transaction that holds the rows. What changed
since is found from files: rows of those that were added, less the rows of those that were removed, compared as
wholes. So a file that was only rewritten sends nothing, and a row that was judged anew is sent though it kept its
coordinates.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from headgate import crash
from headgate.contract.model import Dataset
from headgate.contract.to_sql import quote
from headgate.errors import FixInputError, HeadgateError
from headgate.ports.batch import OFFSET, PARTITION, REMOVED, Batch, Position, served_token
from headgate.ports.engine import Engine
from headgate.ports.store import Replaces, Sink, TableSpec, TableView
from headgate.steps.part import Part
from headgate.steps.run import Run

APPEND, UPSERT, REPLACE = "append", "upsert", "replace"
MODES = (APPEND, UPSERT, REPLACE)
DEFAULT_MODES = {"bronze": APPEND, "gold": REPLACE, "headgate": APPEND}  # of a layer; upsert elsewhere
OWNER = "owner"  # beside the snapshot in a served table's position: the project that serves it
_ADDED, _GONE = "hg.added", "hg.gone"
Hold = Callable[[Collection[int]], None]


@dataclass(slots=True)
class Served:
    """What one serve step did with one table. `rows` were sent, `removed` of them taken away; `whole` says why the
    target was replaced as a whole, None when only changes were sent; `moved` whether anything was committed."""

    table: str
    mode: str
    rows: int = 0
    removed: int = 0
    whole: str | None = None
    moved: bool = False


def served_spec(view: TableView, spec: TableSpec | None, mode: str, key: tuple[str, ...] = ()) -> TableSpec:
    """The table as a sink should hold it: the columns it has now, and what tells its rows apart.

    That is the given `key`, else the spec's own, else the coordinates. FixInputError when rows are to be replaced by
    key and there is none, or the key names a column that is not there.
    """
    names = view.schema.names
    key = key or (spec.key if spec else ()) or ((PARTITION, OFFSET) if {PARTITION, OFFSET} <= set(names) else ())
    if missing := [name for name in key if name not in names]:
        raise FixInputError(
            f"the key names {missing[0]!r}, and the table has no such column",
            where=view.name,
            hint=f"columns: {', '.join(names)}",
            stage="serve",
        )
    if mode == UPSERT and not key:
        raise FixInputError(
            "rows cannot be replaced by key: the table has none",
            where=view.name,
            hint="say `key: [column, …]` beside `mode: upsert`, or use `mode: replace`",
            stage="serve",
        )
    asked = spec or TableSpec(view.name, view.schema)
    return replace(asked, name=view.name, schema=view.schema, key=key)


def token(view: TableView) -> str:
    """The state of a table as a position's token: which table, its snapshot, and the snapshot that brought its rows."""
    return served_token(view.table_id, view.snapshot_id, view.version)


def position_of(view: TableView, owner: str = "") -> Position:
    """Where a sink stands that holds the table as it is."""
    return Position({view.name: token(view), **({OWNER: owner} if owner else {})})


def stands_at(view: TableView, at: Position) -> set[int]:
    """The snapshot of this table that a sink at the position was brought to; empty when it was of none."""
    table, snapshot = (*at.tokens.get(view.name, "").split("/"), "")[:2]
    return {int(snapshot)} if table == view.table_id and snapshot else set()


def changed(view: TableView, at: Position) -> bool:
    """Whether a sink at this position lacks anything of the table."""
    return at.tokens.get(view.name) != token(view)


def serve(
    view: TableView,
    spec: TableSpec,
    mode: str,
    sink: Sink,
    engine: Engine,
    run: Run,
    *,
    hold: Hold | None = None,
    owner: str = "",
) -> Served:
    """Bring the sink to the table's present state, in one transaction of the sink.

    Rows come as changes since the sink's position; all of them when there is none yet. When the changes cannot be
    told (the snapshot has expired, the table was made anew) the sink's rows are replaced as a whole, and `whole` says
    why. Raises what the sink raises; the rows of the lake are never touched.

    `hold` is told which snapshots the sink may stand at, so that expiry lets them be: before its transaction the old
    and the new one, after it the new one. `owner` names the project: what another one serves from a lake of its own is
    refused.
    """
    done = Served(view.name, mode)
    start = sink.position(view.name)
    _refuse_anothers(view, start, owner)
    hold = hold if hold is not None and mode != REPLACE else _hold_nothing
    if not changed(view, start):
        hold(stands_at(view, start))
        return done
    hold(stands_at(view, start) | stands_at(view, position_of(view)))
    found = _Changes(view, spec, mode, start.tokens.get(view.name))
    done.whole = found.whole
    batches = _batches(engine, found, start, done, run, owner)
    if found.whole is None:
        done.rows = sink.commit(view.name, batches)
    elif isinstance(sink, Replaces):
        done.rows = sink.replace(view.name, batches)
    else:
        raise FixInputError(
            f"{found.whole}, and what this target holds cannot be replaced",
            where=view.name,
            hint="empty the target and its position by hand, then run again",
            stage="serve",
        )
    done.moved = True
    crash.point("serve: committed")
    with suppress(HeadgateError):  # the sink has its rows; the next run says it again
        hold(stands_at(view, position_of(view)))
    return done


def _hold_nothing(snapshots: Collection[int]) -> None:
    """Nobody asked."""


class _Changes:
    """The query that gives what a sink at a position lacks."""

    def __init__(self, view: TableView, spec: TableSpec, mode: str, at: str | None) -> None:
        self.view = view
        self.whole: str | None = None
        self.sql = f"SELECT * FROM {_sql_name(view.name)}"
        self.tables: Mapping[str, TableView] = {view.name: view}
        if at is None:
            return
        table, snapshot, version = (*at.split("/"), "", "")[:3]
        if table == view.table_id and version and version == str(view.version):
            self.sql += " LIMIT 0"  # files were rewritten, rows are the same: only the position moves
        elif table != view.table_id:
            self.whole = "the table was made anew"
        elif mode == REPLACE:
            self.whole = "the mode is replace"
        elif snapshot:
            changes = view.changes(int(snapshot))
            if changes is None:
                self.whole = "the snapshot that was served last has expired, or had other columns"
            else:
                self._between(spec, mode, *changes)

    def _between(self, spec: TableSpec, mode: str, added: Any, gone: Any) -> None:
        self.tables = {name: Part(name, self.view, paths) for name, paths in ((_ADDED, added), (_GONE, gone))}
        columns, new, old = self.view.schema.names, _sql_name(_ADDED), _sql_name(_GONE)
        self.sql = f"SELECT * FROM {new}"
        if gone:  # a row that stood in a removed file and is the same in an added one is nothing new
            self.sql += f" AS a ANTI JOIN {old} AS g ON {_equal(columns)}"
        if mode == UPSERT:
            taken = f"SELECT *, true AS {quote(REMOVED)} FROM {old} AS a ANTI JOIN {new} AS g ON {_equal(spec.key)}"
            self.sql = f"{taken} UNION ALL SELECT *, false AS {quote(REMOVED)} FROM ({self.sql})"


def _equal(columns: Any) -> str:
    return " AND ".join(f"a.{quote(name)} IS NOT DISTINCT FROM g.{quote(name)}" for name in columns)


def _sql_name(table: str) -> str:
    layer, _, name = table.partition(".")
    return f"{quote(layer)}.{quote(name)}"


def _refuse_anothers(view: TableView, at: Position, owner: str) -> None:
    """A table made anew is its own project's to replace; the table of a lake that somebody else has is not."""
    held, served = at.tokens.get(OWNER), at.tokens.get(view.name)
    if not owner or not held or not served or held == owner or served.partition("/")[0] == view.table_id:
        return
    raise FixInputError(
        f"it is served there from another lake, by project {held}",
        where=view.name,
        hint="serve it elsewhere (another schema, topic or folder); if that lake is gone, drop the table there",
        stage="serve",
    )


def _batches(engine: Engine, found: _Changes, start: Position, done: Served, run: Run, owner: str) -> Iterator[Batch]:
    """The rows of the query in the table's own types, then the position behind them all."""
    reader = engine.query(found.sql, found.tables)
    schema = found.view.schema.remove_metadata()
    if REMOVED in reader.schema.names:
        schema = schema.append(pa.field(REMOVED, pa.bool_(), nullable=False))
    rows = 0
    for batch in reader:
        if not batch.num_rows:
            continue
        arrays = [batch.column(name).cast(schema.field(name).type) for name in schema.names]
        if REMOVED in schema.names:
            flags: Any = batch.column(REMOVED)
            done.removed += flags.true_count
        rows += batch.num_rows
        yield Batch(pa.RecordBatch.from_arrays(arrays, schema=schema), start, None)
        run.tell("serve", dataset=done.table, rows=rows)
    nothing = pa.RecordBatch.from_pylist([], schema=schema)
    yield Batch(nothing, start, position_of(found.view, owner))


def table_spec(view: TableView, dataset: Dataset | None, comment: str) -> TableSpec | None:
    """What the contract says of a table of the lake beyond its columns; None when it says nothing."""
    from headgate.steps.layers import specs

    layer = view.name.partition(".")[0]
    if dataset is not None and layer in ("silver", "quarantine", "ledger"):
        return specs(dataset, view.schema)[layer]
    return TableSpec(view.name, view.schema, comment=comment)

"""Derive: gold models in the order of their references; all that changed is published together."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from graphlib import CycleError, TopologicalSorter
from typing import Any

import pyarrow as pa

from headgate import crash
from headgate.contract.to_sql import literal, quote
from headgate.errors import FixInputError
from headgate.ports.batch import Position
from headgate.ports.engine import Engine, Output
from headgate.ports.store import Cut, FileInfo, Lake, Publication, TableSpec, TableView
from headgate.steps.part import file_info
from headgate.steps.run import Run

BUILT = "built"  # a gold table's fact: the run that built it
_DAY_OF = re.compile(r'"?([A-Za-z_][A-Za-z0-9_]*)"?::date')


@dataclass(frozen=True, slots=True)
class Model:
    """One gold table: a query, and how it is kept. `incremental` names the column whose values are rebuilt when
    source rows with that value of `over` changed; `source` is the table that `over` reads (`silver.orders`)."""

    name: str
    sql: str
    file: str
    description: str = ""
    tags: tuple[str, ...] = ()
    incremental: str | None = None
    over: str | None = None
    source: str | None = None

    @property
    def table(self) -> str:
        """The gold table."""
        return f"gold.{self.name}"

    @property
    def fingerprint(self) -> str:
        """Changes when the query or the way it is kept changes."""
        text = json.dumps([self.sql, self.incremental, self.over, self.source])
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(slots=True)
class Derived:
    """What one derive step did."""

    built: dict[str, int] = field(default_factory=dict)  # model -> rows of the table
    kept: list[str] = field(default_factory=list)
    partly: dict[str, int] = field(default_factory=dict)  # model -> values of its incremental column rebuilt


class _Fresh:
    """A gold table as this publication will leave it: what later models of the same run read."""

    def __init__(self, name: str, schema: pa.Schema, files: Sequence[FileInfo], built: str | None = None) -> None:
        self.name, self.schema, self._files, self._built = name, schema, files, built
        self.snapshot_id: int | None = None
        self.version: int | None = None
        self.sort: Sequence[str] = ()
        self.table_id = ""
        self.properties: Mapping[str, str] = {}

    def files(self, after_sequence: int = 0) -> Sequence[FileInfo]:
        return [f for f in self._files if f.sequence > after_sequence or not after_sequence]

    def rows(self) -> int:
        return sum(f.rows for f in self._files)

    def snapshots(self) -> int:
        return 0

    def position(self, stream: str) -> Position:  # noqa: ARG002
        return Position.start()

    def facts(self, name: str) -> str | None:
        return self._built if name == BUILT else None

    def changes(self, since_snapshot_id: int) -> tuple[Sequence[str], Sequence[str]] | None:  # noqa: ARG002
        return None

    def field_ids(self) -> Mapping[str, Any]:
        return {}


def state_of(view: TableView) -> str:
    """What a model's input was: the run that built it when it is a model itself, else the version of its rows."""
    return view.facts(BUILT) or str(view.version)


def ordered(models: Sequence[Model], engine: Engine) -> list[tuple[Model, list[str]]]:
    """The models, each after those it reads, with the tables it reads (`layer.table`).

    Raises FixInputError for a circle, naming it.
    """
    names = {m.name: m for m in models}
    reads: dict[str, list[str]] = {}
    for model in models:
        tables = []
        for reference in engine.references(model.sql):
            layer, _, name = reference.rpartition(".")
            tables.append(f"{layer or 'gold'}.{name}")
        reads[model.name] = tables
    graph = {
        n: {t.removeprefix("gold.") for t in tables if t.removeprefix("gold.") in names and t.startswith("gold.")}
        for n, tables in reads.items()
    }
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as cause:
        circle = " -> ".join(cause.args[1])
        raise FixInputError(
            f"models read each other in a circle: {circle}",
            where=names[cause.args[1][0]].file,
            hint="let one of them read silver instead",
        ) from cause
    return [(names[n], reads[n]) for n in order]


def derive(
    models: Sequence[Model], lake: Lake, engine: Engine, run: Run, *, rebuild: bool = False, cut: Cut | None = None
) -> Derived:
    """Build what changed: a model runs when its query or a table that it reads changed since it was built. Models see
    the tables as of `cut` (default: now)."""
    derived = Derived()
    if not models:
        return derived
    cut = cut or lake.cut()
    with lake.publication("derive") as publication:
        tables: dict[str, TableView] = {n: v for n in cut.names() if (v := cut.table(n)) is not None}
        fresh: set[str] = set()
        for model, reads in ordered(models, engine):
            _exist(model, reads, tables)
            inputs = json.dumps({t: state_of(tables[t]) for t in reads}, sort_keys=True)
            held = cut.table(model.table)
            same = held is not None and held.facts("model") == model.fingerprint
            if same and held and not rebuild and held.facts("inputs") == inputs:
                derived.kept.append(model.name)
                continue
            built = _Build(model, tables, held if same and not rebuild else None, publication, engine)
            files = built.run(fresh, anew=rebuild)
            tables[model.table] = _Fresh(model.table, built.schema, files, run.id)
            fresh.add(model.table)
            publication.note_fact(model.table, "model", model.fingerprint)
            publication.note_fact(model.table, "inputs", inputs)
            publication.note_fact(model.table, BUILT, run.id)
            derived.built[model.name] = sum(f.rows for f in files)
            if built.values is not None:
                derived.partly[model.name] = built.values
            run.tell("derive", model=model.name, rows=derived.built[model.name])
        if derived.built:
            publication.note({"run": run.id, "models": derived.built})
            crash.point("derive: files written, not published")
            publication.commit()
    return derived


def _exist(model: Model, reads: Sequence[str], tables: Mapping[str, TableView]) -> None:
    for table in reads:
        if table not in tables:
            known = ", ".join(sorted(tables)) or "none yet"
            raise FixInputError(
                f"model {model.name} reads {table}, which does not exist",
                where=model.file,
                hint=f"tables: {known}",
                stage="derive",
            )


class _Build:
    """One model's new files."""

    def __init__(
        self,
        model: Model,
        tables: Mapping[str, TableView],
        held: TableView | None,
        publication: Publication,
        engine: Engine,
    ) -> None:
        self.model, self.tables, self.publication, self.engine = model, tables, publication, engine
        self.held = held
        self.present = tables.get(model.table)
        self.schema = engine.describe(model.sql, tables)
        self.values: int | None = None

    def run(self, fresh: set[str], *, anew: bool) -> list[FileInfo]:
        """Write the model's files and say what the table holds afterwards. `anew`: whatever columns it had."""
        spec = TableSpec(self.model.table, _nullable(self.schema), comment=self.model.description)
        view = self.publication.replace(spec) if anew else self.publication.ensure(spec)
        output = Output(self.publication.folder(spec.name), view.schema, view.field_ids())
        sql, tables = self._changed_only(fresh) or (self.model.sql, self.tables)
        paths = list(self.engine.derive(sql, tables, output))
        self.publication.expect(spec.name, self.present.version if self.present else None)
        if self.present is not None and not anew:
            self.publication.clear(spec.name)
        self.publication.append(spec.name, paths)
        return [file_info(path) for path in paths]

    def _changed_only(self, fresh: set[str]) -> tuple[str, Mapping[str, TableView]] | None:
        """The query that keeps unchanged values of the incremental column and recomputes the others, with the
        tables it needs; None when the whole model must be built."""
        model, held = self.model, self.held
        if held is None or not model.incremental or not model.over or not model.source or model.source in fresh:
            return None
        source = self.tables[model.source]
        before = json.loads(held.facts("inputs") or "{}")
        if any(source_name != model.source for source_name in before) or model.source not in before:
            return None  # it reads other tables too: a change of those may touch any value
        changes = source.changes(int(before[model.source])) if before[model.source] != "None" else None
        if changes is None:
            return None
        values = self._values([*changes[0], *changes[1]], model.over, source.schema)
        self.values = len(values)
        kept = f"select * from gold.{quote(model.name)}"
        if not values:
            return kept, self.tables
        column, listed = quote(model.incremental), ", ".join(literal(v) for v in values)
        inner = model.sql.strip().rstrip(";")
        sql = (
            f"{kept} where {column}::varchar not in ({listed})\nunion all by name\n"
            f"select * from (\n{inner}\n) where {column}::varchar in ({listed})"
        )
        near = _Fresh(source.name, source.schema, _holding(source.files(), model.over, values))
        return sql, {**self.tables, model.source: near}

    def _values(self, paths: Sequence[str], over: str, schema: pa.Schema) -> list[str]:
        """The values of the incremental column in these files, as text, sorted."""
        if not paths:
            return []
        view = _Fresh("changed.rows", schema, [file_info(p) for p in paths])
        reader = self.engine.query(f"select distinct ({over})::varchar as v from changed.rows", {view.name: view})
        return sorted(v for v in reader.read_all()["v"].to_pylist() if v is not None)


def _holding(files: Sequence[FileInfo], over: str, values: Sequence[str]) -> Sequence[FileInfo]:
    """The files that may hold rows of these days. Only `column::date` is understood; else all files."""
    match = _DAY_OF.fullmatch(over.strip())
    if match is None:
        return files
    column = match[1]
    first, last = date.fromisoformat(values[0]), date.fromisoformat(values[-1])
    chosen = []
    for info in files:
        low, high = info.lower.get(column), info.upper.get(column)
        if isinstance(low, datetime) and isinstance(high, datetime) and (low.date() > last or high.date() < first):
            continue
        chosen.append(info)
    return chosen


def _nullable(schema: pa.Schema) -> pa.Schema:
    return pa.schema([pa.field(f.name, f.type, nullable=True) for f in schema])

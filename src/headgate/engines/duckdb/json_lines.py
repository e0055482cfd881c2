"""Raw JSON bronze: quick ways for lines that surely fit, careful reading for the rest.

0. rows      a compiled decoder, where there is one, reads lines into typed columns; what it does not take goes on
1. gate      msgspec decodes every line against the contract's types; what it refuses is set apart
2. numbers   lines with numbers too long for a float are set apart, unless the float prints the same
3. columns   DuckDB reads what is left, once, into typed columns, and checks the rules that the gate has not
4. care      what was set apart or breaks a rule is read again, exactly, for its values or its reasons

Steps 1 to 3 of few lines, and step 4, are not done at once but when many lines wait. What a line becomes does not
depend on the way that it went.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from headgate.contract.model import Dataset
from headgate.contract.to_arrow import arrow_type
from headgate.contract.to_sql import literal
from headgate.engines.duckdb import json_columns
from headgate.engines.duckdb.arrays import Array, Query, by_number, compute, fetch, pick, take
from headgate.engines.duckdb.decoded import (
    DROPPED_SCHEMA,
    REASON_TYPE,
    REFUSED_SCHEMA,
    Decoded,
    joined,
    take_dropped,
    warned,
    without_marks,
)
from headgate.engines.duckdb.json_careful import CarefulReader, Read
from headgate.engines.duckdb.json_columns import OBJECT, TEXT
from headgate.engines.duckdb.json_gate import REFUSALS, Gate
from headgate.engines.duckdb.json_native import native_rows
from headgate.engines.duckdb.json_numbers import lines_with_long_numbers, number_names, survives
from headgate.engines.duckdb.judgement import REFUSED, ROW, SOURCE, Judgement, build
from headgate.engines.duckdb.reasons import Reasons
from headgate.engines.duckdb.typed import transform_type
from headgate.errors import DefectError
from headgate.ports.batch import INGESTED_AT, OFFSET, ORIGINAL, PARTITION, RAW

_LINES = "hg_lines"
_PRESENT = f"FROM {_LINES} WHERE strlen({TEXT}) > 0"
_KEPT = [PARTITION, OFFSET, INGESTED_AT, RAW]
_MANY = 4096  # lines that are worth the statements of steps 1 to 3
_MOST_FAILURES = 2  # of the strict reading in a row, after which it is not tried any more


@dataclass(slots=True)
class _Apart:
    """Lines that need care: number -> the gate's refusal, or None when it let them through."""

    lines: dict[int, str | None] = field(default_factory=dict)


class JsonDecoder:
    """Decodes pieces of JSON lines of one dataset."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, dataset: Dataset) -> None:
        self.connection, self.dataset = connection, dataset
        unknown = str(dataset.properties.get("unknown_fields") or "refuse")
        self.keys = json_columns.transform_keys(connection, dataset)
        self.gate = Gate(dataset, self.keys, unknown=unknown)
        self.careful = CarefulReader(dataset, self.keys, unknown=unknown)
        self.rows = native_rows(connection, dataset, unknown=unknown)
        self.number_names, self.in_arrays, self.wide_decimals = number_names(dataset, self.keys)
        structure = literal(json_columns.structure(dataset))
        transforms = self._transforms()
        columns = json_columns.columns(dataset, transforms)
        texts = json_columns.key_texts(self.keys)
        seen = f"{ROW}, {TEXT}{texts}"
        strict = f"(SELECT {seen}, json_transform_strict({TEXT}, {structure}) AS {OBJECT} {_PRESENT})"
        lenient = f"(SELECT {seen}, json_transform({TEXT}, {structure}) AS {OBJECT} {_PRESENT})"
        self.strict = build(dataset, columns, versioned=False, proven=self.gate.proven, relation=strict)
        self.lenient = build(dataset, columns, versioned=False, proven=self.gate.proven, relation=lenient)
        self.exact = build(dataset, json_columns.own_columns(dataset, transforms), versioned=False)
        quick = json_columns.columns(dataset, transforms, vanished=False)
        self.quick = build(dataset, quick, versioned=False, proven=self.gate.proven, relation=strict)
        self._numeric = [f.name for f in dataset.fields if columns[f.name].column.bad != quick[f.name].column.bad]
        self._tiny = False  # numbers next to nothing have been seen
        self._quick, self._strict, self._lenient, self._exact = (
            Query(connection, one.select) for one in (self.quick, self.strict, self.lenient, self.exact)
        )
        self._reasons = Reasons(connection, self.exact)
        self._rules = {rule.id: rule for rule in reversed(dataset.rules)}
        self.key_lists = json_columns.key_lists(dataset, self.keys)
        self._closed = unknown != "ignore"
        self._failures = 0
        self._none: pa.Table | None = None
        self._untaken: list[pa.Table] = []
        self._waiting: list[pa.Table] = []
        self._refusals: list[str | None] = []

    def decode(self, table: pa.Table) -> Decoded:
        """The rows of a bronze table, judged; but for those that wait."""
        if not table.num_rows:
            return self._nothing(table)
        if self.rows is None:
            return self._by_texts(table)
        judged, taken = self.rows.read(_chunked(table[RAW]))
        apart = _Apart()
        decoded = self._sorted_out(table, judged, self.rows.judgement, np.flatnonzero(taken), apart)
        self._set_aside(table, apart)
        if taken.all():
            return decoded
        rest = pick(table.select(_kept(table)), ~taken)
        if rest.num_rows >= _MANY:
            return joined([decoded, self._by_texts(rest)])
        self._untaken.append(rest)
        return decoded

    def _by_texts(self, table: pa.Table) -> Decoded:
        """Steps 1 to 3. Chunks go through steps 1 and 2 one by one, while they are in the processor's cache, and
        through step 3 together: to plan a statement takes as long as thousands of its rows."""
        raw, apart, first = _chunked(table[RAW]), _Apart(), 0
        for chunk in raw.chunks:
            data, offsets = _buffers(chunk)
            self._gate(data, offsets, first, apart)
            self._set_long_numbers_apart(data, offsets, first, apart)
            first += len(chunk)
        judged, judgement = self._columns(raw, apart)
        if judged.num_rows + len(apart.lines) != table.num_rows:
            raise DefectError("lines were lost while typing them")
        decoded = self._sorted_out(table, judged, judgement, judged[ROW].to_numpy(), apart)
        self._set_aside(table, apart)
        return decoded

    def _sorted_out(
        self, table: pa.Table, judged: pa.Table, judgement: Judgement, numbers: np.ndarray, apart: _Apart
    ) -> Decoded:
        """Judged rows, which come from the lines of these numbers; what is refused is set apart."""
        refused = judged[REFUSED].to_numpy()
        apart.lines.update(dict.fromkeys(numbers[refused].tolist()))
        keep, coordinates = ~refused, _coordinates(table, numbers)
        dropped = take_dropped(judged, judgement, coordinates, keep)
        counted = warned(judged, judgement, keep)
        return Decoded(without_marks(judged, coordinates), keep, REFUSED_SCHEMA.empty_table(), dropped, counted)

    def _set_aside(self, table: pa.Table, apart: _Apart) -> None:
        """Careful reading waits until there are many lines: its statements cost more than its lines."""
        numbers = sorted(apart.lines)
        if numbers:
            chosen = np.zeros(table.num_rows, bool)
            chosen[numbers] = True
            self._waiting.append(pick(table.select(_kept(table)), chosen))
            self._refusals.extend(apart.lines[n] for n in numbers)

    def _transforms(self) -> dict[str, pa.DataType]:
        """The types of transforms over the texts that they read."""
        texts = pa.schema([pa.field(key, pa.string()) for key in self.keys])
        fields = [f for f in self.dataset.fields if f.transform is not None]
        return {f.name: transform_type(self.connection, texts, f, self.dataset) for f in fields}

    @property
    def waiting(self) -> int:
        """How many lines wait."""
        return len(self._refusals) + sum(lines.num_rows for lines in self._untaken)

    def careful_rest(self) -> Decoded:
        """What remains to be done for all lines that wait."""
        parts = []
        if self._untaken:
            lines, self._untaken = _together(self._untaken), []
            parts.append(self._by_texts(lines))
        if self._refusals:
            lines, refusals = _together(self._waiting), self._refusals
            self._waiting, self._refusals = [], []
            parts.append(self._care(lines, refusals))
        return joined(parts)

    def _gate(self, data: np.ndarray, offsets: np.ndarray, first: int, apart: _Apart) -> None:
        """Step 1 for a chunk whose lines are numbered from `first` on."""
        decode, view = self.gate.decode, _view(data)
        edges = offsets.tolist()
        start = edges[0]
        for number, stop in enumerate(edges[1:], first):
            try:
                decode(view[start:stop])
            except REFUSALS as problem:
                apart.lines[number] = str(problem)
            start = stop

    def _set_long_numbers_apart(self, data: np.ndarray, offsets: np.ndarray, first: int, apart: _Apart) -> None:
        """Step 2 for a chunk."""
        if not self.number_names:
            return
        view = _view(data)
        for number in lines_with_long_numbers(data, offsets, in_arrays=self.in_arrays).tolist():
            if first + number not in apart.lines:
                line = bytes(view[offsets[number] : offsets[number + 1]])
                if self.wide_decimals or not survives(line, self.number_names):
                    apart.lines[first + number] = None

    def _columns(self, raw: Array, apart: _Apart) -> tuple[pa.Table, Judgement]:
        """Step 3. Lines set apart are NULL in the bitmap, so nothing is copied."""
        self._register(raw, apart)
        try:
            if self._failures < _MOST_FAILURES:
                try:
                    judged = self._strictly()
                except (duckdb.Error, UnicodeDecodeError):
                    # A key is missing or comes twice somewhere. DuckDB's message quotes the line, maybe cut inside a
                    # character, and then cannot be read itself.
                    self._failures += 1
                else:
                    self._failures = 0
                    return judged, self.strict
            try:
                return self._leniently(raw, apart), self.lenient
            except (duckdb.Error, UnicodeDecodeError):
                # The gate lets through only what DuckDB can read. Should it ever not be so, no line is lost by it.
                apart.lines.update(dict.fromkeys(n for n in range(len(raw)) if n not in apart.lines))
                return self._leniently(raw, apart), self.lenient
        finally:
            self.connection.unregister(_LINES)

    def _register(self, raw: Array, apart: _Apart) -> None:
        texts = _as_texts(raw, apart.lines)
        self.connection.register(_LINES, pa.table({ROW: np.arange(len(raw), dtype=np.int64), TEXT: texts}))

    def _strictly(self) -> pa.Table:
        """Lines in which every key is there once. Whether numbers are next to nothing is told from all of them
        together; only where some are (a price of 0 is one) does SQL look into each list of numbers."""
        if not self._tiny:
            judged = self._quick.fetch()
            self._tiny = json_columns.next_to_nothing(judged, self._numeric)
            if not self._tiny:
                return judged
        return self._strict.fetch()

    def _leniently(self, raw: Array, apart: _Apart) -> pa.Table:
        """Lines in which keys may be missing; those in which keys come twice are set apart first."""
        self._register(raw, apart)
        if repeated := self._repeated():
            apart.lines.update(dict.fromkeys(repeated))
            self._register(raw, apart)
        return self._lenient.fetch()

    def _repeated(self) -> list[int]:
        """Numbers of lines in which some object has a key twice that is not ignored."""
        rows: set[int] = set()
        for keys, known in self.key_lists:
            shapes = fetch(self.connection, f"SELECT DISTINCT {keys} AS shape {_PRESENT}")
            counting = None if self._closed else known
            bad = [_repeats(shape, counting) for shape in shapes["shape"].to_pylist()]
            if any(bad):
                self.connection.register("hg_shapes", pick(shapes, np.array(bad)))
                found = fetch(
                    self.connection,
                    f"SELECT {ROW} FROM (SELECT {ROW}, {keys} AS shape {_PRESENT}) SEMI JOIN hg_shapes USING (shape)",
                )
                rows.update(found[ROW].to_numpy().tolist())
                self.connection.unregister("hg_shapes")
        return sorted(rows)

    def _care(self, lines: pa.Table, refusals: Sequence[str | None]) -> Decoded:
        raw = lines[RAW].to_pylist()
        reads = [self.careful.read(line, why) for line, why in zip(raw, refusals, strict=True)]
        whole = np.array([read.whole for read in reads])
        some = [read for read in reads if read.whole]
        source = self._source(pick(lines, whole), some)
        reasons: list[Any] = self._reasons.of(source).to_pylist()
        for read, more in zip(some, reasons, strict=True):
            read.reasons.extend(r for r in more if not self._follows(r, read.bad_paths))
        bad = np.array([bool(read.reasons) for read in reads])
        judged = self._exactly(pick(source, ~bad[whole]))
        coordinates, keep = pick(lines, ~bad), np.ones(judged.num_rows, bool)
        dropped = take_dropped(judged, self.exact, coordinates, keep)
        return Decoded(
            without_marks(judged, coordinates),
            keep,
            _refused(pick(lines, bad), [r for r in reads if r.reasons]),
            dropped,
            warned(judged, self.exact, keep),
        )

    def _follows(self, reason: Mapping[str, Any], bad_paths: set[str]) -> bool:
        """Whether a rule fails only because a value could not be read, which is a reason of its own: a required field
        that is then missing, a checksum over a field that is then not whole."""
        rule = self._rules.get(reason["rule"])
        if rule is None or not bad_paths:
            return False
        if rule.check == "checksum":
            of = str(rule.argument["of"])
            return any(path == of or path.startswith((f"{of}.", f"{of}[")) for path in bad_paths)
        return rule.check == "required" and reason["field"] in bad_paths

    def _source(self, lines: pa.Table, reads: Sequence[Read]) -> pa.Table:
        """The relation of carefully read values: a typed column per field, a text per standardised one."""
        columns: dict[str, Any] = {ROW: pa.array(np.arange(len(reads), dtype=np.int64))}
        for one in self.dataset.fields:
            if one.transform is not None:
                continue
            if one.standardise:
                columns[json_columns.own(one)] = pa.array([r.texts[one.name] for r in reads], pa.string())
            else:
                columns[json_columns.own(one)] = pa.array([r.values[one.name] for r in reads], arrow_type(one.type))
        source = pa.table(columns)
        if not self.keys:
            return source
        lines = pa.table({ROW: columns[ROW], TEXT: lines[RAW].cast(pa.string())})
        self.connection.register(_LINES, lines)
        texts = fetch(self.connection, f"SELECT {json_columns.key_texts(self.keys)[2:]} FROM {_LINES} ORDER BY {ROW}")
        self.connection.unregister(_LINES)
        for key in self.keys:
            source = source.append_column(key, texts[key])
        return source

    def _exactly(self, source: pa.Table) -> pa.Table:
        """Values that were read with care, judged. Of no rows, as where every line was broken, once and for all."""
        if not source.num_rows and self._none is not None:
            return self._none
        self.connection.register(SOURCE, source)
        found = self._exact.fetch()
        self.connection.unregister(SOURCE)
        judged = by_number(found, ROW, source[ROW].to_numpy())
        if judged is None:
            raise DefectError("the engine lost lines while judging them")
        self._none = judged.schema.empty_table()
        return judged

    def _nothing(self, table: pa.Table) -> Decoded:
        rows = without_marks(self._exactly(self._source(table.slice(0, 0), [])), table.slice(0, 0))
        return Decoded(rows, np.empty(0, bool), REFUSED_SCHEMA.empty_table(), DROPPED_SCHEMA.empty_table(), Counter())


def _kept(table: pa.Table) -> list[str]:
    """The columns that lines need while they wait."""
    return [*_KEPT, ORIGINAL] if ORIGINAL in table.column_names else _KEPT


def _together(tables: Sequence[pa.Table]) -> pa.Table:
    return pa.concat_tables(tables, promote_options="default")


def _repeats(shape: Any, counting: Collection[str] | None) -> bool:
    """Whether a list of keys, or one of the lists in it, has a key twice: one of those that count, if not all do."""
    if not shape:
        return False
    if isinstance(shape[0], list) or shape[0] is None:
        return any(_repeats(one, counting) for one in shape)
    keys = shape if counting is None else [key for key in shape if key in counting]
    return len(set(keys)) < len(keys)


def _buffers(raw: Array) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of a binary array and the edges of its values within them, without copying."""
    _, edges, data = raw.buffers()
    offsets = np.frombuffer(edges, np.int32)[raw.offset : raw.offset + len(raw) + 1]
    return np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8), offsets


def _chunked(raw: Array) -> Array:
    """The column as plain binary chunks, none of them empty."""
    return pa.chunked_array([chunk for chunk in raw.cast(pa.binary()).chunks if len(chunk)], pa.binary())


def _view(data: np.ndarray) -> memoryview:
    readable: Any = data
    return memoryview(readable)


def _as_texts(raw: Array, apart: Collection[int]) -> Array:
    """The same bytes as texts (the gate has proven them), with the lines set apart as NULL."""
    keep = np.ones(len(raw), bool)
    keep[np.fromiter(apart, np.int64, len(apart))] = False
    texts, first = [], 0
    for chunk in raw.chunks:
        there = np.ones(chunk.offset + len(chunk), bool)
        there[chunk.offset :] = keep[first : first + len(chunk)]
        first += len(chunk)
        bitmap = pa.py_buffer(np.packbits(there, bitorder="little").tobytes())
        buffers = [bitmap, *chunk.buffers()[1:]]
        texts.append(pa.Array.from_buffers(pa.string(), len(chunk), buffers, offset=chunk.offset))
    return pa.chunked_array(texts, pa.string())


def _coordinates(table: pa.Table, rows: np.ndarray) -> pa.Table:
    """The coordinates of some rows."""
    offsets = pa.array(table[OFFSET].to_numpy()[rows])
    partition: Any = compute.min_max(table[PARTITION]).as_py()
    if partition["min"] == partition["max"]:
        return pa.table({PARTITION: pa.repeat(pa.scalar(partition["min"], pa.string()), len(rows)), OFFSET: offsets})
    return take(table.select([PARTITION, OFFSET]), rows)


def _refused(lines: pa.Table, reads: Sequence[Read]) -> pa.Table:
    if not reads:
        return REFUSED_SCHEMA.empty_table()
    raw = compute.coalesce(lines[ORIGINAL], lines[RAW]) if ORIGINAL in lines.column_names else lines[RAW]
    return pa.table(
        [
            lines[PARTITION],
            lines[OFFSET],
            lines[INGESTED_AT],
            raw.cast(pa.binary()),
            pa.array([r.reasons for r in reads], REASON_TYPE),
        ],
        schema=REFUSED_SCHEMA,
    )

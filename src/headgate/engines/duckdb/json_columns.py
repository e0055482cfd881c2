"""What DuckDB makes of a line that has passed the gate: the structure to read it with, and the typed columns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from headgate.contract.model import Dataset, Field, Kind, Type
from headgate.contract.sql_columns import exact
from headgate.contract.sql_names import item_of, key_of
from headgate.contract.to_sql import Column, column, duckdb_type, literal, quote
from headgate.engines.duckdb.arrays import compute, leaves, whole
from headgate.engines.duckdb.judgement import FALSE, SourceColumn

TEXT = "hg_text"  # the column that holds the line
OBJECT = "hg_object"  # the column that holds the line read
_SAFE_DIGITS = 15
_TINY = 1e-290  # greater than all floats whose text may lose digits, or be another number's


def structure(dataset: Dataset) -> str:
    """The structure for json_transform: numbers that become decimals are read as floats, times as texts."""
    return json.dumps({f.source_name: _wire(f) for f in dataset.fields if f.transform is None})


def _wire(field: Field) -> Any:
    if field.standardise:
        return "VARCHAR"
    return _wire_type(field.type)


def _wire_type(of: Type) -> Any:
    match of.kind:
        case Kind.INTEGER:
            return duckdb_type(of)
        case Kind.NUMBER | Kind.DECIMAL:
            return "DOUBLE"
        case Kind.BOOLEAN | Kind.DATE:
            return duckdb_type(of)
        case Kind.OBJECT:
            return {f.source_name: _wire(f) for f in of.fields}
        case Kind.ARRAY:
            return [_wire(item_of(of))]
        case Kind.MAP:
            inner = _wire(item_of(of))
            # json_transform takes a map's types as text only.
            return f"MAP(VARCHAR, {_text_of(inner)})"
        case _:
            return "VARCHAR"


def _text_of(wire: Any) -> str:
    if isinstance(wire, dict):
        return "STRUCT(" + ", ".join(f"{quote(k)} {_text_of(v)}" for k, v in wire.items()) + ")"
    if isinstance(wire, list):
        return f"{_text_of(wire[0])}[]"
    return str(wire)


@dataclass(frozen=True, slots=True)
class _Made:
    """A typed value; whether it is bad; whether a float in it is next to nothing: a number that was in the text,
    such as 1e-400, may have vanished in it. Only then is the text searched."""

    value: str
    bad: str = FALSE
    tiny: str = FALSE


def columns(
    dataset: Dataset, transforms: Mapping[str, pa.DataType], *, vanished: bool = True
) -> dict[str, SourceColumn]:
    """The typed columns over `hg_object`; what a transform reads stands beside it as texts by key, and `transforms`
    are the types that transforms have over those. Without `vanished`, rows are right only where nothing is
    `next_to_nothing` in them."""
    made = {}
    for field in dataset.fields:
        if field.transform is not None:
            one = column(field, "", transforms[field.name])
            text = f"CAST(({field.transform}\n) AS VARCHAR)"
        else:
            sql = f"struct_extract({OBJECT}, {literal(field.source_name)})"
            inner = _column(field, sql, 0)
            one = Column(inner.value, _any([inner.bad, _vanished(inner.tiny) if vanished else FALSE]))
            text = f"CAST({sql} AS VARCHAR)"
        made[field.name] = SourceColumn(one, text)
    return made


def own(one: Field) -> str:
    """The column that holds a field's value, or its text when it is standardised, in the relation of lines that were
    read without DuckDB."""
    return f"hg_own_{one.name}"


def own_columns(dataset: Dataset, transforms: Mapping[str, pa.DataType]) -> dict[str, SourceColumn]:
    """The typed columns over that relation; what a transform reads stands beside them, as texts by key."""
    made = {}
    for one in dataset.fields:
        sql = quote(own(one))
        if one.transform is not None:
            typed = column(one, "", transforms[one.name])
            made[one.name] = SourceColumn(typed, f"CAST(({one.transform}\n) AS VARCHAR)")
        elif one.standardise:
            made[one.name] = SourceColumn(column(one, sql, pa.string()), sql)
        else:
            made[one.name] = SourceColumn(Column(sql, FALSE), sql)
    return made


def next_to_nothing(rows: pa.Table, names: Sequence[str]) -> bool:
    """Whether some number in these columns is: one that was in the text may have vanished in it."""
    return any(_tiny_in(leaf) for name in names for _, leaf in leaves(name, whole(rows[name])))


def _tiny_in(leaf: Any) -> bool:
    if pa.types.is_decimal(leaf.type):
        return bool(compute.any(compute.equal(leaf, pa.scalar(0, leaf.type))).as_py())
    if not pa.types.is_floating(leaf.type):
        return bool(pa.types.is_nested(leaf.type))  # none is expected, and what is in it would not be known
    values = leaf.to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
    return bool((np.abs(values) < _TINY).any())


def _vanished(tiny: str) -> str:
    """SQL: the text has a number with an exponent below -99, where a float was next to nothing."""
    if tiny == FALSE:
        return FALSE
    # CASE, not AND: only CASE spares the other rows the search.
    return f"(CASE WHEN {tiny} THEN regexp_matches({TEXT}, '[0-9][eE]-0*[0-9]{{3}}') ELSE false END)"


def _column(field: Field, sql: str, depth: int) -> _Made:
    if field.standardise:
        return _of(column(field, sql, pa.string()))
    return _value(field.type, sql, depth)


def _of(one: Column) -> _Made:
    return _Made(one.value, one.bad)


def _value(of: Type, sql: str, depth: int) -> _Made:
    match of.kind:
        case Kind.STRING | Kind.INTEGER | Kind.BOOLEAN | Kind.DATE:
            return _Made(sql)
        case Kind.NUMBER:
            plain = Column(sql, FALSE)
            one = plain if of.bits == 64 else exact(of, f"CAST({sql} AS VARCHAR)", pa.string(), depth)
            return _Made(one.value, one.bad, _tiny(sql))
        case Kind.DECIMAL:
            return _decimal(of, sql, depth)
        case Kind.TIMESTAMP | Kind.TIME:
            return _time(of, sql)
        case Kind.BINARY:
            return _of(exact(of, sql, pa.string(), depth))
        case Kind.OBJECT:
            return _object(of, sql, depth)
        case Kind.ARRAY:
            return _array(of, sql, depth)
        case Kind.MAP:
            return _map(of, sql, depth)


def _tiny(sql: str) -> str:
    return f"coalesce(abs({sql}) < {_TINY}, false)"


def _decimal(of: Type, sql: str, depth: int) -> _Made:
    if of.precision > _SAFE_DIGITS:
        one = exact(of, sql, pa.float64(), depth)
        return _Made(one.value, one.bad, _tiny(sql))
    value = f"TRY_CAST({sql} AS {duckdb_type(of)})"
    return _Made(value, f"({sql} IS NOT NULL AND CAST({value} AS DOUBLE) IS DISTINCT FROM {sql})", _tiny(sql))


def _time(of: Type, sql: str) -> _Made:
    """The gate has proven the grammar but for the number of digits behind the second, which the length tells."""
    value = f"TRY_CAST({sql} AS {duckdb_type(of)})"
    if of.kind is Kind.TIME:
        short = f"strlen({sql}) <= 15"
    elif of.zoned:
        # CASE, not OR: only CASE spares the usual text the look at its characters.
        long = f"strlen({sql}) <= 32 AND substr({sql}, -6, 1) IN ('+', '-')"
        short = f"CASE WHEN strlen({sql}) <= 27 THEN true ELSE {long} END"
        # The zone can carry the first and the last day out of the years that everybody can hold.
        short += f" AND epoch_us({value}) BETWEEN -62135596800000000 AND 253402300799999999"
    else:
        short = f"strlen({sql}) <= 26"
    return _Made(value, f"({sql} IS NOT NULL AND ({value} IS NULL OR NOT ({short})))")


def _any(bads: Sequence[str]) -> str:
    real = [bad for bad in bads if bad != FALSE]
    return f"({' OR '.join(real)})" if real else FALSE


def _some(items: str, each: str, condition: str) -> str:
    if condition == FALSE:
        return FALSE
    return f"coalesce(list_bool_or(list_transform({items}, lambda {each}: {condition})), false)"


def _object(of: Type, sql: str, depth: int) -> _Made:
    members, made, changed = [], [], False
    for field in of.fields:
        member = f"struct_extract({sql}, {literal(field.source_name)})"
        one = _column(field, member, depth)
        changed = changed or one.value != member or field.name != field.source_name
        members.append(f"{literal(field.name)}: {one.value}")
        made.append(one)
    built = f"CASE WHEN {sql} IS NULL THEN NULL ELSE {{{', '.join(members)}}} END"
    return _Made(built if changed else sql, _any([m.bad for m in made]), _any([m.tiny for m in made]))


def _array(of: Type, sql: str, depth: int) -> _Made:
    each = f"hg_x{depth}"
    one = _column(item_of(of), each, depth + 1)
    value = sql if one.value == each else f"list_transform({sql}, lambda {each}: {one.value})"
    return _Made(value, _some(sql, each, one.bad), _some(sql, each, one.tiny))


def _map(of: Type, sql: str, depth: int) -> _Made:
    each = f"hg_x{depth}"
    one = _column(item_of(of), f"{each}.value", depth + 1)
    key = exact(key_of(of).type, f"{each}.key", pa.string(), depth + 1)
    entries = f"map_entries({sql})"
    bad, tiny = _some(entries, each, _any([key.bad, one.bad])), _some(entries, each, one.tiny)
    if (key.value, one.value) == (f"{each}.key", f"{each}.value"):
        return _Made(sql, bad, tiny)
    pairs = f"list_transform({entries}, lambda {each}: {{'k': {key.value}, 'v': {one.value}}})"
    built = f"CASE WHEN {sql} IS NULL OR {bad} THEN NULL ELSE map_from_entries({pairs}) END"
    return _Made(built, bad, tiny)


def transform_keys(connection: duckdb.DuckDBPyConnection, dataset: Dataset) -> list[str]:
    """The keys that transforms read."""
    read = {key for f in dataset.fields if f.transform is not None for key in columns_read(connection, f.transform)}
    return sorted(read)


def columns_read(connection: duckdb.DuckDBPyConnection, expression: str) -> list[str]:
    """The column names in an SQL expression, sorted."""
    rows = connection.execute("SELECT json_serialize_sql(?)", [f"SELECT ({expression}\n)"]).fetchall()
    keys: set[str] = set()
    waiting: list[Any] = [json.loads(row[0]) for row in rows]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            if one.get("class") == "COLUMN_REF":
                keys.add(str(one["column_names"][0]))
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
    return sorted(keys)


def key_texts(keys: Sequence[str]) -> str:
    """SQL: the values of top-level keys as texts, each under its own name; begins with a comma when there are any."""
    return "".join(f", json_extract_string({TEXT}, {literal(_path(key))}) AS {quote(key)}" for key in keys)


def _path(key: str) -> str:
    return '$."' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'


def key_lists(dataset: Dataset, extra_keys: Sequence[str]) -> list[tuple[str, frozenset[str] | None]]:
    """SQL over `hg_text`: for every object of the contract the list of its keys, as often as they come (for objects in
    arrays and maps, lists of such lists); and the keys that the contract knows there, None for a map. Few different
    lists occur, so checking each different one is cheap."""
    top = _known(dataset.fields) | frozenset(extra_keys)
    paths = [("$", top), *_object_paths(Type(Kind.OBJECT, fields=dataset.fields), "$")]
    return [(f"json_keys({TEXT}, {literal(path)})", known) for path, known in paths]


_Paths = list[tuple[str, frozenset[str] | None]]


def _known(fields: Sequence[Field]) -> frozenset[str]:
    return frozenset(f.source_name for f in fields if f.transform is None)


def _object_paths(of: Type, path: str) -> _Paths:
    """JSON paths of the objects and maps below an object, arrays as [*], maps as .*"""
    found: _Paths = []
    for field in of.fields:
        if field.transform is None:
            found.extend(_paths_of(field.type, path + _path(field.source_name)[1:]))
    return found


def _paths_of(of: Type, path: str) -> _Paths:
    match of.kind:
        case Kind.OBJECT:
            return [(path, _known(of.fields)), *_object_paths(of, path)]
        case Kind.ARRAY:
            return _paths_of(item_of(of).type, f"{path}[*]")
        case Kind.MAP:
            return [(path, None), *_paths_of(item_of(of).type, f"{path}.*")]
        case _:
            return []

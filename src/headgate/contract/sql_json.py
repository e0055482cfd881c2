r"""Reading JSON text exactly: objects, arrays and maps out of a text column.

DuckDB's JSON functions turn numbers into floats (123456789.123456789123 loses its tail, 1.10 its zero), take NaN and
trailing commas and see the first of two equal keys. So the text is marked first: every string gets a U+0001 behind
it and every number becomes a string with a U+0001 before it, digits untouched. What DuckDB then parses holds no number
any more, and each leaf tells by its mark whether it was written as a string or as a number.

Strict: a number must be a JSON number, a text (also a date or time) a JSON string, in the grammars of `sql_reading`; an
unknown or repeated member makes the value bad; an absent member and null are NULL. The text `null` alone is
bad: it says something, and no object or array.
"""

from __future__ import annotations

import json

from headgate.contract import sql_reading
from headgate.contract.model import Kind, Type
from headgate.contract.sql_names import duckdb_type, item_of, key_of, literal, once, text_literal

_STRING = r'"((?:[^"\\]|\\.)*)"'
_TOKEN = rf"{_STRING}|(-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)"
_MARKED = r'"\1\\u0001\2"'
_MARK = "\x01"
_LITERAL_MARK = literal(_MARK)


def read(of: Type, text: str, depth: int = 0) -> tuple[str, str]:
    """SQL: the value of a nested type that the JSON text says, and whether it says none (never NULL)."""
    marked = f"regexp_replace({text}, {text_literal(_TOKEN)}, {text_literal(_MARKED)}, 'g')"
    skeleton = f"regexp_replace({text}, {text_literal(_STRING)}, '0', 'g')"
    valid = rf"json_valid({marked}) AND NOT regexp_matches({skeleton}, ',\s*[\]}}]')"
    parsed = f"CASE WHEN {valid} THEN CAST({marked} AS JSON) END"
    node = once(parsed, f"hg_t{depth}", _node(of, f"hg_t{depth}", depth + 1))
    # Without valid JSON the node sees NULL; neither that nor a JSON null is an object.
    value = f"struct_extract({node}, 'v')"
    return value, f"({text} IS NOT NULL AND {value} IS NULL)"


def _node(of: Type, node: str, depth: int) -> str:
    """SQL: a struct of the JSON node's value `v` and whether it is bad `b`."""
    null = f"CAST(NULL AS {duckdb_type(of)})"
    absent = f"coalesce(json_type({node}), 'NULL') = 'NULL'"
    match of.kind:
        case Kind.OBJECT:
            read, shape = _object(of, node, depth), "OBJECT"
        case Kind.ARRAY:
            read, shape = _array(of, node, depth), "ARRAY"
        case Kind.MAP:
            read, shape = _map(of, node, depth), "OBJECT"
        case _:
            value = _leaf(of, node, depth)
            return f"{{'v': {value}, 'b': NOT ({absent}) AND {value} IS NULL}}"
    return (
        f"CASE WHEN {absent} THEN {{'v': {null}, 'b': false}} "
        f"WHEN json_type({node}) <> '{shape}' THEN {{'v': {null}, 'b': true}} ELSE {read} END"
    )


def _leaf(of: Type, node: str, depth: int) -> str:
    if of.kind is Kind.BOOLEAN:
        return f"CASE WHEN json_type({node}) = 'BOOLEAN' THEN CAST({node} AS VARCHAR) = 'true' END"
    raw, text = f"hg_r{depth}", f"hg_s{depth}"
    if of.kind in (Kind.INTEGER, Kind.NUMBER, Kind.DECIMAL):
        was = f"starts_with({raw}, {_LITERAL_MARK}) AND NOT ends_with({raw}, {_LITERAL_MARK})"
        inner = f"substr({raw}, 2)"
    else:
        was = f"ends_with({raw}, {_LITERAL_MARK})"
        inner = f"left({raw}, length({raw}) - 1)"
    unmarked = once(
        f"CASE WHEN json_type({node}) = 'VARCHAR' THEN {node} ->> '$' END", raw, f"CASE WHEN {was} THEN {inner} END"
    )
    return unmarked if of.kind is Kind.STRING else once(unmarked, text, sql_reading.scalar(of, text))


def _object(of: Type, node: str, depth: int) -> str:
    known = ", ".join(text_literal(one.source_name + _MARK) for one in of.fields)
    keys = f"json_keys({node})"
    strange = f"len({keys}) <> list_unique({keys}) OR NOT list_has_all([{known}], {keys})"
    each, whole = f"hg_m{depth}", f"hg_o{depth}"
    members, values, bads = [], [], []
    for position, one in enumerate(of.fields):
        path = text_literal("$." + json.dumps(one.source_name + _MARK, ensure_ascii=False).replace("\\u0001", _MARK))
        bound = once(f"json_extract({node}, {path})", each, _node(one.type, each, depth + 1))
        members.append(f"'m{position}': {bound}")
        values.append(f"{text_literal(one.name)}: {whole}.m{position}.v")
        bads.append(f"{whole}.m{position}.b")
    bad = " OR ".join([strange, *bads])
    null = f"CAST(NULL AS {duckdb_type(of)})"
    built = f"CASE WHEN {bad} THEN {{'v': {null}, 'b': true}} ELSE {{'v': {{{', '.join(values)}}}, 'b': false}} END"
    return once(f"{{{', '.join(members)}}}", whole, built)


def _array(of: Type, node: str, depth: int) -> str:
    each, whole = f"hg_e{depth}", f"hg_l{depth}"
    items = f"list_transform(json_extract({node}, '$[*]'), lambda {each}: {_node(item_of(of).type, each, depth + 1)})"
    bad = f"coalesce(list_bool_or(list_transform({whole}, lambda {each}: {each}.b)), false)"
    values = f"list_transform({whole}, lambda {each}: {each}.v)"
    null = f"CAST(NULL AS {duckdb_type(of)})"
    built = f"CASE WHEN {bad} THEN {{'v': {null}, 'b': true}} ELSE {{'v': {values}, 'b': false}} END"
    return once(items, whole, built)


def _map(of: Type, node: str, depth: int) -> str:
    each, whole = f"hg_e{depth}", f"hg_l{depth}"
    name = f"left({each}[1], length({each}[1]) - 1)"
    key = f"CASE WHEN ends_with({each}[1], {_LITERAL_MARK}) THEN {sql_reading.scalar(key_of(of).type, name)} END"
    item = once(f"{each}[2]", f"hg_v{depth}", _node(item_of(of).type, f"hg_v{depth}", depth + 1))
    pairs = f"list_zip(json_keys({node}), json_extract({node}, '$.*'))"
    entries = f"list_transform({pairs}, lambda {each}: {{'k': {key}, 'n': {item}}})"
    keys = f"list_transform({whole}, lambda {each}: {each}.k)"
    some = f"coalesce(list_bool_or(list_transform({whole}, lambda {each}: {each}.n.b)), false)"
    # list_unique does not count NULLs: so a key that could not be read shows as well as a repeated one.
    bad = f"{some} OR list_unique({keys}) <> len({keys})"
    built = f"map_from_entries(list_transform({whole}, lambda {each}: {{'k': {each}.k, 'v': {each}.n.v}}))"
    null = f"CAST(NULL AS {duckdb_type(of)})"
    return once(
        entries, whole, f"CASE WHEN {bad} THEN {{'v': {null}, 'b': true}} ELSE {{'v': {built}, 'b': false}} END"
    )

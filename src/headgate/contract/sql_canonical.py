"""One text for one value: what a checksum is taken over.

A text or binary column counts as it is. Everything else is JSON without white space, the members of an object
sorted by name (code points), text unescaped but for quotes, backslashes and control characters: what Python writes with
`json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)`. An absent value is null. Integers
and floats are written as Python writes them, decimals without trailing zeros, dates as YYYY-MM-DD, times as
HH:MM:SS[.ffffff], timestamps with `T` between and, when zoned, in UTC with a `Z` behind. Binary is lower-case
hexadecimal text.
"""

from __future__ import annotations

import json

from headgate.contract.model import Kind, Type
from headgate.contract.sql_names import item_of, key_of, text_literal


def canonical(of: Type, sql: str) -> str:
    """SQL: the canonical text (or bytes) of a column; NULL when the column is NULL."""
    if of.kind in (Kind.STRING, Kind.BINARY):
        return sql
    return f"CASE WHEN {sql} IS NOT NULL THEN {_json(of, sql, 0)} END"


def _json(of: Type, sql: str, depth: int) -> str:
    """SQL: JSON text, `null` for NULL."""
    return f"coalesce({_present(of, sql, depth)}, 'null')"


def _present(of: Type, sql: str, depth: int) -> str:
    each = f"hg_j{depth}"
    match of.kind:
        case Kind.STRING:
            return _string(sql)
        case Kind.INTEGER | Kind.BOOLEAN | Kind.NUMBER:
            return f"CAST({sql} AS VARCHAR)"
        case Kind.DECIMAL:
            text = f"CAST({sql} AS VARCHAR)"
            return f"rtrim(rtrim({text}, '0'), '.')" if of.scale else text
        case Kind.DATE | Kind.TIME:
            return f"'\"' || CAST({sql} AS VARCHAR) || '\"'"
        case Kind.TIMESTAMP:
            moment = f"make_timestamp(epoch_us({sql}))" if of.zoned else sql
            return f"'\"' || replace(CAST({moment} AS VARCHAR), ' ', 'T') || '{'Z' if of.zoned else ''}\"'"
        case Kind.BINARY:
            return f"'\"' || lower(hex({sql})) || '\"'"
        case Kind.OBJECT:
            return _object(of, sql, depth)
        case Kind.ARRAY:
            inner = _json(item_of(of).type, each, depth + 1)
            return f"'[' || array_to_string(list_transform({sql}, lambda {each}: {inner}), ',') || ']'"
        case Kind.MAP:
            name = _string(f"{each}.key" if key_of(of).type.kind is Kind.STRING else f"CAST({each}.key AS VARCHAR)")
            member = f"{name} || ':' || {_json(item_of(of).type, f'{each}.value', depth + 1)}"
            # Sorted by key before writing: the escapes in the written name would sort otherwise.
            entries = f"list_sort(map_entries({sql}))"
            return f"'{{' || array_to_string(list_transform({entries}, lambda {each}: {member}), ',') || '}}'"


def _string(sql: str) -> str:
    r"""SQL: a JSON string. DuckDB's own to_json writes \u001F where Python and JavaScript write \u001f."""
    escaped = sql
    for one in ("\\", '"', *map(chr, range(32))):
        written = json.dumps(one)[1:-1]
        escaped = f"replace({escaped}, chr({ord(one)}), {text_literal(written)})"
    special = text_literal(r'["\\\x00-\x1f]')
    return f"'\"' || CASE WHEN regexp_matches({sql}, {special}) THEN {escaped} ELSE {sql} END || '\"'"


def _object(of: Type, sql: str, depth: int) -> str:
    members = []
    for one in sorted(of.fields, key=lambda each: each.name):
        name = json.dumps(one.name, ensure_ascii=False)
        member = _json(one.type, f"struct_extract({sql}, {text_literal(one.name)})", depth)
        members.append(f"{text_literal(name + ':')} || {member}")
    body = " || ',' || ".join(members) or "''"
    return f"CASE WHEN {sql} IS NOT NULL THEN '{{' || {body} || '}}' END"

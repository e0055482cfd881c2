"""The SQL that types one relation of source rows, checks every rule and says why a row is refused.

A statement over a relation `hg_source`, whose rows are numbered by `_hg_row`:

    select    the silver columns, `_hg_row`, and
              `_hg_refused`  some rule of severity error is broken
              `_hg_warned`   bit i: warning i is broken (only when the contract has warnings)
              `_hg_dropped`  0, or 1 + the number of the drop rule that takes the row (only when there are any)
              `_hg_key`      hash of the key columns (only for keyed data): equal keys have equal hashes
              `_hg_content`  hash of the contract's columns; of the key for a row that deletes: two of them are alike
              `_hg_deletes`  the row deletes its key (only where the contract declares operations)

Which rules a row breaks is asked only of refused rows: `reasons` makes statements of the checks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from headgate.contract.model import Dataset, Kind, Rule, Severity, Type
from headgate.contract.sql_rules import find
from headgate.contract.to_sql import Column, dropped, fails, literal, quote
from headgate.errors import FixInputError
from headgate.ports.batch import VERSION

SOURCE = "hg_source"
ROW = "_hg_row"
REFUSED = "_hg_refused"
WARNED = "_hg_warned"
DROPPED = "_hg_dropped"
KEY = "_hg_key"
CONTENT = "_hg_content"
DELETES = "_hg_deletes"
FALSE = "false"  # the badness of a column that cannot be bad
LONGEST_VALUE = 1000  # characters of a value that a reason keeps
MOST_WARNINGS = 64


@dataclass(frozen=True, slots=True)
class SourceColumn:
    """One contract field: its typed value and badness, and SQL for the text that the source had."""

    column: Column
    text: str


@dataclass(frozen=True, slots=True)
class Check:
    """A rule that may refuse a row: whether the row breaks it and the text to show, as SQL over the typed relation."""

    rule: str
    field: str | None
    predicate: str
    value: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """The statement with its columns, what its bits mean, and what reasons are made of."""

    select: str
    columns: tuple[str, ...]
    typed: str
    checks: tuple[Check, ...]
    warnings: tuple[str, ...]
    drops: tuple[str, ...]


def key_columns(dataset: Dataset, *, versioned: bool) -> tuple[str, ...]:
    """The columns that say which rows are versions of one thing; empty when every row counts.

    Rows of a source without a key that carry `_hg_version` are versions by it: only a row version that was read
    twice is the same thing.
    """
    if versioned and not dataset.key:
        return (VERSION,)
    return dataset.key if dataset.history != "append" else ()


def build(
    dataset: Dataset,
    columns: Mapping[str, SourceColumn],
    *,
    versioned: bool,
    proven: Collection[str] = (),
    relation: str = SOURCE,
) -> Judgement:
    """The statement for these source columns (by field name). Rules in `proven` hold already for every row.

    `relation` is what stands behind FROM."""
    typed = _typed(dataset, columns, relation, versioned=versioned)
    checks, warnings = _checks(dataset, columns, proven)
    extra = {REFUSED: f"({' OR '.join(c.predicate for c in checks) or 'false'})"}
    if warnings:
        if len(warnings) > MOST_WARNINGS:
            raise FixInputError(f"more than {MOST_WARNINGS} rules of severity warning", where=str(dataset.place or ""))
        bits = (f"CASE WHEN {c.predicate} THEN {1 << i}::UBIGINT ELSE 0::UBIGINT END" for i, c in enumerate(warnings))
        extra[WARNED] = f"({' | '.join(bits)})"
    if dataset.drops:
        cases = " ".join(f"WHEN {dropped(rule)} THEN {i + 1}" for i, rule in enumerate(dataset.drops))
        extra[DROPPED] = f"CAST(CASE {cases} ELSE 0 END AS INTEGER)"
    if key := key_columns(dataset, versioned=versioned):
        extra[KEY] = f"hash({_list(key)})"
    content = content_hash(dataset)
    if dataset.operation and key:
        extra[DELETES] = deletes(dataset)
        content = f"CASE WHEN {deletes(dataset)} THEN hash({_list(key)}) ELSE {content} END"
    extra[CONTENT] = content
    plain = [*(f.name for f in dataset.fields), *([VERSION] if versioned else []), ROW]
    selected = [*(quote(name) for name in plain), *(f"{sql} AS {name}" for name, sql in extra.items())]
    return Judgement(
        f"SELECT {', '.join(selected)} FROM ({typed})",
        (*plain, *extra),
        typed,
        tuple(checks),
        tuple(c.rule for c in warnings),
        tuple(rule.id for rule in dataset.drops),
    )


def content_hash(dataset: Dataset) -> str:
    """SQL: the 64-bit hash of the contract's columns of a silver row."""
    return f"hash({_list([f.name for f in dataset.fields])})"


def deletes(dataset: Dataset) -> str:
    """SQL: whether a silver row deletes its key."""
    if dataset.operation is None:
        return FALSE
    values = ", ".join(literal(value) for value in dataset.operation.delete)
    return f"coalesce({quote(dataset.operation.field)} IN ({values}), false)"


def spares_deletes(rule: Rule, dataset: Dataset) -> bool:
    """Whether the rule does not hold for rows that delete: they need their key and order, and may lack all else."""
    if rule.check != "required" or dataset.operation is None or dataset.history == "append":
        return False
    top = find(dataset.fields, rule.field or "")[0]
    return top is not None and top.name not in (*dataset.key, *dataset.order, dataset.operation.field)


def provable_rules(dataset: Dataset) -> dict[str, list[Rule]]:
    """The rules by field that a decoder may hold every line it takes to: errors, that hold for each row."""
    found: dict[str, list[Rule]] = {}
    for rule in dataset.rules:
        if rule.field is not None and rule.severity is Severity.ERROR and not spares_deletes(rule, dataset):
            found.setdefault(rule.field, []).append(rule)
    return found


def _list(names: Sequence[str]) -> str:
    return ", ".join(quote(name) for name in names)


def _bad(name: str) -> str:
    return quote(f"_hg_bad_{name}")


def _text(name: str) -> str:
    return quote(f"_hg_text_{name}")


def _typed(dataset: Dataset, columns: Mapping[str, SourceColumn], relation: str, *, versioned: bool) -> str:
    parts = [ROW]
    for field in dataset.fields:
        one = columns[field.name]
        parts.append(f"{one.column.value} AS {quote(field.name)}")
        if one.column.bad != FALSE:
            parts.append(f"{one.column.bad} AS {_bad(field.name)}")
            parts.append(f"{one.text} AS {_text(field.name)}")
    if versioned:
        parts.append(VERSION)
    return f"SELECT {', '.join(parts)} FROM {relation}"


def _checks(
    dataset: Dataset, columns: Mapping[str, SourceColumn], proven: Collection[str]
) -> tuple[list[Check], list[Check]]:
    """The checks that refuse a row, and those that only warn."""
    may_be_bad = {name for name, one in columns.items() if one.column.bad != FALSE}
    named = {rule.field: rule.id for rule in dataset.rules if rule.check == "type"}
    errors = [
        Check(named.get(f.name, f"{f.name}.type"), f.name, _bad(f.name), _text(f.name))
        for f in dataset.fields
        if f.name in may_be_bad
    ]
    warnings: list[Check] = []
    for rule in dataset.rules:
        if rule.check == "type" or rule.id in proven:
            continue
        predicate = fails(rule, dataset)
        if rule.check == "required" and (top := find(dataset.fields, rule.field or "")[0]) and top.name in may_be_bad:
            predicate = f"(NOT {_bad(top.name)} AND {predicate})"  # it is there: what is wrong is its type
        if spares_deletes(rule, dataset):
            predicate = f"(NOT {deletes(dataset)} AND {predicate})"
        check = Check(rule.id, rule.field, predicate, _value_text(dataset, rule.field))
        (warnings if rule.severity is Severity.WARNING else errors).append(check)
    return errors, warnings


def _value_text(dataset: Dataset, path: str | None) -> str:
    """SQL: the text of the value at a field path; inside arrays and maps, of the whole array or map."""
    sql, of, rest = "", Type(Kind.OBJECT, fields=dataset.fields), path or ""
    while rest and of.kind is Kind.OBJECT:
        field, rest = find(of.fields, rest.removeprefix("."))
        if field is None:
            break
        sql = f"struct_extract({sql}, {literal(field.name)})" if sql else quote(field.name)
        of = field.type
    if not sql:
        return "CAST(NULL AS VARCHAR)"
    if of.kind in (Kind.OBJECT, Kind.ARRAY, Kind.MAP):
        return f"CAST(to_json({sql}) AS VARCHAR)"
    return f"CAST({sql} AS VARCHAR)"

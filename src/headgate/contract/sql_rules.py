"""Rules as SQL over the typed row: each is a boolean that is true when the row breaks the rule, and never NULL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headgate.contract import sql_bounds, sql_canonical, sql_formats, sql_reading
from headgate.contract.model import Dataset, Field, Kind, Rule, Type
from headgate.contract.sql_names import item_of, quote, text_literal
from headgate.errors import ContractSyntaxError

Judge = Callable[[Type, str], str]


def fails(rule: Rule, dataset: Dataset) -> str:
    """SQL: the row breaks the rule. Never NULL; an absent value passes everything but `required`.

    Columns are the dataset's fields, typed. A path such as `payload.items[].qty` judges every item, and the row
    fails when one does; `[]` after a map means its values. A member of an absent object is not required. The
    check `type` has no SQL over typed columns (`Column.bad` judges it): always false. Raises ContractSyntaxError
    when the rule makes no sense for its field.
    """
    match rule.check:
        case "type":
            return "false"
        case "sql":
            return f"NOT coalesce(({rule.argument}\n), true)"
        case "checksum":
            return _checksum(rule, dataset)
    if rule.field is None:
        raise _problem(rule, f"the check {rule.check} needs a field")
    return _inside(rule, dataset.fields, rule.field, None, 0)


def dropped(rule: Rule) -> str:
    """SQL: the row is one that a declared drop removes. Never NULL; a predicate that is NULL removes nothing."""
    return f"coalesce(({rule.argument}\n), false)"


def _inside(rule: Rule, fields: tuple[Field, ...], path: str, parent: str | None, depth: int) -> str:
    """The rule on a member of an object (or of the row, when there is no parent)."""
    field, rest = find(fields, path)
    if field is None:
        raise _problem(rule, f"there is no field {rule.field}")
    sql = quote(field.name) if parent is None else f"struct_extract({parent}, {text_literal(field.name)})"
    return _below(rule, field.type, sql, rest, depth)


def _below(rule: Rule, of: Type, sql: str, rest: str, depth: int) -> str:
    if not rest:
        return judged(rule, of, sql)
    if rest.startswith("[]") and of.kind in (Kind.ARRAY, Kind.MAP):
        each = f"hg_x{depth}"
        items = sql if of.kind is Kind.ARRAY else f"map_values({sql})"
        inner = _below(rule, item_of(of).type, each, rest[2:], depth + 1)
        return f"coalesce(list_bool_or(list_transform({items}, lambda {each}: {inner})), false)"
    if rest.startswith(".") and of.kind is Kind.OBJECT:
        inner = _inside(rule, of.fields, rest[1:], sql, depth)
        return f"({sql} IS NOT NULL AND {inner})" if rule.check == "required" else inner
    raise _problem(rule, f"{rule.field} leads into a {of}")


def find(fields: tuple[Field, ...], path: str) -> tuple[Field | None, str]:
    """The field that a path begins with and the rest of the path. Names may hold dots: of two that fit, the longer."""
    fitting = [one for one in fields if path == one.name or path.startswith((one.name + ".", one.name + "[]"))]
    if not fitting:
        return None, path
    field = max(fitting, key=lambda one: len(one.name))
    return field, path[len(field.name) :]


def judged(rule: Rule, of: Type, sql: str) -> str:
    """SQL: the value of that type, which the SQL gives, breaks the rule. Never NULL."""
    match rule.check:
        case "required":
            return f"({sql} IS NULL)"
        case "minimum" | "maximum" | "exclusive_minimum" | "exclusive_maximum":
            return sql_bounds.beyond(rule, of, sql)
        case "enum" | "valid_values":
            return sql_bounds.not_among(rule, of, sql)
        case "multiple_of":
            return sql_bounds.not_multiple(rule, of, sql)
        case "min_length" | "max_length":
            return _length(rule, of, sql)
        case "min_items" | "max_items" | "unique_items":
            return _items(rule, of, sql)
        case "pattern":
            return _pattern(rule, of, sql)
        case "format":
            return _format(rule, of, sql)
        case _:
            raise _problem(rule, f"there is no check {rule.check}")


def _present(condition: str, sql: str) -> str:
    return f"({sql} IS NOT NULL AND {condition})"


def _length(rule: Rule, of: Type, sql: str) -> str:
    if of.kind not in (Kind.STRING, Kind.BINARY):
        raise _problem(rule, f"a {of} has no length")
    measure = "length" if of.kind is Kind.STRING else "octet_length"
    comparison = "<" if rule.check == "min_length" else ">"
    return _present(f"{measure}({sql}) {comparison} {int(rule.argument)}", sql)


def _items(rule: Rule, of: Type, sql: str) -> str:
    if of.kind not in (Kind.ARRAY, Kind.MAP):
        raise _problem(rule, f"a {of} has no items")
    if rule.check == "unique_items":
        if of.kind is Kind.MAP or not rule.argument:
            return "false"
        # list_unique and list_count leave NULLs out; two of them are the same item twice.
        twice = f"list_unique({sql}) <> list_count({sql}) OR len({sql}) - list_count({sql}) > 1"
        return f"coalesce({twice}, false)"
    measure = "len" if of.kind is Kind.ARRAY else "cardinality"
    comparison = "<" if rule.check == "min_items" else ">"
    return _present(f"{measure}({sql}) {comparison} {int(rule.argument)}", sql)


def _pattern(rule: Rule, of: Type, sql: str) -> str:
    if of.kind is not Kind.STRING:
        raise _problem(rule, f"a pattern judges text, not a {of}")
    # A pattern is searched for, as JSON Schema says: anchors, where wanted, are written.
    return _present(f"NOT regexp_matches({sql}, {text_literal(str(rule.argument))})", sql)


def _format(rule: Rule, of: Type, sql: str) -> str:
    name = str(rule.argument)
    if of.kind is not Kind.STRING or name in sql_formats.WITHOUT_GRAMMAR:
        return "false"  # on dates and numbers the format tells how they are written, not what they may be
    grammar = sql_formats.GRAMMARS.get(name)
    if grammar is None:
        known = ", ".join(sorted((*sql_formats.GRAMMARS, *sql_formats.WITHOUT_GRAMMAR)))
        raise _problem(rule, f"there is no text format {name}", hint=f"known: {known}")
    wrong = f"NOT {sql_reading.matches(sql, grammar)}"
    if name in sql_formats.LONGEST:
        wrong = f"(length({sql}) > {sql_formats.LONGEST[name]} OR {wrong})"
    return _present(wrong, sql)


def _checksum(rule: Rule, dataset: Dataset) -> str:
    argument: Any = rule.argument
    algorithm = str(argument.get("algorithm", "sha256"))
    if algorithm not in ("sha256", "md5"):
        raise _problem(rule, f"there is no checksum algorithm {algorithm}", hint="known: sha256, md5")
    given, given_rest = find(dataset.fields, str(argument["field"]))
    of, of_rest = find(dataset.fields, str(argument["of"]))
    if given is None or of is None or given_rest or of_rest:
        raise _problem(rule, "a checksum names two fields of the dataset, `field` and `of`")
    if given.type.kind not in (Kind.STRING, Kind.BINARY):
        raise _problem(rule, f"a checksum is text (hexadecimal) or binary, not a {given.type}")
    hexadecimal = f"hex({quote(given.name)})" if given.type.kind is Kind.BINARY else quote(given.name)
    computed = f"{algorithm}({sql_canonical.canonical(of.type, quote(of.name))})"
    return f"coalesce(lower({hexadecimal}) <> {computed}, false)"


def _problem(rule: Rule, message: str, *, hint: str | None = None) -> ContractSyntaxError:
    return ContractSyntaxError(f"rule {rule.id}: {message}", where=str(rule.place) if rule.place else None, hint=hint)

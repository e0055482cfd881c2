"""A contract as the compiled decoder wants it: a tree of columns, and the limits that it proves while it reads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from types import ModuleType
from typing import Any

from headgate.contract.model import Dataset, Kind, Rule, Type
from headgate.contract.sql_names import item_of
from headgate.engines.duckdb.judgement import provable_rules

_LEAST, _MOST = -(2**63), 2**63 - 1
_COMPARED_DIGITS = 18  # of decimals whose bounds are compared
_WIDE = Context(prec=2000, Emax=999999, Emin=-999999)
_KINDS = {
    Kind.STRING: "TEXT",
    Kind.DECIMAL: "DECIMAL",
    Kind.BOOLEAN: "BOOLEAN",
    Kind.DATE: "DAY",
    Kind.TIME: "CLOCK",
    Kind.BINARY: "BYTES",
    Kind.OBJECT: "OBJECT",
    Kind.ARRAY: "ARRAY",
}
_SIZES = {Kind.STRING: ("min_length", "max_length"), Kind.ARRAY: ("min_items", "max_items")}
# check -> where the bound is rounded to, and how far from there the first value that holds
_LOWER = {"minimum": (ROUND_CEILING, 0), "exclusive_minimum": (ROUND_FLOOR, 1)}
_UPPER = {"maximum": (ROUND_FLOOR, 0), "exclusive_maximum": (ROUND_CEILING, -1)}


@dataclass(slots=True)
class _Limits:
    """What a value must be, in the decoder's terms."""

    least: int = _LEAST
    most: int = _MOST
    low: float = -math.inf
    high: float = math.inf
    values: Sequence[bytes] | Sequence[int] = ()

    def between(self, least: int, most: int) -> bool:
        """Narrow the integer limits; false, and nothing done, when they are no integers of 64 bits."""
        if not (_LEAST <= least <= _MOST and _LEAST <= most <= _MOST):
            return False
        self.least, self.most = max(self.least, least), min(self.most, most)
        return True


@dataclass(frozen=True, slots=True)
class Node:
    """One column: its place in the decoder's result, and the numbers of its children."""

    kind: str
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class _Member:
    key: str
    type: Type
    path: str  # of the field, as rules name it
    rules: Sequence[Rule] = ()


@dataclass(slots=True)
class Layout:
    """The compiled layout, its nodes (the first is the line itself), and the rules that hold for every line taken."""

    compiled: Any
    nodes: list[Node]
    proven: set[str] = field(default_factory=set)


def layout_of(decoder: ModuleType, dataset: Dataset, *, unknown: str) -> Layout | None:
    """The layout for lines of a dataset; None for maps, transforms and keys that the decoder does not read."""
    if any(f.transform is not None for f in dataset.fields):
        return None
    rules = provable_rules(dataset)
    proven: set[str] = set()
    nodes, given = [], []
    queue = [_Member("", Type(Kind.OBJECT, fields=dataset.fields), "")]
    for one in queue:
        children = _children(one, rules)
        kind = _kind(one.type)
        if children is None or kind is None:
            return None
        nodes.append(Node(kind, len(queue), len(children)))
        required = [rule.id for rule in one.rules if rule.check == "required"]
        proven.update(required)
        limits = _limits(one.type, one.rules, proven)
        given.append((
            one.key.encode(), getattr(decoder, kind), bool(required), len(queue), len(children), one.type.precision,
            one.type.scale, limits.least, limits.most, limits.low, limits.high, limits.values,
        ))  # fmt: skip
        queue.extend(children)
    try:
        compiled = decoder.layout_of(given, unknown != "ignore")
    except ValueError:
        return None
    return Layout(compiled, nodes, proven)


def _kind(of: Type) -> str | None:
    match of.kind:
        case Kind.INTEGER:
            return f"INT{of.bits}"
        case Kind.NUMBER:
            return f"FLOAT{of.bits}"
        case Kind.TIMESTAMP:
            return "INSTANT" if of.zoned else "MOMENT"
        case _:
            return _KINDS.get(of.kind)


def _children(one: _Member, rules: dict[str, list[Rule]]) -> list[_Member] | None:
    """The members of an object, the item of an array; None when one of them cannot be read."""
    if one.type.kind is Kind.ARRAY:
        fields, paths = [item_of(one.type)], [f"{one.path}[]"]
    else:
        fields = list(one.type.fields)
        paths = [f"{one.path}.{f.name}" if one.path else f.name for f in fields]
    members = []
    for child, path in zip(fields, paths, strict=True):
        key = child.source_name if one.type.kind is Kind.OBJECT else ""
        if not child.standardise:
            members.append(_Member(key, child.type, path, rules.get(path, ())))
        elif one.path:
            return None
        else:
            # Standardising comes before every rule: here it is a text. A number may be one too, but not as it stands.
            members.append(_Member(key, Type(Kind.STRING), path))
    return members


def _limits(of: Type, rules: Sequence[Rule], proven: set[str]) -> _Limits:
    limits = _Limits()
    for rule in rules:
        if _narrow(limits, of, rule):
            proven.add(rule.id)
    return limits


def _narrow(limits: _Limits, of: Type, rule: Rule) -> bool:
    """Take a rule into the limits; false when they cannot hold it: then SQL judges it."""
    check, argument = rule.check, rule.argument
    if check in _SIZES.get(of.kind, ()):
        size = int(argument)
        return limits.between(size, limits.most) if check.startswith("min") else limits.between(limits.least, size)
    if check == "enum" and not limits.values and argument:
        if of.kind is Kind.STRING and all(type(value) is str for value in argument):
            limits.values = [value.encode() for value in argument]
        elif of.kind is Kind.INTEGER and all(type(v) is int and _LEAST <= v <= _MOST for v in argument):
            limits.values = list(argument)
        return bool(limits.values)
    if type(argument) not in {Decimal, int} or check not in {*_LOWER, *_UPPER}:
        return False
    if of.kind is Kind.NUMBER and of.bits == 64:
        return _narrow_float(limits, check, float(argument))
    if of.kind is Kind.INTEGER or (of.kind is Kind.DECIMAL and of.precision <= _COMPARED_DIGITS):
        rounding, step = _LOWER.get(check) or _UPPER[check]
        scaled = _WIDE.scaleb(Decimal(argument), of.scale if of.kind is Kind.DECIMAL else 0)
        bound = int(scaled.to_integral_value(rounding, _WIDE)) + step
        return limits.between(bound, limits.most) if check in _LOWER else limits.between(limits.least, bound)
    return False


def _narrow_float(limits: _Limits, check: str, bound: float) -> bool:
    if not math.isfinite(bound):
        return False
    if check in _LOWER:
        limits.low = max(limits.low, math.nextafter(bound, math.inf) if check != "minimum" else bound)
    else:
        limits.high = min(limits.high, math.nextafter(bound, -math.inf) if check != "maximum" else bound)
    return True

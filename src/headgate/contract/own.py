"""The `headgate.*` custom properties: which there are, and what their values mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from headgate.contract.complaint import did_you_mean, shown
from headgate.contract.model import Budget, Kind, Standardise, Type
from headgate.contract.part import Part

PREFIX = "headgate."
KNOWN = {
    "contract": (),
    "dataset": (
        "order",
        "error_budget",
        "history",
        "operation",
        "full_reads",
        "duplicates",
        "checksum",
        "drop",
        "unknown_fields",
    ),
    "field": ("standardise", "partition"),
    "quality": ("tolerance",),
}

_PLAIN_STEPS = ("trim", "squeeze", "lower", "upper", "title", "empty_to_null", "currency", "number")
_STEPS = (*_PLAIN_STEPS, "date", "map", "null_if")
_NUMBERS = (Kind.INTEGER, Kind.NUMBER, Kind.DECIMAL)
_TIMES = (Kind.DATE, Kind.TIMESTAMP, Kind.TIME)
_DIRECTIVE = re.compile(r"%(-?.|$)", re.DOTALL)
_DIRECTIVES = frozenset("aAbBdmyYHIpMSfzj%") | {"-d", "-m", "-y", "-H", "-I", "-M", "-S", "-j"}
_BUCKET = re.compile(r"bucket\[([1-9][0-9]{0,4})\]")
_BUDGET = re.compile(r"\s*([0-9]{1,18}(?:\.[0-9]{1,9})?)\s*(percent|%|rows?)?\s*")


def check_own(part: Part, level: str) -> dict[str, Part]:
    """The part's `headgate.*` entries by name, after a complaint about each that does not belong here."""
    known = KNOWN[level]
    found: dict[str, Part] = {}
    for name, entry in part.custom(PREFIX).items():
        if name in known:
            found[name] = entry
            continue
        owner = next((other for other, names in KNOWN.items() if name in names), None)
        if owner:
            hint: str | None = f"it belongs to a {owner}"
        else:
            hint = did_you_mean(name, known)
        entry.error(f"unknown property `{PREFIX}{name[:60]}` of a {level}", hint, "property", code="unknown-name")
    return found


def choice(entry: Part, options: tuple[str, ...]) -> str | None:
    """The entry's value if it is one of the options."""
    given = entry.value.get("value")
    if given in options:
        return str(given)
    hint = did_you_mean(given, options) if isinstance(given, str) else f"known are: {', '.join(options)}"
    entry.error(f"{_name(entry)} is one of {', '.join(options)}, not {shown(given)}", hint, "value")
    return None


def budget_of(entry: Part, at: str = "value") -> Budget | None:
    """`1 percent`, `100 rows` or a number of rows."""
    given = entry.value.get(at)
    exact = entry.exact(given, at)
    unit: str | None = None
    if exact is None and isinstance(given, str):
        match = _BUDGET.fullmatch(given)
        exact = Decimal(match[1]) if match else None
        unit = match[2] if match else None
    percent = unit in ("percent", "%")
    if exact is None or exact < 0 or (percent and exact > 100) or (not percent and exact != int(exact)):
        what = _name(entry) if at == "value" else at
        entry.error(f"{what} cannot be {shown(given)}", "write `1 percent`, `100 rows` or a number of rows", at)
        return None
    return Budget(exact, percent)


def partition_transform(part: Part, entry: Part | None, kind: Type, *, nested: bool) -> str | None:
    """How the field partitions its table; None when it does not."""
    declared = part.boolean("partitioned")
    if entry is None:
        if not declared or nested:
            return None
        transform = "month" if kind.kind in (Kind.DATE, Kind.TIMESTAMP) else "identity"
        return transform if _fits(part, transform, kind, ("partitioned",)) else None
    if nested:
        entry.error("a nested field cannot partition its table", None, "property", code="not-supported")
        return None
    if declared is False:
        entry.error("headgate.partition, but `partitioned: false`", "keep one of the two", code="contradiction")
    given = entry.value.get("value")
    known = ("identity", "year", "month", "day", "hour", "bucket[16]")
    if not isinstance(given, str) or not (given in known or _BUCKET.fullmatch(given)):
        hint = did_you_mean(given, known) if isinstance(given, str) else None
        entry.error(f"unknown partition transform {shown(given)}", hint or f"known are: {', '.join(known)}", "value")
        return None
    return given if _fits(entry, given, kind, ("value",)) else None


def _fits(part: Part, transform: str, kind: Type, at: tuple[str, ...]) -> bool:
    if transform in ("year", "month", "day"):
        fits = kind.kind in (Kind.DATE, Kind.TIMESTAMP)
    elif transform == "hour":
        fits = kind.kind is Kind.TIMESTAMP
    else:
        fits = kind.kind not in (Kind.NUMBER, Kind.OBJECT, Kind.ARRAY, Kind.MAP) and (
            transform == "identity" or kind.kind is not Kind.BOOLEAN
        )
    if not fits:
        part.error(f"a field of type {kind} cannot be partitioned by {transform}", None, *at, code="contradiction")
    return fits


def standardise_steps(entry: Part, kind: Type) -> tuple[Standardise, ...]:
    """The list of standardisations, each known, with its argument, and sensible for the type."""
    given = entry.value.get("value")
    steps = given if isinstance(given, list) else [given]
    found = []
    for index, step in enumerate(steps):
        at: tuple[str | int, ...] = ("value", index) if isinstance(given, list) else ("value",)
        one = _step(entry, step, at)
        if one and _sensible(entry, one, kind, at):
            found.append(one)
    return tuple(found)


def _step(entry: Part, step: Any, at: tuple[str | int, ...]) -> Standardise | None:
    if isinstance(step, str) and step in _PLAIN_STEPS:
        return Standardise(step)
    if isinstance(step, Mapping) and len(step) == 1:
        op, argument = next(iter(step.items()))
        if op == "date":
            return _dates(entry, argument, (*at, op))
        if op == "map":
            return _map(entry, argument, (*at, op))
        if op == "null_if":
            texts = [argument] if isinstance(argument, str) else argument
            if isinstance(texts, list) and texts and all(isinstance(one, str) for one in texts):
                return Standardise(op, tuple(texts))
            entry.error("null_if takes a list of texts", "quote each: {null_if: ['N/A', '-']}", *at, op)
            return None
        if op in ("currency", "number") and argument in ({"decimal": ","}, {"decimal": "."}):
            return Standardise(op, dict(argument))
        if op in ("currency", "number"):
            entry.error(f"{op} cannot take {shown(argument)}", f"write `{op}` or {{{op}: {{decimal: ','}}}}", *at, op)
            return None
        if op in _PLAIN_STEPS:
            entry.error(f"standardisation `{op}` takes no argument", f"write `{op}`", *at, op)
            return None
        step = op
    if isinstance(step, str) and step in _STEPS:
        entry.error(f"standardisation `{step}` needs an argument", f"write {{{step}: …}}", *at)
        return None
    hint = did_you_mean(step, _STEPS) if isinstance(step, str) else f"known are: {', '.join(_STEPS)}"
    entry.error(f"unknown standardisation {shown(step)}", hint, *at, code="unknown-name")
    return None


def _dates(entry: Part, argument: Any, at: tuple[str | int, ...]) -> Standardise | None:
    formats = [argument] if isinstance(argument, str) else argument
    if not isinstance(formats, list) or not formats or not all(isinstance(one, str) for one in formats):
        entry.error("date takes a list of formats", "{date: ['%d.%m.%Y', '%Y-%m-%d']}", *at)
        return None
    for index, one in enumerate(formats):
        found = _DIRECTIVE.findall(one)
        bad = next((directive for directive in found if directive not in _DIRECTIVES), None)
        if bad is not None or not found:
            what = f"`%{bad}`" if bad else "no `%…` at all"
            below = (*at, index) if isinstance(argument, list) else at
            entry.error(f"date format {shown(one)} has {what}", "use strptime's: %Y %m %d %H %M %S %f %z %b", *below)
            return None
    return Standardise("date", tuple(formats))


def _map(entry: Part, argument: Any, at: tuple[str | int, ...]) -> Standardise | None:
    if not isinstance(argument, Mapping) or not argument:
        entry.error("map takes a mapping from text to text", "{map: {EIRE: Ireland}}", *at)
        return None
    for source, target in argument.items():
        if target is not None and not isinstance(target, str):
            entry.error(f"map gives {shown(target)}, which is not text", "quote it", *at, source)
            return None
    return Standardise("map", dict(argument))


def _sensible(entry: Part, one: Standardise, kind: Type, at: tuple[str | int, ...]) -> bool:
    wanted: tuple[Kind, ...] | None = None
    if one.op in ("lower", "upper", "title"):
        wanted = (Kind.STRING,)
    elif one.op in ("currency", "number"):
        wanted = (*_NUMBERS, Kind.STRING)
    elif one.op == "date":
        wanted = (*_TIMES, Kind.STRING)
    if wanted and kind.kind not in wanted:
        entry.error(f"standardisation `{one.op}` makes no sense for {kind}", None, *at, code="contradiction")
        return False
    return True


def _name(entry: Part) -> str:
    return str(entry.value.get("property"))

"""logicalTypeOptions and enum of a property -> Limits and permitted values, checked against each other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from headgate.contract.complaint import did_you_mean, shown
from headgate.contract.logical_types import IMPLIED, range_of
from headgate.contract.model import Kind, Limits, Type
from headgate.contract.part import Part
from headgate.contract.regex import pattern_problem

FORMATS = ("uuid", "email", "uri", "ipv4", "ipv6", "hostname", "byte")
# Formats that are left unchecked, and the logicalType that would be checked instead.
_UNCHECKED_FORMATS = {"password": None, "binary": None, "date": "date", "date-time": "timestamp", "time": "time"}
_OPTIONS = "logicalTypeOptions"
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_NUMBERS = (Kind.INTEGER, Kind.NUMBER, Kind.DECIMAL)
_TIMES = (Kind.DATE, Kind.TIMESTAMP, Kind.TIME)

_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_CLOCK = r"[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?"
_SHAPES = {
    Kind.DATE: re.compile(_DATE),
    Kind.TIME: re.compile(_CLOCK),
    Kind.TIMESTAMP: re.compile(f"{_DATE}(?:[T ]{_CLOCK}(?:Z|[+-][0-9]{{2}}:?[0-9]{{2}})?)?"),
}
_EXAMPLES = {
    Kind.DATE: "'2024-12-31'",
    Kind.TIME: "'23:59:59'",
    Kind.TIMESTAMP: "'2024-12-31 23:59:59'",
}

Moment = date | datetime | time


def moment(kind: Type, text: str) -> Moment | None:
    """The date, instant or time that ISO text stands for, None when it is no such text of this type.

    Without an offset, text for a zoned timestamp is UTC; with one, it is no text for an unzoned timestamp.
    """
    if not _SHAPES[kind.kind].fullmatch(text):
        return None
    try:
        if kind.kind is Kind.DATE:
            return date.fromisoformat(text)
        if kind.kind is Kind.TIME:
            return time.fromisoformat(text)
        at = datetime.fromisoformat(text)
        if at.tzinfo is None:
            return at.replace(tzinfo=UTC) if kind.zoned else at
        return at.astimezone(UTC) if kind.zoned else None
    except (ValueError, OverflowError):
        return None


def moment_text(at: Moment) -> str:
    """ISO text of a moment: `2024-12-31`, `2024-12-31 23:59:59+00:00`, `23:59:59`."""
    return at.isoformat(" ") if isinstance(at, datetime) else at.isoformat()


def limits_of(part: Part, kind: Type) -> Limits:
    """The limits a property declares, after complaining about those that no value can meet."""
    options = part.part(_OPTIONS)
    if options is None or not options.value:
        return Limits()
    match kind.kind:
        case Kind.STRING | Kind.BINARY:
            return _text_limits(options, kind)
        case Kind.INTEGER | Kind.NUMBER | Kind.DECIMAL | Kind.DATE | Kind.TIMESTAMP | Kind.TIME:
            return _ordered_limits(options, kind)
        case Kind.ARRAY:
            least, most = _counts(options, "minItems", "maxItems")
            return Limits(min_items=least, max_items=most, unique_items=options.boolean("uniqueItems") or False)
        case Kind.OBJECT:
            for name in ("minProperties", "maxProperties"):
                if name in options:
                    options.warn(f"`{name}` is not checked", None, name, code="not-checked")
        case _:
            for name in options.value:
                options.warn(f"`{name[:60]}` of a {kind} is not checked", None, name, code="not-checked")
    return Limits()


def _counts(options: Part, low: str, high: str) -> tuple[int | None, int | None]:
    least, most = options.integer(low), options.integer(high)
    for name, value in ((low, least), (high, most)):
        if value is not None and not 0 <= value < 2**31:
            options.error(f"{name} {value} is not within 0 and {2**31 - 1}", None, name)
    if least is not None and most is not None and least > most:
        options.error(
            f"{low} {least} is greater than {high} {most}: no value can pass", None, low, code="contradiction"
        )
    return least, most


def _text_limits(options: Part, kind: Type) -> Limits:
    least, most = _counts(options, "minLength", "maxLength")
    pattern, fmt = options.text("pattern"), options.text("format")
    if kind.kind is Kind.BINARY:
        for name in ("pattern", "format"):
            if name in options:
                options.error(f"`{name}` of a binary field cannot be checked", "remove it", name, code="not-supported")
        return Limits(min_length=least, max_length=most)
    if pattern is not None:
        problem = pattern_problem(pattern)
        if problem:
            options.error(f"pattern {shown(pattern)}: {problem}", "patterns are RE2 expressions", "pattern")
            pattern = None
    if fmt in _UNCHECKED_FORMATS:
        better = _UNCHECKED_FORMATS[fmt]
        hint = f"`logicalType: {better}` is checked" if better else None
        options.warn(f"format `{fmt}` is not checked", hint, "format", code="not-checked")
        fmt = None
    elif fmt is not None and fmt not in FORMATS:
        options.error(f"unknown format `{fmt[:60]}` of a string", did_you_mean(fmt, FORMATS), "format")
        fmt = None
    return Limits(min_length=least, max_length=most, pattern=pattern, format=fmt)


def _ordered_limits(options: Part, kind: Type) -> Limits:
    bounds: dict[str, Any] = {}
    for name in _BOUNDS:
        if name in options:
            bounds[name] = _bound(options, kind, name)
    _check_bounds(options, kind, {name: value for name, value in bounds.items() if value is not None})
    step = options.number("multipleOf") if kind.kind in _NUMBERS else None
    if step is not None and step <= 0:
        options.error(f"multipleOf {step} is not greater than 0", None, "multipleOf")
    if kind.kind is Kind.INTEGER or kind.kind is Kind.DECIMAL:
        low, high = IMPLIED.get(str(options.value.get("format")), (None, None))
        if low is not None and "minimum" not in options and "exclusiveMinimum" not in options:
            bounds["minimum"] = Decimal(low)
        if high is not None and "maximum" not in options and "exclusiveMaximum" not in options:
            bounds["maximum"] = Decimal(high)
    if kind.kind in _TIMES:
        bounds = {name: moment_text(value) if value is not None else None for name, value in bounds.items()}
        _warn_of_format(options, kind)
    return Limits(
        minimum=bounds.get("minimum"),
        maximum=bounds.get("maximum"),
        exclusive_minimum=bounds.get("exclusiveMinimum"),
        exclusive_maximum=bounds.get("exclusiveMaximum"),
        multiple_of=step,
    )


def _warn_of_format(options: Part, kind: Type) -> None:
    fmt = options.text("format")
    if fmt and not fmt.replace("'", "").startswith(("yyyy-MM-dd", "YYYY-MM-DD", "HH:mm", "ISO", "%Y-%m-%d", "%H:%M")):
        options.warn(
            f"format {shown(fmt)} is not used to read a {kind}",
            "say how text is read with `headgate.standardise: [{date: ['%d.%m.%Y']}]`",
            "format",
            code="not-checked",
        )


def _bound(options: Part, kind: Type, name: str) -> Decimal | Moment | None:
    if kind.kind in _NUMBERS:
        return options.number(name)
    text = options.text(name)
    at = moment(kind, text) if text else None
    if text and at is None:
        options.error(f"{name} {shown(text)} is not a {kind}", f"write it like {_EXAMPLES[kind.kind]}", name)
    return at


def _check_bounds(options: Part, kind: Type, bounds: dict[str, Any]) -> None:
    span = range_of(kind)
    for low in ("minimum", "exclusiveMinimum"):
        for high in ("maximum", "exclusiveMaximum"):
            if low not in bounds or high not in bounds:
                continue
            a, b = bounds[low], bounds[high]
            if a > b or (a == b and (low, high) != ("minimum", "maximum")):
                message = f"{low} {_said(a)} leaves nothing below {high} {_said(b)}: no value can pass"
                options.error(message, "swap or widen them", low, code="contradiction")
        if span and low in bounds and bounds[low] > span[1]:
            message = f"{low} {bounds[low]} is greater than any {kind}: no value can pass"
            options.error(message, None, low, code="contradiction")
    for high in ("maximum", "exclusiveMaximum"):
        if span and high in bounds and bounds[high] < span[0]:
            message = f"{high} {bounds[high]} is less than any {kind}: no value can pass"
            options.error(message, None, high, code="contradiction")


def _said(value: Any) -> str:
    return str(value) if isinstance(value, Decimal) else moment_text(value)


def value_of(kind: Type, given: Any, exact: Decimal | None) -> Any:
    """A permitted value as the model holds it; None when it is not a value of this type."""
    match kind.kind:
        case Kind.STRING:
            return given if isinstance(given, str) else None
        case Kind.BOOLEAN:
            return given if isinstance(given, bool) else None
        case Kind.INTEGER:
            return int(exact) if exact is not None and exact == exact.to_integral_value() else None
        case Kind.NUMBER:
            return exact
        case Kind.DECIMAL:
            span = range_of(kind)
            assert span is not None
            fits = exact is not None and span[0] <= exact <= span[1] and exact == round(exact, kind.scale)
            return exact if fits else None
        case Kind.DATE | Kind.TIMESTAMP | Kind.TIME:
            at = moment(kind, given) if isinstance(given, str) else None
            return moment_text(at) if at is not None else None
        case _:
            return None


def permitted_values(part: Part, kind: Type, given: Sequence[tuple[tuple[str | int, ...], Any]]) -> tuple[Any, ...]:
    """Values written at these steps below the part, each of the type and none twice; null means nothing here."""
    found: list[Any] = []
    for steps, raw in given:
        if raw is None:
            continue
        value = value_of(kind, raw, part.exact(raw, *steps))
        if value is None:
            part.error(f"value {shown(raw)} is not a {kind}", _value_hint(kind, raw), *steps, code="contradiction")
        elif value in found:
            part.error(f"value {shown(raw)} stands twice", "keep one of the two", *steps)
        else:
            found.append(value)
    return tuple(found)


def _value_hint(kind: Type, raw: Any) -> str | None:
    if kind.kind is Kind.STRING:
        return "quote it"
    if kind.kind in _TIMES:
        return f"write it like {_EXAMPLES[kind.kind]}"
    return "remove the quotes" if isinstance(raw, str) else None


def out_of_limits(kind: Type, limits: Limits, value: Any) -> str | None:
    """Which limit a permitted value breaks, so that it could never pass; None when it keeps them all."""
    broken = _broken_order(kind, limits, value)
    if broken:
        return broken
    if isinstance(value, str) and kind.kind is Kind.STRING:
        if limits.min_length is not None and len(value) < limits.min_length:
            return f"minLength {limits.min_length}"
        if limits.max_length is not None and len(value) > limits.max_length:
            return f"maxLength {limits.max_length}"
    if limits.multiple_of and kind.kind in _NUMBERS and Decimal(value) % limits.multiple_of != 0:
        return f"multipleOf {limits.multiple_of}"
    return None


def _broken_order(kind: Type, limits: Limits, value: Any) -> str | None:
    if kind.kind not in (*_NUMBERS, *_TIMES):
        return None

    def read(written: Any) -> Any:
        return moment(kind, written) if kind.kind in _TIMES else Decimal(written)

    at = read(value)
    if limits.minimum is not None and at < read(limits.minimum):
        return f"minimum {limits.minimum}"
    if limits.exclusive_minimum is not None and at <= read(limits.exclusive_minimum):
        return f"exclusiveMinimum {limits.exclusive_minimum}"
    if limits.maximum is not None and at > read(limits.maximum):
        return f"maximum {limits.maximum}"
    if limits.exclusive_maximum is not None and at >= read(limits.exclusive_maximum):
        return f"exclusiveMaximum {limits.exclusive_maximum}"
    return None

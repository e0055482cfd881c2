"""Rules that compare a value with values of the contract: bounds, lists, multiples.

A bound is first brought into the column's own type, rounded to the side that changes no verdict (an integer is
less than 2.5 exactly when it is less than 3). So a comparison never converts the column, which would be slow for
millions of rows, overflow for wide decimals and lie for large integers beside floats.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal, InvalidOperation
from typing import Any

from headgate.contract import sql_reading
from headgate.contract.model import Kind, Rule, Type
from headgate.contract.sql_names import duckdb_type, literal, text_literal
from headgate.errors import ContractSyntaxError

# check -> how a failing value compares with the bound, and where the bound is rounded to
_FAILING: Mapping[str, tuple[str, str]] = {
    "minimum": ("<", ROUND_CEILING),
    "exclusive_minimum": ("<=", ROUND_FLOOR),
    "maximum": (">", ROUND_FLOOR),
    "exclusive_maximum": (">=", ROUND_CEILING),
}
_WIDE = Context(prec=2000, Emax=999999, Emin=-999999)


def beyond(rule: Rule, of: Type, sql: str) -> str:
    """SQL: the value is on the wrong side of the bound. NaN is on the wrong side of every bound."""
    comparison, rounding = _FAILING[rule.check]
    if of.kind in (Kind.INTEGER, Kind.DECIMAL):
        bound = _number(rule, rule.argument)
        scale = of.scale if of.kind is Kind.DECIMAL else 0
        limit = Decimal(2 ** (of.bits - 1)) if of.kind is Kind.INTEGER else Decimal(10) ** (of.precision - of.scale)
        bound = bound.quantize(Decimal(1).scaleb(-scale), rounding=rounding, context=_WIDE)
        if not -limit <= bound < limit or (of.kind is Kind.DECIMAL and bound == -limit):
            # No value of the type reaches the bound: all are on one side of it.
            return f"({sql} IS NOT NULL)" if (bound > 0) == comparison.startswith("<") else "false"
        return f"({sql} IS NOT NULL AND {sql} {comparison} {_typed(of, f'{bound:f}')})"
    value = typed_literal(rule, of, rule.argument)
    if of.kind is Kind.NUMBER:
        # DuckDB holds NaN to be greater than everything.
        return f"({sql} IS NOT NULL AND ({sql} {comparison} {value} OR isnan({sql})))"
    return f"({sql} IS NOT NULL AND {sql} {comparison} {value})"


def not_among(rule: Rule, of: Type, sql: str) -> str:
    """SQL: the value is none of the listed ones."""
    listed = [typed_literal(rule, of, one) for one in rule.argument if one is not None]
    if not listed:
        return f"({sql} IS NOT NULL)"
    return f"({sql} IS NOT NULL AND {sql} NOT IN ({', '.join(listed)}))"


def not_multiple(rule: Rule, of: Type, sql: str) -> str:
    """SQL: the number is no multiple. A float counts as what it prints as; one of over 38 digits is no multiple."""
    step = _number(rule, rule.argument).normalize(_WIDE)
    places = max(0, -int(step.as_tuple().exponent))
    if step <= 0:
        raise _problem(rule, "multipleOf needs a number above zero")
    whole = {Kind.INTEGER: 10 if of.bits == 32 else 19, Kind.DECIMAL: of.precision - of.scale, Kind.NUMBER: 38 - places}
    if of.kind not in whole:
        raise _problem(rule, f"a {of} is no multiple of anything")
    scale = max(places, of.scale if of.kind is Kind.DECIMAL else 0)
    width = max(whole[of.kind], len(f"{int(step)}")) + scale
    if width > 38:
        raise _problem(rule, f"{rule.argument} and a {of} together have more than 38 digits")
    common = f"DECIMAL({width},{scale})"
    multiple = f"CAST({text_literal(f'{step:f}')} AS {common})"
    if of.kind is Kind.NUMBER:
        exact = sql_reading.scalar(Type(Kind.DECIMAL, precision=width, scale=scale), f"CAST({sql} AS VARCHAR)")
        return f"({sql} IS NOT NULL AND coalesce({exact} % {multiple} <> 0, true))"
    return f"({sql} IS NOT NULL AND CAST({sql} AS {common}) % {multiple} <> 0)"


def typed_literal(rule: Rule, of: Type, value: Any) -> str:
    """The contract's value as an SQL literal of the column's type. ContractSyntaxError when the type cannot hold it."""
    match of.kind:
        case Kind.STRING:
            return text_literal(_text(value))
        case Kind.BOOLEAN if isinstance(value, bool):
            return literal(value)
        case Kind.INTEGER | Kind.DECIMAL:
            number = _number(rule, value)
            scale = of.scale if of.kind is Kind.DECIMAL else 0
            rounded = number.quantize(Decimal(1).scaleb(-scale), context=_WIDE)
            limit = 10 ** (of.precision - scale) if of.kind is Kind.DECIMAL else 2 ** (of.bits - 1)
            inside = abs(rounded) < limit or (of.kind is Kind.INTEGER and rounded == -limit)
            if rounded != number or not inside:
                raise _problem(rule, f"{value} is not a {of}")
            return _typed(of, f"{rounded:f}")
        case Kind.NUMBER:
            return _typed(of, str(_number(rule, value)))
        case Kind.DATE | Kind.TIMESTAMP | Kind.TIME:
            return _moment(rule, of, value)
        case _:
            raise _problem(rule, f"{value!r} is not a {of}")


def _text(value: Any) -> str:
    # YAML reads `- 7` and `- yes` as something else than text; in a list for a text field the text is meant.
    return str(value).lower() if isinstance(value, bool) else str(value)


def _typed(of: Type, text: str) -> str:
    return f"CAST({text_literal(text)} AS {duckdb_type(of)})"


def _number(rule: Rule, value: Any) -> Decimal:
    try:
        number = Decimal(str(value)) if not isinstance(value, bool) else Decimal("NaN")
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise _problem(rule, f"{value!r} is not a number")
    return number


def _moment(rule: Rule, of: Type, value: Any) -> str:
    try:
        if of.kind is Kind.DATE:
            return literal(value if isinstance(value, date) else date.fromisoformat(str(value)))
        if of.kind is Kind.TIME:
            return literal(value if isinstance(value, time) else time.fromisoformat(str(value)))
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError as cause:
        raise _problem(rule, f"{value!r} is not a {of}") from cause
    if of.zoned and moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)  # an instant written without zone is meant as UTC
    if not of.zoned and moment.tzinfo is not None:
        raise _problem(rule, f"{value!r} has a zone, its field has none")
    return literal(moment)


def _problem(rule: Rule, message: str) -> ContractSyntaxError:
    return ContractSyntaxError(f"rule {rule.id}: {message}", where=str(rule.place) if rule.place else None)

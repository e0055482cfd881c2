"""`quality` entries -> rules that judge a row, and checks that judge the table.

- custom with engine headgate: a row rule, an SQL predicate that must hold
- invalidValues: a row rule on a field, permitted values or a pattern; its operator is the tolerance
- nullValues, missingValues, duplicateValues, rowCount, sql: a check of the silver table after the run
- text, other engines: for people and other tools; a warning says that nothing here checks them
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from headgate.contract.complaint import did_you_mean, missing, shown
from headgate.contract.expression import expression_problem, query_problem
from headgate.contract.limits import permitted_values
from headgate.contract.model import Field, Kind, Rule, Severity, Standardise, TableCheck
from headgate.contract.operators import Operator, operator_of, tolerance_of
from headgate.contract.own import budget_of, check_own
from headgate.contract.part import Part
from headgate.contract.regex import pattern_problem

METRICS = ("nullValues", "missingValues", "invalidValues", "duplicateValues", "rowCount")
_SEVERITIES = {"error": Severity.ERROR, "warning": Severity.WARNING, "info": Severity.WARNING}
_UNITS = ("rows", "percent")
_STABLE_ID = re.compile(r"[A-Za-z0-9_-]+")
_COMPOSITE = (Kind.OBJECT, Kind.ARRAY, Kind.MAP)


@dataclass(slots=True)
class Quality:
    """What the quality entries of a dataset come to. `null_if`: field -> texts that its checks call missing."""

    rules: list[Rule] = field(default_factory=list)
    checks: list[TableCheck] = field(default_factory=list)
    null_if: dict[str, tuple[str, ...]] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)

    def name(self, entry: Part, path: str | None, fallback: str) -> str:
        """The rule's id: the contract's own, qualified by the field when it is taken; else made from the check."""
        own = entry.text("id") or entry.text("name") or ""
        prefix = f"{path}." if path else ""
        wanted = own if _STABLE_ID.fullmatch(own) else prefix + fallback
        if wanted in self.ids and _STABLE_ID.fullmatch(own):
            wanted = prefix + own
        if wanted in self.ids and entry.text("id"):
            entry.error(f"the id `{own}` stands twice in this dataset", "ids tell rules apart", "id")
        number = 2
        unique = wanted
        while unique in self.ids:
            unique, number = f"{wanted}_{number}", number + 1
        self.ids.add(unique)
        return unique


def read_quality(part: Part, one: Field | None, path: str | None, into: Quality, *, nested: bool = False) -> None:
    """Take in the quality entries of a dataset (`one` is None) or of a field."""
    for entry in part.parts("quality"):
        kind = entry.text("type") or "library"
        own = check_own(entry, "quality")
        if kind == "text":
            entry.warn("a text rule is for people: nothing checks it", None, "type", code="not-checked")
        elif kind == "custom":
            _custom(entry, own.get("tolerance"), path, into)
        elif kind == "sql":
            _sql(entry, one, path, into, nested=nested)
        elif kind == "library":
            _library(entry, one, path, into, nested=nested)
        else:
            hint = did_you_mean(kind, ("text", "library", "sql", "custom"))
            entry.error(f"unknown type of quality `{kind[:60]}`", hint, "type")


def severity_of(entry: Part) -> Severity:
    """How bad it is: error unless said otherwise; `info` counts as warning."""
    given = entry.text("severity")
    if given is None:
        return Severity.ERROR
    found = _SEVERITIES.get(given)
    if found is None:
        entry.error(f"unknown severity `{given[:60]}`", did_you_mean(given, _SEVERITIES), "severity")
    return found or Severity.ERROR


def _custom(entry: Part, tolerance: Part | None, path: str | None, into: Quality) -> None:
    engine = entry.needed_text("engine")
    if engine is None:
        return
    if engine != "headgate":
        hint = did_you_mean(engine, ("headgate",)) if engine.lower() == "headgate" else None
        entry.warn(f"engine `{engine[:60]}` is not ours: nothing here checks it", hint, "engine", code="not-checked")
        return
    predicate = entry.needed_text("implementation")
    if predicate is None:
        return
    problem = expression_problem(predicate)
    if problem:
        hint = "write one SQL predicate over the dataset's fields that must hold"
        entry.error(f"the rule is no predicate: {problem}", hint, "implementation")
        return
    into.rules.append(
        Rule(
            id=into.name(entry, path, "sql"),
            check="sql",
            field=path,
            argument=predicate,
            severity=severity_of(entry),
            tolerance=budget_of(tolerance) if tolerance else None,
            description=entry.text("description") or "",
            place=entry.place("implementation"),
        )
    )


def _sql(entry: Part, one: Field | None, path: str | None, into: Quality, *, nested: bool) -> None:
    query = entry.needed_text("query")
    operator = operator_of(entry)
    if query is None or operator is None:
        return
    problem = query_problem(query)
    if problem:
        entry.error(f"not a query: {problem}", "write a SELECT that gives one number", "query")
        return
    if nested:
        _only_on_top(entry, "an sql check")
        return
    fields = (one.name,) if one else ()
    _check(entry, "sql", operator, fields, path, into, query=query)


def _only_on_top(entry: Part, what: str) -> None:
    entry.error(f"{what} belongs to a field of the dataset, not to a nested one", None, code="not-supported")


def _library(entry: Part, one: Field | None, path: str | None, into: Quality, *, nested: bool) -> None:
    metric = entry.text("metric")
    if metric is None:
        if "metric" not in entry:
            entry.complaints.add([missing(entry.place(), "metric", entry.path)])
        return
    if metric not in METRICS:
        entry.error(f"unknown metric `{metric[:60]}`", did_you_mean(metric, METRICS), "metric", code="unknown-name")
        return
    operator = operator_of(entry)
    if operator is None:
        return
    if metric == "rowCount":
        if one is not None:
            entry.error("rowCount belongs to the dataset, not to a field", "move it up to the dataset", "metric")
        elif entry.value.get("unit") == "percent":
            entry.error("a row count in percent says nothing", "remove the unit", "unit", code="contradiction")
        else:
            _check(entry, metric, operator, (), path, into)
    elif metric == "duplicateValues":
        _duplicates(entry, operator, one, path, into, nested=nested)
    elif one is None or path is None:
        entry.error(f"{metric} belongs to a field", "move it down to the field that it is about", "metric")
    elif metric == "invalidValues":
        _invalid(entry, operator, one, path, into)
    elif nested:
        _only_on_top(entry, metric)
    else:
        _nulls(entry, metric, operator, one, path, into)


def _arguments(entry: Part, known: tuple[str, ...]) -> Part | None:
    arguments = entry.part("arguments")
    for name in arguments.value if arguments else ():
        if name not in known and arguments is not None:
            place = arguments.key_place(name)
            message = f"unknown argument `{name[:60]}` of {entry.value['metric']}"
            arguments.complaints.error(place, message, did_you_mean(name, known), "unknown-name")
    return arguments


def _duplicates(
    entry: Part, operator: Operator, one: Field | None, path: str | None, into: Quality, *, nested: bool
) -> None:
    arguments = _arguments(entry, ("properties",))
    if nested:
        _only_on_top(entry, "duplicateValues")
        return
    if one is not None:
        if one.type.kind in _COMPOSITE:
            entry.error(f"duplicates of {one.type} cannot be found", None, "metric", code="not-supported")
            return
        _check(entry, "duplicateValues", operator, (one.name,), path, into)
        return
    names = arguments.list("properties") if arguments else []
    if not names or not all(isinstance(name, str) for name in names):
        hint = "arguments: {properties: [field, other_field]}"
        entry.error("duplicateValues of a dataset needs the names of fields", hint, "metric")
        return
    _check(entry, "duplicateValues", operator, tuple(names), path, into)


def _nulls(entry: Part, metric: str, operator: Operator, one: Field, path: str, into: Quality) -> None:
    arguments = _arguments(entry, ("missingValues",) if metric == "missingValues" else ())
    texts: list[str] = []
    for index, given in enumerate(arguments.list("missingValues") if arguments else []):
        if isinstance(given, str):
            texts.append(given)
        elif given is not None:
            entry.error(
                f"missing value {shown(given)} is not text",
                "missing values are texts as they come: quote it",
                *("arguments", "missingValues", index),
            )
        if given is not None and given in one.enum:
            entry.error(
                f"{shown(given)} is missing here, but permitted by enum",
                "keep one of the two",
                *("arguments", "missingValues", index),
                code="contradiction",
            )
    if one.required and operator.demands_some():
        entry.error(
            f"the field is required, but {metric} {operator} wants some rows without it",
            "drop `required` or this check",
            "metric",
            code="contradiction",
        )
    if texts:
        into.null_if[path] = (*into.null_if.get(path, ()), *texts)
    _check(entry, metric, operator, (one.name,), path, into)


def _invalid(entry: Part, operator: Operator, one: Field, path: str, into: Quality) -> None:
    arguments = _arguments(entry, ("validValues", "pattern"))
    made = list(_invalid_rules(arguments, one)) if arguments else []
    if arguments is None or not arguments.value:
        hint = "arguments: {validValues: [a, b]} or {pattern: '^[a-z]+$'}"
        entry.error("invalidValues needs to know which values are valid", hint, "metric")
    tolerance = tolerance_of(entry, operator)
    severity = severity_of(entry)
    for check, argument in made:
        into.rules.append(
            Rule(
                id=into.name(entry, path, check),
                check=check,
                field=path,
                argument=argument,
                severity=severity,
                tolerance=tolerance,
                description=entry.text("description") or "",
                place=entry.place("arguments"),
            )
        )


def _invalid_rules(arguments: Part, one: Field) -> Iterator[tuple[str, Any]]:
    if "validValues" in arguments:
        given = [(("validValues", index), value) for index, value in enumerate(arguments.list("validValues"))]
        if one.type.kind in (*_COMPOSITE, Kind.BINARY):
            message = f"valid values cannot be checked for {one.type}"
            arguments.error(message, None, "validValues", code="not-supported")
            return
        values = permitted_values(arguments, one.type, given)
        if not given:
            arguments.error("validValues permits no value", None, "validValues", code="contradiction")
        if one.enum and values and not set(values) & set(one.enum):
            message = "validValues and enum have no value in common: no value can pass"
            arguments.error(message, "keep one of the two", "validValues", code="contradiction")
        if values:
            yield "valid_values", values
    pattern = arguments.text("pattern")
    if pattern is not None:
        problem = pattern_problem(pattern)
        if one.type.kind is not Kind.STRING:
            arguments.error(f"a pattern judges text, not a {one.type}", None, "pattern", code="contradiction")
        elif problem:
            arguments.error(f"pattern {shown(pattern)}: {problem}", "patterns are RE2 expressions", "pattern")
        else:
            yield "pattern", pattern


def _check(
    entry: Part,
    metric: str,
    operator: Operator,
    fields: tuple[str, ...],
    path: str | None,
    into: Quality,
    *,
    query: str | None = None,
) -> None:
    unit = entry.text("unit")
    if unit is not None and unit not in _UNITS:
        entry.error(f"unknown unit `{unit[:60]}`", did_you_mean(unit, _UNITS), "unit", code="unknown-name")
    percent = unit == "percent"
    if percent and not operator.possible_percent():
        message = f"{operator} can never hold for a percentage"
        entry.error(message, "a percentage is within 0 and 100", operator.name, code="contradiction")
    into.checks.append(
        TableCheck(
            id=into.name(entry, path, metric),
            metric=metric,
            operator=operator.name,
            value=operator.value,
            fields=fields,
            query=query,
            percent=percent,
            severity=severity_of(entry),
            description=entry.text("description") or "",
            place=entry.place(),
        )
    )


def null_if(one: Field, texts: tuple[str, ...]) -> tuple[Standardise, ...]:
    """The field's standardisation with what its checks call missing turned into NULL at the end."""
    return (*one.standardise, Standardise("null_if", texts)) if texts else one.standardise

"""One schema object of a contract -> Dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from headgate.contract.complaint import did_you_mean, shown
from headgate.contract.expression import expression_problem
from headgate.contract.fields import fields_of
from headgate.contract.full_reads import check_full_reads, full_reads_of, operation_by
from headgate.contract.history import history_of, operation_of, window_of
from headgate.contract.model import Budget, Dataset, Field, FullReads, Kind, Operation, Rule, TableCheck, Window
from headgate.contract.names import dataset_problem, fold
from headgate.contract.operators import contradictions
from headgate.contract.own import budget_of, check_own, choice
from headgate.contract.part import Part
from headgate.contract.quality import Quality, null_if, read_quality
from headgate.contract.rules import children, field_rules

_UNORDERED = (Kind.OBJECT, Kind.ARRAY, Kind.MAP, Kind.BINARY, Kind.BOOLEAN)
_ALGORITHMS = ("sha256", "md5")


@dataclass(slots=True)
class Owned:
    """The dataset's own `headgate.*` properties, understood."""

    order: tuple[str, ...] = ()
    error_budget: Budget | None = None
    history: str | None = None
    operation: Operation | None = None
    full_reads: FullReads | None = None
    window: Window | None = None
    checksum: Rule | None = None
    drops: tuple[Rule, ...] = ()


def dataset_of(part: Part, contract_id: str, contract_version: str, *, old: bool) -> Dataset | None:
    """The dataset that a schema object describes; None, or a part of it, after complaints."""
    name = part.needed_text("name")
    if name is None:
        return None
    problem = dataset_problem(name)
    if problem:
        part.error(problem, "give the source's name as `physicalName`, and another as `name`", "name")
    if not part.list("properties"):
        at = "properties" if "properties" in part else "name"
        part.error(f"dataset `{name}` has no fields", "list them under `properties`", at)
        return None
    fields = fields_of(part, old=old)
    parts = part.named("properties")
    _check_paths(part, fields, parts)
    _check_sources(fields, parts)
    quality = Quality()
    declared: list[Rule] = []
    for one in fields:
        declared += field_rules(one, parts.get(one.name), one.name, nested=False)
    quality.ids.update(rule.id for rule in declared)
    for one in fields:
        _read_below(one, parts.get(one.name), one.name, quality, nested=False)
    read_quality(part, None, None, quality)
    _check_fields_known(part, quality, fields)
    for earlier, later in contradictions(quality.checks):
        place = later.place or part.place()
        message = f"`{later.id}` and `{earlier.id}` cannot both hold"
        part.complaints.error(place, message, "change one of the two", "contradiction")
    key = _key(part, fields, parts)
    entries = check_own(part, "dataset")
    owned = _owned(entries, fields, quality)
    if owned.full_reads:
        owned.order, owned.operation = (owned.full_reads.at,), operation_by(owned.full_reads)
    history = history_of(entries, fields, key, owned.order, owned.history)
    if owned.window and not key:
        entries["duplicates"].error("a window needs a key", None, "property", code="contradiction")
    if owned.window and history == "scd2":
        entries["duplicates"].error(
            "a window cannot bound scd2: versions older than it would never end", None, "property", code="contradiction"
        )
    if owned.full_reads:
        check_full_reads(entries, owned.full_reads, fields, key, history, owned.window)
    elif owned.operation and history == "append":
        entries["operation"].error(
            "headgate.operation needs a key", "rows that delete name what they delete", "property", code="contradiction"
        )
    return Dataset(
        name=name,
        fields=tuple(_finish(one, quality, key) for one in fields),
        contract_id=contract_id,
        contract_version=contract_version,
        physical_name=part.text("physicalName") or "",
        physical_type=part.text("physicalType") or "",
        key=key,
        order=owned.order,
        history=history,
        operation=owned.operation,
        full_reads=owned.full_reads,
        window=owned.window,
        rules=_in_order(fields, declared, quality.rules, owned.checksum),
        drops=owned.drops,
        checks=(*_unique_checks(fields), *quality.checks),
        error_budget=owned.error_budget,
        properties={name: entry.value.get("value") for name, entry in entries.items()},
        description=part.text("description") or "",
        tags=tuple(tag for tag in part.list("tags") if isinstance(tag, str)),
        place=part.place(),
    )


def _read_below(one: Field, part: Part | None, path: str, quality: Quality, *, nested: bool) -> None:
    if part is None:
        return
    read_quality(part, one, path, quality, nested=nested)
    for below, inner, inner_path in children(one, part, path):
        _read_below(below, inner, inner_path, quality, nested=True)


def _check_paths(part: Part, fields: tuple[Field, ...], parts: Mapping[str, Part]) -> None:
    """A field `a.b` beside an object `a` that holds `b` could not be told apart in rules."""
    for one in fields:
        stem, dot, rest = one.name.partition(".")
        other = next((field for field in fields if dot and field.name == stem), None)
        if other is not None and any(below.name == rest for below in other.type.fields):
            place = parts[one.name].place("name") if one.name in parts else part.place()
            part.complaints.error(place, f"`{one.name}` is also `{rest}` inside `{stem}`", "rename one of the two")


def _check_sources(fields: tuple[Field, ...], parts: Mapping[str, Part]) -> None:
    """Columns of the source whose names differ in case only would be mixed up by whoever ignores case, SQL first."""
    seen: dict[str, str] = {}
    for one in fields:
        if one.transform is not None:
            continue
        other = seen.setdefault(fold(one.source_name), one.source_name)
        if other != one.source_name:
            at = "physicalName" if one.source else "name"
            message = f"the source's columns `{other}` and `{one.source_name}` differ in case only"
            parts[one.name].error(message, "name one of them here; if both are needed, rename one in the source", at)


def _check_fields_known(part: Part, quality: Quality, fields: tuple[Field, ...]) -> None:
    names = [one.name for one in fields]
    for check in quality.checks:
        for name in check.fields:
            if name not in names:
                place = check.place or part.place()
                message = f"`{check.id}` names the field `{name}`, which is not declared"
                part.complaints.error(place, message, did_you_mean(name, names), "unknown-name")


def _key(part: Part, fields: tuple[Field, ...], parts: Mapping[str, Part]) -> tuple[str, ...]:
    """Key fields by position; those without one in the order written."""
    chosen = [one for one in fields if one.key_position is not None]
    positions = [one.key_position for one in chosen if one.key_position]
    if positions and len(positions) < len(chosen):
        bare = next(one for one in chosen if not one.key_position)
        place = parts[bare.name].place("primaryKey")
        part.complaints.error(place, f"key field `{bare.name}` has no primaryKeyPosition, others have", "number all")
    elif positions:
        for wanted, one in enumerate(sorted(chosen, key=lambda field: field.key_position or 0), 1):
            if one.key_position != wanted:
                place = parts[one.name].place("primaryKeyPosition")
                message = f"primaryKeyPosition {one.key_position} of `{one.name}` should be {wanted}"
                part.complaints.error(place, message, "positions run 1, 2, 3, … without gaps", "contradiction")
                break
    chosen.sort(key=lambda field: field.key_position or 0)
    return tuple(one.name for one in chosen)


def _finish(one: Field, quality: Quality, key: tuple[str, ...]) -> Field:
    return replace(
        one,
        key_position=key.index(one.name) + 1 if one.name in key else None,
        standardise=null_if(one, quality.null_if.get(one.name, ())),
    )


def _unique_checks(fields: tuple[Field, ...]) -> tuple[TableCheck, ...]:
    return tuple(
        TableCheck(f"{one.name}.unique", "duplicateValues", "mustBe", 0, (one.name,), place=one.place)
        for one in fields
        if one.unique
    )


def _in_order(
    fields: tuple[Field, ...], declared: list[Rule], judged: list[Rule], checksum: Rule | None
) -> tuple[Rule, ...]:
    """Field by field: what the field declares, then its quality rules; then rules on the whole row."""
    ordered: list[Rule] = []
    for one in fields:
        for rules in (declared, judged):
            ordered += [rule for rule in rules if rule.field is not None and _belongs(rule.field, one, fields)]
    ordered += [rule for rule in judged if rule.field is None]
    return (*ordered, checksum) if checksum else tuple(ordered)


def _belongs(path: str, one: Field, fields: tuple[Field, ...]) -> bool:
    """Names may hold dots: of two fields that a path may begin with, it is the longer."""
    fitting = [
        field.name for field in fields if path == field.name or path.startswith((field.name + ".", field.name + "[]"))
    ]
    return bool(fitting) and max(fitting, key=len) == one.name


def _owned(entries: Mapping[str, Part], fields: tuple[Field, ...], quality: Quality) -> Owned:
    owned = Owned()
    by_name = {one.name: one for one in fields}
    for name, entry in entries.items():
        match name:
            case "order":
                owned.order = _order(entry, by_name)
            case "error_budget":
                owned.error_budget = budget_of(entry)
            case "history":
                owned.history = choice(entry, ("latest", "append", "scd2"))
            case "operation":
                owned.operation = operation_of(entry, by_name)
            case "full_reads":
                owned.full_reads = full_reads_of(entry, by_name)
            case "checksum":
                owned.checksum = _checksum(entry, by_name)
            case "drop":
                owned.drops = _drops(entry, quality)
            case "unknown_fields":
                choice(entry, ("refuse", "ignore"))
            case "duplicates":
                owned.window = window_of(entry, by_name)
            case _:
                pass
    return owned


def _order(entry: Part, by_name: Mapping[str, Field]) -> tuple[str, ...]:
    given = entry.value.get("value")
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not names:
        entry.error(f"headgate.order is a list of fields, not {shown(given)}", "value: [updated_at]", "value")
        return ()
    for index, name in enumerate(names):
        at = ("value", index) if isinstance(given, list) else ("value",)
        if _known(entry, name, by_name, at) in _UNORDERED:
            entry.error(f"`{name}` is {by_name[name].type} and cannot order rows", None, *at, code="contradiction")
        if name in names[:index]:
            entry.error(f"headgate.order names {shown(name)} twice", "keep one of the two", *at)
    return tuple(name for name in names if isinstance(name, str))


def _known(entry: Part, name: Any, by_name: Mapping[str, Field], at: tuple[str | int, ...]) -> Kind | None:
    """The kind of a field that a property names; a complaint and None when there is no such field."""
    if not isinstance(name, str) or name not in by_name:
        hint = did_you_mean(name, by_name) if isinstance(name, str) else None
        what = entry.value.get("property")
        entry.error(f"{what} names the field {shown(name)}, which is not declared", hint, *at, code="unknown-name")
        return None
    return by_name[name].type.kind


def _checksum(entry: Part, by_name: Mapping[str, Field]) -> Rule | None:
    given = entry.part("value")
    if given is None:
        return None
    for name in given.value:
        if name not in ("field", "of", "algorithm"):
            hint = did_you_mean(name, ("field", "of", "algorithm"))
            given.complaints.error(given.key_place(name), f"unknown `{name[:60]}` of headgate.checksum", hint)
    algorithm = given.value.get("algorithm", "sha256")
    if algorithm not in _ALGORITHMS:
        hint = f"known are: {', '.join(_ALGORITHMS)}"
        given.error(f"unknown checksum algorithm {shown(algorithm)}", hint, "algorithm", code="unknown-name")
    holder, of = given.needed_text("field"), given.needed_text("of")
    if holder is None or of is None:
        return None
    if _known(entry, holder, by_name, ("value", "field")) not in (Kind.STRING, Kind.BINARY, None):
        message = f"`{holder}` is {by_name[holder].type} and cannot hold a checksum"
        given.error(message, "a checksum is text or binary", "field", code="contradiction")
    _known(entry, of, by_name, ("value", "of"))
    if holder == of:
        entry.error("a checksum of itself", None, "value", "of", code="contradiction")
    argument = {"field": holder, "of": of, "algorithm": algorithm}
    return Rule(f"{holder}.checksum", "checksum", holder, argument, place=entry.place())


def _drops(entry: Part, quality: Quality) -> tuple[Rule, ...]:
    found = []
    for one in entry.parts("value"):
        name, sql = one.needed_text("id"), one.needed_text("sql")
        if name is None or sql is None:
            continue
        if name in quality.ids:
            one.error(f"the id `{name[:60]}` stands twice in this dataset", "ids tell rules apart", "id")
        quality.ids.add(name)
        problem = expression_problem(sql)
        if problem:
            one.error(f"no predicate: {problem}", "write one SQL predicate over the dataset's fields", "sql")
            continue
        found.append(Rule(name, "sql", None, sql, description=one.text("description") or "", place=one.place()))
    return tuple(found)

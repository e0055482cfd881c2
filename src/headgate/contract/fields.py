"""One property of a contract -> Field, nested ones included."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from headgate.contract.complaint import missing, name_of, shown
from headgate.contract.expression import expression_problem
from headgate.contract.limits import limits_of, out_of_limits, permitted_values, value_of
from headgate.contract.logical_types import scalar_type
from headgate.contract.model import Field, Kind, Limits, Standardise, Type
from headgate.contract.names import field_problem, fold
from headgate.contract.own import check_own, partition_transform, standardise_steps
from headgate.contract.part import Part

_NOT_NESTED = ("primaryKey", "partitioned", "transformLogic", "unique")
_COMPOSITE = (Kind.OBJECT, Kind.ARRAY, Kind.MAP)


def fields_of(part: Part, *, old: bool, nested: bool = False) -> tuple[Field, ...]:
    """The fields in `properties`, each name once; those that cannot be understood are left out after a complaint."""
    found: list[Field] = []
    seen: dict[str, str] = {}
    for below in part.parts("properties"):
        name = below.needed_text("name")
        if name is None:
            continue
        problem = field_problem(name)
        if problem:
            below.error(problem, "give the source's name as `physicalName`, and another as `name`", "name")
        twin = seen.setdefault(fold(name), name)
        if fold(name) in seen and any(one.name == twin for one in found):
            how = "stands twice" if twin == name else f"is `{twin}` to whoever ignores case"
            below.error(f"field `{name}` {how}", "rename one of the two", "name")
            continue
        one = field_of(below, name, old=old, nested=nested)
        if one is not None:
            found.append(one)
    return tuple(found)


def field_of(part: Part, name: str, *, old: bool, nested: bool) -> Field | None:
    """The field that this part describes, None after a complaint that makes it meaningless."""
    kind = _type_of(part, old=old)
    if kind is None:
        return None
    own = check_own(part, "field")
    limits = limits_of(part, kind)
    in_key = part.boolean("primaryKey") or False
    return Field(
        name=name,
        type=kind,
        source=_source(part, name, nested=nested),
        required=(part.boolean("required") or False) or in_key,
        unique=_unique(part, kind),
        key_position=_key_position(part, kind, in_key=in_key, nested=nested),
        partition=partition_transform(part, own.get("partition"), kind, nested=nested),
        partition_position=_position(part, "partitionKeyPosition") or 0,
        limits=limits,
        enum=_enum(part, kind, limits),
        standardise=_standardise(own.get("standardise"), kind, nested=nested),
        transform=_transform(part, nested=nested),
        description=part.text("description") or "",
        classification=part.text("classification"),
        place=part.place(),
    )


def _type_of(part: Part, *, old: bool) -> Type | None:
    logical = part.text("logicalType")
    if logical is None:
        if "logicalType" not in part:
            part.complaints.add([missing(part.place(), "logicalType", part.path)])
        return None
    match logical:
        case "object":
            return _object(part, old=old)
        case "array":
            items = part.part("items")
            if items is None:
                hint = "say what is in it: `items: {logicalType: string}`"
                part.error("an array without `items`", hint, "logicalType")
                return None
            item = field_of(items, "element", old=old, nested=True)
            return Type(Kind.ARRAY, item=item) if item else None
        case "map":
            return _map(part, old=old)
        case _:
            return scalar_type(part, old=old)


def _object(part: Part, *, old: bool) -> Type | None:
    if not part.list("properties"):
        part.error("an object without `properties`", "list its fields under `properties`", "logicalType")
        return None
    fields = fields_of(part, old=old, nested=True)
    options = part.part("logicalTypeOptions")
    names = {one.name for one in fields}
    needed = options.list("required") if options else []
    for index, name in enumerate(needed):
        if name not in names and options is not None:
            options.error(f"required names `{name}`, which is no property of the object", None, "required", index)
    if needed:
        fields = tuple(_required(one) if one.name in needed else one for one in fields)
    return Type(Kind.OBJECT, fields=fields) if fields else None


def _required(one: Field) -> Field:
    return replace(one, required=True)


def _map(part: Part, *, old: bool) -> Type | None:
    inner = part.part("map")
    key_part = inner.part("key") if inner else None
    value_part = inner.part("value") if inner else None
    if key_part is None or value_part is None:
        message = "a map needs the types of its keys and values"
        part.error(message, "map: {key: {logicalType: string}, value: {logicalType: string}}", "logicalType")
        return None
    key = field_of(key_part, "key", old=old, nested=True)
    item = field_of(value_part, "value", old=old, nested=True)
    if key is None or item is None:
        return None
    if key.type.kind is not Kind.STRING:
        key_part.error(f"keys of a map must be string, not {key.type}", None, "logicalType", code="not-supported")
    for name in ("logicalTypeOptions", "enum", "quality"):
        if key_part.value.get(name):
            message = f"`{name}` of a map's keys cannot be checked"
            key_part.error(message, "use an array of objects", name, code="not-supported")
    return Type(Kind.MAP, key=key, item=item)


def _source(part: Part, name: str, *, nested: bool) -> str:
    given = part.text("physicalName") or ""
    if nested and given not in ("", name):
        part.error(
            "physicalName of a nested field must be its name",
            "rename in a model, or with transformLogic of the whole field",
            "physicalName",
            code="not-supported",
        )
    return "" if given == name else given


def _unique(part: Part, kind: Type) -> bool:
    given = part.boolean("unique") or False
    if given and kind.kind in _COMPOSITE:
        part.error(f"unique cannot be checked for {kind}", None, "unique", code="not-supported")
    return given


def _position(part: Part, name: str) -> int | None:
    given = part.integer(name)
    if given is None or given == -1:  # the standard's own default for "none"
        return None
    if given < 1:
        part.error(f"{name} {given} is less than 1", "positions count from 1", name)
    return given


def _key_position(part: Part, kind: Type, *, in_key: bool, nested: bool) -> int | None:
    position = _position(part, "primaryKeyPosition")
    if nested:
        for name in _NOT_NESTED:
            if part.value.get(name):
                part.error(f"`{name}` belongs to a field of the dataset, not to a nested one", None, name)
        return None
    if not in_key:
        if position is not None:
            message = "primaryKeyPosition without `primaryKey: true`"
            part.error(message, "add it, or remove the position", "primaryKeyPosition", code="contradiction")
        return None
    if part.value.get("required") is False:
        part.error("a key field cannot be optional", "set `required: true`", "required", code="contradiction")
    if kind.kind in (*_COMPOSITE, Kind.NUMBER, Kind.BINARY):
        part.error(f"a field of type {kind} cannot be part of the key", None, "primaryKey", code="not-supported")
    return position or 0


def _enum(part: Part, kind: Type, limits: Limits) -> tuple[Any, ...]:
    given = list(_enum_values(part))
    if given and kind.kind in (*_COMPOSITE, Kind.BINARY):
        part.error(f"enum cannot be checked for {kind}", None, "enum", code="not-supported")
        return ()
    values = permitted_values(part, kind, given)
    for steps, raw in given:
        value = value_of(kind, raw, part.exact(raw, *steps))
        broken = None if value is None else out_of_limits(kind, limits, value)
        if broken:
            message = f"enum value {shown(raw)} breaks {broken}, so it can never pass"
            part.error(message, "widen the limit or remove the value", *steps, code="contradiction")
    if given and not values:
        part.error(f"{name_of((*part.path, 'enum'))} permits no value", None, "enum", code="contradiction")
    return values


def _enum_values(part: Part) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    for index, given in enumerate(part.list("enum")):
        if isinstance(given, dict) and "value" in given:
            yield ("enum", index, "value"), given["value"]
        elif not isinstance(given, dict):
            message = f"an enum entry is a mapping with `value`, not {shown(given)}"
            part.error(message, f"write `- {{value: {shown(given)}}}`", "enum", index)


def _standardise(entry: Part | None, kind: Type, *, nested: bool) -> tuple[Standardise, ...]:
    if entry is None:
        return ()
    if nested or kind.kind in (*_COMPOSITE, Kind.BINARY):
        what = "a nested field" if nested else f"a field of type {kind}"
        entry.error(f"headgate.standardise cannot be used on {what}", None, "property", code="not-supported")
        return ()
    return standardise_steps(entry, kind)


def _transform(part: Part, *, nested: bool) -> str | None:
    given = part.text("transformLogic")
    problem = None if given is None or nested else expression_problem(given)
    if problem:
        part.error(f"transformLogic: {problem}", "write one SQL expression over the source's columns", "transformLogic")
    return given

"""JSON Schema (2020-12) of a dataset's rows, for producers that want to check before they send."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from headgate.contract.model import Dataset, Field, Kind, Type

_FORMATS = {Kind.DATE: "date", Kind.TIMESTAMP: "date-time", Kind.TIME: "time"}


def json_schema(dataset: Dataset) -> dict[str, Any]:
    """The schema of one row as a JSON object with the source's names."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": dataset.name,
        "description": dataset.description,
        **_object(dataset.fields, closed=dataset.properties.get("unknown_fields", "refuse") == "refuse"),
    }


def _object(fields: tuple[Field, ...], *, closed: bool) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {f.source_name: _field(f, closed=closed) for f in fields},
        "required": [f.source_name for f in fields if f.required],
        "additionalProperties": not closed,
    }


def _field(field: Field, *, closed: bool) -> dict[str, Any]:
    made = _type(field.type, closed=closed)
    limits = field.limits
    for key, value in (
        ("minimum", limits.minimum),
        ("maximum", limits.maximum),
        ("exclusiveMinimum", limits.exclusive_minimum),
        ("exclusiveMaximum", limits.exclusive_maximum),
        ("multipleOf", limits.multiple_of),
        ("minLength", limits.min_length),
        ("maxLength", limits.max_length),
        ("pattern", limits.pattern),
        ("minItems", limits.min_items),
        ("maxItems", limits.max_items),
    ):
        if value is not None and not (isinstance(value, str) and key != "pattern"):
            made[key] = _number(value) if isinstance(value, Decimal) else value
    if field.enum:
        made["enum"] = [_number(v) if isinstance(v, Decimal) else v for v in field.enum]
    if field.description:
        made["description"] = field.description
    if not field.required and "type" in made:
        made["type"] = [made["type"], "null"]
    return made


def _type(type_: Type, *, closed: bool) -> dict[str, Any]:
    match type_.kind:
        case Kind.INTEGER:
            return {"type": "integer"}
        case Kind.NUMBER | Kind.DECIMAL:
            return {"type": "number"}
        case Kind.BOOLEAN:
            return {"type": "boolean"}
        case Kind.OBJECT:
            return _object(type_.fields, closed=closed)
        case Kind.ARRAY:
            return {"type": "array", "items": _field(type_.item, closed=closed) if type_.item else {}}
        case Kind.MAP:
            return {"type": "object", "additionalProperties": _field(type_.item, closed=closed) if type_.item else True}
        case _:
            made: dict[str, Any] = {"type": "string"}
            if type_.kind in _FORMATS:
                made["format"] = _FORMATS[type_.kind]
            return made


def _number(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)

"""A registered schema as contract fields: of what its messages become when they are made JSON (see `registered`).

A value that can have several types is a text, as is one that the contract has no exact type for; its description says
so. A schema that is not of an object with fields, or that holds itself, is a ValueError.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from headgate.contract.model import Field, Kind, Type
from headgate.formats.registered import require

_TEXT = Type(Kind.STRING)
_WHOLE = Type(Kind.INTEGER)
_MICROS = 6  # digits of a second that a contract's timestamp has
_MOST_DEPTH = 32


def fields_of(text_format: str, schema: str, references: Sequence[tuple[str, str]]) -> tuple[Field, ...]:
    """The fields of a message. ValueError when they cannot be told, MissingExtraError as `require`."""
    require(text_format)
    if text_format == "avro":
        return _avro(schema, references)
    if text_format == "protobuf":
        from headgate.formats.protobuf import first_type

        return _protobuf(first_type(schema, references), 0)
    return _JsonSchema(json.loads(schema)).fields()


def _of_fields(of: Type) -> tuple[Field, ...]:
    if of.kind is not Kind.OBJECT or not of.fields:
        raise ValueError("its messages are no objects with fields")
    return of.fields


def _several(kinds: Sequence[str]) -> str:
    return f"In the schema: {', '.join(kinds)}."


# --- Avro


def _avro(schema: str, references: Sequence[tuple[str, str]]) -> tuple[Field, ...]:
    from fastavro import parse_schema

    known: dict[str, Any] = {}
    try:
        for _, text in references:
            parse_schema(json.loads(text), named_schemas=known)
        parsed = parse_schema(json.loads(schema), named_schemas=known)
    except Exception as problem:
        raise ValueError(f"the schema cannot be used: {problem}") from problem
    return _of_fields(_Avro(known).member("", parsed, "").type)


_AVRO = {
    "boolean": Type(Kind.BOOLEAN), "int": Type(Kind.INTEGER, bits=32), "long": _WHOLE, "string": _TEXT,
    "float": Type(Kind.NUMBER, bits=32), "double": Type(Kind.NUMBER), "bytes": Type(Kind.BINARY),
    "fixed": Type(Kind.BINARY),
}  # fmt: skip
_AVRO_LOGICAL = {
    ("int", "date"): Type(Kind.DATE), ("int", "time-millis"): Type(Kind.TIME), ("long", "time-micros"): Type(Kind.TIME),
    **{("long", f"timestamp-{unit}"): Type(Kind.TIMESTAMP, zoned=True) for unit in ("millis", "micros")},
    **{("long", f"local-timestamp-{unit}"): Type(Kind.TIMESTAMP) for unit in ("millis", "micros")},
    **{("long", f"{kind}-nanos"): _TEXT for kind in ("timestamp", "local-timestamp")},
}  # fmt: skip


class _Avro:
    def __init__(self, known: Mapping[str, Any]) -> None:
        self._known = known
        self._open: list[str] = []

    def member(self, name: str, schema: Any, doc: str) -> Field:
        """A field; optional when null is among its types."""
        kinds = [one for one in schema if one != "null"] if isinstance(schema, list) else [schema]
        required = not isinstance(schema, list) or len(kinds) == len(schema)
        if len(kinds) == 1:
            return Field(name, self.type(kinds[0]), required=required, description=doc)
        told = _several([one if isinstance(one, str) else str(one.get("name") or one["type"]) for one in kinds])
        return Field(name, _TEXT, required=required, description=f"{doc} {told}".strip())

    def type(self, schema: Any) -> Type:
        if isinstance(schema, list):
            return self.member("", schema, "").type
        if isinstance(schema, str):
            return self._named(self._known[schema]) if schema in self._known else _AVRO.get(schema, _TEXT)
        kind = schema["type"]
        match kind:
            case "record" | "error" | "enum":
                return self._named(schema)
            case "array":
                return Type(Kind.ARRAY, item=self.member("item", schema["items"], ""))
            case "map":
                key = Field("key", _TEXT, required=True)
                return Type(Kind.MAP, key=key, item=self.member("value", schema["values"], ""))
            case str():
                logical = schema.get("logicalType")
                if logical == "decimal" and kind in ("bytes", "fixed"):
                    return decimal(int(schema["precision"]), int(schema.get("scale") or 0))
                return _AVRO_LOGICAL.get((kind, logical)) or self.type(kind)
            case _:
                return self.type(kind)

    def _named(self, schema: Any) -> Type:
        if schema["type"] == "enum":
            return _TEXT
        if schema["type"] == "fixed":
            return self.type({**schema, "type": "fixed"}) if schema.get("logicalType") == "decimal" else _AVRO["fixed"]
        if schema["name"] in self._open:
            raise ValueError(f"{schema['name']} holds itself")
        self._open.append(schema["name"])
        fields = tuple(self.member(f["name"], f["type"], str(f.get("doc") or "")) for f in schema["fields"])
        self._open.pop()
        return Type(Kind.OBJECT, fields=fields)


def decimal(precision: int, scale: int) -> Type:
    """A decimal, or a text where a contract has none so long."""
    return Type(Kind.DECIMAL, precision=precision, scale=scale) if precision <= 38 else _TEXT


# --- Protobuf

_TIMESTAMP = "google.protobuf.Timestamp"


def _protobuf(of: Any, depth: int) -> tuple[Field, ...]:
    if depth > _MOST_DEPTH:
        raise ValueError(f"{of.full_name} holds itself")
    if not of.fields:
        raise ValueError(f"{of.full_name} has no fields")
    return tuple(_proto_member(one.name, one, depth) for one in of.fields)


def _proto_member(name: str, one: Any, depth: int) -> Field:
    if one.is_repeated:
        entry = one.message_type
        if entry is not None and entry.GetOptions().map_entry:
            item = Field("value", _proto_type(entry.fields_by_name["value"], depth), required=True)
            return Field(name, Type(Kind.MAP, key=Field("key", _TEXT, required=True), item=item), required=True)
        item = Field("item", _proto_type(one, depth), required=True)
        return Field(name, Type(Kind.ARRAY, item=item), required=True)
    return Field(name, _proto_type(one, depth), required=not one.has_presence)


def _proto_type(one: Any, depth: int) -> Type:
    if (of := one.message_type) is not None:
        if of.full_name == _TIMESTAMP:
            return Type(Kind.TIMESTAMP, zoned=True)
        if of.full_name.startswith("google.protobuf.") and of.full_name.endswith("Value") and len(of.fields) == 1:
            return _proto_type(of.fields[0], depth)
        return Type(Kind.OBJECT, fields=_protobuf(of, depth + 1))
    if one.type in (one.TYPE_INT32, one.TYPE_SINT32, one.TYPE_SFIXED32):
        return Type(Kind.INTEGER, bits=32)
    if one.type in (one.TYPE_UINT64, one.TYPE_FIXED64):
        return decimal(20, 0)
    if one.type == one.TYPE_FLOAT:
        return Type(Kind.NUMBER, bits=32)
    by_kind = {
        one.CPPTYPE_BOOL: Type(Kind.BOOLEAN), one.CPPTYPE_INT64: _WHOLE, one.CPPTYPE_UINT32: _WHOLE,
        one.CPPTYPE_DOUBLE: Type(Kind.NUMBER),
    }  # fmt: skip
    return Type(Kind.BINARY) if one.type == one.TYPE_BYTES else by_kind.get(one.cpp_type, _TEXT)


# --- JSON Schema

_JSON = {"string": _TEXT, "integer": _WHOLE, "number": Type(Kind.NUMBER), "boolean": Type(Kind.BOOLEAN)}
_FORMATS = {"date-time": Type(Kind.TIMESTAMP, zoned=True), "date": Type(Kind.DATE)}


class _JsonSchema:
    def __init__(self, root: Any) -> None:
        self._root = root

    def fields(self) -> tuple[Field, ...]:
        return _of_fields(self._type(self._root, 0)[0])

    def _member(self, name: str, schema: Any, depth: int, *, required: bool) -> Field:
        of, null, told = self._type(schema, depth)
        doc = str(self._there(schema).get("description") or "")
        return Field(name, of, required=required and not null, description=f"{doc} {told}".strip())

    def _type(self, schema: Any, depth: int) -> tuple[Type, bool, str]:
        """The type, whether null is one of them, and what to say of several."""
        if depth > _MOST_DEPTH:
            raise ValueError("it holds itself, or is too deep")
        there = self._there(schema)
        parts = there.get("oneOf") or there.get("anyOf")
        if parts and "type" not in there:
            others = [one for one in parts if self._there(one).get("type") != "null"]
            null = len(others) < len(parts)
            if len(others) == 1:
                of, inner, told = self._type(others[0], depth + 1)
                return of, null or inner, told
            return _TEXT, null, _several([str(self._there(one).get("type") or "?") for one in others])
        kinds = there.get("type", "object" if "properties" in there else "?")
        kinds = kinds if isinstance(kinds, list) else [kinds]
        named = [kind for kind in kinds if kind != "null"]
        if len(named) != 1 or named == ["?"]:
            return _TEXT, len(named) < len(kinds), _several(named)
        return self._one(named[0], there, depth), len(named) < len(kinds), ""

    def _one(self, kind: str, there: Any, depth: int) -> Type:
        match kind:
            case "object":
                needed = set(there.get("required") or ())
                members = (there.get("properties") or {}).items()
                fields = tuple(self._member(n, one, depth + 1, required=n in needed) for n, one in members)
                if fields:
                    return Type(Kind.OBJECT, fields=fields)
                values = there.get("additionalProperties")
                value = self._member("value", values if isinstance(values, dict) else {}, depth + 1, required=True)
                return Type(Kind.MAP, key=Field("key", _TEXT, required=True), item=value)
            case "array":
                items = there.get("items")
                items = items if isinstance(items, dict) else {}
                return Type(Kind.ARRAY, item=self._member("item", items, depth + 1, required=True))
            case "string":
                return _FORMATS.get(str(there.get("format")), _TEXT)
            case _:
                return _JSON.get(kind, _TEXT)

    def _there(self, schema: Any) -> Mapping[str, Any]:
        """The schema itself, or what it refers to within the same document."""
        for _ in range(_MOST_DEPTH):
            if not isinstance(schema, Mapping):
                return {}
            if "$ref" not in schema:
                return schema
            steps = str(schema["$ref"])
            if not steps.startswith("#/"):
                raise ValueError(f"it refers to {steps}, outside of itself")
            schema = self._root
            for step in steps[2:].split("/"):
                name = step.replace("~1", "/").replace("~0", "~")
                if not isinstance(schema, Mapping) or name not in schema:
                    raise ValueError(f"it refers to {steps}, which is not there")
                schema = schema[name]
        raise ValueError("it refers to itself")

r"""Avro messages as JSON that says the same: every value exactly, or ValueError.

The schema is rewritten so that fastavro, while it reads, makes of each value what JSON shall say: bytes as `\x` and
hex, decimals with all their digits, instants in ISO 8601, a float by its shortest decimal text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from typing import Any

import msgspec
import numpy as np

_MARK = "headgate-"
_PLAIN = {"bytes": "hex", "fixed": "hex", "float": "float", "double": "double"}  # what JSON cannot say by itself
_LOGICAL = {  # Avro's logical types -> ours; all others are told as the type beneath them
    ("bytes", "decimal"): "decimal",
    ("fixed", "decimal"): "decimal",
    ("int", "date"): "date",
    ("int", "time-millis"): "time-millis",
    ("long", "time-micros"): "time-micros",
    ("long", "timestamp-millis"): "timestamp-millis",
    ("long", "timestamp-micros"): "timestamp-micros",
    ("long", "timestamp-nanos"): "timestamp-nanos",
    ("long", "local-timestamp-millis"): "local-timestamp-millis",
    ("long", "local-timestamp-micros"): "local-timestamp-micros",
    ("long", "local-timestamp-nanos"): "local-timestamp-nanos",
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC).replace(tzinfo=None)
_DAY = 86_400


def to_json(schema: str, references: Sequence[tuple[str, str]]) -> Callable[[bytes], bytes]:
    """What makes JSON of a message's payload. Both raise ValueError: for a schema that cannot be read safely, and for
    bytes that are no message of it."""
    from fastavro import parse_schema, schemaless_reader

    _install()
    try:
        known: dict[str, Any] = {}
        for _, text in references:
            parse_schema(json.loads(text), named_schemas=known)
        parsed = parse_schema(json.loads(schema), named_schemas=known)
        prepared: Any = parse_schema(_Rewrite(known).of(parsed))
    except Exception as problem:
        raise ValueError(f"the schema cannot be used: {problem}") from problem
    encode = msgspec.json.Encoder().encode

    def convert(payload: bytes) -> bytes:
        stream = BytesIO(payload)
        try:
            value = schemaless_reader(stream, prepared, None)
        except EOFError as problem:
            raise ValueError("it ends too early") from problem
        except Exception as problem:  # fastavro lets through whatever the bytes make happen
            raise ValueError(f"{type(problem).__name__}: {problem}") from problem
        if rest := len(payload) - stream.tell():
            raise ValueError(f"{rest} bytes are left behind it")
        return encode(value)

    return convert


class _Rewrite:
    """A parsed schema with our marks, each named type written out where it is used first."""

    def __init__(self, known: Mapping[str, Any]) -> None:
        self._known = known
        self._open: list[str] = []
        self._done: set[str] = set()

    def of(self, schema: Any) -> Any:
        """The same schema, marked."""
        if isinstance(schema, list):
            return [self.of(one) for one in schema]
        if isinstance(schema, str):
            if schema in self._known:
                return self._named(self._known[schema])
            return {"type": schema, "logicalType": _MARK + _PLAIN[schema]} if schema in _PLAIN else schema
        kind = schema["type"]
        if kind in {"record", "error", "enum", "fixed"}:
            return self._named(schema)
        if kind == "array":
            if self._is_empty(schema["items"]):
                raise ValueError("an array of items that take no bytes")  # a few bytes would be billions of them
            return {"type": "array", "items": self.of(schema["items"])}
        if kind == "map":
            return {"type": "map", "values": self.of(schema["values"])}
        return self._marked(schema, {"type": kind}) if isinstance(kind, str) else self.of(kind)

    def _named(self, schema: Any) -> Any:
        name = schema["name"]
        if name in self._open:
            raise ValueError(f"{name} holds itself")  # how deep is then said by the message alone
        if name in self._done:
            return name
        if schema["type"] == "enum":  # read as the number that it is: fastavro takes -1 for the last symbol
            return {"type": "int", "logicalType": f"{_MARK}enum", "known": schema["symbols"]}
        self._done.add(name)
        if schema["type"] == "fixed":
            return self._marked(schema, {key: schema[key] for key in ("type", "name", "size")})
        self._open.append(name)
        fields = [{"name": one["name"], "type": self.of(one["type"])} for one in schema["fields"]]
        self._open.pop()
        return {"type": "record", "name": name, "fields": fields}

    def _marked(self, schema: Any, plain: dict[str, Any]) -> Any:
        kind = schema["type"]
        mark = _LOGICAL.get((kind, schema.get("logicalType"))) or _PLAIN.get(kind)
        if mark is None:
            return self.of(kind) if kind in self._known else plain
        scale = {"scale": int(schema.get("scale") or 0)} if mark == "decimal" else {}
        return {**plain, "logicalType": _MARK + mark, **scale}

    def _is_empty(self, schema: Any) -> bool:
        if isinstance(schema, str):
            return schema == "null" or (schema in self._known and self._is_empty(self._known[schema]))
        if isinstance(schema, list):
            return False
        if schema["type"] == "fixed":
            return not schema["size"]
        if schema["type"] == "record":
            return all(self._is_empty(one["type"]) for one in schema["fields"])
        return bool(schema["type"] == "null")


def _hex(data: bytes, *_: Any) -> str:
    return "\\x" + data.hex()


def _double(data: float, *_: Any) -> float:
    if not math.isfinite(data):
        raise ValueError(f"{data} is no number")
    return data


def _float(data: float, *_: Any) -> Any:
    return msgspec.Raw(str(np.float32(_double(data))).encode())


def _decimal(data: bytes, schema: Mapping[str, Any], *_: Any) -> Any:
    return decimal_json(int.from_bytes(data, "big", signed=True), schema["scale"])


def decimal_json(unscaled: int, scale: int) -> Any:
    """A decimal with all its digits, as JSON."""
    digits = str(abs(unscaled)).rjust(scale + 1, "0")
    text = f"{digits[: len(digits) - scale]}.{digits[len(digits) - scale :]}" if scale else digits
    return msgspec.Raw(f"{'-' if unscaled < 0 else ''}{text}".encode())


def _enum(data: int, schema: Mapping[str, Any], *_: Any) -> Any:
    symbols = schema["known"]
    if not 0 <= data < len(symbols):
        raise ValueError(f"an enum of {len(symbols)} symbols has none at {data}")
    return symbols[data]


def _date(data: int, *_: Any) -> str:
    return date.fromordinal(_EPOCH.toordinal() + data).isoformat()


def _clock(per_second: int) -> Callable[..., str]:
    def read(data: int, *_: Any) -> str:
        if not 0 <= data < _DAY * per_second:
            raise ValueError(f"{data} is no time of a day")
        return instant(data, per_second)[11:]

    return read


def _stamp(per_second: int, zone: str) -> Callable[..., str]:
    return lambda data, *_: instant(data, per_second) + zone


def instant(count: int, per_second: int) -> str:
    """So many parts of a second since 1970 in ISO 8601, with every digit. OverflowError outside the years 1 to 9999."""
    seconds, rest = divmod(count, per_second)
    text = (_EPOCH + timedelta(seconds=seconds)).isoformat()
    return f"{text}.{rest:0{len(str(per_second)) - 1}}" if rest else text


def _install() -> None:
    """Teach fastavro our marks."""
    from fastavro.read import LOGICAL_READERS

    readers: dict[str, Callable[..., Any]] = {
        "bytes-hex": _hex,
        "fixed-hex": _hex,
        "float-float": _float,
        "double-double": _double,
        "bytes-decimal": _decimal,
        "fixed-decimal": _decimal,
        "int-date": _date,
        "int-enum": _enum,
        "int-time-millis": _clock(10**3),
        "long-time-micros": _clock(10**6),
    }
    for unit, per_second in (("millis", 10**3), ("micros", 10**6), ("nanos", 10**9)):
        readers[f"long-timestamp-{unit}"] = _stamp(per_second, "Z")
        readers[f"long-local-timestamp-{unit}"] = _stamp(per_second, "")
    for name, read in readers.items():
        kind, _, mark = name.partition("-")
        LOGICAL_READERS[f"{kind}-{_MARK}{mark}"] = read

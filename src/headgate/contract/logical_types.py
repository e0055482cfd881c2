"""logicalType, logicalTypeOptions and physicalType of a scalar property -> Type."""

from __future__ import annotations

import re
from decimal import Decimal

from headgate.contract.complaint import did_you_mean
from headgate.contract.model import Kind, Type
from headgate.contract.part import Part

LOGICAL = (
    "string", "integer", "number", "boolean", "date", "timestamp", "time", "object", "array", "map", "vector",
)  # fmt: skip

_NUMERIC = re.compile(
    r"\s*(numeric|decimal|dec|number)\s*(?:\(\s*([0-9]{1,4})\s*(?:,\s*(-?[0-9]{1,4})\s*)?\)\s*)?", re.IGNORECASE
)
_ZONED = re.compile(
    r"\s*(timestamptz|timestamp_tz|timestamp_ltz|datetimeoffset|timestamp\b.*\bwith\s+(local\s+)?time\s+zone)\b.*",
    re.IGNORECASE,
)
_ZONED_TIME = re.compile(r"\s*(timetz|time\b.*\bwith\s+time\s+zone)\b.*", re.IGNORECASE)
_BINARY = re.compile(r"\s*(bytea|blob|binary|varbinary|binary\s+varying|bytes|raw|image)\b.*", re.IGNORECASE)
_SINGLE = re.compile(r"\s*(real|float4|float32)\s*", re.IGNORECASE)
_TIMESTAMP = re.compile(r"\s*(timestamp|datetime)", re.IGNORECASE)

# What an older contract without logicalType means by its physicalType.
_BY_PHYSICAL = (
    (re.compile(r"\s*(n?(var)?char|character|string|text|bpchar|clob|uuid|citext|enum|name)"), "string"),
    (_BINARY, "string"),
    (re.compile(r"\s*(big|small|tiny|medium)?(int|integer|int[248]|serial|long)\b|\s*(big|small)?serial"), "integer"),
    (_NUMERIC, "number"),
    (re.compile(r"\s*(real|double|float|money)"), "number"),
    (re.compile(r"\s*bool"), "boolean"),
    (_ZONED, "timestamp"),
    (_TIMESTAMP, "timestamp"),
    (re.compile(r"\s*date\s*"), "date"),
    (re.compile(r"\s*time\b"), "time"),
)

_INTEGER_BITS = {"i8": 32, "u8": 32, "i16": 32, "u16": 32, "i32": 32, "u32": 64, "i64": 64}
IMPLIED = {
    "i8": (-(2**7), 2**7 - 1),
    "u8": (0, 2**8 - 1),
    "i16": (-(2**15), 2**15 - 1),
    "u16": (0, 2**16 - 1),
    "u32": (0, 2**32 - 1),
    "u64": (0, 2**64 - 1),
}


def logical_for(physical: str) -> str | None:
    """The logicalType that a physicalType stands for, None when it could be anything."""
    for pattern, logical in _BY_PHYSICAL:
        if pattern.fullmatch(physical) or pattern.match(physical.lower()):
            return logical
    return None


def scalar_type(part: Part, *, old: bool) -> Type | None:
    """The type of a property that is neither object, array nor map. None after a complaint.

    `old`: the contract follows v3.0 of the standard, whose `date` also stands for timestamps.
    """
    logical = part.text("logicalType")
    physical = part.text("physicalType") or ""
    options = part.part("logicalTypeOptions")
    match logical:
        case "string":
            return Type(Kind.BINARY if _BINARY.fullmatch(physical) else Kind.STRING)
        case "boolean":
            return Type(Kind.BOOLEAN)
        case "date":
            if old and _TIMESTAMP.match(physical):
                return _timestamp(part, options, physical)
            return Type(Kind.DATE)
        case "timestamp":
            return _timestamp(part, options, physical)
        case "time":
            return _time(part, options, physical)
        case "integer":
            return _integer(part, options, physical)
        case "number":
            return _number(part, options, physical)
        case "vector":
            part.error(
                "logicalType `vector` is not supported",
                "use an array of numbers: `logicalType: array, items: {logicalType: number}`",
                "logicalType",
                code="not-supported",
            )
        case None:
            pass
        case _:
            part.error(f"unknown logicalType `{logical[:60]}`", did_you_mean(logical, LOGICAL), "logicalType")
    return None


def _timestamp(part: Part, options: Part | None, physical: str) -> Type:
    by_physical = bool(_ZONED.fullmatch(physical))
    zoned = options.boolean("timezone") if options else None
    if zoned is False and by_physical:
        part.error(
            f"timezone is false, but physicalType is `{physical}`",
            "keep one of the two",
            "logicalTypeOptions",
            "timezone",
            code="contradiction",
        )
    return Type(Kind.TIMESTAMP, zoned=bool(zoned) or by_physical)


def _time(part: Part, options: Part | None, physical: str) -> Type | None:
    if (options and options.boolean("timezone")) or _ZONED_TIME.fullmatch(physical):
        part.error(
            "a time with a time zone is not supported",
            "use a timestamp with a time zone, or keep it as string",
            "logicalType",
            code="not-supported",
        )
        return None
    return Type(Kind.TIME)


def _integer(part: Part, options: Part | None, physical: str) -> Type | None:
    given = options.text("format") if options else None
    if given == "u64":
        return Type(Kind.DECIMAL, precision=20, scale=0)
    if given in ("i128", "u128"):
        part.error(
            f"format `{given}` is not supported",
            "use `logicalType: number` with `physicalType: numeric(38,0)`",
            "logicalTypeOptions",
            "format",
            code="not-supported",
        )
        return None
    if given is not None and given not in _INTEGER_BITS:
        part.error(
            f"unknown format `{given[:60]}` of an integer",
            did_you_mean(given, [*_INTEGER_BITS, "u64"]),
            "logicalTypeOptions",
            "format",
        )
    numeric = _NUMERIC.fullmatch(physical)
    if numeric and numeric[2] and given is None:
        decimal = _decimal(part, physical, numeric)
        if decimal and decimal.scale:
            part.error(
                f"logicalType is integer, but `{physical}` has decimals",
                "use `logicalType: number`",
                "physicalType",
                code="contradiction",
            )
        if decimal and decimal.precision > 18:  # more than 64 bits hold
            return decimal
    return Type(Kind.INTEGER, bits=_INTEGER_BITS.get(given or "i64", 64))


def _number(part: Part, options: Part | None, physical: str) -> Type | None:
    given = options.text("format") if options else None
    if given not in (None, "f32", "f64"):
        part.error(f"unknown format `{given[:60]}` of a number", "known are: f32, f64", "logicalTypeOptions", "format")
    numeric = _NUMERIC.fullmatch(physical)
    if numeric and numeric[2]:
        if given:
            part.error(
                f"format `{given}` is a binary float, but physicalType is `{physical}`",
                "keep one of the two",
                "logicalTypeOptions",
                "format",
                code="contradiction",
            )
        return _decimal(part, physical, numeric)
    if numeric and not given:
        part.warn(
            f"`{physical}` without precision is kept as a 64-bit float; values it cannot hold are quarantined",
            "write `physicalType: numeric(p,s)` to keep exact decimals",
            "physicalType",
            code="inexact",
        )
    single = given == "f32" or (given is None and bool(_SINGLE.fullmatch(physical)))
    return Type(Kind.NUMBER, bits=32 if single else 64)


def _decimal(part: Part, physical: str, numeric: re.Match[str]) -> Type | None:
    precision, scale = int(numeric[2]), int(numeric[3] or 0)
    if not 1 <= precision <= 38:
        part.error(f"precision of `{physical}` is not within 1 and 38", "use at most numeric(38,s)", "physicalType")
        return None
    if not 0 <= scale <= precision:
        part.error(
            f"scale of `{physical}` is not within 0 and its precision", "use numeric(p,s) with s ≤ p", "physicalType"
        )
        return None
    return Type(Kind.DECIMAL, precision=precision, scale=scale)


def range_of(kind: Type) -> tuple[Decimal, Decimal] | None:
    """The smallest and the greatest value that a numeric type holds; None where it has no exact bounds."""
    if kind.kind is Kind.INTEGER:
        return Decimal(-(2 ** (kind.bits - 1))), Decimal(2 ** (kind.bits - 1) - 1)
    if kind.kind is Kind.DECIMAL:
        most = Decimal((0, (9,) * kind.precision, -kind.scale))
        return -most, most
    return None


def fitting_physical(of: Type, physical: str) -> str:
    """The physicalType to write for a type: the source's own spelling where it reads back as this very type."""
    numeric = _NUMERIC.fullmatch(physical)
    match of.kind:
        case Kind.DECIMAL:
            same = numeric and numeric[2] and (int(numeric[2]), int(numeric[3] or 0)) == (of.precision, of.scale)
            return physical if same else f"numeric({of.precision},{of.scale})"
        case Kind.BINARY:
            return physical if _BINARY.fullmatch(physical) else "bytea"
        case Kind.STRING:
            fits = not _BINARY.fullmatch(physical)
        case Kind.TIMESTAMP:
            fits = bool(_ZONED.fullmatch(physical)) == of.zoned
        case Kind.TIME:
            fits = not _ZONED_TIME.fullmatch(physical)
        case Kind.INTEGER | Kind.NUMBER:
            fits = not numeric
        case Kind.DATE:
            fits = not _TIMESTAMP.match(physical)
        case _:
            fits = True
    return physical if fits else ""

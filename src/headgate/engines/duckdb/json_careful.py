"""Reading one JSON line with care: every value exactly, and every reason why the line does not fit.

Slow and obvious: only lines that the gate refused or that the fast way cannot vouch for come here. What is typed
here equals what the fast way makes of the same line.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from headgate.contract.model import Dataset, Field, Kind, Type
from headgate.contract.sql_names import item_of, key_of
from headgate.engines.duckdb.judgement import LONGEST_VALUE

RECORD = "record"  # the rule that a record which is no JSON object of the contract's shape breaks
_INT = {32: 2**31, 64: 2**63}
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = r"([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,6})0*)?"
_CLOCK = re.compile(_TIME)
_STAMP = re.compile(rf"([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}})[Tt ]{_TIME}([Zz]|[+-][0-9]{{2}}:?[0-9]{{2}})?")
_BYTES = re.compile(r"\\x((?:[0-9a-fA-F]{2})*)")


class _Number(str):
    """A number as it was written."""

    __slots__ = ()


class _Pairs(list[tuple[str, Any]]):
    """An object as it was written: with keys that come twice."""


class _Misfit(ValueError):
    """The value is not one of the type."""


@dataclass(slots=True)
class Read:
    """A line: typed values by field name, texts of standardised fields, and what is wrong with it.

    `whole` is false when the line is no record at all. `bad_paths` are the fields whose values were left out
    because of their type.
    """

    whole: bool = True
    values: dict[str, Any] = field(default_factory=dict)
    texts: dict[str, str | None] = field(default_factory=dict)
    reasons: list[dict[str, str | None]] = field(default_factory=list)
    bad_paths: set[str] = field(default_factory=set)


class CarefulReader:
    """Reads lines of one dataset. `extra_keys` are keys that transforms read."""

    def __init__(self, dataset: Dataset, extra_keys: Sequence[str], *, unknown: str) -> None:
        self.fields = [f for f in dataset.fields if f.transform is None]
        self.extra_keys = frozenset(extra_keys)
        self.forbid = unknown != "ignore"
        self.type_rules = {r.field: r.id for r in dataset.rules if r.check == "type" and r.field}

    def read(self, line: bytes, refusal: str | None) -> Read:
        """The line's values and reasons. `refusal` is the gate's own text, kept for lines that are no record."""
        read = Read()
        try:
            value = json.loads(
                line.decode(),
                parse_float=_Number,
                parse_int=_Number,
                parse_constant=_no_constant,
                object_pairs_hook=_Pairs,
            )
        except (ValueError, RecursionError) as problem:
            return self._no_record(read, refusal or str(problem) or "nested too deeply")
        if not isinstance(value, _Pairs):
            return self._no_record(read, refusal or "not a JSON object")
        members = self._members(read, value, "", {f.source_name for f in self.fields} | self.extra_keys)
        for one in self.fields:
            given = members.get(one.source_name)
            if one.standardise:
                read.texts[one.name] = self._text(read, one, given)
            else:
                read.values[one.name] = self._value(read, one.type, given, one.name)
        for key in self.extra_keys:
            self._lossless(read, key, members.get(key))
        return read

    def _no_record(self, read: Read, why: str) -> Read:
        read.whole = False
        self._record(read, why)
        return read

    def _record(self, read: Read, why: str) -> None:
        read.reasons.append({"rule": RECORD, "field": None, "value": why[:LONGEST_VALUE]})

    def _members(self, read: Read, pairs: _Pairs, path: str, known: set[str] | frozenset[str]) -> dict[str, Any]:
        members: dict[str, Any] = {}
        for key, value in pairs:
            if key in members:
                self._record(read, f"key `{_shown(path + key)}` comes twice")
            elif self.forbid and key not in known:
                self._record(read, f"unknown key `{_shown(path + key)}`")
            members[key] = value
        return members

    def _value(self, read: Read, of: Type, given: Any, path: str) -> Any:
        """The typed value; None, and a reason, when it is not one of the type."""
        if given is None:
            return None
        try:
            match of.kind:
                case Kind.OBJECT:
                    return self._object(read, of, given, path)
                case Kind.ARRAY:
                    item = item_of(of)
                    return [self._item(read, item, one, f"{path}[]") for one in _must(given, list)]
                case Kind.MAP:
                    return self._map(read, of, given, path)
                case _:
                    return scalar(of, given)
        except _Misfit:
            self._misfit(read, path, given)
            return None

    def _misfit(self, read: Read, path: str, given: Any) -> None:
        read.bad_paths.add(path)
        rule = self.type_rules.get(path, f"{path}.type")
        read.reasons.append({"rule": rule, "field": path, "value": _shown(as_text(given))[:LONGEST_VALUE]})

    def _item(self, read: Read, item: Field, given: Any, path: str) -> Any:
        return self._value(read, item.type, given, path)

    def _object(self, read: Read, of: Type, given: Any, path: str) -> dict[str, Any]:
        members = self._members(read, _must(given, _Pairs), f"{path}.", {f.source_name for f in of.fields})
        return {f.name: self._value(read, f.type, members.get(f.source_name), f"{path}.{f.name}") for f in of.fields}

    def _map(self, read: Read, of: Type, given: Any, path: str) -> list[tuple[Any, Any]]:
        entries: dict[Any, Any] = {}
        for key, value in _must(given, _Pairs):
            kind = key_of(of).type
            typed = scalar(kind, key if kind.kind is not Kind.INTEGER else _Number(key))
            if typed in entries:
                self._record(read, f"key `{_shown(f'{path}.{key}')}` comes twice")
            entries[typed] = self._item(read, item_of(of), value, f"{path}[]")
        return list(entries.items())

    def _text(self, read: Read, one: Field, given: Any) -> str | None:
        """Text or number as text, for standardising; a text field takes only text."""
        if given is None:
            return None
        right = isinstance(given, str) and (one.type.kind is not Kind.STRING or not isinstance(given, _Number))
        if not right or not _is_text(given):
            self._misfit(read, one.name, given)
            return None
        return str(given)

    def _lossless(self, read: Read, key: str, given: Any) -> None:
        """A transform reads numbers through a float: one that does not survive that is refused."""
        if isinstance(given, _Number):
            try:
                scalar(Type(Kind.NUMBER), given)
            except _Misfit:
                self._misfit(read, key, given)


def scalar(of: Type, given: Any) -> Any:
    """The exact Python value of a JSON scalar. _Misfit when it is not one of the type."""
    match of.kind:
        case Kind.STRING:
            return _string(given)
        case Kind.INTEGER:
            return _integer(_must(given, _Number), of.bits)
        case Kind.NUMBER:
            return _float(_must(given, _Number), of.bits)
        case Kind.DECIMAL:
            return _decimal(_must(given, _Number), of.precision, of.scale)
        case Kind.BOOLEAN:
            return _must(given, bool)
        case Kind.DATE:
            return _date(_string(given))
        case Kind.TIME:
            return _clock(_string(given))
        case Kind.TIMESTAMP:
            return _stamp(_string(given), zoned=of.zoned)
        case Kind.BINARY:
            return _bytes(_string(given))
        case _:
            raise _Misfit


def _must(given: Any, kind: type) -> Any:
    if not isinstance(given, kind) or (kind is list and isinstance(given, _Pairs)):
        raise _Misfit
    return given


def _string(given: Any) -> str:
    if not isinstance(given, str) or isinstance(given, _Number) or not _is_text(given):
        raise _Misfit
    return given


def _is_text(given: str) -> bool:
    try:
        given.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return False
    return True


def _integer(given: str, bits: int) -> int:
    if not re.fullmatch(r"-?[0-9]{1,20}", given):
        raise _Misfit
    value = int(given)
    if not -_INT[bits] <= value < _INT[bits]:
        raise _Misfit
    return value


def _float(given: str, bits: int) -> float:
    value = float(given)
    if not math.isfinite(value) or len(given) > 400:
        raise _Misfit
    printed = repr(value)
    if bits == 32:
        import numpy as np

        small = np.float32(given)
        value, printed = float(small), str(small)
        if not math.isfinite(value):
            raise _Misfit
    if Decimal(printed) != Decimal(given):
        raise _Misfit
    return value


def _decimal(given: str, precision: int, scale: int) -> Decimal:
    value = Decimal(given)
    if not value:
        return Decimal(0).scaleb(-scale)
    if value.adjusted() >= precision - scale:
        raise _Misfit
    _, digits, exponent = value.as_tuple()
    wanted = -scale - int(exponent)
    if wanted > 0 and any(digits[-wanted:]):  # digits behind the scale
        raise _Misfit
    import decimal

    with decimal.localcontext(prec=max(len(digits), precision) + 1):
        return value.quantize(Decimal(1).scaleb(-scale))


def _date(given: str) -> dt.date:
    if not _DATE.fullmatch(given):
        raise _Misfit
    return _made(dt.date.fromisoformat, given)


def _clock(given: str) -> dt.time:
    found = _CLOCK.fullmatch(given)
    if found is None:
        raise _Misfit
    return _made(dt.time.fromisoformat, f"{found[1]}.{(found[2] or '').ljust(6, '0')}")


def _stamp(given: str, *, zoned: bool) -> dt.datetime:
    found = _STAMP.fullmatch(given)
    if found is None or (found[4] is not None) != zoned:
        raise _Misfit
    zone = "" if found[4] is None else "+00:00" if found[4] in "Zz" else found[4]
    value = _made(dt.datetime.fromisoformat, f"{found[1]}T{found[2]}.{(found[3] or '').ljust(6, '0')}{zone}")
    return _made(lambda v: v.astimezone(dt.UTC), value) if zoned else value


def _bytes(given: str) -> bytes:
    found = _BYTES.fullmatch(given)
    if found is None:
        raise _Misfit
    return bytes.fromhex(found[1])


def _made(make: Any, given: Any) -> Any:
    try:
        return make(given)
    except (ValueError, OverflowError) as problem:
        raise _Misfit from problem


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def as_text(value: Any) -> str:
    """A JSON value as text: texts and numbers as they are, everything else as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, _Pairs):
        return "{" + ",".join(f"{json.dumps(k)}:{_nested(v)}" for k, v in value) + "}"
    return "[" + ",".join(_nested(one) for one in value) + "]"


def _nested(value: Any) -> str:
    if isinstance(value, str) and not isinstance(value, _Number):
        return json.dumps(value, ensure_ascii=False)
    return as_text(value)


def _shown(text: str) -> str:
    """Text that Parquet can hold: half surrogate pairs are written as escapes."""
    return text.encode(errors="backslashreplace").decode()

"""Reading one JSON line with care: every value exactly, and every reason why the line does not fit.

Slow and obvious: only lines that the gate refused or that the fast way cannot vouch for come here. What is typed
here equals what the fast way makes of the same line.
"""

from __future__ import annotations

import datetime as dt
import decimal
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeVar

from headgate.contract.model import Dataset, Field, Kind, Type
from headgate.contract.sql_names import item_of, key_of
from headgate.engines.duckdb.judgement import LONGEST_VALUE

RECORD = "record"  # the rule that a record which is no JSON object of the contract's shape breaks
_LONGEST_NUMBER = 400  # characters; nobody writes longer ones, and exact arithmetic on them is slow
_INT = {32: 2**31, 64: 2**63}
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = r"([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,6})0*)?"
_CLOCK = re.compile(_TIME)
_STAMP = re.compile(rf"([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}})[Tt ]{_TIME}([Zz]|[+-][0-9]{{2}}:?[0-9]{{2}})?")
_BYTES = re.compile(r"\\x((?:[0-9a-fA-F]{2})*)")


_Value = TypeVar("_Value")


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


# Reads a value that is there: gives the typed value, or raises _Misfit; notes what is wrong further inside.
Reader = Callable[[Read, Any], Any]


class CarefulReader:
    """Reads lines of one dataset. `extra_keys` are keys that transforms read."""

    def __init__(self, dataset: Dataset, extra_keys: Sequence[str], *, unknown: str) -> None:
        self.extra_keys = frozenset(extra_keys)
        self.forbid = unknown != "ignore"
        self.type_rules = {r.field: r.id for r in dataset.rules if r.check == "type" and r.field}
        fields = [f for f in dataset.fields if f.transform is None]
        self._known = frozenset(f.source_name for f in fields) | self.extra_keys
        self._typed = [(f.name, f.source_name, self._reader(f, f.name)) for f in fields if not f.standardise]
        self._texts = [(f.name, f.source_name, f.type.kind is Kind.STRING) for f in fields if f.standardise]

    def read(self, line: bytes | None, refusal: str | None) -> Read:
        """The line's values and reasons. `refusal` is the gate's own text, kept for lines that are no record."""
        read = Read()
        if line is None:
            return self._no_record(read, "no value: a tombstone")
        try:
            value = _JSON.decode(line.decode())
        except (ValueError, RecursionError) as problem:
            return self._no_record(read, refusal or str(problem) or "nested too deeply")
        if not isinstance(value, _Pairs):
            return self._no_record(read, refusal or "not a JSON object")
        if b"\\u" in line and _has_half_pair(value):
            return self._no_record(read, "half a surrogate pair")
        members = self._members(read, value, "", self._known)
        for name, key, reader in self._typed:
            read.values[name] = self._tried(read, reader, members.get(key), name)
        for name, key, textual in self._texts:
            read.texts[name] = self._text(read, name, members.get(key), textual=textual)
        for key in self.extra_keys:
            self._lossless(read, key, members.get(key))
        return read

    def _no_record(self, read: Read, why: str) -> Read:
        read.whole = False
        _note_record(read, why)
        return read

    def _members(self, read: Read, pairs: _Pairs, path: str, known: frozenset[str]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) < len(pairs):
            for key in sorted(_twice(pairs)):
                if self.forbid or key in known:
                    _note_record(read, f"key `{_shown(path + key)}` comes twice")
        if self.forbid and not members.keys() <= known:
            for key in members:
                if key not in known:
                    _note_record(read, f"unknown key `{_shown(path + key)}`")
        return members

    def _tried(self, read: Read, reader: Reader, given: Any, path: str) -> Any:
        if given is None:
            return None
        try:
            return reader(read, given)
        except _Misfit:
            self._misfit(read, path, given)
            return None

    def _misfit(self, read: Read, path: str, given: Any) -> None:
        read.bad_paths.add(path)
        rule = self.type_rules.get(path, f"{path}.type")
        read.reasons.append({"rule": rule, "field": path, "value": _shown(as_text(given))[:LONGEST_VALUE]})

    def _reader(self, one: Field, path: str) -> Reader:
        """The reader of a field, made once."""
        of = one.type
        match of.kind:
            case Kind.OBJECT:
                return self._object(of, path)
            case Kind.ARRAY:
                return self._array(of, path)
            case Kind.MAP:
                return self._map(of, path)
            case Kind.STRING:
                return _read_string
            case Kind.DECIMAL:
                return _decimal_reader(of.precision, of.scale)
            case _:
                typed = scalar_reader(of)
                return lambda _, given: typed(given)

    def _object(self, of: Type, path: str) -> Reader:
        readers = [(f.name, f.source_name, self._reader(f, f"{path}.{f.name}"), f"{path}.{f.name}") for f in of.fields]
        known, prefix = frozenset(f.source_name for f in of.fields), f"{path}."

        def read_object(read: Read, given: Any) -> dict[str, Any]:
            members = self._members(read, _must(given, _Pairs), prefix, known)
            return {name: self._tried(read, reader, members.get(key), at) for name, key, reader, at in readers}

        return read_object

    def _array(self, of: Type, path: str) -> Reader:
        at = f"{path}[]"
        reader = self._reader(item_of(of), at)
        return lambda read, given: [self._tried(read, reader, one, at) for one in _must(given, list)]

    def _map(self, of: Type, path: str) -> Reader:
        at, key_type = f"{path}[]", key_of(of).type
        typed_key = scalar_reader(key_type)
        numeric = key_type.kind in (Kind.INTEGER, Kind.NUMBER, Kind.DECIMAL)
        reader = self._reader(item_of(of), at)

        def read_map(read: Read, given: Any) -> list[tuple[Any, Any]]:
            entries: dict[Any, Any] = {}
            for key, value in _must(given, _Pairs):
                typed = typed_key(_Number(key) if numeric else key)
                if typed in entries:
                    _note_record(read, f"key `{_shown(f'{path}.{key}')}` comes twice")
                entries[typed] = self._tried(read, reader, value, at)
            return list(entries.items())

        return read_map

    def _text(self, read: Read, name: str, given: Any, *, textual: bool) -> str | None:
        """Text or number as text, for standardising; a text field takes only text."""
        if given is None:
            return None
        right = isinstance(given, str) and not (textual and isinstance(given, _Number))
        if not right:
            self._misfit(read, name, given)
            return None
        return str(given)

    def _lossless(self, read: Read, key: str, given: Any) -> None:
        """A transform reads numbers through a float: one that does not survive that is refused."""
        if isinstance(given, _Number):
            try:
                _float(given, 64)
            except _Misfit:
                self._misfit(read, key, given)


def _twice(pairs: _Pairs) -> set[str]:
    seen: set[str] = set()
    return {key for key, _ in pairs if key in seen or seen.add(key)}  # type: ignore[func-returns-value]


def _note_record(read: Read, why: str) -> None:
    read.reasons.append({"rule": RECORD, "field": None, "value": why[:LONGEST_VALUE]})


def _has_half_pair(value: Any) -> bool:
    """Whether a text in it is no Unicode text, which JSON can write but nothing can store."""
    if isinstance(value, str):
        return not _is_text(value)
    if isinstance(value, _Pairs):
        return any(not _is_text(key) or _has_half_pair(inner) for key, inner in value)
    return isinstance(value, list) and any(_has_half_pair(inner) for inner in value)


def _read_string(_: Read, given: Any) -> str:
    if type(given) is not str:  # a number is a text too, but a _Number
        raise _Misfit
    return given


def _decimal_reader(precision: int, scale: int) -> Reader:
    def read_decimal(_: Read, given: Any) -> Decimal:
        number = _must(given, _Number)
        whole, _point, fraction = number.lstrip("-").partition(".")
        if len(whole) <= precision - scale and len(fraction) <= scale and "e" not in number and "E" not in number:
            return Decimal(number)
        return _decimal(number, precision, scale)

    return read_decimal


def scalar_reader(of: Type) -> Callable[[Any], Any]:
    """What makes the exact Python value of a JSON scalar, or raises _Misfit when it is not one of the type."""
    match of.kind:
        case Kind.STRING:
            return _string
        case Kind.INTEGER:
            return lambda given: _integer(_must(given, _Number), of.bits)
        case Kind.NUMBER:
            return lambda given: _float(_must(given, _Number), of.bits)
        case Kind.DECIMAL:
            return lambda given: _decimal(_must(given, _Number), of.precision, of.scale)
        case Kind.BOOLEAN:
            return lambda given: _must(given, bool)
        case Kind.DATE:
            return lambda given: _date(_string(given))
        case Kind.TIME:
            return lambda given: _clock(_string(given))
        case Kind.TIMESTAMP:
            return lambda given: _stamp(_string(given), zoned=of.zoned)
        case Kind.BINARY:
            return lambda given: _bytes(_string(given))
        case _:
            return _never


def _must(given: Any, kind: type[_Value]) -> _Value:
    if type(given) is not kind:  # exactly: a number is a text here, and an object a list
        raise _Misfit
    return given


def _string(given: Any) -> str:
    if type(given) is not str:
        raise _Misfit
    return given


def _is_text(given: str) -> bool:
    try:
        given.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return False
    return True


def _integer(given: str, bits: int) -> int:
    if len(given) > 20:
        raise _Misfit
    value = _made(int, str(given))  # a fraction or an exponent is no integer
    if not -_INT[bits] <= value < _INT[bits]:
        raise _Misfit
    return value


def _float(given: str, bits: int) -> float:
    value = _made(float, given)
    if bits == 64 and repr(value) == given:
        return value
    if not math.isfinite(value) or len(given) > _LONGEST_NUMBER:
        raise _Misfit
    printed = repr(value)
    if bits == 32:
        import numpy as np

        with np.errstate(over="ignore"):
            small = np.float32(given)
        value, printed = float(small), str(small)
        if not math.isfinite(value):
            raise _Misfit
    wanted = Decimal(given)
    if Decimal(printed) != wanted:
        # Not the shortest text of this float, but perhaps its exact value, written with as many digits: 99671088 is a
        # float of 32 bits whose shortest text is 99671090.
        digits = len(wanted.normalize().as_tuple().digits)
        if Decimal(f"{value:.{digits - 1}e}") != wanted:
            raise _Misfit
    return value


def _decimal(given: str, precision: int, scale: int) -> Decimal:
    if len(given) > _LONGEST_NUMBER:
        raise _Misfit
    value = _made(Decimal, given)
    if not value:
        return Decimal(0).scaleb(-scale)
    if value.adjusted() >= precision - scale:
        raise _Misfit
    _, digits, exponent = value.as_tuple()
    wanted = -scale - int(exponent)
    if wanted > 0 and any(digits[-wanted:]):  # digits behind the scale
        raise _Misfit
    with decimal.localcontext(prec=_LONGEST_NUMBER):
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


def _made(make: Callable[[Any], _Value], given: Any) -> _Value:
    try:
        return make(given)
    except (ValueError, OverflowError, ArithmeticError) as problem:
        raise _Misfit from problem


def _never(_: Any) -> Any:
    raise _Misfit


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


_JSON = json.JSONDecoder(parse_float=_Number, parse_int=_Number, parse_constant=_no_constant, object_pairs_hook=_Pairs)


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

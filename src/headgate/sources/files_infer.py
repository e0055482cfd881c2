"""Infers a type that every value seen has: of texts, of JSON values, of Arrow columns.

The types are those that refining reads from a text (see `headgate.contract.sql_reading`), narrowed by prudence:
digits with a leading zero or a plus sign are codes, not numbers; numbers written with an exponent become floats
only when the float gives the same number back.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.types as t

from headgate.contract.model import Field, Kind, Type

MISSING = ("NA", "N/A", "n/a", "NULL", "null", "None", "NaN", "nan", "-", "?")
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_PLAIN = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.([0-9]+))?")
_FLOAT = re.compile(r"-?[0-9]+(?:\.[0-9]+)?[eE][+-]?[0-9]{1,3}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(r"[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?")
_MOMENT = re.compile(_DATE.pattern + "[T ]" + _TIME.pattern)
_INSTANT = re.compile(_MOMENT.pattern + r"(?:Z|[+-](?:0[0-9]|1[0-5])(?::?[0-5][0-9])?)")
_MANY_KEYS = 64  # objects with more different keys than this are maps
_ENOUGH = 18  # digits that a decimal gets at least, and
_ROOM = 3  # how many more than were seen, so that tomorrow's values fit too


def _parses(parse: Callable[[str], object], text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True


def _same_float(text: str) -> bool:
    value = float(text)
    return value - value == 0 and Decimal(repr(value)) == Decimal(text)


# What a text may be, the first that all texts are wins.
_TESTS: dict[str, Callable[[str], bool]] = {
    "integer": lambda s: bool(_INTEGER.fullmatch(s)) and s != "-0" and len(s) < 20 and -(2**63) <= int(s) < 2**63,
    "decimal": lambda s: bool(_PLAIN.fullmatch(s)),
    "number": lambda s: bool(_FLOAT.fullmatch(s) or _PLAIN.fullmatch(s)) and _same_float(s),
    "boolean": lambda s: s.lower() in {"true", "false"},
    "date": lambda s: bool(_DATE.fullmatch(s)) and _parses(dt.date.fromisoformat, s),
    "timestamp": lambda s: bool(_MOMENT.fullmatch(s)) and _parses(dt.datetime.fromisoformat, s),
    "instant": lambda s: bool(_INSTANT.fullmatch(s)) and _parses(dt.datetime.fromisoformat, s),
    "time": lambda s: bool(_TIME.fullmatch(s)) and _parses(dt.time.fromisoformat, s),
}
_NUMBERS = ("integer", "decimal", "number")
_TIMES = ("date", "timestamp", "instant", "time")


@dataclass(slots=True)
class Texts:
    """What all texts of a column have in common."""

    candidates: list[str] = field(default_factory=lambda: list(_TESTS))
    seen: int = 0
    whole_digits: int = 1
    scale: int = 0

    def add(self, text: str) -> None:
        """One more text."""
        self.seen += 1
        if self.candidates:
            self.candidates = [name for name in self.candidates if _TESTS[name](text)]
            if "decimal" in self.candidates:
                whole, _, fraction = text.lstrip("-").partition(".")
                self.whole_digits = max(self.whole_digits, len(whole))
                self.scale = max(self.scale, len(fraction))

    def type(self) -> Type:
        """The narrowest type that all texts have; text when none was seen."""
        best = next((name for name in self.candidates if name != "decimal" or self._fits()), None)
        if not self.seen or best is None:
            return Type(Kind.STRING)
        match best:
            case "integer" | "number" | "boolean" | "date" | "timestamp" | "time":
                return Type(Kind(best))
            case "instant":
                return Type(Kind.TIMESTAMP, zoned=True)
        digits = self.whole_digits + _ROOM + self.scale
        return Type(Kind.DECIMAL, precision=_ENOUGH if digits <= _ENOUGH else 38, scale=self.scale)

    def _fits(self) -> bool:
        return self.whole_digits + self.scale <= 38


@dataclass(slots=True)
class Values:
    """What all JSON values at one place have in common. Numbers come as `Digits`."""

    count: int = 0
    nulls: int = 0
    booleans: int = 0
    numbers: Texts = field(default_factory=lambda: Texts(list(_NUMBERS)))
    texts: Texts = field(default_factory=lambda: Texts(list(_TIMES)))
    objects: int = 0
    members: dict[str, Values] = field(default_factory=dict)
    arrays: int = 0
    items: Values | None = None

    def add(self, value: Any) -> None:
        """One more value."""
        self.count += 1
        match value:
            case None:
                self.nulls += 1
            case bool():
                self.booleans += 1
            case Digits():
                self.numbers.add(value)
            case str():
                self.texts.add(value)
            case dict():
                self.objects += 1
                for name, member in value.items():
                    self.members.setdefault(name, Values()).add(member)
            case list():
                self.arrays += 1
                self.items = self.items or Values()
                for item in value:
                    self.items.add(item)

    def fields(self) -> tuple[Field, ...]:
        """The members of the objects seen, in order of appearance."""
        return tuple(
            Field(
                name,
                member.type(),
                required=member.count == self.objects and not member.nulls,
                description=member.note(),
            )
            for name, member in self.members.items()
        )

    def type(self) -> Type:
        """The type of all values but null; text when they have none in common."""
        if len(self._kinds()) != 1:
            return Type(Kind.STRING)
        if self.booleans:
            return Type(Kind.BOOLEAN)
        if self.numbers.seen:
            return self.numbers.type()
        if self.texts.seen:
            return self.texts.type()
        if self.arrays:
            items = self.items or Values()
            return Type(Kind.ARRAY, item=Field("item", items.type(), required=bool(items.count) and not items.nulls))
        if 0 < len(self.members) <= _MANY_KEYS:
            return Type(Kind.OBJECT, fields=self.fields())
        return Type(
            Kind.MAP, key=Field("key", Type(Kind.STRING), required=True), item=Field("value", self._any_member())
        )

    def note(self) -> str:
        """A sentence for a person when the values have no type in common, else nothing."""
        kinds = self._kinds()
        return f"Values of several types were seen: {', '.join(kinds)}." if len(kinds) > 1 else ""

    def _kinds(self) -> list[str]:
        found = {
            "boolean": self.booleans,
            "number": self.numbers.seen,
            "text": self.texts.seen,
            "object": self.objects,
            "array": self.arrays,
        }
        return [name for name, count in found.items() if count]

    def _any_member(self) -> Type:
        """The one type of all members' values, text when they differ."""
        types = {member.type() for member in self.members.values()}
        return types.pop() if len(types) == 1 else Type(Kind.STRING)


class Digits(str):
    """A JSON number as it was written."""

    __slots__ = ()


def text_type(values: Iterable[str]) -> tuple[Type, tuple[str, ...]]:
    """The type of all texts, and which of them stand for a missing value.

    Marks such as NA count as missing only when the others have a narrower type than text.
    """
    distinct = set(values)
    marks = tuple(mark for mark in MISSING if mark in distinct)
    everything, others = Texts(), Texts()
    for text in distinct:
        everything.add(text)
        if text not in marks:
            others.add(text)
    if marks and everything.type().kind is Kind.STRING and others.type().kind is not Kind.STRING:
        return others.type(), marks
    return everything.type(), ()


def arrow_type(of: Any) -> Type:
    """The contract's type for a landing type of Parquet columns."""
    if t.is_boolean(of):
        return Type(Kind.BOOLEAN)
    if t.is_integer(of):
        return Type(Kind.INTEGER, bits=of.bit_width)
    if t.is_floating(of):
        return Type(Kind.NUMBER, bits=of.bit_width)
    if t.is_decimal(of):
        return Type(Kind.DECIMAL, precision=of.precision, scale=of.scale)
    if t.is_timestamp(of):
        return Type(Kind.TIMESTAMP, zoned=of.tz is not None)
    if t.is_struct(of):
        return Type(Kind.OBJECT, fields=tuple(Field(f.name, arrow_type(f.type)) for f in of))
    if t.is_map(of):
        key, item = Field("key", arrow_type(of.key_type), required=True), Field("value", arrow_type(of.item_type))
        return Type(Kind.MAP, key=key, item=item)
    if t.is_list(of):
        return Type(Kind.ARRAY, item=Field("item", arrow_type(of.value_type)))
    scalars: dict[pa.DataType, Kind] = {pa.date32(): Kind.DATE, pa.time64("us"): Kind.TIME, pa.binary(): Kind.BINARY}
    return Type(scalars.get(of, Kind.STRING))

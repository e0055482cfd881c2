"""The strict gate: a msgspec decoder made from the contract that lets through only lines which surely fit it.

What the gate lets through has every required key, no unknown one (unless the contract says ignore), JSON values of
the right types, and holds the rules in `proven`. What it refuses is judged again with care, for the reasons.
It does not see three things: a key that comes twice, numbers that are too long for a float, and fractions of a
second beyond microseconds.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec

from headgate.contract.model import Dataset, Field, Kind, Rule, Type
from headgate.contract.sql_names import item_of
from headgate.engines.duckdb.judgement import provable_rules

REFUSALS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_INT = {32: (-(2**31), 2**31 - 1), 64: (-(2**63), 2**63 - 1)}
_LENGTHS = {"min_length": "min_length", "max_length": "max_length"}
_ITEMS = {"min_items": "min_length", "max_items": "max_length"}
_BOUNDS = {"minimum": "ge", "maximum": "le", "exclusive_minimum": "gt", "exclusive_maximum": "lt"}


class Gate:
    """`decode(line)` raises one of REFUSALS for a line that may not fit; `proven`: the rules that hold after it."""

    def __init__(self, dataset: Dataset, extra_keys: Sequence[str], *, unknown: str) -> None:
        self.proven: set[str] = set()
        self._forbid = unknown != "ignore"
        self._rules = provable_rules(dataset)
        self._made = 0
        fields = [f for f in dataset.fields if f.transform is None]
        whole = self._struct(fields, "", [k for k in extra_keys if k not in {f.source_name for f in fields}])
        self.decode = msgspec.json.Decoder(whole).decode

    def _struct(self, fields: Sequence[Field], path: str, extra_keys: Sequence[str] = ()) -> Any:
        """A Struct for an object. Its members stand in the contract's order: where keys come in that order, each is
        found at once."""
        members: list[Any] = []
        names: dict[str, str] = {}
        for field in fields:
            attribute = f"f{len(names)}"
            names[attribute] = field.source_name
            hint, present = self._member(field, f"{path}{field.name}")
            members.append((attribute, hint) if present else (attribute, hint | None, None))
        for key in extra_keys:
            attribute = f"f{len(names)}"
            names[attribute] = key
            members.append((attribute, msgspec.Raw, msgspec.Raw()))
        self._made += 1
        return msgspec.defstruct(
            f"Row{self._made}", members, rename=names, gc=False, forbid_unknown_fields=self._forbid, kw_only=True
        )

    def _member(self, field: Field, path: str) -> tuple[Any, bool]:
        """The type of an object's member, and whether it must be there and not null."""
        rules = self._rules.get(path, [])
        if field.standardise:
            # Standardising comes before every rule: here only what text or number it can be.
            return (str if field.type.kind is Kind.STRING else str | int | float), False
        required = [rule.id for rule in rules if rule.check == "required"]
        self.proven.update(required)
        return self._value(field.type, path, rules), bool(required)

    def _value(self, of: Type, path: str, rules: Sequence[Rule]) -> Any:
        match of.kind:
            case Kind.STRING:
                return self._limited(str, rules, _LENGTHS) if not (among := self._among(rules)) else among
            case Kind.INTEGER:
                least, most = _INT[of.bits]
                return self._among(rules) or self._bounded(int, rules, {"ge": least, "le": most})
            case Kind.NUMBER | Kind.DECIMAL:
                return self._bounded(float, rules, {})
            case Kind.BOOLEAN:
                return bool
            case Kind.DATE:
                return dt.date
            case Kind.TIME:
                return Annotated[dt.time, msgspec.Meta(tz=False)]
            case Kind.TIMESTAMP:
                return Annotated[dt.datetime, msgspec.Meta(tz=of.zoned)]
            case Kind.BINARY:
                return str
            case Kind.OBJECT:
                return self._struct(of.fields, f"{path}.")
            case Kind.ARRAY:
                return self._limited(list[self._item(of, path)], rules, _ITEMS)  # type: ignore[misc]
            case Kind.MAP:
                return dict[str, self._item(of, path)]  # type: ignore[misc]

    def _item(self, of: Type, path: str) -> Any:
        hint, present = self._member(item_of(of), f"{path}[]")
        return hint if present else hint | None

    def _among(self, rules: Sequence[Rule]) -> Any:
        """The enum as a Literal, when it is one that msgspec can hold."""
        for rule in rules:
            values = rule.argument
            if rule.check == "enum" and values and (_all(values, str) or _all(values, int)):
                self.proven.add(rule.id)
                return Literal[tuple(values)]
        return None

    def _limited(self, plain: Any, rules: Sequence[Rule], names: dict[str, str]) -> Any:
        limits: dict[str, Any] = {}
        for rule in rules:
            if rule.check in names and names[rule.check] not in limits:
                limits[names[rule.check]] = int(rule.argument)
                self.proven.add(rule.id)
        return Annotated[plain, msgspec.Meta(**limits)] if limits else plain

    def _bounded(self, plain: type, rules: Sequence[Rule], limits: dict[str, Any]) -> Any:
        """Bounds that the JSON number can be compared with exactly; others are left to SQL."""
        for rule in rules:
            name = _BOUNDS.get(rule.check)
            if name is None or not isinstance(rule.argument, Decimal | int) or (name in limits and plain is not int):
                continue
            bound = plain(rule.argument)
            if bound != rule.argument or "gt" in limits or "lt" in limits:
                continue
            if plain is int:
                bound += {"gt": 1, "lt": -1}.get(name, 0)
                name = {"gt": "ge", "lt": "le"}.get(name, name)
                bound = max(bound, limits[name]) if name == "ge" else min(bound, limits[name])
                if not -(2**63) <= bound < 2**63:
                    continue
            elif {"ge": "gt", "le": "lt", "gt": "ge", "lt": "le"}[name] in limits:
                continue
            limits[name] = bound
            self.proven.add(rule.id)
        return Annotated[plain, msgspec.Meta(**limits)] if limits else plain


def _all(values: Sequence[Any], of: type) -> bool:
    return all(type(value) is of for value in values) and (of is str or all(-(2**63) <= v < 2**63 for v in values))

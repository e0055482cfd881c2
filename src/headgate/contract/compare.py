"""What changed between two versions of a dataset, and which changes the rows already stored may not survive."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from headgate.contract.limits import moment
from headgate.contract.model import Dataset, Field, Kind, Rule, Severity, Type

_LOWER = ("minimum", "exclusive_minimum", "min_length", "min_items")
_UPPER = ("maximum", "exclusive_maximum", "max_length", "max_items")
_SETS = ("enum", "valid_values")


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. `kind` is one of: added, removed, retyped, required, optional, key, order, history,
    partition, standardised, source, tightened, loosened, changed, description.

    `breaking`: rows that silver holds, or queries over it, may not survive: silver has to be judged anew or rebuilt.
    """

    kind: str
    field: str | None
    breaking: bool
    message: str


def compare(old: Dataset, new: Dataset) -> list[Change]:
    """Every difference that matters, fields first, in the order of the contract."""
    return [*_fields(old.fields, new.fields, ""), *_dataset(old, new), *_rules(old, new)]


def widens(old: Type, new: Type) -> bool:
    """True when every value of the old type is one of the new type and Iceberg can follow without a rewrite."""
    if old.kind is not new.kind:
        return False
    match old.kind:
        case Kind.INTEGER | Kind.NUMBER:
            return new.bits >= old.bits
        case Kind.DECIMAL:
            return new.scale == old.scale and new.precision >= old.precision
        case Kind.TIMESTAMP:
            return new.zoned == old.zoned
        case _:
            return True


def _fields(old: tuple[Field, ...], new: tuple[Field, ...], prefix: str) -> Iterator[Change]:
    before, after = {one.name: one for one in old}, {one.name: one for one in new}
    for name in before:
        if name not in after:
            yield Change("removed", prefix + name, True, f"{prefix + name} is removed")
    for name, one in after.items():
        path = prefix + name
        earlier = before.get(name)
        if earlier is None:
            message = f"{path} is added as {one.type}" + (" and required of every row" if one.required else "")
            yield Change("added", path, one.required, message)
        else:
            yield from _field(earlier, one, path)


def _field(old: Field, new: Field, path: str) -> Iterator[Change]:
    yield from _type(old.type, new.type, path)
    if new.required and not old.required:
        yield Change("required", path, True, f"{path} becomes required")
    elif old.required and not new.required:
        yield Change("optional", path, False, f"{path} may be absent")
    if old.source_name != new.source_name:
        message = f"{path} is read from {new.source_name}, no longer from {old.source_name}"
        yield Change("source", path, True, message)
    if (old.standardise, old.transform) != (new.standardise, new.transform):
        yield Change("standardised", path, True, f"{path} is standardised in another way")
    if old.partition != new.partition:
        message = f"{path} partitions by {new.partition or 'nothing'}, so far by {old.partition or 'nothing'}"
        yield Change("partition", path, True, message)
    if old.description != new.description:
        yield Change("description", path, False, f"{path} is described anew")


def _type(old: Type, new: Type, path: str) -> Iterator[Change]:
    if str(old) != str(new) or old.bits != new.bits:
        wider = widens(old, new)
        how = "widened" if wider else "changed"
        bits = f" ({old.bits} to {new.bits} bits)" if str(old) == str(new) else ""
        message = f"{path} is {how} from {old} to {new}{bits}"
        yield Change("retyped", path, not wider, message)
        if old.kind is not new.kind:
            return
    if old.kind is Kind.OBJECT:
        yield from _fields(old.fields, new.fields, f"{path}.")
    elif old.item is not None and new.item is not None:
        yield from _field(old.item, new.item, f"{path}[]")
    if old.key is not None and new.key is not None:
        yield from _type(old.key.type, new.key.type, f"{path}[key]")


def _dataset(old: Dataset, new: Dataset) -> Iterator[Change]:
    if old.key != new.key:
        message = f"the key is {_list(new.key)}, so far {_list(old.key)}"
        yield Change("key", None, True, message)
    if old.order != new.order:
        yield Change("order", None, True, f"the latest wins by {_list(new.order)}, so far by {_list(old.order)}")
    if old.history != new.history:
        yield Change("history", None, True, f"history is {new.history}, so far {old.history}")
    if old.operation != new.operation:
        yield Change("operation", None, True, f"rows that delete: {_deletes(new)}, so far {_deletes(old)}")
    if old.physical_name != new.physical_name:
        message = f"the source is called {new.physical_name or new.name}, so far {old.physical_name or old.name}"
        yield Change("source", None, True, message)


def _deletes(dataset: Dataset) -> str:
    of = dataset.operation
    return f"{of.field} is one of {list(of.delete)}" if of else "none"


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "nothing"


def _rules(old: Dataset, new: Dataset) -> Iterator[Change]:
    """Rules beside type and required, which the fields have told already, and declared drops."""
    before = {rule.id: rule for rule in _telling(old)}
    after = {rule.id: rule for rule in _telling(new)}
    gone = {path for path in _paths(old) if path not in _paths(new)}
    for name, rule in before.items():
        if name not in after and rule.field not in gone:
            yield Change("loosened", rule.field, False, f"rule {name} is gone")
    for name, rule in after.items():
        earlier = before.get(name)
        if earlier is None:
            judges = rule.severity is Severity.ERROR
            yield Change("tightened", rule.field, judges, f"rule {name} is new: {_said(rule)}")
        else:
            yield from _rule(earlier, rule, new)


def _telling(dataset: Dataset) -> list[Rule]:
    return [rule for rule in (*dataset.rules, *dataset.drops) if rule.check not in ("type", "required")]


def _paths(dataset: Dataset) -> set[str | None]:
    return {rule.field for rule in dataset.rules}


def _rule(old: Rule, new: Rule, dataset: Dataset) -> Iterator[Change]:
    if old.check != new.check or old.argument != new.argument:
        judges = new.severity is Severity.ERROR
        direction = _direction(old, new, dataset)
        message = f"rule {new.id}: {_said(new)}, so far {_said(old)}"
        yield Change(direction, new.field, judges and direction != "loosened", message)
    if old.severity is not new.severity:
        stricter = new.severity is Severity.ERROR
        kind = "tightened" if stricter else "loosened"
        yield Change(kind, new.field, stricter, f"rule {new.id} is now {new.severity}, so far {old.severity}")
    if old.tolerance != new.tolerance:
        yield Change("changed", new.field, False, f"rule {new.id} tolerates another number of rows")


def _direction(old: Rule, new: Rule, dataset: Dataset) -> str:
    """tightened, loosened, or changed when it is neither for certain."""
    if old.check != new.check:
        return "changed"
    if new.check in _SETS:
        before, after = set(old.argument), set(new.argument)
        return "loosened" if before < after else "tightened" if after < before else "changed"
    if new.check in _LOWER or new.check in _UPPER:
        a, b = _comparable(old, dataset), _comparable(new, dataset)
        try:
            greater = bool(b > a)
        except TypeError:
            return "changed"
        return "tightened" if greater == (new.check in _LOWER) else "loosened"
    return "changed"


def _comparable(rule: Rule, dataset: Dataset) -> Any:
    if isinstance(rule.argument, str):
        name = (rule.field or "").split(".")[0].removesuffix("[]")
        of = next((one.type for one in dataset.fields if one.name in (rule.field, name)), None)
        timed = of is not None and of.kind in (Kind.DATE, Kind.TIMESTAMP, Kind.TIME)
        return moment(of, rule.argument) if timed and of is not None else rule.argument
    return Decimal(rule.argument)


def _said(rule: Rule) -> str:
    argument = rule.argument
    if isinstance(argument, tuple):
        argument = ", ".join(str(one) for one in argument[:10]) + (", …" if len(argument) > 10 else "")
    return rule.check.replace("_", " ") if argument is None or argument is True else f"{rule.check} {argument}"

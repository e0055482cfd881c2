"""How a dataset's past is kept: `headgate.history` and `headgate.operation`, and what they need."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from headgate.contract.complaint import did_you_mean, shown
from headgate.contract.model import Field, Kind, Operation, Window
from headgate.contract.part import Part
from headgate.contract.to_arrow import VALIDITY

_SPAN = re.compile(r"\s*([1-9][0-9]{0,5})\s+(minute|hour|day|week)s?\s*")
_SECONDS = {"minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}
_MOMENTS = (Kind.DATE, Kind.TIMESTAMP, Kind.INTEGER)


def history_of(
    entries: Mapping[str, Part], fields: Sequence[Field], key: Sequence[str], order: Sequence[str], asked: str | None
) -> str:
    """append, latest or scd2: as asked for, else latest where there is a key."""
    if asked in ("latest", "scd2") and not key:
        entries["history"].error(
            f"headgate.history: {asked} needs a key", "mark the key fields with `primaryKey: true`", "value",
            code="contradiction",
        )  # fmt: skip
    elif asked == "scd2":
        _check_versions(entries["history"], fields, order)
    if "order" in entries and order and (not key or asked == "append"):
        why = "the dataset has no key" if not key else "history is append"
        entries["order"].warn(f"headgate.order has no effect: {why}", None, "property", code="no-effect")
    return asked or ("latest" if key else "append")


def _check_versions(entry: Part, fields: Sequence[Field], order: Sequence[str]) -> None:
    """Versions begin at a moment: one field that every row has."""
    by_name = {one.name: one for one in fields}
    one = by_name.get(order[0]) if len(order) == 1 else None
    if one is None or one.type.kind not in _MOMENTS or not one.required:
        entry.error(
            "headgate.history: scd2 needs headgate.order of one required date, timestamp or integer",
            "it says when a version begins", "value", code="contradiction",
        )  # fmt: skip
    for name in VALIDITY:
        if name in by_name:
            entry.error(f"the field `{name}` has the name of a column of scd2", "rename it", "value")


def operation_of(entry: Part, by_name: Mapping[str, Field]) -> Operation | None:
    """`{field: op, delete: [d, delete]}`; None after a complaint."""
    given = entry.part("value")
    if given is None:
        return None
    for name in given.value:
        if name not in ("field", "delete"):
            hint = did_you_mean(name, ("field", "delete"))
            given.complaints.error(given.key_place(name), f"unknown `{name[:60]}` of headgate.operation", hint)
    holder = given.needed_text("field")
    if holder is None:
        return None
    return _operation(entry, given, holder, by_name)


def _operation(entry: Part, given: Part, name: str, by_name: Mapping[str, Field]) -> Operation | None:
    if name not in by_name:
        message = f"headgate.operation names the field {shown(name)}, which is not declared"
        entry.error(message, did_you_mean(name, by_name), "value", "field", code="unknown-name")
        return None
    kind = by_name[name].type.kind
    wanted = {Kind.STRING: str, Kind.BOOLEAN: bool, Kind.INTEGER: int}.get(kind)
    if wanted is None:
        entry.error(f"`{name}` is {by_name[name].type} and cannot name an operation", None, "value", "field",
                    code="contradiction")  # fmt: skip
        return None
    values = given.value.get("delete")
    values = values if isinstance(values, list) else [values]
    if not values or any(type(value) is not wanted for value in values):
        entry.error(f"`delete` lists values of `{name}`, not {shown(values)}", "delete: [d, delete]", "value")
        return None
    return Operation(name, tuple(values))


def window_of(entry: Part, by_name: Mapping[str, Field]) -> Window | None:
    """`{window: 7 days, field: at}`; None for `{window: forever}` and after a complaint."""
    given = entry.part("value")
    if given is None:
        return None
    for name in given.value:
        if name not in ("window", "field"):
            hint = did_you_mean(name, ("window", "field"))
            given.complaints.error(given.key_place(name), f"unknown `{name[:60]}` of headgate.duplicates", hint)
    span = given.value.get("window", "forever")
    if span == "forever":
        return None
    found = _SPAN.fullmatch(span) if isinstance(span, str) else None
    if found is None:
        given.error(f"a window of {shown(span)} for duplicates", "write `7 days` or `forever`", "window")
        return None
    field = given.needed_text("field")
    if field is None:
        return None
    of = by_name.get(field)
    if of is None or of.type.kind not in (Kind.DATE, Kind.TIMESTAMP):
        given.error(f"{shown(field)} is no date or timestamp of this dataset", "name the time of the event", "field")
        return None
    return Window(field, int(found[1]) * _SECONDS[found[2]])

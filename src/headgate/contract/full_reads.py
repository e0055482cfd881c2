"""`headgate.full_reads`: a source that tells no changes is read whole, and each read compared with the last one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headgate.contract.complaint import did_you_mean, shown
from headgate.contract.model import DELETE, Field, FullReads, Kind, Operation, Window
from headgate.contract.own import budget_of
from headgate.contract.part import Part

_NAMES = ("at", "change", "most_deleted")


def full_reads_of(entry: Part, by_name: Mapping[str, Field]) -> FullReads | None:
    """`{at: seen_at, change: change, most_deleted: 10 percent}`; None after a complaint."""
    given = entry.part("value")
    if given is None:
        return None
    for name in given.value:
        if name not in _NAMES:
            hint = did_you_mean(name, _NAMES)
            given.complaints.error(given.key_place(name), f"unknown `{name[:60]}` of headgate.full_reads", hint)
    at, change = given.needed_text("at"), given.needed_text("change")
    budget = budget_of(given, "most_deleted") if "most_deleted" in given else None
    if at is None or change is None:
        return None
    for role, name in (("at", at), ("change", change)):
        one = by_name.get(name)
        if one is None:
            message = f"headgate.full_reads names the field {shown(name)}, which is not declared"
            given.error(message, did_you_mean(name, by_name), role, code="unknown-name")
        elif wrong := _unfit(one, moment=role == "at"):
            given.error(f"`{name}` {wrong}", None, role, code="contradiction")
    return FullReads(at, change, budget)


def _unfit(one: Field, *, moment: bool) -> str | None:
    """Why the field cannot take the moment of a read, or what changed."""
    if one.transform or one.standardise:
        return "is filled by Headgate: nothing can be done to it"
    if moment and not (one.type.kind is Kind.TIMESTAMP and one.type.zoned and one.required):
        return "must be a required timestamp with `timezone: true`: it says when a full read was made"
    if not moment and one.type.kind is not Kind.STRING:
        return "must be a string: it says insert, update or delete"
    return None


def check_full_reads(
    entries: Mapping[str, Part],
    reads: FullReads,
    fields: Sequence[Field],
    key: Sequence[str],
    history: str,
    window: Window | None,
) -> None:
    """Complain about what does not go with full reads."""
    entry = entries["full_reads"]

    def contradicts(message: str, hint: str | None = None) -> None:
        entry.error(message, hint, "property", code="contradiction")

    if not key or history == "append":
        contradicts("headgate.full_reads needs a key, and history latest or scd2", "it tells which rows are gone")
    if window is not None:
        contradicts("headgate.full_reads with a window for duplicates", "full reads bring no duplicates")
    for name in ("order", "operation"):
        if name in entries:
            entries[name].error(
                f"headgate.full_reads says what headgate.{name} is", "remove it", "property", code="contradiction"
            )
    for one in fields:
        if one.name in key and one.name in (reads.at, reads.change):
            contradicts(f"`{one.name}` is filled by Headgate and cannot be in the key")
        elif one.name in key and (one.transform or one.standardise):
            # Two keys of the source could become one: the end of one would then delete the other.
            contradicts(f"headgate.full_reads compares keys as the source has them; `{one.name}` is made from another")


def operation_by(reads: FullReads) -> Operation:
    """The operation that full reads imply."""
    return Operation(reads.change, (DELETE,))

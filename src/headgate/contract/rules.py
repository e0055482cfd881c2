"""Row rules that fields declare by being what they are: type, required, enum, limits; nested ones included."""

from __future__ import annotations

from collections.abc import Iterator

from headgate.contract.model import Field, Kind, Limits, Place, Rule
from headgate.contract.part import Part

# The order in which a field's rules are told; (check, attribute of Limits, option in the contract).
LIMITS = (
    ("minimum", "minimum"),
    ("maximum", "maximum"),
    ("exclusive_minimum", "exclusiveMinimum"),
    ("exclusive_maximum", "exclusiveMaximum"),
    ("multiple_of", "multipleOf"),
    ("min_length", "minLength"),
    ("max_length", "maxLength"),
    ("pattern", "pattern"),
    ("format", "format"),
    ("min_items", "minItems"),
    ("max_items", "maxItems"),
    ("unique_items", "uniqueItems"),
)


def field_rules(one: Field, part: Part | None, path: str, *, nested: bool) -> Iterator[Rule]:
    """The rules of a field and of what is below it, in a fixed order.

    `path` is the field's path in the dataset. The rule `type` stands only for a field of the dataset: a wrong
    type anywhere inside it makes the whole value bad. `part` is where the field is written, for places.
    """

    def place(*steps: str) -> Place | None:
        return part.place(*steps) if part is not None else one.place

    def rule(check: str, argument: object, *steps: str) -> Rule:
        return Rule(f"{path}.{check}", check, path, argument, place=place(*steps))

    if not nested:
        yield rule("type", None, "logicalType")
    if one.required:
        yield rule("required", None, "required")
    if one.enum:
        yield rule("enum", one.enum, "enum")
    if one.limits != Limits():
        for check, option in LIMITS:
            argument = getattr(one.limits, check)
            if argument is not None and argument is not False:
                yield rule(check, argument, "logicalTypeOptions", option)
    yield from _below(one, part, path)


def _below(one: Field, part: Part | None, path: str) -> Iterator[Rule]:
    for below, inner, inner_path in children(one, part, path):
        yield from field_rules(below, inner, inner_path, nested=True)


def children(one: Field, part: Part | None, path: str) -> Iterator[tuple[Field, Part | None, str]]:
    """The fields right below a field, where they are written, and their paths (`a[]`: items, values of a map)."""
    match one.type.kind:
        case Kind.OBJECT:
            parts = part.named("properties") if part else {}
            for below in one.type.fields:
                yield below, parts.get(below.name), f"{path}.{below.name}"
        case Kind.ARRAY if one.type.item is not None:
            yield one.type.item, part.part("items") if part else None, f"{path}[]"
        case Kind.MAP if one.type.item is not None:
            inner = part.part("map") if part else None
            yield one.type.item, inner.part("value") if inner else None, f"{path}[]"
        case _:
            pass

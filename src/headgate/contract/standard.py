"""Checks a document against the standard's own JSON Schema (Open Data Contract Standard 3.2).

The schema comes from the package `open_data_contract_standard`, which is found but not imported (its models
cost a quarter of a second). Each error is told at the place of the node it is about.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from headgate.contract.complaint import Complaint, did_you_mean, missing, name_of, shown
from headgate.contract.yaml_reader import Document, Step
from headgate.errors import DefectError

WRITTEN = "v3.2.0"
READ = ("v3.0.0", "v3.0.1", "v3.0.2", "v3.1.0", WRITTEN)

_CODE = "standard"


@lru_cache(maxsize=1)
def schema() -> dict[str, Any]:
    """The JSON Schema of the standard. DefectError when the package that holds it is not installed."""
    spec = importlib.util.find_spec("open_data_contract_standard")
    if spec is None or not spec.submodule_search_locations:
        raise DefectError("the package open-data-contract-standard is missing", hint="reinstall headgate")
    path = Path(next(iter(spec.submodule_search_locations))) / "schema.json"
    loaded: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return loaded


@lru_cache(maxsize=1)
def _validator() -> Any:
    import jsonschema_rs

    return jsonschema_rs.validator_for(schema())


def schema_complaints(document: Document, value: Any) -> list[Complaint]:
    """Everything that the standard's schema says against `value`, at the document's places.

    `value` is the document's value, with what older versions of the standard spell differently brought up to date.
    """
    found: dict[tuple[tuple[Step, ...], str], Complaint] = {}
    for error in _validator().iter_errors(value):
        path = tuple(error.instance_path)
        for complaint in _told(document, error, path):
            found.setdefault((path, complaint.message), complaint)
    return list(found.values())


def _told(document: Document, error: Any, path: tuple[Step, ...]) -> Iterator[Complaint]:
    kind = error.kind
    name = kind.name
    if name in ("unevaluatedProperties", "additionalProperties"):
        yield from _unknown(document, error, path)
        return
    place = document.place(path)
    what = name_of(path)
    if name == "required":
        # Where logicalType is absent the schema tries all types, `map` among them; the absence is told elsewhere.
        if kind.property == "map" and "logicalType" not in error.instance:
            return
        yield missing(place, kind.property, path)
    elif name == "enum":
        given = error.instance
        hint = did_you_mean(given, [o for o in kind.options if isinstance(o, str)]) if isinstance(given, str) else None
        yield Complaint(place, f"{shown(given)} is not a value of {what}", hint, code=_CODE)
    elif name == "type":
        wanted = _words(list(kind.types))
        yield Complaint(place, f"{what} must be {wanted}, not {shown(error.instance)}", _type_hint(wanted), code=_CODE)
    elif "DataQualityOperators" in error.schema_path:
        return  # our own check of operators says it in plain words
    elif name in ("oneOf", "anyOf"):
        yield Complaint(place, f"{what} is none of the forms that the standard allows", None, code=_CODE)
    else:
        yield Complaint(place, f"{what}: {error.message}"[:300], None, code=_CODE)


def _unknown(document: Document, error: Any, path: tuple[Step, ...]) -> Iterator[Complaint]:
    """Properties that the standard does not know.

    A schema with `unevaluatedProperties` also calls known names unexpected as soon as anything else about them is
    wrong; those are left to the other complaint.
    """
    known = _known_at(tuple(error.schema_path), error.instance)
    for name in error.kind.unexpected:
        if name in known:
            continue
        place = document.key_place((*path, name))
        hint = did_you_mean(name, known) or "what the standard has no word for goes into `customProperties`"
        yield Complaint(place, f"unknown property `{name[:80]}` in {name_of(path)}", hint, code="unknown-name")


def server_options(kind: str) -> set[str]:
    """The names that the standard knows for options of a server of this type."""
    return set(_names(schema()["$defs"]["Server"], {"type": kind}, 0))


def _known_at(schema_path: tuple[Step, ...], instance: Any) -> set[str]:
    at: Any = schema()
    for step in schema_path[:-1]:
        at = at[step]
    return set(_names(at, instance, 0))


def _names(definition: Any, instance: Any, depth: int) -> Iterator[str]:
    """Names of properties that a definition speaks of, for an instance of this type."""
    if not isinstance(definition, Mapping) or depth > 12:
        return
    yield from definition.get("properties", {})
    for keyword in ("allOf", "anyOf", "oneOf"):
        for part in definition.get(keyword, ()):
            yield from _names(part, instance, depth + 1)
    if "then" in definition and _applies(definition.get("if", {}), instance):
        yield from _names(definition["then"], instance, depth + 1)
    target = definition.get("$ref", "")
    if target.startswith("#/"):
        at: Any = schema()
        for step in target[2:].split("/"):
            at = at[step]
        yield from _names(at, instance, depth + 1)


def _applies(condition: Mapping[str, Any], instance: Any) -> bool:
    """True unless the condition wants another constant of a property that the instance has."""
    if not isinstance(instance, Mapping):
        return True
    for name, wanted in condition.get("properties", {}).items():
        if "const" in wanted and name in instance and instance[name] != wanted["const"]:
            return False
    return True


_ARTICLES = {
    "string": "text", "integer": "a whole number", "number": "a number", "boolean": "true or false",
    "array": "a list", "object": "a mapping", "null": "empty",
}  # fmt: skip


def _words(types: list[str]) -> str:
    return " or ".join(_ARTICLES.get(one, one) for one in types)


def _type_hint(wanted: str) -> str | None:
    return {"text": "quote it", "a list": "begin each entry with `- `"}.get(wanted)

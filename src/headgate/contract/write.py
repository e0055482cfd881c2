"""Writes a contract for fields that were discovered: tidy, deterministic, and it loads again as the same fields."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from headgate.contract.logical_types import fitting_physical
from headgate.contract.model import Dataset, Field, Kind, Limits, Server, Type
from headgate.contract.names import MAX_FIELD_BYTES, field_problem, fold
from headgate.contract.rules import LIMITS
from headgate.contract.standard import WRITTEN, server_options
from headgate.contract.yaml_writer import yaml_text

_SECRETS = ("password", "passwd", "secret", "token", "key", "credential")
_LOGICAL = {Kind.DECIMAL: "number", Kind.BINARY: "string"}
# What the standard wants a server to say, and where it may come from.
_NEEDED = {
    "postgres": {
        "host": "${PGHOST:-localhost}",
        "port": "${PGPORT:-5432}",
        "database": "${PGDATABASE}",
        "schema": "public",
    },
    "local": {"path": ".", "format": "csv"},
}


def contract_yaml(
    name: str,
    fields: Sequence[Field],
    server: Server,
    *,
    physical_name: str = "",
    physical_type: str = "",
    physical_types: Mapping[str, str] | None = None,
    description: str = "",
    order: Sequence[str] = (),
    contract_id: str = "",
    version: str = "1.0.0",
    domain: str = "",
    properties: Mapping[str, Any] | None = None,
) -> str:
    """A v3.2.0 contract of one dataset as YAML text.

    `name` and the fields' names are made into names that a contract may give; what the source calls them is kept as
    `physicalName`. `order` are the fields (by their names in `fields`) by which the latest version wins,
    `properties` further `headgate.*` properties without the prefix, `physical_types` the source's spelling of types
    by field name. Options of the server that look like secrets are left out: they come from the environment.
    """
    safe = dataset_name(name)
    names = _names(fields)
    called = {one.name: name for one, name in zip(reversed(fields), reversed(names), strict=True)}
    keyed = any(one.key_position is not None for one in fields)  # without a key no row is superseded
    own = {**({"order": [called.get(one, one) for one in order]} if order and keyed else {}), **(properties or {})}
    dataset: dict[str, Any] = {"name": safe}
    source = physical_name or (name if name != safe else "")
    if source:
        dataset["physicalName"] = source
    if physical_type:
        dataset["physicalType"] = physical_type
    if description:
        dataset["description"] = description
    spelled = physical_types or {}
    dataset["properties"] = [
        _property(one, given, spelled.get(one.name, "")) for one, given in zip(fields, names, strict=True)
    ]
    if own:
        dataset["customProperties"] = [_custom(key, value) for key, value in own.items()]
    contract = {
        "apiVersion": WRITTEN,
        "kind": "DataContract",
        "id": contract_id or (f"{domain}.{safe}" if domain else safe),
        "name": safe,
        "version": version,
        "status": "draft",
        **({"domain": domain} if domain else {}),
        "servers": [_server(server)],
        "schema": [dataset],
    }
    return yaml_text(contract, apart=("servers", "schema"))


def dataset_text(dataset: Dataset) -> str:
    """The dataset's part of its contract, without where it comes from: `parse.read_dataset` understands it."""
    return yaml_text(dataset.document)


def dataset_name(text: str) -> str:
    """A name that a dataset may have, as like the text as can be."""
    safe = re.sub(r"[^A-Za-z0-9_]+", "_", text).strip("_").lower() if not text.isidentifier() else text
    safe = re.sub(r"[^A-Za-z0-9_]+", "_", safe)
    if not safe or safe[0].isdigit() or fold(safe).startswith("_hg_"):
        safe = f"d_{safe.lstrip('_')}"
    return safe[:63]


def _names(fields: Sequence[Field]) -> list[str]:
    """The fields' names, those replaced that a contract may not give or that are like an earlier one."""
    taken = {fold(one.name) for one in fields if not field_problem(one.name)}
    seen: set[str] = set()
    names = []
    for one in fields:
        if not field_problem(one.name) and fold(one.name) not in seen:
            seen.add(fold(one.name))
            names.append(one.name)
            continue
        stem = re.sub(r"[^\w ]+", "_", one.name).strip("_ ") or "field"
        stem = "f_" + stem if fold(stem).startswith(("hg_", "_hg_")) else stem
        stem = stem.encode()[: MAX_FIELD_BYTES - 6].decode(errors="ignore").strip()
        candidate, number = stem, 2
        while fold(candidate) in taken or fold(candidate) in seen or field_problem(candidate):
            candidate, number = f"{stem}_{number}", number + 1
        seen.add(fold(candidate))
        names.append(candidate)
    return names


def _custom(name: str, value: Any) -> dict[str, Any]:
    return {"property": f"headgate.{name}", "value": value}


def _server(server: Server) -> dict[str, Any]:
    """The server; options that the standard has no word for as custom properties."""
    known = server_options(server.kind)
    options = {
        key: value
        for key, value in server.options.items()
        if value is not None and not any(word in key.lower() for word in _SECRETS)
    }
    written: dict[str, Any] = {"server": server.name, "type": server.kind}
    written |= {**_NEEDED.get(server.kind, {}), **{key: value for key, value in options.items() if key in known}}
    own = [_custom(key, value) for key, value in options.items() if key not in known]
    return {**written, **({"customProperties": own} if own else {})}


def _property(one: Field, name: str, physical: str = "") -> dict[str, Any]:
    written: dict[str, Any] = {"name": name}
    source = one.source_name
    if source != name:
        written["physicalName"] = source
    if one.description:
        written["description"] = one.description
    written |= _type(one, physical)
    if one.key_position is not None:
        written |= {"primaryKey": True, "primaryKeyPosition": max(one.key_position, 1)}
    if one.required or one.key_position is not None:
        written["required"] = True
    if one.unique:
        written["unique"] = True
    if one.partition:
        written["partitioned"] = True
        if one.partition_position:
            written["partitionKeyPosition"] = one.partition_position
    if one.classification:
        written["classification"] = one.classification
    if one.enum:
        written["enum"] = [{"value": value} for value in one.enum]
    if one.transform:
        written["transformLogic"] = one.transform
    own = _own(one)
    if own:
        written["customProperties"] = own
    return written


def _own(one: Field) -> list[dict[str, Any]]:
    steps = []
    for step in one.standardise:
        argument = list(step.argument) if isinstance(step.argument, tuple) else step.argument
        steps.append(step.op if argument is None else {step.op: argument})
    own = [_custom("standardise", steps)] if steps else []
    default = "month" if one.type.kind in (Kind.DATE, Kind.TIMESTAMP) else "identity"
    if one.partition and one.partition != default:
        own.append(_custom("partition", one.partition))
    return own


def _type(one: Field, physical: str) -> dict[str, Any]:
    """What the type is written as: logicalType and all that belongs to it."""
    of = one.type
    written: dict[str, Any] = {"logicalType": _LOGICAL.get(of.kind, str(of.kind))}
    spelled = fitting_physical(of, physical)
    if spelled:
        written["physicalType"] = spelled
    options = _options(of, one.limits, spelled)
    if options:
        written["logicalTypeOptions"] = options
    match of.kind:
        case Kind.OBJECT:
            written["properties"] = [_property(below, below.name) for below in of.fields]
        case Kind.ARRAY if of.item is not None:
            written["items"] = _inner(of.item)
        case Kind.MAP if of.key is not None and of.item is not None:
            written["map"] = {"key": _inner(of.key), "value": _inner(of.item)}
        case _:
            pass
    return written


def _inner(one: Field) -> dict[str, Any]:
    """An item, key or value: a property without a name."""
    written = _property(one, one.name)
    del written["name"]
    return written


def _options(of: Type, limits: Limits, physical: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if of.kind is Kind.INTEGER and of.bits == 32:
        options["format"] = "i32"
    if of.kind is Kind.NUMBER and (of.bits == 32 or physical):
        options["format"] = f"f{of.bits}"
    if of.kind is Kind.TIMESTAMP and of.zoned:
        options["timezone"] = True
    for attribute, name in LIMITS:
        value = getattr(limits, attribute)
        if value is not None and value is not False:
            options[name] = value
    return options

"""Reads a contract: the door to this package.

`load_contract` makes a Contract of a file, or raises ContractSyntaxError with every complaint; `check_contract`
gives every complaint about a file, warnings too.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from headgate.contract.complaint import Complaint, Complaints, ContractRefused, missing
from headgate.contract.dataset import dataset_of
from headgate.contract.logical_types import logical_for
from headgate.contract.model import Contract, Dataset, Server
from headgate.contract.names import fold
from headgate.contract.own import PREFIX, check_own
from headgate.contract.part import Part
from headgate.contract.service_levels import freshness_of, retention_of
from headgate.contract.standard import READ, WRITTEN, schema_complaints
from headgate.contract.yaml_reader import Document, read_yaml, read_yaml_bytes

_SERVER_WORDS = ("server", "type", "id", "description", "environment", "roles", "customProperties")
# What v3.0 called the metrics.
_OLD_METRICS = {
    "duplicateCount": "duplicateValues",
    "nullCount": "nullValues",
    "nullCheck": "nullValues",
    "validValues": "invalidValues",
}


def load_contract(path: str | Path, *, standard: bool = True, shown: str | None = None) -> Contract:
    """The contract in a file.

    `standard=False` leaves out the standard's own JSON Schema, for a file that is known to have passed it; our own
    checks always run. `shown` is how complaints name the file. Raises ContractSyntaxError (with `complaints`, all
    of them) for a file that is absent, malformed, not a contract, or contradicts itself.
    """
    contract, complaints = _read(path, standard=standard, shown=shown)
    complaints.refuse()
    assert contract is not None
    return contract


def read_dataset(text: str) -> Dataset | None:
    """The dataset in a text that `write.dataset_text` made, perhaps with another version; None when it is not one."""
    try:
        contract, complaints = _understood(read_yaml_bytes(text.encode(), "the stored contract"), standard=False)
        complaints.refuse()
    except ContractRefused:
        return None
    return contract.datasets[0] if contract and len(contract.datasets) == 1 else None


def check_contract(path: str | Path, *, shown: str | None = None) -> list[Complaint]:
    """Everything there is to say against a file, in reading order; no error among them means it can be loaded."""
    try:
        _, complaints = _read(path, standard=True, shown=shown)
    except ContractRefused as refused:
        return list(refused.complaints)
    return complaints.sorted()


def _read(path: str | Path, *, standard: bool, shown: str | None) -> tuple[Contract | None, Complaints]:
    """Raises ContractRefused only when the file is not even YAML."""
    return _understood(read_yaml(path, shown=shown), standard=standard)


def _understood(document: Document, *, standard: bool) -> tuple[Contract | None, Complaints]:
    complaints = Complaints()
    complaints.add(document.warnings)
    value = document.value
    if not isinstance(value, Mapping):
        what = "the file is empty" if value is None else "a contract is a mapping"
        complaints.error(document.place(), what, "begin with `apiVersion: v3.2.0`, `kind: DataContract`, `id: …`")
        return None, complaints
    if not _known_version(Part(document, (), value, complaints)):
        return None, complaints
    value = _brought_up_to_date(value)
    contract = _contract(Part(document, (), value, complaints))
    if standard:
        found = schema_complaints(document, value)
        # Where we have already said what is wrong in plainer words, the schema's words add nothing.
        complaints.add([one for one in found if one.code != "standard" or not complaints.errors_at(one.place)])
    return contract, complaints


def _known_version(part: Part) -> bool:
    """Whether this is a contract of a version that we read."""
    version = part.needed_text("apiVersion")
    kind = part.value.get("kind")
    if "kind" not in part:
        part.complaints.add([missing(part.place(), "kind", ())])
    elif kind != "DataContract":
        part.error("kind is not DataContract", "a contract says `kind: DataContract`", "kind")
    if version is not None and version not in READ:
        hint = f"write `apiVersion: {WRITTEN}`; {', '.join(READ[:-1])} are read as well"
        part.error(f"apiVersion `{version[:40]}` is not one that can be read", hint, "apiVersion")
        return False
    return version is not None and kind == "DataContract"


def _brought_up_to_date(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """The value with what older versions leave out or call otherwise written as today's standard wants it.

    Where even v3.2 lacks a logicalType it stays absent: the standard's schema and we both refuse that.
    """
    if value.get("apiVersion") == WRITTEN:
        return value
    value = copy.deepcopy(dict(value))
    for holder in _holders(value.get("schema")):
        physical = holder.get("physicalType")
        if "name" in holder and "logicalType" not in holder and isinstance(physical, str):
            logical = logical_for(physical)
            if logical and not isinstance(holder.get("properties"), list):
                holder["logicalType"] = logical
        for entry in _mappings(holder.get("quality")):
            rule = entry.get("rule")
            if "metric" not in entry and isinstance(rule, str) and entry.get("type", "library") == "library":
                entry["metric"] = _OLD_METRICS.get(rule, rule)
    return value


def _mappings(value: Any) -> Iterator[dict[str, Any]]:
    yield from (one for one in value if isinstance(one, dict)) if isinstance(value, list) else ()


def _holders(value: Any) -> Iterator[dict[str, Any]]:
    """Schema objects and properties, at every depth."""
    for one in _mappings(value):
        yield one
        yield from _holders(one.get("properties"))
        yield from _holders([one.get("items")])


def _contract(part: Part) -> Contract:
    check_own(part, "contract")
    identity, version = part.needed_text("id") or "", part.needed_text("version") or ""
    old = str(part.value.get("apiVersion", "")).startswith("v3.0.")
    datasets = _datasets(part, identity, version, old=old)
    servers = _servers(part)
    freshness, retention = freshness_of(part, datasets), retention_of(part, datasets)
    described = part.part("description")
    return Contract(
        id=identity,
        version=version,
        api_version=part.text("apiVersion") or "",
        status=part.text("status") or "",
        datasets=tuple(
            replace(
                one,
                servers=servers,
                freshness=tuple(freshness.get(one.name, ())),
                retention=tuple(retention.get(one.name, ())),
            )
            for one in datasets
        ),
        file=part.document.file,
        sha256=hashlib.sha256(part.document.data).hexdigest(),
        name=part.text("name") or "",
        domain=part.text("domain") or "",
        description={name: text for name, text in described.value.items() if isinstance(text, str)}
        if described
        else {},
    )


def _datasets(part: Part, identity: str, version: str, *, old: bool) -> list[Dataset]:
    if not part.list("schema"):
        at = part.key_place("schema") if "schema" in part else part.place()
        part.complaints.error(at, "the contract describes no dataset", "list datasets under `schema`")
    found: list[Dataset] = []
    for below in part.parts("schema"):
        one = dataset_of(below, identity, version, old=old)
        if one is None:
            continue
        twin = next((other for other in found if fold(other.name) == fold(one.name)), None)
        if twin:
            how = "stands twice" if twin.name == one.name else f"is `{twin.name}` to whoever ignores case"
            below.error(f"dataset `{one.name}` {how}", "rename one of the two", "name")
            continue
        alone = {"apiVersion": part.text("apiVersion"), "kind": "DataContract", "id": identity, "version": version}
        found.append(replace(one, document={**alone, "schema": [below.value]}))
    return found


def _servers(part: Part) -> tuple[Server, ...]:
    found: list[Server] = []
    for below in part.parts("servers"):
        name, kind = below.needed_text("server"), below.needed_text("type")
        if name is None or kind is None:
            continue
        if any(one.name == name for one in found):
            below.error(f"server `{name[:60]}` stands twice", "give it another name", "server")
        options = {key: value for key, value in below.value.items() if key not in _SERVER_WORDS}
        for key, entry in below.custom(PREFIX).items():
            if key in options:
                entry.error(f"`{key}` is also an option of the server itself", "keep one of the two", "property")
            options.setdefault(key, entry.value.get("value"))
        found.append(Server(name, kind, options, below.place()))
    return tuple(found)

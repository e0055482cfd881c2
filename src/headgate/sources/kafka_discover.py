"""What a topic's messages could be read as: from the messages themselves, or from the schema that a registry has."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from headgate.clients.schema_registry import Registry
from headgate.contract.model import Dataset, Server
from headgate.errors import FixInputError
from headgate.formats.registered import KINDS
from headgate.formats.schema_fields import fields_of
from headgate.sources.files_discover import Discovery, of_json
from headgate.sources.kafka import connect

SAMPLE_WAIT_S = 10.0


def discover(options: Mapping[str, Any], topic: str) -> Discovery:
    """Look at the topic's oldest messages, or with `registry` among the options at the newest schema of `subject`,
    by default the topic's. `options` are those of a contract's server.

    Raises FixInputError for a topic that is not there, is empty or holds no JSON objects, or a subject that is not
    there; SourceUnavailable when no broker or registry answers.
    """
    if "registry" in options:
        return _registered(options, topic)
    server = Server("bus", "kafka", {**options, "format": "json"})
    source = connect(Dataset(topic, (), "discovered", "0"), server, {"topic": topic, "wait_s": SAMPLE_WAIT_S})
    try:
        return of_json(source, server)
    finally:
        source.close()


def _registered(options: Mapping[str, Any], topic: str) -> Discovery:
    registry = Registry(os.path.expandvars(str(options["registry"])))
    subject = str(options.get("subject") or f"{topic}-value")
    schema = registry.latest(subject)
    if schema is None:
        hint = "name it: &subject=NAME behind the topic"
        raise FixInputError(f"the registry has no subject {subject}", where=registry.shown, hint=hint)
    text_format = next((name for name, kind in KINDS.items() if kind == schema.kind), schema.kind)
    try:
        fields = fields_of(text_format, schema.text, schema.references)
    except ValueError as problem:
        why = f"no contract can be made of schema {subject}: {problem}"
        raise FixInputError(why, where=registry.shown, hint="write the contract by hand") from problem
    kept = {name: value for name, value in options.items() if name != "subject"}
    return Discovery(text_format, fields, Server("bus", "kafka", {**kept, "format": text_format}), 0, 0, True, ())

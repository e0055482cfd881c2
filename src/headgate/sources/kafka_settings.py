"""What a contract's server and the project may say about a topic."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from headgate.contract.model import Dataset, Server
from headgate.errors import FixInputError
from headgate.formats.registered import KINDS

FORMATS = ("json", *KINDS)
_CHOICES = {"format": FORMATS, "isolation": ("read_committed", "read_uncommitted")}
_OTHERS = ("id", "description", "environment", "roles", "host", "bootstrap", "port")  # of the server, read elsewhere
_PASSED = ("security", "sasl", "ssl", "client", "socket", "enable.ssl", "enable_ssl")  # librdkafka's own, by prefix


@dataclass(frozen=True, slots=True)
class Settings:
    """Which topic, how its messages are written, and how long to wait.

    `topic`: the contract's physicalName when absent. `name`: what its partitions are called in bronze (`NAME/0`), the
    topic when absent; another name reads a recreated topic from its start beside what was read of the old one.
    `format`: `json`, or `avro`, `protobuf` or `json-schema` in the wire format of the schema registry at `registry`.
    `start`: where the first read begins: `earliest`, `latest` or an instant in ISO 8601. `isolation`: with
    `read_committed` an aborted transaction is never seen and an open one holds back what follows it. `group`: workers
    of a run that goes on share the topic under this name, and progress is told to it after each commit; `member`: this
    worker's lasting name in it; `session_s`: how long it may be silent before its partitions go to others. `wait_s`:
    how long a broker may be silent before a run says that it is unavailable. `batch_bytes`: about how much to hand on
    at once. `max_message_bytes`: larger messages land whole and go to quarantine, nobody looks into them.
    """

    topic: str
    name: str
    format: str = "json"
    registry: str | None = field(default=None, repr=False)  # may hold a password
    start: str = "earliest"
    isolation: str = "read_committed"
    group: str | None = None
    member: str | None = None
    session_s: float = 45.0
    wait_s: float = 60.0
    batch_bytes: int = 1 << 23
    max_message_bytes: int = 1 << 24

    @property
    def start_ms(self) -> int | None:
        """The instant to start at, in milliseconds since 1970; None for `earliest` and `latest`."""
        return (
            None if self.start in {"earliest", "latest"} else int(datetime.fromisoformat(self.start).timestamp() * 1000)
        )


def settings_of(dataset: Dataset, server: Server, read: Mapping[str, Any]) -> Settings:
    """The settings; the project's win over the contract's. Raises FixInputError for one that cannot be."""
    known = [one.name for one in dataclasses.fields(Settings)]
    for where, given in ((f"headgate.yaml: {dataset.name}", read), (str(server.place or server.name), server.options)):
        others = _OTHERS if given is server.options else ()
        for name in given:
            if name not in (*known, *others) and not name.startswith(("_", *_PASSED)):
                raise FixInputError(
                    f"no setting {name!r} for kafka",
                    where=where,
                    hint=f"known: {', '.join(known)}, and librdkafka's security.*, sasl.*, ssl.*",
                )
    merged = {n: v for n, v in {**server.options, **read}.items() if n in known and v is not None}
    topic = str(merged.get("topic") or dataset.physical_name or dataset.name)
    where = f"headgate.yaml: {dataset.name}"
    values = {name: _value(name, value, where) for name, value in merged.items()}
    settings = Settings(**{"name": topic, **values, "topic": topic})
    if settings.member and not settings.group:
        raise FixInputError("a member needs a group", where=where, hint="group: the name that the workers share")
    if settings.format in KINDS and not settings.registry:
        hint = "read: {registry: http://HOST:8081}"
        raise FixInputError(f"format {settings.format} needs a schema registry", where=where, hint=hint)
    return settings


def passed_of(server: Server, read: Mapping[str, Any]) -> dict[str, Any]:
    """Address and librdkafka's own settings, the project's above the contract's."""
    return {**server.options, **read}


def _value(name: str, value: Any, where: str) -> Any:
    """One setting, typed."""
    try:
        if name in {"wait_s", "session_s"}:
            typed: Any = float(value)
        elif name in {"batch_bytes", "max_message_bytes"}:
            typed = int(value)
        else:
            typed = str(value)
    except (TypeError, ValueError) as cause:
        raise FixInputError(f"{name}: {value!r} is not a number", where=where) from cause
    if name in {"wait_s", "session_s", "batch_bytes", "max_message_bytes"} and not 0 < typed < 1 << 40:
        raise FixInputError(f"{name}: {value!r} must be greater than 0", where=where)
    if name in _CHOICES and typed not in _CHOICES[name]:
        raise FixInputError(f"{name}: {value!r} is not known", where=where, hint=f"one of: {', '.join(_CHOICES[name])}")
    if name == "registry" and not typed.startswith(("http://", "https://")):
        hint = "registry: http://HOST:8081"
        raise FixInputError("registry: not an address", where=where, hint=hint)
    if name == "start" and typed not in {"earliest", "latest"}:
        try:
            zoned = datetime.fromisoformat(typed).tzinfo is not None
        except ValueError:
            zoned = False
        if not zoned:
            hint = "earliest, latest, or an instant such as 2026-11-24T00:00:00Z"
            raise FixInputError(f"start: {value!r} is no place to start", where=where, hint=hint)
    return typed

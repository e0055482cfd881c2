"""How rows go into a topic, as the project file says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headgate.clients.kafka_topics import PARTITIONS
from headgate.errors import FixInputError

_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")
_PASSED = ("security.", "sasl.", "ssl.", "client.", "socket.", "enable.ssl")


@dataclass(frozen=True, slots=True)
class Settings:
    """How rows go into a topic. `{table}` in `topic` stands for the table's name."""

    topic: str = "{table}"
    partitions: int = PARTITIONS  # of a topic that has to be made
    replication: int = -1  # of a topic that has to be made; -1: the cluster's default
    config: Mapping[str, str] = field(default_factory=dict)  # of a topic that has to be made
    create: bool = True  # make the topic when it is not there
    ordered: bool = False  # all rows into one partition, in their order
    compression: str = "lz4"  # none, gzip, snappy, lz4 or zstd
    transaction_timeout_s: int = 120  # how long Kafka lets a commit stay open before it takes it back

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> Settings:
        """From the project file. FixInputError for an unknown name or an impossible value."""
        known = cls.__dataclass_fields__
        mine = {k: v for k, v in options.items() if not k.replace("_", ".").startswith((*_PASSED, "."))}
        if mine.pop("mode", "append") == "replace":
            raise FixInputError("a topic cannot be replaced as a whole", hint="serve it with mode: append or upsert")
        for name in mine:
            if name not in known:
                raise FixInputError(f"{name!r} is not a setting of kafka", hint=f"settings: {', '.join(known)}")
        whole = ("partitions", "replication", "transaction_timeout_s")
        try:
            numbers = {name: int(mine[name]) for name in whole if name in mine}
            config = {str(k): _text(v) for k, v in dict(mine.get("config") or {}).items()}
        except (TypeError, ValueError) as cause:
            raise FixInputError(f"a setting of kafka is not what it must be: {cause}") from cause
        return cls(**{**mine, **numbers, "config": config})


def topic_name(pattern: str, table: str) -> str:
    """The topic of a table. FixInputError when Kafka does not allow the name."""
    name = pattern.replace("{table}", table)
    if not _NAME.fullmatch(name) or name in (".", ".."):
        raise FixInputError(
            f"{name!r} cannot be the name of a topic",
            hint="letters, digits, '.', '_' and '-', at most 249; write topic: NAME beside kafka:",
        )
    return name


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)

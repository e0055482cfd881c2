"""Positions in a topic: a token per partition, with the identity of what it counts.

A token is JSON: `cluster` and `topic` (their ids: a topic that is deleted and made again has another one), `offset`
(the next to read) and `epoch` (the leader's at that offset, -1 when unknown; with it the broker tells whether the log
was cut and written anew since).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headgate.errors import PositionLost
from headgate.ports.batch import Position


@dataclass(frozen=True, slots=True)
class Token:
    """How far one partition has been read."""

    cluster: str
    topic: str
    offset: int
    epoch: int = -1

    @classmethod
    def load(cls, text: str, partition: str) -> Token:
        """From a position. Raises PositionLost for one that is none of ours."""
        try:
            value: Any = json.loads(text)
            if set(value) != {"cluster", "topic", "offset", "epoch"}:
                raise ValueError("other parts")
            token = cls(**value)
            ids = isinstance(token.cluster, str) and isinstance(token.topic, str)
            numbers = type(token.offset) is int and type(token.epoch) is int
            if not ids or not numbers or token.offset < 0 or token.epoch < -1:
                raise ValueError("parts of another type")
        except (ValueError, TypeError, AttributeError, RecursionError) as cause:
            raise PositionLost(
                f"the stored position of {partition} is not one of a Kafka source",
                where=partition,
                hint="restore the table, or read under another name (read: name: …) from the start",
                stage="state",
            ) from cause
        return token

    def dump(self) -> str:
        """As JSON text; equal tokens give equal text."""
        return json.dumps(
            {"cluster": self.cluster, "epoch": self.epoch, "offset": self.offset, "topic": self.topic},
            separators=(",", ":"),
        )


def label(name: str, partition: int) -> str:
    """What a partition is called in positions and in bronze."""
    return f"{name}/{partition}"


def tokens_of(position: Position, name: str) -> dict[int, Token]:
    """The tokens of this name's partitions; those of other sources are left alone."""
    found = {}
    for key, text in position.tokens.items():
        head, _, number = key.rpartition("/")
        if head == name and number.isascii() and number.isdigit():
            found[int(number)] = Token.load(text, key)
    return found


def position_of(name: str, tokens: Mapping[int, Token]) -> Position:
    """The position that these tokens make."""
    return Position({label(name, number): token.dump() for number, token in sorted(tokens.items())})

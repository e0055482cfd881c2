"""Kafka and what speaks like it: one topic, all its partitions, or this worker's share of them.

Where to read is known by the table alone. A message's coordinates are the partition (`topic/0`) and Kafka's offset;
offsets have gaps where transactions ended or compaction removed something. Value, key and headers land as bytes.
A position carries the ids of cluster and topic and the leader's epoch: a rebuilt cluster, a recreated topic and a log
that was cut stop by name, and so do messages that retention took before they were read, with the first and the last.

`read` goes up to the end that the topic has when it begins. `follow` goes on; with a `group` it reads the partitions
that the group gives to this worker, and ends whenever they change, so that the caller asks again from the table's
position. A worker that reads on without knowing is refused by the table.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from typing import Any

import pyarrow as pa

from headgate.clients.kafka import Address, module
from headgate.contract.model import Dataset, Server
from headgate.formats.registered import require
from headgate.ports.batch import Batch, Position
from headgate.sources.kafka_ahead import Ahead
from headgate.sources.kafka_group import Member, client, tell
from headgate.sources.kafka_position import Token, position_of, tokens_of
from headgate.sources.kafka_reader import Reader
from headgate.sources.kafka_rows import SCHEMA, no_rows
from headgate.sources.kafka_settings import Settings, passed_of, settings_of
from headgate.sources.kafka_topic import Facts, Range, Topic, has_id

SETTLING_S = 0.05  # between two looks whether the group has settled: the other members have to hear of it first
__all__ = ["SCHEMA", "KafkaSource", "Settings", "connect"]


def connect(dataset: Dataset, server: Server, read: Mapping[str, Any]) -> KafkaSource:
    """The source of one dataset. Opens nothing yet. FixInputError for an impossible setting."""
    settings = settings_of(dataset, server, read)
    module()
    require(settings.format)
    return KafkaSource(Address.parse(passed_of(server, read), str(server.place or server.name)), settings)


class KafkaSource:
    """One topic; see `headgate.ports.source`."""

    def __init__(self, address: Address, settings: Settings) -> None:
        self._settings = settings
        self._topic = Topic(address, settings)
        self._reader: Reader | None = None
        self._ahead: Ahead | None = None
        self._member: Member | None = None
        self._teller: Any = None

    def schema(self) -> pa.Schema:
        """Coordinates, bytes of value, key and headers, and the timestamp with its kind."""
        return SCHEMA

    def read(self, after: Position) -> Iterator[Batch]:
        """All messages up to the end that the topic has now; every batch can be resumed after.

        Raises SourceChanged for another cluster or topic, PositionLost for messages that are gone, FixInputError for
        a topic that is not there or no right to it, SourceUnavailable when no broker answers for `wait_s`.
        """
        if self._ahead is not None and self._ahead.after == after:
            ahead, self._ahead = self._ahead, None
            return ahead.batches()
        self._forget_ahead()
        return self._read_all(after)

    def begin(self, after: Position) -> None:
        """See the port (`Begins`)."""
        self._forget_ahead()
        self._ahead = Ahead(after, self._read_all(after))

    def _forget_ahead(self) -> None:
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.stop()

    def _read_all(self, after: Position) -> Generator[Batch]:
        facts = self._topic.facts()
        tokens, ranges = self._tokens(after, facts, range(facts.partitions))
        until = {number: there.stable for number, there in ranges.items()}
        yield from self._read(facts, after, tokens, until)

    def follow(self, after: Position) -> Iterator[Batch]:
        """Like `read`, and then what comes. Ends when this worker's share of the partitions changes."""
        if self._settings.group is not None and self._member is None:
            self._member = Member(self._topic.address, self._settings)
        while self._member is not None and self._member.partitions is None:
            self._member.poll(SETTLING_S)
            yield self._nothing(after)
        facts = self._topic.facts()
        mine = range(facts.partitions) if self._member is None else sorted(self._member.partitions or ())
        moves = self._member.moves if self._member else 0
        tokens, _ = self._tokens(after, facts, mine)
        for batch in self._read(facts, after, tokens, None):
            yield batch
            if self._member is not None:
                self._member.poll()
                if self._member.moves != moves:
                    return

    def idle(self, after: Position) -> bool:
        """Whether every partition has been read to its end."""
        facts = self._topic.facts()
        tokens = tokens_of(after, self._settings.name)
        if len(tokens) != facts.partitions:
            return False
        self._topic.check(facts, tokens)
        ranges = self._topic.ranges(range(facts.partitions))
        self._topic.reachable(tokens, ranges)
        return all(tokens[number].offset >= there.stable for number, there in ranges.items())

    def acknowledge(self, position: Position) -> None:
        """Tell the group, if there is one, how far the table is: a hint for those who watch."""
        offsets = {n: token.offset for n, token in tokens_of(position, self._settings.name).items()}
        if self._settings.group is None:
            return
        if self._member is not None:
            self._member.tell(offsets)
        else:
            if self._teller is None:
                self._teller = client(self._topic.address, self._settings.group)
            tell(self._teller, self._settings.topic, offsets)

    def tell(self) -> Mapping[str, Any]:
        """Identity, messages there, what an open transaction holds back, limitations."""
        facts = self._topic.facts()
        ranges = self._topic.ranges(range(facts.partitions))
        held = {n: there for n, there in ranges.items() if there.stable < there.end}
        limitations = [
            f"Transactions that are still open hold back {there.end - there.stable} offsets of partition {n},"
            f" from {there.stable} on."
            for n, there in held.items()
        ]
        if not has_id(facts.topic):
            limitations.append(
                "The cluster gives topics no ids: a topic that is made again is noticed only when it is"
                " shorter than what was read."
            )
        return {
            "identity": {"cluster": facts.cluster, "topic": self._settings.topic, "topic_id": facts.topic},
            "partitions": facts.partitions,
            "first": {str(n): there.first for n, there in ranges.items()},
            "ends": {str(n): there.stable for n, there in ranges.items()},
            "held_back": {str(n): there.end - there.stable for n, there in held.items()},
            "limitations": limitations,
        }

    def close(self) -> None:
        """Leaves the group and ends the clients; a running read ends with SourceUnavailable."""
        self._topic.close()
        reader, self._reader = self._reader, None
        member, self._member = self._member, None
        teller, self._teller = self._teller, None
        for one in (reader, member, teller):
            if one is not None:
                one.close()
        self._forget_ahead()

    def _read(
        self, facts: Facts, after: Position, tokens: Mapping[int, Token], until: Mapping[int, int] | None
    ) -> Iterator[Batch]:
        known = tokens_of(after, self._settings.name)
        start = position_of(self._settings.name, {n: known[n] for n in tokens if n in known})
        self._reader = reader = Reader(self._topic, facts, start, tokens, until)
        try:
            yield from reader.batches()
        finally:
            reader.close()

    def _tokens(
        self, after: Position, facts: Facts, mine: range | list[int]
    ) -> tuple[dict[int, Token], dict[int, Range]]:
        """Where each of the partitions is read from. A partition that came later is read from its first message."""
        known = tokens_of(after, self._settings.name)
        self._topic.check(facts, known)
        ranges = self._topic.ranges(list(mine))
        self._topic.reachable({n: token for n, token in known.items() if n in ranges}, ranges)
        fresh = [n for n in mine if n not in known]
        starts = {n: ranges[n].first for n in fresh} if known else self._topic.starts(fresh, ranges)
        made = {n: Token(facts.cluster, facts.topic, starts[n]) for n in fresh}
        return {n: known[n] if n in known else made[n] for n in mine}, ranges

    def _nothing(self, at: Position) -> Batch:
        return Batch(no_rows(), at, at)

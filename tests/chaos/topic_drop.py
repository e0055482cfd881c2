"""Messages that somebody sends to a topic while the product is killed; the account is that of the dropped files."""

from __future__ import annotations

import random

from file_drop import EPOCH, FileDrop

PARTITIONS = 12


class TopicDrop(FileDrop):
    """The same lines as messages: all of one key in one partition, in transactions, some of which are taken back."""

    def __init__(self, broker, rng: random.Random) -> None:
        self.broker = broker
        self.topic = broker.topic(PARTITIONS)
        self.rng = rng
        self.ids = 0
        self.lines: list[bytes] = []
        self.bad: list[bytes] = []
        self.winners: dict[int, dict] = {}
        self.rows: dict[bytes, dict | None] = {}
        self.clock = EPOCH
        self.producer = broker.producer(transactional_id=f"{self.topic}-drop")
        self.producer.init_transactions()

    def drop(self, lines: int = 200, files: int = 1) -> None:
        """Send messages; each transaction appears at once, whole, or never."""
        for _ in range(files):
            self._transaction([self._line() for _ in range(lines)], keep=True)
            if self.rng.random() < 0.5:
                self._transaction([b"never happened"] * self.rng.randrange(1, 5), keep=False)

    def _transaction(self, lines: list[bytes], *, keep: bool) -> None:
        self.producer.begin_transaction()
        for line in lines:
            row = self.rows.get(line)
            partition = (row["id"] if row else self.rng.randrange(PARTITIONS)) % PARTITIONS
            self.producer.produce(self.topic, line, partition=partition)
        assert self.producer.flush(30) == 0
        if keep:
            self.producer.commit_transaction()
        else:
            self.producer.abort_transaction()

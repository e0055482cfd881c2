"""Files that somebody drops into a folder while the product is killed, and what must come out of them."""

from __future__ import annotations

import datetime as dt
import json
import os
import random
from pathlib import Path

EPOCH = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
SERVER = """  - server: drop
    type: local
    path: inbox/*.ndjson
    format: ndjson"""


class FileDrop:
    """NDJSON files with 70 % ties in the order column, updates, equal copies, broken rules and broken lines.

    Keeps its own account: every line written, and the row of every key that must win (greatest `updated_at`, then
    latest line).
    """

    def __init__(self, inbox: Path, rng: random.Random) -> None:
        self.inbox = inbox
        self.rng = rng
        self.files = 0
        self.ids = 0
        self.lines: list[bytes] = []
        self.bad: list[bytes] = []
        self.winners: dict[int, dict] = {}
        self.rows: dict[bytes, dict | None] = {}  # None: the line is bad
        self.clock = EPOCH
        inbox.mkdir(parents=True, exist_ok=True)

    def drop(self, lines: int = 200, files: int = 1) -> None:
        """Add files; each appears at once, whole."""
        for _ in range(files):
            written = [self._line() for _ in range(lines)]
            self.files += 1
            temporary = self.inbox / f".{self.files:06d}.part"
            temporary.write_bytes(b"".join(line + b"\n" for line in written))
            os.replace(temporary, self.inbox / f"{self.files:06d}.ndjson")

    def expected(self) -> list[dict]:
        return list(self.winners.values())

    def _line(self) -> bytes:
        if self.lines and self.rng.random() < 0.05:
            line = self.rng.choice(self.lines)  # an equal copy: a duplicate, or an old version again
        else:
            line = self._new_line()
        self.lines.append(line)
        row = self.rows[line]
        if row is None:
            self.bad.append(line)
        else:
            now = self.winners.get(row["id"])
            if now is None or row["updated_at"] >= now["updated_at"]:
                self.winners[row["id"]] = row
        return line

    def _new_line(self) -> bytes:
        row = self._row()
        text = {**row, "updated_at": row["updated_at"].isoformat().replace("+00:00", "Z")}
        kind = self.rng.random()
        if kind < 0.05:
            line, row = json.dumps({**text, "quantity": -1 - self.rng.randrange(9)}).encode(), None
        elif kind < 0.07:
            line, row = json.dumps(text).encode()[: self.rng.randrange(1, 12)], None
        else:
            line = json.dumps(text, ensure_ascii=False).encode()
        self.rows[line] = row
        return line

    def _row(self) -> dict:
        if self.rng.random() > 0.7:
            self.clock += dt.timedelta(milliseconds=self.rng.randrange(1, 5000))
        key = self.rng.randrange(self.ids) if self.ids and self.rng.random() < 0.3 else self.ids
        self.ids = max(self.ids, key + 1)
        return {
            "id": key,
            "quantity": self.rng.randrange(1000),
            "note": self.rng.choice([None, "", 'é " \\ \n', f"note {self.rng.random()}"]),
            "updated_at": self.clock - dt.timedelta(seconds=self.rng.choice([0, 0, 0, 30])),
        }

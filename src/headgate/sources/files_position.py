"""The position of a file source: which files have been read, and how far the one being read is.

The token is JSON: `rows` (next offset), `root` (the folder's label), `files` (16 characters of base64 for each
file read, in the order of reading: 64 bits of a hash of its place, 32 of a hash of its identity), `current` (the
file being read: `file`, `identity`, `byte`, `line`; for Parquet `line` counts rows) and, for files that grow,
`tails` (place -> how far, and a hash of the beginning). Two files whose hashes collide in all 96 bits would be
taken for one; in the 64 bits of the place only, for a changed one, which stops the run.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from headgate.errors import PositionLost

_ENTRY = 16  # characters for 12 bytes
_PLACE = 8  # bytes


@dataclass(frozen=True, slots=True)
class Current:
    """How far a file has been read."""

    file: str
    identity: str
    byte: int
    line: int


@dataclass(slots=True)
class Progress:
    """What has been read. `read` maps a place's hash to its identity's; `token` is its only other form."""

    root: str
    rows: int = 0
    current: Current | None = None
    tails: dict[str, dict[str, Any]] = field(default_factory=dict)
    _entries: dict[bytes, bytes] = field(default_factory=dict)
    _text: str | None = None

    @classmethod
    def load(cls, token: str) -> Progress:
        """From a token. Raises PositionLost for one that is none of ours."""
        try:
            value = json.loads(token)
            current = value["current"]
            packed = base64.b64decode(value["files"], validate=True)
            if len(packed) % 12:
                raise ValueError("cut off")
            entries = {packed[i : i + _PLACE]: packed[i + _PLACE : i + 12] for i in range(0, len(packed), 12)}
            return cls(
                str(value["root"]),
                int(value["rows"]),
                Current(**current) if current else None,
                {str(name): _tail(tail) for name, tail in value["tails"].items()},
                entries,
                value["files"],
            )
        except (ValueError, KeyError, TypeError, AttributeError) as cause:
            raise PositionLost(
                "the stored position is not one of a file source",
                hint="give the server another name to read its files from the start",
                stage="state",
            ) from cause

    def token(self) -> str:
        """As JSON text; equal progress gives equal text."""
        if self._text is None:
            self._text = base64.b64encode(b"".join(p + i for p, i in self._entries.items())).decode()
        current = self.current
        value: dict[str, Any] = {
            "current": current
            and {"byte": current.byte, "file": current.file, "identity": current.identity, "line": current.line},
            "files": self._text,
            "root": self.root,
            "rows": self.rows,
            "tails": self.tails,
        }
        return json.dumps(value, sort_keys=True, separators=(",", ":"))

    def identity_read(self, place: str) -> str | None:
        """The identity with which the file of this place was read; None when it was not."""
        found = self._entries.get(digest(place, _PLACE))
        return found.hex() if found is not None else None

    def files_read(self) -> int:
        """How many files have been read to the end."""
        return len(self._entries)

    def finish(self, place: str, identity: str) -> None:
        """The file has been read to its end."""
        key, value = digest(place, _PLACE), bytes.fromhex(identity)
        if key not in self._entries and self._text is not None:
            self._text += base64.b64encode(key + value).decode()
        else:
            self._text = None
        self._entries[key] = value
        self.current = None


def _tail(value: Any) -> dict[str, Any]:
    """A tail, every part of it checked: KeyError, TypeError or ValueError when it is none."""
    numbers = {name: int(value[name]) for name in ("byte", "line", "size", "mtime_ns")}
    return {**numbers, "head": str(value["head"])}


def digest(value: str | bytes, size: int) -> bytes:
    """A hash of `size` bytes."""
    return hashlib.blake2b(value.encode() if isinstance(value, str) else value, digest_size=size).digest()


def identity(facts: Iterable[object]) -> str:
    """32 bits that tell one content of a file from another, from facts such as size and time of change."""
    return digest(json.dumps([str(fact) for fact in facts]), 4).hex()

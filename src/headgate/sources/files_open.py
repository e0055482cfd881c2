"""Opens a text file as a stream of UTF-8 bytes: decompressed, transcoded when declared, within limits.

Memory stays flat whatever the file holds: decompression is streamed, and a file that unpacks to more than
`max_file_bytes`, or to more than `max_ratio` times its size, is refused by name before it is read further.
"""

from __future__ import annotations

import codecs
import io
import os
from dataclasses import dataclass
from typing import Any, Literal, Self

import pyarrow as pa

from headgate.errors import FixInputError, SourceUnavailable

ENCODINGS = ("utf-8", "latin-1", "cp1252")
_RATIO_FREE = 16 << 20  # below this many unpacked bytes any ratio is harmless
_CHUNK = 1 << 20
_SKIP = 1 << 22

# cp1252 leaves five bytes undefined; like web browsers we map them to the control characters of the same number.
_UNDEFINED = (0x81, 0x8D, 0x8F, 0x90, 0x9D)
_CP1252 = "".join(chr(b) if b in _UNDEFINED else bytes([b]).decode("cp1252") for b in range(256))


@dataclass(frozen=True, slots=True)
class Opening:
    """How a text file is stored, and what it may cost."""

    compression: Literal["gzip", "zstd"] | None = None
    encoding: str = "utf-8"
    max_file_bytes: int = 1 << 36
    max_ratio: float = 500.0


class ByteStream:
    """A file's content from its first byte on. Errors name the file; use as a context manager."""

    def __init__(self, path: str, name: str, opening: Opening) -> None:
        self._name = name
        self._opening = opening
        self._file = _open(path, name)
        self._unpacked = 0
        self._rest = b""  # transcoded bytes not yet asked for
        self._source: Any = self._file
        if opening.compression:
            self._source = pa.CompressedInputStream(pa.PythonFile(self._file, mode="r"), opening.compression)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def stat(self) -> os.stat_result:
        """The open file's size and time of change."""
        return os.fstat(self._file.fileno())

    def skip(self, count: int) -> None:
        """Pass over `count` bytes of content; plain files are not read for it."""
        if not self._opening.compression and self._opening.encoding == "utf-8":
            self._file.seek(count, os.SEEK_CUR)
            return
        room = memoryview(bytearray(min(count, _SKIP)))
        while count:
            got = self.readinto(room[: min(count, _SKIP)])
            if not got:
                raise FixInputError(
                    "the file ends before the position that was read up to", where=self._name, stage="extract"
                )
            count -= got

    def readinto(self, room: memoryview) -> int:
        """Fill `room`; less only at the end of the file. The number of bytes."""
        filled = 0
        while filled < len(room):
            got = self._some(room[filled:])
            if not got:
                break
            filled += got
        return filled

    def _some(self, room: memoryview) -> int:
        if self._opening.encoding == "utf-8":
            return self._unpack(room)
        if not self._rest:
            chunk = bytearray(_CHUNK)
            got = self._unpack(memoryview(chunk))
            table = _CP1252 if self._opening.encoding == "cp1252" else None
            content = bytes(chunk[:got])
            text = codecs.charmap_decode(content, "strict", table)[0] if table else content.decode("latin-1")
            self._rest = text.encode()
        part = self._rest[: len(room)]
        room[: len(part)] = part
        self._rest = self._rest[len(part) :]
        return len(part)

    def _unpack(self, room: memoryview) -> int:
        """One read of the decompressed file. Raises FixInputError for a corrupt or excessive one."""
        try:
            got = int(self._source.readinto(room[:_CHUNK] if self._opening.compression else room) or 0)
        except (OSError, pa.ArrowException) as cause:
            if not self._opening.compression or (isinstance(cause, OSError) and cause.errno):
                raise SourceUnavailable(f"cannot be read: {cause}", where=self._name, stage="extract") from cause
            raise FixInputError(
                f"not a whole {self._opening.compression} file: {cause}",
                where=self._name,
                hint="repair or replace the file, or move it out of the folder",
                stage="extract",
            ) from cause
        if self._opening.compression:
            self._unpacked += got
            self._refuse_excess()
        return got

    def _refuse_excess(self) -> None:
        packed = max(self._file.tell(), 1)
        for limit, name in (
            (self._opening.max_file_bytes, "max_file_bytes"),
            (max(_RATIO_FREE, packed * self._opening.max_ratio), "max_ratio"),
        ):
            if self._unpacked > limit:
                raise FixInputError(
                    f"unpacks to more than {name} allows: {self._unpacked:,} bytes from {packed:,}",
                    where=self._name,
                    hint=f"if this is no decompression bomb, raise {name} in the contract's server",
                    stage="extract",
                )


def _open(path: str, name: str) -> io.FileIO:
    try:
        return io.FileIO(path)
    except FileNotFoundError as cause:
        raise SourceUnavailable("vanished before it was read", where=name, stage="extract") from cause
    except PermissionError as cause:
        raise FixInputError(
            "no right to read this file", where=name, hint=f"grant read access to {path}", stage="extract"
        ) from cause
    except OSError as cause:
        raise SourceUnavailable(f"cannot be opened: {cause.strerror}", where=name, stage="extract") from cause

"""The source behind a server of kind `local` or `files`; what it promises stands in `headgate.sources.files`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from headgate.contract.model import Dataset, Server
from headgate.errors import FixInputError, SourceChanged, SourceUnavailable
from headgate.ports.batch import OFFSET, PARTITION, Batch, Position
from headgate.ports.source import FullRead
from headgate.sources.files_columns import ColumnsReader
from headgate.sources.files_listing import Found, Place, extensions_of, find, kind_of, place
from headgate.sources.files_parquet import ParquetReader
from headgate.sources.files_position import Current, Progress, digest, identity
from headgate.sources.files_reading import FileReader, TextReader
from headgate.sources.files_settings import Settings, settings_of
from headgate.sources.files_text import Point

_ENOUGH = 1 << 22  # bytes that make a batch: only smaller pieces are worth copying together
_NO_DELETES = "A row that is deleted from a file which was read is not noticed as deleted."
_ENDS = 1 << 16  # bytes at both ends of a file that `identity: content` looks at


@dataclass(frozen=True, slots=True)
class _Todo:
    """A file with something to read, from `start` on."""

    found: Found
    identity: str
    start: Point


class FilesSource:
    """Reads the files of one place as one partition."""

    def __init__(self, name: str, settings: Settings, where: Place, *, compares: bool = False) -> None:
        self._name = name
        self._compares = compares
        self._settings = settings
        self._place = where
        self._frozen: list[Found] | None = None

    @classmethod
    def of(cls, dataset: Dataset, server: Server, read: Mapping[str, Any]) -> FilesSource:
        """The source that a server's options and the project's settings describe. FixInputError when they cannot be."""
        settings = settings_of(dataset, server, read)
        if dataset.full_reads is not None:
            if settings.grows:
                raise FixInputError("grows: a log that grows holds changes, and is no full read", where=server.name)
            settings = replace(settings, changed="read")
        return cls(
            server.name,
            settings,
            place(settings.path, str(server.options.get("_base", "."))),
            compares=dataset.full_reads is not None,
        )

    def schema(self) -> pa.Schema:
        """Coordinates, then raw records with file and line, or the columns of Parquet files and of full reads."""
        listing = self._listing()
        reader = self._reader(listing)
        if not isinstance(reader, TextReader):
            self._frozen = listing  # a file that comes now may have more columns: the next read leaves it for later
        return _with_coordinates(reader)

    def read(self, after: Position) -> Iterator[Batch]:
        """All records of files that are new since the position; every batch can be resumed after.

        Raises SourceChanged for a file that is not what was read of it, FixInputError for one that is corrupt,
        SourceUnavailable for one that cannot be read now.
        """
        progress = self._progress(after)
        token = after.tokens.get(self._name)
        start = Position({} if token is None else {self._name: token})
        listing = self._frozen if self._frozen is not None else self._listing()
        self._frozen = None
        if not listing and token is not None and not progress.current:
            return  # what was read has been taken away, and nothing came
        reader = self._reader(listing)
        schema = _with_coordinates(reader)
        pending: list[pa.RecordBatch] = []
        size, enough = 0, min(self._settings.batch_bytes, _ENOUGH)
        for rows, current in self._new_rows(listing, reader, progress):
            if pending and size + rows.nbytes > enough:
                end = Position({self._name: progress.token()})
                yield Batch(self._coordinates(pending, progress.rows, schema), start, end)
                start, pending, size = end, [], 0
            pending.append(rows)
            size += rows.nbytes
            progress.rows += rows.num_rows
            self._advance(progress, current)
        end = Position({self._name: progress.token()})
        if pending or end != start:
            yield Batch(self._coordinates(pending, progress.rows, schema), start, end)

    def full_reads(self, after: Position) -> Iterator[FullRead]:
        """Each file that is new or has changed is a full read, as of its time of change; see ports.source."""
        progress = self._progress(after)
        token = after.tokens.get(self._name)
        start = Position({} if token is None else {self._name: token})
        listing, self._frozen = self._frozen if self._frozen is not None else self._listing(), None
        waiting = {found.name for found in self._waiting(listing)}
        for todo in self._todo([found for found in listing if found.name not in waiting], progress):
            at = datetime.fromtimestamp(todo.found.mtime_ns // 1000 / 1_000_000, UTC)
            yield FullRead(at, self._whole(todo, self._reader(listing), progress, start))
            start = Position({self._name: progress.token()})

    def _whole(self, todo: _Todo, reader: FileReader, progress: Progress, start: Position) -> Iterator[Batch]:
        """All rows of one file, then its end."""
        schema = _with_coordinates(reader)
        for rows in reader.read(todo.found, Point()):
            progress.rows += rows.batch.num_rows
            yield Batch(self._coordinates([rows.batch], progress.rows, schema), start, None)
        self._finish(progress, todo, Point())
        yield Batch(self._coordinates([], progress.rows, schema), start, Position({self._name: progress.token()}))

    def idle(self, after: Position) -> bool:
        """True when no file is new, changed or unfinished."""
        token = after.tokens.get(self._name)
        if token is None:
            return False
        progress = self._progress(after)
        listing = self._listing()
        if progress.current or progress.token() != token or self._waiting(listing):
            return False
        return not any(True for _ in self._todo(listing, progress))

    def tell(self) -> Mapping[str, Any]:
        """Identity, files found and their size, limitations."""
        listing = self._listing()
        limitations = [] if self._compares else [_NO_DELETES]
        if self._settings.identity == "time":
            limitations.append("A change that keeps a file's size and time is not seen.")
        else:
            limitations.append("A change that keeps a file's size and both its ends is not seen.")
        if not listing:
            limitations.append("No file matches the path at present.")
        waiting = len(self._waiting(listing))
        return {
            "identity": self._place.label,
            "files": len(listing),
            "size_bytes": sum(found.size for found in listing),
            "waiting": waiting,
            "limitations": limitations,
        }

    def close(self) -> None:
        """Nothing is kept open between reads."""

    def _progress(self, after: Position) -> Progress:
        """What the position says was read. Raises SourceChanged when it is of another place."""
        token = after.tokens.get(self._name)
        if token is None:
            return Progress(self._place.label)
        progress = Progress.load(token)
        old, new = progress.root, self._place.label
        if old != new and not _within(old, new) and not _within(new, old):
            raise SourceChanged(
                f"the position belongs to the files of {old!r}, not of {new!r}",
                where=self._name,
                hint="restore the path, or give the server another name to read the new files from the start",
                stage="extract",
            )
        if progress.current and old != new:
            progress.current = _moved(progress.current, old, new)
        progress.tails = {_renamed(name, old, new): tail for name, tail in progress.tails.items()}
        progress.root = new
        return progress

    def _listing(self) -> list[Found]:
        return find(self._place, extensions_of(self._settings.format))

    def _waiting(self, listing: list[Found]) -> list[Found]:
        """Files that changed too recently to be read."""
        if not self._settings.settle_s:
            return []
        now, settle_ns = time.time_ns(), int(self._settings.settle_s * 1e9)
        return [found for found in listing if abs(now - found.mtime_ns) < settle_ns]

    def _reader(self, listing: list[Found]) -> FileReader:
        """The reader for all files. Raises FixInputError when they are of different families."""
        settings = self._settings
        families: dict[str, str] = {}
        for found in listing:
            families.setdefault(_family(settings.format_of(found.name)), found.name)
        if len(families) > 1:
            (one, first), (other, second) = list(families.items())[:2]
            raise FixInputError(
                f"{first} is {one} and {second} is {other}",
                where=self._place.label,
                hint="give each format its own server",
            )
        told = next(iter(families), None) or _family(settings.format or kind_of(settings.path)[0] or "")
        if told == "json" or (told == "csv" and not self._compares):
            return TextReader(settings, csv=told == "csv")
        if not listing:
            raise FixInputError(
                "there is no file yet to tell the columns",
                where=self._place.label,
                hint="put a file there, or for text files set the server's format: csv, ndjson or json",
            )
        if told == "csv":
            return ColumnsReader(settings, listing)
        return ParquetReader(
            listing,
            piece_bytes=settings.batch_bytes,
            max_file_bytes=settings.max_file_bytes,
            max_ratio=settings.max_ratio,
            max_record_bytes=settings.max_record_bytes,
        )

    def _new_rows(
        self, listing: list[Found], reader: FileReader, progress: Progress
    ) -> Iterator[tuple[pa.RecordBatch, Current]]:
        """Rows of all files with something new; a file is noted as finished when the next rows are asked for."""
        waiting = {found.name for found in self._waiting(listing)} - {progress.current.file if progress.current else ""}
        for todo in self._todo([found for found in listing if found.name not in waiting], progress):
            end = todo.start
            for rows in reader.read(todo.found, todo.start):
                end = rows.end
                yield rows.batch, Current(todo.found.name, todo.identity, end.byte, end.line)
            self._finish(progress, todo, end)

    def _todo(self, listing: list[Found], progress: Progress) -> Iterator[_Todo]:
        """Files to read in order, the one that was left in the middle first. Raises SourceChanged."""
        current = progress.current
        if current and current.file not in {found.name for found in listing}:
            self._refuse(current.file, f"is gone; it had been read up to line {current.line}")
            progress.finish(self._label(current.file), current.identity)
            current = None
        for found in sorted(listing, key=lambda file: (not current or file.name != current.file, file.name)):
            todo = self._growth(found, progress) if self._settings.grows else self._news(found, progress)
            if todo is not None:
                yield todo

    def _news(self, found: Found, progress: Progress) -> _Todo | None:
        """What is to read of a file that does not grow."""
        now = self._identity(found)
        current = progress.current
        if current and current.file == found.name:
            if current.identity == now:
                return _Todo(found, now, Point(current.byte, current.line))
            self._refuse(found.name, f"changed; it had been read up to line {current.line}")
            return _Todo(found, now, Point())
        before = progress.identity_read(self._label(found.name))
        if before == now:
            return None
        if before is not None:
            self._refuse(found.name, "changed after it was read")
        return _Todo(found, now, Point())

    def _growth(self, found: Found, progress: Progress) -> _Todo | None:
        """What is to read of a file that grows."""
        tail = progress.tails.get(found.name)
        if tail is None:
            return _Todo(found, "", Point())
        if (found.size, found.mtime_ns) == (tail["size"], tail["mtime_ns"]):
            return None
        byte = int(tail["byte"])
        if found.size < byte or _beginning(found, byte) != tail["head"]:
            self._refuse(found.name, "no longer begins with what was read of it")
            return _Todo(found, "", Point())
        return _Todo(found, "", Point(byte, int(tail["line"])))

    def _refuse(self, name: str, what: str) -> None:
        if self._settings.changed == "read":
            return
        hint = "changed: read lands the file again; give changed files new names to keep both"
        if self._settings.identity == "time" and not self._settings.grows:
            hint += "; identity: content if only its time changed"
        raise SourceChanged(f"the file {what}", where=name, hint=hint, stage="extract")

    def _advance(self, progress: Progress, current: Current) -> None:
        """Note that rows up to this place were handed on."""
        if not self._settings.grows:
            progress.current = current
            return
        path = str(self._place.root / current.file)
        found = Found(current.file, path, -1, -1)  # no size: whatever it is, look at the file again
        self._note_tail(progress, found, Point(current.byte, current.line))

    def _finish(self, progress: Progress, todo: _Todo, end: Point) -> None:
        if self._settings.grows:
            self._note_tail(progress, todo.found, end)
        else:
            progress.finish(self._label(todo.found.name), todo.identity)

    def _note_tail(self, progress: Progress, found: Found, end: Point) -> None:
        progress.tails[found.name] = {
            "byte": end.byte,
            "line": end.line,
            "head": _beginning(found, end.byte),
            "size": found.size,
            "mtime_ns": found.mtime_ns,
        }

    def _identity(self, found: Found) -> str:
        if self._settings.identity == "time":
            return identity((found.size, found.mtime_ns))
        with _opened(found) as file:
            first = file.read(_ENDS)
            file.seek(max(0, found.size - _ENDS))
            return identity((found.size, digest(first, 8).hex(), digest(file.read(_ENDS), 8).hex()))

    def _label(self, name: str) -> str:
        return name if self._place.label == "." else f"{self._place.label.rstrip('/')}/{name}"

    def _coordinates(self, parts: list[pa.RecordBatch], following: int, schema: pa.Schema) -> pa.RecordBatch:
        """The parts as one batch whose last row has the offset before `following`."""
        if not parts:
            return pa.RecordBatch.from_pylist([], schema=schema)
        rows = parts[0] if len(parts) == 1 else pa.Table.from_batches(parts).combine_chunks().to_batches()[0]
        count = rows.num_rows
        offsets = pa.array(np.arange(following - count, following, dtype=np.int64))
        return pa.RecordBatch.from_arrays([pa.repeat(self._name, count), offsets, *rows.columns], schema=schema)


def _with_coordinates(reader: FileReader) -> pa.Schema:
    coordinates = [pa.field(PARTITION, pa.string(), nullable=False), pa.field(OFFSET, pa.int64(), nullable=False)]
    return pa.schema([*coordinates, *reader.schema()])


def _family(format_name: str) -> str:
    return "json" if format_name == "ndjson" else format_name


def _within(inner: str, outer: str) -> bool:
    return not inner.startswith("/") if outer == "." else inner.startswith(outer.rstrip("/") + "/")


def _renamed(name: str, old: str, new: str) -> str:
    """A file's name relative to another root above or below the old one."""
    return os.path.relpath(os.path.join("/", old, name), os.path.join("/", new)) if old != new else name


def _moved(current: Current, old: str, new: str) -> Current:
    return Current(_renamed(current.file, old, new), current.identity, current.byte, current.line)


def _beginning(found: Found, byte: int) -> str:
    """A hash of the file's first bytes, of those before `byte` at most."""
    with _opened(found) as file:
        return digest(file.read(min(byte, _ENDS)), 8).hex()


def _opened(found: Found) -> Any:
    try:
        return open(found.path, "rb")
    except OSError as cause:
        raise SourceUnavailable(f"cannot be opened: {cause.strerror}", where=found.name, stage="extract") from cause

"""Rows as NDJSON files in a folder or a bucket: rolled by rows and bytes, each with its range of offsets in its name.

    order_events/ingest_date=2026-11-24/order_events@3.000000120000-000000127431.20261124T181502Z.ndjson.zst
    order_events/_log/000000000017.json

A file name says the partition, the first and the last offset and the time of its commit. A commit goes through these
steps:

1. the rows are written to files under `_pending`, which nobody reads;
2. the next number of `_log` is made, with all positions and the names that the files shall have: this decides, since
   of several writers of one number only one succeeds;
3. the files get their names, each at once and whole.

A process that died after step 2 leaves files still pending: whoever opens the stream next does step 3 for it. A commit
that lost, or died before step 2, has no number and its files are removed.
"""

from __future__ import annotations

import json
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote as escaped

import pyarrow as pa

from headgate import crash
from headgate.errors import CommitConflict, FixInputError, StalePosition
from headgate.ports.batch import INGESTED_AT, OFFSET, PARTITION, Batch, Position, Stretch
from headgate.ports.store import TableSpec
from headgate.stores.ndjson_lines import encode
from headgate.stores.ndjson_place import Place, open_place

KEPT = 64  # entries of the log
TRIES = 20
PENDING_AGE_S = 86_400.0  # a pending file of no commit may be removed after so long
_SLICE = 2_000  # rows encoded between two looks at the size
_SUFFIX = {"none": "", "gzip": ".gz", "zstd": ".zst"}


@dataclass(frozen=True, slots=True)
class Settings:
    """How files are cut: a new one after `roll_rows` rows or `roll_bytes` bytes (as written, compressed), whichever
    comes first. `compression` is none, gzip or zstd. How often a commit is made is the caller's pace."""

    roll_rows: int = 1_000_000
    roll_bytes: int = 64 << 20
    compression: str = "zstd"

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Settings:
        """From a project file's entry. FixInputError for a value that makes no sense."""
        if (mode := options.get("mode", "append")) != "append":
            raise FixInputError(
                f"files are only added to, and the mode is {mode}",
                where="ndjson",
                hint="mode: append; a table whose rows change or go belongs in postgres or kafka",
                stage="serve",
            )
        default, chosen = cls(), {}
        for name in ("roll_rows", "roll_bytes"):
            value = options.get(name, getattr(default, name))
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise FixInputError(f"{name} cannot be {value!r}", hint="a number of at least 1", where="ndjson")
            chosen[name] = value
        compression = str(options.get("compression", default.compression))
        if compression not in _SUFFIX:
            raise FixInputError(f"unknown compression {compression!r}", hint=f"one of {', '.join(_SUFFIX)}")
        return cls(**chosen, compression=compression)


def open_sink(target: str, options: Mapping[str, Any], _spec: TableSpec | None = None) -> NdjsonSink:
    """A sink that keeps each stream in a folder of its own below `target`, a path or `s3://bucket/prefix`."""
    return NdjsonSink(open_place(target, options), Settings.of(options))


@dataclass(slots=True)
class _Entry:
    """One line of a stream's log: all positions after the commit, and the files that it made (pending name, name)."""

    number: int = 0
    positions: dict[str, str] = field(default_factory=dict)
    files: list[tuple[str, str]] = field(default_factory=list)
    commit: str = ""

    def dumps(self) -> bytes:
        document = {"commit": self.commit, "positions": self.positions, "files": self.files}
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def loads(cls, number: int, content: bytes) -> _Entry:
        document = json.loads(content)
        files = [(pending, name) for pending, name in document["files"]]
        return cls(number, document["positions"], files, document["commit"])


class NdjsonSink:
    """Streams as folders of NDJSON files (ports.store.Sink). Several processes may write one stream."""

    def __init__(self, place: Place, settings: Settings) -> None:
        self.place, self.settings = place, settings
        self._newest: dict[str, int] = {}  # stream -> number of the log that is known to be there

    def position(self, stream: str) -> Position:
        """Where the stream stands; finishes what a killed process had committed."""
        return Position(self._last(stream).positions)

    def commit(self, stream: str, batches: Iterable[Batch]) -> int:
        """Rows up to the last end, as files, with that end. Raises StalePosition when another process moved one of the
        partitions, CommitConflict when others were faster too often; nothing of the commit is visible then."""
        commit = uuid.uuid4().hex
        with tempfile.TemporaryDirectory(prefix="headgate-ndjson-") as folder:
            writer = _Writer(self.settings, Path(folder))
            stretch = Stretch(batches)
            for rows in stretch.rows():
                writer.write(rows)
            if stretch.end is None or stretch.start is None:
                return 0
            files = self._upload(stream, commit, writer.close())
        try:
            entry = self._decide(stream, commit, stretch.start, stretch.end, files)
        except BaseException:
            if not self._landed(stream, commit):
                for pending, _ in files:
                    self.place.delete(pending)
            raise
        crash.point("ndjson: committed, files pending")
        self._reveal(entry)
        self._prune(stream, entry.number)
        return writer.rows

    def close(self) -> None:
        """Nothing is held open."""

    def _upload(self, stream: str, commit: str, written: list[_File]) -> list[tuple[str, str]]:  # (1)
        files = []
        at = datetime.now(UTC)
        for number, one in enumerate(written):
            pending = f"{_folder(stream)}/_pending/{commit}/{number}"
            self.place.upload(one.path, pending)
            files.append((pending, f"{_folder(stream)}/{one.name(at, _SUFFIX[self.settings.compression])}"))
        crash.point("ndjson: files written, not committed")
        return files

    def _decide(
        self, stream: str, commit: str, start: Position, end: Position, files: list[tuple[str, str]]
    ) -> _Entry:  # (2)
        for _ in range(TRIES):
            last = self._last(stream)
            for partition in end.tokens:
                if last.positions.get(partition) != start.tokens.get(partition):
                    raise StalePosition(
                        f"the position of {stream!r} at {partition!r} is no longer where these rows start",
                        where=f"{self.place.shown}/{_folder(stream)}",
                        hint="another run moved it; run again and it continues from there",
                    )
            entry = _Entry(last.number + 1, {**last.positions, **end.tokens}, files, commit)
            if self.place.create(_log(stream, entry.number), entry.dumps()):
                self._newest[stream] = entry.number
                return entry
        raise CommitConflict("other writers were faster every time", where=f"{self.place.shown}/{_folder(stream)}")

    def _reveal(self, entry: _Entry) -> None:  # (3)
        for pending, name in entry.files:
            self.place.move(pending, name)

    def _last(self, stream: str) -> _Entry:
        """The newest entry of the log, its files all in place."""
        log = self.place.names(f"{_folder(stream)}/_log")
        if not log:
            return _Entry()
        newest = max(int(Path(name).stem) for name in log)
        entry = _Entry.loads(newest, self.place.read(_log(stream, newest)))
        if self._newest.get(stream) != newest:
            # Its writer may have died before step 3, and that of the one before it while we look: both are finished.
            pending = set(self.place.names(f"{_folder(stream)}/_pending"))
            for number in sorted(int(Path(name).stem) for name in log):
                if pending:
                    one = _Entry.loads(number, self.place.read(_log(stream, number)))
                    self._reveal(_Entry(files=[f for f in one.files if f[0] in pending]))
            self._newest[stream] = newest
        return entry

    def _landed(self, stream: str, commit: str) -> bool:
        """Whether a commit is in the log: after an error only looking can tell."""
        for name in self.place.names(f"{_folder(stream)}/_log"):
            if _Entry.loads(0, self.place.read(name)).commit == commit:
                return True
        return False

    def _prune(self, stream: str, number: int) -> None:
        """Old entries, and now and then files that no commit will ever name."""
        if number % KEPT:
            return
        for name in self.place.names(f"{_folder(stream)}/_log"):
            if int(Path(name).stem) <= number - KEPT:
                self.place.delete(name)
        for name in self.place.old(f"{_folder(stream)}/_pending", PENDING_AGE_S):
            self.place.delete(name)


def _folder(stream: str) -> str:
    return escaped(stream, safe="")


def _log(stream: str, number: int) -> str:
    return f"{_folder(stream)}/_log/{number:012}.json"


@dataclass(slots=True)
class _File:
    """One file being written: rows of one partition and one day."""

    path: Path
    partition: str
    day: str
    sink: Any
    first: int
    last: int
    rows: int = 0

    def name(self, at: datetime, suffix: str) -> str:
        """Its name below the stream, unique by partition and offsets: `/` is written @, what else is special as %XX."""
        partition = escaped(self.partition, safe="").replace("%2F", "@")
        return f"ingest_date={self.day}/{partition}.{self.first:012}-{self.last:012}.{at:%Y%m%dT%H%M%SZ}.ndjson{suffix}"


class _Writer:
    """Rows into files, one open file per partition and day."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        self.rows = 0
        self._open: dict[tuple[str, str], _File] = {}
        self._done: list[_File] = []
        self._today = f"{datetime.now(UTC):%Y-%m-%d}"

    def write(self, rows: pa.RecordBatch) -> None:
        """Append rows to the files of their partitions and days."""
        self.rows += rows.num_rows
        for start in range(0, rows.num_rows, _SLICE):
            some = rows.slice(start, _SLICE)
            lines = encode(some)
            for (partition, day), at in _runs(some, self._today):
                self._append(partition, day, some.column(OFFSET)[at], lines[at])

    def close(self) -> list[_File]:
        """All files, finished."""
        for one in list(self._open.values()):
            self._finish(one)
        return self._done

    def _append(self, partition: str, day: str, offsets: Any, lines: Any) -> None:
        while len(lines):
            one = self._open.get((partition, day))
            if one is None:
                one = self._begin(partition, day, offsets[0].as_py())
            room = self.settings.roll_rows - one.rows
            some = lines[:room]
            one.sink.write(_bytes(some))
            one.rows += len(some)
            one.last = offsets[len(some) - 1].as_py()
            offsets, lines = offsets[len(some) :], lines[len(some) :]
            if one.rows >= self.settings.roll_rows or self._size(one) >= self.settings.roll_bytes:
                self._finish(one)

    def _begin(self, partition: str, day: str, first: int) -> _File:
        path = self.folder / uuid.uuid4().hex
        compression: Any = None if self.settings.compression == "none" else self.settings.compression
        sink = pa.output_stream(str(path), compression=compression, buffer_size=1 << 16)
        one = _File(path, partition, day, sink, first, first)
        self._open[partition, day] = one
        return one

    def _size(self, one: _File) -> int:
        one.sink.flush()
        return one.path.stat().st_size

    def _finish(self, one: _File) -> None:
        one.sink.close()
        del self._open[one.partition, one.day]
        self._done.append(one)


def _runs(rows: pa.RecordBatch, today: str) -> Iterator[tuple[tuple[str, str], slice]]:
    """Stretches of rows with the same partition and day of landing."""
    import pyarrow.compute as pc

    compute: Any = pc
    days: Any = pa.repeat(today, rows.num_rows)
    if INGESTED_AT in rows.schema.names:
        days = compute.strftime(rows.column(INGESTED_AT).cast(pa.timestamp("us")), "%Y-%m-%d")
    partitions: Any = rows.column(PARTITION).cast(pa.string())
    keys = pa.StructArray.from_arrays([partitions, days], ["partition", "day"])
    start = 0
    for run in compute.run_end_encode(compute.binary_join_element_wise(partitions, days, "\x00")).run_ends.to_pylist():
        key: Any = keys[start].as_py()
        yield (key["partition"], key["day"]), slice(start, run)
        start = run


def _bytes(lines: Any) -> Any:
    """The lines' bytes, one after another, without copying."""
    _, edges, data = lines.buffers()
    wide = pa.types.is_large_binary(lines.type)
    import numpy as np

    offsets = np.frombuffer(edges, np.int64 if wide else np.int32)[lines.offset : lines.offset + len(lines) + 1]
    return memoryview(data)[int(offsets[0]) : int(offsets[-1])]

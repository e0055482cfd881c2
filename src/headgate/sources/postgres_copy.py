"""COPY TO STDOUT as Arrow: the server formats, one thread receives, one parses, the caller writes, all at once.

    server ──libpq──▶ receiver (blocks of whole records) ──queue──▶ parser (pyarrow.csv) ──queue──▶ caller

Both queues are short, so memory is a few blocks whatever the table's size, and a slow caller slows the server down.
"""

from __future__ import annotations

import csv
import io
import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv

from headgate import crash
from headgate.errors import DefectError, SourceUnavailable
from headgate.ports.batch import ODD_TYPE
from headgate.sources.postgres_session import Session

_QUOTE, _NEWLINE = b'"', b"\n"
_ISO8601: Any = pcsv.ISO8601
_END = -1  # in place of a statement's number
_DEPTH = 2  # blocks waiting in each queue

# How PostgreSQL prints the values that an Arrow type holds exactly. What looks otherwise (NaN, infinity, BC, years
# past 9999, 24:00:00) is odd: NULL in the column, its text in `_hg_odd`.
_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?"


def _regular(of: pa.DataType) -> str | None:
    if pa.types.is_decimal(of):
        return r"^-?[0-9]+(\.[0-9]+)?$"
    if pa.types.is_date(of):
        return f"^{_DATE}$"
    if pa.types.is_time(of):
        return f"^{_TIME}$"
    if pa.types.is_timestamp(of):
        return f"^{_DATE} {_TIME}{'[+]00' if of.tz else ''}$"
    return None


def record_end(block: bytes | bytearray, stop: int | None = None) -> int:
    """Where the last whole CSV record of a block that starts with one ends: the end of the last line before `stop`
    that has an even number of quotes before it. 0 when there is none."""
    end = block.rfind(_NEWLINE, 0, stop) + 1
    quotes = block.count(_QUOTE, 0, end)
    while end and quotes % 2:
        before = block.rfind(_NEWLINE, 0, end - 1) + 1
        quotes -= block.count(_QUOTE, before, end)
        end = before
    return end


def last_record(block: bytes) -> list[str]:
    """The values of the last record of a block of whole records. NULL and '' are both ''."""
    start = record_end(block, len(block) - 1)
    return next(csv.reader(io.StringIO(block[start:].decode("utf-8", "surrogateescape"), newline="")))


class _Stopped(Exception):
    """The caller wants no more."""


class _Blocks(io.RawIOBase):
    """Gets what a BufferedWriter has gathered, cuts it at a record's end and hands it on; waits for the parser.

    libpq hands out one record at a time and the writer never splits one, so the cut is nearly always the end.
    """

    def __init__(self, out: queue.Queue[Any], stop: threading.Event) -> None:
        super().__init__()
        self._out = out
        self._stop = stop
        self._carry = b""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        block = self._carry + bytes(data) if self._carry else bytes(data)
        cut = record_end(block)
        if cut:
            put(self._out, block if cut == len(block) else block[:cut], self._stop)
        self._carry = block[cut:]
        return len(data)

    def finish(self) -> None:
        """What is left is a whole record, or the server broke its protocol."""
        if self._carry:
            raise DefectError("COPY ended inside a record", stage="extract")


def put(out: queue.Queue[Any], item: Any, stop: threading.Event) -> None:
    """Puts an item as soon as there is room; _Stopped when the caller has gone."""
    while not stop.is_set():
        try:
            out.put(item, timeout=0.2)
        except queue.Full:
            continue
        return
    raise _Stopped


@dataclass(frozen=True, slots=True)
class Parsed:
    """One block: its columns, its number of rows, and (if kept) the values of its last record as text."""

    columns: list[pa.Array[Any]]
    odd: pa.Array[Any]
    rows: int
    last: list[str]


class Parser:
    """Turns blocks of CSV into columns of the wanted types, exactly."""

    def __init__(self, fields: Sequence[pa.Field[Any]], hexadecimal: Sequence[bool], keep_last: bool = False) -> None:
        self._keep_last = keep_last
        self._fields = list(fields)
        self._names = [f"c{i}" for i in range(len(self._fields))]
        self._wanted = [pa.string() if as_hex else f.type for f, as_hex in zip(self._fields, hexadecimal, strict=True)]
        self._hex = list(hexadecimal)
        self._suspect: set[int] = set()  # columns that held an odd value: their text is looked at from then on

    def parse(self, block: bytes) -> Parsed:
        """The block's columns. A value that the type cannot hold exactly is NULL, and stands in `odd` as text."""
        types = [pa.binary() if i in self._suspect else of for i, of in enumerate(self._wanted)]
        try:
            columns = self._read(block, types)
        except pa.ArrowInvalid:
            columns = self._read(block, [pa.binary()] * len(types))
            types = [pa.binary()] * len(types)
        odd: dict[int, pa.Array[Any]] = {}
        for i, of in enumerate(self._wanted):
            if types[i] != of:
                columns[i], texts = _convert(columns[i], of)
                if texts is not None:
                    odd[i] = texts
                    self._suspect.add(i)
            if self._hex[i]:
                columns[i] = from_hexadecimal(columns[i])
        rows = len(columns[0])
        named = [(self._fields[i].name, texts) for i, texts in odd.items()]
        return Parsed(columns, _odd_column(named, rows), rows, last_record(block) if self._keep_last else [])

    def _read(self, block: bytes, types: list[pa.DataType]) -> list[pa.Array[Any]]:
        csv_read: Any = pcsv.read_csv  # the stubs know only paths and Python files
        table: pa.Table = csv_read(
            pa.BufferReader(block),
            pcsv.ReadOptions(column_names=self._names, block_size=len(block) + 1, use_threads=False),
            pcsv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
            pcsv.ConvertOptions(
                column_types=dict(zip(self._names, types, strict=True)),
                null_values=[""],
                true_values=["t"],
                false_values=["f"],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                timestamp_parsers=[_ISO8601],
            ),
        )
        return [_whole(column) for column in table.columns]


def _whole(column: Any) -> pa.Array[Any]:
    whole: pa.Array[Any] = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
    return whole


def _convert(raw: pa.Array[Any], of: pa.DataType) -> tuple[pa.Array[Any], pa.Array[Any] | None]:
    """Text (as bytes) to the wanted type, and the texts of the odd values (NULL where a value is not odd)."""
    pattern = _regular(of)
    if pattern is None:
        if not (pa.types.is_string(of)):
            return _typed(raw, of), None  # whole numbers, floats and booleans are always exact
        with suppress(pa.ArrowInvalid):
            return raw.cast(of), None
        good = pa.array([None if one is None else _is_text(one) for one in raw.to_pylist()], pa.bool_())
        texts = [None if one is None or _is_text(one) else "\\x" + one.hex() for one in raw.to_pylist()]
    else:
        good = pc.match_substring_regex(raw, pattern)
        strange = pc.if_else(good, pa.scalar(None, pa.binary()), raw).to_pylist()
        texts = [None if one is None else one.decode("utf-8", "backslashreplace") for one in strange]
    value = _typed(pc.if_else(good, raw, pa.scalar(None, pa.binary())), of)
    return value, pa.array(texts, pa.string()) if any(one is not None for one in texts) else None


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _typed(raw: pa.Array[Any], of: pa.DataType) -> pa.Array[Any]:
    """Regular texts to the type, by the same parser that reads whole blocks."""
    if pa.types.is_string(of):
        return raw.cast(of)
    lines = b"\n".join(one if one is not None else b"" for one in raw.to_pylist()) + b"\n"
    return Parser([pa.field("v", of)], [False])._read(lines, [of])[0] if len(raw) else pa.array([], of)


def from_hexadecimal(texts: pa.Array[Any]) -> pa.Array[Any]:
    """Hexadecimal digits (as `encode(…, 'hex')` gives them) to bytes, all values at once."""
    validity, offsets, data = texts.buffers()
    if texts.offset or data is None:
        return pa.array([None if one is None else bytes.fromhex(one) for one in texts.to_pylist()], pa.binary())
    import numpy as np

    places: Any = np.frombuffer(memoryview(offsets or b""), np.int32, len(texts) + 1)
    raw = bytes.fromhex(data.to_pybytes()[: int(places[-1])].decode("ascii"))
    return pa.Array.from_buffers(
        pa.binary(),
        len(texts),
        [validity, pa.py_buffer((places // 2).astype(np.int32)), pa.py_buffer(raw)],
        texts.null_count,
    )


def _odd_column(odd: Sequence[tuple[str, pa.Array[Any]]], rows: int) -> pa.Array[Any]:
    if not odd:
        return pa.nulls(rows, ODD_TYPE)
    values: list[list[tuple[str, str]] | None] = [None] * rows
    for name, texts in odd:
        for place, text in enumerate(texts.to_pylist()):
            if text is not None:
                values[place] = [*(values[place] or []), (name, text)]
    return pa.array(values, ODD_TYPE)


def stream(
    session: Session, statements: Sequence[str], parser: Parser, block_bytes: int
) -> Iterator[tuple[int, Parsed | None]]:
    """Runs COPY statements one after another: (statement's number, block) for each block, (number, None) at its end.

    The next statement runs while the blocks of the one before are still on their way. Raises what the session raises,
    after the blocks that came before the error. Closing the iterator stops the server.
    """
    stop = threading.Event()
    raw: queue.Queue[Any] = queue.Queue(_DEPTH)
    done: queue.Queue[Any] = queue.Queue(_DEPTH)
    threads = [
        threading.Thread(target=_receive, args=(session, statements, raw, stop, block_bytes), daemon=True),
        threading.Thread(target=_parse, args=(parser, raw, done, stop), daemon=True),
    ]

    def end() -> None:
        stop.set()
        session.stop_reading = None
        if threads[0].is_alive():
            session.cancel()
        for waiting in (raw, done):  # whoever waits for room or for an item goes on and sees the stop
            with suppress(queue.Empty):
                while True:
                    waiting.get_nowait()
        raw.put((_END, None))
        for thread in threads:
            thread.join()

    session.stop_reading = end
    for thread in threads:
        thread.start()
    try:
        while True:
            number, item = _taken(done, stop, session)
            if isinstance(item, BaseException):
                raise item
            if number == _END:
                return
            if item is not None:
                crash.point("postgres: after first block")
            yield number, item
    finally:
        end()


def _taken(done: queue.Queue[Any], stop: threading.Event, session: Session) -> tuple[int, Any]:
    """The next item; SourceUnavailable when the session was closed meanwhile."""
    while not stop.is_set():
        with suppress(queue.Empty):
            taken: tuple[int, Any] = done.get(timeout=0.2)
            return taken
    raise SourceUnavailable("the connection was closed while reading", where=str(session.address), stage="extract")


def _receive(
    session: Session, statements: Sequence[str], out: queue.Queue[Any], stop: threading.Event, block_bytes: int
) -> None:
    try:
        for number, sql in enumerate(statements):
            numbered = _Numbered(out, number)
            blocks = _Blocks(cast("queue.Queue[Any]", numbered), stop)
            writer = io.BufferedWriter(cast("BinaryIO", blocks), block_bytes)
            try:
                session.copy(sql, writer)
                writer.flush()
                blocks.finish()
            except BaseException:
                stopped = _Discard()
                blocks.write = stopped.write  # type: ignore[method-assign]  # closing must not wait again
                raise
            put(out, (number, None), stop)
        put(out, (_END, None), stop)
    except _Stopped:
        pass
    except BaseException as problem:
        _tell(out, problem, stop)


class _Numbered:
    """A queue that adds the statement's number."""

    def __init__(self, out: queue.Queue[Any], number: int) -> None:
        self._out = out
        self._number = number

    def put(self, item: Any, timeout: float) -> None:
        self._out.put((self._number, item), timeout=timeout)


class _Discard:
    @staticmethod
    def write(data: Any) -> int:
        return len(data)


def _parse(parser: Parser, raw: queue.Queue[Any], out: queue.Queue[Any], stop: threading.Event) -> None:
    try:
        while not stop.is_set():
            try:
                number, item = raw.get(timeout=0.2)
            except queue.Empty:
                continue
            put(out, (number, parser.parse(item) if isinstance(item, bytes) else item), stop)
            if isinstance(item, BaseException) or number == _END:
                return
    except _Stopped:
        pass
    except BaseException as problem:
        _tell(out, problem, stop)


def _tell(out: queue.Queue[Any], problem: BaseException, stop: threading.Event) -> None:
    with suppress(_Stopped):
        put(out, (_END, problem), stop)

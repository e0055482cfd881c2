"""What every source promises, as named behaviours: see `headgate.ports.source.Source`."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol

import pyarrow as pa

from headgate.errors import FixInputError, HeadgateError, RetryableError, SourceChanged, StopError
from headgate.ports.batch import INGESTED_AT, OFFSET, PARTITION, Batch, Position
from headgate.ports.source import Peeks, Source
from headgate.testing.ledger import Tally, tally_batches, tally_rows
from headgate.testing.suite import Suite, behaviour, demand

ROWS = 120


class SourceRig(Protocol):
    """A real source with known content, made for one behaviour and thrown away.

    Rows are told as mappings from column name to Python value; the columns that `content` names are compared
    (never coordinates, `_hg_version` or `_hg_line`). Optional: `break_connection`, `replace_source`, `seed_odd`.
    """

    content: Sequence[str]

    def seed(self, rows: int) -> None:
        """Add that many records. At least half share their cursor value with others, if the source has one; at
        least one stands twice with equal content, if it may. Reading 120 of them must give three ends or more.
        """

    def rows_expected(self) -> Sequence[Mapping[str, Any]]:
        """What a read of everything must give, known without the connector (from what was written)."""

    def change(self) -> Sequence[Mapping[str, Any]]:
        """Add and (where the source can) alter records; the contents that a later read must give, once each."""

    def connect(self) -> Source:
        """A fresh connection, as a new process would have."""

    def break_connection(self) -> None:
        """Cut every open connection from the other side; new connections work."""

    def replace_source(self) -> None:
        """Put another source of the same name and shape in its place, so that old positions have no meaning."""

    def seed_odd(self) -> Sequence[Mapping[str, Any]]:
        """Add records with values that the columns cannot hold exactly; the rows that a read must give for them."""


class SourceConformance(Suite):
    """Behaviours of a source."""

    @behaviour()
    def an_empty_position_reads_everything(self, rig: SourceRig) -> None:
        """A read from the start gives exactly the rows that the source holds."""
        rig.seed(ROWS)
        _same(_contents(rig, _read(rig, Position.start())), _expected(rig))

    @behaviour()
    def an_empty_source_reads_as_no_rows(self, rig: SourceRig) -> None:
        """A source without records is not an error, and what comes later is read."""
        rig.seed(0)
        batches = _read(rig, Position.start())
        demand(_count(batches) == 0, f"{_count(batches)} rows from an empty source")
        rig.seed(ROWS)
        _same(_contents(rig, _read(rig, _last_end(batches))), _expected(rig))

    @behaviour()
    def a_read_after_the_last_end_is_empty(self, rig: SourceRig) -> None:
        """When nothing changed, the next run reads no rows."""
        rig.seed(ROWS)
        again = _read(rig, _last_end(_read(rig, Position.start())))
        demand(_count(again) == 0, f"the second read gave {_count(again)} rows")

    @behaviour()
    def the_last_batch_has_an_end(self, rig: SourceRig) -> None:
        """A finite read finishes with a position, so that all its rows can be committed."""
        rig.seed(ROWS)
        batches = _read(rig, Position.start())
        demand(bool(batches) and batches[-1].end is not None, "the last batch has no end")

    @behaviour()
    def a_read_gives_several_ends(self, rig: SourceRig) -> None:
        """Reading can stop and go on within one run: else the behaviours below would show nothing."""
        rig.seed(ROWS)
        ends = {batch.end.dumps() for batch in _read(rig, Position.start()) if batch.end is not None}
        demand(len(ends) >= 3, f"the rig makes the source give {len(ends)} different ends; at least 3 are needed")

    @behaviour()
    def stopping_at_any_end_and_reading_on_gives_the_same_rows(self, rig: SourceRig) -> None:
        """For every end: the rows up to it, and those that a fresh connection reads after it, are the whole."""
        rig.seed(ROWS)
        expected, whole = _expected(rig), _read(rig, Position.start())
        for index, batch in enumerate(whole):
            if batch.end is None:
                continue
            rest = _read(rig, batch.end)
            _same(_contents(rig, whole[: index + 1]) + _contents(rig, rest), expected, f"stopped after batch {index}")
            _unique([*whole[: index + 1], *rest])

    @behaviour()
    def one_end_per_connection_gives_the_same_rows(self, rig: SourceRig) -> None:
        """A process that dies after every end still reads each row once."""
        rig.seed(ROWS)
        kept: list[Batch] = []
        position = Position.start()
        for _ in range(ROWS * 4):
            more = _read_one_end(rig, position)
            if not more or more[-1].end is None:
                break
            kept += more
            if _count(more) == 0 and more[-1].end == position:
                break
            position = more[-1].end
        _same(_contents(rig, kept), _expected(rig))
        _unique(kept)

    @behaviour()
    def rows_without_an_end_are_read_again(self, rig: SourceRig) -> None:
        """What was read and not committed comes again from the same position, with no row missing."""
        rig.seed(ROWS)
        first = _read(rig, Position.start())
        position = next((batch.end for batch in first if batch.end is not None), None)
        demand(position is not None, "no batch has an end")
        for _ in range(2):
            rest = _read(rig, position or Position.start())
        index = next(i for i, batch in enumerate(first) if batch.end == position)
        _same(_contents(rig, first[: index + 1]) + _contents(rig, rest), _expected(rig))

    @behaviour()
    def every_batch_starts_where_the_one_before_ended(self, rig: SourceRig) -> None:
        """Starts and ends form one chain from the position that was asked for."""
        rig.seed(ROWS)
        whole = _read(rig, Position.start())
        _chained(whole, Position.start())
        middle = next(batch.end for batch in whole if batch.end is not None)
        _chained(_read(rig, middle), middle)

    @behaviour()
    def offsets_increase_and_are_never_given_twice(self, rig: SourceRig) -> None:
        """Within a partition each row has a greater offset than the one before, in this run and in the next."""
        rig.seed(ROWS)
        batches = _read(rig, Position.start())
        _increasing(batches)
        rig.change()
        _increasing(batches + _read(rig, _last_end(batches)))

    @behaviour()
    def the_schema_is_what_is_read(self, rig: SourceRig) -> None:
        """`schema()` equals the schema of every batch, also after resuming, with coordinates and no ingest time."""
        rig.seed(ROWS)
        with _connected(rig) as source:
            told = source.schema()
        for need, kind in ((PARTITION, pa.string()), (OFFSET, pa.int64())):
            demand(need in told.names and told.field(need).type == kind, f"the schema has no {need} {kind}")
        demand(INGESTED_AT not in told.names, f"{INGESTED_AT} belongs to the landing, not to the source")
        demand(len(set(told.names)) == len(told.names), "two columns have one name")
        whole = _read(rig, Position.start())
        for batch in [*whole, *_read(rig, next(b.end for b in whole if b.end is not None))]:
            demand(batch.rows.schema.equals(told), f"told\n{told}\nread\n{batch.rows.schema}")
            for name in (PARTITION, OFFSET):
                demand(batch.rows.column(name).null_count == 0, f"{name} is NULL in a row")

    @behaviour()
    def a_position_survives_as_text(self, rig: SourceRig) -> None:
        """Positions are JSON-safe: what was written down and read again resumes at the same row."""
        rig.seed(ROWS)
        whole = _read(rig, Position.start())
        for batch in whole:
            if batch.end is not None:
                demand(Position.loads(batch.end.dumps()) == batch.end, "the position changes when it is written down")
        middle = next(i for i, batch in enumerate(whole) if batch.end is not None)
        text = (whole[middle].end or Position.start()).dumps()
        rest = _read(rig, Position.loads(json.dumps(json.loads(text))))
        _same(_contents(rig, whole[: middle + 1]) + _contents(rig, rest), _expected(rig))

    @behaviour()
    def a_change_is_read_by_the_next_run(self, rig: SourceRig) -> None:
        """After a complete read, exactly the records that came or changed are read."""
        rig.seed(ROWS)
        position = _last_end(_read(rig, Position.start()))
        for _ in range(2):
            changed = rig.change()
            batches = _read(rig, position)
            _same(_contents(rig, batches), tally_rows(changed, _schema_of(rig)))
            position = _last_end(batches)

    @behaviour()
    def a_later_read_can_stop_at_any_end_too(self, rig: SourceRig) -> None:
        """What holds for the first read holds for those that read only what is new."""
        rig.seed(ROWS)
        position = _last_end(_read(rig, Position.start()))
        for _ in range(3):
            rig.change()
        whole = _read(rig, position)
        expected = _contents(rig, whole)
        _chained(whole, position)
        for index, batch in enumerate(whole):
            if batch.end is None:
                continue
            rest = _read(rig, batch.end)
            _same(_contents(rig, whole[: index + 1]) + _contents(rig, rest), expected, f"stopped after batch {index}")
            _unique([*whole[: index + 1], *rest])

    @behaviour()
    def a_change_in_the_middle_of_a_read_is_not_lost(self, rig: SourceRig) -> None:
        """Records that come or change between two ends are read in this run or in the next; nothing is invented."""
        rig.seed(ROWS)
        before = _counted(rig, rig.rows_expected())
        kept = _read_one_end(rig, Position.start())
        rig.change()
        for _ in range(2):
            kept += _read(rig, _last_end(kept))
        got = _counted_batches(rig, kept)
        after = _counted(rig, rig.rows_expected())
        lost = after - got
        invented = got.keys() - before.keys() - after.keys()
        demand(not lost, f"{lost.total()} rows of the source were never read, such as {next(iter(lost), '')!r}")
        demand(not invented, f"{len(invented)} rows were read that the source never held")

    @behaviour()
    def idle_is_said_only_when_nothing_is_new(self, rig: SourceRig) -> None:
        """`idle` is never true while a read would give rows (for sources that offer it)."""
        rig.seed(ROWS)
        position = _last_end(_read(rig, Position.start()))
        with _connected(rig) as source:
            if isinstance(source, Peeks):
                demand(not source.idle(Position.start()), "idle before anything was read")
        rig.change()
        with _connected(rig) as source:
            if isinstance(source, Peeks):
                demand(not source.idle(position), "idle although something changed")

    @behaviour("replace_source")
    def a_position_of_another_source_stops(self, rig: SourceRig) -> None:
        """A source of the same name that is not the one the position belongs to raises SourceChanged."""
        rig.seed(ROWS)
        whole = _read(rig, Position.start())
        rig.replace_source()
        for position in (whole[0].end, whole[-1].end):
            if position is None:
                continue
            try:
                got = _read(rig, position)
            except SourceChanged:
                continue
            demand(False, f"read {_count(got)} rows of another source without a word")

    @behaviour()
    def a_malformed_position_stops(self, rig: SourceRig) -> None:
        """A token that is cut short, garbled or of another shape stops by name; never a silent new beginning."""
        rig.seed(ROWS)
        end = _last_end(_read(rig, Position.start()))
        demand(bool(end.tokens), "the last end names no partition")
        for name, token in end.tokens.items():
            for what, bad in _malformed(token):
                _refused(rig, Position({**end.tokens, name: bad}), f"a token {what}")

    @behaviour("break_connection")
    def a_broken_connection_is_not_the_end(self, rig: SourceRig) -> None:
        """When the other side hangs up, the read raises a RetryableError: it never looks finished. Rows up to the
        last end stay valid, and a new connection reads on from there.
        """
        rig.seed(ROWS)
        kept: list[Batch] = []
        said = False
        with _connected(rig) as source:
            try:
                for batch in source.read(Position.start()):
                    kept.append(batch)
                    if len(kept) == 1:
                        rig.break_connection()
            except RetryableError:
                said = True
        demand(said or _contents(rig, kept) == _expected(rig), f"{_count(kept)} rows, then it looked finished")
        upto = max((i + 1 for i, batch in enumerate(kept) if batch.end is not None), default=0)
        rest = _read(rig, _last_end(kept[:upto]))
        _same(_contents(rig, kept[:upto]) + _contents(rig, rest), _expected(rig))
        _unique([*kept[:upto], *rest])

    @behaviour()
    def closing_works_at_any_time(self, rig: SourceRig) -> None:
        """A source can be closed unread, in the middle of a read, after its end, and after an error."""
        rig.seed(ROWS)
        rig.connect().close()
        source = rig.connect()
        source.schema()
        rows = source.read(Position.start())
        next(rows)
        source.close()
        with suppress(HeadgateError):
            close = getattr(rows, "close", None)
            if close is not None:
                close()
        source = rig.connect()
        with suppress(StopError, FixInputError):
            list(source.read(Position({"no such partition": "garbage"})))
        source.close()
        _same(_contents(rig, _read(rig, Position.start())), _expected(rig))

    @behaviour("seed_odd")
    def values_that_cannot_be_held_are_odd_not_changed(self, rig: SourceRig) -> None:
        """What a column cannot hold exactly arrives as the source's own text or bytes, beside all other rows."""
        odd = rig.seed_odd()
        got, want = _counted_batches(rig, _read(rig, Position.start())), _counted(rig, odd)
        demand(got == want, f"not read as expected: {list(want - got)[:3]}; read: {list(got - want)[:3]}")


# --- reading


@contextmanager
def _connected(rig: SourceRig) -> Iterator[Source]:
    source = rig.connect()
    try:
        yield source
    finally:
        source.close()


def _read(rig: SourceRig, after: Position) -> list[Batch]:
    with _connected(rig) as source:
        return list(source.read(after))


def _read_one_end(rig: SourceRig, after: Position) -> list[Batch]:
    """Batches of a fresh connection up to the first end that moves the position."""
    kept: list[Batch] = []
    with _connected(rig) as source:
        for batch in source.read(after):
            kept.append(batch)
            if batch.end is not None and (batch.end != after or batch.rows.num_rows):
                break
    return kept


def _refused(rig: SourceRig, position: Position, what: str) -> None:
    try:
        got = _read(rig, position)
    except (StopError, FixInputError):
        return
    demand(False, f"{what} was taken as a position: {_count(got)} rows were read")


def _malformed(token: str) -> Iterator[tuple[str, str]]:
    """Broken forms of a token: empty, garbage, cut, doubled, with a part missing or of another shape; what each is."""
    for form in ("", "garbage", "null", "[]", "{}", "-1", '"x"', "\x00", "{" * 2000):
        yield f"{form[:10]!r}", form
    yield "that stands twice", token + token
    for part in range(1, 8):
        yield f"cut at {part}/8", token[: len(token) * part // 8]
    with suppress(ValueError):
        parsed = json.loads(token)
        for name in parsed if isinstance(parsed, dict) else ():
            yield f"without {name}", json.dumps({key: value for key, value in parsed.items() if key != name})
            yield f"with a strange {name}", json.dumps({**parsed, name: {"wrong": ["shape"]}})


# --- judging


def _last_end(batches: Sequence[Batch]) -> Position:
    return next((batch.end for batch in reversed(batches) if batch.end is not None), Position.start())


def _count(batches: Sequence[Batch]) -> int:
    return sum(batch.rows.num_rows for batch in batches)


def _contents(rig: SourceRig, batches: Sequence[Batch]) -> Tally:
    return tally_batches((batch.rows for batch in batches), rig.content)


def _schema_of(rig: SourceRig) -> pa.Schema:
    with _connected(rig) as source:
        told = source.schema()
    return pa.schema([told.field(name) for name in rig.content])


def _expected(rig: SourceRig) -> Tally:
    return tally_rows(rig.rows_expected(), _schema_of(rig))


def _same(got: Tally, expected: Tally, when: str = "") -> None:
    demand(got == expected, f"{when + ': ' if when else ''}read {got}; the source holds {expected}")


def _counted_batches(rig: SourceRig, batches: Sequence[Batch]) -> Counter[str]:
    schema = _schema_of(rig)
    return _counted(rig, [row for batch in batches for row in batch.rows.select(schema.names).to_pylist()])


def _counted(rig: SourceRig, rows: Sequence[Mapping[str, Any]]) -> Counter[str]:
    return Counter(repr([(name, _plain(row.get(name))) for name in rig.content]) for row in rows)


def _plain(value: Any) -> Any:
    """Maps come as lists of pairs or as dicts, instants in any zone; they mean the same."""
    if isinstance(value, Mapping):
        return sorted(value.items())
    if isinstance(value, list) and value and all(isinstance(one, tuple) for one in value):
        return sorted(value)
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        return value.astimezone(dt.UTC)
    return value


def _chained(batches: Sequence[Batch], start: Position) -> None:
    last = start
    for index, batch in enumerate(batches):
        if index == 0 or batches[index - 1].end is not None:
            demand(batch.start == last, f"batch {index} starts at {batch.start}, the one before ended at {last}")
        last = batch.end if batch.end is not None else last


def _coordinates(batches: Sequence[Batch]) -> Iterator[tuple[str, int]]:
    for batch in batches:
        yield from zip(batch.rows.column(PARTITION).to_pylist(), batch.rows.column(OFFSET).to_pylist(), strict=True)


def _unique(batches: Sequence[Batch]) -> None:
    twice = [one for one, times in Counter(_coordinates(batches)).items() if times > 1]
    demand(not twice, f"{len(twice)} coordinates name two rows, such as {twice[:1]}")


def _increasing(batches: Sequence[Batch]) -> None:
    last: dict[str, int] = defaultdict(lambda: -1)
    for partition, offset in _coordinates(batches):
        demand(offset > last[partition], f"{partition}: offset {offset} comes after {last[partition]}")
        last[partition] = offset

"""One read of one table: which rows, in which pieces, and the position after each."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Protocol

import pyarrow as pa

from headgate import crash
from headgate.errors import SourceChanged
from headgate.ports.batch import Batch, Position
from headgate.sources.postgres_catalog import TID_RANGE_VERSION, Activity, Leaf, Moment
from headgate.sources.postgres_copy import Parsed, Parser, stream
from headgate.sources.postgres_position import READ_ANEW, FirstScan, LaterScan, Token, check_reach, unseen_from
from headgate.sources.postgres_query import Reading, new_versions, newer, swept_versions
from headgate.sources.postgres_session import Session

_PAGE = 8192
_MOVE_AFTER = 50_000_000  # transactions: a position that old moves on even without rows
_STEPS = 48  # bounds that may pile up between two sweeps
_REFRESH = f"{READ_ANEW}; a primary key in the contract avoids this"


class Pace(Protocol):
    """The part of the settings that a scan needs."""

    @property
    def sweep_every_s(self) -> int: ...
    @property
    def sweep_below_bytes(self) -> int: ...
    @property
    def range_bytes(self) -> int: ...
    @property
    def block_bytes(self) -> int: ...


class Scan:
    """Decides from the token what this read is: the first, a resumed one, a bounded one or a sweep."""

    def __init__(
        self, session: Session, pace: Pace, reading: Reading, seen: Moment, at: Activity, after: Position
    ) -> None:
        """Raises SourceChanged when the position belongs to another source, PositionLost when it is out of reach."""
        self._session = session
        self._pace = pace
        self._reading = reading
        self._relation = reading.relation
        self._seen = seen
        self._at = at
        self._after = after
        self._token = self._find_token()
        self._rows = self._token.rows

    def batches(self) -> Iterator[Batch]:
        """The rows and the positions after them."""
        self._check_rewritten()
        events = self._first() if self._token.done is None else self._later()
        return self._chained(events)

    def whole(self) -> Iterator[Batch]:
        """All rows as this transaction sees them, whatever was read before, and one end."""
        self._token = replace(self._token, scan=None, leaves={})
        ends = self._first()
        return self._chained(event for event in ends if not isinstance(event, Token) or event.scan is None)

    def untouched(self) -> bool:
        """Whether nobody has written anything since the last complete read, in the whole cluster."""
        done, now = self._token.done, self._seen.snapshot
        return done is not None and now.quiet and done.quiet and now.xmax == done.xmax

    def nothing_new(self) -> bool:
        """Whether `batches` would certainly be empty."""
        token = self._token
        if token.done is None or token.scan is not None or self._must_move():
            return False
        if self.untouched():
            return True
        if any(self._rewritten(leaf) for leaf in self._relation.leaves):
            return False
        sweep, bound, _ = self._choose()
        found = self._session.query(f"SELECT 1 FROM {self._relation.sql} WHERE {self._condition(sweep, bound)} LIMIT 1")
        return not found

    # ---- the token

    def _find_token(self) -> Token:
        text = self._after.tokens.get(self._relation.label)
        if text is None:
            return Token(self._seen.identity)
        token = Token.loads(text)
        changed = token.id.difference(self._seen.identity)
        before, now = token.newest_snapshot, self._seen.snapshot
        if changed is None and before is not None and now.xmax < before.xmax and not self._seen.standby:
            changed = f"the cluster went back in time (next transaction {now.xmax}, it was {before.xmax})"
        if changed is not None:
            raise self._changed(changed)
        check_reach(token, now)
        return token

    def _changed(self, what: str) -> SourceChanged:
        return SourceChanged(
            f"{what}; what was read before cannot be continued",
            hint=_REFRESH,
            where=self._relation.label,
            stage="extract",
        )

    def _rewritten(self, leaf: Leaf) -> bool:
        return self._token.leaves.get(leaf.oid, leaf.filenode) != leaf.filenode

    def _check_rewritten(self) -> None:
        """Where rows are known by their place only, a rewritten table must not hold rows that may have been read.

        VACUUM FULL and CLUSTER move rows but keep their transaction ids. ALTER TABLE gives all rows new ids, and so
        does emptying and loading again: those two cannot be told apart.
        """
        done = self._token.done
        if not self._reading.versioned or done is None or self._token.rows == 0:
            return
        since = unseen_from(done, self._seen.snapshot)
        for leaf in self._relation.leaves:
            if not self._rewritten(leaf):
                continue
            recent, certain = newer(since), newer(done.xmax)
            some, old, doubtful = self._session.query(
                f"SELECT EXISTS (SELECT 1 FROM ONLY {leaf.sql}), "
                f"EXISTS (SELECT 1 FROM ONLY {leaf.sql} WHERE NOT ({recent})), "
                f"EXISTS (SELECT 1 FROM ONLY {leaf.sql} WHERE {recent} AND NOT ({certain}))"
            )[0]
            if some and (doubtful or not old):
                raise self._changed(
                    f"the table {leaf.name} was rewritten, and its rows have no key to know them again by"
                )

    # ---- the first read

    def _first(self) -> Iterator[pa.RecordBatch | Token]:
        """Every leaf from its first page (or where an earlier run stopped) to its end, one COPY per page range."""
        scan = self._token.scan if isinstance(self._token.scan, FirstScan) else None
        start = scan.snapshot if scan else self._seen.snapshot
        leaves = dict(self._token.leaves)
        statements: list[str] = []
        ends: list[Token] = []
        for leaf in self._relation.leaves:
            if leaf.oid in leaves:
                continue
            for first, last in self._ranges(leaf, self._first_page(scan, leaf)):
                statements.append(self._reading.copy_pages(leaf, first, last, self._seen.snapshot))
                if last is None:
                    leaves = {**leaves, leaf.oid: leaf.filenode}
                place = FirstScan(start, 0, 0, 0) if last is None else FirstScan(start, leaf.oid, leaf.filenode, last)
                ends.append(replace(self._token, scan=place, leaves=leaves))
        newest = self._token.watermark
        mark = self._reading.watermark
        at = self._mark_column()
        for number, block in self._stream(statements, keep_last=False):
            if block is not None:
                if mark is not None and at is not None:
                    newest = mark.newest([newest, mark.newest_in(block.columns[at])])
                yield self._batch(block)
            elif number < len(ends) - 1:
                crash.point("postgres: between page ranges")
                yield replace(ends[number], rows=self._rows, watermark=newest)
        crash.point("postgres: before the last end")
        yield replace(
            self._token,
            done=start,
            watermark=newest,
            rows=self._rows,
            since=mark.since(newest, self._at) if mark and not scan and not self._seen.standby else None,
            swept_at=time.time(),
            steps=(),
            leaves={oid: node for oid, node in leaves.items() if oid in self._relation.files()},
            scan=None,
        )

    def _first_page(self, scan: FirstScan | None, leaf: Leaf) -> int:
        if scan is None or scan.leaf != leaf.oid:
            return 0
        if scan.filenode == leaf.filenode:
            return scan.page
        if self._reading.versioned and self._token.rows:
            raise self._changed(
                f"the table {leaf.name} was rewritten in the middle of its first read, and its rows have no key"
            )
        return 0

    def _ranges(self, leaf: Leaf, page: int) -> Iterator[tuple[int, int | None]]:
        """Page ranges; the last one is open, so that the size need not be exact."""
        pages = -(-leaf.size_bytes // _PAGE)
        step = max(1, self._pace.range_bytes // _PAGE)
        if self._session.connection.server_version < TID_RANGE_VERSION:
            step = pages + 1
        while page + step < pages:
            yield page, page + step
            page += step
        yield page, None

    # ---- later reads

    def _later(self) -> Iterator[pa.RecordBatch | Token]:
        """New row versions in the order of the watermark; what an interrupted read has landed is left out."""
        token, now, mark = self._token, self._seen.snapshot, self._reading.watermark
        scan = self._resumable()
        sweep, bound, steps = self._choose()
        if scan is not None:
            sweep, bound = scan.sweep, scan.bound
        files = dict(scan.files) if scan else self._relation.files()
        start = scan.snapshot if scan else now
        newest, last, rows = token.watermark, None, self._rows
        statement = self._reading.copy_new(self._condition(sweep, bound), scan.after if scan else None, now)
        places, order = self._reading.places(), self._reading.order
        for _, block in self._stream([statement], keep_last=True):
            if block is None:
                continue
            yield self._batch(block)
            last = tuple(block.last[i] for i in places)
            values: tuple[str | None, ...] = last
            if mark is not None:
                newest = mark.newest([newest, last[0]])
                values = (last[0] or None, *last[1:])
            place = LaterScan(start, values, order, sweep, bound, files)
            yield replace(token, scan=place, rows=self._rows, watermark=newest, steps=token.steps if sweep else steps)
        if self._rows == rows and scan is None and not self._must_move():
            return
        crash.point("postgres: before the last end")
        done = token.done if token.done is not None and token.done.xmin > start.xmin else start
        yield replace(
            token,
            done=done,
            watermark=newest,
            rows=self._rows,
            since=mark.since(newest, self._at) if mark and not scan and not self._seen.standby else None,
            swept_at=time.time() if sweep else token.swept_at,
            steps=() if sweep else steps,
            leaves=files,
            scan=None,
        )

    def _resumable(self) -> LaterScan | None:
        """The interrupted read, when its order and the places of rows still hold; else the read begins again, and what
        was landed comes again as duplicates of the same rows."""
        scan = self._token.scan
        if not isinstance(scan, LaterScan) or scan.order != self._reading.order:
            return None
        if self._reading.by_place and any(scan.files.get(o, n) != n for o, n in self._relation.files().items()):
            if self._reading.versioned:
                raise self._changed("the table was rewritten in the middle of a read, and its rows have no key")
            return None
        return scan

    def _choose(self) -> tuple[bool, str | None, tuple[tuple[int, str], ...]]:
        """Whether to sweep; else the bound, and the steps with it.

        Bounds grow in few steps, because a sweep must read again what each of them may have left out.
        """
        token, pace, mark = self._token, self._pace, self._reading.watermark
        elapsed = time.time() - token.swept_at
        if (
            mark is None
            or token.since is None
            or token.done is None
            or self._relation.size_bytes < pace.sweep_below_bytes
            or not 0 <= elapsed < pace.sweep_every_s
            or not self._relation.has_index_on(mark.column)
            or self._fresh()
        ):
            return True, None, token.steps
        last = token.steps[-1][1] if token.steps else None
        if last is None or mark.is_past(token.since, last, pace.sweep_every_s / 24):
            if len(token.steps) >= _STEPS:
                return True, None, token.steps
            return False, token.since, (*token.steps, (token.done.xmin, token.since))
        return False, min(token.since, last, key=mark.order), token.steps

    def _fresh(self) -> list[Leaf]:
        """Tables that came to this one since (partitions attached): their old rows have not been read."""
        known: Any = self._token.leaves
        started = self._token.scan.files if isinstance(self._token.scan, LaterScan) else None
        return [
            one for one in self._relation.leaves if one.oid not in known and (started is None or one.oid in started)
        ]

    def _condition(self, sweep: bool, bound: str | None) -> str:
        token, mark = self._token, self._reading.watermark
        since = unseen_from(token.done, self._seen.snapshot) if token.done else 3
        if sweep:
            return swept_versions(since, token.steps, mark, self._fresh())
        return new_versions(since, bound, mark)

    def _must_move(self) -> bool:
        """Whether the position has to move on even without rows."""
        token = self._token
        old = token.done is not None and self._seen.snapshot.xmin - token.done.xmin > _MOVE_AFTER
        swept = bool(token.steps) and self._choose()[0]
        return old or swept or dict(token.leaves) != self._relation.files()

    # ---- blocks to batches

    def _stream(self, statements: list[str], keep_last: bool) -> Iterator[tuple[int, Parsed | None]]:
        later = keep_last and self._reading.by_place
        fields = self._reading.fields() + (
            [pa.field("table", pa.string()), pa.field("place", pa.string())] if later else []
        )
        hexadecimal = self._reading.hexadecimal() + ([False, False] if later else [])
        return stream(self._session, statements, Parser(fields, hexadecimal, keep_last), self._pace.block_bytes)

    def _mark_column(self) -> int | None:
        mark = self._reading.watermark
        if mark is None:
            return None
        return [one.name for one in self._reading.fields()].index(mark.column.name)

    def _batch(self, block: Parsed) -> pa.RecordBatch:
        """A block with its coordinates."""
        count = len(self._reading.fields())
        partition = pa.repeat(pa.scalar(self._relation.label, pa.string()), block.rows)
        offsets = _running(self._rows, block.rows)
        self._rows += block.rows
        return pa.RecordBatch.from_arrays(
            [partition, offsets, *block.columns[:count], block.odd], schema=self._reading.schema
        )

    def _chained(self, events: Iterator[pa.RecordBatch | Token]) -> Iterator[Batch]:
        """Batches from rows and ends. One batch is held back, so that the last rows carry the last end."""
        start, end, held = self._after, None, None
        for event in events:
            if isinstance(event, Token):
                end = self._after.advanced(Position({self._relation.label: event.dumps()}))
                continue
            if held is not None:
                yield Batch(held, start, end)
                start, end = end or start, None
            held = event
        if held is None and end is not None:
            held = pa.RecordBatch.from_pylist([], schema=self._reading.schema)
        if held is not None:
            yield Batch(held, start, end)


def _running(start: int, count: int) -> pa.Array[Any]:
    import numpy as np

    return pa.array(np.arange(start, start + count, dtype=np.int64))

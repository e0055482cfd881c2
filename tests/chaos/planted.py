"""Faults that real pipelines had, planted into Headgate one at a time: each must make the suite fail.

HEADGATE_FAULT names the fault; `launch.py` plants it into a process of the product, and pytest started with
`-p planted` into its own. Product code knows nothing of this.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import contextmanager

FAULTS: dict[str, Callable[[], None]] = {}


def fault(plant: Callable[[], None]) -> Callable[[], None]:
    FAULTS[plant.__name__] = plant
    return plant


def apply() -> None:
    """Plant the fault that the environment names, if any."""
    name = os.environ.get("HEADGATE_FAULT")
    if name:
        FAULTS[name]()


def pytest_configure(config) -> None:
    """Entry of the pytest plugin."""
    apply()


# --- how lakes, engines and sources are reached


class Around:
    """An object that answers as the inner one does, but for what a subclass changes."""

    def __init__(self, inner) -> None:
        self.inner = inner

    def __getattr__(self, name: str):
        return getattr(self.inner, name)


def _publications(kind: type[Around]) -> None:
    """Every publication of every lake goes through `kind(publication, lake)`."""
    from headgate.stores import iceberg

    real = iceberg.open_lake

    class Lake(Around):
        @contextmanager
        def publication(self, step):
            with self.inner.publication(step) as publication:
                around = kind(publication)
                around.lake = self.inner
                around.step = step
                yield around

    iceberg.open_lake = lambda settings: Lake(real(settings))


def _refined(change: Callable) -> None:
    """Every result of the engine's refine goes through `change(refined, job)`."""
    from headgate.engines import duckdb as engines

    real = engines.open_engine

    class Engine(Around):
        def refine(self, job):
            refined = self.inner.refine(job)
            change(refined, job)
            return refined

    engines.open_engine = lambda settings: Engine(real(settings))


def _sources(kind: type[Around]) -> None:
    """Every source goes through `kind(source)`."""
    from headgate.sources import files, postgres

    for module in (files, postgres):
        real = module.connect
        module.connect = lambda *args, real=real, **more: kind(real(*args, **more))


# --- the store


class Recorder(Around):
    """A publication whose changes are kept, to be made again in another one."""

    def __init__(self, inner) -> None:
        super().__init__(inner)
        self.calls = []
        self.moves = []

    def __getattr__(self, name):
        real = getattr(self.inner, name)
        if name not in ("ensure", "write", "append", "remove", "note_fact", "note"):
            return real

        def recorded(*args):
            if name == "write":
                args = (args[0], list(args[1]))
            self.calls.append((name, args))
            return real(*args)

        return recorded

    def move(self, table, stream, start, end):
        self.moves.append((table, stream, start, end))

    def again(self, publication, *, only: str = "") -> None:
        """The recorded changes in another publication; `only` those of one kind."""
        for name, args in self.calls:
            if not only or name == only:
                getattr(publication, name)(*args)


@fault
def offset_before_commit() -> None:
    """The position is published first, the rows after it: death in between loses them."""

    class Publication(Recorder):
        def commit(self):
            with self.lake.publication(self.step) as first:
                self.again(first, only="ensure")
                for move in self.moves:
                    first.move(*move)
                first.commit()
            with self.lake.publication(self.step) as second:
                self.again(second)
                second.commit()

    _publications(Publication)


@fault
def rows_before_position() -> None:
    """The rows are published first, the position after them: death in between doubles them."""

    class Publication(Around):
        def move(self, table, stream, start, end):
            self.__dict__.setdefault("moves", []).append((table, stream, start, end))

        def commit(self):
            self.inner.commit()
            for table, stream, start, end in self.__dict__.get("moves", []):
                with self.lake.publication(self.step) as second:
                    second.move(table, stream, start, end)
                    second.commit()

    _publications(Publication)


@fault
def fence_off() -> None:
    """A commit is not compared with the position that the table has."""

    class Publication(Around):
        def move(self, table, stream, start, end):
            self.__dict__.setdefault("moves", []).append((table, stream, end))

        def commit(self):
            for table, stream, end in self.__dict__.get("moves", []):
                view = self.lake.cut().table(table)
                now = view.position(stream) if view else type(end).start()
                self.inner.move(table, stream, now, end)
            self.inner.commit()

    _publications(Publication)


@fault
def retry_without_check() -> None:
    """A refused publication is sent again from whatever the position is by then."""
    from headgate.errors import CommitConflict, StalePosition

    class Publication(Recorder):
        def commit(self):
            try:
                for move in self.moves:
                    self.inner.move(*move)
                self.inner.commit()
            except (StalePosition, CommitConflict):
                with self.lake.publication(self.step) as second:
                    self.again(second)
                    for table, stream, _, end in self.moves:
                        view = self.lake.cut().table(table)
                        second.move(table, stream, view.position(stream) if view else type(end).start(), end)
                    second.commit()

    _publications(Publication)


@fault
def half_publication() -> None:
    """Only the first table of a publication moves."""
    from headgate.stores.iceberg.pointers import Transaction

    real = Transaction.swing
    Transaction.swing = lambda self, swings: real(self, sorted(swings, key=lambda s: s.name)[:1])


@fault
def swallowed_exception() -> None:
    """Rows whose reading fails midway look as if they had ended."""

    class Publication(Around):
        def write(self, table, batches):
            def quiet():
                try:
                    yield from batches
                except Exception:
                    return

            return self.inner.write(table, quiet())

    _publications(Publication)


# --- the sources


@fault
def position_not_checked() -> None:
    """A position of another source means: begin again."""
    from headgate.errors import StopError
    from headgate.ports.batch import Position

    class Source(Around):
        def read(self, after):
            try:
                yield from self.inner.read(after)
            except StopError:
                yield from self.inner.read(Position.start())

    _sources(Source)


@fault
def position_one_too_far() -> None:
    """The first row after a resumption is not read: `>` where `>=` belongs."""

    class Source(Around):
        def read(self, after):
            from headgate.ports.batch import Batch

            skip = bool(after.tokens)
            for batch in self.inner.read(after):
                rows = batch.rows
                if skip and rows.num_rows:
                    rows, skip = rows.slice(1), False
                yield Batch(rows, batch.start, batch.end)

    _sources(Source)


@fault
def lost_ties() -> None:
    """Reading goes on with `watermark > last` alone: rows that share the last watermark are lost."""
    from headgate.sources.postgres_query import Reading

    real = Reading._after

    def after(self, values):
        if self.watermark is None or values[0] is None:
            return real(self, values)
        return f"{self.watermark.sql} > {self.watermark.literal(values[0])}"

    Reading._after = after


@fault
def first_transaction_lost() -> None:
    """Rows of transactions past the last snapshot are read with `>` where `>=` belongs."""
    from headgate.sources import postgres_query, postgres_scan

    real = postgres_query.newer
    for module in (postgres_query, postgres_scan):
        module.newer = lambda xid, at_most=None: real(xid + 1, at_most)


# --- refine


@fault
def lost_quarantine_row() -> None:
    """One bad row of each run is in no table."""

    def change(refined, job):
        for path in refined.added.get("quarantine", [])[:1]:
            _rewrite(path, lambda table: table.slice(1))

    _refined(change)


@fault
def double_accept() -> None:
    """One good row of each run stands in silver twice."""

    def change(refined, job):
        import pyarrow as pa

        for path in refined.added.get("silver", [])[:1]:
            _rewrite(path, lambda table: pa.concat_tables([table, table.slice(0, 1)]))

    _refined(change)


@fault
def stale_silver_rewrite() -> None:
    """Rows that a newer version replaces stay in silver beside it."""

    def change(refined, job):
        refined.removed["silver"] = []

    _refined(change)


@fault
def lost_ledger_rows() -> None:
    """Duplicate and superseded rows are in no table."""

    def change(refined, job):
        refined.added["ledger"] = []

    _refined(change)


@fault
def value_changed() -> None:
    """A value of one silver row is another than the source's."""

    def change(refined, job):
        import pyarrow as pa
        import pyarrow.compute as pc

        def add(table):
            index = table.schema.get_field_index("quantity")
            kind = table.schema.field("quantity")
            first = pa.array([n == 0 for n in range(table.num_rows)])
            column = table.column("quantity").combine_chunks()
            return table.set_column(index, kind, pc.if_else(first, pc.add(column, 1), column).cast(kind.type))

        for path in refined.added.get("silver", [])[:1]:
            _rewrite(path, add)

    _refined(change)


def _rewrite(path: str, change: Callable) -> None:
    """Change a Parquet file in place; field ids stay, for they are in the Arrow schema's metadata."""
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    pq.write_table(change(table), path)


# --- the proof itself


@fault
def xor_ledger() -> None:
    """Hashes are combined by XOR: doubled rows cancel, and so do lost pairs."""
    import hashlib

    from headgate.testing import ledger

    def tally(batches, columns):
        rows = total = 0
        for batch in batches:
            for text in ledger.row_texts(batch, sorted(columns)):
                total ^= int.from_bytes(hashlib.md5(text).digest(), "little")
            rows += batch.num_rows
        return ledger.Tally(rows, total)

    ledger.tally_batches = tally

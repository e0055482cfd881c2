"""Small publications with known rows, and how a lake is judged after them: the material of `lakes`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import pyarrow as pa

from headgate.errors import CommitConflict, HeadgateError, StopError
from headgate.ports.batch import OFFSET, PARTITION, Position
from headgate.ports.store import Lake, Publication, TableSpec, TableView
from headgate.testing.ledger import Tally, tally_batches, tally_parquet
from headgate.testing.suite import demand

_COLUMNS: list[pa.Field[Any]] = [
    pa.field(PARTITION, pa.string(), nullable=False),
    pa.field(OFFSET, pa.int64(), nullable=False),
    pa.field("text", pa.string()),
]
SCHEMA = pa.schema(_COLUMNS)
ONE, TWO = TableSpec("silver.one", SCHEMA), TableSpec("quarantine.one", SCHEMA)
STREAM = "bronze.one"
START = Position.start()


class LakeRig(Protocol):
    """An empty lake, made for one behaviour and thrown away. Optional: `expire`, `roll_back`, `compact`."""

    def open(self) -> Lake:
        """A fresh handle on the same lake, as a new process would have."""

    def stored(self) -> Sequence[str]:
        """Paths of all data files that exist in the lake's storage, referenced or not."""

    def expire(self, table: str) -> None:
        """Expire every snapshot of the table but the newest."""

    def roll_back(self, table: str, snapshots: int) -> None:
        """Set the table back by that many snapshots, as another tool would."""

    def compact(self, table: str) -> None:
        """Rewrite the table's files into one, without a position."""


# --- material


def rows(start: int, stop: int) -> pa.RecordBatch:
    """Distinct rows with these offsets."""
    return pa.RecordBatch.from_pylist(
        [{PARTITION: "p", OFFSET: number, "text": f"row {number}"} for number in range(start, stop)], schema=SCHEMA
    )


def at(offset: int) -> Position:
    """The position after the rows before `offset`; nothing was read at 0."""
    return Position({"p": str(offset)}) if offset else START


def prepare(publication: Publication, start: int, stop: int) -> None:
    """The same rows for two tables, the position, a fact and a note; not committed."""
    for spec in (ONE, TWO):
        publication.ensure(spec)
        publication.write(spec.name, [rows(start, stop)])
    publication.move("silver.one", STREAM, at(start), at(stop))
    publication.note_fact("silver.one", "upto", str(stop))
    publication.note({"upto": stop})


def publish(lake: Lake, start: int, stop: int) -> None:
    """One publication as `prepare` makes it."""
    with lake.publication("refine") as publication:
        prepare(publication, start, stop)
        publication.commit()


# --- judging


def swallows(lake: Lake) -> bool:
    """Whether an error inside a publication does not come out of it."""
    midway = ConnectionResetError("midway")
    try:
        with lake.publication("refine") as publication:
            prepare(publication, 3, 9)
            raise midway
    except ConnectionResetError as error:
        return error is not midway


def fails(action: Callable[[], object]) -> bool:
    """Whether an action ends with an error of any kind."""
    try:
        action()
    except Exception:
        return True
    return False


def is_lost(commit: Callable[[], object]) -> bool:
    """Whether a commit is refused because somebody was faster."""
    try:
        commit()
    except (StopError, CommitConflict):
        return True
    return False


def is_stopped(commit: Callable[[], object]) -> bool:
    """Whether a commit is refused with a StopError, and no other."""
    try:
        commit()
    except StopError:
        return True
    except HeadgateError:
        return False
    return False


def present(view: TableView | None) -> TableView:
    """The table, which must be there."""
    if view is None:
        raise AssertionError("the table is not there")
    return view


def scanned(lake: Lake, view: TableView) -> Tally:
    """The tally of what `scan` gives."""
    return tally_batches(lake.scan(view), SCHEMA.names)


def tally(start: int, stop: int) -> Tally:
    """The tally of `rows(start, stop)`."""
    return tally_batches([rows(start, stop)], SCHEMA.names)


def holds(rig: LakeRig, name: str, want: Tally) -> None:
    """The table holds exactly these rows, for `scan` and for DuckDB on its files."""
    lake = rig.open()
    view = present(lake.cut().table(name))
    got = scanned(lake, view)
    demand(got == want, f"{name} holds {got}; published were {want}")
    by_sql = tally_parquet([file.path for file in view.files()], SCHEMA.names, SCHEMA)
    demand(by_sql == want, f"DuckDB reads {by_sql} in the files of {name}; published were {want}")


def shows(rig: LakeRig, upto: int, when: str = "") -> None:
    """Both tables hold rows 0..upto, and position and fact say so."""
    prefix = f"{when}: " if when else ""
    for spec in (ONE, TWO):
        try:
            holds(rig, spec.name, tally(0, upto))
        except AssertionError as error:
            demand(False, f"{prefix}{error}")
    view = present(rig.open().cut().table("silver.one"))
    demand(view.position(STREAM) == at(upto), f"{prefix}the position is {view.position(STREAM)}, not {at(upto)}")
    demand(view.facts("upto") == str(upto), f"{prefix}the fact says {view.facts('upto')}, not {upto}")


def leaves_nothing_over(rig: LakeRig) -> None:
    """Every stored data file belongs to a table."""
    lake = rig.open()
    cut = lake.cut()
    live = {file.path for name in cut.names() for file in present(cut.table(name)).files()}
    extra = [path for path in rig.stored() if path not in live]
    demand(not extra, f"{len(extra)} files that nothing refers to, such as {extra[:1]}")

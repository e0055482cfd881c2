"""What every lake promises, as named behaviours: see `headgate.ports.store.Lake`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress

import pyarrow as pa

from headgate.errors import BreakingChangeError, CommitConflict, FixInputError, PositionLost, StopError
from headgate.ports.batch import OFFSET
from headgate.ports.store import Lake, TableSpec
from headgate.testing.lake_material import (
    ONE,
    SCHEMA,
    START,
    STREAM,
    LakeRig,
    at,
    fails,
    holds,
    is_lost,
    is_stopped,
    leaves_nothing_over,
    prepare,
    present,
    publish,
    rows,
    scanned,
    shows,
    swallows,
    tally,
)
from headgate.testing.ledger import tally_parquet
from headgate.testing.suite import Suite, at_every_crash_point, behaviour, demand


class LakeConformance(Suite):
    """Behaviours of a lake."""

    @behaviour()
    def a_table_that_was_never_made_is_none(self, rig: LakeRig) -> None:
        """An empty lake has no tables, names or publications."""
        cut = rig.open().cut()
        demand(cut.table("silver.one") is None, "a table that was never made")
        demand(list(cut.names()) == [], f"names in an empty lake: {cut.names()}")
        demand(list(rig.open().publications()) == [], "publications in an empty lake")

    @behaviour()
    def a_publication_moves_all_its_tables(self, rig: LakeRig) -> None:
        """Rows, position, facts and the record of one publication appear together, for a fresh handle too."""
        publish(rig.open(), 0, 5)
        shows(rig, 5)
        cut = rig.open().cut()
        demand(list(cut.names()) == ["quarantine.one", "silver.one"], f"names: {cut.names()}")
        record = rig.open().publications()[0]
        for name, value in (("step", "refine"), ("upto", 5)):
            demand(record.get(name) == value, f"the record says {name} = {record.get(name)!r}, not {value!r}")
        for name in ("id", "at", "tables"):
            demand(name in record, f"the record has no {name}")

    @behaviour()
    def leaving_without_commit_changes_nothing(self, rig: LakeRig) -> None:
        """A publication that is not committed leaves no table, no row, no position and no file."""
        with rig.open().publication("refine") as publication:
            prepare(publication, 0, 5)
        demand(list(rig.open().cut().names()) == [], "a table appeared without a commit")
        demand(not rig.stored(), f"files stayed behind: {rig.stored()[:2]}")
        publish(rig.open(), 0, 3)
        with rig.open().publication("refine") as publication:
            prepare(publication, 3, 9)
        shows(rig, 3)
        leaves_nothing_over(rig)

    @behaviour()
    def an_error_inside_changes_nothing(self, rig: LakeRig) -> None:
        """The error comes through as it was, and nothing of the publication is seen."""
        publish(rig.open(), 0, 3)
        demand(swallows(rig.open()) is False, "the error was swallowed")
        shows(rig, 3)
        leaves_nothing_over(rig)

    @behaviour()
    def rows_that_raise_while_written_change_nothing(self, rig: LakeRig) -> None:
        """When the rows' iterator fails midway, none of its rows are seen."""
        publish(rig.open(), 0, 3)

        def failing() -> Iterator[pa.RecordBatch]:
            yield rows(3, 6)
            raise ConnectionResetError("midway")

        def attempt() -> None:
            with rig.open().publication("refine") as publication:
                publication.ensure(ONE)
                publication.write("silver.one", failing())
                publication.commit()

        demand(fails(attempt), "the error was swallowed")
        shows(rig, 3)
        leaves_nothing_over(rig)

    @behaviour()
    def a_cut_does_not_move(self, rig: LakeRig) -> None:
        """What was read from a cut before a publication is read from it after."""
        lake = rig.open()
        publish(lake, 0, 4)
        cut = lake.cut()
        publish(rig.open(), 4, 9)
        for name in ("silver.one", "quarantine.one"):
            view = present(cut.table(name))
            demand(view.rows() == 4, f"{name} of the old cut has {view.rows()} rows of 4")
            demand(scanned(lake, view) == tally(0, 4), f"{name} of the old cut reads other rows")
        demand(present(cut.table("silver.one")).position(STREAM) == at(4), "the old cut's position moved")

    @behaviour()
    def of_two_publications_from_one_position_one_lands(self, rig: LakeRig) -> None:
        """The second gets StalePosition or CommitConflict, and nothing of it is seen in any of its tables."""
        publish(rig.open(), 0, 3)
        with rig.open().publication("refine") as first, rig.open().publication("refine") as second:
            prepare(first, 3, 6)
            prepare(second, 3, 6)
            first.commit()
            demand(is_lost(second.commit), "both publications landed")
        shows(rig, 6)
        leaves_nothing_over(rig)

    @behaviour()
    def a_loser_on_one_table_loses_on_all(self, rig: LakeRig) -> None:
        """A conflict in one table keeps the other tables of the publication back."""
        publish(rig.open(), 0, 3)
        with rig.open().publication("refine") as slow:
            prepare(slow, 3, 6)
            slow.ensure(TableSpec("ledger.one", SCHEMA))
            slow.write("ledger.one", [rows(3, 6)])
            with rig.open().publication("refine") as fast:
                fast.ensure(ONE)
                fast.move("silver.one", STREAM, at(3), at(4))
                fast.commit()
            demand(is_lost(slow.commit), "a publication from a position that had moved landed")
        demand(present(rig.open().cut().table("quarantine.one")).rows() == 3, "half a publication is seen")
        demand("ledger.one" not in rig.open().cut().names(), "a table of the refused publication is seen")

    @behaviour()
    def a_stale_start_is_refused(self, rig: LakeRig) -> None:
        """A start behind, ahead of, or empty against the table's position lands nothing."""
        publish(rig.open(), 0, 5)
        for start in (at(3), at(7), START):
            with rig.open().publication("refine") as publication:
                publication.ensure(ONE)
                publication.write("silver.one", [rows(5, 7)])
                publication.move("silver.one", STREAM, start, at(9))
                demand(is_stopped(publication.commit), f"a start at {start} was accepted; the table is at {at(5)}")
        shows(rig, 5)

    @behaviour()
    def of_many_publications_at_once_one_lands(self, rig: LakeRig) -> None:
        """Four threads publish the same stretch at the same moment: one lands, the others say so by name."""
        publish(rig.open(), 0, 3)
        gate, landed, errors = threading.Barrier(4), [], []

        def race(lake: Lake) -> None:
            try:
                with lake.publication("refine") as publication:
                    prepare(publication, 3, 6)
                    gate.wait()
                    publication.commit()
                    landed.append(True)
            except (StopError, CommitConflict):
                pass
            except Exception as error:
                errors.append(error)
                gate.abort()

        threads = [threading.Thread(target=race, args=(rig.open(),)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        demand(not errors, f"a loser must get StalePosition or CommitConflict, not {errors[:1]!r}")
        demand(len(landed) == 1, f"{len(landed)} of four publications landed")
        shows(rig, 6)

    @behaviour()
    def a_refused_publication_harms_no_file_of_others(self, rig: LakeRig) -> None:
        """Cleaning up after a refusal deletes nothing that the lake refers to."""
        publish(rig.open(), 0, 3)
        for upto in (4, 5, 6):
            with rig.open().publication("refine") as loser:
                prepare(loser, upto - 1, upto)
                publish(rig.open(), upto - 1, upto)
                demand(is_lost(loser.commit), "both publications landed")
        shows(rig, 6)

    @behaviour()
    def death_at_any_point_leaves_all_or_nothing(self, rig: LakeRig) -> None:
        """Killed at each crash point in turn: all tables moved or none, and the next publication goes on."""
        publish(rig.open(), 0, 1)
        done = 1

        def attempt() -> None:
            publish(rig.open(), done, done + 1)

        for name in at_every_crash_point(attempt, lambda: None):
            found = present(rig.open().cut().table("silver.one")).position(STREAM)
            demand(found in (at(done), at(done + 1)), f"killed at {name}: the position is {found}")
            done += found == at(done + 1)
            shows(rig, done, f"killed at {name}")
        shows(rig, done + 1)

    @behaviour()
    def positions_and_facts_stay_when_others_publish(self, rig: LakeRig) -> None:
        """Later snapshots that carry no position or fact do not hide the former ones."""
        publish(rig.open(), 0, 3)
        for number in range(4):
            with rig.open().publication("run") as publication:
                publication.ensure(ONE)
                publication.note_fact("silver.one", f"fact {number}", str(number))
                publication.commit()
        shows(rig, 3)
        view = present(rig.open().cut().table("silver.one"))
        demand(view.facts("fact 0") == "0" and view.facts("fact 3") == "3", "a fact is gone")
        demand(view.facts("no such fact") is None, "a fact that nobody left")
        demand(view.position("another stream") == START, "a stream that never was has a position")

    @behaviour()
    def files_rows_and_scan_agree(self, rig: LakeRig) -> None:
        """The rows of `scan`, the sum of `files()` and `rows()` are one number, and two engines read the same."""
        lake = rig.open()
        for upto in (3, 7, 12):
            publish(lake, {3: 0, 7: 3, 12: 7}[upto], upto)
        view = present(lake.cut().table("silver.one"))
        files = list(view.files())
        demand(sum(file.rows for file in files) == view.rows() == 12, "files() and rows() disagree")
        demand(scanned(lake, view) == tally(0, 12), "scan gives other rows than were written")
        by_sql = tally_parquet([file.path for file in files], SCHEMA.names, SCHEMA)
        demand(by_sql == tally(0, 12), f"DuckDB reads {by_sql} in the files")
        sequences = [file.sequence for file in files]
        demand(sequences == sorted(sequences) and len(set(sequences)) == 3, f"sequences of three commits: {sequences}")
        later = view.files(after_sequence=sequences[0])
        demand({f.path for f in later} == {f.path for f in files if f.sequence > sequences[0]}, "not the later files")
        only = list(lake.scan(view, ["text"]))
        demand(all(batch.schema.names == ["text"] for batch in only), "scan gave columns that were not asked for")

    @behaviour()
    def bounds_hold_every_value(self, rig: LakeRig) -> None:
        """Where a file tells a lower and an upper bound of the offset, all its rows lie between."""
        publish(rig.open(), 0, 50)
        for file in present(rig.open().cut().table("silver.one")).files():
            low, high = file.lower.get(OFFSET, 0), file.upper.get(OFFSET, 49)
            demand(low <= 0 and high >= 49, f"bounds {low}..{high} of a file that holds offsets 0..49")

    @behaviour()
    def removed_files_take_their_rows_with_them(self, rig: LakeRig) -> None:
        """A rewrite shows the new file's rows in place of the old file's, at once."""
        lake = rig.open()
        publish(lake, 0, 3)
        publish(lake, 3, 6)
        gone = present(lake.cut().table("silver.one")).files()[0].path
        with lake.publication("refine") as publication:
            publication.ensure(ONE)
            publication.remove("silver.one", [gone])
            publication.write("silver.one", [rows(0, 2)])
            publication.commit()
        view = present(rig.open().cut().table("silver.one"))
        demand(scanned(lake, view) == tally(0, 2) + tally(3, 6), "not the rows of the rewrite")
        demand(view.position(STREAM) == at(6), "the position was lost in the rewrite")

    @behaviour()
    def a_file_is_removed_once(self, rig: LakeRig) -> None:
        """Two rewrites of one file: the second gets CommitConflict (or StopError), and its new rows are not seen."""
        lake = rig.open()
        publish(lake, 0, 3)
        path = present(lake.cut().table("silver.one")).files()[0].path
        with rig.open().publication("refine") as first, rig.open().publication("refine") as second:
            for publication in (first, second):
                publication.ensure(ONE)
                publication.remove("silver.one", [path])
                publication.write("silver.one", [rows(0, 3)])
            first.commit()
            demand(is_lost(second.commit), "one file was rewritten twice")
        holds(rig, "silver.one", tally(0, 3))

    @behaviour()
    def a_table_grows_by_nullable_columns(self, rig: LakeRig) -> None:
        """Rows of before have NULL in a new column; all stay readable."""
        publish(rig.open(), 0, 3)
        wider = TableSpec("silver.one", SCHEMA.append(pa.field("later", pa.int64())))
        with rig.open().publication("refine") as publication:
            publication.ensure(wider)
            more = rows(3, 5).append_column("later", pa.array([7, None], pa.int64()))
            publication.write("silver.one", [more])
            publication.commit()
        lake = rig.open()
        view = present(lake.cut().table("silver.one"))
        seen = sorted((row[OFFSET], row["later"]) for batch in lake.scan(view) for row in batch.to_pylist())
        demand(seen == [(0, None), (1, None), (2, None), (3, 7), (4, None)], f"read {seen}")
        demand(view.position(STREAM) == at(3), "the position was lost when the table grew")

    @behaviour()
    def a_column_does_not_change_its_meaning(self, rig: LakeRig) -> None:
        """Text does not become a number: BreakingChangeError, and the table stays as it was."""
        publish(rig.open(), 0, 3)
        changed = TableSpec("silver.one", SCHEMA.set(2, pa.field("text", pa.int64())))
        try:
            with rig.open().publication("refine") as publication:
                publication.ensure(changed)
                publication.commit()
        except BreakingChangeError:
            pass
        else:
            demand(False, "a text column became a number")
        shows(rig, 3)

    @behaviour()
    def names_cannot_leave_the_lake(self, rig: LakeRig) -> None:
        """Names with path or SQL in them are refused with FixInputError, and nothing is made."""
        for name in ("silver.../../x", "silver./etc/x", "../x.one", "silver.a\x00b", "silver.a/b", "silver.", "one"):
            try:
                with rig.open().publication("refine") as publication:
                    publication.ensure(TableSpec(name, SCHEMA))
                    publication.commit()
            except FixInputError:
                continue
            demand(False, f"a table called {name!r} was made")
        demand(list(rig.open().cut().names()) == [], "a refused table is there")

    @behaviour()
    def records_are_told_newest_first(self, rig: LakeRig) -> None:
        """`publications` gives what was noted, newest first, at most as many as asked for."""
        for upto in (1, 2, 3, 4):
            publish(rig.open(), upto - 1, upto)
        told = [record["upto"] for record in rig.open().publications(limit=3)]
        demand(told == [4, 3, 2], f"told {told}")

    @behaviour("expire")
    def a_position_survives_expiry(self, rig: LakeRig) -> None:
        """When old snapshots are gone the position is found, or PositionLost is raised: never an empty one."""
        publish(rig.open(), 0, 3)
        with rig.open().publication("run") as publication:
            publication.ensure(ONE)
            publication.note_fact("silver.one", "later", "1")
            publication.commit()
        rig.expire("silver.one")
        with suppress(PositionLost):
            found = present(rig.open().cut().table("silver.one")).position(STREAM)
            demand(found == at(3), f"after expiry the position is {found}, not {at(3)}")
            publish(rig.open(), 3, 5)
            holds(rig, "silver.one", tally(0, 5))

    @behaviour("roll_back")
    def a_rollback_takes_rows_and_position_back(self, rig: LakeRig) -> None:
        """After a rollback the position belongs to the rows that are there; going on gives each row once."""
        for upto in (3, 6, 9):
            publish(rig.open(), upto - 3, upto)
        rig.roll_back("silver.one", 2)
        found = present(rig.open().cut().table("silver.one")).position(STREAM)
        demand(found == at(3), f"rolled back to 3 rows, the position is {found}")
        with rig.open().publication("refine") as publication:
            publication.ensure(ONE)
            publication.write("silver.one", [rows(3, 9)])
            publication.move("silver.one", STREAM, at(3), at(9))
            publication.commit()
        holds(rig, "silver.one", tally(0, 9))
        demand(present(rig.open().cut().table("silver.one")).position(STREAM) == at(9), "an abandoned position is seen")

    @behaviour("compact")
    def a_compaction_changes_no_row_and_no_position(self, rig: LakeRig) -> None:
        """Files are rewritten by upkeep; rows, position and the next publication are as before."""
        for upto in (3, 6, 9):
            publish(rig.open(), upto - 3, upto)
        rig.compact("silver.one")
        shows(rig, 9)
        publish(rig.open(), 9, 10)
        shows(rig, 10)

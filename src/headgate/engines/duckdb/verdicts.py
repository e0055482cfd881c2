"""Who wins among rows of one key: exact, over the job's rows and the rows of history that share a key with them.

    1. rank      per key, the rows with the greatest order (NULL is the lowest) are on top; where every version is
                 kept, the rows of each order stand alone
    2. accepted  when all top rows have the same content: the row of history among them, else the earliest; when they
                 have not, `ties` decides
    3. verdicts  top rows of the winner's content are duplicates of the accepted row, all others superseded by it;
                 an accepted row that deletes is `deleted`
    4. closes    where every version is kept: each accepted row is valid until the next one of its key begins

The outcome depends on the rows alone and not on how they were cut into jobs: order, content and coordinates decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from headgate.contract.to_arrow import VALID_TO
from headgate.contract.to_sql import quote
from headgate.engines.duckdb.arrays import compute, fetch, take, whole, without_repeats
from headgate.engines.duckdb.connection import Database
from headgate.engines.duckdb.hashes import order_of
from headgate.engines.duckdb.history import FILE_NUMBER
from headgate.engines.duckdb.judgement import CONTENT, DELETES, KEY
from headgate.engines.duckdb.key_index import ROW
from headgate.engines.duckdb.plain_merge import codes_of, equal, replaced
from headgate.engines.duckdb.ties import LastPositions, Tied, break_ties
from headgate.engines.duckdb.worker import AT, PIECE
from headgate.ports.batch import OFFSET, PARTITION
from headgate.ports.engine import DELETED, DUPLICATE, SUPERSEDED

_MOST_CODES = 2**62  # combined order codes stay below


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What became of the rows in question.

    `lost`: rows that silver does not hold: coordinates, content hash, `verdict`, `by_partition`, `by_offset`,
    `_hg_file_number` (-1 for a row of the job) and `_hg_row` in it; `_hg_piece`, `_hg_at` of a job's row; key and order
    where they are to be remembered.
    `closes`: rows that silver holds and whose end of validity is new: the same places, and `valid_to`.
    """

    lost: pa.Table
    closes: pa.Table

    def of_job(self) -> pa.Table:
        """The job's rows among the lost."""
        return self.lost.filter(compute.less(self.lost[FILE_NUMBER], 0))

    def in_pieces(self) -> dict[int, np.ndarray]:
        """Lost rows of the job: piece -> row numbers."""
        mine = self.of_job()
        return _grouped(mine[PIECE].to_numpy(), mine[AT].to_numpy())

    def closed_in_pieces(self) -> dict[int, pa.Table]:
        """Closed rows of the job: piece -> row numbers and ends of validity."""
        at = _grouped(self.closes[PIECE].to_numpy(), np.arange(self.closes.num_rows))
        return {number: take(self.closes.select([AT, VALID_TO]), rows) for number, rows in at.items() if number >= 0}

    def in_files(self) -> dict[int, tuple[pa.Table, pa.Table]]:
        """Rows of history by file number: the lost, and the closed."""
        files: dict[int, tuple[pa.Table, pa.Table]] = {}
        lost, closes = _by_file(self.lost), _by_file(self.closes)
        for number in sorted({*lost, *closes}):
            files[number] = (
                lost.get(number, self.lost.slice(0, 0)),
                closes.get(number, self.closes.slice(0, 0)),
            )
        return files


def _by_file(rows: pa.Table) -> dict[int, pa.Table]:
    at = _grouped(rows[FILE_NUMBER].to_numpy(), np.arange(rows.num_rows))
    return {number: _these(rows, some) for number, some in at.items() if number >= 0}


def _these(rows: pa.Table, at: np.ndarray) -> pa.Table:
    """Rows by their numbers, which ascend; most often they stand beside each other."""
    beside = int(at[-1] - at[0]) + 1 == len(at)
    return rows.slice(int(at[0]), len(at)) if beside else take(rows, at)


def _grouped(group: np.ndarray, values: np.ndarray) -> dict[int, np.ndarray]:
    if not len(group):
        return {}
    order = np.argsort(group, kind="stable")
    numbers, starts = np.unique(group[order], return_index=True)
    parts = np.split(values[order], starts[1:])
    return {int(n): part for n, part in zip(numbers, parts, strict=True)}


def repeated(ordered: np.ndarray) -> np.ndarray:
    """Of sorted values those that occur more than once."""
    return without_repeats(ordered[1:][ordered[1:] == ordered[:-1]])


def decide(
    database: Database,
    rows: pa.Table,
    held: pa.Table,
    key: Sequence[str],
    order: Sequence[str],
    last_positions: LastPositions,
    *,
    versions: bool = False,
    remember: bool = False,
) -> Verdicts:
    """The verdicts. `rows` are the job's, `held` the present rows of the same keys in silver, and those in the ledger
    that delete; rows that are alone with their key may be among them or left out. `last_positions` tells where the
    last copy of a held row stands. `versions`: every order of a key is kept, not only the greatest. `remember`: tell
    key and order of lost rows, those that delete are to be found again by them."""
    remembered = tuple(dict.fromkeys([*key, *order])) if remember else ()
    if not versions and (found := replaced(rows, held, key, order, remembered)) is not None:
        return Verdicts(found, found.slice(0, 0))
    all_rows = _candidates(rows, held)
    group, at = _groups(database, all_rows, key)
    code = _order_codes(database, all_rows, order)
    at = _in_order(at, group, code)
    by, same = _accepted(database, all_rows, (group, code, at), last_positions, versions=versions)
    lost = _lost(all_rows, by, same, remembered)
    closes = _closes(all_rows, group, code, by, order) if versions else lost.slice(0, 0)
    return Verdicts(lost, closes)


def _candidates(rows: pa.Table, held: pa.Table) -> pa.Table:
    """All rows in question as one table; places that a row does not have are -1."""
    nowhere = {FILE_NUMBER: pa.int32(), ROW: pa.int64(), PIECE: pa.int32(), AT: pa.int64()}
    names = [n for n in held.column_names if n not in (FILE_NUMBER, ROW)]
    tables = []
    for table in (held, rows):  # most rows of a job are newer: so most stand in order already
        columns = {}
        for name in [*names, *nowhere]:
            if name in table.column_names:
                columns[name] = (
                    table[name].cast(nowhere[name]) if name in nowhere else table[name].cast(held[name].type)
                )
            elif name not in nowhere:
                columns[name] = pa.nulls(table.num_rows, held[name].type)
            else:
                columns[name] = pa.array(np.full(table.num_rows, -1)).cast(nowhere[name])
        tables.append(pa.table(columns))
    return pa.concat_tables(tables).combine_chunks()


def _groups(database: Database, rows: pa.Table, key: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """One number per key, its hash unless two keys share one or do not compare plainly; and the rows ordered by it."""
    hashes: np.ndarray = rows[KEY].to_numpy()
    at = order_of(hashes)
    ordered = hashes[at]
    together = ordered[1:] == ordered[:-1]
    before, after = at[:-1][together], at[1:][together]
    if all(equal(rows[name].take(pa.array(before)), rows[name].take(pa.array(after))) for name in key):
        return hashes, at
    keys = ", ".join(quote(name) for name in key)
    numbers = _numbered(database, rows, f"dense_rank() OVER (ORDER BY {keys})")
    return numbers, np.argsort(numbers, kind="stable")


def _in_order(at: np.ndarray, group: np.ndarray, code: np.ndarray) -> np.ndarray:
    """The rows by group, in it by code; `at` has them by group."""
    groups, codes = group[at], code[at]
    together = groups[1:] == groups[:-1]
    falling = codes[1:] < codes[:-1]
    return np.lexsort((code, group)) if (together & falling).any() else at


def _order_codes(database: Database, rows: pa.Table, order: Sequence[str]) -> np.ndarray:
    """One number per row that compares as its order does."""
    if not order:
        return np.zeros(rows.num_rows, np.int64)
    plain = codes_of(rows, order)
    if plain is not None:
        return plain
    newest = ", ".join(f"{quote(name)} ASC NULLS FIRST" for name in order)
    return _numbered(database, rows, f"dense_rank() OVER (ORDER BY {newest})")


def _numbered(database: Database, rows: pa.Table, number: str) -> np.ndarray:
    connection = database()
    connection.register("hg_all", rows.append_column("hg_n", pa.array(np.arange(rows.num_rows))))
    found = fetch(connection, f"SELECT hg_n, {number} AS hg_number FROM hg_all ORDER BY hg_n")
    connection.unregister("hg_all")
    numbers: np.ndarray = found["hg_number"].to_numpy()
    return numbers


def _accepted(
    database: Database,
    rows: pa.Table,
    standing: tuple[np.ndarray, np.ndarray, np.ndarray],
    last_positions: LastPositions,
    *,
    versions: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Steps 1 and 2: for each row the number of the accepted row that stands for it (its own when it is accepted),
    and whether it is a copy of it. `standing`: each row's group and code, and the rows in the order of these."""
    group, code, at = standing
    codes = code[at]
    starts, of = _runs(group[at], codes if versions else None)
    last = np.append(starts[1:], len(at)) - 1  # rows of a key stand by order: the last has the greatest
    top = codes == codes[last][of]
    by, same = np.empty(len(at), np.int64), np.empty(len(at), bool)
    if int(top.sum()) == len(starts):  # one for each key
        by[at], same[at] = at[last][of], top
        return by, same
    content: np.ndarray = rows[CONTENT].to_numpy()
    top_at, top_of = at[top], of[top]
    top_starts = np.flatnonzero(np.r_[True, top_of[1:] != top_of[:-1]])
    least = np.minimum.reduceat(content[top_at], top_starts)
    differ = least != np.maximum.reduceat(content[top_at], top_starts)
    winner, won = _firsts(rows, top_at, top_starts), least
    tied = differ[top_of]
    if tied.any():
        found = break_ties(database(), Tied.of(rows, top_at[tied], top_of[tied]), last_positions)
        winner[found.groups], won[found.groups] = found.winners, content[found.winners]
    by[at], same[at] = winner[of], top & (content[at] == won[of])
    return by, same


def _runs(group: np.ndarray, code: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Where each run of equal values starts, and the number of each row's run."""
    new = np.r_[True, group[1:] != group[:-1]]
    if code is not None:
        new[1:] |= code[1:] != code[:-1]
    return np.flatnonzero(new), np.cumsum(new) - 1


def _firsts(rows: pa.Table, at: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Of each run of rows the one of history, else the one with the least coordinates."""
    firsts: np.ndarray = at[starts]
    sizes = np.diff(np.append(starts, len(at)))
    several = np.flatnonzero(sizes > 1)
    if len(several):
        run = np.repeat(np.arange(len(starts)), sizes)
        inside = np.isin(run, several)
        mine, run = at[inside], run[inside]
        job = rows[FILE_NUMBER].to_numpy()[mine] < 0
        order = np.lexsort((rows[OFFSET].to_numpy()[mine], partition_ranks(rows)[mine], job, run))
        first = np.r_[True, run[order][1:] != run[order][:-1]]
        firsts[several] = mine[order][first]
    return firsts


def partition_ranks(rows: pa.Table) -> np.ndarray:
    """One number per row that compares as the name of its partition does, byte by byte."""
    encoded = compute.dictionary_encode(whole(rows[PARTITION]))
    names = [name.encode() for name in encoded.dictionary.to_pylist()]
    rank = np.empty(len(names), np.int64)
    rank[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
    ranks: np.ndarray = rank[encoded.indices.to_numpy()]
    return ranks


def _lost(rows: pa.Table, by: np.ndarray, same: np.ndarray, values: Iterable[str]) -> pa.Table:
    """Step 3."""
    own = np.arange(len(by))
    deletes: np.ndarray = rows[DELETES].to_numpy(zero_copy_only=False)
    new = (by == own) & deletes & (rows[FILE_NUMBER].to_numpy() < 0)
    at = np.flatnonzero((by != own) | new)
    names: Any = pa.array([SUPERSEDED, DUPLICATE, DELETED])
    verdict = names.take(pa.array(np.where(new[at], 2, same[at].astype(np.int64))))
    lost = take(rows.select([PARTITION, OFFSET, CONTENT, FILE_NUMBER, ROW, PIECE, AT, *values]), at)
    nobody: Any = new[at]
    winner: Any = pa.array(by[at], mask=nobody if nobody.any() else None)
    winners = rows.select([PARTITION, OFFSET]).take(winner)
    for name, column in (("by_partition", winners[PARTITION]), ("by_offset", winners[OFFSET])):
        lost = lost.append_column(name, column)
    return lost.append_column("verdict", verdict)


def _closes(rows: pa.Table, group: np.ndarray, code: np.ndarray, by: np.ndarray, order: Sequence[str]) -> pa.Table:
    """Step 4: accepted rows whose end of validity is not what silver says of them."""
    at = np.flatnonzero(by == np.arange(len(by)))
    at = at[np.lexsort((code[at], group[at]))]
    last = np.r_[group[at][1:] != group[at][:-1], True]
    following: Any = pa.array(np.append(at[1:], 0), mask=last)
    ends = whole(take(rows.select([order[0]]), following)[order[0]])
    before = whole(take(rows.select([VALID_TO]), at)[VALID_TO])
    unchanged = compute.fill_null(compute.equal(ends, before), fill_value=False)
    unchanged = compute.or_(unchanged, compute.and_(ends.is_null(), before.is_null()))
    changed = ~np.asarray(unchanged) & ~rows[DELETES].to_numpy(zero_copy_only=False)[at]
    closed = take(rows.select([PARTITION, OFFSET, CONTENT, FILE_NUMBER, ROW, PIECE, AT]), at[changed])
    return closed.append_column(VALID_TO, ends.filter(pa.array(changed)))

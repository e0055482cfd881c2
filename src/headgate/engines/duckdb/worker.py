"""One worker: decodes pieces of bronze, holds the rows until their verdicts are known, writes them."""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from headgate.contract.to_arrow import IS_CURRENT, VALID_FROM, VALID_TO
from headgate.engines.duckdb.arrays import Array, compute, distinct, pick, take, whole
from headgate.engines.duckdb.connection import Settings, connect
from headgate.engines.duckdb.csv_lines import CsvDecoder
from headgate.engines.duckdb.decoded import Decoded, joined, no_records
from headgate.engines.duckdb.dictionaries import plain
from headgate.engines.duckdb.history import index_layout, wanted_columns
from headgate.engines.duckdb.json_lines import JsonDecoder
from headgate.engines.duckdb.judgement import CONTENT, DELETES, KEY, key_columns
from headgate.engines.duckdb.output import TableWriter, Written
from headgate.engines.duckdb.pieces import Piece, partition_counts, read_beside, read_piece, wanted_offsets
from headgate.engines.duckdb.reasons import rows_by_rule
from headgate.engines.duckdb.registered import RegisteredDecoder, is_registered
from headgate.engines.duckdb.rewrite import hash_sum
from headgate.engines.duckdb.typed import TypedDecoder
from headgate.errors import FixInputError
from headgate.ports.batch import HEADER, HEADERS, HEADERS_TYPE, OFFSET, PARTITION, RAW, VERSION
from headgate.ports.batch import KEY as MESSAGE_KEY
from headgate.ports.engine import RefineJob
from headgate.threads import begun

MOST_WORKERS = 1024
LARGEST_MESSAGE = 1 << 24  # bytes; the default of max_message_bytes
CAREFUL_ROWS = 20_000  # rows that may wait for careful reading
MOSTLY = 1.5  # held rows to a wanted hash up to which all are taken
HOLD_SHARE = 4  # a quarter of the memory limit may be held rows; the rest of them waits on disk
PIECE, AT = "_hg_piece", "_hg_at"  # where a job row is held


@dataclass(slots=True)
class PieceReport:
    """What the parent must know of a decoded piece. Counts are per source partition."""

    number: int
    read: dict[str, int]
    refused: dict[str, int]
    reasons: Counter[str]
    warnings: Counter[str]
    dropped: pa.Table
    hashes: np.ndarray | None = None  # of the keys of kept rows
    deleted: np.ndarray | None = None  # of the keys of kept rows that delete
    bounds: dict[str, tuple[Any, Any]] = field(default_factory=dict)  # of key columns, where it is cheap
    values: np.ndarray | None = None  # sorted, distinct, of a one-column integer key


@dataclass(slots=True)
class WriteReport:
    """What a worker wrote: files per table, accepted rows per source partition, the sum of their hashes."""

    files: dict[str, list[Written]]
    accepted: Counter[str]
    checksum: int


def where_among(values: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """Where values stand that are among the others, which are sorted; both are hashes. By their lowest bits most are
    told apart at once: a search through many others costs ten times as much."""
    if not len(ordered):
        return np.empty(0, np.int64)
    low = np.uint64((1 << (len(ordered).bit_length() + 4)) - 1)
    known = np.zeros(int(low) + 1, bool)
    known[ordered & low] = True
    maybe = np.flatnonzero(known[values & low])
    at = np.searchsorted(ordered, values[maybe])
    at[at == len(ordered)] = 0
    found: np.ndarray = maybe[ordered[at] == values[maybe]]
    return found


class Worker:
    """Everything one core does for a job. Not for several threads at once."""

    def __init__(
        self,
        settings: Settings,
        job: RefineJob,
        number: int = 0,
        share: int = 1,
        opening: Future[duckdb.DuckDBPyConnection] | None = None,
    ) -> None:
        """`opening`: a database that is being opened, for a worker that has no others beside it."""
        self.settings, self.number, self.share = settings, number, share

        def opened() -> duckdb.DuckDBPyConnection:
            if opening is None:
                return connect(settings, threads=1, share=share + 1)
            return opening.result().execute("SET threads = 1")

        self._opening = begun(opened)  # beside the reading of the first piece, which leaves Python's lock alone
        self.versioned = VERSION in job.bronze_schema.names
        self.key = key_columns(job.dataset, versioned=self.versioned)
        self._versions = job.dataset.order[0] if job.dataset.history == "scd2" else None
        self._csv_decoder: CsvDecoder | None = None
        self._json_decoder: JsonDecoder | None = None
        self._registered: RegisteredDecoder | None = None
        self._typed: TypedDecoder | None = None
        self._most_held = settings.memory_bytes // HOLD_SHARE // share
        self.begin(job)

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The worker's own database."""
        return self._opening.result()

    def begin(self, job: RefineJob) -> None:
        """Start a job, the first or one that `fits`."""
        self.job = job
        self._wanted = wanted_offsets(job.only)
        self._held: dict[int, tuple[pa.Table, np.ndarray]] = {}
        self._held_bytes = 0
        self._silver = TableWriter(job.outputs["silver"], index_layout(self.settings, job))
        self._quarantine = TableWriter(job.outputs["quarantine"])
        self._rests = 0
        self._seen: list[Piece] = []  # since rows were read with care last
        self._accepted: Counter[str] = Counter()
        self._checksum = 0

    def fits(self, job: RefineJob) -> bool:
        """Whether the statements made for the last job hold for this one."""
        return self.job.dataset == job.dataset and self.job.bronze_schema.equals(job.bronze_schema)

    def rest(self) -> None:
        """After a job that ended well: hold nothing of it."""
        self._held.clear()

    def decode(self, piece: Piece) -> PieceReport:
        """Decode and judge one piece. Refused rows are written, keyed rows held, others written too."""
        self._seen.append(piece)
        decoded, read = self._read(piece)
        report = self._take(piece.number, decoded, [piece])
        report.read = read
        return report

    def _read(self, piece: Piece) -> tuple[Decoded, dict[str, int]]:
        """The rows of bronze are let go with this call: what is written of them may be as much again."""
        table = read_piece(piece, self.job, self._wanted, threads=self.share == 1 and not self.job.beside)
        return self._judged(lambda: self._decode(table)), dict(partition_counts(table))

    def decode_rest(self, *, least: int = 1) -> PieceReport | None:
        """What waits for careful reading, if it is at least so many rows; called last after all pieces."""
        decoder = self._typed or self._json_decoder  # of a job's rows all are typed, or none
        if decoder is None or decoder.waiting < least:
            return None
        self._rests += 1
        pieces, self._seen = self._seen, []
        number = -self._rests * MOST_WORKERS - self.number
        return self._take(number, self._judged(decoder.careful_rest), pieces)

    def _take(self, number: int, decoded: Decoded, pieces: Sequence[Piece]) -> PieceReport:
        report = PieceReport(
            number,
            {},
            dict(partition_counts(decoded.refused)),
            rows_by_rule(decoded.refused["reasons"]),
            decoded.warnings,
            decoded.dropped,
        )
        self._refuse(decoded.refused, pieces)
        if self.key:
            self._describe_keys(report, decoded)
            self._hold(number, decoded)
        else:
            self._accept(decoded.rows, decoded.keep)
        return report

    def suspects(self, hashes: np.ndarray) -> pa.Table:
        """Held rows whose key hash is among these: key, order, coordinates, hashes, and where they are held. When that
        is most of them, all: to leave the others out costs more than to judge them."""
        found = []
        names = [*wanted_columns(self.job.dataset, self.key), PARTITION, OFFSET, KEY, CONTENT, DELETES]
        most = sum(int(keep.sum()) for _, keep in self._held.values()) * self.share <= len(hashes) * MOSTLY
        for number, (held, keep) in self._held.items():
            rows = _with_deletes(held).select(names)
            at = np.arange(len(keep)) if most else where_among(rows[KEY].to_numpy(), hashes)
            if not keep.all():
                at = at[keep[at]]
            some = rows if len(at) == rows.num_rows else take(rows, at)
            some = plain(some).append_column(PIECE, pa.array(np.full(len(at), number, np.int32)))
            found.append(some.append_column(AT, pa.array(at)))
        return pa.concat_tables(found) if found else pa.table({})

    def write(self, lost: Mapping[int, np.ndarray], closes: Mapping[int, pa.Table]) -> WriteReport:
        """Write the held rows but the lost ones (piece -> row numbers); finish all files. `closes` are ends of
        validity by row number, where every version is kept."""
        for number in sorted(self._held):
            rows, keep = self._held.pop(number)
            if number in lost:
                keep[lost[number]] = False
            if self._versions:
                rows = with_validity(rows, self._versions, closes.get(number))
            self._accept(rows, keep)
        cores = 1 if self.job.beside else self.settings.cores // self.share
        files = {"silver": self._silver.close(cores), "quarantine": self._quarantine.close()}
        return WriteReport(files, self._accepted, self._checksum)

    def close(self) -> None:
        """Give back memory and temporary files."""
        self._held.clear()
        self.connection.close()

    def _judged(self, decode: Callable[[], Decoded]) -> Decoded:
        """Decode; an error on the way is one of the contract's own SQL, which must not fail on any row."""
        try:
            return decode()
        except duckdb.OutOfMemoryException as cause:
            raise FixInputError(
                f"the engine may not use enough memory: {cause}", hint="raise its memory_limit", stage="refine"
            ) from cause
        except duckdb.Error as cause:
            raise FixInputError(
                f"SQL of the contract of {self.job.dataset.name} fails on some row: {str(cause).splitlines()[0]}",
                where=str(self.job.dataset.place) if self.job.dataset.place else None,
                hint="a rule, a drop or a transform must hold for any value: write TRY_CAST or TRY(...)",
                stage="refine",
            ) from cause

    def _decode(self, table: pa.Table) -> Decoded:
        """Each row's verdict; a message that is too large is refused without a look into it."""
        if RAW not in table.column_names or MESSAGE_KEY not in self.job.bronze_schema.names:
            return self._looked_into(table)
        most = self.settings.largest.get(self.job.dataset.name, LARGEST_MESSAGE)
        sizes = compute.fill_null(compute.binary_length(table[RAW]), 0).to_numpy()
        if not (large := sizes > most).any():
            return self._looked_into(table)
        decoded = self._looked_into(pick(table, ~large))
        wrong = {int(n): f"{sizes[n]:,} bytes, more than max_message_bytes: {most:,}" for n in np.flatnonzero(large)}
        return joined([decoded, no_records(decoded, table, wrong)])

    def _looked_into(self, table: pa.Table) -> Decoded:
        if RAW not in table.column_names:
            if self._typed is None:
                self._typed = TypedDecoder(self.connection, self.job.dataset)
            return self._typed.decode(table)
        if HEADER in table.column_names:
            if self._csv_decoder is None:
                self._csv_decoder = CsvDecoder(self.connection, self.job.dataset)
            return self._csv_decoder.decode(table)
        if self._json_decoder is None:
            self._json_decoder = JsonDecoder(self.connection, self.job.dataset)
        if not is_registered(table):
            return self._json_decoder.decode(table)
        if self._registered is None:
            self._registered = RegisteredDecoder(self.settings, self.job.dataset, self._json_decoder)
        return self._registered.decode(table)

    def _refuse(self, refused: pa.Table, pieces: Sequence[Piece]) -> None:
        count = refused.num_rows
        if not count:
            return
        job = self.job
        whole = refused.append_column(
            "contract_version", pa.repeat(pa.scalar(job.dataset.contract_version, pa.string()), count)
        )
        whole = whole.append_column("run_id", pa.repeat(pa.scalar(job.run_id, pa.string()), count))
        at = pa.scalar(job.judged_at_us, pa.timestamp("us", "UTC"))
        whole = whole.append_column("quarantined_at", pa.repeat(at, count))
        messages = HEADERS in self._quarantine.schema.names
        self._quarantine.write(self._with_message(whole, pieces) if messages else whole)

    def _with_message(self, refused: pa.Table, pieces: Sequence[Piece]) -> pa.Table:
        """With the messages' keys and headers, which nobody has needed so far."""
        beside = read_beside(pieces, refused[OFFSET])
        for name, of in ((MESSAGE_KEY, pa.binary()), (HEADERS, HEADERS_TYPE)):
            if name not in beside.column_names:  # bronze of before it was read so
                beside = beside.append_column(name, pa.nulls(beside.num_rows, of))
        numbered = refused.select([PARTITION, OFFSET]).append_column("n", pa.array(np.arange(refused.num_rows)))
        self.connection.register("hg_refused", numbered)
        self.connection.register("hg_beside", beside)
        try:
            same = f"LEFT JOIN hg_beside AS b USING ({PARTITION}, {OFFSET}) ORDER BY n"
            sql = f"SELECT b.{MESSAGE_KEY}, b.{HEADERS} FROM hg_refused {same}"
            found: pa.Table = self.connection.sql(sql).to_arrow_table()
        finally:
            self.connection.unregister("hg_refused")
            self.connection.unregister("hg_beside")
        for name in (MESSAGE_KEY, HEADERS):
            refused = refused.append_column(name, found[name])
        return refused

    def _describe_keys(self, report: PieceReport, decoded: Decoded) -> None:
        """What the parent needs to find rivals of these rows."""
        kept = decoded.rows.select([*self.key, KEY])
        kept = kept if decoded.keep.all() else pick(kept, decoded.keep)
        report.hashes = kept[KEY].to_numpy()
        if DELETES in decoded.rows.column_names:
            report.deleted = decoded.rows[KEY].to_numpy()[_flags(decoded.rows[DELETES]) & decoded.keep]
        if not kept.num_rows or not self.job.silver:
            return  # what follows only tells which files of silver need not be read
        for name in self.key:
            of = kept[name].type
            if pa.types.is_nested(of) or pa.types.is_floating(of) or pa.types.is_binary(of) or kept[name].null_count:
                continue  # bounds of these say nothing, or not what SQL compares
            least = compute.min_max(kept[name]).as_py()
            report.bounds[name] = (least["min"], least["max"])
        if len(self.key) == 1 and pa.types.is_integer(kept[self.key[0]].type) and not kept[self.key[0]].null_count:
            report.values = distinct(kept[self.key[0]].to_numpy())

    def _hold(self, number: int, decoded: Decoded) -> None:
        """Keep rows until their verdicts: in memory while there is room, else in a file of the temp folder."""
        rows = decoded.rows
        if self._held_bytes + rows.nbytes > self._most_held:
            rows = self._spilled(rows)
        else:
            self._held_bytes += rows.nbytes
        self._held[number] = (rows, decoded.keep)

    def _spilled(self, rows: pa.Table) -> pa.Table:
        """The same rows on disk, mapped. The file has lost its name: it goes with this process, however that ends."""
        path = os.path.join(self.settings.temp, f"headgate-held-{os.getpid()}-{uuid.uuid4()}.arrow")
        try:
            with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
                writer.write_table(rows)
            mapped: pa.Table = pa.ipc.open_file(pa.memory_map(path)).read_all()
        finally:
            if os.path.exists(path):
                os.unlink(path)
        return mapped

    def _accept(self, rows: pa.Table, keep: np.ndarray) -> None:
        all_kept = bool(keep.all())
        coordinates = rows.select([PARTITION])
        coordinates = coordinates if all_kept else pick(coordinates, keep)
        self._accepted.update(dict(partition_counts(coordinates)))
        hashes = rows[CONTENT].to_numpy()
        self._checksum += hash_sum(hashes if all_kept else hashes[keep])
        self._silver.write(rows, None if all_kept else keep)


def _with_deletes(rows: pa.Table) -> pa.Table:
    """The rows, which say of each whether it deletes."""
    if DELETES in rows.column_names:
        return rows
    return rows.append_column(DELETES, pa.array(np.zeros(rows.num_rows, bool)))


def _flags(column: Array) -> np.ndarray:
    flags: np.ndarray = column.to_numpy(zero_copy_only=False) if isinstance(column, pa.Array) else column.to_numpy()
    return flags


def with_validity(rows: pa.Table, order: str, closes: pa.Table | None) -> pa.Table:
    """The rows with the columns of a history of versions: each begins with its order; `closes` says when some end."""
    begins = whole(rows[order])
    ends = pa.nulls(rows.num_rows, begins.type)
    if closes is not None and closes.num_rows:
        mask = np.zeros(rows.num_rows, bool)
        at = closes[AT].to_numpy()
        mask[at] = True
        ends = compute.replace_with_mask(ends, pa.array(mask), whole(take(closes, np.argsort(at))[VALID_TO]))
    rows = rows.append_column(VALID_FROM, begins).append_column(VALID_TO, ends)
    return rows.append_column(IS_CURRENT, ends.is_null())


def merged(counters: Sequence[Counter[str]]) -> Counter[str]:
    """The sum of counters."""
    total: Counter[str] = Counter()
    for one in counters:
        total.update(one)
    return total

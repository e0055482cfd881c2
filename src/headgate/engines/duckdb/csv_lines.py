"""Raw CSV bronze: records to texts by the header's names, then typed like any other source."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import duckdb
import numpy as np
import pyarrow as pa

from headgate.contract.model import Dataset
from headgate.engines.duckdb.arrays import pick, take, whole
from headgate.engines.duckdb.decoded import Decoded, joined, no_records
from headgate.engines.duckdb.typed import RowJudge, source_columns
from headgate.formats.csv_records import DELIMITERS, Dialect, parse
from headgate.ports.batch import FILE, HEADER, INGESTED_AT, OFFSET, PARTITION, RAW

_COORDINATES = (PARTITION, OFFSET, INGESTED_AT, RAW)


class CsvDecoder:
    """Decodes pieces of CSV records of one dataset; statements are made once per header."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, dataset: Dataset) -> None:
        self.connection, self.dataset = connection, dataset
        self._made: dict[tuple[str, ...], RowJudge] = {}
        self._options: Mapping[str, object] = dataset.servers[0].options if dataset.servers else {}

    def decode(self, table: pa.Table) -> Decoded:
        """The rows of a bronze table, judged."""
        return joined([self._group(*group) for group in self._groups(table)])

    def _groups(self, table: pa.Table) -> list[tuple[pa.Table, Sequence[str], Dialect]]:
        """Rows of one header and one dialect together."""
        headers, files = (whole(table[name]).dictionary_encode() for name in (HEADER, FILE))
        named = files.dictionary.to_pylist()
        kinds = [(h, self._dialect(f or "")) for h in headers.dictionary.to_pylist() for f in named]
        if not kinds:
            return [(table, self._names(""), Dialect())]
        codes = headers.indices.to_numpy() * len(files.dictionary) + files.indices.to_numpy()
        distinct = {kind: [n for n, other in enumerate(kinds) if other == kind] for kind in kinds}
        groups = []
        for (header, dialect), numbers in distinct.items():
            mine = np.isin(codes, numbers)
            if mine.any():
                rows = table if mine.all() else pick(table, mine)
                groups.append((rows, self._names(header or ""), dialect))
        return groups

    def _dialect(self, file: str) -> Dialect:
        given = str(self._options.get("delimiter") or ("\t" if ".tsv" in file.lower() else ","))
        quote = self._options.get("quote")
        return Dialect(DELIMITERS.get(given, given), '"' if quote is None else str(quote))

    def _names(self, header: str) -> Sequence[str]:
        """The column names; a file without a header has the contract's fields in order."""
        if header:
            return [str(name) for name in json.loads(header)]
        return [f.source_name for f in self.dataset.fields if f.transform is None]

    def _group(self, table: pa.Table, names: Sequence[str], dialect: Dialect) -> Decoded:
        parsed = parse(whole(table[RAW]), names, dialect)
        good = take(table.select(_COORDINATES), parsed.rows)
        source = parsed.texts
        for name in _COORDINATES:
            source = source.append_column(name, good[name])
        judge = self._judge(source.schema, tuple(names))
        decoded, refused = judge.judge(source)
        decoded.refused = judge.explain(refused)
        return joined([decoded, no_records(decoded, table, parsed.wrong)]) if parsed.wrong else decoded

    def _judge(self, schema: pa.Schema, names: tuple[str, ...]) -> RowJudge:
        if names not in self._made:
            columns = source_columns(self.connection, self.dataset, schema, odd=False)
            self._made[names] = RowJudge(self.connection, self.dataset, columns, schema, RAW)
        return self._made[names]

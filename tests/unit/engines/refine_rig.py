"""Bronze, silver, quarantine and ledger as plain files in a folder: what a lake would keep, without a lake."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from headgate.contract.model import Dataset, Field, Kind, Rule, Severity, Type
from headgate.contract.to_arrow import ledger_schema, quarantine_schema, silver_layout, silver_schema
from headgate.engines.duckdb import open_engine
from headgate.ports.batch import INGESTED_AT, INSTANT, OFFSET, PARTITION
from headgate.ports.engine import Output, Refined, RefineJob, Span
from headgate.ports.store import FileInfo

AT_US = 1_790_000_000_000_000


def field_ids(schema: pa.Schema, start: int = 1) -> dict[str, Any]:
    """Field ids as a lake gives them: every nested field has its own."""
    numbers = iter(range(start, start + 1000))

    def of(one: pa.DataType) -> dict[str, Any]:
        if pa.types.is_struct(one):
            return {m.name: numbered(m.type) for m in one}
        if pa.types.is_list(one):
            return {"element": numbered(one.value_type)}
        if pa.types.is_map(one):
            return {"key": numbered(one.key_type), "value": numbered(one.item_type)}
        return {}

    def numbered(one: pa.DataType) -> Any:
        own, inner = next(numbers), of(one)
        return {"__duckdb_field_id": own, **inner} if inner else own

    return {f.name: numbered(f.type) for f in schema}


def info(path: str, sequence: int = 1) -> FileInfo:
    """A file as the lake describes it, with bounds from its footer."""
    metadata = pq.read_metadata(path)
    lower: dict[str, Any] = {}
    upper: dict[str, Any] = {}
    for column in range(metadata.num_columns):
        name = metadata.schema.column(column).path
        found = [metadata.row_group(g).column(column).statistics for g in range(metadata.num_row_groups)]
        if found and all(s is not None and s.has_min_max for s in found):
            lower[name] = min(s.min for s in found)
            upper[name] = max(s.max for s in found)
    return FileInfo(path, metadata.num_rows, os.path.getsize(path), sequence, lower, upper)


class Rig:
    """A dataset's tables in a folder; `land` adds bronze rows, `refine` judges the new ones."""

    def __init__(self, folder: Any, dataset: Dataset, *, versioned: bool = False, **settings: Any) -> None:
        self.folder, self.dataset = str(folder), dataset
        self.engine = open_engine({"cache_directory": f"{self.folder}/keys", **settings})
        self.bronze: list[FileInfo] = []
        self.bronze_schema: pa.Schema | None = None
        self.files: dict[str, list[FileInfo]] = {"silver": [], "quarantine": [], "ledger": []}
        self.offsets: dict[str, int] = {}
        self.judged: dict[str, int] = {}
        self.schemas = {
            "silver": silver_schema(dataset, version_column=versioned),
            "quarantine": quarantine_schema(),
            "ledger": ledger_schema(dataset),
        }
        self.checksum = self.silver_rows = 0
        self.runs = 0
        for layer in (*self.files, "bronze"):
            os.makedirs(f"{self.folder}/{layer}", exist_ok=True)

    def land(self, rows: pa.Table, partition: str = "p", row_group_size: int = 1000, **written: Any) -> Span:
        """Append rows (without coordinates) to bronze as one file, `written` so."""
        start = self.offsets.get(partition, 0)
        count = rows.num_rows
        self.offsets[partition] = start + count
        whole = pa.table(
            {
                PARTITION: pa.array([partition] * count, pa.string()),
                OFFSET: pa.array(range(start, start + count), pa.int64()),
                INGESTED_AT: pa.array([AT_US] * count, INSTANT),
                **{name: rows[name] for name in rows.column_names},
            }
        )
        path = f"{self.folder}/bronze/{len(self.bronze)}.parquet"
        pq.write_table(whole, path, row_group_size=row_group_size, **written)
        self.bronze.append(info(path, len(self.bronze) + 1))
        self.bronze_schema = whole.schema
        return Span(partition, start, start + count)

    def pending(self) -> list[Span]:
        return [Span(p, self.judged.get(p, 0), n) for p, n in sorted(self.offsets.items()) if n > self.judged.get(p, 0)]

    def job(self, spans: Sequence[Span], *, only: pa.Table | None = None, fresh: bool = False) -> RefineJob:
        layout = silver_layout(self.dataset)
        self.runs += 1
        outputs = {
            layer: Output(
                f"{self.folder}/{layer}",
                schema,
                field_ids(schema),
                layout.partition if layer == "silver" else (),
                layout.sort if layer == "silver" else (),
            )
            for layer, schema in self.schemas.items()
        }
        assert self.bronze_schema is not None
        return RefineJob(
            dataset=self.dataset,
            bronze=self.bronze,
            bronze_schema=self.bronze_schema,
            spans=spans,
            silver=[] if fresh else self.files["silver"],
            ledger=[] if fresh else self.files["ledger"],
            outputs=outputs,
            run_id=f"run-{self.runs}",
            judged_at_us=AT_US + self.runs,
            only=only,
            replay=only is not None,
        )

    def refine(self) -> Refined:
        """Judge what has no verdict yet."""
        spans = self.pending()
        refined = self.engine.refine(self.job(spans))
        self.apply(refined)
        for span in spans:
            self.judged[span.partition] = span.stop
        return refined

    def replay(self) -> Refined:
        """Judge the quarantined rows again; they leave quarantine."""
        rows = self.table("quarantine").select([PARTITION, OFFSET])
        spans = [Span(p, 0, n) for p, n in self.offsets.items()]
        refined = self.engine.refine(self.job(spans, only=rows))
        self.files["quarantine"] = []
        self.apply(refined)
        return refined

    def apply(self, refined: Refined) -> None:
        for layer, files in self.files.items():
            gone = set(refined.removed.get(layer, []))
            assert gone <= {f.path for f in files}
            kept = [f for f in files if f.path not in gone]
            self.files[layer] = kept + [info(path, self.runs) for path in refined.added.get(layer, [])]
        self.checksum += refined.checksum
        self.silver_rows += refined.silver_rows

    def table(self, layer: str) -> pa.Table:
        """A layer's rows by coordinates."""
        schema = self.schemas[layer]
        tables = [pq.read_table(f.path).cast(schema) for f in self.files[layer]]
        whole = pa.concat_tables(tables) if tables else schema.empty_table()
        return whole.sort_by([(PARTITION, "ascending"), (OFFSET, "ascending")])

    def rows(self, layer: str) -> list[dict[str, Any]]:
        return self.table(layer).to_pylist()


def dataset(fields: Sequence[Field], **more: Any) -> Dataset:
    """A dataset with the rules that its fields imply, as the contract reader makes them."""
    rules: list[Rule] = []
    for one in fields:
        rules.append(Rule(f"{one.name}.type", "type", one.name))
        if one.required:
            rules.append(Rule(f"{one.name}.required", "required", one.name))
        if one.enum:
            rules.append(Rule(f"{one.name}.enum", "enum", one.name, list(one.enum)))
        for check in ("minimum", "maximum", "min_length", "max_length", "pattern", "min_items"):
            limit = getattr(one.limits, check)
            if limit is not None:
                rules.append(Rule(f"{one.name}.{check}", check, one.name, limit))
    rules.extend(more.pop("rules", ()))
    return Dataset("things", tuple(fields), "test.things", "1.0.0", rules=tuple(rules), **more)


def text(name: str, **more: Any) -> Field:
    return Field(name, Type(Kind.STRING), **more)


def integer(name: str, **more: Any) -> Field:
    return Field(name, Type(Kind.INTEGER), **more)


def money(name: str, precision: int = 12, scale: int = 2, **more: Any) -> Field:
    return Field(name, Type(Kind.DECIMAL, precision=precision, scale=scale), **more)


def instant(name: str, **more: Any) -> Field:
    return Field(name, Type(Kind.TIMESTAMP, zoned=True), **more)


def sql_rule(name: str, predicate: str, *, warning: bool = False, field: str | None = None) -> Rule:
    return Rule(name, "sql", field, predicate, Severity.WARNING if warning else Severity.ERROR)


__all__ = ["Mapping", "Rig", "dataset", "instant", "integer", "money", "sql_rule", "text"]

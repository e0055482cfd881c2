"""A small project of files that serves its tables to a real PostgreSQL, and the proof that they are equal there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from e2e.command import Answer, good, headgate
from rigs.postgres import Database

CONTRACT = """apiVersion: v3.2.0
kind: DataContract
id: readings
name: readings
version: {version}
status: draft
servers:
  - {{server: drop, type: local, path: data/*.jsonl, format: json}}
schema:
  - name: readings
    description: What the sensors said.
    properties:
{fields}
    customProperties:
      - {{property: headgate.order, value: [at]}}
"""
FIELDS = """
      - {name: id, logicalType: integer, primaryKey: true, description: Number of the reading.}
      - {name: at, logicalType: timestamp, required: true, logicalTypeOptions: {timezone: true}}
      - {name: sensor, logicalType: string, required: true}
      - {name: celsius, physicalType: 'decimal(9,3)', logicalType: number, logicalTypeOptions: {maximum: 100}}
      - {name: tags, logicalType: array, items: {logicalType: string}}
"""


class ServedProject:
    """Readings by id; the latest by `at` wins."""

    def __init__(self, folder: Path, database: Database, serve: str = "", fields: str = FIELDS) -> None:
        self.folder, self.database = folder, database
        self.env = {"SERVE_URL": database.url}
        (folder / "contracts").mkdir(parents=True)
        (folder / "data").mkdir()
        self.write(fields)
        self.serve(serve or "- postgres: ${SERVE_URL}\n  tables: [silver.readings, quarantine.readings]")

    def write(self, fields: str, version: str = "1.0.0") -> None:
        """The contract."""
        text = CONTRACT.format(fields=fields.strip("\n"), version=version)
        (self.folder / "contracts" / "readings.odcs.yaml").write_text(text)

    def serve(self, entries: str) -> None:
        """The entries of `serve:`."""
        lines = "".join(f"  {line}\n" for line in entries.splitlines())
        (self.folder / "headgate.yaml").write_text(f"serve:\n{lines}")

    def drop(self, name: str, *lines: str) -> None:
        """A new file of readings."""
        (self.folder / "data" / f"{name}.jsonl").write_text("".join(line + "\n" for line in lines))

    def answer(self, *arguments: Any, **options: Any) -> Answer:
        env = {**self.env, **options.pop("env", {})}
        return headgate(*arguments, project=self.folder, env=env, **options)

    def good(self, *arguments: Any) -> Any:
        return good(*arguments, project=self.folder, env=self.env)

    def run(self, *arguments: Any) -> dict[str, dict[str, Any]]:
        """A run that must succeed: what was served, by table."""
        return {one["table"]: one for one in self.good("run", *arguments)["served"]}

    def texts(self, table: str, columns: str) -> list[tuple[str | None, ...]]:
        """Rows of a table of the lake as text, sorted."""
        found = self.good("query", f"select {columns} from {table}")
        return sorted((tuple(row.values()) for row in found), key=repr)

    def same(self, table: str, columns: str, theirs: str = "", served: str = "") -> list[tuple[Any, ...]]:
        """The rows of a table, which are the same in both places; `theirs` says the columns in PostgreSQL's words."""
        here = self.texts(table, columns)
        there = sorted(self.database.run(f"SELECT {theirs or columns} FROM {served or table}"), key=repr)
        assert there == here
        return here


def reading(number: int, at: int = 0, celsius: str = "20.5", sensor: str = "a") -> str:
    """A line; `at` in seconds."""
    return (
        f'{{"id": {number}, "at": "2026-01-01T{at // 3600:02}:{at // 60 % 60:02}:{at % 60:02}Z", "sensor": "{sensor}", '
        f'"celsius": {celsius}, "tags": ["x", "{number}"]}}'
    )

"""A project on disk that reads a real PostgreSQL, and the proof that its silver tables are what the source holds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote as in_url

from e2e.command import Answer, good, headgate
from rigs.postgres import Database

_OWN = ("_hg_partition", "_hg_offset", "_hg_version")


class PostgresProject:
    """Commands run as the database's owner unless `env` says otherwise."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.folder = folder
        self.database = database
        self.env = {"PGUSER": database.server.user}
        (folder / "contracts").mkdir(parents=True)

    def url(self, table: str, schema: str = "") -> str:
        server, database = self.database.server, in_url(self.database.name, safe="")
        asked = f"table={in_url(table, safe='')}" + (f"&schema={in_url(schema, safe='')}" if schema else "")
        return f"postgresql://{server.host}:{server.port}/{database}?{asked}"

    def path(self, name: str) -> Path:
        return self.folder / "contracts" / f"{name}.odcs.yaml"

    def discover(self, table: str, *, schema: str = "", name: str = "t") -> str:
        """A contract as `headgate discover` writes it, in the file of that name."""
        answer = self.answer("discover", self.url(table, schema))
        assert answer.code == 0, answer.err
        self.path(name).write_text(answer.out)
        return answer.out

    def write(self, fields: str, *, table: str = "t", name: str = "t", own: str = "", **server: Any) -> None:
        """A contract by hand: `fields` are lines of flow maps, `own` the headgate properties."""
        options = {
            "host": self.database.server.host,
            "port": self.database.server.port,
            "database": f"'{self.database.name}'",
            "schema": "public",
            **server,
        }
        told = ", ".join(f"{k}: {v}" for k, v in options.items())
        properties = "\n".join(f"      - {line.strip()}" for line in fields.strip().splitlines())
        custom = f"\n    customProperties:\n      - {own}" if own else ""
        self.path(name).write_text(
            f"apiVersion: v3.2.0\nkind: DataContract\nid: {name}\nname: {name}\nversion: 1.0.0\nstatus: draft\n"
            f"servers:\n  - {{server: db, type: postgres, {told}}}\n"
            f"schema:\n  - name: {name}\n    physicalName: '{table}'\n    properties:\n{properties}{custom}\n"
        )

    def edit(self, old: str, new: str, name: str = "t") -> None:
        text = self.path(name).read_text()
        assert old in text, text
        self.path(name).write_text(text.replace(old, new, 1))

    def answer(self, *arguments: Any, **options: Any) -> Answer:
        env = {**self.env, **options.pop("env", {})}
        return headgate(*arguments, project=None if arguments[0] == "discover" else self.folder, env=env, **options)

    def good(self, *arguments: Any) -> Any:
        return good(*arguments, project=self.folder, env=self.env)

    def run(self, *arguments: Any) -> dict[str, Any]:
        """A run that must succeed: what happened to the one dataset."""
        (one,) = self.good("run", *arguments)["datasets"]
        return one

    def rows(self, sql: str) -> list[dict[str, Any]]:
        return self.good("query", sql)

    def texts(self, name: str = "t", layer: str = "silver") -> list[tuple[str | None, ...]]:
        """All rows of a table as text, without Headgate's columns, sorted."""
        own = ", ".join(f"'{column}'" for column in _OWN)
        found = self.rows(f'select columns(lambda c: not list_contains([{own}], c))::varchar from {layer}."{name}"')
        return sorted((tuple(row.values()) for row in found), key=repr)

    def source_texts(self, table: str = "t", columns: str | None = None) -> list[tuple[str | None, ...]]:
        """All rows of the source table as text, sorted."""
        names = columns or ", ".join(
            f'"{name.replace(chr(34), chr(34) * 2)}"'
            for (name,) in self.database.run(
                "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped "
                "order by attnum",
                (table,),
            )
        )
        listed = self.database.run(
            f"select {', '.join(f'({n.strip()})::text' for n in names.split(', '))} from {table}"
        )
        return sorted(listed, key=repr)

    def balanced(self) -> dict[str, Any]:
        """The account of the one dataset, proved from the tables."""
        (account,) = self.good("audit", "--deep")
        assert account["state"] == "balanced", account
        return account

    def files(self) -> dict[str, bytes]:
        """Every file of the project, read."""
        return {str(p): p.read_bytes() for p in self.folder.rglob("*") if p.is_file() and os.access(p, os.R_OK)}

    def tables(self) -> dict[str, int]:
        """Rows of each table in the lake."""
        return {one["table"]: one["rows"] for one in self.good("status")["tables"]}

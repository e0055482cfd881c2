"""Tests on models: `models/tests/*.sql`, each a query for rows that should not exist."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headgate.runtime.models import read_tests

if TYPE_CHECKING:
    from headgate.ports.store import Cut
    from headgate.runtime.workspace import Workspace


def run_tests(project: Workspace, before: Cut | None = None) -> list[dict[str, Any]]:
    """Each test's name and the number of wrong rows it found (0: passed). Tests that read a model which has never been
    built (it was not selected) wait until it is.

    Models are read as they are now, other tables as of `before` when it is given: what the models were built from,
    although silver may have moved on."""
    results = []
    now = project.lake.cut()
    there = set(now.names())
    of = {name: now if before is None or name.startswith("gold.") else before for name in there}
    tables = {name: view for name, cut in of.items() if (view := cut.table(name)) is not None}
    waiting = {m.table for m in project.models} - there
    for name, sql in read_tests(project.folder / "models"):
        inner = sql.strip().rstrip(";")
        if any((table if "." in table else f"gold.{table}") in waiting for table in project.engine.references(inner)):
            continue
        reader = project.engine.query(f"select count(*) as n from (\n{inner}\n)", tables)
        rows = reader.read_all().to_pylist()
        results.append({"name": name, "rows": int(rows[0]["n"])})
    return results

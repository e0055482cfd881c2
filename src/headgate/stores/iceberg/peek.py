"""A look at the lake that costs milliseconds: what each table's positions and facts are, without reading any metadata.

Every publication leaves its tables' positions and facts in the catalog, beside the pointer that they belong to.
They count only while the pointer still is that one: after anybody else's commit, or a rollback, the table is unknown
here and the caller takes the long way (`Lake.cut`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headgate.ports.batch import Position, served_token
from headgate.stores.iceberg.pointers import Pointers
from headgate.stores.iceberg.settings import Settings


@dataclass(frozen=True, slots=True)
class Peek:
    """The lake at one moment. `tables` maps every table to its metadata file, `states` those whose state is known."""

    tables: Mapping[str, str]
    states: Mapping[str, Mapping[str, Any]]

    def known(self, table: str) -> bool:
        """True when the table's positions and facts are known here."""
        return table in self.states

    def position(self, table: str, stream: str) -> Position | None:
        """The stream's position in the table, empty when it has never had one; None when unknown here."""
        state = self.states.get(table)
        return None if state is None else Position(state["positions"].get(stream, {}))

    def fact(self, table: str, name: str) -> str | None:
        """The table's named fact; None when it has none, or when unknown here (see `known`)."""
        state = self.states.get(table)
        return None if state is None else state["facts"].get(name)

    def version(self, table: str) -> int | None:
        """The version of the table's rows; None when it has none, or when unknown here."""
        state = self.states.get(table)
        return None if state is None else state.get("version", state["snapshot"])

    def token(self, table: str) -> str | None:
        """The state of the table's rows as a served table's position has it; None when unknown here."""
        state = self.states.get(table)
        if state is None or "table" not in state:
            return None
        return served_token(state["table"], state["snapshot"], self.version(table))


def peek(settings: Mapping[str, Any]) -> Peek:
    """All tables and their states in one SELECT. Raises FixInputError or StoreUnavailable."""
    pointers = Pointers(Settings.of(settings))
    rows = pointers.query(
        "SELECT t.table_namespace, t.table_name, t.metadata_location, s.state FROM iceberg_tables t"
        " LEFT JOIN headgate_states s ON s.catalog_name = t.catalog_name AND s.table_namespace = t.table_namespace"
        " AND s.table_name = t.table_name AND s.metadata_location = t.metadata_location"
        " WHERE t.catalog_name = ? AND t.metadata_location IS NOT NULL"
        " AND (t.iceberg_type = 'TABLE' OR t.iceberg_type IS NULL)",
        (pointers.name,),
    )
    return Peek(
        {f"{namespace}.{table}": location for namespace, table, location, _ in rows},
        {f"{namespace}.{table}": json.loads(state) for namespace, table, _, state in rows if state is not None},
    )

"""The embedded engine: DuckDB in this process and in worker processes, one per core.

`open_engine` imports nothing heavy: the first call that needs DuckDB does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headgate.ports.engine import Engine


def open_engine(settings: Mapping[str, Any]) -> Engine:
    """The engine with these settings (see `connection.Settings`). FixInputError for an unknown one."""
    from headgate.engines.duckdb.connection import Settings
    from headgate.engines.duckdb.engine import DuckDBEngine

    return DuckDBEngine(Settings.of(settings))

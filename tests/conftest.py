"""Fixtures for all tests: one PostgreSQL server per session, one database per test."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # `rigs` for every test

from rigs.postgres import Database, Server  # noqa: E402


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """A real server, started when the first test wants it."""
    server = Server()
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def database(postgres_server: Server) -> Iterator[Database]:
    """An empty database."""
    with postgres_server.database() as one:
        yield one


@pytest.fixture(autouse=True)
def _no_postgres_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of whoever runs the tests have no say."""
    for name in (
        "PGHOST",
        "PGPORT",
        "PGUSER",
        "PGDATABASE",
        "PGPASSWORD",
        "PGPASSFILE",
        "PGSERVICE",
        "PGOPTIONS",
        "PGSSLMODE",
    ):
        monkeypatch.delenv(name, raising=False)

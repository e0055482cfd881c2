"""Fixtures for all tests: servers are made once per session, what tests change once per test."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # `rigs` for every test

from rigs import s3  # noqa: E402
from rigs.kafka import Broker  # noqa: E402
from rigs.postgres import Database, Server  # noqa: E402
from rigs.schema_registry import Registry  # noqa: E402


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


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """A real Kafka of one node with logins and TLS beside the plain listener, started when the first test wants it."""
    one = Broker(listeners=("SASL_PLAINTEXT", "SSL", "SASL_SSL"))
    try:
        yield one.start()
    finally:
        one.stop()


@pytest.fixture(scope="session")
def schema_registry() -> Iterator[Registry]:
    """A real schema registry, started when the first test wants it."""
    one = Registry()
    try:
        yield one.start()
    finally:
        one.stop()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[s3.S3]:
    """A real S3 server, started when the first test wants it."""
    with s3.running() as server:
        yield server


@pytest.fixture
def s3_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys that the S3 server takes."""
    for name, value in s3.KEYS.items():
        monkeypatch.setenv(name, value)


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

"""One database for all rigs of PostgreSQL: to make one takes longer than most behaviours."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def conformance_database(postgres_server):
    with postgres_server.database() as one:
        yield one

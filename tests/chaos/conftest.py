"""Sources under chaos, and the seed of the session."""

from __future__ import annotations

import os
import random

import pytest
from cases import FilesCase, KafkaCase, PostgresCase

SEED = int(os.environ.get("HEADGATE_SEED") or random.SystemRandom().randrange(1 << 32))
KILLS = int(os.environ.get("HEADGATE_KILLS") or 10)


def pytest_report_header() -> str:
    return f"chaos: HEADGATE_SEED={SEED} HEADGATE_KILLS={KILLS}"


@pytest.fixture
def rng(request) -> random.Random:
    """Random numbers that depend on the session's seed and the test's name only; the seed is printed with a failure."""
    print(f"HEADGATE_SEED={SEED}")
    return random.Random(f"{SEED} {request.node.name}")


@pytest.fixture
def kills() -> int:
    return KILLS


@pytest.fixture
def files(tmp_path, rng):
    """Files that are dropped into a folder."""
    case = FilesCase(tmp_path / "project", rng)
    yield case
    case.close()


@pytest.fixture
def postgres(tmp_path, rng, database):
    """A table that a process keeps writing to."""
    case = PostgresCase(tmp_path / "project", rng, database)
    yield case
    case.close()


@pytest.fixture
def kafka(tmp_path, rng, broker):
    """A topic that is written to in transactions."""
    return KafkaCase(tmp_path / "project", rng, broker)


@pytest.fixture(params=["files", "postgres"])
def case(request):
    """Each source in turn."""
    return request.getfixturevalue(request.param)

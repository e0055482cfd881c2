"""Every crash point that the source code names is killed at, at least once, and the same command sets it right."""

from __future__ import annotations

import shutil

import points
import pytest

# What is done, and the command that does it: the very first run, a later one, a rebuild, a replay, upkeep.
SITUATIONS = {
    "first": ("run",),
    "later": ("run",),
    "rebuild": ("run", "--full-refresh"),
    "replay": ("quarantine", "replay"),
    "upkeep": ("maintain",),
}

# Points that these two sources and commands cannot pass, and where they are killed instead.
SERVED = "tests/e2e/test_served_postgres.py"
KAFKA = "tests/integration/test_kafka_store.py"
RETENTION = "tests/e2e/test_retention.py"
ELSEWHERE: dict[str, str] = {
    "retire: silver written, not published": RETENTION,
    "retire: bronze taken out, not published": RETENTION,
    "serve: committed": SERVED,
    "postgres store: rows copied, position not moved": SERVED,
    "postgres store: before COMMIT": SERVED,
    "postgres store: after COMMIT": SERVED,
    "kafka: rows sent, position not": KAFKA,
    "kafka: position sent, not committed": KAFKA,
    "kafka: committed": KAFKA,
    "ndjson: files written, not committed": "tests/e2e/test_raw_sink.py",
    "ndjson: committed, files pending": "tests/e2e/test_raw_sink.py",
    "journal: folded, not committed": "tests/integration/test_lake_journal.py",
    "carry: committed": "tests/e2e/test_transport.py",
    "continuous: landed, not told": "tests/e2e/test_continuous_kafka.py",
}


def test_names_say_where_they_are():
    for point in points.crash_points():
        assert ": " in point.name, f"{point.place}: name the place first, as in `land: rows written, position not`"


def prepared(case, situation: str) -> None:
    """Something to do: new records, an empty lake, or quarantined rows that a changed contract lets through."""
    if situation == "first":
        shutil.rmtree(case.project.folder / ".headgate", ignore_errors=True)
    if situation == "replay":
        case.project.write_contract(minimum=0)
    case.change()
    if situation == "upkeep":
        case.project.strict_upkeep()
        case.project.recover()
        case.change()
        case.project.recover()
    if situation == "replay":
        case.project.recover()
        case.project.write_contract(minimum=-1000)


@pytest.mark.timeout(900)
def test_every_point_is_killed_at(case, request):
    """Also says which points nothing that this source does will pass: none may be left over."""
    source = request.node.callspec.params["case"]
    left = set(points.names())
    for situation, command in SITUATIONS.items():
        prepared(case, situation)
        passed = case.project.trace(*command)
        for name in sorted(set(passed) & left):
            prepared(case, situation)
            killed = case.project.run(*command, crash=name)
            assert killed.killed, f"{situation}: {name} was not passed: {killed.code} {killed.err[-2000:]}"
            done = case.project.run(*command)
            assert done.code == 0, f"{situation}, after death at {name}:\n{done.err[-3000:]}"
            case.project.recover()
            case.check_account()
            left.discard(name)
    other = "postgres: " if source == "files" else "files: "
    unexplained = {name for name in left if not name.startswith(other)} - ELSEWHERE.keys()
    assert not unexplained, f"no command passes {sorted(unexplained)}: say in ELSEWHERE where they are killed"


def test_points_killed_elsewhere_exist():
    assert ELSEWHERE.keys() <= set(points.names())

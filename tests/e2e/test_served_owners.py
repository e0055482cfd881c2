"""Who a served table belongs to: another lake, or another table of this one, stops by name and mixes nothing."""

from __future__ import annotations

import shutil

import pytest

from rigs.kafka_topics import visible
from rigs.served import ServedProject, reading


@pytest.fixture
def two(tmp_path, database):
    """Two projects of the same contract, each with a lake of its own, that serve to one database."""
    made = [ServedProject(tmp_path / name, database) for name in ("first", "second")]
    for number, one in enumerate(made):
        one.drop("1", reading(number), "no json")
    return made


def test_a_table_that_another_lake_serves_is_left_alone(two, database):
    first, second = two
    first.run()
    answer = second.answer("run")
    assert answer.code == 2
    assert "served there from another lake, by project first@" in answer.err
    assert "another schema" in answer.err
    assert database.run("SELECT id FROM silver.readings") == [(0,)]
    first.drop("2", reading(7))
    first.run()
    assert database.run("SELECT id FROM silver.readings ORDER BY id") == [(0,), (7,)]


def test_a_lake_that_was_made_anew_in_its_place_replaces_what_it_served(two, database):
    first, _ = two
    first.run()
    shutil.rmtree(first.folder / ".headgate")
    first.drop("2", reading(8))
    assert "made anew" in first.run()["silver.readings"]["whole"]
    assert database.run("SELECT id FROM silver.readings ORDER BY id") == [(0,), (8,)]


def test_a_project_that_moved_with_its_lake_goes_on(two, database, tmp_path):
    first, _ = two
    first.run()
    first.folder = shutil.move(first.folder, tmp_path / "elsewhere")
    first.drop("2", reading(9))
    assert first.answer("run").code in (0, 2, 5)  # whether the lake may move is another matter
    assert database.run("SELECT count(*) FROM silver.readings WHERE id = 0") == [(1,)]


@pytest.mark.parametrize("rows", [1, 0])
def test_two_tables_of_one_name_in_one_schema_are_not_mixed(two, database, rows):
    first, _ = two
    first.drop("1", *[reading(1)] * rows, "no json")
    first.serve(
        "- postgres: ${SERVE_URL}\n  tables: [silver.readings]\n  schema: one\n"
        "- postgres: ${SERVE_URL}\n  tables: [quarantine.readings]\n  schema: one\n  name: other"
    )
    answer = first.answer("run")
    assert answer.code == 2
    assert "is where silver.readings is served" in answer.err
    assert database.run("SELECT count(*) FROM one.readings") == [(rows,)]


def test_a_topic_that_another_lake_fills_is_left_alone(two, broker):
    for one in two:
        one.serve(f"- kafka: {broker.bootstrap}\n  tables: [silver.readings]\n  topic: shared-readings")
    first, second = two
    first.run()
    answer = second.answer("run")
    assert (answer.code, "by project first@" in answer.err) == (2, True)
    assert len(visible(broker.bootstrap, "shared-readings")) == 1


MODEL = "select count(*) as n from silver.readings"
REFUSED = {
    "silver to files": (
        "- ndjson: out\n  tables: [silver.readings]",
        "files are only added to, and the mode is upsert",
    ),
    "gold to files": ("- ndjson: out\n  tables: [counted]", "files are only added to, and the mode is replace"),
    "gold to a topic": ("- kafka: 127.0.0.1:1\n  tables: [counted]", "a topic cannot be replaced as a whole"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_store_cannot_do_with_a_layer_is_refused_by_name(two, name):
    first, _ = two
    entry, said = REFUSED[name]
    first.serve(entry)
    (first.folder / "models").mkdir()
    (first.folder / "models" / "counted.sql").write_text(MODEL)
    answer = first.answer("run")
    assert (answer.code, said in answer.err) == (2, True), answer.err
    assert "mode: append" in answer.err
    assert not (first.folder / "out").exists()


def test_silver_as_added_lines_in_files_when_asked(two):
    first, _ = two
    first.serve("- ndjson: out\n  tables: [silver.readings]\n  mode: append\n  compression: none")
    first.run()
    first.drop("2", reading(5))
    first.run()
    lines = [line for path in (first.folder / "out").rglob("*.ndjson") for line in path.read_text().splitlines()]
    assert len(lines) == 2

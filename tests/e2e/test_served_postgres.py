"""Tables served to a real PostgreSQL: what the lake holds, and nothing else, whatever happens in between."""

import pytest

from rigs.served import ServedProject, reading

SILVER = "id::text, celsius::text, sensor, _hg_offset::text"
QUARANTINE = "_hg_offset::text, contract_version"


@pytest.fixture
def project(tmp_path, database):
    return ServedProject(tmp_path / "project", database)


def test_silver_and_quarantine_are_tables_there(project):
    project.drop("1", *(reading(n, n) for n in range(50)), reading(77, celsius="999"), "no json")
    served = project.run()
    assert {t: (s["rows"], s["removed"], s["whole"]) for t, s in served.items()} == {
        "silver.readings": (50, 0, None),
        "quarantine.readings": (2, 0, None),
    }
    assert len(project.same("silver.readings", SILVER)) == 50
    project.same("quarantine.readings", QUARANTINE)
    reasons = project.database.run("SELECT reasons->0->>'rule' FROM quarantine.readings ORDER BY 1")
    assert reasons == [("celsius.maximum",), ("record",)]


def test_a_second_run_sends_nothing(project):
    project.drop("1", *(reading(n) for n in range(5)))
    project.run()
    assert [s["moved"] for s in project.run().values()] == [False, False]


def test_changes_are_sent_and_nothing_else(project):
    project.drop("1", *(reading(n) for n in range(100)))
    project.run()
    project.drop("2", reading(7, 60, "1.125"), reading(200, 60))
    served = project.run()
    assert served["silver.readings"]["rows"] == 2
    assert len(project.same("silver.readings", SILVER)) == 101

"""Tables served to a real PostgreSQL: what the lake holds, and nothing else, whatever happens in between."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rigs.other_tool import OtherTool
from rigs.served import FIELDS, ServedProject, reading

sys.path.insert(0, str(Path(__file__).parents[1] / "chaos"))
import points

POINTS = [name for name in points.names() if name.startswith(("serve: ", "postgres store: "))]
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


def test_an_idle_run_asks_the_targets_and_loads_no_engine(project):
    """Up to date it is short; whatever is missing there, it takes the long way and brings it."""
    project.drop("1", *(reading(n) for n in range(5)))
    project.run()
    code = (
        "import sys\nfrom headgate.cli.main import main\ncode = main(sys.argv[1:])\n"
        "print([m for m in ('duckdb', 'pyiceberg') if m in sys.modules], file=sys.stderr)\nsys.exit(code)"
    )

    def idle():
        argv = [sys.executable, "-c", code, "run", "--json", "-p", str(project.folder)]
        env = {**os.environ, **project.env}
        done = subprocess.run(argv, capture_output=True, text=True, env=env, timeout=120, check=True)
        return done.stderr.strip().splitlines()[-1], [s["moved"] for s in json.loads(done.stdout)["served"]]

    assert idle() == ("[]", [False, False])
    project.database.run("DROP TABLE silver.readings")
    assert idle() == ("['duckdb', 'pyiceberg']", [True, False])
    assert len(project.same("silver.readings", SILVER)) == 5
    assert idle() == ("[]", [False, False])
    project.good("quarantine", "replay")
    assert idle()[1] == [False, False]


def test_changes_are_sent_and_nothing_else(project):
    project.drop("1", *(reading(n) for n in range(100)))
    project.run()
    project.drop("2", reading(7, 60, "1.125"), reading(200, 60))
    served = project.run()
    assert served["silver.readings"]["rows"] == 2
    assert len(project.same("silver.readings", SILVER)) == 101


def test_a_replay_moves_rows_from_quarantine_to_silver_there_too(project):
    project.drop("1", reading(1), reading(2, celsius="150"), reading(3, celsius="2000"))
    project.run()
    assert project.database.run("SELECT count(*) FROM quarantine.readings") == [(2,)]
    project.write(FIELDS.replace("maximum: 100", "maximum: 200"), "1.1.0")
    project.good("quarantine", "replay")
    served = project.run()
    assert (served["quarantine.readings"]["removed"], served["quarantine.readings"]["whole"]) == (1, None)
    assert [row[0] for row in project.same("silver.readings", SILVER)] == ["1", "2"]
    assert len(project.same("quarantine.readings", QUARANTINE)) == 1


def test_rows_that_leave_silver_leave_the_table(project):
    """A stricter contract and a rebuild: the same coordinates, other verdicts and other values."""
    project.drop("1", *(reading(n, celsius=str(n)) for n in range(20)))
    project.run()
    project.write(FIELDS.replace("maximum: 100", "maximum: 9"), "2.0.0")
    served = project.run("--full-refresh")
    assert len(project.same("silver.readings", SILVER)) == 10
    assert len(project.same("quarantine.readings", QUARANTINE)) == 10
    assert served["silver.readings"]["whole"] or served["silver.readings"]["removed"] == 10


def test_a_row_judged_anew_to_another_value_is_sent(project):
    project.drop("1", *(reading(n, sensor="A ") for n in range(5)))
    project.run()
    project.write(
        FIELDS.replace(
            "name: sensor, logicalType: string, required: true",
            "name: sensor, logicalType: string, required: true, customProperties: [{property: headgate.standardise, value: [trim]}]",
        ),
        "1.1.0",
    )
    project.run("--full-refresh")
    assert {row[2] for row in project.same("silver.readings", SILVER)} == {"A"}


def test_files_that_were_only_rewritten_send_nothing(project):
    for number in range(4):
        project.drop(str(number), *(reading(10 * number + n) for n in range(10)))
        project.run()
    before = project.good("status")["tables"]
    project.good("maintain", "compact")
    assert project.good("status")["tables"] != before
    served = project.run()["silver.readings"]
    assert (served["rows"], served["whole"]) == (0, None)
    project.drop("9", reading(99))
    assert project.run()["silver.readings"]["rows"] == 1
    assert len(project.same("silver.readings", SILVER)) == 41


def expire(project, table):
    found = OtherTool(project.folder / ".headgate" / "lake" / "catalog.db").load_table(table)
    old = [one.snapshot_id for one in found.snapshots() if one != found.current_snapshot()]
    found.maintenance.expire_snapshots().by_ids(old).commit()


def test_an_expired_snapshot_replaces_the_table_and_says_so(project):
    project.drop("1", *(reading(n) for n in range(10)))
    project.run()
    for number in range(3):
        project.drop(f"more {number}", reading(100 + number), reading(number, 60, "1"))
        project.good("run", "bronze.readings", "silver.readings")
    expire(project, "silver.readings")
    state = {one["table"]: one["state"] for one in project.good("status")["served"]}
    assert state == {"silver.readings": "behind", "quarantine.readings": "current"}
    answer = project.answer("run", "serve.postgres.silver.readings")
    assert answer.code == 0
    assert "replaced as a whole: the snapshot that was served last has expired" in answer.err
    assert len(project.same("silver.readings", SILVER)) == 13


def upkeep(project, settings):
    path = project.folder / "headgate.yaml"
    path.write_text(path.read_text().partition("upkeep:")[0] + f"upkeep: {settings}\n")


DOWN = {"SERVE_URL": "postgresql://nobody:not-asked@127.0.0.1:1/x"}


def test_a_target_that_was_away_while_history_expired_gets_only_what_changed(project):
    project.drop("1", *(reading(n) for n in range(10)))
    project.run()
    for number in range(5):
        project.drop(f"more {number}", reading(100 + number), reading(number, 60 + number, "1"))
        assert project.answer("run", env=DOWN).code == 3
        project.good("maintain", "compact")
    upkeep(project, "{snapshots: 1, keep_hours: 0, hold_hours: 24}")
    assert project.good("maintain")["expired"]["silver.readings"] >= 8
    (hold,) = [one for one in project.good("status")["holds"] if one["until"]]
    assert (hold["reader"], hold["table"]) == ("serve.postgres.silver.readings", "silver.readings")
    assert f"kept until {hold['until']}" in project.answer("status").err
    served = project.run()["silver.readings"]
    assert (served["whole"], served["rows"]) == (None, 10)
    assert len(project.same("silver.readings", SILVER)) == 15
    assert [(one["table"], one["until"]) for one in project.good("status")["holds"]] == [("silver.readings", None)]


def test_a_target_that_was_away_too_long_is_replaced_and_holds_nothing(project):
    upkeep(project, "{snapshots: 1, keep_hours: 0, hold_hours: 0}")
    project.drop("1", *(reading(n) for n in range(10)))
    project.run()
    for number in range(3):
        project.drop(f"more {number}", reading(100 + number))
        assert project.answer("run", env=DOWN).code == 3
    project.good("maintain")
    assert not [one for one in project.good("status")["holds"] if one["table"] == "silver.readings"]
    served = project.run()["silver.readings"]
    assert (served["whole"].startswith("the snapshot that was served last has expired"), served["rows"]) == (True, 13)
    assert len(project.same("silver.readings", SILVER)) == 13


def test_killed_after_the_target_committed_the_new_snapshot_is_held_already(project):
    """The target stands where the lake was not told that it came: that snapshot must not expire either."""
    project.drop("1", *(reading(n) for n in range(10)))
    project.run()
    project.drop("2", reading(11))
    killed = project.answer("run", env={"HEADGATE_CRASH": "serve: committed"}, process=True)
    assert killed.code == -9, killed.err
    for number in range(4):
        project.drop(f"more {number}", reading(100 + number))
        assert project.answer("run", env=DOWN).code == 3
    upkeep(project, "{snapshots: 1, keep_hours: 0}")
    project.good("maintain")
    served = project.run()["silver.readings"]
    assert (served["whole"], served["rows"]) == (None, 4)
    assert len(project.same("silver.readings", SILVER)) == 15


def test_selection_status_and_plan_know_served_tables(project):
    project.drop("1", reading(1), "bad")
    project.good("run", "readings")
    assert project.database.run("SELECT to_regclass('silver.readings')") == [(None,)]
    assert {one["state"] for one in project.good("status")["served"]} == {"never served"}
    nodes = {one["node"]: one["why"] for one in project.good("plan", "tag:serve")["nodes"]}
    assert nodes == dict.fromkeys(
        ("serve.postgres.silver.readings", "serve.postgres.quarantine.readings"), "the target is never served"
    )
    assert set(project.run("silver.readings+")) == {"silver.readings", "quarantine.readings"}
    assert {one["state"] for one in project.good("status")["served"]} == {"current"}


def test_modes_keep_what_they_promise(tmp_path, database):
    entry = "- postgres: ${SERVE_URL}\n  name: %s\n  mode: %s\n  schema: %s\n  tables: [silver.readings]\n"
    modes = "".join(entry % (name, name, name) for name in ("append", "upsert", "replace"))
    project = ServedProject(tmp_path / "project", database, modes)
    project.drop("1", *(reading(n) for n in range(5)))
    project.run()
    project.drop("2", reading(1, 60, "9.9"), reading(7))
    project.good("run")
    for mode in ("upsert", "replace"):
        assert len(project.same("silver.readings", SILVER, served=f"{mode}.readings")) == 6
    history = database.run("SELECT celsius::text FROM append.readings WHERE id = 1 ORDER BY _hg_offset")
    assert history == [("20.500",), ("9.900",)]
    assert database.run("SELECT count(*) FROM append.readings") == [(7,)]


def test_a_gold_model_is_served_by_its_name(tmp_path, database):
    project = ServedProject(tmp_path / "project", database, "- postgres: ${SERVE_URL}\n  tables: [by_sensor]")
    (project.folder / "models").mkdir()
    model = "-- Readings of each sensor.\nselect sensor, count(*) as readings, max(celsius) as hottest from silver.readings group by all"
    (project.folder / "models" / "by_sensor.sql").write_text(model)
    project.drop("1", reading(1), reading(2, sensor="b"), reading(3, sensor="b", celsius="30"))
    project.run()
    columns = "sensor, readings::text, hottest::text"
    assert project.same("gold.by_sensor", columns) == [("a", "1", "20.500"), ("b", "2", "30.000")]
    project.drop("2", reading(4, sensor="c"))
    project.run()
    assert len(project.same("gold.by_sensor", columns)) == 3
    assert database.run("SELECT obj_description('gold.by_sensor'::regclass)") == [("Readings of each sensor.",)]
    project.serve("- postgres: ${SERVE_URL}\n  tables: [by_sensor]\n  key: [sensor]\n  schema: keyed")
    project.run()
    project.drop("3", reading(5, sensor="d"), reading(4, 60, sensor="b"))
    served = project.run()["gold.by_sensor"]
    assert (served["rows"], served["removed"]) == (3, 1)  # b and d as they are now; c has gone
    assert len(project.same("gold.by_sensor", columns, served="keyed.by_sensor")) == 3


def test_a_failing_target_undoes_nothing_and_holds_up_no_other(tmp_path, database):
    entries = (
        "- postgres: postgresql://me:s3cr3t-word@127.0.0.1:1/x\n  name: down\n  tables: [silver.readings]\n"
        "- postgres: ${SERVE_URL}\n  tables: [silver.readings]\n"
    )
    project = ServedProject(tmp_path / "project", database, entries)
    project.drop("1", reading(1))
    answer = project.answer("run", "--json")
    assert answer.code == 3
    assert "store-unavailable" in answer.out + answer.err
    assert len(project.same("silver.readings", SILVER)) == 1
    (record,) = project.good("runs")
    assert [("error" in one) for one in record["served"]] == [True, False]
    told = answer.out + answer.err + project.answer("status").err + project.answer("runs", "--json").out
    held = b"".join(p.read_bytes() for p in (project.folder / ".headgate").rglob("*") if p.is_file())
    assert "s3cr3t-word" not in told
    assert b"s3cr3t-word" not in held


def test_refused_by_password_or_rights_is_exit_2_without_the_password(project):
    project.drop("1", reading(1))
    server = project.database.server
    url = f"postgresql://stranger:s3cr3t-word@{server.host}:{server.port}/{project.database.name}"
    answer = project.answer("run", env={"SERVE_URL": url})
    assert answer.code == 2, answer.err
    assert "s3cr3t-word" not in answer.out + answer.err
    looked = project.answer("doctor", env={"SERVE_URL": url})
    assert looked.code == 1, looked.out
    assert "s3cr3t-word" not in looked.out + looked.err
    assert project.answer("doctor").code == 0
    missing = project.answer("run", env={"SERVE_URL": ""})
    assert missing.code == 2
    assert "SERVE_URL" in missing.err


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("- nowhere: x\n  tables: [silver.readings]", "nothing can be served to 'nowhere'"),
        ("- iceberg: x\n  tables: [silver.readings]", "nothing can be served to 'iceberg'"),
        ("- tables: [silver.readings]", "begins with its kind"),
        ("- postgres: ${SERVE_URL}", "tables must be a list"),
        ("- postgres: ${SERVE_URL}\n  tables: [silver.reading]", "serve names silver.reading, which nothing makes"),
        ("- postgres: ${SERVE_URL}\n  tables: [readings]", "serve names gold.readings, which nothing makes"),
        ("- postgres: ${SERVE_URL}\n  tables: [silver.readings]\n  mode: merge", "unknown mode 'merge'"),
        ("- postgres: ${SERVE_URL}\n  tables: [silver.readings]\n  colour: red", "unknown setting 'colour'"),
        ("- postgres: ${SERVE_URL}\n  tables: [silver.readings, silver.readings]", "served twice"),
        ("- postgres: ${SERVE_URL}\n  tables: [silver.readings]\n  key: [nope]", "the key names 'nope'"),
        ("- postgres: nonsense://x\n  tables: [silver.readings]", "no PostgreSQL URL"),
    ],
)
def test_wrong_entries_are_exit_2_with_their_name(project, entry, said):
    project.drop("1", reading(1))
    project.serve(entry)
    answer = project.answer("run")
    assert answer.code == 2, answer.err
    assert said in answer.err
    if "nothing" in said or "must be" in said:
        assert said in project.answer("validate").err


def test_two_servers_at_once_leave_every_row_once(project):
    """One wins; the other is told that its position is stale, or finds nothing to do."""
    project.drop("1", *(reading(n) for n in range(2000)))
    project.good("run", "readings")
    answers = []

    def serve():
        answers.append(project.answer("run", "serve.postgres.silver.readings", process=True))

    threads = [threading.Thread(target=serve) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {a.code for a in answers} <= {0, 5}, [a.err for a in answers]
    assert all("stale-position" in a.err or "no longer where" in a.err for a in answers if a.code == 5)
    assert 0 in {a.code for a in answers}
    assert len(project.same("silver.readings", SILVER)) == 2000


@pytest.mark.parametrize("point", POINTS)
def test_killed_anywhere_the_next_run_makes_it_exact(project, point):
    project.drop("1", *(reading(n) for n in range(30)))
    for number in (1, 2):
        killed = project.answer("run", env={"HEADGATE_CRASH": point}, process=True)
        assert killed.code == -9, killed.err
        project.run()
        assert len(project.same("silver.readings", SILVER)) == 29 + number
        project.same("quarantine.readings", QUARANTINE)
        project.drop("2", reading(3, 60, "1.5"), reading(50), "bad line")


def test_raw_records_are_readable_there(tmp_path, database):
    project = ServedProject(
        tmp_path / "project", database, "- postgres: ${SERVE_URL}\n  tables: [bronze.readings, ledger.readings]"
    )
    project.drop("1", reading(1), reading(1), "no json")
    project.run()
    project.drop("2", reading(2))
    assert project.run()["bronze.readings"]["rows"] == 1
    raw = [bytes(row[0]).decode() for row in database.run("SELECT _hg_raw FROM bronze.readings ORDER BY _hg_offset")]
    assert raw == [reading(1), reading(1), "no json", reading(2)]
    project.same("ledger.readings", "_hg_offset::text, verdict, by_offset::text")


def test_versions_of_a_history_are_all_there(project):
    contract = project.folder / "contracts" / "readings.odcs.yaml"
    contract.write_text(contract.read_text() + "      - {property: headgate.history, value: scd2}\n")
    columns = f"{SILVER}, is_current::text, (valid_to is null)::text"
    project.drop("1", *(reading(n) for n in range(5)))
    project.run()
    for number in (1, 2):
        project.drop(f"more {number}", reading(number, 60, "1.5"), reading(1, 60 + number, f"{number}"))
        assert project.run()["silver.readings"]["whole"] is None
        project.same("silver.readings", columns)
    assert len(project.same("silver.readings", columns)) > 6


def test_a_folder_is_served_beside_the_project_file(tmp_path, database):
    project = ServedProject(tmp_path / "project", database, "- ndjson: out\n  tables: [bronze.readings]")
    project.drop("1", reading(1), reading(2))
    assert project.run()["bronze.readings"]["rows"] == 2
    assert len([*(project.folder / "out").rglob("*.ndjson.zst")]) == 1
    assert not project.run()["bronze.readings"]["moved"]


RETYPED = FIELDS.replace(
    "physicalType: 'decimal(9,3)', logicalType: number, logicalTypeOptions: {maximum: 100}", "logicalType: number"
)


@pytest.mark.parametrize("retyped", [False, True])
def test_a_full_refresh_of_kept_versions_is_followed(project, retyped):
    """A table that cannot follow another type is named; once it is dropped, it is made anew with every version."""
    kept = "      - {property: headgate.history, value: scd2}\n"
    contract = project.folder / "contracts" / "readings.odcs.yaml"
    here = "id::text, celsius::double::text, sensor, _hg_offset::text, is_current::text, (valid_to is null)::text"
    there = here.replace("double", "float8")
    contract.write_text(contract.read_text() + kept)
    project.drop("1", *(reading(n) for n in range(5)))
    project.drop("2", reading(1, 60, "1.5"), reading(2, 30, "2.5"), reading(9, celsius='"x"'))
    project.run()
    before = project.texts("silver.readings", here)
    project.write(RETYPED if retyped else FIELDS, version="1.1.0")
    contract.write_text(contract.read_text() + kept)
    refreshed = project.answer("run", "--full-refresh")
    if retyped:
        assert refreshed.code == 2
        assert 'DROP TABLE "silver"."readings"' in refreshed.err
        project.database.run("DROP TABLE silver.readings")
        project.run()
    else:
        assert refreshed.code == 0, refreshed.err
    assert len(before) == 7
    assert project.texts("silver.readings", here) == before
    project.same("silver.readings", here, there)
    project.same("quarantine.readings", QUARANTINE)
    assert project.good("audit", "--deep")[0]["state"] == "balanced"

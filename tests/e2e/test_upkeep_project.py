"""Upkeep as a user meets it: runs do it themselves, status shows the debt, history and `--as-of` show the past."""

from pathlib import Path

import pytest

from e2e.command import good, headgate, started
from headgate import Project
from headgate.errors import CommitConflict

HEAD = "order_id,ordered_at,customer,amount,status,updated_at\n"
COUNT = "select count(*) n from silver.orders"
ROW = "109,2026-11-01 09:12:00,ada@example.com,19.99,paid,2026-11-09 07:00:00\n"


@pytest.fixture
def project(tmp_path):
    return started(tmp_path / "shop")


def more(project, number):
    line = f"{100 + number},2026-11-01 09:12:00,ada@example.com,19.99,paid,2026-11-03 07:00:00\n"
    (project / "data" / f"orders_{number}.csv").write_text(HEAD + line)
    return good("run", project=project)


def tables(project):
    return {one["table"]: one for one in good("status", project=project)["tables"]}


def test_runs_keep_the_lake_small_by_themselves(project):
    records = [more(project, number) for number in range(8)]
    done = [one["upkeep"]["compacted"] for one in records if one["upkeep"]]
    assert {one["table"] for some in done for one in some} >= {"bronze.orders", "silver.orders"}
    after = tables(project)
    assert after["silver.orders"]["files"] < 8
    assert good("query", COUNT, project=project) == [{"n": 12}]
    assert not good("run", project=project)["moved"]
    (account,) = good("audit", "--deep", project=project)
    assert account["state"] == "balanced"


def test_upkeep_within_runs_can_be_switched_off(project):
    (project / "headgate.yaml").write_text("upkeep: {automatic: false}\n")
    assert [more(project, number)["upkeep"] for number in range(8)] == [None] * 8
    assert tables(project)["silver.orders"]["small_files"] == 9


def test_status_shows_the_debt_and_maintain_pays_it(project):
    for number in range(3):
        more(project, number)
    (project / "headgate.yaml").write_text("upkeep: {snapshots: 1, keep_hours: 0}\n")
    before = tables(project)["bronze.orders"]
    assert (before["small_files"], before["snapshots"], before["unnamed_files"]) == (4, 4, 0)
    assert before["history_bytes"] > 0
    said = headgate("maintain", project=project)
    assert said.code == 0
    assert "bronze.orders: 4 files became 1" in said.err
    after = tables(project)["bronze.orders"]
    assert (after["small_files"], after["files"], after["snapshots"], after["unnamed_files"]) == (0, 1, 1, 0)


def test_history_says_why_each_snapshot_exists(project):
    more(project, 1)
    good("maintain", "compact", "--table", "silver.orders", project=project)
    found = good("history", "silver.orders", project=project)
    assert [one["step"] for one in found] == ["maintain", "refine", "refine"]
    assert [one["rows"] for one in found] == [5, 5, 4]
    assert found[0]["same_rows_as"] == found[1]["snapshot"]
    assert found[1]["record"]["run"] == good("runs", project=project)[0]["run_id"]


def test_tables_are_shown_as_of_a_run_a_time_and_a_snapshot(project):
    for number in range(3):
        more(project, number)
    good("maintain", "compact", project=project)
    past = good("history", "silver.orders", project=project)[::-1]
    for number, one in enumerate(past[:4]):
        for moment in (one["record"]["run"], one["at"], str(one["snapshot"])):
            assert good("query", COUNT, "--as-of", moment, project=project) == [{"n": 4 + number}]
    # all tables of one moment: gold of that run too
    totals = [
        good("query", "select sum(revenue) r from daily_revenue", "--as-of", one["record"]["run"], project=project)
        for one in past[:4]
    ]
    assert len({str(one) for one in totals}) == 4


def test_a_moment_that_is_gone_or_never_was_is_refused_by_name(project):
    (first,) = good("history", "silver.orders", project=project)
    more(project, 1)
    (project / "headgate.yaml").write_text("upkeep: {snapshots: 1, keep_hours: 0}\n")
    good("maintain", project=project)
    answer = headgate("query", "from silver.orders", "--as-of", first["record"]["run"], project=project)
    assert answer.code == 2
    assert "silver.orders" in answer.err
    assert "expired" in answer.err
    for moment in ("yesterday", "20200101T000000Z-00000000", "2020-01-01", "1234567890123"):
        answer = headgate("query", COUNT, "--as-of", moment, project=project)
        assert (answer.code, "as of" in answer.err or "not a moment" in answer.err) == (2, True), moment


def test_a_wrong_upkeep_setting_is_refused_with_its_place(project):
    (project / "headgate.yaml").write_text("upkeep:\n  fan: 1\n")
    answer = headgate("status", project=project)
    assert answer.code == 2
    assert "headgate.yaml:2" in answer.err
    assert "from 2 to 100" in answer.err


def test_snapshots_expire_by_age_when_asked(project):
    for number in range(3):
        more(project, number)
    before = tables(project)["silver.orders"]["snapshots"]
    assert good("maintain", "expire", "--older-than", "1d", project=project)["expired"] == {}
    done = good("maintain", "expire", "--older-than", "0s", "--table", "silver.orders", project=project)
    assert done["expired"] == {"silver.orders": before - 1}
    (project / "headgate.yaml").write_text("upkeep: {max_age_hours: 0, min_snapshots: 2}\n")
    assert good("maintain", "expire", "--table", "bronze.orders", project=project)["expired"] == {"bronze.orders": 2}
    assert tables(project)["bronze.orders"]["snapshots"] == 2
    for arguments, said in (
        (("expire", "--older-than", "soon"), "not an age"),
        (("--older-than", "1d"), "--older-than is for expire"),
    ):
        answer = headgate("maintain", *arguments, project=project)
        assert (answer.code, said in answer.err) == (2, True)


@pytest.mark.parametrize("table", ["bronze.orders", "silver.orders", "quarantine.orders", "ledger.orders"])
def test_who_needs_a_file_that_somebody_removed_stops_by_its_name(project, table):
    """Nothing is overwritten, and when the file is back all goes on."""
    line = "1,2026-11-01 09:12:00,ada@example.com,19.99,paid,2026-11-09 07:00:00\n"
    (project / "data" / "orders_9.csv").write_text(HEAD + line + "2,never,x,1,paid,2026-11-09 07:00:00\n")
    good("run", project=project)
    with Project.open(project) as opened:
        lost = Path(opened.lake.cut().table(table).files()[0].path)
    lost.rename(lost.with_suffix(".away"))
    (told,) = [one["missing_files"] for one in good("status", project=project)["tables"] if one["table"] == table]
    assert told == [str(lost)]
    commands = [("query", f"select sum(_hg_offset) from {table}"), ("audit", "--deep")]
    if table == "bronze.orders":
        commands.append(("run", "--full-refresh"))
    if table == "silver.orders":
        (project / "data" / "orders_10.csv").write_text(HEAD + line.replace("-09 ", "-10 "))
        commands.append(("run",))
    for command in commands:
        answer = headgate(*command, project=project)
        assert (answer.code, f"a data file is gone: {lost}" in answer.err) == (3, True), answer.err
    lost.with_suffix(".away").rename(lost)
    good("run", project=project)
    assert good("audit", "--deep", project=project)[0]["state"] == "balanced"


class Slower:
    """An engine that is overtaken: after its verdicts, before they are published, another merge of the range lands."""

    def __init__(self, engine, overtake):
        self.engine, self.overtake = engine, overtake

    def __getattr__(self, name):
        return getattr(self.engine, name)

    def refine(self, job):
        refined = self.engine.refine(job)
        self.overtake()
        return refined


@pytest.mark.parametrize("rounds", [1, 99], ids=["once", "always"])
def test_of_two_merges_of_one_range_one_wins(project, rounds):
    """The other finds it done when it looks again; one that is overtaken each time stops by name. Neither leaves a file."""
    (project / "data" / "orders_9.csv").write_text(HEAD + ROW)
    good("run", "bronze.orders", project=project)
    landed = []

    def overtake():
        if len(landed) < rounds:
            landed.append(good("run", "silver.orders", project=project))
            if rounds > 1:
                more = ROW.replace("109", str(200 + len(landed)))
                (project / "data" / f"orders_{20 + len(landed)}.csv").write_text(HEAD + more)
                good("run", "bronze.orders", project=project)

    with Project.open(project) as slow:
        slow.engine = Slower(slow.engine, overtake)
        if rounds == 1:
            assert slow.run("silver.orders").datasets[0].read == 0
        else:
            with pytest.raises(CommitConflict, match=r"silver\.orders"):
                slow.run("silver.orders")
        folders = {p.parent.name for p in (project / ".headgate" / "lake" / "silver").rglob("*.parquet")}
        assert folders <= {one["id"] for one in slow.lake.publications()}
    good("run", project=project)
    assert good("query", COUNT, project=project) == [{"n": 5 if rounds == 1 else 5 + len(landed)}]
    assert good("audit", "--deep", project=project)[0]["state"] == "balanced"

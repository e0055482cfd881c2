"""What bad input gets: a clear error with place and hint, the right exit code, nothing half done."""

import os
import re

import pytest

from e2e.command import good, headgate

CONTRACT = "contracts/orders.odcs.yaml"


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "shop"
    assert headgate("init", folder).code == 0
    return folder


def edit(project, old, new, file=CONTRACT):
    path = project / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def contract(old, new):
    return lambda project: edit(project, old, new)


def settings(text):
    return lambda project: (project / "headgate.yaml").write_text(text)


def model(text, name="bad.sql"):
    return lambda project: (project / "models" / name).write_text(text)


def data(content, name="orders_bad.csv"):
    return lambda project: (project / "data" / name).write_bytes(content)


CASES = {  # name: (change, exit code, pattern in the complaint)
    "not yaml": (contract("kind: DataContract", "kind: [DataContract"), 2, r"orders\.odcs\.yaml:\d+:\d+"),
    "a key twice": (contract("status: draft", "status: draft\nstatus: active"), 2, r"orders\.odcs\.yaml:7:1.*status"),
    "a tab": (contract("  purpose:", "\tpurpose:"), 2, r"orders\.odcs\.yaml:\d+:\d+"),
    "unknown property": (
        contract("required: true, partitioned", "require: true, partitioned"),
        2,
        r"orders\.odcs\.yaml:\d+:\d+.*require",
    ),
    "unknown type": (contract("logicalType: timestamp", "logicalType: datetime"), 2, r"orders\.odcs\.yaml:\d+:\d+"),
    "contradicting limits": (
        contract("{minimum: 0}", "{minimum: 5, maximum: 1}"),
        2,
        r"orders\.odcs\.yaml:\d+:\d+.*minimum",
    ),
    "order by an unknown field": (contract("value: [updated_at]", "value: [updated]"), 2, r"updated"),
    "bad budget": (contract("50 percent", "many"), 2, r"budget"),
    "unknown headgate property": (contract("headgate.order", "headgate.ordre"), 2, r"headgate\.ordre"),
    "pattern that no engine compiles": (contract("{format: email}", "{pattern: '(?<=x)y('}"), 2, r"pattern"),
    "another standard": (contract("apiVersion: v3.2.0", "apiVersion: v9.9.9"), 2, r"v9\.9\.9"),
    "unknown kind of source": (contract("type: local", "type: custom"), 2, r"custom"),
    "no such folder of data": (contract("data/orders_*.csv", "nowhere/*.csv"), 2, r"nowhere"),
    "path that leaves the project": (contract("data/orders_*.csv", "../../../etc/passwd"), 2, r"passwd|outside"),
    "variable that is not set": (contract("data/orders_*.csv", "${HEADGATE_NO_SUCH}/x.csv"), 2, r"HEADGATE_NO_SUCH"),
    "unknown setting": (settings("lakes: {}"), 2, r"headgate\.yaml:1:1.*lakes"),
    "unknown engine": (settings("engine: presto"), 2, r"headgate\.yaml:1:\d+.*presto"),
    "unknown catalog": (settings("lake: {catalog: hive}"), 2, r"hive"),
    "dataset without a contract": (settings("datasets: {nothing: {}}"), 2, r"nothing"),
    "model with a mistake": (
        model("select no_such_column from silver.orders"),
        2,
        r"bad\.sql.*no_such_column|no_such_column",
    ),
    "model on a missing table": (model("select * from silver.nowhere"), 2, r"nowhere"),
    "models in a circle": (model("select * from daily_copy", "daily_copy.sql"), 2, r"circle|itself|daily_copy"),
    "model that reads a file": (model("select * from read_csv('/etc/passwd')"), 2, r"read_csv|file|not"),
    "model that is not a query": (model("drop table silver.orders"), 2, r"drop|only|SELECT|query"),
    "bad model header": (model("-- headgate: {incremental: day}\nselect 1 as day"), 2, r"bad\.sql:1:1"),
    "selection of nothing": (lambda project: None, 2, r"nothing is called"),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_refused_with_place_and_hint_and_changes_nothing(project, name):
    change, code, pattern = CASES[name]
    good("run", project=project)
    before = good("query", "select * from silver.orders order by all", project=project)
    kept = {f: (project / f).read_bytes() for f in (CONTRACT, "headgate.yaml")}
    change(project)
    answer = headgate(
        "run",
        *(["no_such_thing"] if name == "selection of nothing" else ["--full-refresh"] if "model" in name else []),
        project=project,
    )
    assert answer.code == code, answer.err
    assert re.search(pattern, answer.err, re.I | re.S), answer.err
    assert "Traceback" not in answer.err
    assert "what to do:" in answer.err or "hint" in answer.err
    for file, content in kept.items():
        (project / file).write_bytes(content)
    for extra in ("models/bad.sql", "models/daily_copy.sql"):
        (project / extra).unlink(missing_ok=True)
    assert good("query", "select * from silver.orders order by all", project=project) == before
    (account,) = good("audit", "--deep", project=project)
    assert account["state"] == "balanced"


BAD_ROWS = {  # the whole line: why it is rejected; the rest of the file goes on
    b"10,2026-11-01 09:00:00,a@example.com,1.00,paid": "record",
    b"10,2026-11-01 09:00:00,a@example.com,1.00,paid,2026-11-01 09:00:00,extra": "record",
    b"10,2026-11-01 09:00:00,a@example.com,\xff\xfe,paid,2026-11-01 09:00:00": "record",
    b"1e1,2026-11-01 09:00:00,a@example.com,1.00,paid,2026-11-01 09:00:00": "order_id.type",
    b"1.5,2026-11-01 09:00:00,a@example.com,1.00,paid,2026-11-01 09:00:00": "order_id.type",
    b",2026-11-01 09:00:00,a@example.com,1.00,paid,2026-11-01 09:00:00": "order_id.required",
    b"10,2026-02-30 09:00:00,a@example.com,1.00,paid,2026-11-01 09:00:00": "ordered_at.type",
    b"10,infinity,a@example.com,1.00,paid,2026-11-01 09:00:00": "ordered_at.type",
    b"10,2026-11-01 09:00:00,a@example.com,1.005,paid,2026-11-01 09:00:00": "amount.type",
    b"10,2026-11-01 09:00:00,a@example.com,NaN,paid,2026-11-01 09:00:00": "amount.type",
    b"10,2026-11-01 09:00:00,a@example.com,99999999999999.00,paid,2026-11-01 09:00:00": "amount.type",
    b"10,2026-11-01 09:00:00,a@example.com,1.00,lost,2026-11-01 09:00:00": "status.enum",
}


def test_each_bad_row_goes_to_quarantine_whole_and_the_rest_goes_on(project):
    header = b"order_id,ordered_at,customer,amount,status,updated_at\n"
    fine = b"%d,2026-11-01 09:00:00,a@example.com,1.00,paid,2026-11-01 09:00:00"
    lines = []
    for number, bad in enumerate(BAD_ROWS):
        lines += [bad, fine % (100 + number)]
    edit(project, "50 percent", "100 percent")
    (project / "data" / "orders_bad.csv").write_bytes(header + b"\n".join(lines) + b"\n")
    record = good("run", project=project)
    assert record["datasets"][0]["verdicts"]["accepted"] == 4 + len(BAD_ROWS)
    rows = good("query", "select hex(raw) as raw, reasons from quarantine.orders", project=project)
    found = {bytes.fromhex(r["raw"]): {x["rule"] for x in r["reasons"]} for r in rows}
    for bad, rule in BAD_ROWS.items():
        assert rule in found[bad], (bad, found[bad])
    (account,) = good("audit", "--deep", project=project)
    assert account["state"] == "balanced"


@pytest.mark.parametrize(
    "sql",
    [
        "drop table silver.orders",
        "delete from silver.orders",
        "copy silver.orders to '/tmp/headgate-stolen.csv'",
        "attach '/tmp/headgate-stolen.db'",
        "select * from read_csv('/etc/passwd')",
        "select * from read_text('/etc/passwd')",
        "select * from '/etc/passwd'",
        "install httpfs",
        "load httpfs",
        "pragma version",
        "set threads = 1",
        "create table x as select 1",
        "select 1; drop table silver.orders",
        "call pragma_version()",
        "export database '/tmp/headgate-stolen'",
        "select getenv('HOME')",
        "selec 1",
        "select * from silver.nowhere",
        "",
    ],
)
def test_a_query_can_only_read_the_lake(project, sql):
    good("run", project=project)
    answer = headgate("query", sql, project=project)
    assert answer.code == 2, (answer.code, answer.out, answer.err)
    assert "Traceback" not in answer.err
    assert "root:" not in answer.out
    assert not any(name.startswith("headgate-stolen") for name in os.listdir("/tmp"))


def test_a_secret_in_the_environment_appears_nowhere(project):
    canary = "CANARY-7f3a9c"
    (project / ".env").write_text(f"SHOP_PASSWORD={canary}\n")
    edit(
        project,
        "format: csv",
        "format: csv\n    customProperties:\n      - {property: password, value: '${SHOP_PASSWORD}'}",
    )
    answers = [
        headgate(*c, project=project, env={"PGPASSWORD": canary})
        for c in (["run"], ["status"], ["doctor", "--json"], ["plan"], ["audit", "--deep"])
    ]
    for answer in answers:
        assert canary not in answer.out + answer.err
    for path in project.rglob("*"):
        if path.is_file() and path.name != ".env":
            assert canary.encode() not in path.read_bytes(), path


def test_a_read_only_lake_stops_by_name(project):
    if os.geteuid() == 0:
        (project / ".headgate").write_text("a file where the folder should be")
    else:
        project.chmod(0o500)
    answer = headgate("run", project=project)
    project.chmod(0o700)
    assert answer.code == 2, answer.err
    assert "what to do:" in answer.err

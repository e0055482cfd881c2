"""`headgate topic …` and tables served to topics, on a real broker; what goes wrong is said with what to do."""

from __future__ import annotations

import json
import re
import socket

import pytest

from e2e.command import good, headgate
from headgate.clients import kafka_topics
from rigs.kafka_topics import visible

LINES = [{"payload": {"order_id": n % 5, "n": n}} for n in range(50)]
CONTRACT = """apiVersion: v3.2.0
kind: DataContract
id: orders
name: orders
version: 1.0.0
status: draft
servers:
  - {{server: here, type: local, path: 'in/*.ndjson', format: json}}
{more}schema:
  - name: orders
    properties:
      - {{name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1}}
      - {{name: amount, logicalType: number, physicalType: 'decimal(10,2)', logicalTypeOptions: {{minimum: 0}}}}
"""


@pytest.fixture
def cluster(broker):
    return {"KAFKA_BOOTSTRAP": broker.bootstrap}


@pytest.fixture
def name(request):
    return re.sub(r"[^a-z_0-9]+", "-", request.node.name)[:200]


def topic(*arguments, cluster, **options):
    return good("topic", *arguments, env=cluster, **options)


def ndjson(folder, lines=LINES, name="lines.ndjson"):
    path = folder / name
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_topic_is_made_listed_and_described(name, cluster, tmp_path):
    made = topic("create", name, "--config", "retention.ms=3600000", cluster=cluster)
    assert made == {"topic": name, "partitions": 3, "replication": 1}
    assert name in [one["topic"] for one in topic("list", cluster=cluster)]
    assert not [one for one in topic("list", cluster=cluster) if one["topic"].startswith("_")]
    told = topic("describe", name, cluster=cluster, project=tmp_path)
    assert told["config"] == {"retention.ms": "3600000"}
    assert [(p["partition"], p["first"], p["end"]) for p in told["partitions"]] == [(0, 0, 0), (1, 0, 0), (2, 0, 0)]
    again = headgate("topic", "create", name, env=cluster)
    assert (again.code, "already exists" in again.err) == (2, True), again.err
    assert topic("create", name, "--if-missing", cluster=cluster)["partitions"] == 3


def test_lines_go_in_by_key_and_come_out_as_they_were(name, cluster, tmp_path, broker):
    topic("create", name, cluster=cluster)
    sent = topic("produce", name, ndjson(tmp_path), "--key", "payload.order_id", cluster=cluster)
    assert sent == {"topic": name, "messages": 50, "without_key": 0}
    found = visible(broker.bootstrap, name)
    for key in range(5):
        mine = [m for m in found if m.key() == str(key).encode()]
        assert len({m.partition() for m in mine}) == 1
        assert [json.loads(m.value())["payload"]["n"] for m in mine] == list(range(key, 50, 5))
    answer = headgate("topic", "consume", name, env=cluster, process=True)
    assert sorted(answer.out.splitlines()) == sorted(json.dumps(line) for line in LINES)
    envelopes = topic("consume", name, "--max", "7", cluster=cluster)
    assert len(envelopes) == 7
    assert {(m["partition"], m["offset"]) for m in envelopes} <= {(m.partition(), m.offset()) for m in found}


def test_a_line_without_its_key_is_sent_and_counted(name, cluster, tmp_path):
    topic("create", name, cluster=cluster)
    path = tmp_path / "odd.ndjson"
    path.write_bytes(b'{"id":1}\n\n{"other":2}\nnot JSON \xff\n[1]\n' + b"[" * 100_000 + b"\n")
    sent = topic("produce", name, path, "--key", "id", cluster=cluster)
    assert sent == {"topic": name, "messages": 5, "without_key": 4}


def test_consuming_into_a_folder_goes_on_where_it_was(name, cluster, tmp_path):
    topic("create", name, cluster=cluster)
    path, kept = ndjson(tmp_path), tmp_path / "kept"
    for _ in range(2):
        topic("produce", name, path, cluster=cluster)
        assert topic("consume", name, "--to", kept, cluster=cluster)["messages"] == 50
    assert topic("consume", name, "--to", kept, cluster=cluster)["messages"] == 0
    files = [p for p in kept.rglob("*") if p.is_file() and ".ndjson" in p.name]
    assert files
    assert all(p.suffix == ".zst" for p in files)


def test_the_lag_of_bronze_is_shown(name, cluster, tmp_path, broker):
    topic("create", name, cluster=cluster)
    (tmp_path / "in").mkdir()
    text = CONTRACT.format(more="").replace(
        "{server: here, type: local, path: 'in/*.ndjson', format: json}",
        f"{{server: bus, type: kafka, host: '{broker.bootstrap}'}}",
    )
    text = text.replace("- name: orders\n", f"- name: orders\n    physicalName: {name}\n")
    (tmp_path / "orders.odcs.yaml").write_text(text)
    rows = ndjson(tmp_path, [{"id": n, "amount": 1} for n in range(20)])
    good("topic", "produce", name, rows, project=tmp_path)  # the project's contract knows the cluster
    good("run", project=tmp_path)
    assert good("topic", "describe", name, project=tmp_path)["lag"] == {"orders": 0}
    good("topic", "produce", name, rows, project=tmp_path)
    assert good("topic", "describe", name, project=tmp_path)["lag"] == {"orders": 20}


def test_a_cluster_that_does_not_answer_is_exit_3(tmp_path, monkeypatch):
    monkeypatch.delenv("KAFKA_BOOTSTRAP", raising=False)
    monkeypatch.setattr(kafka_topics, "TIMEOUT_S", 2.0)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        answer = headgate("topic", "list", "--bootstrap", address, project=tmp_path)
    assert answer.code == 3
    assert address in answer.err
    assert "is a broker running" in answer.err


@pytest.mark.parametrize("verb", ["describe", "consume", "produce"])
def test_an_unknown_topic_is_exit_2_with_near_names(verb, cluster, tmp_path):
    topic("create", "nearly-there", "--if-missing", cluster=cluster)
    more = [ndjson(tmp_path)] if verb == "produce" else []
    answer = headgate("topic", verb, "nearly-their", *more, env=cluster, project=tmp_path)
    assert answer.code == 2
    assert "did you mean nearly-there" in answer.err


def test_without_a_right_it_is_exit_2(name, broker, cluster, tmp_path, monkeypatch):
    """The user `nobody` may not even see the topic: it is told as one that is not there, or as refused."""
    topic("create", name, cluster=cluster)
    contract = tmp_path / "orders.odcs.yaml"
    settings = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": "reader"}
    login = [{"property": f"headgate.{p}", "value": v} for p, v in {**settings, "sasl.password": "${PW}"}.items()]
    host = broker.cluster.bootstrap("SASL_PLAINTEXT")
    more = f"  - {{server: bus, type: kafka, host: '{host}', customProperties: {json.dumps(login)}}}\n"
    contract.write_text(CONTRACT.format(more=more))
    broker.allow("reader", name, "DESCRIBE", "READ")
    monkeypatch.setattr(kafka_topics, "TIMEOUT_S", 3.0)
    answer = headgate("topic", "produce", name, ndjson(tmp_path), project=tmp_path, env={"PW": "reader-secret"})
    assert answer.code == 2, answer.err
    assert "Kafka refuses it" in answer.err
    assert "right" in answer.err
    wrong = headgate("topic", "list", project=tmp_path, env={"PW": "not-it"})
    assert wrong.code == 2, wrong.err
    assert "not-it" not in wrong.err + wrong.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("create", "bad name!"), "bad name!"),
        (("create", "t", "--partitions", "0"), "artition"),
        (("create", "t", "--replication", "3"), "eplication"),
        (("create", "t", "--config", "nonsense"), "--config"),
        (("create", "t", "--config", "retention.mss=1"), "retention.mss"),
        (("produce", "nearly-there", "missing.ndjson"), "no such file"),
    ],
)
def test_what_cannot_be_is_exit_2(arguments, said, cluster, tmp_path):
    topic("create", "nearly-there", "--if-missing", cluster=cluster)
    answer = headgate("topic", *arguments, env=cluster, project=tmp_path)
    assert answer.code == 2, answer.err
    assert said in answer.err


# --- tables served to topics


@pytest.fixture
def served(tmp_path, broker, name):
    """A project that serves rejected rows to a dead-letter topic and good ones to another."""
    (tmp_path / "in").mkdir()
    (tmp_path / "orders.odcs.yaml").write_text(CONTRACT.format(more=""))
    (tmp_path / "headgate.yaml").write_text(
        "serve:\n"
        f"  - kafka: {broker.bootstrap}\n    name: rejected\n    tables: [quarantine.orders]\n    mode: append\n"
        f"    topic: {name}.dead\n"
        f"  - kafka: {broker.bootstrap}\n    name: good\n    tables: [silver.orders]\n    topic: '{name}.{{table}}'\n"
    )
    return tmp_path


def test_each_rejected_row_is_a_dead_letter_once(served, broker, name):
    lines = ['{"id":1,"amount":5}', '{"id":2,"amount":-1}', "not JSON", '{"id":3,"amount":"x"}']
    (served / "in" / "a.ndjson").write_text("\n".join(lines) + "\n")
    good("run", project=served)
    good("run", project=served)
    (served / "in" / "b.ndjson").write_text('{"id":4,"amount":-7}\n{"id":5,"amount":7}\n')
    good("run", project=served)
    dead = visible(broker.bootstrap, f"{name}.dead")
    assert sorted(m.value() for m in dead) == sorted(line.encode() for line in [*lines[1:], '{"id":4,"amount":-7}'])
    for message in dead:
        told = json.loads(dict(message.headers())["headgate"])
        assert told["reasons"]
        assert all(reason["rule"] for reason in told["reasons"])
        assert json.loads(message.key()) == [told["partition"], told["offset"]]
        assert {"contract_version", "run_id", "quarantined_at"} <= told.keys()


@pytest.mark.parametrize(
    "point",
    [
        pytest.param("kafka: rows sent, position not", marks=pytest.mark.slow),
        pytest.param("kafka: position sent, not committed", marks=pytest.mark.slow),
        "kafka: committed",
        pytest.param("serve: committed", marks=pytest.mark.slow),
    ],
)
def test_killed_while_serving_each_row_is_there_once(served, broker, name, point):
    (served / "in" / "a.ndjson").write_text("".join(f'{{"id":{n},"amount":{n - 5}}}\n' for n in range(20)))
    killed = headgate("run", project=served, process=True, env={"HEADGATE_CRASH": point})
    assert killed.code == -9, killed.err
    good("run", project=served)
    assert len(visible(broker.bootstrap, f"{name}.dead")) == 5
    silver = visible(broker.bootstrap, f"{name}.silver.orders")
    assert sorted(json.loads(m.value())["id"] for m in silver) == list(range(5, 20))


def test_a_row_that_leaves_silver_is_a_tombstone(served, broker, name):
    (served / "in" / "a.ndjson").write_text('{"id":1,"amount":1}\n{"id":2,"amount":2}\n')
    good("run", project=served)
    contract = served / "orders.odcs.yaml"
    contract.write_text(contract.read_text().replace("minimum: 0", "minimum: 2").replace("1.0.0", "2.0.0"))
    good("run", "--full-refresh", project=served)
    messages = [(m.key(), m.value()) for m in visible(broker.bootstrap, f"{name}.silver.orders")]
    assert (b"1", None) in messages
    last = dict(messages)
    assert last[b"1"] is None
    assert json.loads(last[b"2"]) == {"id": 2, "amount": "2.00"}

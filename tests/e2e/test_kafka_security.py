"""TLS and logins against a real broker: what is right works, what is wrong is said with a hint, secrets stay secret."""

from __future__ import annotations

import subprocess

import pytest

from e2e.command import good, headgate
from e2e.test_kafka_project import CONTRACT, event
from rigs import certificates
from rigs.going import Going
from rigs.kafka import until

SECRET = "reader-secret"


@pytest.fixture(scope="module")
def topic(broker):
    """One that `reader` may read, with ten messages."""
    name = broker.topic(2)
    broker.produce(name, [event(n) for n in range(10)])
    broker.allow("reader", name, "READ", "DESCRIBE")
    broker.scram("reader")
    return name


@pytest.fixture
def made(broker, tmp_path, topic):
    """Makes a project that reads the topic through a listener."""

    def make(listener, **passed):
        (tmp_path / "contracts").mkdir(exist_ok=True)
        contract = CONTRACT.format(host=broker.cluster.bootstrap(listener), topic=topic)
        (tmp_path / "contracts" / "events.odcs.yaml").write_text(contract)
        settings = {"security.protocol": listener, "wait_s": 5, **passed}
        text = ", ".join(f"{name}: '{value}'" for name, value in settings.items())
        (tmp_path / "headgate.yaml").write_text(f"datasets: {{events: {{read: {{{text}}}}}}}\n")
        return tmp_path

    return make


def login(mechanism, authority, user="reader"):
    return {
        "sasl.mechanism": mechanism, "sasl.username": user, "sasl.password": "${SECRET}", "ssl.ca.location": authority,
    }  # fmt: skip


def nowhere(secret, project, answer):
    """Neither said nor kept."""
    assert secret not in answer.out + answer.err
    found = subprocess.run(["grep", "-rl", "--text", secret, str(project)], capture_output=True, text=True, check=False)
    assert found.stdout == ""


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
def test_messages_come_over_tls_with_a_login(broker, made, mechanism):
    project = made("SASL_SSL", **login(mechanism, broker.authority))
    until(lambda: headgate("run", project=project, env={"SECRET": SECRET}).code == 0, "the right to read")
    answer = headgate("status", "--json", project=project, env={"SECRET": SECRET})
    nowhere(SECRET, project, answer)
    assert good("query", "select count(*) as n from silver.events", project=project, env={"SECRET": SECRET}) == [
        {"n": 10}
    ]


def test_messages_come_over_tls_alone_and_a_run_that_goes_on_follows_them(broker, made):
    project = made("SSL", **{"ssl.ca.location": broker.authority})
    with Going(project) as going:
        going.until_rows("silver.events", 10)
        assert going.stop() == 0, going.said


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
@pytest.mark.parametrize("user", ["reader", "stranger"])
def test_a_wrong_password_is_for_a_person_to_fix(broker, made, mechanism, user):
    project = made("SASL_SSL", **login(mechanism, broker.authority, user))
    answer = headgate("run", project=project, env={"SECRET": "canary-4711"})
    assert answer.code == 2, answer.err
    assert "does not let the client in" in answer.err
    assert "sasl" in answer.err
    nowhere("canary-4711", project, answer)


def test_an_authority_that_did_not_sign_and_a_listener_without_tls_are_for_a_person_to_fix(broker, made, tmp_path):
    stranger, _ = certificates.made(tmp_path / "other", "stranger")
    answer = headgate("run", project=made("SSL", **{"ssl.ca.location": stranger}))
    assert answer.code == 2, answer.err
    assert "certificate" in answer.err
    assert "ssl." in answer.err
    answer = headgate("run", project=made("SSL", **{"ssl.ca.location": tmp_path / "nothing.pem"}))
    assert answer.code == 2, answer.err
    project = made("SSL", **{"ssl.ca.location": broker.authority})
    contract = project / "contracts" / "events.odcs.yaml"
    contract.write_text(contract.read_text().replace(broker.cluster.bootstrap("SSL"), broker.bootstrap))
    answer = headgate("run", project=project)
    assert (answer.code, "does security.protocol fit it?" in answer.err) == (3, True), answer.err

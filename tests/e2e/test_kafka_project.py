"""A topic to silver and quarantine with the command: poison, sizes, transactions, what stops and with which code."""

import json
import signal

import pytest

from e2e.command import good, headgate
from headgate import Project
from headgate.sources.kafka import KafkaSource
from rigs.events import CONTRACT
from rigs.going import Going
from rigs.kafka import until
from rigs.kafka_topics import visible

PROJECT = "datasets:\n  events:\n    read: {{{read}}}\n"


@pytest.fixture
def made(broker, tmp_path):
    """Makes a project over a topic."""

    def make(topic, *, host=None, read=""):
        (tmp_path / "contracts").mkdir(exist_ok=True)
        contract = CONTRACT.format(host=host or broker.bootstrap, topic=topic)
        (tmp_path / "contracts" / "events.odcs.yaml").write_text(contract)
        (tmp_path / "headgate.yaml").write_text(PROJECT.format(read=read))
        return tmp_path

    return make


def balanced(project):
    for flags in ([], ["--deep"]):
        (account,) = good("audit", *flags, project=project)
        assert account["state"] == "balanced", account
    return account


def event(number, text="x"):
    return json.dumps({"id": number, "text": text, "amount": 1.5}).encode()


def test_a_run_begins_to_read_where_bronze_stands_while_the_lake_is_loaded(broker, made, monkeypatch):
    begun = []
    monkeypatch.setattr(KafkaSource, "begin", lambda _, after: begun.append(dict(after.tokens)))
    topic = broker.topic(2)
    project = made(topic)
    ends = []
    for _ in range(2):
        broker.produce(topic, [event(1)], 0)
        with Project.open(project) as opened:
            record = opened.run("bronze.events")
        ends.append(record.datasets[0].end)
    assert begun == [{}, ends[0]]
    assert all(ends)


def test_good_messages_become_silver_and_keys_and_headers_can_be_queried(broker, made):
    topic = broker.topic(3)
    for partition in range(3):
        values = [event(partition * 1000 + n) for n in range(700)]
        broker.produce(topic, values, partition, key=b"\xffkey", headers=[("trace", b"1"), ("trace", b"2")])
    project = made(topic)
    record = good("run", project=project)
    (events,) = record["datasets"]
    assert (events["landed_rows"], events["verdicts"]["accepted"]) == (2100, 2100)
    rows = good(
        "query",
        "select _hg_partition as p, count(*) as n, min(_hg_offset) as first, max(_hg_offset) as last,"
        " count(distinct _hg_key) as keys, max(len(_hg_headers)) as headers, max(_hg_headers[2].name) as name,"
        " bool_and(_hg_timestamp > timestamptz '2026-01-01') as stamped"
        " from bronze.events group by 1 order by 1",
        project=project,
    )
    wanted = {"n": 700, "first": 0, "last": 699, "keys": 1, "headers": 2, "name": "trace", "stamped": True}
    assert rows == [{"p": f"{topic}/{p}", **wanted} for p in range(3)]
    assert balanced(project)["silver"] == 2100
    again = good("run", project=project)
    assert not again["moved"]
    broker.produce(topic, [event(1, "newer")])
    assert good("run", project=project)["datasets"][0]["landed_rows"] == 1
    balanced(project)


POISON = {
    "empty": b"",
    "tombstone": None,
    "cut": b'{"id": 1, "te',
    "no text": b"\xff\xfe\x00\x01",
    "avro of another": b"\x00\x00\x00\x00\x07\x02\x04abc",
    "half a pair": b'{"id": 2, "text": "\\ud800"}',
    "bad UTF-8": b'{"id": 3, "text": "\xc3\x28"}',
    "NaN": b'{"id": 4, "amount": NaN}',
    "infinite": b'{"id": 5, "amount": 1e400}',
    "key twice": b'{"id": 6, "id": 7}',
    "deep": b'{"id": 8, "text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "digits": b'{"id": ' + b"9" * 10_000 + b"}",
    "many keys": b'{"id": 9, ' + b", ".join(b'"k%d": 1' % n for n in range(100_000)) + b"}",
    "no object": b"[1, 2]",
    "after the end": b'{"id": 10} x',
}


def test_poison_goes_to_quarantine_with_its_bytes_and_a_reason_and_the_rest_goes_on(broker, made):
    topic = broker.topic(max_message_bytes=10_000_000)
    mixed = [event(1000)]
    for number, bad in enumerate(POISON.values()):
        mixed += [bad, event(1001 + number)]
    broker.produce(topic, mixed)
    project = made(topic)
    (events,) = good("run", "--accept-quarantine", project=project)["datasets"]
    assert {name: n for name, n in events["verdicts"].items() if n} == {
        "accepted": len(POISON) + 1, "quarantined": len(POISON),
    }  # fmt: skip
    rows = good(
        "query",
        "select hex(raw) as raw, reasons[1].value as why from quarantine.events order by _hg_offset",
        project=project,
    )
    assert [None if row["raw"] is None else bytes.fromhex(row["raw"]) for row in rows] == list(POISON.values())
    assert dict(zip(POISON, [row["why"] for row in rows], strict=True))["tombstone"] == "no value: a tombstone"
    assert all(row["why"] for row in rows)
    balanced(project)


def test_a_message_that_is_too_large_is_kept_whole_and_not_looked_into_until_it_may_be(broker, made):
    topic = broker.topic()
    large = event(1, "y" * 2_000)
    broker.produce(topic, [event(0), large, event(2)])
    project = made(topic, read="max_message_bytes: 1000")
    (events,) = good("run", "--accept-quarantine", project=project)["datasets"]
    assert (events["verdicts"]["accepted"], events["verdicts"]["quarantined"]) == (2, 1)
    (row,) = good("query", "select decode(raw) as raw, reasons[1].value as why from quarantine.events", project=project)
    assert (row["raw"].encode(), row["why"]) == (large, f"{len(large):,} bytes, more than max_message_bytes: 1,000")
    made(topic)
    good("quarantine", "replay", project=project)
    assert balanced(project)["silver"] == 3
    answer = headgate("run", project=made(topic, read="max_message_bytes: many"))
    assert (answer.code, "max_message_bytes: 'many' is not a number" in answer.err) == (2, True)


@pytest.mark.slow
def test_a_message_of_a_hundred_megabytes_lands_whole(broker, made):
    topic = broker.topic(max_message_bytes=150_000_000)
    big = b'{"id": 1, "text": "' + "é".encode() * 50_000_000 + b'"}'
    broker.produce(topic, [event(0), big, event(2)])
    record = good("run", "--accept-quarantine", project=made(topic), process=True)
    assert record["datasets"][0]["verdicts"]["quarantined"] == 1
    assert record["peak_rss_mib"] < 1024
    project = made(topic, read="max_message_bytes: 150000000")
    assert good("quarantine", "replay", project=project)
    (row,) = good("query", "select max(strlen(text)) as n from silver.events", project=project)
    assert row["n"] == 100_000_000
    balanced(project)


def test_a_dead_letter_has_the_key_the_headers_and_the_place_of_the_message(broker, made):
    topic, dead = broker.topic(2), f"dead-{broker.topic()}"
    own = [("trace", b"\xff\x00"), ("trace", b"2"), ("empty", None)]
    broker.produce(topic, [b"{oh no", event(1)], 1, key=b"\xfekey", headers=own)
    broker.produce(topic, [b'{"id": "x"}'], 1)
    project = made(topic)
    entry = f"kafka: '{broker.bootstrap}', tables: [quarantine.events], mode: append"
    (project / "headgate.yaml").write_text(f"serve:\n  - {{{entry}, topic: {dead}}}\n")
    good("run", "--accept-quarantine", project=project)
    first, second = sorted(visible(broker.bootstrap, dead), key=lambda m: m.value(), reverse=True)
    assert (first.value(), second.value()) == (b"{oh no", b'{"id": "x"}')
    assert first.headers()[:-1] == own
    told = [json.loads(dict(one.headers())["headgate"]) for one in (first, second)]
    assert [(one["partition"], one["offset"]) for one in told] == [(f"{topic}/1", 0), (f"{topic}/1", 2)]
    assert [one["key"] for one in told] == ["/mtleQ==", None]
    assert [h["name"] for h in told[0]["headers"]] == ["trace", "trace", "empty"]
    (row, _) = good("query", "select hex(_hg_key) as k, len(_hg_headers) as n from quarantine.events order by _hg_offset",
        project=project)  # fmt: skip
    assert row == {"k": "FE6B6579", "n": 3}
    other = f"kafka: '{broker.bootstrap}', name: again, tables: [quarantine.events], mode: append, key: [_hg_key]"
    (project / "headgate.yaml").write_text(f"serve:\n  - {{{other}, topic: {dead}-2}}\n")
    good("run", project=project)
    assert {m.key() for m in visible(broker.bootstrap, f"{dead}-2")} == {b"\xfekey", None}
    balanced(project)


def test_an_open_transaction_holds_back_what_follows_and_status_says_so(broker, made):
    topic = broker.topic()
    writer = broker.producer(transactional_id=f"{topic}-open")
    writer.init_transactions()
    writer.begin_transaction()
    writer.produce(topic, event(1))
    writer.flush()
    broker.produce(topic, [event(2)])
    project = made(topic)
    assert good("run", project=project)["datasets"][0]["landed_rows"] == 0
    (told,) = good("status", project=project)["datasets"]
    assert told["source"]["held_back"] == {"0": 2}
    assert "open hold back 2 offsets of partition 0" in told["limitations"][0]
    writer.abort_transaction()
    until(lambda: good("run", project=project)["datasets"][0]["landed_rows"] == 1, "the message behind it")
    rows = good("query", "select id, _hg_offset as at from silver.events", project=project)
    assert rows == [{"id": 2, "at": 1}]
    balanced(project)


def test_a_compacted_topic_is_read_with_its_gaps(broker, made):
    topic = broker.topic(
        cleanup_policy="compact", segment_ms=50, min_cleanable_dirty_ratio=0.001, max_compaction_lag_ms=50
    )
    for round_ in range(3):
        for key in range(5):
            broker.produce(topic, [event(key, f"round {round_}")], key=b"%d" % key)
    until(lambda: _first_kept(broker, topic) > 0, "compaction")
    project = made(topic)
    (events,) = good("run", project=project)["datasets"]
    rows = good("query", "select id, text, _hg_offset as at from silver.events order by id", project=project)
    assert [row["text"] for row in rows] == ["round 2"] * 5
    assert events["landed_rows"] < 15
    balanced(project)
    assert not good("run", project=project)["moved"]


def _first_kept(broker, topic):
    """How many messages the cleaner took, asked by a message that lets it see the segment before."""
    from confluent_kafka import Consumer, TopicPartition

    broker.produce(topic, [event(4, "round 2")], key=b"4")
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "look", "log_level": 0})
    consumer.assign([TopicPartition(topic, 0, 0)])
    try:
        (first,) = until(lambda: consumer.consume(1, 1), "a message")
        return first.offset()
    finally:
        consumer.close()


def test_a_recreated_topic_a_rebuilt_cluster_and_lost_offsets_stop_by_name(broker, made):
    topic = broker.topic(2)
    broker.produce(topic, [event(n) for n in range(10)])
    project = made(topic)
    good("run", project=project)
    broker.produce(topic, [event(n) for n in range(10, 30)])
    broker.cut(topic, 25)
    answer = headgate("run", project=project)
    assert answer.code == 5
    assert "offsets 10 to 24 are gone" in answer.err
    broker.recreate(topic, 2)
    broker.produce(topic, [event(n) for n in range(100)])
    answer = headgate("run", project=project)
    assert answer.code == 5
    assert f"topic {topic} was deleted and made again" in answer.err
    assert good("query", "select count(*) as n from bronze.events", project=project) == [{"n": 10}]
    made(topic, read="name: events2")
    assert good("run", project=project)["datasets"][0]["landed_rows"] == 100
    balanced(project)


def test_wrong_topic_right_and_login_are_for_a_person_to_fix_and_an_absent_broker_is_waited_for(broker, made):
    topic = broker.topic()
    broker.produce(topic, [event(1)])
    answer = headgate("run", project=made("no-such-topic"))
    assert (answer.code, "no such topic" in answer.err) == (2, True)
    login = "security.protocol: SASL_PLAINTEXT, sasl.mechanism: PLAIN, sasl.username: {0}, sasl.password: '${{SECRET}}'"
    host = broker.cluster.bootstrap("SASL_PLAINTEXT")
    project = made(topic, host=host, read=login.format("reader"))
    for secret in ("reader-secret", "wrong-canary"):
        answer = headgate("run", project=project, env={"SECRET": secret})
        assert answer.code == 2
        assert secret not in answer.err + answer.out
    broker.allow("reader", topic, "READ", "DESCRIBE")
    until(lambda: headgate("run", project=project, env={"SECRET": "reader-secret"}).code == 0, "the right")
    (project / "contracts" / "events.odcs.yaml").unlink()
    answer = headgate("run", project=made(topic, host="127.0.0.1:1", read="wait_s: 0.5"))
    assert (answer.code, "did not answer for 0.5 s" in answer.err) == (3, True)


def test_discover_writes_a_contract_that_runs(broker, tmp_path):
    topic = broker.topic(2)
    broker.produce(topic, [event(n) for n in range(50)] + [None, b"no json"])
    contract = tmp_path / "contracts" / "found.odcs.yaml"
    contract.parent.mkdir()
    assert headgate("discover", f"kafka://{broker.bootstrap}/{topic}", "-o", contract).code == 0
    (found,) = good("run", "--accept-quarantine", project=tmp_path)["datasets"]
    assert (found["verdicts"]["accepted"], found["verdicts"]["quarantined"]) == (50, 2)
    answer = headgate("discover", f"kafka://{broker.bootstrap}/no-such")
    assert (answer.code, "no such topic" in answer.err) == (2, True)


def test_processes_that_share_a_topic_are_killed_and_frozen_and_every_message_has_one_verdict(broker, made):
    """Two workers at once; one is killed, one stands still until the group has given its partitions to another."""
    topic = broker.topic(4)
    project = made(topic, read=f"group: {topic}-workers, session_s: 3")
    good("run", project=project)
    sent = 0

    def send(rows):
        nonlocal sent
        for partition in range(4):
            broker.produce(topic, [event(sent + n) for n in range(rows)], partition)
            sent += rows

    with Going(project) as first, Going(project) as second:
        send(50)
        first.until_rows("silver.events", sent)
        second.send(signal.SIGSTOP)
        send(50)
        first.until_rows("silver.events", sent)  # its partitions were given to the first
        second.send(signal.SIGCONT)
        with Going(project) as third:
            send(50)
            first.until_rows("silver.events", sent)
            third.send(signal.SIGKILL)
            third.end()
            send(50)
            first.until_rows("silver.events", sent)
        assert (first.stop(), second.stop()) == (0, 0)
    account = balanced(project)
    assert (account["bronze"], account["silver"]) == (sent, sent)

"""`discover` of a topic whose schema a registry has: the contract takes the topic's own messages, none is refused."""

from __future__ import annotations

import json

import pytest

from e2e.command import good, headgate
from e2e.test_schema_registry import PROTO, STATE, V2, avro, framed, order, proto_order

fastavro = pytest.importorskip("fastavro")
JSON_SCHEMA = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "required": ["id", "lines"],
    "properties": {
        "id": {"type": "integer"},
        "note": {"type": ["string", "null"], "description": "What they said."},
        "at": {"type": "string", "format": "date-time"},
        "lines": {"type": "array", "items": {"$ref": "#/definitions/line"}},
        "extra": {"oneOf": [{"type": "null"}, {"type": "number"}]},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "definitions": {"line": {"type": "object", "properties": {"sku": {"type": "string"}}, "required": ["sku"]}},
}


@pytest.fixture
def discovered(broker, schema_registry, tmp_path):
    """Discovers a topic by its schema and runs what was written; the verdicts."""

    def discover(topic, schema, kind, messages, **more):
        number = schema_registry.register(f"{topic}-value", schema, kind, **more)
        broker.produce(topic, [framed(number, one[5:]) for one in messages])
        contract = tmp_path / "contracts" / "found.odcs.yaml"
        contract.parent.mkdir()
        place = f"kafka://{broker.bootstrap}/{topic}?registry=${{REGISTRY}}"
        env = {"REGISTRY": schema_registry.url}
        answer = headgate("discover", place, "-o", contract, env=env)
        assert answer.code == 0, answer.err
        assert schema_registry.url not in contract.read_text()
        assert good("validate", project=tmp_path, env=env) is not None
        (found,) = good("run", project=tmp_path, env=env)["datasets"]
        return found["verdicts"], tmp_path

    return discover


def test_avro(broker, discovered):
    topic = broker.topic()
    messages = [avro(1, V2, **order(n, coupon="x" if n % 2 else None)) for n in range(20)]
    verdicts, project = discovered(topic, json.dumps(V2), "AVRO", messages)
    assert verdicts["accepted"] == 20
    (row,) = good(
        "query",
        f'select typeof(amount) as amount, typeof("at") as "at", typeof(day) as day, typeof(place) as place'
        f" from silver.{topic.replace('-', '_')} limit 1",
        project=project,
        env={"REGISTRY": "http://127.0.0.1:1"},
    )
    assert row["amount"] == "DECIMAL(20,4)"
    assert row["at"] == "TIMESTAMP WITH TIME ZONE"
    assert row["day"] == "DATE"
    assert "codes INTEGER[]" in row["place"]


def test_protobuf(broker, schema_registry, discovered):
    topic = broker.topic()
    schema_registry.register("state.proto", STATE, "PROTOBUF")
    references = [{"name": "state.proto", "subject": "state.proto", "version": 1}]
    schema = PROTO.replace("message Ignored { string x = 1; }\n", "")
    messages = [b"\0\0\0\0\1" + b"\0" + proto_order(n) for n in range(10)]
    verdicts, _ = discovered(topic, schema, "PROTOBUF", messages, references=references)
    assert verdicts["accepted"] == 10


def test_json_schema(broker, discovered):
    topic = broker.topic()
    rows = [
        {"id": n, "note": None, "at": "2026-11-24T01:02:03Z", "lines": [{"sku": "a"}], "extra": 1.5} for n in range(9)
    ]
    rows.append({"id": 9, "lines": [], "labels": {"a": "b"}})
    messages = [framed(0, json.dumps(one).encode()) for one in rows]
    verdicts, _ = discovered(topic, json.dumps(JSON_SCHEMA), "JSON", messages)
    assert verdicts["accepted"] == 10


def test_what_cannot_be_is_said(broker, schema_registry):
    topic = broker.topic()
    place = f"kafka://{broker.bootstrap}/{topic}?registry={schema_registry.url}"
    answer = headgate("discover", place)
    assert (answer.code, f"no subject {topic}-value" in answer.err) == (2, True), answer.err
    schema_registry.register(f"{topic}-value", '"string"')
    answer = headgate("discover", place)
    assert (answer.code, "no objects with fields" in answer.err) == (2, True), answer.err
    node = {"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]}
    schema_registry.register("nodes", json.dumps(node))
    answer = headgate("discover", f"{place}&subject=nodes")
    assert (answer.code, "Node holds itself" in answer.err) == (2, True), answer.err
    answer = headgate("discover", place.replace("//127", "//me:s3cr3t@127"))
    assert (answer.code, "s3cr3t" in answer.err) == (2, False), answer.err

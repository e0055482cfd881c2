"""A topic with a real schema registry: values exact, schemas that change, what is wrong, and life without it."""

import json
import shutil
import time
from pathlib import Path

import pytest

from e2e.command import good, headgate
from rigs.registry_front import Front
from rigs.schema_registry import Registry

fastavro = pytest.importorskip("fastavro")

CONTRACT = """\
apiVersion: v3.2.0
kind: DataContract
id: orders
version: 1.0.0
status: active
servers:
  - {{server: bus, type: kafka, host: '{host}', format: {format}}}
schema:
  - name: orders
    physicalName: {topic}
    properties:
      - {{name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1, required: true}}
      - {{name: amount, logicalType: number, physicalType: 'decimal(20,4)'}}
      - {{name: at, logicalType: timestamp, logicalTypeOptions: {{timezone: true}}}}
      - {{name: day, logicalType: date}}
      - {{name: state, logicalType: string, required: true}}
      - {{name: note, logicalType: string}}
      - name: place
        logicalType: object
        properties:
          - {{name: city, logicalType: string}}
          - {{name: codes, logicalType: array, items: {{name: code, logicalType: integer}}}}
      - {{name: coupon, logicalType: string}}
"""
V1 = {
    "type": "record",
    "name": "Order",
    "namespace": "shop",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 4}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "state", "type": {"type": "enum", "name": "State", "symbols": ["NEW", "PAID"]}},
        {"name": "note", "type": ["null", "string"]},
        {
            "name": "place",
            "type": {
                "type": "record",
                "name": "Place",
                "fields": [
                    {"name": "city", "type": "string"},
                    {"name": "codes", "type": {"type": "array", "items": "int"}},
                ],
            },
        },
    ],
}
V2 = {**V1, "fields": [*V1["fields"], {"name": "coupon", "type": ["null", "string"], "default": None}]}
JSON_SCHEMA = '{"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "title": "orders"}'
ROWS = (
    'select id, cast(amount as varchar) as amount, cast("at" as varchar) as "at", cast(day as varchar) as day, state, note,'
    " place.city as city, place.codes as codes, coupon from silver.orders order by id"
)


@pytest.fixture
def made(broker, tmp_path):
    """Makes a project over a topic."""

    def make(topic, text_format, registry):
        (tmp_path / "contracts").mkdir(exist_ok=True)
        contract = CONTRACT.format(host=broker.bootstrap, topic=topic, format=text_format)
        (tmp_path / "contracts" / "orders.odcs.yaml").write_text(contract)
        (tmp_path / "headgate.yaml").write_text(f"datasets:\n  orders:\n    read: {{registry: '{registry}'}}\n")
        return tmp_path

    return make


def framed(number, payload):
    return b"\0" + number.to_bytes(4, "big") + payload


def avro(number, schema, **values):
    import io

    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), values)
    return framed(number, stream.getvalue())


def order(number, **more):
    from datetime import UTC, date, datetime
    from decimal import Decimal

    return {
        "id": number,
        "amount": Decimal("1234567890123456.7891"),
        "at": datetime(2026, 11, 24, 1, 2, 3, 456789, tzinfo=UTC),
        "day": date(2026, 11, 24),
        "state": "PAID",
        "note": None,
        "place": {"city": "Köln", "codes": [1, -2]},
        **more,
    }


def row(number, **more):
    return {
        "id": number, "amount": "1234567890123456.7891", "at": "2026-11-24 01:02:03.456789+00", "day": "2026-11-24",
        "state": "PAID", "note": None, "city": "Köln", "codes": [1, -2], "coupon": None, **more,
    }  # fmt: skip


def quarantined(project):
    return good(
        "query",
        "select _hg_offset as o, hex(raw) as raw, reasons[1].rule as rule, reasons[1].value as why"
        " from quarantine.orders order by 1",
        project=project,
    )


def balanced(project):
    (account,) = good("audit", "--deep", project=project)
    assert account["state"] == "balanced", account


def test_avro_is_exact_over_versions_and_what_is_none_goes_to_quarantine_as_it_came(broker, made, schema_registry):
    topic = broker.topic()
    first = schema_registry.register(f"{topic}-value", json.dumps(V1))
    second = schema_registry.register(f"{topic}-value", json.dumps(V2))
    other = schema_registry.register(f"{topic}-other", JSON_SCHEMA, "JSON")
    messages = [avro(first, V1, **order(n)) for n in range(200)]
    messages += [avro(second, V2, **order(200 + n, coupon="x")) for n in range(200)]
    whole = messages[0]
    bad = {
        "no message of a schema registry: it begins with byte 0x7b, not 0x00": b'{"id": 1}',
        "no message of a schema registry: 3 bytes": b"\0\0\0",
        "schema 987654 is not in the registry": framed(987654, whole[5:]),
        f"schema {other} is JSON, not AVRO": framed(other, whole[5:]),
        f"no avro message of schema {first}: it ends too early": whole[:-2],
        f"no avro message of schema {first}: 1 bytes are left behind it": whole + b"\0",
        "no value: a tombstone": None,
    }
    broker.produce(topic, [*messages, *bad.values()])
    login = schema_registry.url.replace("//", "//user:s3cr3t@")
    project = made(topic, "avro", login)
    record = good("run", "--accept-quarantine", project=project)
    assert "s3cr3t" not in json.dumps(record)
    rows = good("query", ROWS, project=project)
    assert rows == [*(row(n) for n in range(200)), *(row(200 + n, coupon="x") for n in range(200))]
    refused = quarantined(project)
    assert {one["why"]: one["raw"] and bytes.fromhex(one["raw"]) for one in refused} == bad
    assert {one["rule"] for one in refused} == {"record"}
    kept = good("query", "select hex(_hg_raw) as raw from bronze.orders where _hg_offset = 0", project=project)
    assert bytes.fromhex(kept[0]["raw"]) == whole
    balanced(project)


def test_a_message_that_breaks_a_rule_is_kept_as_it_came_and_replayed_when_the_registry_is_gone(broker, made):
    registry = Registry().start()
    try:
        topic = broker.topic()
        changed = json.loads(
            json.dumps(V1).replace('"type": "long"}, {"name": "amount"', '"type": "string"}, {"name": "amount"')
        )
        number = registry.register(f"{topic}-value", json.dumps(changed))
        sent = [avro(number, changed, **order("x")), avro(number, changed, **order("7"))]
        broker.produce(topic, sent)
        project = made(topic, "avro", registry.url)
        good("run", "--accept-quarantine", project=project)
    finally:
        registry.stop()
    refused = quarantined(project)
    assert [bytes.fromhex(one["raw"]) for one in refused] == sent
    assert [(one["rule"], one["why"]) for one in refused] == [("id.type", "x"), ("id.type", "7")]
    contract = project / "contracts" / "orders.odcs.yaml"
    contract.write_text(contract.read_text().replace("name: id, logicalType: integer", "name: id, logicalType: string"))
    good("run", "--full-refresh", project=project)
    assert [one["id"] for one in good("query", ROWS, project=project)] == ["7", "x"]
    balanced(project)
    shutil.rmtree(project / ".headgate" / "schemas")
    broker.produce(topic, [avro(number, changed, **order("8"))])
    done = headgate("run", project=project)
    assert done.code == 3
    assert "schema registry does not answer" in done.out + done.err
    assert quarantined(project) == []


PROTO = """\
syntax = "proto3";
package shop;
import "google/protobuf/timestamp.proto";
import "state.proto";
message Ignored { string x = 1; }
message Order {
  message Place { string city = 1; repeated int32 codes = 2; }
  int64 id = 1;
  optional double amount = 2;
  google.protobuf.Timestamp at = 3;
  State state = 4;
  optional string note = 5;
  Place place = 6;
  string day = 7;
}
"""
STATE = 'syntax = "proto3"; package shop; enum State { NEW = 0; PAID = 1; }'


def proto_order(number, **more):
    """The bytes of an Order; written with Protobuf's own compiler, apart from what is tested."""
    import os
    import subprocess
    import sys
    import tempfile

    from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

    with tempfile.TemporaryDirectory() as folder:
        for name, text in (("order.proto", PROTO), ("state.proto", STATE)):
            with open(os.path.join(folder, name), "w") as file:
                file.write(text)
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}", "--include_imports"]
        subprocess.run([*command, f"--descriptor_set_out={folder}/out", "order.proto"], check=True)
        files = descriptor_pb2.FileDescriptorSet.FromString(Path(folder, "out").read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for one in files.file:
        pool.Add(one)
    kind = message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.Order"))
    return json_format.ParseDict({"id": number, **more}, kind()).SerializeToString()


def test_protobuf_with_an_import_and_a_type_that_is_not_the_first(broker, made, schema_registry):
    topic = broker.topic()
    state = schema_registry.register("state.proto", STATE, "PROTOBUF")
    assert state
    refers = [{"name": "state.proto", "subject": "state.proto", "version": 1}]
    number = schema_registry.register(f"{topic}-value", PROTO, "PROTOBUF", refers)
    full = proto_order(
        2**53 + 1, amount=0.25, at="2026-11-24T01:02:03.456789Z", state="PAID", note="",
        place={"city": "Köln", "codes": [1, -2]}, day="2026-11-24",
    )  # fmt: skip
    second = b"\x02\x02"  # one step: the second type of the schema
    none = framed(number, b"\x02\x0e" + full)
    other = framed(number, second + full + b"\xfa\x01\x01x")
    broker.produce(topic, [framed(number, second + full), none, other, framed(number, second + full[:-1])])
    project = made(topic, "protobuf", schema_registry.url)
    good("run", "--accept-quarantine", project=project)
    assert good("query", ROWS, project=project) == [row(2**53 + 1, amount="0.2500", note="")]
    refused = quarantined(project)
    assert [bytes.fromhex(one["raw"]) for one in refused][:2] == [none, other]
    assert [one["why"].partition(f"no protobuf message of schema {number}: ")[2] for one in refused][:2] == [
        "the schema has no type at [7]",
        "fields that Order does not have",
    ]
    assert len(refused) == 3
    balanced(project)


def test_json_schema_is_json_behind_five_bytes(broker, made, schema_registry):
    topic = broker.topic()
    number = schema_registry.register(f"{topic}-value", JSON_SCHEMA, "JSON")
    good_one = {"id": 1, "amount": 1.5, "state": "NEW", "place": {"city": "Bonn", "codes": []}}
    bad = framed(number, b'{"id": 2, "stat')
    unknown = framed(424242, b'{"id": 3, "state": "NEW"}')
    broker.produce(topic, [framed(number, json.dumps(good_one).encode()), bad, unknown])
    project = made(topic, "json-schema", schema_registry.url)
    good("run", "--accept-quarantine", project=project)
    (one,) = good("query", ROWS, project=project)
    assert (one["id"], one["amount"], one["city"]) == (1, "1.5000", "Bonn")
    refused = quarantined(project)
    assert [bytes.fromhex(one["raw"]) for one in refused] == [bad, unknown]
    assert refused[1]["why"] == "schema 424242 is not in the registry"
    balanced(project)


def test_an_address_of_something_else_and_none_at_all_end_with_a_hint(broker, made, schema_registry):
    topic = broker.topic()
    broker.produce(topic, [framed(1, b"x")])
    project = made(topic, "avro", schema_registry.url.removesuffix("/apis/ccompat/v7"))
    done = headgate("run", project=project)
    assert done.code == 2
    assert "no schema registry answers there" in done.out + done.err
    (project / "headgate.yaml").write_text("datasets:\n  orders:\n    read: {group: x}\n")
    done = headgate("run", project=project)
    assert done.code == 2
    assert "needs a schema registry" in done.out + done.err


def test_a_flood_of_unknown_schemas_is_asked_about_once_each_and_only_up_to_a_rate(broker, made, schema_registry):
    from headgate.engines.duckdb.registered import MOST_UNKNOWN, UNKNOWN_PER_S

    topic = broker.topic()
    numbers = [schema_registry.register(f"{topic}-value", json.dumps(one)) for one in (V1, V2)]
    fine = [avro(numbers[n % 2], (V1, V2)[n % 2], **order(n)) for n in range(40)]
    flood = [framed(10**9 + n, b"\2") for n in range(3_000)] + [framed(10**8, b"\2")] * 3_000
    broker.produce(topic, [*flood, *fine])
    with Front(schema_registry.url) as front:
        project = made(topic, "avro", front.url)
        begun = time.monotonic()
        (orders,) = good("run", "--accept-quarantine", project=project)["datasets"]
        took_s = time.monotonic() - begun
    assert {k: n for k, n in orders["verdicts"].items() if n} == {"accepted": 40, "quarantined": 6_000}
    assert max(front.asked.values()) == 1
    assert {f"/schemas/ids/{number}" for number in (*numbers, 10**8)} <= front.asked.keys()
    assert len(front.asked) <= 2 + MOST_UNKNOWN + took_s * UNKNOWN_PER_S
    whys = {one["why"] for one in quarantined(project)}
    assert f"schema {10**8} is not in the registry" in whys
    assert len([why for why in whys if "was not asked for" in why]) == 6_000 - 3_000 - len(front.asked) + 3
    balanced(project)


@pytest.mark.slow
def test_a_registry_that_answers_a_byte_at_a_time_is_given_up_in_time(broker, made, schema_registry):
    topic = broker.topic()
    number = schema_registry.register(f"{topic}-value", json.dumps(V1))
    broker.produce(topic, [avro(number, V1, **order(1))])
    with Front(schema_registry.url, drip_s=0.1) as front:
        project = made(topic, "avro", front.url)
        begun = time.monotonic()
        answer = headgate("run", project=project)
    assert (answer.code, "schema registry does not answer" in answer.err) == (3, True)
    assert time.monotonic() - begun < 60
    assert front.asked == {f"/schemas/ids/{number}": 3}

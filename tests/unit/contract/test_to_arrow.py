"""A contract's tables in Arrow: columns, documents, layout."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from headgate.contract.model import Field, Kind, Operation, Type
from headgate.contract.parse import load_contract
from headgate.contract.to_arrow import (
    Layout,
    arrow_type,
    ledger_schema,
    quarantine_schema,
    silver_layout,
    silver_schema,
)

DATA = Path(__file__).parent / "data"


def test_every_kind_has_an_arrow_type():
    text = Field("x", Type(Kind.STRING))
    types = {
        Type(Kind.STRING): pa.string(),
        Type(Kind.INTEGER): pa.int64(),
        Type(Kind.INTEGER, bits=32): pa.int32(),
        Type(Kind.NUMBER): pa.float64(),
        Type(Kind.NUMBER, bits=32): pa.float32(),
        Type(Kind.DECIMAL, precision=38, scale=10): pa.decimal128(38, 10),
        Type(Kind.BOOLEAN): pa.bool_(),
        Type(Kind.DATE): pa.date32(),
        Type(Kind.TIME): pa.time64("us"),
        Type(Kind.TIMESTAMP): pa.timestamp("us"),
        Type(Kind.TIMESTAMP, zoned=True): pa.timestamp("us", "UTC"),
        Type(Kind.BINARY): pa.binary(),
        Type(Kind.OBJECT, fields=(text,)): pa.struct([("x", pa.string())]),
        Type(Kind.ARRAY, item=text): pa.list_(pa.field("element", pa.string())),
        Type(Kind.MAP, key=text, item=text): pa.map_(pa.string(), pa.string()),
    }
    assert {one.kind for one in types} == set(Kind)
    for of, wanted in types.items():
        assert arrow_type(of) == wanted


def test_silver_holds_the_contract_and_the_coordinates():
    dataset = load_contract(DATA / "order_events.odcs.yaml").datasets[0]
    schema = silver_schema(dataset)
    assert schema.names == [
        "event_id", "event_type", "event_time", "payload", "checksum", "_hg_partition", "_hg_offset",
    ]  # fmt: skip
    assert not schema.field("event_id").nullable
    assert schema.field("payload").type.field("items").type == pa.list_(
        pa.field("element", pa.struct([("sku", pa.string()), ("qty", pa.int64())]))
    )
    # What is required inside an object is a rule, not a constraint of the table.
    assert schema.field("payload").type.field("amount").nullable


def test_version_column_is_there_only_when_asked_for():
    dataset = load_contract(DATA / "transactions.odcs.yaml").datasets[0]
    assert silver_schema(dataset, version_column=True).names[-1] == "_hg_version"
    assert "_hg_version" not in silver_schema(dataset).names


def test_descriptions_become_documents(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(
        "apiVersion: v3.2.0\nkind: DataContract\nid: x\nversion: 1.0.0\nstatus: draft\n"
        "schema:\n  - name: d\n    properties: [{name: a, logicalType: date, description: Tag}]\n"
    )
    assert silver_schema(load_contract(path).datasets[0]).field("a").metadata == {b"doc": b"Tag"}


def test_layout_follows_partitions_and_key(tmp_path):
    dataset = load_contract(DATA / "transactions.odcs.yaml").datasets[0]
    assert silver_layout(dataset) == Layout((("invoice_date", "month"),), ("line_id",), ("line_id",))
    path = tmp_path / "c.yaml"
    path.write_text(
        "apiVersion: v3.2.0\nkind: DataContract\nid: x\nversion: 1.0.0\nstatus: draft\n"
        "schema:\n  - name: d\n    properties:\n"
        "      - {name: a, logicalType: string, partitioned: true, partitionKeyPosition: 2}\n"
        "      - {name: b, logicalType: timestamp, partitioned: true, partitionKeyPosition: 1,\n"
        "         customProperties: [{property: headgate.partition, value: day}]}\n"
        "      - {name: c, logicalType: integer, customProperties: [{property: headgate.partition, value: 'bucket[8]'}]}\n"
    )
    assert silver_layout(load_contract(path).datasets[0]) == Layout(
        (("b", "day"), ("a", "identity"), ("c", "bucket[8]")), (), ()
    )


def test_quarantine_and_ledger_have_the_shapes_of_the_account():
    assert quarantine_schema().names == [
        "_hg_partition", "_hg_offset", "_hg_ingested_at", "raw", "reasons", "contract_version", "run_id", "quarantined_at",
    ]  # fmt: skip
    reasons = quarantine_schema().field("reasons").type
    assert reasons == pa.list_(
        pa.field("element", pa.struct([("rule", pa.string()), ("field", pa.string()), ("value", pa.string())]))
    )
    dataset = load_contract(DATA / "transactions.odcs.yaml").datasets[0]
    names = ["_hg_partition", "_hg_offset", "verdict", "rule", "by_partition", "by_offset", "run_id", "judged_at"]
    assert ledger_schema(dataset).names == names
    deletes = ledger_schema(replace(dataset, operation=Operation("status", ("D",))))
    assert deletes.names == [*names, "deleted"]
    assert [member.name for member in deletes.field("deleted").type] == [*dataset.key, *dataset.order]
    assert all("doc" in {key.decode() for key in field.metadata} for field in deletes)

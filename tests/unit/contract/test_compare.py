"""Changes between two versions of a contract are named, and the breaking ones are told apart."""

from __future__ import annotations

import pytest

from headgate.contract.compare import compare
from headgate.contract.parse import load_contract


@pytest.fixture
def load(tmp_path):
    def read(fields, rest=""):
        path = tmp_path / "c.odcs.yaml"
        listed = "".join(f"      - {one}\n" for one in fields.split("; "))
        path.write_text(
            "apiVersion: v3.2.0\nkind: DataContract\nid: x\nversion: 1.0.0\nstatus: draft\n"
            f"schema:\n  - name: d\n    properties:\n{listed}{rest}"
        )
        return load_contract(path).datasets[0]

    return read


def test_same_contract_has_no_changes(load):
    one = "{name: a, logicalType: integer, logicalTypeOptions: {minimum: 1}}"
    assert compare(load(one), load(one)) == []


@pytest.mark.parametrize(
    ("old", "new", "kind", "breaking"),
    [
        ("{name: a, logicalType: date}", "{name: a, logicalType: date}; {name: b, logicalType: date}", "added", False),
        (
            "{name: a, logicalType: date}",
            "{name: a, logicalType: date}; {name: b, logicalType: date, required: true}",
            "added",
            True,
        ),
        ("{name: a, logicalType: date}; {name: b, logicalType: date}", "{name: a, logicalType: date}", "removed", True),
        ("{name: a, logicalType: date}", "{name: a, logicalType: string}", "retyped", True),
        (
            "{name: a, logicalType: integer, logicalTypeOptions: {format: i32}}",
            "{name: a, logicalType: integer}",
            "retyped",
            False,
        ),
        (
            "{name: a, logicalType: integer}",
            "{name: a, logicalType: integer, logicalTypeOptions: {format: i32}}",
            "retyped",
            True,
        ),
        (
            "{name: a, logicalType: number, physicalType: 'numeric(9,2)'}",
            "{name: a, logicalType: number, physicalType: 'numeric(12,2)'}",
            "retyped",
            False,
        ),
        (
            "{name: a, logicalType: number, physicalType: 'numeric(9,2)'}",
            "{name: a, logicalType: number, physicalType: 'numeric(12,3)'}",
            "retyped",
            True,
        ),
        ("{name: a, logicalType: date}", "{name: a, logicalType: date, required: true}", "required", True),
        ("{name: a, logicalType: date, required: true}", "{name: a, logicalType: date}", "optional", False),
        ("{name: a, logicalType: date}", "{name: a, logicalType: date, physicalName: b}", "source", True),
        ("{name: a, logicalType: date}", "{name: a, logicalType: date, partitioned: true}", "partition", True),
        ("{name: a, logicalType: date}", "{name: a, logicalType: date, description: x}", "description", False),
        (
            "{name: a, logicalType: string}",
            "{name: a, logicalType: string, customProperties: [{property: headgate.standardise, value: trim}]}",
            "standardised",
            True,
        ),
        (
            "{name: a, logicalType: integer, logicalTypeOptions: {minimum: 1}}",
            "{name: a, logicalType: integer, logicalTypeOptions: {minimum: 2}}",
            "tightened",
            True,
        ),
        (
            "{name: a, logicalType: integer, logicalTypeOptions: {minimum: 9}}",
            "{name: a, logicalType: integer, logicalTypeOptions: {minimum: 10}}",
            "tightened",
            True,
        ),
        (
            "{name: a, logicalType: integer, logicalTypeOptions: {maximum: 1}}",
            "{name: a, logicalType: integer, logicalTypeOptions: {maximum: 2}}",
            "loosened",
            False,
        ),
        (
            "{name: a, logicalType: date, logicalTypeOptions: {maximum: '2024-01-01'}}",
            "{name: a, logicalType: date, logicalTypeOptions: {maximum: '2023-01-01'}}",
            "tightened",
            True,
        ),
        (
            "{name: a, logicalType: string, enum: [{value: a}]}",
            "{name: a, logicalType: string, enum: [{value: b}, {value: a}]}",
            "loosened",
            False,
        ),
        (
            "{name: a, logicalType: string, enum: [{value: a}, {value: b}]}",
            "{name: a, logicalType: string, enum: [{value: b}]}",
            "tightened",
            True,
        ),
        (
            "{name: a, logicalType: string, logicalTypeOptions: {pattern: a}}",
            "{name: a, logicalType: string, logicalTypeOptions: {pattern: b}}",
            "changed",
            True,
        ),
        (
            "{name: a, logicalType: string, logicalTypeOptions: {pattern: a}}",
            "{name: a, logicalType: string}",
            "loosened",
            False,
        ),
        (
            "{name: a, logicalType: object, properties: [{name: b, logicalType: date}]}",
            "{name: a, logicalType: object, properties: [{name: b, logicalType: string}]}",
            "retyped",
            True,
        ),
        (
            "{name: a, logicalType: array, items: {logicalType: integer, logicalTypeOptions: {format: i32}}}",
            "{name: a, logicalType: array, items: {logicalType: integer}}",
            "retyped",
            False,
        ),
    ],
)
def test_one_difference_is_one_change(load, old, new, kind, breaking):
    assert [(one.kind, one.breaking) for one in compare(load(old), load(new))] == [(kind, breaking)]


def test_key_and_order_are_breaking(load):
    old = load("{name: a, logicalType: integer}; {name: b, logicalType: date}")
    new = load(
        "{name: a, logicalType: integer, primaryKey: true, required: true}; {name: b, logicalType: date}",
        "    customProperties: [{property: headgate.order, value: [b]}]\n",
    )
    assert {one.kind for one in compare(old, new) if one.breaking} == {"required", "key", "order", "history"}


def test_severity_that_falls_is_no_breaking_change(load):
    rule = "    quality: [{id: r, type: custom, engine: headgate, implementation: 'a > 0', severity: %s}]\n"
    old = load("{name: a, logicalType: integer}", rule % "error")
    new = load("{name: a, logicalType: integer}", rule % "warning")
    assert [(one.kind, one.breaking) for one in compare(old, new)] == [("loosened", False)]
    assert [(one.kind, one.breaking) for one in compare(new, old)] == [("tightened", True)]


def test_another_way_to_delete_is_a_breaking_change(load):
    fields = "{name: k, logicalType: integer, primaryKey: true}; {name: op, logicalType: string}"
    rest = "    customProperties: [{property: headgate.operation, value: {field: op, delete: [d]}}]\n"
    (change,) = compare(load(fields), load(fields, rest))
    assert (change.kind, change.breaking) == ("operation", True)
    assert change.message == "rows that delete: op is one of ['d'], so far none"

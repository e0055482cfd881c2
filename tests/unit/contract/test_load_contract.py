"""A contract becomes the obvious model."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from pathlib import Path

import pytest

from headgate.contract.model import Budget, Freshness, Kind, Severity, Standardise
from headgate.contract.parse import check_contract, load_contract
from headgate.errors import ContractSyntaxError

DATA = Path(__file__).parent / "data"


def one_field(tmp_path, text, *, version="v3.2.0", before=""):
    """The only field of a contract whose only property is this text."""
    path = tmp_path / "c.odcs.yaml"
    path.write_text(
        f"apiVersion: {version}\nkind: DataContract\nid: x\nversion: 1.0.0\nstatus: draft\n{before}"
        f"schema:\n  - name: d\n    properties:\n      - {text}\n"
    )
    return load_contract(path).datasets[0]


@pytest.fixture(scope="module")
def retail():
    return load_contract(DATA / "transactions.odcs.yaml")


@pytest.fixture(scope="module")
def orders():
    return load_contract(DATA / "order_events.odcs.yaml")


def test_contract_keeps_identity_and_hash_of_its_bytes(retail):
    data = (DATA / "transactions.odcs.yaml").read_bytes()
    assert (retail.id, retail.version, retail.api_version) == ("retail.transactions", "1.0.0", "v3.2.0")
    assert retail.sha256 == hashlib.sha256(data).hexdigest()
    assert retail.description == {"purpose": "One line of one invoice."}


def test_dataset_has_key_order_history_and_budget(retail):
    (dataset,) = retail.datasets
    assert (dataset.name, dataset.physical_name, dataset.physical_type) == ("transactions", "tx", "table")
    assert (dataset.key, dataset.order, dataset.history) == (("line_id",), ("updated_at",), "latest")
    assert dataset.error_budget == Budget(Decimal(1), percent=True)
    assert dataset.freshness == (Freshness("updated_at", 3600.0),)
    assert dataset.tags == ("sales",)


def test_fields_have_exact_types(retail):
    dataset = retail.datasets[0]
    assert {one.name: str(one.type) for one in dataset.fields} == {
        "line_id": "integer",
        "invoice_no": "string",
        "description": "string",
        "quantity": "integer",
        "unit_price": "decimal(12,3)",
        "invoice_date": "timestamp",
        "customer_id": "integer",
        "country": "string",
        "updated_at": "timestamp with time zone",
    }
    assert dataset.field("description").source_name == "descr"
    assert dataset.field("invoice_date").partition == "month"
    assert dataset.field("customer_id").classification == "restricted"


def test_rules_stand_in_a_fixed_order_field_by_field(retail):
    assert [rule.id for rule in retail.datasets[0].rules] == [
        "line_id.type",
        "line_id.required",
        "invoice_no.type",
        "invoice_no.required",
        "invoice_no.pattern",
        "description.type",
        "quantity.type",
        "quantity.required",
        "quantity_not_zero",
        "unit_price.type",
        "unit_price.required",
        "unit_price.minimum",
        "invoice_date.type",
        "invoice_date.required",
        "customer_id.type",
        "country.type",
        "country.required",
        "known_country",
        "updated_at.type",
        "updated_at.required",
        "credit",
    ]


def test_quality_becomes_rules_checks_and_standardisation(retail):
    dataset = retail.datasets[0]
    rules = {rule.id: rule for rule in dataset.rules}
    assert rules["quantity_not_zero"].severity is Severity.WARNING
    assert rules["known_country"].argument == ("Ireland", "Norway", "United Kingdom")
    assert rules["known_country"].tolerance == Budget(Decimal(10), percent=False)
    assert dataset.field("country").standardise == (
        Standardise("trim"),
        Standardise("map", {"EIRE": "Ireland", "NO": "Norway"}),
        Standardise("null_if", ("", "N/A")),
    )
    checks = {check.id: check for check in dataset.checks}
    assert checks["country.missingValues"].percent
    assert checks["country.missingValues"].fields == ("country",)
    assert (checks["enough_rows"].operator, checks["enough_rows"].value) == ("mustBeGreaterThan", Decimal(0))
    assert checks["sums"].value == (Decimal(1), Decimal(1000000))
    assert [(drop.id, drop.argument) for drop in dataset.drops] == [("tests", "country = 'Test'")]


def test_server_keeps_its_options_and_ours(retail):
    (server,) = retail.datasets[0].servers
    assert (server.name, server.kind) == ("shop", "postgres")
    assert server.options == {
        "host": "${PGHOST:-localhost}",
        "port": 5432,
        "database": "sales_db",
        "schema": "public",
        "sslmode": "require",
    }
    assert server.place is not None
    assert server.place.line == 12


def test_nested_fields_have_rules_with_paths(orders):
    dataset = orders.datasets[0]
    assert [rule.id for rule in dataset.rules if rule.id.startswith("payload")] == [
        "payload.type",
        "payload.required",
        "payload.order_id.required",
        "payload.amount.required",
        "payload.amount.minimum",
        "payload.currency.required",
        "payload.currency.pattern",
        "payload.items[].sku.required",
        "payload.items[].qty.required",
        "payload.items[].qty.minimum",
    ]
    checksum = dataset.rules[-1]
    assert (checksum.id, checksum.check) == ("checksum.checksum", "checksum")
    assert checksum.argument == {"field": "checksum", "of": "payload", "algorithm": "sha256"}
    assert dataset.properties["duplicates"] == {"window": "forever"}


def test_example_contracts_have_nothing_to_complain_about():
    assert check_contract(DATA / "transactions.odcs.yaml") == []
    assert check_contract(DATA / "order_events.odcs.yaml") == []


def test_without_the_standards_schema_the_model_is_the_same(retail):
    assert load_contract(DATA / "transactions.odcs.yaml", standard=False) == retail


def test_places_carry_the_name_asked_for():
    contract = load_contract(DATA / "transactions.odcs.yaml", shown="contracts/t.yaml")
    assert str(contract.datasets[0].fields[0].place) == "contracts/t.yaml:28:9"


@pytest.mark.parametrize(
    ("text", "kind", "shown"),
    [
        ("{name: a, logicalType: integer}", Kind.INTEGER, (64, 0, 0, False)),
        ("{name: a, logicalType: integer, logicalTypeOptions: {format: i32}}", Kind.INTEGER, (32, 0, 0, False)),
        ("{name: a, logicalType: integer, logicalTypeOptions: {format: u64}}", Kind.DECIMAL, (64, 20, 0, False)),
        ("{name: a, logicalType: integer, physicalType: 'numeric(30)'}", Kind.DECIMAL, (64, 30, 0, False)),
        ("{name: a, logicalType: integer, physicalType: 'NUMBER(10, 0)'}", Kind.INTEGER, (64, 0, 0, False)),
        ("{name: a, logicalType: number}", Kind.NUMBER, (64, 0, 0, False)),
        ("{name: a, logicalType: number, logicalTypeOptions: {format: f32}}", Kind.NUMBER, (32, 0, 0, False)),
        ("{name: a, logicalType: number, physicalType: real}", Kind.NUMBER, (32, 0, 0, False)),
        ("{name: a, logicalType: number, physicalType: 'decimal(38, 38)'}", Kind.DECIMAL, (64, 38, 38, False)),
        ("{name: a, logicalType: timestamp, physicalType: timestamptz}", Kind.TIMESTAMP, (64, 0, 0, True)),
        (
            "{name: a, logicalType: timestamp, physicalType: timestamp(3) with time zone}",
            Kind.TIMESTAMP,
            (64, 0, 0, True),
        ),
        (
            "{name: a, logicalType: timestamp, physicalType: timestamp without time zone}",
            Kind.TIMESTAMP,
            (64, 0, 0, False),
        ),
        ("{name: a, logicalType: string, physicalType: bytea}", Kind.BINARY, (64, 0, 0, False)),
        ("{name: a, logicalType: string, physicalType: varchar(20)}", Kind.STRING, (64, 0, 0, False)),
        ("{name: a, logicalType: time}", Kind.TIME, (64, 0, 0, False)),
        ("{name: a, logicalType: date}", Kind.DATE, (64, 0, 0, False)),
        ("{name: a, logicalType: boolean}", Kind.BOOLEAN, (64, 0, 0, False)),
    ],
)
def test_type_of_a_scalar(tmp_path, text, kind, shown):
    of = one_field(tmp_path, text).fields[0].type
    assert (of.kind, (of.bits, of.precision, of.scale, of.zoned)) == (kind, shown)


def test_bounds_are_exact_decimals_as_written(tmp_path):
    text = "{name: a, logicalType: number, logicalTypeOptions: {minimum: 0.1, maximum: 12345678901234567890.123456789}}"
    limits = one_field(tmp_path, text).fields[0].limits
    assert limits.minimum == Decimal("0.1")
    assert limits.maximum == Decimal("12345678901234567890.123456789")


def test_bounds_of_instants_become_utc(tmp_path):
    text = (
        "{name: a, logicalType: timestamp, "
        "logicalTypeOptions: {timezone: true, minimum: '2024-01-01T00:00:00+02:00', maximum: '2025-01-01'}}"
    )
    limits = one_field(tmp_path, text).fields[0].limits
    assert (limits.minimum, limits.maximum) == ("2023-12-31 22:00:00+00:00", "2025-01-01 00:00:00+00:00")


def test_small_integer_format_implies_its_range(tmp_path):
    text = "{name: a, logicalType: integer, logicalTypeOptions: {format: u8, maximum: 9}}"
    limits = one_field(tmp_path, text).fields[0].limits
    assert (limits.minimum, limits.maximum) == (Decimal(0), Decimal(9))


def test_key_field_is_required_even_when_not_said(tmp_path):
    dataset = one_field(tmp_path, "{name: a, logicalType: string, primaryKey: true}")
    assert dataset.key == ("a",)
    assert dataset.field("a").required
    assert dataset.field("a").key_position == 1
    assert "a.required" in {rule.id for rule in dataset.rules}


def test_no_key_means_that_every_row_counts(tmp_path):
    assert one_field(tmp_path, "{name: a, logicalType: string}").history == "append"


def test_unique_field_is_checked_on_the_table(tmp_path):
    (check,) = one_field(tmp_path, "{name: a, logicalType: string, unique: true}").checks
    assert (check.id, check.metric, check.operator, check.value) == ("a.unique", "duplicateValues", "mustBe", 0)


def test_object_option_required_makes_its_members_required(tmp_path):
    text = (
        "{name: a, logicalType: object, logicalTypeOptions: {required: [b]}, "
        "properties: [{name: b, logicalType: string}]}"
    )
    assert "a.b.required" in {rule.id for rule in one_field(tmp_path, text).rules}


def test_values_of_a_map_are_judged_under_the_path_of_its_items(tmp_path):
    text = (
        "{name: a, logicalType: map, map: {key: {logicalType: string}, "
        "value: {logicalType: integer, logicalTypeOptions: {minimum: 1}}}}"
    )
    assert "a[].minimum" in {rule.id for rule in one_field(tmp_path, text).rules}


@pytest.mark.parametrize(
    ("quality", "tolerance"),
    [
        ("mustBe: 0", None),
        ("mustBeLessThan: 1", None),
        ("mustBeLessThan: 5", Budget(Decimal(4), percent=False)),
        ("mustBeLessOrEqualTo: 5, unit: rows", Budget(Decimal(5), percent=False)),
        ("mustBeLessOrEqualTo: 0.5, unit: percent", Budget(Decimal("0.5"), percent=True)),
        ("mustBeBetween: [0, 3]", Budget(Decimal(3), percent=False)),
    ],
)
def test_operator_of_invalid_values_is_the_rules_tolerance(tmp_path, quality, tolerance):
    entry = "{metric: invalidValues, arguments: {pattern: '^x'}, " + quality + "}"
    dataset = one_field(tmp_path, "{name: a, logicalType: string, quality: [" + entry + "]}")
    assert dataset.rules[-1].check == "pattern"
    assert dataset.rules[-1].tolerance == tolerance


def test_percentage_below_a_bound_is_exceeded_at_the_bound(tmp_path):
    entry = "{metric: invalidValues, arguments: {pattern: '^x'}, mustBeLessThan: 5, unit: percent}"
    tolerance = one_field(tmp_path, "{name: a, logicalType: string, quality: [" + entry + "]}").rules[-1].tolerance
    assert tolerance.exceeded(5, 100)
    assert not tolerance.exceeded(4, 100)
    assert not tolerance.exceeded(49_999_999, 1_000_000_000)


def test_same_id_on_two_fields_is_qualified_by_the_field(tmp_path):
    entry = "quality: [{id: ok, type: custom, engine: headgate, implementation: 'true'}]"
    dataset = one_field(
        tmp_path, f"{{name: a, logicalType: string, {entry}}}\n      - {{name: b, logicalType: string, {entry}}}"
    )
    assert [rule.id for rule in dataset.rules if rule.check == "sql"] == ["ok", "b.ok"]


def test_several_schema_objects_are_several_datasets(tmp_path):
    more = "{name: a, logicalType: string}\n  - name: e\n    properties: [{name: b, logicalType: date}]"
    path = tmp_path / "c.odcs.yaml"
    one_field(tmp_path, more)
    assert [one.name for one in load_contract(path).datasets] == ["d", "e"]


def test_older_contract_takes_types_from_its_physical_types(tmp_path):
    text = "{name: a, physicalType: varchar(10)}\n      - {name: b, physicalType: bigint}"
    text += "\n      - {name: c, physicalType: 'numeric(10,2)'}\n      - {name: e, physicalType: timestamptz}"
    dataset = one_field(tmp_path, text, version="v3.0.2")
    assert [str(one.type) for one in dataset.fields] == [
        "string",
        "integer",
        "decimal(10,2)",
        "timestamp with time zone",
    ]


def test_date_of_version_3_0_may_be_a_timestamp(tmp_path):
    text = "{name: a, logicalType: date, physicalType: timestamp}"
    assert one_field(tmp_path, text, version="v3.0.0").fields[0].type.kind is Kind.TIMESTAMP


def test_rule_of_version_3_0_is_todays_metric(tmp_path):
    text = "{name: a, logicalType: string, quality: [{type: library, rule: duplicateCount, mustBe: 0}]}"
    assert one_field(tmp_path, text, version="v3.0.1").checks[0].metric == "duplicateValues"


def test_text_and_foreign_rules_are_warned_about(tmp_path):
    text = (
        "{name: a, logicalType: string, quality: [{type: text, description: nice}, "
        "{type: custom, engine: soda, implementation: 'x: 1'}]}"
    )
    assert one_field(tmp_path, text).rules[-1].check == "type"
    found = check_contract(tmp_path / "c.odcs.yaml")
    assert [(one.severity, one.code) for one in found] == [(Severity.WARNING, "not-checked")] * 2


def test_format_that_is_not_checked_is_warned_about_with_a_better_type(tmp_path):
    assert (
        one_field(tmp_path, "{name: a, logicalType: string, logicalTypeOptions: {format: date}}").rules[-1].id
        == "a.type"
    )
    (warning,) = check_contract(tmp_path / "c.odcs.yaml")
    assert (warning.code, warning.hint) == ("not-checked", "`logicalType: date` is checked")


def test_absent_file_is_refused_with_its_name(tmp_path):
    with pytest.raises(ContractSyntaxError, match="none.yaml:1:1: cannot be read: No such file"):
        load_contract(tmp_path / "none.yaml")
    assert check_contract(tmp_path)[0].message.startswith("cannot be read")


def test_sixty_lines_are_read_in_milliseconds():
    from time import perf_counter

    path = DATA / "transactions.odcs.yaml"
    load_contract(path)
    best = min(_timed(load_contract, path, perf_counter) for _ in range(5))
    assert best < 0.05  # about 2 ms on a quiet machine


def _timed(what, argument, clock):
    start = clock()
    what(argument)
    return clock() - start

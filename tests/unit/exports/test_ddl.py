"""DDL is read by another parser of each dialect, and says what the contract says."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

from headgate.contract.parse import load_contract
from headgate.contract.to_arrow import silver_schema
from headgate.errors import FixInputError
from headgate.exports.ddl import DIALECTS, ddl

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
NASTY = """
apiVersion: v3.2.0
kind: DataContract
id: nasty
name: nasty
version: 1.0.0
status: active
servers: [{server: s, type: local, path: 'x.csv', format: csv}]
schema:
  - name: nasty
    physicalType: file
    description: "it's a \\\\ back\\nslash \\"quoted\\""
    properties:
      - {name: 'a "b" `c` d', logicalType: string, primaryKey: true, primaryKeyPosition: 1, required: true, description: "'; DROP TABLE x; --"}
      - {name: 'select', logicalType: integer, logicalTypeOptions: {format: i32}}
      - {name: big, logicalType: number, physicalType: 'numeric(38,10)'}
      - {name: blob, logicalType: string, physicalType: bytea}
      - {name: day, logicalType: date, partitioned: true, partitionKeyPosition: 1}
      - {name: tags, logicalType: map, map: {key: {logicalType: string}, value: {logicalType: string}}}
"""

VERSIONS = """
apiVersion: v3.2.0
kind: DataContract
id: versions
name: versions
version: 1.0.0
status: active
servers: [{server: s, type: local, path: 'x.csv', format: csv}]
schema:
  - name: versions
    physicalType: file
    properties:
      - {name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1, required: true}
      - {name: day, logicalType: date, required: true}
    customProperties:
      - {property: headgate.order, value: [day]}
      - {property: headgate.history, value: scd2}
"""


def contracts(tmp_path) -> list:
    (tmp_path / "nasty.odcs.yaml").write_text(NASTY)
    files = [tmp_path / "nasty.odcs.yaml", EXAMPLES / "orders/contracts/order_events.odcs.yaml"]
    files.append(EXAMPLES / "retail/contracts/transactions.odcs.yaml")
    return [dataset for file in files for dataset in load_contract(file).datasets]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_another_parser_reads_the_same_columns(tmp_path, dialect):
    for dataset in contracts(tmp_path):
        [tree] = sqlglot.parse(ddl(dataset, dialect), dialect=dialect, error_level=sqlglot.ErrorLevel.RAISE)
        assert isinstance(tree, exp.Create)
        assert tree.this.this.name == dataset.name
        assert tree.this.this.db == "silver"
        names = [column.name for column in tree.this.expressions if isinstance(column, exp.ColumnDef)]
        assert names == [*(f.name for f in dataset.fields), "_hg_partition", "_hg_offset"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_table_that_keeps_versions_has_their_validity(tmp_path, dialect):
    (tmp_path / "versions.odcs.yaml").write_text(VERSIONS)
    (dataset,) = load_contract(tmp_path / "versions.odcs.yaml").datasets
    [tree] = sqlglot.parse(ddl(dataset, dialect), dialect=dialect, error_level=sqlglot.ErrorLevel.RAISE)
    columns = [column.name for column in tree.this.expressions if isinstance(column, exp.ColumnDef)]
    assert columns == silver_schema(dataset).names


@pytest.mark.parametrize("dialect", DIALECTS)
def test_comments_cannot_end_the_statement(tmp_path, dialect):
    nasty = contracts(tmp_path)[0]
    assert len(sqlglot.parse(ddl(nasty, dialect), dialect=dialect)) == 1
    [tree] = sqlglot.parse(ddl(nasty, dialect), dialect=dialect)
    comments = [c.this.this for c in tree.find_all(exp.CommentColumnConstraint)]
    assert comments == ["'; DROP TABLE x; --"]


def test_types_are_exact_in_every_dialect(tmp_path):
    nasty, orders = contracts(tmp_path)[:2]
    expected = {
        "spark": ("`big` DECIMAL(38, 10)", "`event_time` TIMESTAMP NOT NULL"),
        "athena": ("`big` DECIMAL(38, 10)", "`event_time` TIMESTAMP COMMENT"),
        "trino": ('"big" DECIMAL(38, 10)', '"event_time" TIMESTAMP(6) WITH TIME ZONE NOT NULL'),
        "snowflake": ('"big" NUMBER(38, 10)', '"event_time" TIMESTAMP_TZ(6) NOT NULL'),
    }
    for dialect, (decimal, instant) in expected.items():
        assert decimal in ddl(nasty, dialect)
        assert instant in ddl(orders, dialect)
    assert "PARTITIONED BY (months(`event_time`))" in ddl(orders, "spark")
    assert "PARTITIONED BY (month(`event_time`))" in ddl(orders, "athena")
    assert "LOCATION 's3://lake/here/silver/order_events/'" in ddl(orders, "athena", location="s3://lake/here/")


def test_what_a_dialect_cannot_hold_is_refused_by_name(tmp_path):
    text = NASTY.replace("{name: blob, logicalType: string, physicalType: bytea}", "{name: at, logicalType: time}")
    (tmp_path / "t.odcs.yaml").write_text(text)
    dataset = load_contract(tmp_path / "t.odcs.yaml").datasets[0]
    with pytest.raises(FixInputError, match="spark has no type for time") as told:
        ddl(dataset, "spark")
    assert told.value.where == "nasty.at"
    assert '"at" TIME(6)' in ddl(dataset, "trino")
    with pytest.raises(FixInputError, match="unknown dialect"):
        ddl(dataset, "oracle")

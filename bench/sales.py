"""A PostgreSQL table of sales, ten columns, about 130 bytes a row, as the lab's: the workload of the PostgreSQL hops."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from tests.rigs.postgres import Database, Server

COLUMNS = (
    "id, invoice_no, stock_code, description, quantity, invoice_date, unit_price, customer_id, country, updated_at"
)
_TABLE = """
create table sales (id bigserial primary key, invoice_no text, stock_code text, description text, quantity int,
  invoice_date timestamp, unit_price numeric(10,2), customer_id int, country text, updated_at timestamptz not null)
"""
_ROWS = """
insert into sales (invoice_no, stock_code, description, quantity, invoice_date, unit_price, customer_id, country, updated_at)
select case when g % 50 = 0 then 'C' else '' end || 536365 + g / 20,
  10000 + g * 7919 % 4000 || case when g % 4 = 0 then chr((65 + g % 26)::int) else '' end,
  rpad((array['WHITE HANGING HEART T-LIGHT', 'REGENCY CAKESTAND 3 TIER', 'JUMBO BAG RED RETROSPOT', 'PARTY BUNTING VINTAGE FLAGS',
    'LUNCH BAG BLACK SKULL, "BIG"'])[1 + g * 7919 % 5] || ' ' || g * 7919 % 4000, (25 + g % 5)::int),
  case when g % 50 = 0 then -1 else 1 end * (1 + (hashint8(g) & 63)),
  timestamp '2010-12-01 08:26' + (g / 20) * interval '5 minutes' / {spread},
  ((hashint8(g + 1) & 8191) / 100.0)::numeric(10, 2),
  case when hashint8(g + 2) & 3 = 0 then null else 12346 + (hashint8(g / 20) & 4095) end,
  (array['United Kingdom', 'United Kingdom', 'United Kingdom', 'United Kingdom', 'Germany', 'France', 'EIRE', 'Spain'])[1 + (hashint8(g / 20 + 7) & 7)],
  timestamptz '2026-10-01' + (g - 1) / 200 * interval '2 seconds' / {spread}
from generate_series({first}::bigint, {last}::bigint) g
"""

CONTRACT = """apiVersion: v3.2.0
kind: DataContract
id: bench.sales
name: sales
version: 1.0.0
status: active
servers:
  - {{server: shop, type: postgres, host: '{host}', port: {port}, database: '{database}', schema: public}}
schema:
  - name: sales
    physicalName: sales
    physicalType: table
    properties:
      - {{name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1, required: true}}
      - {{name: invoice_no, logicalType: string, required: true, logicalTypeOptions: {{pattern: '^C?[0-9]+$'}}}}
      - {{name: stock_code, logicalType: string, required: true, logicalTypeOptions: {{minLength: 5, maxLength: 12}}}}
      - {{name: description, logicalType: string, logicalTypeOptions: {{maxLength: 60}}}}
      - {{name: quantity, logicalType: integer, required: true, logicalTypeOptions: {{minimum: -1000, maximum: 1000}}}}
      - {{name: invoice_date, logicalType: timestamp, required: true, partitioned: true, partitionKeyPosition: 1, customProperties: [{{property: headgate.partition, value: year}}]}}
      - {{name: unit_price, logicalType: number, physicalType: 'numeric(10,2)', required: true, logicalTypeOptions: {{minimum: 0, maximum: 80}}}}
      - {{name: customer_id, logicalType: integer}}
      - {{name: country, logicalType: string, required: true, enum: [{{value: United Kingdom}}, {{value: Germany}}, {{value: France}}, {{value: EIRE}}, {{value: Spain}}]}}
      - {{name: updated_at, logicalType: timestamp, required: true, logicalTypeOptions: {{timezone: true}}}}
    customProperties:
      - {{property: headgate.order, value: [updated_at]}}
"""
MODEL = """-- headgate: {incremental: day, from: "invoice_date::date", source: sales}
-- Revenue per day and country.
select invoice_date::date as day, country, sum(quantity * unit_price)::decimal(18, 2) as revenue, count(distinct invoice_no) as invoices
from silver.sales group by all
"""


@contextmanager
def database() -> Iterator[Database]:
    """A real server with an empty database, stopped at the end."""
    server = Server({"shared_buffers": "1GB", "max_wal_size": "4GB", "maintenance_work_mem": "512MB"}).start()
    try:
        with server.database() as made:
            made.run(_TABLE)
            yield made
    finally:
        server.stop()


def fill(into: Database, rows: int, *, first: int = 1, spread: int = 1) -> None:
    """Add rows first..first+rows-1, and leave the table vacuumed and analysed."""
    for start in range(first, first + rows, 2_000_000):
        into.run(_ROWS.format(first=start, last=min(start + 2_000_000, first + rows) - 1, spread=spread))
    into.run("create index if not exists sales_updated_at on sales (updated_at)")
    into.run("vacuum (analyze, freeze) sales")
    into.run("checkpoint")


def add(into: Database, rows: int) -> None:
    """New rows after the newest, copies of the first ones."""
    into.run(
        f"""insert into sales (invoice_no, stock_code, description, quantity, invoice_date, unit_price, customer_id, country, updated_at)
        select invoice_no, stock_code, description, quantity, invoice_date, unit_price, customer_id, country,
          newest + (1 + (row_number() over () - 1) / 200) * interval '1 second'
        from (select * from sales order by id limit {rows}) s, (select max(updated_at) newest from sales) x"""
    )


def project(folder: str, source: Database, *, model: bool = True) -> str:
    """A project that reads the table."""
    for part in ("contracts", "models"):
        os.makedirs(os.path.join(folder, part), exist_ok=True)
    options = source.options
    with open(os.path.join(folder, "contracts", "sales.odcs.yaml"), "w") as out:
        out.write(CONTRACT.format(host=options["host"], port=options["port"], database=options["database"]))
    with open(os.path.join(folder, "headgate.yaml"), "w") as out:
        out.write("datasets:\n  sales:\n    read: {watermark: updated_at}\n")
    if model:
        with open(os.path.join(folder, "models", "daily_revenue.sql"), "w") as out:
            out.write(MODEL)
    return folder


def environment(source: Database) -> dict[str, str]:
    """What libpq's clients need to find the database."""
    options = source.options
    return {
        "PGHOST": str(options["host"]),
        "PGPORT": str(options["port"]),
        "PGDATABASE": str(options["database"]),
        "PGUSER": str(options.get("user", "postgres")),
    }


def address(source: Database) -> str:
    """The database as a URL, for peers."""
    env = environment(source)
    return f"postgresql://{env['PGUSER']}@{env['PGHOST']}:{env['PGPORT']}/{env['PGDATABASE']}"

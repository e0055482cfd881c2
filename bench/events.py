"""Order events as NDJSON: about 670 bytes a line, 2 % exact duplicates, 1 % broken in ten kinds, 1 % late.

kind 0 good; 1 tenant_id missing; 2 amount a word; 3 amount a number in quotes; 4 amount negative; 5 event_time
30 February; 6 unknown event_type; 7 line cut short; 8 user_id a number; 9 qty 1.5; 10 garbage after the object.
The same `events` and seed always give the same file.
"""

from __future__ import annotations

import os

import duckdb

CHUNK = 100_000
_SETUP = """
create macro pick(i, salt, n) as (hash(i::varchar || salt) % n)::bigint;
create macro one_of(i, salt, list) as list[1 + pick(i, salt, len(list))];
"""
_SEQUENCE = """
create table sequence as
with originals as (
  select i, false as copy, case when {broken} and pick(i, 'broken', 98) = 0 then 1 + pick(i, 'kind', 10) else 0 end as kind, i::double as place
  from range({unique}) t(i)),
copies as (
  select i, true as copy, 0::bigint as kind, place + 0.5 + pick(i, 'place', 5000) as place
  from originals where kind = 0 order by hash(i::varchar || 'copy') limit {copies})
select row_number() over (order by place, copy) - 1 as n, i, copy, kind
from (from originals union all by name from copies) order by n
"""
_LINES = """
with parts as (
  select n, i, kind, i // 4 as o,
    timestamp '2026-08-01' + to_microseconds((i::double / {unique} * 7776000000000)::bigint) as moment,
    printf('%.2f', 1 + pick(i // 4, 'amount', 49900) / 100.0) as amount,
    case i % 4 when 0 then 'order_created' when 1 then 'payment_authorized' when 2 then 'order_shipped'
      else if(pick(i // 4, 'end', 20) = 0, 'order_cancelled', 'order_delivered') end as type
  from sequence where n >= {first} and n < {last}),
bodies as (
  select n, kind,
  '{{"event_id":"' || md5('event' || i)::uuid || '","event_type":"' || if(kind = 6, 'order_exploded', type)
  || '","schema_version":' || (1 + pick(i, 'schema', 3))
  || ',"event_time":"' || if(kind = 5, '2026-02-30T10:00:00.000Z', strftime(if(pick(i, 'late', 100) = 0, moment - interval 2 day, moment), '%Y-%m-%dT%H:%M:%S.%gZ'))
  || '","ingest_time":"' || strftime(moment + to_milliseconds(20 + pick(i, 'lag', 1500)), '%Y-%m-%dT%H:%M:%S.%gZ')
  || if(kind = 1, '', '","tenant_id":"tenant_' || lpad(pick(i, 'tenant', 40)::varchar, 3, '0'))
  || '","user_id":' || if(kind = 8, '', '"usr_') || pick(o, 'user', 200000) || if(kind = 8, '', '"')
  || ',"session_id":"ses_' || md5('session' || o)[1:20]
  || '","source_system":"' || one_of(i, 'system', ['web', 'ios', 'android', 'pos'])
  || '","environment":"production","record_source":"shop.orders.v' || (1 + pick(i, 'source', 2))
  || '","payload":{{"order_id":"ORD-' || lpad(o::varchar, 9, '0') || '","amount":'
  || case kind when 2 then '"twelve"' when 3 then '"19.99"' when 4 then '-' || amount else amount end
  || ',"currency":"' || one_of(o, 'currency', ['EUR', 'USD', 'GBP', 'INR', 'JPY']) || '","items":['
  || list_aggregate(list_transform(range(1 + pick(o, 'items', 4)), lambda k:
       '{{"sku":"SKU-' || lpad(pick(i * 8 + k, 'sku', 5000)::varchar, 5, '0') || '","qty":'
       || if(kind = 9 and k = 0, '1.5', (1 + pick(i * 8 + k, 'qty', 5))::varchar)
       || ',"price":' || printf('%.2f', 1 + pick(i * 8 + k, 'price', 19900) / 100.0) || '}}'), 'string_agg', ',')
  || '],"address":{{"street":"' || (1 + pick(o, 'number', 400)) || ' '
  || one_of(o, 'street', ['Main Street', 'High Road', 'Rue de Lyon', 'Königsallee', 'Elm Avenue'])
  || '","city":"' || one_of(o, 'city', ['Berlin', 'Paris', 'London', 'Mumbai', 'Osaka', 'Zürich'])
  || '","zip":"' || lpad(pick(o, 'zip', 99999)::varchar, 5, '0')
  || '","country":"' || one_of(o, 'city', ['DE', 'FR', 'GB', 'IN', 'JP', 'CH']) || '"}}}},"checksum":"' || md5('check' || i) || '"}}' as body
  from parts)
select case kind when 7 then body[1:300] when 10 then body || 'xx' else body end || chr(10) as line from bodies order by n
"""


def write_events(path: str, events: int, *, broken: bool = True) -> dict[str, int]:
    """Write the file (whole or not at all) and say what is in it: lines, copies, broken. Some peers stop at a broken line."""
    con = duckdb.connect(config={"threads": 2})
    con.execute(_SETUP)
    copies = events // 50
    con.execute(_SEQUENCE.format(unique=events - copies, copies=copies, broken=broken))
    with open(path + ".part", "wb", buffering=1 << 22) as out:
        for first in range(0, events, CHUNK):
            sql = _LINES.format(unique=events - copies, first=first, last=first + CHUNK)
            for batch in con.sql(sql).to_arrow_table().to_batches():
                out.write("".join(batch.column(0).to_pylist()).encode())
    os.replace(path + ".part", path)
    lines, copied, bad = con.execute(
        "select count(*), count(*) filter (copy), count(*) filter (kind > 0) from sequence"
    ).fetchone() or (0, 0, 0)
    return {"lines": lines, "copies": copied, "broken": bad}


CONTRACT = """apiVersion: v3.2.0
kind: DataContract
id: bench.events
name: events
version: 1.0.0
status: active
servers:
  - {server: files, type: local, path: 'data/*.ndjson', format: json}
schema:
  - name: events
    physicalType: file
    properties:
      - {name: event_id, logicalType: string, primaryKey: true, primaryKeyPosition: 1, required: true}
      - {name: event_type, logicalType: string, required: true, enum: [{value: order_created}, {value: payment_authorized}, {value: order_shipped}, {value: order_delivered}, {value: order_cancelled}]}
      - {name: schema_version, logicalType: integer, required: true, logicalTypeOptions: {format: i32}}
      - {name: event_time, logicalType: timestamp, required: true, logicalTypeOptions: {timezone: true}}
      - {name: ingest_time, logicalType: timestamp, required: true, logicalTypeOptions: {timezone: true}}
      - {name: tenant_id, logicalType: string, required: true}
      - {name: user_id, logicalType: string, required: true}
      - {name: session_id, logicalType: string, required: true}
      - {name: source_system, logicalType: string, required: true}
      - {name: environment, logicalType: string, required: true}
      - {name: record_source, logicalType: string, required: true}
      - name: payload
        logicalType: object
        required: true
        properties:
          - {name: order_id, logicalType: string, required: true}
          - {name: amount, logicalType: number, required: true, logicalTypeOptions: {minimum: 0}}
          - {name: currency, logicalType: string, required: true}
          - name: items
            logicalType: array
            required: true
            logicalTypeOptions: {minItems: 1}
            items:
              logicalType: object
              properties:
                - {name: sku, logicalType: string, required: true}
                - {name: qty, logicalType: integer, required: true, logicalTypeOptions: {format: i32}}
                - {name: price, logicalType: number, required: true}
          - name: address
            logicalType: object
            required: true
            properties:
              - {name: street, logicalType: string, required: true}
              - {name: city, logicalType: string, required: true}
              - {name: zip, logicalType: string, required: true}
              - {name: country, logicalType: string, required: true}
      - {name: checksum, logicalType: string, required: true}
    customProperties:
      - {property: headgate.order, value: [event_time]}
"""

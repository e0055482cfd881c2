"""The PostgreSQL store on a real server: types and values exact, tables as the contract says, refusals by name."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import math
import random
import struct
from decimal import Decimal

import psycopg2
import pyarrow as pa
import pytest

from headgate.errors import BreakingChangeError, FixInputError, StalePosition, StoreUnavailable
from headgate.ports.batch import REMOVED, Batch, Position
from headgate.ports.store import TableSpec
from headgate.stores.postgres import open_sink

UTC = dt.UTC
_EXACT = decimal.Context(prec=60)
FIRST, LAST = dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999999)
WIDE = Decimal("9" * 20 + "." + "9" * 18)


def serve(database, columns, *, name="silver.t", key=(), mode="append", before=None, to="1", removed=None, **more):
    """Commit one batch of {name: array}; the number of rows."""
    columns = {**columns, **({REMOVED: removed} if removed is not None else {})}
    rows = pa.RecordBatch.from_pydict(columns)
    schema = pa.schema([f for f in rows.schema if f.name != REMOVED])
    sink = open_sink(more.pop("url", database.url), {"mode": mode, **more}, TableSpec(name, schema, key=key))
    try:
        start = Position({"p": before}) if before else Position.start()
        return sink.commit("s", [Batch(rows, start, Position({"p": to}))])
    finally:
        sink.close()


def column(database, what="v", table="silver.t"):
    return [row[0] for row in database.run(f"SELECT {what} FROM {table} ORDER BY n")]


def numbered(values, of):
    return {"n": pa.array(range(len(values)), pa.int32()), "v": pa.array(values, of)}


@pytest.mark.parametrize(
    ("of", "values", "type_"),
    [
        (pa.string(), ["", " a ", "\\N", "é\n\r\t", "\U0001d54f", "x" * 100_000, "'; DROP TABLE t; --", None], "text"),
        (pa.int32(), [0, -1, 2**31 - 1, -(2**31), None], "integer"),
        (pa.int64(), [0, -1, 2**63 - 1, -(2**63), None], "bigint"),
        (pa.bool_(), [True, False, None], "boolean"),
        (
            pa.date32(),
            [dt.date(1, 1, 1), dt.date(1970, 1, 1), dt.date(2000, 2, 29), dt.date(9999, 12, 31), None],
            "date",
        ),
        (pa.time64("us"), [dt.time(0), dt.time(23, 59, 59, 999999), None], "time without time zone"),
        (
            pa.timestamp("us"),
            [FIRST, dt.datetime(1999, 12, 31, 23, 59, 59, 999999), LAST, None],
            "timestamp without time zone",
        ),
        (pa.binary(), [b"", b"\0\xff\\x", bytes(range(256)), None], "bytea"),
        (
            pa.decimal128(38, 18),
            [Decimal(0), WIDE, WIDE.copy_negate(), Decimal("1E-18"), Decimal("-0.5"), None],
            "numeric(38,18)",
        ),
        (pa.decimal128(9, 2), [Decimal("0.01"), Decimal("-9999999.99"), Decimal("1234.50"), None], "numeric(9,2)"),
        (pa.decimal128(5, 5), [Decimal("0.99999"), Decimal("-0.00001"), Decimal(0), None], "numeric(5,5)"),
        (
            pa.decimal128(38, 0),
            [Decimal(10**38 - 1), Decimal(-(10**37)), Decimal(2**64), Decimal(-(2**63)), None],
            "numeric(38,0)",
        ),
    ],
    ids=str,
)
def test_every_value_is_there_in_the_type_that_holds_it(database, of, values, type_):
    serve(database, numbered(values, of))
    found = [bytes(v) if isinstance(v, memoryview) else v for v in column(database)]
    assert found == values
    assert [str(v) for v in found if isinstance(v, Decimal)] == [
        str(v.quantize(Decimal(1).scaleb(-of.scale), context=_EXACT)) for v in values if isinstance(v, Decimal)
    ]
    sql = "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'silver.t'::regclass AND attname = 'v'"
    assert database.run(sql) == [(type_,)]


def test_instants_are_the_same_instants_whatever_the_reader_s_zone(database):
    values = [
        dt.datetime(2026, 3, 29, 1, 0, 0, 1, UTC),
        dt.datetime(1, 1, 2, tzinfo=UTC),
        LAST.replace(tzinfo=UTC),
        None,
    ]
    serve(database, numbered(values, pa.timestamp("us", tz="UTC")))
    found = database.run("SELECT extract(epoch FROM v) * 1000000 FROM silver.t ORDER BY n")
    expected = [
        None if v is None else (v - dt.datetime(1970, 1, 1, tzinfo=UTC)) // dt.timedelta(microseconds=1) for v in values
    ]
    assert [v if v is None else int(v) for (v,) in found] == expected


@pytest.mark.parametrize(
    ("of", "sql", "form"), [(pa.float64(), "float8send(v)", ">d"), (pa.float32(), "float4send(v)", ">f")]
)
def test_floats_keep_every_bit(database, of, sql, form):
    values = [0.0, -0.0, 1.5, math.inf, -math.inf, math.pi, 5e-324, 1.7976931348623157e308]
    if form == ">f":
        values = [struct.unpack("f", struct.pack("f", v))[0] if abs(v) < 1e38 else v for v in values[:6]] + [
            1.401298464324817e-45
        ]
    serve(database, numbered([*values, math.nan], of))
    bits = [bytes(v) for v in column(database, sql)]
    assert bits[:-1] == [struct.pack(form, v) for v in values]
    assert column(database, "v = 'NaN'")[-1]


def test_random_decimals_of_every_shape_are_exact(database):
    seed = random.randrange(10**9)
    print("seed", seed)
    chance = random.Random(seed)
    for precision, scale in [
        (1, 0),
        (3, 1),
        (4, 4),
        (8, 3),
        (18, 4),
        (19, 7),
        (20, 0),
        (27, 25),
        (38, 2),
        (38, 38),
        (38, 37),
    ]:
        bound = 10 ** chance.randint(1, precision)
        values = [Decimal(chance.randrange(-bound + 1, bound)).scaleb(-scale, _EXACT) for _ in range(300)] + [None]
        chance.shuffle(values)
        serve(database, numbered(values, pa.decimal128(precision, scale)), name=f"silver.d{precision}_{scale}")
        assert column(database, table=f"silver.d{precision}_{scale}") == values, (precision, scale)


def test_nested_values_become_jsonb_of_the_same_content(database):
    inner = pa.struct(
        [
            ("sku", pa.string()),
            ("price", pa.decimal128(30, 4)),
            ("at", pa.timestamp("us", tz="UTC")),
            ("raw", pa.binary()),
        ]
    )
    values = [
        [
            {
                "sku": 'a "quote" \\ \n é',
                "price": Decimal("123456789012345678901234.5"),
                "at": dt.datetime(2026, 1, 2, tzinfo=UTC),
                "raw": b"\0\xff",
            }
        ],
        [None, {"sku": None, "price": None, "at": None, "raw": None}],
        [],
        None,
    ]
    serve(
        database,
        {
            **numbered(values, pa.list_(inner)),
            "m": pa.array([[("k", 1)], [], None, [("a", None)]], pa.map_(pa.string(), pa.int64())),
        },
    )
    texts = column(database, "v::text")
    assert json.loads(texts[0], parse_float=Decimal) == [
        {
            "sku": 'a "quote" \\ \n é',
            "price": Decimal("123456789012345678901234.5"),
            "at": "2026-01-02T00:00:00Z",
            "raw": "00ff",
        }
    ]
    assert [None if t is None else json.loads(t) for t in texts[1:]] == [
        [None, {"sku": None, "price": None, "at": None, "raw": None}],
        [],
        None,
    ]
    assert column(database, "m::text") == ['{"k": 1}', "{}", None, '{"a": null}']


def test_sliced_batches_of_many_rows_arrive_whole(database):
    """Chunks begin inside Arrow's buffers, and rows of very different size share them."""
    count = 150_000
    names = [None if n % 7 == 0 else "x" * (n % 40) + str(n) for n in range(count)]
    whole = pa.RecordBatch.from_pydict(
        {
            "n": pa.array(range(count), pa.int32()),
            "v": names,
            "d": pa.array([None if n % 5 == 0 else n for n in range(count)]).cast(pa.decimal128(21, 2)),
            "b": [n % 3 == 0 for n in range(count)],
        }
    ).slice(13, count - 29)
    sink = open_sink(database.url, {"mode": "append"}, TableSpec("silver.t", whole.schema))
    parts = [whole.slice(0, 5), whole.slice(5, 100_000), whole.slice(100_005)]
    batches = [Batch(part, Position.start(), None) for part in parts[:-1]] + [
        Batch(parts[-1], Position.start(), Position({"p": "1"}))
    ]
    assert sink.commit("s", batches) == whole.num_rows
    sink.close()
    assert database.run("SELECT n, v, d, b FROM silver.t ORDER BY n") == [
        tuple(row.values()) for row in whole.to_pylist()
    ]


@pytest.mark.parametrize(
    ("of", "raw"),
    [
        (pa.timestamp("us"), -(2**63)),
        (pa.timestamp("us", tz="UTC"), -210_866_803_200_000_001),
        (pa.date32(), 2**31 - 1),
        (pa.date32(), -(2**31)),
    ],
)
def test_moments_outside_of_the_calendar_are_refused_with_their_row(database, of, raw):
    column_ = pa.array([0, None, raw], pa.int32() if pa.types.is_date(of) else pa.int64()).view(of)
    rows = {"_hg_partition": ["p"] * 3, "_hg_offset": [4, 5, 6], "v": column_}
    with pytest.raises(FixInputError, match=r"column v: .*calendar.* \(row p 6\)") as told:
        serve(database, rows)
    assert told.value.hint
    assert database.run("SELECT to_regclass('silver.t')") == [(None,)]


def test_the_edges_of_the_calendar_are_held(database):
    moments = pa.array([-210_866_803_200_000_000, 2**63 - 1], pa.int64()).view(pa.timestamp("us"))
    days = pa.array([-2_440_588, 2_145_042_905], pa.int32()).view(pa.date32())
    serve(database, {"n": pa.array([0, 1], pa.int32()), "v": moments, "d": days})
    assert column(database, "v::text") == ["4714-11-24 00:00:00 BC", "294247-01-10 04:00:54.775807"]
    assert column(database, "d::text") == ["4714-11-24 BC", "5874897-12-31"]


@pytest.mark.parametrize(
    "columns",
    [
        {"_hg_partition": ["p", "p"], "_hg_offset": [1, 2], "v": ["fine", "a\0b"]},
        {"_hg_partition": ["p", "p"], "_hg_offset": [1, 2], "v": [[{"a": "\\u0000 fine"}], [{"a": "\0\0"}]]},
    ],
)
def test_a_nul_is_refused_with_its_row_or_replaced_where_that_is_asked_for(database, columns):
    with pytest.raises(FixInputError, match=r"column v: .*NUL.* \(row p 2\)"):
        serve(database, columns)
    serve(database, columns, nul="replace")
    found = [row[0] for row in database.run("SELECT v::text FROM silver.t ORDER BY _hg_offset")]
    assert found[0] == ("fine" if isinstance(columns["v"][0], str) else '[{"a": "\\\\u0000 fine"}]')
    assert found[1] == ("a\u2400b" if isinstance(columns["v"][0], str) else '[{"a": "\u2400\u2400"}]')


def test_names_that_attack_are_names(database):
    evil = 'a"; DROP SCHEMA silver CASCADE; --'
    rows = {evil: ["x"], "select": [1], "%s {} %(a)s": [2], "Größe €": [3]}
    serve(database, rows, key=(evil,), mode="upsert", schema='sch"ema; --')
    found = database.run('SELECT * FROM "sch""ema; --".t')
    assert found == [("x", 1, 2, 3)]
    again = dict(rows.items())
    serve(database, again, key=(evil,), mode="upsert", schema='sch"ema; --', before="1", to="2", removed=[True])
    assert database.run('SELECT count(*) FROM "sch""ema; --".t') == [(0,)]


def test_keys_comments_and_not_null_come_from_the_contract(database):
    fields = [
        pa.field("id", pa.int64(), nullable=False, metadata={b"doc": b"Number of the order's \0 row."}),
        pa.field("note", pa.string()),
    ]
    spec = TableSpec("silver.orders", pa.schema(fields), key=("id",), comment="It's all orders.")
    sink = open_sink(database.url, {"mode": "upsert"}, spec)
    sink.commit(
        "s",
        [
            Batch(
                pa.RecordBatch.from_pylist([{"id": 1, "note": None}], spec.schema),
                Position.start(),
                Position({"p": "1"}),
            )
        ],
    )
    sink.close()
    assert database.run(
        "SELECT obj_description('silver.orders'::regclass), col_description('silver.orders'::regclass, 1)"
    ) == [("It's all orders.", "Number of the order's  row.")]
    assert database.run(
        "SELECT conname FROM pg_constraint WHERE conrelid = 'silver.orders'::regclass AND contype = 'p'"
    ) == [("orders_pkey",)]
    with pytest.raises(psycopg2.errors.NotNullViolation):
        database.run("INSERT INTO silver.orders VALUES (NULL, 'x')")


def test_upserts_replace_by_key_and_removals_take_away(database):
    rows = {"k": [1, 2, 3], "v": ["a", "b", "c"]}
    serve(database, rows, key=("k",), mode="upsert")
    changes = {"k": [2, 3, 4], "v": ["gone", "new c", "d"]}
    serve(database, changes, key=("k",), mode="upsert", before="1", to="2", removed=[True, False, False])
    assert database.run("SELECT k, v FROM silver.t ORDER BY k") == [(1, "a"), (3, "new c"), (4, "d")]


def test_a_key_that_is_not_unique_is_refused_by_name(database):
    with pytest.raises(FixInputError, match="duplicate|unique") as told:
        serve(database, {"k": [1, 1], "v": ["a", "b"]}, key=("k",), mode="upsert")
    assert "key" in told.value.hint
    serve(database, {"k": [1], "v": ["a"]}, key=("k",), mode="upsert")
    with pytest.raises(FixInputError, match="second time") as told:
        serve(database, {"k": [1, 1], "v": ["b", "c"]}, key=("k",), mode="upsert", before="1", removed=[False, False])
    assert "key" in told.value.hint
    assert database.run("SELECT k, v FROM silver.t") == [(1, "a")]


def test_new_columns_and_wider_types_follow(database):
    serve(database, {"a": pa.array([1], pa.int32()), "d": pa.array([Decimal(1)], pa.decimal128(5, 2))})
    rows = {"a": pa.array([2**40]), "d": pa.array([Decimal(10**6)], pa.decimal128(12, 2)), "new": ["x"]}
    serve(database, rows, before="1", to="2")
    assert database.run("SELECT * FROM silver.t ORDER BY a") == [
        (1, Decimal("1.00"), None),
        (2**40, Decimal("1000000.00"), "x"),
    ]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"a": ["text"]}, "column a is bigint there and text here"),
        ({"b": [1]}, "column a is there and not here"),
        ({"a": pa.array([1], pa.int32())}, "column a is bigint there and integer here"),
    ],
)
def test_a_table_that_cannot_follow_is_named_with_its_column(database, columns, said):
    serve(database, {"a": [1]})
    with pytest.raises(BreakingChangeError, match=said) as told:
        serve(database, columns, before="1", to="2")
    assert "DROP TABLE" in told.value.hint
    assert database.run("SELECT a FROM silver.t") == [(1,)]


def test_rows_of_others_are_not_touched(database):
    database.run("CREATE SCHEMA silver; CREATE TABLE silver.t (v bigint); INSERT INTO silver.t VALUES (5)")
    with pytest.raises(FixInputError, match="rows that Headgate did not put there"):
        serve(database, {"v": [1]})
    assert database.run("SELECT v FROM silver.t") == [(5,)]
    database.run("TRUNCATE silver.t")
    serve(database, {"v": [1]})
    assert database.run("SELECT v FROM silver.t") == [(1,)]


@pytest.mark.parametrize("there", [True, False], ids=["an empty table", "no table"])
def test_of_two_streams_that_come_into_one_table_at_once_the_second_is_refused(database, there):
    """Neither has a position when the other looks; the first to move its own has the table."""
    database.run("CREATE SCHEMA silver")
    if there:
        database.run("CREATE TABLE silver.t (v bigint)")
    spec = TableSpec("bronze.t", pa.schema([("v", pa.int64())]))
    slow = open_sink(database.url, {"mode": "append", "schema": "silver"}, spec)

    def batches():
        yield Batch(pa.RecordBatch.from_pydict({"v": [7]}), Position.start(), None)
        quick = open_sink(database.url, {"mode": "append"}, TableSpec("silver.t", spec.schema))
        quick.commit(
            "silver.t", [Batch(pa.RecordBatch.from_pydict({"v": [1]}), Position.start(), Position({"p": "1"}))]
        )
        quick.close()
        yield Batch(pa.RecordBatch.from_pydict({"v": [8]}), Position.start(), Position({"p": "2"}))

    with pytest.raises(FixInputError, match="is where silver.t is served"):
        slow.commit("bronze.t", batches())
    slow.close()
    assert database.run("SELECT v FROM silver.t") == [(1,)]
    assert database.run("SELECT stream FROM silver.headgate_positions") == [("silver.t",)]


def test_a_table_that_somebody_dropped_is_made_again_from_the_start(database):
    serve(database, {"v": [1]})
    database.run("DROP TABLE silver.t")
    spec = TableSpec("silver.t", pa.schema([("v", pa.int64())]))
    sink = open_sink(database.url, {"mode": "append"}, spec)
    assert sink.position("s") == Position.start()
    sink.close()
    serve(database, {"v": [1]}, to="9")
    assert database.run("SELECT token FROM silver.headgate_positions") == [("9",)]
    with pytest.raises(StalePosition):
        serve(database, {"v": [2]}, before="1")


def test_readers_see_the_old_rows_until_a_replacement_is_whole(database):
    serve(database, {"v": [1, 2]}, mode="replace")
    reader = database.connect()
    spec = TableSpec("silver.t", pa.schema([("v", pa.int64())]))
    sink = open_sink(database.url, {"mode": "replace"}, spec)
    seen = []

    def batches():
        yield Batch(pa.RecordBatch.from_pydict({"v": [7]}), Position({"p": "1"}), None)
        with reader.cursor() as cursor:
            cursor.execute("SELECT v FROM silver.t ORDER BY v")
            seen.extend(cursor.fetchall())
        yield Batch(pa.RecordBatch.from_pydict({"v": [8]}), Position({"p": "1"}), Position({"p": "2"}))

    assert sink.replace("s", batches()) == 2
    sink.close()
    assert seen == [(1,), (2,)]
    assert database.run("SELECT v FROM silver.t ORDER BY v") == [(7,), (8,)]


def test_the_outcome_of_a_commit_whose_answer_is_lost_is_asked_for(database, monkeypatch):
    """The backend is ended before COMMIT arrives, or the answer is thrown away: each is told apart by the server."""
    from headgate import crash

    killer = database.connect()
    armed = []

    def point(name):
        if name == "postgres store: before COMMIT" and armed:
            armed.clear()
            with killer.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'headgate' AND datname = current_database()"
                )

    monkeypatch.setattr(crash, "point", point)
    armed.append(True)
    with pytest.raises(StoreUnavailable, match="undid"):
        serve(database, {"v": [1]})
    assert database.run("SELECT to_regclass('silver.t')") == [(None,)]
    serve(database, {"v": [1]})

    class Deaf:
        """A connection whose COMMIT reaches the server, but not its answer."""

        def __init__(self, real):
            self.real = real

        def __getattr__(self, name):
            return getattr(self.real, name)

        def commit(self):
            self.real.commit()
            self.real.close()
            raise psycopg2.OperationalError("server closed the connection unexpectedly")

    spec = TableSpec("silver.t", pa.schema([("v", pa.int64())]))
    sink = open_sink(database.url, {"mode": "append"}, spec)
    real_commit = sink._commit
    monkeypatch.setattr(sink, "_commit", lambda opened, transaction: real_commit(Deaf(opened), transaction))
    assert (
        sink.commit("s", [Batch(pa.RecordBatch.from_pydict({"v": [2]}), Position({"p": "1"}), Position({"p": "2"}))])
        == 1
    )
    sink.close()
    assert database.run("SELECT v FROM silver.t ORDER BY v") == [(1,), (2,)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"nope": 1}, "unknown setting 'nope'"),
        ({"nul": "drop"}, "nul is"),
        ({"lock_timeout": "soon"}, "number of seconds"),
    ],
)
def test_wrong_settings_are_named(database, options, said):
    with pytest.raises(FixInputError, match=said):
        serve(database, {"v": [1]}, **options)


def test_nobody_listening_is_unavailable_and_no_rights_is_for_a_person(database):
    with pytest.raises(StoreUnavailable, match="does not answer"):
        serve(database, {"v": [1]}, url="postgresql://nobody:s3cret@127.0.0.1:1/x")
    database.run("CREATE ROLE plain LOGIN; CREATE SCHEMA silver")
    try:
        url = database.url.replace("postgres@", "plain@")
        with pytest.raises(FixInputError, match="permission denied") as told:
            serve(database, {"v": [1]}, url=url)
        assert "GRANT" in told.value.hint
    finally:
        database.run("DROP OWNED BY plain; DROP ROLE plain")


def test_a_bad_url_is_not_shown():
    with pytest.raises(FixInputError) as told:
        open_sink("postgres//me:s3cret@host", {}, TableSpec("silver.t", pa.schema([("v", pa.int64())])))
    assert "s3cret" not in str(told.value) + repr(told.value.__cause__) + str(told.value.hint)


def moments(*texts):
    return pa.array([dt.datetime.fromisoformat(t).replace(tzinfo=UTC) for t in texts], pa.timestamp("us", tz="UTC"))


def serve_divided(database, rows, **more):
    """Serve rows of `id` and `at`, divided by months of `at`."""
    fields = [pa.field("id", pa.int64(), nullable=False), pa.field("at", pa.timestamp("us", tz="UTC"), nullable=False)]
    before, to, removed = more.pop("before", None), more.pop("to", "1"), more.pop("removed", None)
    columns = {"id": rows[0], "at": moments(*rows[1]), **({REMOVED: removed} if removed else {})}
    sink = open_sink(
        database.url, {"mode": "upsert", "time": "at", **more}, TableSpec("silver.t", pa.schema(fields), key=("id",))
    )
    start = Position({"p": before}) if before else Position.start()
    try:
        return sink.commit("s", [Batch(pa.RecordBatch.from_pydict(columns), start, Position({"p": to}))])
    finally:
        sink.close()


def pieces_of(database):
    sql = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'silver.t'::regclass ORDER BY 1"
    return [name.removeprefix("silver.") for (name,) in database.run(sql)]


def test_a_table_divided_in_time_gets_its_partitions_as_rows_come(database):
    serve_divided(database, ([1, 2, 3], ["2026-01-31 23:59:59.999999", "2026-02-01", "1999-12-31"]))
    assert pieces_of(database) == ["t_1999_12", "t_2026_01", "t_2026_02"]
    # Row 2 moves to another month, row 3 goes, row 4 comes.
    rows = ([2, 3, 4], ["2026-03-05", "1999-12-31", "2026-01-02"])
    serve_divided(database, rows, before="1", to="2", removed=[False, True, False])
    assert database.run("SELECT id, tableoid::regclass::text FROM silver.t ORDER BY id") == [
        (1, "silver.t_2026_01"),
        (2, "silver.t_2026_03"),
        (4, "silver.t_2026_01"),
    ]
    with pytest.raises(psycopg2.errors.UniqueViolation):
        database.run("INSERT INTO silver.t SELECT * FROM silver.t WHERE id = 1")


def test_old_partitions_are_dropped_where_that_is_asked_for(database):
    serve_divided(database, ([1, 2], ["2001-01-01", "2400-01-01"]), drop_after="1 month", chunk="year")
    assert pieces_of(database) == ["t_2400"]
    assert database.run("SELECT id FROM silver.t") == [(2,)]


def test_a_table_that_is_not_divided_is_named_when_it_should_be(database):
    fields = pa.schema(
        [pa.field("id", pa.int64(), nullable=False), pa.field("at", pa.timestamp("us", tz="UTC"), nullable=False)]
    )
    sink = open_sink(database.url, {"mode": "upsert"}, TableSpec("silver.t", fields, key=("id",)))
    rows = pa.RecordBatch.from_pydict({"id": [1], "at": moments("2026-01-01")})
    sink.commit("s", [Batch(rows, Position.start(), Position({"p": "1"}))])
    sink.close()
    with pytest.raises(BreakingChangeError, match="not divided by at"):
        serve_divided(database, ([2], ["2026-01-01"]), before="1", to="2", removed=[False])


def test_moments_that_no_partition_can_begin_with_are_named(database):
    first = pa.array([-63_510_000_000_000_000]).view(pa.timestamp("us", tz="UTC"))
    fields = pa.schema([pa.field("at", pa.timestamp("us", tz="UTC"), nullable=False)])
    sink = open_sink(database.url, {"mode": "append", "time": "at"}, TableSpec("silver.t", fields))
    rows = pa.RecordBatch.from_arrays([first], schema=fields)
    with pytest.raises(FixInputError, match="no moment to divide"):
        sink.commit("s", [Batch(rows, Position.start(), Position({"p": "1"}))])
    sink.close()


def test_indexes_that_are_asked_for_are_made(database):
    serve(database, {"a": [1], "b": ["x"]}, indexes=["a", ["b", "a"]])
    found = database.run("SELECT indexdef FROM pg_indexes WHERE schemaname = 'silver' AND tablename = 't' ORDER BY 1")
    assert [row[0].rpartition("USING ")[2] for row in found] == ["btree (a)", "btree (b, a)"]
    with pytest.raises(FixInputError, match="indexes names 'nope'"):
        serve(database, {"a": [1]}, indexes=["nope"])

"""What a person must change is said with its name, its place and a hint; what may pass is said to be retryable; no secret is said."""

from __future__ import annotations

import shutil
import socket
import subprocess
from dataclasses import replace

import pytest

from headgate.contract.model import Field, Kind, Server, Type
from headgate.errors import FixInputError, SourceUnavailable
from headgate.ports.batch import Position
from headgate.sources.postgres import connect, discover, tables
from rigs.postgres import built_with, free_port
from rigs.postgres_landing import Landing

TABLE = "CREATE TABLE orders (id int PRIMARY KEY, Amount numeric(10,2), updated_at timestamptz, note text)"
CANARY = "canary-Pa55w0rd"


@pytest.fixture
def landing(database):
    database.run(TABLE)
    return Landing(database, "orders")


def refused(landing: Landing, kind=FixInputError, **changes):
    dataset = replace(landing.dataset, **changes.pop("dataset", {}))
    options = {**landing.database.options, **changes.pop("options", {})}
    with pytest.raises(kind) as told:
        ask(dataset, options, changes)
    error = told.value
    assert error.hint
    assert CANARY not in f"{error} {error.hint} {error!r} {error.as_dict()} {error.__cause__!r}"
    return error


def ask(dataset, options, read) -> None:
    source = connect(dataset, Server("s", "postgres", options), read)
    try:
        source.schema()
    finally:
        source.close()


def field(name: str) -> Field:
    return Field(name, Type(Kind.STRING))


@pytest.mark.parametrize(
    ("changes", "said", "hint"),
    [
        ({"dataset": {"physical_name": "oders"}}, "no table 'oders'", "orders"),
        ({"dataset": {"physical_name": "Orders"}}, "no table 'Orders'", "orders"),
        ({"dataset": {"physical_name": "nothing_like_it"}}, "no table", "tables: orders"),
        ({"options": {"schema": "pubic"}}, "no schema 'pubic'", "public"),
        ({"dataset": {"fields": (field("Amount"), field("id")), "key": ()}}, "no column 'Amount'", "amount"),
        ({"dataset": {"fields": (field("amonut"),), "key": ()}}, "no column 'amonut'", "amount"),
        ({"watermark": "update_at"}, "no column 'update_at'", "updated_at"),
        ({"watermark": "note"}, "must be a timestamp, a date or a number", "updated_at"),
        ({"watermrak": "updated_at"}, "not a setting of postgres", "watermark"),
        ({"watermark": "updated_at", "slack": "ten"}, "slack: 'ten' is not a measure", "10 min"),
        ({"sweep_below": "-1"}, "not a measure", "MiB"),
        ({"options": {"database": "missing_db"}}, "does not exist", "database"),
        ({"options": {"user": "nobody_here"}}, "refused the connection", "user"),
        ({"options": {"sslmode": "require", "password": CANARY}}, "SSL", "TLS"),
        ({"options": {"sslmode": "bogus"}}, "invalid sslmode", "TLS"),
        ({"options": {"target_session_attrs": "bogus"}}, "invalid target_session_attrs", "TLS"),
        ({"options": {"sslmode": "verify-full", "sslrootcert": "/nowhere/ca.pem"}}, "refused", "TLS"),
    ],
)
def test_a_wrong_setting_is_told_with_near_names(landing, changes, said, hint):
    error = refused(landing, **changes)
    assert said in str(error)
    assert hint in error.hint


@pytest.mark.parametrize(
    ("sql", "name", "said"),
    [
        ("CREATE VIEW v AS SELECT * FROM orders", "v", "is a view"),
        ("CREATE MATERIALIZED VIEW v AS SELECT * FROM orders", "v", "is a materialized view"),
        ("CREATE SEQUENCE v", "v", "is a sequence"),
        ("CREATE TYPE v AS (a int)", "v", "is a composite type"),
    ],
)
def test_what_is_not_a_table_is_refused_by_name(landing, sql, name, said):
    landing.database.run(sql)
    assert said in str(refused(landing, dataset={"physical_name": name}))


def test_rights_are_told_as_the_grant_that_is_missing(landing):
    database = landing.database
    database.run(
        "DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN; CREATE SCHEMA closed; CREATE TABLE closed.orders (id int)"
    )
    try:
        assert 'GRANT SELECT ON "public"."orders" TO "reader"' in refused(landing, options={"user": "reader"}).hint
        database.run("GRANT SELECT (id) ON orders TO reader")
        assert "GRANT SELECT" in refused(landing, options={"user": "reader"}).hint
        assert "GRANT USAGE ON SCHEMA" in refused(landing, options={"user": "reader", "schema": "closed"}).hint
        database.run("GRANT SELECT ON orders TO reader; INSERT INTO orders VALUES (1)")
        reader = {**database.options, "user": "reader"}
        source = connect(landing.dataset, Server("s", "postgres", reader), {"watermark": "updated_at"})
        assert sum(b.rows.num_rows for b in source.read(Position.start())) == 1
        source.close()
        database.run("ALTER TABLE orders ENABLE ROW LEVEL SECURITY")
        source = connect(landing.dataset, Server("s", "postgres", reader), {})
        with pytest.raises(FixInputError, match="row-level security"):
            list(source.read(Position.start()))
        source.close()
    finally:
        database.run("DROP OWNED BY reader; DROP ROLE reader")


def test_hidden_transactions_mean_no_bound_and_are_told(landing):
    """A role without pg_read_all_stats does not see when others began: then every read looks at the whole table."""
    database = landing.database
    database.run(
        "CREATE INDEX ON orders (updated_at); DROP ROLE IF EXISTS plain; CREATE ROLE plain LOGIN; GRANT SELECT ON orders TO plain"
    )
    try:
        late = database.connect().cursor()
        late.execute("BEGIN; SELECT 1")
        options = {**database.options, "user": "plain"}
        source = connect(
            landing.dataset, Server("s", "postgres", options), {"watermark": "updated_at", "sweep_below": 0}
        )
        batches = list(source.read(Position.start()))
        assert '"since":null' in batches[-1].end.tokens["public.orders"]
        assert any("pg_read_all_stats" in said for said in source.tell()["limitations"])
        source.close()
    finally:
        database.run("DROP OWNED BY plain; DROP ROLE plain")


def test_deletes_are_said_to_be_unseen(landing):
    source = landing.source()
    assert "Deleted rows are not seen: what was landed stays." in source.tell()["limitations"]
    source.close()


def test_an_unreachable_server_is_retryable_and_named(landing):
    port = free_port()
    error = refused(landing, SourceUnavailable, options={"port": port, "password": CANARY})
    assert f"127.0.0.1:{port}" in str(error)
    assert error.exit_code == 3


def test_a_server_that_never_answers_is_given_up_after_the_timeout(landing):
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(1)
        port = deaf.getsockname()[1]
        error = refused(landing, SourceUnavailable, options={"port": port, "password": CANARY}, connect_timeout=2)
    assert str(port) in str(error)


def test_a_table_that_vanishes_or_loses_a_column_is_told(landing):
    source = landing.source()
    source.schema()
    landing.database.run("ALTER TABLE orders DROP note")
    with pytest.raises(FixInputError, match="no column 'note'"):
        list(source.read(Position.start()))
    source.close()
    landing.database.run("DROP TABLE orders")
    with pytest.raises(FixInputError, match="no table 'orders'"):
        landing.run()


def test_a_locked_table_is_waited_for_no_longer_than_said(landing):
    cursor = landing.database.connect().cursor()
    cursor.execute("BEGIN; LOCK TABLE orders")
    with pytest.raises(SourceUnavailable, match="lock timeout"):
        landing.run(lock_timeout=0.05)
    cursor.execute("COMMIT")
    assert landing.run() == 0


def test_a_wrong_password_is_refused_and_never_told(landing, postgres_server, monkeypatch, tmp_path):
    """Passwords come from the server's options, PGPASSWORD or a passfile; here the server asks for one."""
    rules = postgres_server.data / "pg_hba.conf"
    kept = rules.read_text()
    database = landing.database
    database.run("DROP ROLE IF EXISTS careful; SET password_encryption = 'scram-sha-256'")
    database.run(f"CREATE ROLE careful LOGIN SUPERUSER PASSWORD '{CANARY}'")
    rules.write_text("host all careful all scram-sha-256\n" + kept)
    database.run("SELECT pg_reload_conf()")
    careful = {"user": "careful"}
    try:
        assert "password" in str(refused(landing, options=careful))
        assert "password authentication failed" in str(refused(landing, options={**careful, "password": CANARY + "x"}))
        for options, setting in [
            ({"password": CANARY}, {}),
            ({}, {"PGPASSWORD": CANARY}),
            ({}, {"PGPASSFILE": "file"}),
        ]:
            passfile = tmp_path / "passfile"
            passfile.write_text(f"*:*:*:careful:{CANARY}\n")
            passfile.chmod(0o600)
            for name, value in setting.items():
                monkeypatch.setenv(name, str(passfile) if value == "file" else value)
            source = connect(landing.dataset, Server("s", "postgres", {**database.options, **careful, **options}), {})
            source.schema()
            assert CANARY not in repr(source._address)
            assert CANARY not in repr(source.tell())
            source.close()
            for name in setting:
                monkeypatch.delenv(name)
    finally:
        rules.write_text(kept)
        database.run("SELECT pg_reload_conf(); DROP ROLE careful")


@pytest.mark.skipif(not built_with("openssl") or not shutil.which("openssl"), reason="needs PostgreSQL with TLS")
def test_tls_options_reach_the_server(postgres_server, tmp_path):
    """A server with a certificate of its own: verify-ca needs its root, verify-full needs its name."""
    from rigs.postgres import Server as Cluster
    from rigs.postgres import owner

    cluster = Cluster({"ssl": "on"})
    key, root = cluster.folder / "server.key", cluster.folder / "server.crt"
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", root, "-days", "2"]
        + ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
        capture_output=True,
    )
    assert made.returncode == 0, made.stderr
    if owner():
        shutil.chown(key, owner())
    key.chmod(0o600)
    cluster.extra |= {"ssl_cert_file": str(root), "ssl_key_file": str(key)}
    try:
        cluster.start()
        with cluster.database() as database:
            database.run(TABLE)
            plain = {**database.options, "host": "localhost", "hostaddr": "127.0.0.1"}
            copy = tmp_path / "root.crt"
            copy.write_bytes(root.read_bytes())
            for options in ({"sslmode": "require"}, {"sslmode": "verify-full", "sslrootcert": str(copy)}):
                assert discover({**plain, **options}, "orders").name == "orders"
            with pytest.raises(FixInputError, match="certificate"):
                discover(
                    {**plain, "host": "other.example", "sslmode": "verify-full", "sslrootcert": str(copy)}, "orders"
                )
    finally:
        cluster.stop()


def test_options_and_session_attributes_pass_through(landing):
    source = landing.source(options="-c work_mem=3MB", target_session_attrs="any")
    source.schema()
    session = source._open()
    assert session.query("SHOW work_mem") == [("3MB",)]
    assert session.query("SHOW application_name") == [("headgate",)]
    assert session.query("SHOW default_transaction_read_only") == [("on",)]
    source.close()


def test_tables_lists_what_may_be_read(landing):
    landing.database.run("CREATE VIEW v AS SELECT 1; COMMENT ON TABLE orders IS 'What was sold'")
    found = tables(landing.database.options)
    assert [(one.schema, one.name, one.comment) for one in found] == [("public", "orders", "What was sold")]

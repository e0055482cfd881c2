"""The example's own PostgreSQL, and the shop that works on it: real server, real transactions."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from decimal import Decimal

import psycopg2
import pytest


@pytest.fixture(scope="module")
def postgres(retail, tmp_path_factory):
    # A deep folder, so that the socket's path would be too long for the system if it were put there.
    folder = tmp_path_factory.mktemp("server") / ("deep-" * 12) / "postgres"
    with retail("server").running(folder) as server:
        yield server


@pytest.fixture
def connection(postgres):
    with contextlib.closing(postgres.connect()) as made:
        yield made


def fill(retail, connection, rows: int = 3_000) -> None:
    with connection:
        retail("load").create_table(connection)
        retail("load").copy_rows(connection, retail("generator").Shop(seed=1, rows=rows).blocks())


def one(connection, sql: str):
    with connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]


def test_it_is_our_own_database_and_no_network(postgres, connection):
    assert one(connection, "select current_database()") == "sales_db"
    assert one(connection, "show listen_addresses") == ""
    assert "PGHOST" not in repr(postgres), "what a server shows must not hold its connection settings"


def test_the_server_is_gone_when_the_block_ends(retail, tmp_path):
    with retail("server").running(tmp_path / "postgres") as server:
        environment = dict(server.environment)
    with pytest.raises(psycopg2.OperationalError):
        retail("server")._connect(environment)
    assert not os.path.exists(os.path.join(environment["PGHOST"], ".s.PGSQL.5432"))


def test_a_server_is_stopped_after_an_error_too(retail, tmp_path):
    environment = {}
    with contextlib.suppress(ZeroDivisionError), retail("server").running(tmp_path / "postgres") as server:
        environment |= server.environment
        raise ZeroDivisionError
    with pytest.raises(psycopg2.OperationalError):
        retail("server")._connect(environment)


def test_another_server_can_be_named(retail, postgres, tmp_path):
    e = postgres.environment
    dsn = f"host={e['PGHOST']} port={e['PGPORT']} user={e['PGUSER']} dbname=postgres"
    with retail("server").running(tmp_path / "unused", dsn) as server:
        assert not server.own
        assert server.environment["PGDATABASE"] == "sales_db"
    assert not (tmp_path / "unused").exists()


def test_a_wrong_name_of_a_server_is_said(retail, tmp_path):
    server = retail("server")
    with pytest.raises(server.ServerError, match="HEADGATE_PG_DSN"), server.running(tmp_path, "host=/nowhere"):
        pass


def test_every_line_loads_exactly(retail, connection, tmp_path):
    text = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
    text += "536365,85123A,,6,2010-12-01 08:26,2.55,17850.0,EIRE\nA563186,B,Adjust bad debt,1,,-11062.06,,\n"
    (tmp_path / "lines.csv").write_text(text)
    _, loaded = retail("load").load_file(connection, tmp_path / "lines.csv")
    assert (loaded.lines, loaded.quantity_sum, loaded.value_sum) == (2, 7, Decimal("-11046.76"))
    assert one(connection, "select count(*) from transactions where description is null and customer_id = '17850'") == 1


def test_a_file_that_does_not_fit_leaves_the_table_as_it_was(retail, connection, tmp_path):
    fill(retail, connection, 100)
    (tmp_path / "bad.csv").write_text("InvoiceNo,StockCode\n1,2\n")
    with pytest.raises(retail("load").LoadError):
        retail("load").load_file(connection, tmp_path / "bad.csv")
    assert one(connection, "select count(*) from transactions") == 100


def test_a_table_of_somebody_else_is_never_replaced(retail, connection):
    fill(retail, connection, 10)
    with connection, connection.cursor() as cursor:
        cursor.execute("comment on table transactions is 'the real one'")
    with pytest.raises(retail("load").LoadError, match="did not make"), connection:
        retail("load").create_table(connection)
    assert one(connection, "select count(*) from transactions") == 10
    with connection, connection.cursor() as cursor:
        cursor.execute("drop table transactions")


def test_a_days_work_is_the_same_every_time(retail, connection):
    seen = []
    for _ in range(2):
        fill(retail, connection)
        shop = retail("shop").Shop(connection)
        seen.append((shop.work(), shop.work_more(), one(connection, "select sum(quantity) from transactions")))
    assert seen[0] == seen[1]
    assert seen[0][0].mistakes == 16
    assert seen[0][1].corrected == 6


def test_late_lines_are_hidden_until_they_are_committed(retail, postgres, connection):
    fill(retail, connection)
    shop = retail("shop").Shop(connection)
    with shop.open_transaction(postgres.connect()) as late:
        late.insert(50, minutes_ago=20)
        shop.work()
        newest = "select max(updated_at) from transactions where updated_at < clock_timestamp()"
        hidden = "select count(*) from transactions where invoice_no between '910000' and '910999'"
        seen, before = one(connection, hidden), one(connection, newest)
        late.commit()
    assert seen == 0
    assert one(connection, hidden) == 50
    assert one(connection, f"{hidden} and updated_at < '{before}'") == 50, (
        "their watermark lies behind what others have already shown"
    )


def test_a_shop_without_a_sound_line_is_said(retail, connection):
    with connection:
        retail("load").create_table(connection)
    with pytest.raises(retail("shop").ShopError):
        retail("shop").Shop(connection).work()


def test_a_command_runs_with_the_server_at_its_side(retail_folder, tmp_path):
    code = "import psycopg2; print(psycopg2.connect('').info.dbname)"
    script = [sys.executable, str(retail_folder / "server.py"), "--folder", str(tmp_path / "postgres")]
    done = subprocess.run([*script, sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("sales_db\n", 0), done.stderr
    assert subprocess.run([*script, "false"], check=False).returncode == 1
    assert subprocess.run([*script, "/no/such/command"], check=False, capture_output=True).returncode == 127

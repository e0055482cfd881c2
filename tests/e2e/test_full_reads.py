"""A source that tells no changes is read whole: silver is what a stream of the changes would have made of it."""

from __future__ import annotations

import os
import random
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from e2e.command import good, headgate
from headgate.errors import SourceUnavailable
from headgate.sources.files_source import FilesSource
from rigs.postgres_project import PostgresProject

CONTRACT = """\
apiVersion: v3.2.0
kind: DataContract
id: shop.users
name: users
version: 1.0.0
status: draft
servers: [SERVER]
schema:
  - name: users
    properties:
      - {name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1, required: true}
      - {name: name, logicalType: string, required: true}
      - {name: city, logicalType: string, partitioned: true}
      - {name: score, logicalType: number}
      - {name: seen_at, logicalType: timestamp, required: true, logicalTypeOptions: {timezone: true}}
      - {name: change, logicalType: string}
    customProperties:
      - {property: headgate.history, value: HISTORY}
      - OWN
"""
FILES = "{server: drop, type: local, path: 'in/*.parquet', format: parquet}"
CSV = "{server: drop, type: local, path: 'in/*.csv', format: csv}"
FULL = "{property: headgate.full_reads, value: {at: seen_at, change: change}}"
STREAM = """{property: headgate.order, value: [seen_at]}
      - {property: headgate.operation, value: {field: change, delete: [delete]}}"""
COLUMNS = {"id": pa.int64(), "name": pa.string(), "city": pa.string(), "score": pa.float64()}
CHANGES = {**COLUMNS, "seen_at": pa.timestamp("us", "UTC"), "change": pa.string()}


def project(folder, history="latest", own=FULL, server=FILES):
    (folder / "contracts").mkdir(parents=True)
    (folder / "in").mkdir()
    text = CONTRACT.replace("SERVER", server).replace("HISTORY", history).replace("OWN", own)
    (folder / "contracts" / "users.odcs.yaml").write_text(text)
    (folder / "headgate.yaml").write_text("datasets: {users: {}}\n")
    return folder


def moment(day):
    return datetime(2026, 1, 1 + day, tzinfo=UTC)


def dump(folder, day, rows, columns=COLUMNS, name=None):
    """A file with all rows, changed on that day."""
    path = folder / "in" / f"{name or f'{day:03}'}.parquet"
    whole = {n: pa.array([r.get(n) for r in rows], of) for n, of in columns.items()}
    pq.write_table(pa.table(whole), path)
    at = moment(day).timestamp()
    os.utime(path, (at, at))


def written(folder, day, text):
    """A CSV file with all rows, changed on that day."""
    path = folder / "in" / f"{day:03}.csv"
    path.write_text(text)
    at = moment(day).timestamp()
    os.utime(path, (at, at))


def in_csv(rows):
    cells = [[n if r is None else "" if r[n] is None else str(r[n]) for n in COLUMNS] for r in (None, *rows)]
    return "".join(",".join(line) + "\n" for line in cells)


def silver(folder, columns="*"):
    exclude = "exclude (_hg_partition, _hg_offset)" if columns == "*" else ""
    return sorted(map(repr, good("query", f"select {columns} {exclude} from silver.users", project=folder)))


def run(folder):
    (users,) = good("run", project=folder)["datasets"]
    (account,) = good("audit", "--deep", project=folder)
    assert (account["state"], account["findings"]) == ("balanced", [])
    return {verdict: n for verdict, n in users["verdicts"].items() if n}


def change(dice, people):
    """The next day's people."""
    left = {k: v for k, v in people.items() if dice.random() > 0.2}
    for key in [k for k in left if dice.random() < 0.3]:
        left[key] = {**left[key], dice.choice(["city", "name"]): dice.choice("abc"), "score": dice.choice([1.5, None])}
    for key in range(12):
        if key not in left and dice.random() < 0.3:
            left[key] = {"id": key, "name": "new", "city": dice.choice("ab"), "score": float("nan")}
    return left


def stream_of(day, before, after):
    """What a source that tells its changes would have said."""
    gone = [{"id": k, "seen_at": moment(day), "change": "delete"} for k in before if k not in after]
    came = [
        {**row, "seen_at": moment(day), "change": "update" if key in before else "insert"}
        for key, row in after.items()
        if repr(before.get(key)) != repr(row)
    ]
    return gone + came


@pytest.mark.parametrize("history", ["latest", "scd2"])
def test_full_reads_give_what_a_stream_of_changes_would_have_given(tmp_path, history):
    whole, told = project(tmp_path / "whole", history), project(tmp_path / "told", history, STREAM)
    dice, people = random.Random(7), {}
    for day in range(6):
        after = change(dice, people) or {99: {"id": 99, "name": "last", "city": "a", "score": 0.0}}
        dump(whole, day, list(after.values()))
        dump(told, day, stream_of(day, people, after), CHANGES)
        if day % 3 != 0:  # sometimes two reads come in one run
            assert run(whole) == run(told)
            assert silver(whole) == silver(told)
        people = after
    good("run", "--full-refresh", project=whole)
    assert silver(whole) == silver(told)
    assert len(silver(whole)) == len(people) if history == "latest" else len(silver(whole)) > len(people)


@pytest.mark.parametrize("history", ["latest", "scd2"])
def test_full_reads_of_csv_files_give_the_same(tmp_path, history):
    whole, told = project(tmp_path / "whole", history, server=CSV), project(tmp_path / "told", history, STREAM)
    dice, people = random.Random(8), {}
    for day in range(4):
        changed = change(dice, people)
        after = {
            k: {**one, "score": 2.5 if one["score"] != one["score"] else one["score"]} for k, one in changed.items()
        }
        written(whole, day, in_csv(after.values()))
        dump(told, day, stream_of(day, people, after), CHANGES)
        assert run(whole) == run(told)
        assert silver(whole) == silver(told)
        people = after
    good("run", "--full-refresh", project=whole)
    assert silver(whole) == silver(told)


def test_a_key_is_its_value_however_a_csv_file_writes_it(tmp_path):
    folder = project(tmp_path, server=CSV)
    written(folder, 0, "id,name,city\n1,a,x\n2,b,x\n3,c,x\n")
    assert run(folder) == {"accepted": 3}
    written(folder, 1, 'id,name,city\n"01",a,x\n2,b,x\n+3,c,x\n')
    run(folder)
    assert silver(folder, "id, name") == sorted(
        map(repr, [{"id": k, "name": n} for k, n in ((1, "a"), (2, "b"), (3, "c"))])
    )
    written(folder, 2, "id,name,city,score\n1,a,x,\n01,a,x,\n2,b,y,1.5\n3,c,x,\n")  # a column more, a key twice
    run(folder)
    written(folder, 3, "id,name,city,score\n1,a,x,\n2,b,y,1.5\n")
    assert run(folder)["deleted"] == 1
    assert silver(folder, "id, city, score") == sorted(
        map(repr, [{"id": 1, "city": "x", "score": None}, {"id": 2, "city": "y", "score": 1.5}])
    )


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("id,name,city\n1,a,x\n2,b\n", 2, "line 3: 2 fields, the header names 3"),
        ('id,name,city\n1,a,x\n2,"b,x\n', 2, "line 3: "),
        ("id,name,city\n", 4, "3 of 3 keys are gone"),
        ("", 4, "3 of 3 keys are gone"),
        ("no,name,city\n1,a,x\n", 4, "3 of 3 keys are gone"),
    ],
    ids=["a field short", "a quote open", "a header alone", "empty", "no key"],
)
def test_a_csv_file_that_is_not_whole_deletes_nothing(tmp_path, text, code, said):
    folder = project(tmp_path, server=CSV)
    written(folder, 0, "id,name,city\n1,a,x\n2,b,x\n3,c,x\n")
    run(folder)
    before = silver(folder)
    written(folder, 1, text)
    answer = headgate("run", project=folder)
    assert (answer.code, said in answer.err) == (code, True), answer.err
    assert silver(folder) == before
    written(folder, 1, "id,name,city\n2,b,x\n3,c,x\n")
    assert run(folder) == {"deleted": 1}


def test_a_file_that_is_replaced_is_the_next_full_read_and_one_that_is_the_same_lands_nothing(tmp_path):
    folder = project(tmp_path)
    people = [{"id": k, "name": "a", "city": "x", "score": 1.0} for k in range(4)]
    dump(folder, 0, people, name="users")
    assert run(folder) == {"accepted": 4}
    dump(folder, 1, people[::-1], name="users")  # another order is no change
    assert run(folder) == {}
    dump(folder, 2, [*people[1:], people[1]], name="users")  # a key that comes twice is one that changed
    assert run(folder) == {"duplicate": 1, "deleted": 1, "accepted": 1}
    assert silver(folder, "id") == sorted(map(repr, [{"id": k} for k in (1, 2, 3)]))


def test_a_read_that_is_not_whole_deletes_nothing(tmp_path):
    folder = project(tmp_path)
    people = [{"id": k, "name": "a", "city": "x", "score": 1.0} for k in range(100)]
    dump(folder, 0, people)
    run(folder)
    before = silver(folder)

    def refused(code, said):
        answer = headgate("run", project=folder)
        assert answer.code == code
        assert said in answer.err
        assert silver(folder) == before
        assert good("audit", "--deep", project=folder)[0]["state"] == "balanced"

    dump(folder, 1, people[:50])
    path = folder / "in" / "001.parquet"
    path.write_bytes(path.read_bytes()[:-20])  # it is still being written
    refused(2, "not a whole Parquet file")
    dump(folder, 1, [])  # an export that failed
    refused(4, "100 of 100 keys are gone")
    dump(folder, 1, [{**one, "id": one["id"] + 1000} for one in people])  # another table
    refused(4, "100 of 100 keys are gone")
    contract = folder / "contracts" / "users.odcs.yaml"
    contract.write_text(contract.read_text().replace("change: change}", "change: change, most_deleted: 10 percent}"))
    dump(folder, 1, people[11:])
    refused(4, "11 of 100 keys are gone in this full read; the contract allows 10 percent")
    dump(folder, 1, people[10:])
    assert run(folder) == {"deleted": 10}
    contract.write_text(contract.read_text().replace("10 percent", "100 percent"))
    dump(folder, 2, [])
    assert run(folder) == {"deleted": 90}
    assert silver(folder) == []


def test_text_and_columns_that_are_in_the_way_are_told_by_name(tmp_path):
    folder = project(tmp_path / "text", server="{server: drop, type: local, path: 'in/*.ndjson', format: ndjson}")
    (folder / "in" / "a.ndjson").write_text('{"id": 1, "name": "a"}\n')
    answer = headgate("run", project=folder)
    assert answer.code == 2
    assert "needs a source with columns" in answer.err
    folder = project(tmp_path / "key", server=CSV)
    written(folder, 0, "no,name,city\n1,a,x\n")
    answer = headgate("run", project=folder)
    assert answer.code == 2
    assert "the source has no column 'id'" in answer.err
    folder = project(tmp_path / "column")
    dump(folder, 0, [{"id": 1, "name": "a", "change": "x"}], {**COLUMNS, "change": pa.string()})
    answer = headgate("run", project=folder)
    assert answer.code == 2
    assert "the source has a column 'change', which headgate.full_reads fills" in answer.err


def test_rows_that_leave_a_postgres_table_leave_silver(tmp_path, database):
    database.run("""
        create table t (id bigint primary key, who text, tags text[], doc jsonb, amount numeric);
        insert into t select i, 'c' || i % 7, array['x', i::text], jsonb_build_object('i', i),
          case when i % 10 = 0 then 'NaN' else i * 1.01 end from generate_series(1, 300) i""")
    project = PostgresProject(tmp_path / "shop", database)
    fields = """{name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1, required: true}
        {name: who, logicalType: string, required: true}
        {name: tags, logicalType: array, items: {logicalType: string}}
        {name: doc, logicalType: string}
        {name: amount, logicalType: string}
        {name: seen_at, logicalType: timestamp, required: true, logicalTypeOptions: {timezone: true}}
        {name: change, logicalType: string}"""
    project.write(fields, own=FULL)

    def read():
        verdicts = {verdict: n for verdict, n in project.run()["verdicts"].items() if n}
        (account,) = project.good("audit", "--deep")
        assert (account["state"], account["findings"]) == ("balanced", [])
        held = project.rows("select id, who, doc ->> 'i' as i, amount from silver.t order by id")
        with database.connect() as connection, connection.cursor() as cursor:
            cursor.execute("select id, who, doc ->> 'i', amount::text from t order by id")
            assert [tuple(row.values()) for row in held] == cursor.fetchall()
        return verdicts

    assert read() == {"accepted": 300}
    assert read() == {}
    database.run("delete from t where id % 3 = 0; update t set amount = 0 where id = 10; update t set doc = doc where id = 4;"
                 "insert into t values (1000, 'new', null, '{}', 1)")  # fmt: skip
    assert read() == {"deleted": 100, "accepted": 2}
    database.run("insert into t values (3, 'again', null, null, null)")
    assert read() == {"accepted": 1}
    database.run("truncate t")
    answer = project.answer("run")
    assert answer.code == 4
    assert "202 of 202 keys are gone" in answer.err
    database.run("insert into t values (3, 'again', null, null, null)")
    assert read() == {"deleted": 201}


def test_a_source_that_breaks_off_leaves_nothing_of_the_read(tmp_path, monkeypatch):
    folder = project(tmp_path)
    people = [{"id": k, "name": "a", "city": "x", "score": 1.0} for k in range(50)]
    dump(folder, 0, people)
    run(folder)
    before, whole = silver(folder), FilesSource._whole

    def broken(*arguments):
        batches = whole(*arguments)
        yield next(batches)
        raise SourceUnavailable("hung up", stage="extract")

    dump(folder, 1, people[:20])
    with monkeypatch.context() as patch:
        patch.setattr(FilesSource, "_whole", broken)
        assert headgate("run", project=folder).code == 3
    assert silver(folder) == before
    assert run(folder) == {"deleted": 30}


def test_a_run_that_goes_on_refuses_full_reads(tmp_path):
    folder = project(tmp_path)
    answer = headgate("run", "--continuous", project=folder)
    assert answer.code == 2
    assert "cannot make full reads" in answer.err

import json

import jsonschema_rs

from headgate.runtime.record import DatasetRecord, RunRecord, read_records, record_schema, write_record


def record(number=0):
    one = DatasetRecord("orders", "1.0.0", landed_rows=3, read=3, verdicts={"accepted": 2, "quarantined": 1})
    return RunRecord(f"20261120T12000{number}Z-0123abcd", "2026-11-20T12:00:00+00:00", datasets=[one])


def test_a_record_satisfies_its_published_schema():
    jsonschema_rs.validator_for(record_schema()).validate(record().as_dict())


def test_the_schema_refuses_an_unknown_key():
    broken = record().as_dict() | {"extra": 1}
    assert not jsonschema_rs.is_valid(record_schema(), broken)


def test_records_are_read_newest_first(tmp_path):
    for number in range(3):
        write_record(tmp_path, record(number))
    ids = [r["run_id"] for r in read_records(tmp_path, 2)]
    assert ids == ["20261120T120002Z-0123abcd", "20261120T120001Z-0123abcd"]


def test_a_record_is_written_whole(tmp_path):
    path = write_record(tmp_path, record())
    assert json.loads(path.read_text())["datasets"][0]["verdicts"] == {"accepted": 2, "quarantined": 1}
    assert not list(tmp_path.glob("*.tmp"))

"""The sensors example on files: what the simulator planted is found, and real sensor files load whole."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from headgate import Project
from rigs import real_data

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "sensors"
REASONS = {  # what each planted fault breaks
    "too_hot": "temperature_c.maximum",
    "too_humid": "humidity_pct.maximum",
    "battery_below_zero": "battery_pct.minimum",
    "no_sensor": "sensor_id.required",
    "text_for_number": "temperature_c.type",
    "not_a_number": "record",
    "unknown_unit": "unit.enum",
    "year_2099": "measured_at.maximum",
    "cut_off": "record",
}


def simulate(*options: str) -> tuple[bytes, dict[str, int]]:
    done = subprocess.run([sys.executable, str(EXAMPLE / "simulate.py"), *options], capture_output=True, check=True)
    return done.stdout, json.loads(done.stderr)


@pytest.fixture
def project_folder(tmp_path):
    folder = tmp_path / "project"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("inbox", "air", ".headgate"))
    return folder


def test_every_planted_fault_is_found_and_nothing_else(project_folder):
    lines, made = simulate("--readings", "4000", "--seed", "5")
    assert lines == simulate("--readings", "4000", "--seed", "5")[0]
    assert lines.count(b"\n") == made["readings"]
    (project_folder / "inbox").mkdir()
    (project_folder / "inbox" / "readings.ndjson").write_bytes(lines)
    with Project.open(project_folder) as project:
        record = project.run("sensor_readings+")
        found = next(one for one in record.datasets if one.name == "sensor_readings")
        expected: dict[str, int] = {}
        for fault, rule in REASONS.items():
            expected[rule] = expected.get(rule, 0) + made.get(fault, 0)
        assert found.reasons == {rule: rows for rule, rows in expected.items() if rows}
        assert found.verdicts["duplicate"] == made["doubled"]
        assert found.verdicts["accepted"] == made["distinct"] - sum(expected.values())
        assert [one.state for one in project.audit(deep=True, select=["sensor_readings"])] == ["balanced"]
        latest = project.query("select count(*) as n, count(distinct sensor_id) as sensors from gold.latest_readings")
        assert latest.to_pylist() == [{"n": 20, "sensors": 20}]


@pytest.mark.real_data
def test_a_real_station_loads_whole(project_folder):
    folder = real_data.folder()
    if folder is None:
        pytest.skip("real data is not beside this checkout")
    (project_folder / "air").mkdir()
    shutil.copy(folder / "sensors" / "PRSA_Data_Dingling_20130301-20170228.csv.gz", project_folder / "air")
    with Project.open(project_folder) as project:
        record = project.run("air_quality+")
        found = next(one for one in record.datasets if one.name == "air_quality")
        assert found.verdicts["accepted"] == found.landed_rows == 35_064
        hours = project.query("select sum(hours) as hours from gold.air_by_month").to_pylist()
        assert hours == [{"hours": 35_064}]

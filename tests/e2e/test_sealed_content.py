"""Silver's checksum stays right while the contract grows, and still tells when the content is not what was published."""

from __future__ import annotations

import json

import pytest

from e2e.command import good
from headgate import Project
from headgate.errors import AccountError

CONTRACT = """apiVersion: v3.2.0
kind: DataContract
id: things
name: things
version: {version}
status: active
servers:
  - {{server: here, type: local, path: 'in/*.ndjson', format: json}}
schema:
  - name: things
    physicalType: file
    properties:
      - {{name: id, logicalType: integer, {id}primaryKey: true, primaryKeyPosition: 1, required: true}}
      - {{name: price, logicalType: number, physicalType: 'numeric({precision},2)'}}
      - name: place
        logicalType: object
        properties:
          - {{name: city, logicalType: string}}
{inner}{more}    customProperties:
      - {{property: headgate.unknown_fields, value: ignore}}
"""
BEFORE = {"version": "1.0.0", "id": "logicalTypeOptions: {format: i32}, ", "precision": 8, "inner": "", "more": ""}
AFTER = {
    "version": "1.1.0",
    "id": "",
    "precision": 20,
    "inner": "          - {name: zip, logicalType: string}\n",
    "more": "      - {name: colour, logicalType: string}\n",
}


def write(folder, kind, rows):
    (folder / "contracts").mkdir(exist_ok=True)
    (folder / "in").mkdir(exist_ok=True)
    (folder / "contracts" / "things.odcs.yaml").write_text(CONTRACT.format(**kind))
    name = f"{len(list((folder / 'in').iterdir()))}.ndjson"
    (folder / "in" / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def row(n):
    return {"id": n, "price": n / 4, "place": {"city": "x", "zip": str(n)}, "colour": f"c{n}"}


def test_a_contract_that_grows_keeps_the_account(tmp_path):
    write(tmp_path, BEFORE, [row(n) for n in range(50)])
    good("run", project=tmp_path)
    write(tmp_path, AFTER, [row(n) for n in range(40, 80)])
    assert good("audit", "--deep", project=tmp_path)[0]["findings"] == []
    for _ in range(2):
        good("run", project=tmp_path)
        account = good("audit", "--deep", project=tmp_path)[0]
        assert (account["state"], account["findings"]) == ("balanced", [])
        write(tmp_path, AFTER, [row(n) for n in range(70, 90)])
    kept = good(
        "query", "select count(*) as n, count(colour) as c, count(place.zip) as z from silver.things", project=tmp_path
    )
    assert kept == [{"n": 90, "c": 50, "z": 50}]
    good("run", "--full-refresh", project=tmp_path)
    assert good("audit", "--deep", project=tmp_path)[0]["state"] == "balanced"


def test_content_that_somebody_changed_is_not_sealed_anew(tmp_path):
    write(tmp_path, BEFORE, [row(n) for n in range(10)])
    good("run", project=tmp_path)
    with Project.open(tmp_path) as project:
        silver = project.lake.cut().table("silver.things")
        with project.lake.publication("run") as publication:
            publication.note_fact(silver.name, "checksum", "12345")
            publication.commit()
    write(tmp_path, AFTER, [row(n) for n in range(10, 20)])
    with Project.open(tmp_path) as project, pytest.raises(AccountError, match="not what was published"):
        project.run()

"""The example's contract is valid by the standard, and its project holds what it names."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema_rs
import open_data_contract_standard
import pytest
import yaml


@pytest.fixture(scope="module")
def contract(retail_folder) -> dict:
    return yaml.safe_load((retail_folder / "contracts" / "transactions.odcs.yaml").read_text("utf-8"))


def test_is_valid_by_the_standard(contract):
    schema = json.loads(Path(open_data_contract_standard.__file__).with_name("schema.json").read_text("utf-8"))
    assert [e.message for e in jsonschema_rs.validator_for(schema).iter_errors(contract)] == []


def test_names_the_columns_that_the_loader_makes(retail, contract):
    made = re.findall(r"^    (\w+) +(?:bigint|text|integer|timestamp|numeric|timestamptz)", retail("load").TABLE, re.M)
    assert [p["name"] for p in contract["schema"][0]["properties"]] == made == list(retail("generator").COLUMNS)


def test_every_row_rule_has_an_id_and_a_reason(contract):
    table = contract["schema"][0]
    rules = [*table["quality"], *(q for p in table["properties"] for q in p.get("quality", ()))]
    assert all(rule.get("id") and rule.get("description") for rule in rules)
    assert len({rule["id"] for rule in rules}) == len(rules)


def test_the_demo_can_correct_the_contract(retail, retail_folder):
    demo = retail("demo")
    text = (retail_folder / "contracts" / "transactions.odcs.yaml").read_text("utf-8")
    assert text.count(demo.OLD_PATTERN) == 1
    assert text.count("\nversion: 1.0.0\n") == 1
    corrected = yaml.safe_load(text.replace(demo.OLD_PATTERN, demo.NEW_PATTERN))
    codes = next(p for p in corrected["schema"][0]["properties"] if p["name"] == "stock_code")
    pattern = re.compile(codes["logicalTypeOptions"]["pattern"])
    assert all(pattern.match(code) for code in ("85123A", "POST", "GIFT_0001_20", "DCGSSBOY", "DCGS0066P"))
    assert not any(pattern.match(code) for code in ("TEST001", "????", "23X43", "EBAY", "85123-A", "GIFT"))


def test_every_model_begins_with_its_description(retail_folder):
    for path in (retail_folder / "models").rglob("*.sql"):
        comments = [line for line in path.read_text("utf-8").splitlines() if line.startswith("-- ")]
        assert [c for c in comments if not c.startswith("-- headgate:")], path.name

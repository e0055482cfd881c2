"""Whatever a file holds, reading it gives a contract or ContractSyntaxError, never anything else."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.contract.model import Contract
from headgate.contract.parse import check_contract, load_contract
from headgate.contract.to_arrow import silver_layout, silver_schema
from headgate.errors import ContractSyntaxError

DATA = Path(__file__).parent / "data"
SOURCES = [(DATA / f"{name}.odcs.yaml").read_text() for name in ("transactions", "order_events")]

odd_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=10),
    st.lists(st.integers() | st.text(max_size=3), max_size=3),
    st.dictionaries(st.sampled_from(["name", "value", "logicalType", "properties", "x", "required"]), st.text(max_size=3)),
    st.sampled_from([
        "object", "array", "map", "vector", "integer", "date", "timestamp", "headgate.order", "headgate.drop",
        "headgate.checksum", "rowCount", "invalidValues", "sql", "custom", "numeric(99,99)", "numeric(5,2)", "timestamptz",
    ]),
)  # fmt: skip


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("mutated") / "c.odcs.yaml"


def read(path, *, standard):
    try:
        contract = load_contract(path, standard=standard)
    except ContractSyntaxError as caught:
        refused = caught
    else:
        refused = None
    if refused:
        assert refused.complaints
        assert refused.where
        return
    assert isinstance(contract, Contract)
    for dataset in contract.datasets:
        assert silver_schema(dataset).names
        silver_layout(dataset)


def places(value, path=()):
    yield path
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in below:
        yield from places(one, (*path, key))


VALUES = [yaml.load(text, Loader=yaml.CSafeLoader) for text in SOURCES]
PLACES = [list(places(value)) for value in VALUES]


@settings(max_examples=200, deadline=None)
@given(data=st.data(), standard=st.booleans())
def test_mutated_values_are_refused_by_name(path, data, standard):
    which = data.draw(st.integers(0, len(SOURCES) - 1))
    value = copy.deepcopy(VALUES[which])
    for _ in range(data.draw(st.integers(1, 3))):
        where = data.draw(st.sampled_from(PLACES[which]))
        at = value
        try:
            for step in where[:-1]:
                at = at[step]
            if not where:
                value = data.draw(odd_values)
            elif data.draw(st.booleans()):
                at[where[-1]] = data.draw(odd_values)
            else:
                del at[where[-1]]
        except (KeyError, IndexError, TypeError):
            pass
    path.write_text(yaml.dump(value, Dumper=yaml.CSafeDumper, allow_unicode=True), encoding="utf-8")
    read(path, standard=standard)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_mutated_text_is_refused_by_name(path, data):
    text = data.draw(st.sampled_from(SOURCES))
    start = data.draw(st.integers(0, len(text)))
    length = data.draw(st.integers(0, 20))
    inserted = data.draw(st.text(max_size=6) | st.text(alphabet=":-[]{}'\"\n\t #&*!|>", max_size=6))
    path.write_bytes((text[:start] + inserted + text[start + length :]).encode("utf-8", "surrogatepass"))
    read(path, standard=False)
    assert check_contract(path) is not None

"""A written contract loads again as the same fields, passes the standard, and is the same text every time."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.contract.model import Field, Kind, Limits, Server, Standardise, Type
from headgate.contract.names import dataset_problem, field_problem, fold
from headgate.contract.parse import check_contract, load_contract
from headgate.contract.write import contract_yaml, dataset_name
from headgate.contract.yaml_reader import read_yaml_bytes
from headgate.contract.yaml_writer import yaml_text

POSTGRES = Server("shop", "postgres", {"host": "db", "port": 5432, "database": "d", "schema": "public"})
LOCAL = Server("drop", "local", {"path": "in/*.csv", "format": "csv"})

names = st.text(min_size=1, max_size=12).filter(lambda text: field_problem(text) is None and "." not in text)
texts = st.text(max_size=30).map(str.strip).filter(lambda text: "\0" not in text)

scalars = st.one_of(
    st.sampled_from(
        [
            Type(Kind.STRING),
            Type(Kind.BINARY),
            Type(Kind.BOOLEAN),
            Type(Kind.DATE),
            Type(Kind.TIME),
            Type(Kind.TIMESTAMP),
            Type(Kind.TIMESTAMP, zoned=True),
            Type(Kind.INTEGER),
            Type(Kind.INTEGER, bits=32),
            Type(Kind.NUMBER),
            Type(Kind.NUMBER, bits=32),
        ]
    ),
    st.integers(1, 38).flatmap(lambda p: st.integers(0, p).map(lambda s: Type(Kind.DECIMAL, precision=p, scale=s))),
)


def fields(kinds, size):
    return st.lists(
        st.builds(Field, name=names, type=kinds, required=st.booleans(), description=texts),
        min_size=1,
        max_size=size,
        unique_by=lambda one: fold(one.name),
    ).map(tuple)


def nested(inner):
    return st.one_of(
        fields(inner, 3).map(lambda some: Type(Kind.OBJECT, fields=some)),
        inner.map(lambda of: Type(Kind.ARRAY, item=Field("element", of))),
        inner.map(lambda of: Type(Kind.MAP, key=Field("key", Type(Kind.STRING)), item=Field("value", of))),
    )


def bare(one):
    """The field without what writing does not keep."""
    of = one.type
    return replace(
        one,
        place=None,
        type=replace(
            of,
            fields=tuple(bare(below) for below in of.fields),
            item=bare(of.item) if of.item else None,
            key=bare(of.key) if of.key else None,
        ),
    )


def loaded(tmp_path, text):
    path = tmp_path / "c.odcs.yaml"
    path.write_text(text, encoding="utf-8")
    assert check_contract(path) == []
    return load_contract(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("written")


@settings(deadline=None, max_examples=60)
@given(some=fields(st.recursive(scalars, nested, max_leaves=6), 5), description=texts)
def test_written_fields_load_again_as_the_same(folder, some, description):
    text = contract_yaml("d", some, LOCAL, description=description)
    dataset = loaded(folder, text).datasets[0]
    assert [bare(one) for one in dataset.fields] == [bare(one) for one in some]
    assert dataset.description == description
    assert contract_yaml("d", some, LOCAL, description=description) == text


def test_limits_keys_and_our_properties_survive(folder):
    some = (
        Field("id", Type(Kind.INTEGER), required=True, key_position=1, limits=Limits(minimum=Decimal(1))),
        Field(
            "price",
            Type(Kind.DECIMAL, precision=12, scale=3),
            limits=Limits(exclusive_maximum=Decimal("1E+5"), multiple_of=Decimal("0.005")),
            source="Unit Price",
        ),
        Field(
            "code",
            Type(Kind.STRING),
            enum=("a", "no", "1", "it's"),
            standardise=(Standardise("trim"), Standardise("map", {"NO": "no"}), Standardise("null_if", ("-",))),
            classification="public",
            unique=True,
        ),
        Field("at", Type(Kind.TIMESTAMP, zoned=True), partition="day", partition_position=1, required=True),
        Field("tags", Type(Kind.ARRAY, item=Field("element", Type(Kind.STRING))), limits=Limits(unique_items=True)),
    )
    text = contract_yaml("d", some, POSTGRES, order=["at"], properties={"error_budget": "1 percent"}, domain="x")
    contract = loaded(folder, text)
    dataset = contract.datasets[0]
    assert [bare(one) for one in dataset.fields] == [bare(one) for one in some]
    assert (dataset.key, dataset.order, contract.id) == (("id",), ("at",), "x.d")
    assert str(dataset.error_budget.limit) == "1"


def test_every_spelling_of_a_type_reads_back_as_that_type(folder):
    spellings = ["numeric", "numeric(9,2)", "timestamptz", "timestamp", "bytea", "real", "date", "timetz", "int4", "x"]
    kinds = [
        Type(Kind.STRING), Type(Kind.BINARY), Type(Kind.DATE), Type(Kind.TIME), Type(Kind.TIMESTAMP), Type(Kind.INTEGER),
        Type(Kind.TIMESTAMP, zoned=True), Type(Kind.NUMBER), Type(Kind.NUMBER, bits=32), Type(Kind.BOOLEAN),
        Type(Kind.DECIMAL, precision=9, scale=2), Type(Kind.DECIMAL, precision=20),
    ]  # fmt: skip
    some = [Field(f"f_{a}_{b}", of) for a, of in enumerate(kinds) for b in range(len(spellings))]
    spelled = {one.name: spellings[int(one.name.split("_")[2])] for one in some}
    dataset = loaded(folder, contract_yaml("d", some, LOCAL, physical_types=spelled)).datasets[0]
    assert [one.type for one in dataset.fields] == [one.type for one in some]


def test_names_that_a_contract_may_not_give_are_replaced_and_kept_as_source(folder):
    some = [Field(name, Type(Kind.STRING)) for name in ("a", "é", "a", " b ", "_hg_x", "", "é" * 40, "a_2", "x[]")]
    dataset = loaded(folder, contract_yaml("Sales 2024!", some, LOCAL)).datasets[0]
    assert (dataset.name, dataset.physical_name) == ("sales_2024", "Sales 2024!")
    assert [one.source_name for one in dataset.fields][:5] == ["a", "é", "a", " b ", "_hg_x"]
    assert len({fold(one.name) for one in dataset.fields}) == len(some)


def test_order_is_left_out_where_there_is_no_key(folder):
    text = contract_yaml("d", [Field("at", Type(Kind.DATE))], LOCAL, order=["at"])
    assert loaded(folder, text).datasets[0].order == ()


def test_secrets_of_a_server_are_not_written(folder):
    server = Server("s", "postgres", {"host": "h", "password": "canary-1", "api_key": "canary-2", "sslmode": "require"})
    text = contract_yaml("d", [Field("a", Type(Kind.STRING))], server)
    assert "canary" not in text
    assert loaded(folder, text).datasets[0].servers[0].options["sslmode"] == "require"


@given(st.text(max_size=80))
def test_dataset_name_is_always_permitted(text):
    assert dataset_problem(dataset_name(text)) is None


keys = st.text(min_size=1, max_size=8).filter(lambda key: key != "<<" and "\0" not in key)
values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**20), 10**20),
        st.text(max_size=20).filter(lambda text: "\0" not in text),
        st.text(alphabet=":-#,'\" []{}ab0", max_size=12),
        st.sampled_from(
            ["yes", "2024-01-01", "007", "1e5", "~", "null", "- a", "a: b", "a #b", "a\nb", "\u2028", "\ufeff"]
        ),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.dictionaries(keys, values, max_size=4))
def test_written_yaml_means_the_same_to_every_reader(value):
    text = yaml_text(value)
    assert yaml.safe_load(text) == (value or None)
    assert (read_yaml_bytes(text.encode(), "f").value or {}) == value

"""How the tables of a dataset after bronze should be: silver, quarantine and ledger."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from headgate.contract.model import Dataset
from headgate.contract.to_arrow import Layout, ledger_schema, quarantine_schema, silver_layout, silver_schema
from headgate.contract.write import dataset_text
from headgate.ports.batch import KEY, VERSION
from headgate.ports.store import TableSpec

CONTRACT = "headgate.contract"  # silver's property: the dataset's contract that it last followed
LAYERS = ("silver", "quarantine", "ledger")
_MOST = 200
_MADE: dict[tuple[int, bool, bool], tuple[Dataset, Mapping[str, TableSpec]]] = {}


def specs(dataset: Dataset, bronze: pa.Schema) -> Mapping[str, TableSpec]:
    """How silver, quarantine and ledger of a dataset should be, after a bronze of this schema.

    For the same dataset the same objects, as long as it is in use: a micro-batch should not write the contract anew.
    """
    versioned, messages = VERSION in bronze.names, KEY in bronze.names
    key = id(dataset), versioned, messages
    held = _MADE.get(key)
    if held is None:
        if len(_MADE) >= _MOST:
            _MADE.clear()
        # The dataset is held too: while it is, its id is nobody else's.
        held = _MADE[key] = dataset, _specs(dataset, versioned=versioned, messages=messages)
    return held[1]


def _specs(dataset: Dataset, *, versioned: bool, messages: bool) -> Mapping[str, TableSpec]:
    layout: Layout = silver_layout(dataset)
    return {
        "silver": TableSpec(
            name=f"silver.{dataset.name}",
            schema=silver_schema(dataset, version_column=versioned),
            partition=layout.partition,
            sort=layout.sort,
            key=layout.key,
            comment=dataset.description,
            properties={CONTRACT: dataset_text(dataset)},
        ),
        "quarantine": TableSpec(
            name=f"quarantine.{dataset.name}",
            schema=quarantine_schema(messages=messages),
            comment=f"Rows of {dataset.name} that break the contract, whole, with every reason.",
        ),
        "ledger": TableSpec(
            name=f"ledger.{dataset.name}",
            schema=ledger_schema(dataset),
            comment=f"Rows of {dataset.name} that are duplicates, superseded, deletions or dropped by a declared rule.",
        ),
    }

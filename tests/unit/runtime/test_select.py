import pytest

from headgate.errors import FixInputError
from headgate.runtime.select import Node, select

NODES = {
    n.id: n
    for n in (
        Node("bronze.orders", tags=("shop",)),
        Node("silver.orders", ("bronze.orders",), ("shop",)),
        Node("bronze.users"),
        Node("silver.users", ("bronze.users",)),
        Node("gold.revenue", ("silver.orders",), ("daily",)),
        Node("gold.per_user", ("gold.revenue", "silver.users"), ("daily",)),
    )
}


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ([], set(NODES)),
        (["orders"], {"bronze.orders", "silver.orders"}),
        (["bronze.orders"], {"bronze.orders"}),
        (["orders+"], {"bronze.orders", "silver.orders", "gold.revenue", "gold.per_user"}),
        (["+revenue"], {"gold.revenue", "silver.orders", "bronze.orders"}),
        (["+gold.per_user"], set(NODES)),
        (["tag:daily"], {"gold.revenue", "gold.per_user"}),
        (["tag:daily,+revenue"], {"gold.revenue"}),
        (["bronze.users revenue"], {"bronze.users", "gold.revenue"}),
        (["bronze.users", "revenue"], {"bronze.users", "gold.revenue"}),
    ],
)
def test_selection_follows_dbt(selection, expected):
    assert select(NODES, selection) == expected


@pytest.mark.parametrize("selection", ["ordres", "gold.revenu", "tag:none", "silver.", "'; drop table x"])
def test_unknown_name_is_refused_with_the_names_there_are(selection):
    with pytest.raises(FixInputError) as caught:
        select(NODES, [selection])
    assert caught.value.hint


def test_a_misspelt_name_gets_a_suggestion():
    with pytest.raises(FixInputError) as caught:
        select(NODES, ["ordres"])
    assert "orders" in caught.value.hint

"""Contracts are read by other tools too: `datacontract lint` passes what we ship and what `discover` writes."""

import pytest

from e2e.command import headgate
from rigs import contract_lint
from rigs.own_environment import ROOT
from rigs.postgres_project import PostgresProject

SHIPPED = sorted(
    [*ROOT.glob("examples/*/contracts/*.yaml"), *ROOT.glob("src/headgate/cli/templates/*/contracts/*.yaml")]
)


def passes(contract):
    verdict = contract_lint.lint(contract)
    assert verdict.passed, f"{contract.read_text()}\n{verdict.said}"


@pytest.mark.parametrize("contract", SHIPPED, ids=[str(p.relative_to(ROOT)) for p in SHIPPED])
def test_a_contract_that_we_ship_passes_the_other_lint(contract):
    passes(contract)


def test_every_folder_of_contracts_is_linted():
    assert {p.parent.parent.name for p in SHIPPED} >= {"retail", "files"}


def test_the_other_lint_can_fail(tmp_path):
    bad = tmp_path / "bad.odcs.yaml"
    bad.write_text(SHIPPED[0].read_text().replace("kind: DataContract", "kind: Nonsense"))
    assert not contract_lint.lint(bad).passed


def test_a_contract_discovered_from_a_table_passes_the_other_lint(tmp_path, database):
    database.run(
        """create type mood as enum ('sad', 'it''s');
        create table t (id bigint primary key, at timestamptz not null, price numeric(12,2), code char(3),
          mood mood, tags text[], doc jsonb, picture bytea, "a ""b"" ü" text, day date, hour time, u uuid unique not null);
        comment on column t.price is 'what: it costs # in "euro"'"""
    )
    project = PostgresProject(tmp_path, database)
    project.discover("t")
    passes(project.path("t"))


def test_a_contract_discovered_from_files_passes_the_other_lint(tmp_path):
    (tmp_path / "a.csv").write_text("id,day,price,note\n1,2026-11-01,1.50,x\n2,2026-11-02,2.50,\n")
    (tmp_path / "b.jsonl").write_text('{"id": 1, "items": [{"sku": "a", "qty": 2}], "at": "2026-11-01T00:00:00Z"}\n')
    for name in ("a.csv", "b.jsonl"):
        written = tmp_path / f"{name}.odcs.yaml"
        answer = headgate("discover", tmp_path / name, "-o", written)
        assert answer.code == 0, answer.err
        passes(written)

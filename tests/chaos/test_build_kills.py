"""Killed while silver, quarantine and gold are built, with upkeep in every run: gold is what a build from scratch gives."""

from __future__ import annotations

import pytest
from test_kills import kill_again_and_again

from conftest import KILLS
from headgate import Project

MODELS = {
    "totals": "SELECT count(*) AS orders, sum(quantity) AS quantity FROM silver.orders",
    "by_key": "SELECT id % 7 AS k, count(*) AS n, sum(quantity) AS q, max(updated_at) AS newest, min(note) AS note"
    " FROM silver.orders GROUP BY 1",
    "by_minute": "/* headgate: {incremental: minute, from: \"date_trunc('minute', updated_at)\", source: silver.orders} */\n"
    "SELECT date_trunc('minute', updated_at) AS minute, count(*) AS n, sum(quantity) AS q FROM silver.orders GROUP BY 1",
    "busiest": "SELECT minute, n FROM gold.by_minute ORDER BY n DESC, minute LIMIT 20",
}


def gold(project) -> dict:
    with Project.open(project.folder) as opened:
        return {name: opened.query(f"SELECT * FROM gold.{name} ORDER BY ALL") for name in MODELS}


@pytest.mark.timeout(60 + 30 * KILLS)
def test_gold_after_many_kills_is_gold_from_scratch(files, rng, kills):
    for name, sql in MODELS.items():
        (files.project.folder / "models" / f"{name}.sql").write_text(sql + "\n")
    files.project.busy_upkeep()
    hit = kill_again_and_again(files, rng, kills // 2 if kills > 10 else 2)
    after = gold(files.project)
    assert files.project.run("run", "--full-refresh").code == 0
    files.check()
    scratch = gold(files.project)
    for name in MODELS:
        assert after[name].schema == scratch[name].schema
        assert after[name].equals(scratch[name]), name
    if kills >= 200:
        steps = {where.partition(":")[0] for where in hit}
        assert steps >= {"refine", "derive", "compact", "expire", "lake"}, hit

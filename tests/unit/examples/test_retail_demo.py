"""The demo itself, small: a real server, the command line, the report."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path

import pytest

KEYS = [
    "bronze_rows",
    "verdicts",
    "bronze_quantity_sum",
    "bronze_value_sum",
    "silver_rows",
    "quarantined_rows",
    "audit",
    "seconds",
    "peak_rss_mib",
]
LINES = """InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
536365,85123A,WHITE HANGING HEART,6,12/1/2010 8:26,2.55,17850.0,United Kingdom
536365,85123A,WHITE HANGING HEART,6,12/1/2010 8:26,2.55,17850.0,United Kingdom
536366,gift_0001_20,Gift Voucher £20.00,1,12/13/2010 9:00,17.02,,EIRE
C536367,85123A,WHITE HANGING HEART,-1,12/14/2010 9:00,2.555,17850.0,United Kingdom
A563186,B,Adjust bad debt,1,12/15/2010 9:00,-11062.06,,United Kingdom
536368,22423,,-3,12/16/2010 9:00,0,,United Kingdom
"""


def demo(folder: Path, retail_folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(retail_folder / "demo.py"), "--build", str(folder), *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


@pytest.fixture(scope="module")
def made(retail_folder, tmp_path_factory) -> tuple[Path, str]:
    """A demo over 6,000 made lines: its folder and what it said."""
    folder = tmp_path_factory.mktemp("demo")
    done = demo(folder, retail_folder, "--rows", "6000", "--seed", "5")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


def test_figures_are_exact_and_complete(made, retail):
    figures = json.loads((made[0] / "demo.json").read_text("utf-8"))
    assert list(figures) == KEYS
    assert figures["audit"] == "balanced"
    assert figures["bronze_rows"] == 6_000
    quantity, value = 0, Decimal(0)
    for block in retail("generator").Shop(seed=5, rows=6_000).blocks():
        for pieces, price in zip(block["quantity"].to_pylist(), block["unit_price"].to_pylist(), strict=True):
            quantity += int(pieces or 0)
            value += int(pieces or 0) * (Decimal(price) if price != "NaN" else 0)
    assert figures["bronze_quantity_sum"] == quantity
    assert Decimal(figures["bronze_value_sum"]) == value
    assert figures["verdicts"]["accepted"] == figures["silver_rows"]
    assert figures["verdicts"]["quarantined"] == figures["quarantined_rows"]
    assert set(figures["verdicts"]) == {"accepted", "quarantined", "superseded", "duplicate", "dropped"}


def test_it_tells_the_story(made):
    for words in ("late lines in silver: 250 of 250", "would leave quarantine", "a second replay moves 0", "balanced"):
        assert words in made[1]


def test_the_report_stands_alone_and_is_whole(made):
    page = (made[0] / "report.html").read_text("utf-8")
    found: list[tuple[str, dict[str, str | None]]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            found.append((tag, dict(attrs)))

    Reader().feed(page)
    assert {tag for tag, _ in found}.isdisjoint({"script", "link", "img", "iframe", "object", "embed"})
    assert not [a for _, attrs in found for a in attrs if a.startswith("on") or a in ("src", "href")]
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)
    assert not re.findall(r"<!--\w+-->", page), "a part of the page was left empty"
    assert sum(tag == "svg" for tag, _ in found) == 3
    assert "balanced" in page


def test_names_from_the_data_cannot_write_the_page(retail):
    report = retail("report")
    assert "<script>" not in report.table([{"description": "<script>alert(1)</script>"}], {})
    assert "<b>" not in retail("pictures").bars([("<b>x", 1.0, "<b>y")])


def test_a_file_past_the_error_budget_stops_the_demo_by_name(retail_folder, tmp_path):
    (tmp_path / "lines.csv").write_text(LINES, "utf-8")
    done = demo(tmp_path / "build", retail_folder, "--csv", str(tmp_path / "lines.csv"))
    # Two of six lines are wrong: far past the error budget of one percent. The demo says so and stops.
    assert done.returncode == 1
    assert "exit 4" in done.stdout
    assert "the contract allows 1 percent" in " ".join(done.stdout.split())
    assert not (tmp_path / "build" / "demo.json").exists()


def test_a_file_that_is_not_there_is_said_before_anything_starts(retail_folder, tmp_path):
    done = demo(tmp_path / "build", retail_folder, "--csv", str(tmp_path / "nothing.csv"))
    assert done.returncode == 2
    assert "no such file" in done.stderr
    assert not (tmp_path / "build").exists()

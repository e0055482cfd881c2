"""The generator: same seed, same bytes; every kind of mess is there; fast enough not to be noticed."""

from __future__ import annotations

import csv
import hashlib
import io
import time
from collections import Counter

import pytest


def text_of(retail, **options) -> bytes:
    out = io.BytesIO()
    retail("generator").Shop(**options).write_csv(out)
    return out.getvalue()


@pytest.fixture(scope="module")
def lines(retail) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text_of(retail, seed=1, rows=200_000).decode())))


def test_bytes_are_pinned(retail):
    digest = hashlib.sha256(text_of(retail, seed=7, rows=20_000)).hexdigest()
    assert digest == "497f0b32ad0de06ca4b5b39bfba55bacb13e47ddbcf0194bb9ebbc301b9ce14b", (
        "the same seed must give the same bytes in every release"
    )


def test_seeds_differ(retail):
    assert text_of(retail, seed=1, rows=500) != text_of(retail, seed=2, rows=500)


def test_a_line_does_not_depend_on_the_block_it_is_made_in(retail, monkeypatch):
    whole = text_of(retail, seed=3, rows=5_000)
    monkeypatch.setattr(retail("generator"), "BLOCK", 700)
    assert text_of(retail, seed=3, rows=5_000) == whole


@pytest.mark.parametrize("rows", [0, 1, 19])
def test_small_shops(retail, rows):
    assert len(text_of(retail, seed=1, rows=rows).splitlines()) == rows + 1


def test_line_ids_run_from_one_without_gaps(lines):
    assert [int(r["line_id"]) for r in lines] == list(range(1, len(lines) + 1))


def test_every_kind_of_mess_is_there(lines):
    prices = Counter(r["unit_price"] for r in lines)
    dates = [r["invoice_date"] for r in lines]
    seen = {
        "NaN": prices["NaN"],
        "negative price": sum(r["unit_price"].startswith("-") for r in lines),
        "price above any article's": sum(
            r["unit_price"] not in ("NaN",) and float(r["unit_price"]) > 1000 for r in lines
        ),
        "four decimals": sum(len(r["unit_price"].partition(".")[2]) == 4 for r in lines),
        "infinite date": dates.count("infinity"),
        "no date": dates.count(""),
        "year 1": sum(d.startswith("0001") for d in dates),
        "year 2099": sum(d.startswith("2099") for d in dates),
        "blank country": sum(not r["country"].strip() for r in lines),
        "alias": sum(r["country"] == "EIRE" for r in lines),
        "country in lower case": sum(r["country"] == "united kingdom" for r in lines),
        "guest": sum(r["customer_id"] == "guest" for r in lines),
        "voucher": sum(r["stock_code"].startswith("gift_") for r in lines),
        "unknown code": sum(r["stock_code"] == "????" for r in lines),
        "no customer": sum(r["customer_id"] == "" for r in lines),
        "return": sum(r["invoice_no"].startswith("C") for r in lines),
        "credit note that gives": sum(r["invoice_no"].startswith("C") and r["quantity"] > "0" for r in lines),
        "zero pieces": sum(r["quantity"] == "0" for r in lines),
        "never updated": sum(r["updated_at"] == "" for r in lines),
        "bad invoice number": sum(r["invoice_no"].startswith("#") for r in lines),
    }
    assert not [name for name, count in seen.items() if not count]


def test_repeated_lines_are_whole_copies_under_their_own_number(lines):
    content = Counter(tuple(v for k, v in r.items() if k != "line_id") for r in lines)
    assert sum(n - 1 for n in content.values()) > len(lines) * 0.01


def test_many_lines_share_one_watermark(lines):
    assert Counter(r["updated_at"] for r in lines).most_common(1)[0][1] > 20


def test_too_many_rows_are_refused(retail, capsys):
    with pytest.raises(SystemExit) as stopped:
        retail("generator").main(["--rows", "9000001"])
    assert stopped.value.code == 2
    assert "six digits" in capsys.readouterr().err


@pytest.mark.slow
def test_two_hundred_thousand_lines_take_about_a_second(retail):
    begun = time.process_time()
    text_of(retail, seed=1, rows=200_000)
    assert time.process_time() - begun < 2

"""The loader understands every usual spelling of the Online Retail file and refuses the rest by line."""

from __future__ import annotations

import gzip
from decimal import Decimal
from pathlib import Path

import pytest

from rigs import real_data

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
LINE = "536365,85123A,WHITE HANGING HEART,6,{date},2.55,17850.0,United Kingdom"
REAL = next((real_data.folder() or Path("absent")).glob("retail/online_retail*.csv.gz"), None)


@pytest.fixture
def write(tmp_path):
    def made(text: str | bytes, name: str = "lines.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return made


def dates(retail, write, *texts: str) -> tuple[list[str | None], str]:
    body = "\n".join([HEADER, *(LINE.format(date=t) for t in texts)]) + "\n"
    read = retail("load").read_file(write(body))
    return read.rows["invoice_date"].to_pylist(), read.dates


def test_reads_the_columns_of_the_table(retail, write):
    row = retail("load").read_file(write(f"{HEADER}\n{LINE.format(date='2010-12-01 08:26:00')}\n")).rows.to_pylist()[0]
    assert row == {
        "line_id": 1,
        "invoice_no": "536365",
        "stock_code": "85123A",
        "description": "WHITE HANGING HEART",
        "quantity": "6",
        "invoice_date": "2010-12-01 08:26:00",
        "unit_price": "2.55",
        "customer_id": "17850",
        "country": "United Kingdom",
        "updated_at": "2010-12-01 08:26:00+00",
    }


@pytest.mark.parametrize(
    "header",
    [
        HEADER,
        "Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country",
        "invoice_no,stock_code,description,quantity,invoice_date,unit_price,customer_id,country",
        "INVOICE NO,Stock Code,DESCRIPTION,Qty,Invoice Date,Unit Price,Customer Id,COUNTRY",
    ],
)
def test_knows_the_usual_headers(retail, write, header):
    read = retail("load").read_file(write(f"{header}\n{LINE.format(date='2010-12-01 08:26:00')}\n"))
    assert read.rows["customer_id"].to_pylist() == ["17850"]


def test_order_and_extra_columns_do_not_matter(retail, write):
    text = "no,Country,Quantity,InvoiceNo,StockCode,Description,UnitPrice,CustomerID,InvoiceDate\n1,EIRE,3,536365,POST,x,18,,2011-01-04\n"
    row = retail("load").read_file(write(text)).rows.to_pylist()[0]
    assert (row["country"], row["quantity"], row["invoice_date"]) == ("EIRE", "3", "2011-01-04 00:00:00")


def test_days_come_first_when_the_column_says_so(retail, write):
    assert dates(retail, write, "01/12/2010 08:26", "13/12/2010 09:00") == (
        ["2010-12-01 08:26:00", "2010-12-13 09:00:00"],
        "day first",
    )


def test_months_come_first_when_the_column_says_so(retail, write):
    assert dates(retail, write, "12/1/2010 8:26", "12/13/2010 9:00") == (
        ["2010-12-01 08:26:00", "2010-12-13 09:00:00"],
        "month first",
    )


def test_an_undecided_column_is_read_so_that_time_runs_forward(retail, write):
    assert dates(retail, write, "01/12/2010 08:26", "02/12/2010 08:26", "01/01/2011 08:26")[1] == "day first"
    assert dates(retail, write, "12/1/2010 8:26", "12/2/2010 8:26", "1/1/2011 8:26")[1] == "month first"
    assert dates(retail, write, "12/1/2010 8:26")[1] == "month first"


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("2010-12-01T08:26:00", "2010-12-01 08:26:00"),
        ("2010-12-01 08:26", "2010-12-01 08:26:00"),
        ("2010-12-01", "2010-12-01 00:00:00"),
        ("2010/12/01 8:26", "2010-12-01 08:26:00"),
        ("12/1/10 8:26", "2010-12-01 08:26:00"),
        ("12/1/2010 8:26:05 PM", "2010-12-01 20:26:05"),
        ("12/1/2010 12:05 AM", "2010-12-01 00:05:00"),
        ("2012-02-29 00:00", "2012-02-29 00:00:00"),
    ],
)
def test_reads_the_usual_dates(retail, write, text, meaning):
    assert dates(retail, write, text)[0] == [meaning]


def test_a_missing_date_stays_missing_and_takes_the_watermark_before_it(retail, write):
    body = "\n".join([HEADER, *(LINE.format(date=t) for t in ("", "2010-12-01 08:00", "", "2010-11-30 08:00"))])
    rows = retail("load").read_file(write(body)).rows
    assert rows["invoice_date"].to_pylist() == [None, "2010-12-01 08:00:00", None, "2010-11-30 08:00:00"]
    assert set(rows["updated_at"].to_pylist()) == {"2010-12-01 08:00:00+00"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "cp1252"])
def test_reads_old_encodings(retail, write, encoding):
    text = f"{HEADER}\n536365,gift_0001_20,Gift Voucher £20.00,1,2010-12-01 08:26,17.02,,United Kingdom\n"
    assert retail("load").read_file(write(text.encode(encoding))).rows["description"].to_pylist() == [
        "Gift Voucher £20.00"
    ]


def test_reads_gzip_whatever_its_name(retail, write):
    data = gzip.compress(f"{HEADER}\n{LINE.format(date='2010-12-01 08:26')}\n".encode())
    assert len(retail("load").read_file(write(data, "lines.csv")).rows) == 1


def test_reads_semicolons_and_decimal_commas(retail, write):
    text = HEADER.replace(",", ";") + "\n536365;85123A;A, B;6;01.12.2010 08:26;2,55;17850;France\n"
    row = retail("load").read_file(write(text)).rows.to_pylist()[0]
    assert (row["unit_price"], row["description"]) == ("2.55", "A, B")


def test_reads_quotes_line_ends_inside_and_carriage_returns(retail, write):
    text = f'{HEADER}\r\n536365,85123A,"SAYS ""HI""\nTWICE",6,2010-12-01 08:26,2.55,,France\r\n'
    assert retail("load").read_file(write(text)).rows["description"].to_pylist() == ['SAYS "HI"\nTWICE']


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({",6,": ",six,"}, ["line 2", "'six'", "whole number"]),
        ({",6,": ",99999999999,"}, ["line 2", "whole number"]),
        ({",6,": ",4000000000,"}, ["line 2", "32 bits"]),
        ({"2.55": "cheap"}, ["line 2", "'cheap'", "unit price"]),
        ({"2010-12-01 08:26": "2010-13-01 08:26"}, ["line 2", "date"]),
        ({"2010-12-01 08:26": "2011-02-29 08:26"}, ["line 2", "date"]),
        ({"2010-12-01 08:26": "yesterday"}, ["line 2", "'yesterday'"]),
        ({"UnitPrice": "Cost"}, ["unit_price", "Cost", "Rename"]),
        ({",France": ",France,extra"}, ["same columns"]),
    ],
)
def test_refuses_by_line_what_the_table_cannot_hold(retail, write, change, words):
    text = f"{HEADER}\n536365,85123A,HEART,6,2010-12-01 08:26,2.55,17850,France\n"
    for old, new in change.items():
        text = text.replace(old, new)
    load = retail("load")
    with pytest.raises(load.LoadError) as refused:
        load.read_file(write(text))
    assert not [w for w in words if w not in str(refused.value)], str(refused.value)


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\x1f\x8bbroken"])
def test_refuses_empty_and_broken_files(retail, write, data):
    load = retail("load")
    with pytest.raises(load.LoadError):
        load.read_file(write(data))


def test_refuses_a_missing_file(retail, tmp_path):
    load = retail("load")
    with pytest.raises(load.LoadError):
        load.read_file(tmp_path / "nothing.csv")


@pytest.mark.real_data
@pytest.mark.skipif(REAL is None, reason="the real file is not beside this checkout")
def test_the_real_file_is_read_exactly(retail):
    rows = retail("load").read_file(REAL).rows.select(["quantity", "unit_price"]).to_pydict()
    quantity = [int(q) for q in rows["quantity"]]
    value = sum(q * Decimal(p) for q, p in zip(quantity, rows["unit_price"], strict=True))
    assert (len(quantity), sum(quantity), value) == (370_931, 3_639_299, Decimal("6781619.004"))

"""The block-wise splitter against a slow and obvious one."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.sources.files_split import OversizeRecord, arrow, cut_csv, cut_lines

LIMIT = 1 << 20


def slow_lines(data, limit=LIMIT):
    """(bytes, line) of each line."""
    records, line, at = [], 0, 0
    while at < len(data):
        end = data.find(b"\n", at)
        stop = len(data) if end < 0 else end
        text = data[at:stop]
        if end >= 0 and text.endswith(b"\r"):
            text = text[:-1]
        if len(text) > limit:
            raise OversizeRecord(line)
        records.append((text, line))
        at, line = stop + 1, line + 1
    return records


def slow_csv(data, limit=LIMIT):
    """(bytes, first line) of each CSV record, one byte at a time."""
    records, line, at = [], 0, 0
    while at < len(data):
        end = quoted_end(data, at)
        if end is not None:
            text = data[at:end]
            whole = text[:-1] if end < len(data) and text.endswith(b"\r") else text
            if len(whole) > limit:
                end = None
        if end is None:
            end = data.find(b"\n", at)
            end = len(data) if end < 0 else end
            text = data[at:end]
            whole = text[:-1] if end < len(data) and text.endswith(b"\r") else text
            if len(whole) > limit:
                raise OversizeRecord(line)
        records.append((whole, line))
        line += data[at:end].count(b"\n") + 1
        at = end + 1
    return records


def quoted_end(data, at):
    """Where the record's line end stands; None when a quoted field is not well formed."""
    field_start, inside = True, False
    while at < len(data):
        byte = data[at : at + 1]
        if inside:
            if byte == b'"':
                rest = data[at + 1 : at + 3]
                if rest[:1] == b'"':
                    at += 1
                elif rest[:1] in (b",", b"\n", b"") or rest in (b"\r\n", b"\r"):
                    inside = False
                else:
                    return None
        elif byte == b"\n":
            return at
        elif byte == b'"' and field_start:
            inside = True
        field_start = not inside and byte == b","
        at += 1
    return None if inside else at


def in_blocks(data, sizes, cutter):
    """(bytes, line) of each record, the data given in blocks of these sizes over and over."""
    records, block, used, line, at, turn = [], b"", 0, 0, 0, 0
    while True:
        size = sizes[turn % len(sizes)]
        turn += 1
        block = block[used:] + data[at : at + size]
        at += size
        final = at >= len(data)
        cut = _named(cutter, block, final, line)
        found = zip(cut.starts, cut.stops, cut.lines, strict=True)
        records += [(block[start:stop], line + int(at)) for start, stop, at in found]
        if len(cut.starts):
            buffer = bytearray(block)
            assert arrow(buffer, cut, 0, len(cut.starts)).to_pylist() == [r for r, _ in records[-len(cut.starts) :]]
        used = cut.used
        line += cut.used_lines
        if final:
            assert used == len(block)
            return records


def _named(cutter, block, final, line):
    try:
        return cutter(bytearray(block) + b"??", len(block), final)
    except OversizeRecord as error:
        raise OversizeRecord(error.line + line) from None


def lines_cutter(limit=LIMIT):
    return lambda block, end, final: cut_lines(block, end, final, limit)


def csv_cutter(limit=LIMIT):
    return lambda block, end, final: cut_csv(block, end, final, limit, delimiter=44, quote=34)


PIECES = [b'"', b'""', b",", b"\n", b"\r\n", b"\r", b"a", b"bcd", b'"x"', b',"', b'",', b"\0", b"\xff"]
CSV_BYTES = st.lists(st.sampled_from(PIECES), max_size=60).map(b"".join)
SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=4)


def outcome(function):
    try:
        return function()
    except OversizeRecord as error:
        return ("too long", error.line)


@settings(max_examples=600, deadline=None)
@given(CSV_BYTES, SIZES)
def test_csv_records_are_those_of_the_obvious_splitter_however_the_blocks_fall(data, sizes):
    assert in_blocks(data, sizes, csv_cutter()) == slow_csv(data)


@settings(max_examples=600, deadline=None)
@given(CSV_BYTES, SIZES, st.integers(1, 30))
def test_the_record_limit_is_exact_and_does_not_depend_on_blocks(data, sizes, limit):
    blocks = outcome(lambda: in_blocks(data, sizes, csv_cutter(limit)))
    assert blocks == outcome(lambda: slow_csv(data, limit))


@settings(max_examples=300, deadline=None)
@given(CSV_BYTES, SIZES, st.integers(1, 30))
def test_lines_are_those_of_the_obvious_splitter(data, sizes, limit):
    blocks = outcome(lambda: in_blocks(data, sizes, lines_cutter(limit)))
    assert blocks == outcome(lambda: slow_lines(data, limit))


@settings(max_examples=300, deadline=None)
@given(CSV_BYTES)
def test_every_byte_belongs_to_one_record_or_is_a_line_end(data):
    records = [text for text, _ in in_blocks(data, [7], csv_cutter())]
    kept = b"".join(records)
    assert sorted(kept.replace(b"\r", b"").replace(b"\n", b"")) == sorted(data.replace(b"\r", b"").replace(b"\n", b""))


@pytest.mark.parametrize("seed", range(20))
def test_long_mixed_files_are_cut_alike(seed):
    pick = random.Random(seed)
    kinds = [b'1,"a b",2', b"plain,row,3", b'5" nail,x', b'"open,never', b'"two\nlines",y']
    kinds += [b'"say ""hi""",z', b'""', b"", b'a,"b"c,d']
    weights = [50, 50, 2, 1, 5, 5, 1, 1, 1]
    end = pick.choice([b"\n", b"\r\n"])
    data = end.join(pick.choices(kinds, weights, k=3000))
    assert in_blocks(data, [pick.randint(200, 5000)], csv_cutter()) == slow_csv(data)


def records(text, limit=LIMIT):
    return [r.decode() for r, _ in in_blocks(text.encode(), [5], csv_cutter(limit))]


def test_an_unclosed_quote_costs_only_its_own_line():
    good = [f'{i},"name {i}",x' for i in range(50)]
    text = "\n".join([*good[:25], '99,"never closed,x', *good[25:]]) + "\n"
    assert records(text) == [*good[:25], '99,"never closed,x', *good[25:]]


def test_an_unclosed_quote_before_plain_lines_costs_only_its_own_line():
    plain = [f"{i},x" for i in range(50)]
    assert records("\n".join(['9,"open', *plain])) == ['9,"open', *plain]


def test_inches_are_content():
    assert records('1,5" nail,x\n2,6" nail,y\n') == ['1,5" nail,x', '2,6" nail,y']


def test_line_ends_in_quoted_fields_are_content():
    assert records('1,"a\nb\r\nc"\r\n2,x') == ['1,"a\nb\r\nc"', "2,x"]


def test_a_quoted_field_longer_than_the_limit_is_not_believed():
    text = '1,"' + "\n".join(["xxxxxxxxx"] * 30) + '"\n2,y\n'
    got = records(text, limit=100)
    assert got[0] == '1,"xxxxxxxxx'
    assert got[-1] == "2,y"
    assert len(got) == 31

"""Reading text files: what lands, where it came from, and where a run goes on."""

import gzip
import json
import os

import pytest
import zstandard
from files_rig import NAME, batches, end, raw, read_all, rows, source

from headgate.errors import FixInputError, PositionLost, SourceChanged
from headgate.ports.batch import Position

HEADER = b"id,name\n"


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def touch_ns(path, ns):
    os.utime(path, ns=(ns, ns))


def test_csv_rows_land_as_bytes_with_header_file_and_line(tmp_path):
    write(tmp_path / "in/a.csv", HEADER + b'1,"x\ny"\n2,z\r\n')
    write(tmp_path / "in/sub/b.csv", b"id;other\n3;q")
    got = read_all(tmp_path, "in")
    assert [tuple(r[c] for c in ("_hg_offset", "_hg_raw", "_hg_file", "_hg_line")) for r in got] == [
        (0, b'1,"x\ny"', "a.csv", 2),
        (1, b"2,z", "a.csv", 4),
        (2, b"3;q", "sub/b.csv", 2),
    ]
    assert {r["_hg_partition"] for r in got} == {NAME}
    assert {r["_hg_format"] for r in got} == {"csv"}
    assert [json.loads(r["_hg_header"]) for r in got] == [["id", "name"], ["id", "name"], ["id;other"]]


def test_ndjson_rows_land_as_bytes(tmp_path):
    write(tmp_path / "a.ndjson", b'{"a": 1}\r\n\n{broken\n{"a":2}')
    got = read_all(tmp_path, "a.ndjson")
    assert [r["_hg_raw"] for r in got] == [b'{"a": 1}', b"", b"{broken", b'{"a":2}']
    assert [r["_hg_line"] for r in got] == [1, 2, 3, 4]
    assert {r["_hg_format"] for r in got} == {"json"}
    assert "_hg_header" not in got[0]


def test_the_schema_is_that_of_the_rows(tmp_path):
    write(tmp_path / "a.csv", HEADER + b"1,x\n")
    one = source(tmp_path, "a.csv")
    assert one.schema() == batches(one)[0].rows.schema


def test_a_byte_order_mark_belongs_to_no_record(tmp_path):
    write(tmp_path / "a.csv", b"\xef\xbb\xbf" + HEADER + b"1,x\n")
    write(tmp_path / "b.csv", b"\xef\xbb\xbf" + HEADER + b"2,x\n")
    assert [json.loads(r["_hg_header"]) for r in read_all(tmp_path, "*.csv")] == [["id", "name"]] * 2
    write(tmp_path / "a.ndjson", b"\xef\xbb\xbf{}\n")
    assert raw(batches(source(tmp_path, "a.ndjson"))) == [b"{}"]


def test_utf_16_is_refused_by_name(tmp_path):
    write(tmp_path / "a.csv", "id,name\n1,x\n".encode("utf-16"))
    with pytest.raises(FixInputError, match=r"a\.csv: the file is UTF-16"):
        read_all(tmp_path, "a.csv")


def test_nul_and_invalid_utf_8_land_as_they_are(tmp_path):
    lines = [b"\x00\x00", b"\xff\xfe\x80", b"a\rb", b"\xc3"]
    write(tmp_path / "a.ndjson", b"\n".join(lines))
    assert raw(batches(source(tmp_path, "a.ndjson"))) == lines


def test_ragged_and_blank_rows_land_whole(tmp_path):
    write(tmp_path / "a.csv", HEADER + b"1\n1,2,3\n\n,\n")
    assert raw(batches(source(tmp_path, "a.csv"))) == [b"1", b"1,2,3", b"", b","]


@pytest.mark.parametrize("content", [b"", b"id,name", b"id,name\n", b"\xef\xbb\xbf"])
def test_a_csv_file_without_records_gives_no_rows(tmp_path, content):
    write(tmp_path / "a.csv", content)
    got = batches(source(tmp_path, "a.csv"))
    assert rows(got) == []
    assert source(tmp_path, "a.csv").idle(end(got))


@pytest.mark.parametrize("name", ["a.csv.gz", "a.csv.zst"])
def test_compressed_files_read_alike(tmp_path, name):
    data = HEADER + b"".join(b"%d,name %d\n" % (i, i) for i in range(5000))
    pack = gzip.compress if name.endswith("gz") else zstandard.ZstdCompressor().compress
    write(tmp_path / name, pack(data[:3000]) + pack(b"") + pack(data[3000:]))
    write(tmp_path / "plain/a.csv", data)
    assert raw(batches(source(tmp_path, name))) == raw(batches(source(tmp_path, "plain")))


def test_a_hundred_thousand_empty_gzip_members_hide_nothing(tmp_path):
    write(tmp_path / "a.ndjson.gz", gzip.compress(b"") * 100_000 + gzip.compress(b"{}\n") + gzip.compress(b"") * 10)
    assert raw(batches(source(tmp_path, "a.ndjson.gz"))) == [b"{}"]


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("a.ndjson.gz", lambda data: data[:-3]),
        ("a.ndjson.gz", lambda data: data[:-8] + b"\0" * 8),
        ("a.ndjson.gz", lambda data: data + b"garbage"),
        ("a.ndjson.gz", lambda data: b"no gzip"),
        ("a.ndjson.zst", lambda data: data[:-3]),
        ("a.ndjson.zst", lambda data: b"no zstd"),
    ],
)
def test_a_corrupt_compressed_file_is_refused_by_name(tmp_path, name, spoil):
    data = b'{"a":1}\n' * 10
    pack = gzip.compress if name.endswith("gz") else zstandard.ZstdCompressor().compress
    write(tmp_path / name, spoil(pack(data)))
    with pytest.raises(FixInputError, match=rf"{name}: not a whole"):
        read_all(tmp_path, name)


def test_a_decompression_bomb_is_refused_by_name(tmp_path):
    write(tmp_path / "bomb.ndjson.gz", gzip.compress(b"{}\n" * 8_000_000))
    with pytest.raises(FixInputError, match=r"bomb\.ndjson\.gz: unpacks to more than max_ratio"):
        read_all(tmp_path, "bomb.ndjson.gz")
    with pytest.raises(FixInputError, match="max_file_bytes"):
        read_all(tmp_path, "bomb.ndjson.gz", max_ratio=1e9, max_file_bytes=1 << 20)
    sound = source(tmp_path, "bomb.ndjson.gz", max_ratio=1e9).read(Position.start())
    assert sum(batch.rows.num_rows for batch in sound) == 8_000_000


def test_a_record_longer_than_allowed_is_refused_with_its_place(tmp_path):
    write(tmp_path / "a.ndjson", b"{}\n" + b"x" * 2000 + b"\n{}\n")
    with pytest.raises(FixInputError, match=r"a\.ndjson:2: the record at line 2 is longer than max_record_bytes"):
        read_all(tmp_path, "a.ndjson", max_record_bytes=1000)


def test_a_quoted_field_longer_than_allowed_costs_one_record(tmp_path):
    write(tmp_path / "a.csv", HEADER + b'1,"' + b"x\n" * 2000 + b"2,y\n")
    got = raw(batches(source(tmp_path, "a.csv", max_record_bytes=1000)))
    assert got == [b'1,"x', *[b"x"] * 1999, b"2,y"]


def test_declared_encodings_land_as_utf_8(tmp_path):
    every = bytes(b for b in range(256) if b not in b"\r\n")
    write(tmp_path / "a.csv", b"n\xe4me\n" + every)
    latin = read_all(tmp_path, "a.csv", encoding="latin1", quote="")
    assert latin[0]["_hg_raw"].decode() == every.decode("latin-1")
    assert json.loads(latin[0]["_hg_header"]) == ["näme"]
    windows = read_all(tmp_path, "a.csv", encoding="windows-1252", quote="")
    assert "€" in windows[0]["_hg_raw"].decode()
    assert len(windows[0]["_hg_raw"].decode()) == len(every)


def test_a_header_that_is_not_utf_8_asks_for_the_encoding(tmp_path):
    write(tmp_path / "a.csv", b"n\xe4me\nx\n")
    with pytest.raises(FixInputError, match="the header is not UTF-8") as caught:
        read_all(tmp_path, "a.csv")
    assert "encoding" in caught.value.hint


def test_a_header_with_a_name_twice_is_refused(tmp_path):
    write(tmp_path / "a.csv", b"a,b,a\n")
    with pytest.raises(FixInputError, match="names 'a' twice"):
        read_all(tmp_path, "a.csv")


def test_a_header_whose_names_differ_in_case_only_is_refused(tmp_path):
    write(tmp_path / "a.csv", b"Id,b,ID\n")
    with pytest.raises(FixInputError, match="case does not count"):
        read_all(tmp_path, "a.csv")


def test_files_without_header_take_the_contracts_names(tmp_path):
    write(tmp_path / "a.csv", b"1,x\n")
    got = rows(batches(source(tmp_path, "a.csv", names=("id", "name"), header=False)))
    assert [(r["_hg_raw"], json.loads(r["_hg_header"])) for r in got] == [(b"1,x", ["id", "name"])]
    assert json.loads(read_all(tmp_path, "a.csv", header=["p", "q"])[0]["_hg_header"]) == ["p", "q"]


def test_delimiter_and_quote_can_be_set(tmp_path):
    write(tmp_path / "a.tsv", b"id\tname\n1\t'x\ny'\n")
    got = read_all(tmp_path, "a.tsv", quote="'")
    assert got[0]["_hg_raw"] == b"1\t'x\ny'"
    assert json.loads(got[0]["_hg_header"]) == ["id", "name"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'[{"a":1},\n {"a":"],{"}\n]', [b'{"a":1}', b'{"a":"],{"}']),
        (b'\n [1,,[2,3], "x\\"]"]\n', [b"1", b"", b"[2,3]", b'"x\\"]"']),
        (b"[]", []),
        (b"[ \n ]\n", []),
        (b"[1,]", [b"1"]),
        (b'[{"a":1}, {"a":2', [b'{"a":1}', b'{"a":2']),
        (b'{"a":\n1}\n', [b'{"a":\n1}']),
        (b'{"a":1}\n{"a":2}\n', [b'{"a":1}', b'{"a":2}']),
        (b'{"a":1}\n{"a":\n', [b'{"a":1}', b'{"a":']),
    ],
)
def test_json_files_hold_an_array_a_document_or_lines(tmp_path, content, expected):
    write(tmp_path / "a.json", content)
    assert raw(batches(source(tmp_path, "a.json"))) == expected


def test_elements_of_an_array_know_their_line(tmp_path):
    write(tmp_path / "a.json", b'[\n{"a":1},\n\n{"a":\n2}, 3]')
    assert [r["_hg_line"] for r in read_all(tmp_path, "a.json")] == [2, 4, 5]


def many(tmp_path):
    """A folder of small and large files of one format with every trouble."""
    write(tmp_path / "in/a.csv", HEADER + b"".join(b'%d,"row\n%d"\n' % (i, i) for i in range(400)))
    write(tmp_path / "in/b.csv.gz", gzip.compress(HEADER + b"".join(b'%d,open "quote\n' % i for i in range(300))))
    write(tmp_path / "in/c.csv", b"")
    write(tmp_path / "in/d.csv", b"\xef\xbb\xbf" + HEADER + b'1,"never closed\n' + b"2,x\n" * 300)
    write(tmp_path / "in/e.csv", HEADER + b"1,last")


def test_reading_on_after_any_end_equals_reading_at_once(tmp_path):
    many(tmp_path)
    whole = batches(source(tmp_path, "in", batch_bytes=3000))
    assert len({batch.end.dumps() for batch in whole}) > 10
    assert rows(whole) == rows(batches(source(tmp_path, "in")))
    assert [r["_hg_offset"] for r in rows(whole)] == list(range(len(rows(whole))))
    for index, batch in enumerate(whole):
        rest = batches(source(tmp_path, "in", batch_bytes=3000), batch.end)
        assert rows(whole[: index + 1]) + rows(rest) == rows(whole)


@pytest.mark.parametrize("name", ["a.json", "a.ndjson", "a.ndjson.zst"])
def test_json_is_resumed_at_any_end(tmp_path, name):
    values = [json.dumps({"i": i, "text": "x,[{" * (i % 7)}) for i in range(500)]
    text = ("[" + ",\n".join(values) + "]" if name == "a.json" else "\n".join(values)).encode()
    write(tmp_path / name, zstandard.ZstdCompressor().compress(text) if name.endswith("zst") else text)
    whole = batches(source(tmp_path, name, batch_bytes=2000))
    assert raw(whole) == [v.encode() for v in values]
    for index, batch in enumerate(whole):
        assert rows(whole[: index + 1]) + rows(batches(source(tmp_path, name), batch.end)) == rows(whole)


def test_batches_form_a_chain_from_the_position_asked_for(tmp_path):
    many(tmp_path)
    whole = batches(source(tmp_path, "in", batch_bytes=3000))
    position = Position.start()
    for batch in whole:
        assert batch.start == position
        position = batch.end
    assert batches(source(tmp_path, "in"), position) == []
    assert source(tmp_path, "in").idle(position)


def test_the_next_run_reads_new_files_only(tmp_path):
    write(tmp_path / "in/m.ndjson", b"1\n")
    first = batches(source(tmp_path, "in"))
    write(tmp_path / "in/a.ndjson", b"2\n")
    assert not source(tmp_path, "in").idle(end(first))
    second = batches(source(tmp_path, "in"), end(first))
    assert [(r["_hg_raw"], r["_hg_offset"]) for r in rows(second)] == [(b"2", 1)]
    assert batches(source(tmp_path, "in"), end(second)) == []


def test_a_file_that_is_taken_away_after_reading_is_no_matter(tmp_path):
    write(tmp_path / "in/a.ndjson", b"1\n")
    first = batches(source(tmp_path, "in"))
    (tmp_path / "in/a.ndjson").unlink()
    assert batches(source(tmp_path, "in", format="ndjson"), end(first)) == []


def test_a_changed_file_stops_the_run_by_name(tmp_path):
    write(tmp_path / "in/a.ndjson", b"1\n")
    first = batches(source(tmp_path, "in"))
    write(tmp_path / "in/a.ndjson", b"1\n2\n")
    with pytest.raises(SourceChanged, match=r"a\.ndjson: the file changed after it was read"):
        batches(source(tmp_path, "in"), end(first))
    again = batches(source(tmp_path, "in", read={"changed": "read"}), end(first))
    assert [(r["_hg_raw"], r["_hg_offset"]) for r in rows(again)] == [(b"1", 1), (b"2", 2)]
    assert batches(source(tmp_path, "in"), end(again)) == []


def test_a_file_changed_in_the_middle_of_reading_stops_the_next_run(tmp_path):
    write(tmp_path / "a.ndjson", b"11111111\n" * 1000)
    first = batches(source(tmp_path, "a.ndjson", batch_bytes=2000))[0]
    write(tmp_path / "a.ndjson", b"22222222\n" * 1001)
    with pytest.raises(SourceChanged, match="up to line"):
        batches(source(tmp_path, "a.ndjson"), first.end)
    (tmp_path / "a.ndjson").unlink()
    write(tmp_path / "b.ndjson", b"x\n")
    with pytest.raises(SourceChanged, match="is gone"):
        batches(source(tmp_path, "*.ndjson"), first.end)


def test_a_file_changed_while_it_is_read_stops_the_run(tmp_path):
    write(tmp_path / "a.ndjson", b"11111111\n" * 1000)
    reading = source(tmp_path, "a.ndjson", batch_bytes=2000).read(Position.start())
    next(reading)
    write(tmp_path / "a.ndjson", b"11111111\n" * 1001)
    with pytest.raises(SourceChanged, match="while it was read"):
        list(reading)


def test_identity_by_content_does_not_mind_a_new_time(tmp_path):
    path = write(tmp_path / "a.ndjson", b"1\n")
    touch_ns(path, 10**18)
    by_time, by_content = (batches(source(tmp_path, "a.ndjson", identity=kind)) for kind in ("time", "content"))
    touch_ns(path, 10**18 + 1)
    with pytest.raises(SourceChanged):
        batches(source(tmp_path, "a.ndjson"), end(by_time))
    assert batches(source(tmp_path, "a.ndjson", identity="content"), end(by_content)) == []
    write(path, b"2\n")
    with pytest.raises(SourceChanged):
        batches(source(tmp_path, "a.ndjson", identity="content"), end(by_content))


def test_a_growing_file_is_read_on_from_where_it_was_left(tmp_path):
    path = write(tmp_path / "log.ndjson", b"1\n2\nhal")
    first = batches(source(tmp_path, "log.ndjson", grows=True))
    assert raw(first) == [b"1", b"2"]
    assert source(tmp_path, "log.ndjson", grows=True).idle(end(first))
    with path.open("ab") as file:
        file.write(b"f\n4\n")
    second = batches(source(tmp_path, "log.ndjson", grows=True), end(first))
    assert [(r["_hg_raw"], r["_hg_line"], r["_hg_offset"]) for r in rows(second)] == [(b"half", 3, 2), (b"4", 4, 3)]
    write(path, b"0\n")
    with pytest.raises(SourceChanged, match="no longer begins"):
        batches(source(tmp_path, "log.ndjson", grows=True), end(second))
    fresh = batches(source(tmp_path, "log.ndjson", grows=True, changed="read"), end(second))
    assert [(r["_hg_raw"], r["_hg_offset"]) for r in rows(fresh)] == [(b"0", 4)]


def test_a_growing_csv_file_may_begin_with_half_a_header(tmp_path):
    path = write(tmp_path / "log.csv", b"id,na")
    first = batches(source(tmp_path, "log.csv", grows=True))
    assert rows(first) == []
    write(path, b"id,name\n1,x\n")
    second = batches(source(tmp_path, "log.csv", grows=True), end(first))
    assert [(r["_hg_raw"], json.loads(r["_hg_header"])) for r in rows(second)] == [(b"1,x", ["id", "name"])]


def test_growing_files_are_resumed_at_any_end(tmp_path):
    write(tmp_path / "a.csv", HEADER + b"".join(b"%d,x\n" % i for i in range(900)))
    write(tmp_path / "b.csv", HEADER + b"".join(b"%d,y\n" % i for i in range(900)))
    whole = batches(source(tmp_path, "*.csv", grows=True, batch_bytes=5000))
    assert len(whole) > 5
    for index, batch in enumerate(whole):
        rest = batches(source(tmp_path, "*.csv", grows=True), batch.end)
        assert rows(whole[: index + 1]) + rows(rest) == rows(whole)


def test_files_that_just_changed_wait_until_they_settle(tmp_path):
    path = write(tmp_path / "a.ndjson", b"1\n")
    first = batches(source(tmp_path, "a.ndjson", settle_s=3600))
    assert rows(first) == []
    touch_ns(path, 10**18)
    assert raw(batches(source(tmp_path, "a.ndjson", settle_s=3600), end(first))) == [b"1"]


def test_a_position_of_other_files_stops_the_run(tmp_path):
    write(tmp_path / "one/a.ndjson", b"1\n")
    write(tmp_path / "two/a.ndjson", b"1\n")
    first = batches(source(tmp_path, "one"))
    with pytest.raises(SourceChanged, match="belongs to the files of 'one', not of 'two'"):
        batches(source(tmp_path, "two"), end(first))
    with pytest.raises(PositionLost):
        batches(source(tmp_path, "one"), Position({NAME: '{"rows": 1}'}))


def test_a_wider_path_reads_only_the_files_it_adds(tmp_path):
    write(tmp_path / "in/one/a.ndjson", b"1\n" * 2000)
    write(tmp_path / "in/two/a.ndjson", b"2\n")
    narrow = batches(source(tmp_path, "in/one", batch_bytes=500))
    assert raw(batches(source(tmp_path, "in"), end(narrow))) == [b"2"]
    rest = raw(batches(source(tmp_path, "in"), narrow[0].end))
    assert rest == [b"1"] * (2000 - narrow[0].rows.num_rows) + [b"2"]
    both = batches(source(tmp_path, "in"), end(narrow))
    assert rows(batches(source(tmp_path, "**/*.ndjson"), end(both))) == []


def test_a_project_may_move_with_its_files(tmp_path):
    write(tmp_path / "old/in/a.ndjson", b"1\n")
    first = batches(source(tmp_path / "old", "in"))
    (tmp_path / "old").rename(tmp_path / "new")
    assert batches(source(tmp_path / "new", "in"), end(first)) == []


def test_positions_of_other_servers_are_let_be(tmp_path):
    write(tmp_path / "a.ndjson", b"1\n")
    got = batches(source(tmp_path, "a.ndjson"), Position({"other": "x"}))
    assert got[0].start == Position.start()
    assert set(got[0].end.tokens) == {NAME}


def test_small_files_share_a_batch(tmp_path):
    for i in range(200):
        write(tmp_path / f"in/{i:04}.ndjson", b'{"a": 1}\n')
    assert [batch.rows.num_rows for batch in batches(source(tmp_path, "in"))] == [200]


def test_formats_do_not_mix(tmp_path):
    write(tmp_path / "a.csv", HEADER)
    write(tmp_path / "b.ndjson", b"1\n")
    with pytest.raises(FixInputError, match=r"a\.csv is csv and b\.ndjson is json"):
        read_all(tmp_path, "*")


def test_an_unknown_extension_asks_for_the_format(tmp_path):
    write(tmp_path / "data.txt", HEADER + b"1,x\n")
    with pytest.raises(FixInputError, match="does not tell its format"):
        read_all(tmp_path, "data.txt")
    assert len(read_all(tmp_path, "data.txt", format="csv")) == 1


def test_an_empty_folder_reads_as_no_rows_and_what_comes_later_is_read(tmp_path):
    (tmp_path / "in").mkdir()
    first = batches(source(tmp_path, "in/*.ndjson"))
    assert rows(first) == []
    write(tmp_path / "in/a.ndjson", b"1\n")
    assert raw(batches(source(tmp_path, "in/*.ndjson"), end(first))) == [b"1"]


def test_tell_says_what_is_there_and_what_cannot_be_seen(tmp_path):
    write(tmp_path / "in/a.ndjson", b"1\n")
    told = source(tmp_path, "in").tell()
    assert (told["identity"], told["files"], told["size_bytes"]) == ("in", 1, 2)
    assert json.loads(json.dumps(told)) == told
    assert any("deleted" in sentence for sentence in told["limitations"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "xml"}, "format: 'xml' is not known"),
        ({"compression": "rar"}, "compression: 'rar'"),
        ({"delimiter": ";;"}, "delimiter: ';;' is not one ASCII character"),
        ({"delimiter": '"'}, "the same"),
        ({"quote": "\n"}, "quote"),
        ({"max_record_bytes": 0}, "greater than 0"),
        ({"max_record_bytes": 1 << 40}, "at most"),
        ({"max_ratio": "many"}, "not of type float"),
        ({"grows": "perhaps"}, "not of type bool"),
        ({"grows": True, "compression": "gzip"}, "only plain"),
        ({"encoding": "utf-16"}, "encoding"),
        ({"changed": "ignore"}, "changed"),
    ],
)
def test_impossible_settings_are_refused(tmp_path, options, message):
    write(tmp_path / "a.csv", HEADER)
    with pytest.raises(FixInputError, match=message):
        source(tmp_path, "a.csv", **options)


def test_an_unknown_setting_in_the_project_is_refused(tmp_path):
    with pytest.raises(FixInputError, match="no setting 'watermark' for files"):
        source(tmp_path, ".", read={"watermark": "x"})

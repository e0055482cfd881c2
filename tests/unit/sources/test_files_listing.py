"""Which files a path names."""

import os
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.errors import FixInputError
from headgate.sources.files_listing import _segment, extensions_of, find, kind_of, place


@pytest.fixture
def tree(tmp_path):
    names = ["a.csv", "b.csv.gz", "c.txt", ".h.csv", "_tmp.csv", "x/d.csv", "x/y/e.csv", "x/.z/f.csv", "[1].csv"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    return tmp_path


def names(base, path, format_name="csv"):
    return [found.name for found in find(place(str(path), str(base)), extensions_of(format_name))]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.csv", ["[1].csv", "_tmp.csv", "a.csv"]),
        ("a.csv", ["a.csv"]),
        ("[1].csv", []),
        ("[[]1].csv", ["[1].csv"]),
        ("?.csv", ["a.csv"]),
        ("[a-b].*", ["a.csv", "b.csv.gz"]),
        ("[!b].*", ["a.csv", "c.txt"]),
        (".*.csv", [".h.csv"]),
        ("*/*.csv", ["x/d.csv"]),
        ("x/*.csv", ["d.csv"]),
        ("**/*.csv", ["[1].csv", "_tmp.csv", "a.csv", "x/d.csv", "x/y/e.csv"]),
        ("x/**/e.csv", ["y/e.csv"]),
        ("**/.z/*.csv", ["x/.z/f.csv"]),
        (".", ["[1].csv", "a.csv", "b.csv.gz", "x/d.csv", "x/y/e.csv"]),
        ("x", ["d.csv", "y/e.csv"]),
        ("none*", []),
    ],
)
def test_paths_name_files_in_order(tree, pattern, expected):
    assert names(tree, pattern) == expected
    assert names("/", tree / pattern) == expected


def test_a_file_with_magic_characters_in_its_name_can_be_named_by_its_folder(tree):
    assert "[1].csv" in names(tree, ".")


def test_a_link_out_of_the_folder_is_refused_by_name(tree, tmp_path_factory):
    secret = tmp_path_factory.mktemp("other") / "secret.csv"
    secret.write_text("s")
    (tree / "link.csv").symlink_to(secret)
    for path in (".", "*.csv", "link.csv", "**/*.csv"):
        with pytest.raises(FixInputError, match=r"link\.csv: this link leads out of the folder"):
            names(tree, path)


def test_a_folder_behind_a_link_out_of_the_folder_is_refused_by_name(tree, tmp_path_factory):
    (tree / "door").symlink_to(tmp_path_factory.mktemp("other"))
    with pytest.raises(FixInputError, match="door: this link leads out"):
        names(tree, "**/*.csv")
    assert names(tree, "a.csv") == ["a.csv"]


def test_a_link_within_the_folder_is_followed_and_loops_end(tree):
    (tree / "x/link.csv").symlink_to(tree / "a.csv")
    (tree / "x/loop").symlink_to(tree)
    with pytest.raises(FixInputError, match="leads out"):
        names(tree, "x")  # out of x, the folder given
    assert "x/link.csv" in names(tree, ".")
    (tree / "me.csv").symlink_to(tree / "me.csv")
    assert names(tree, "a.csv") == ["a.csv"]


@pytest.mark.parametrize("path", ["../a.csv", "x/../../a.csv", "x/*/../../../a.csv"])
def test_climbing_out_is_refused(tree, path):
    with pytest.raises(FixInputError, match="climbs out"):
        names(tree / "x", path)


@pytest.mark.parametrize("path", ["", "a\0.csv"])
def test_what_is_no_path_is_refused(tree, path):
    with pytest.raises(FixInputError, match="not a path"):
        names(tree, path)


@pytest.mark.parametrize("path", ["missing.csv", "missing/*.csv", "a.csv/*.csv"])
def test_a_missing_file_or_folder_is_refused_by_name(tree, path):
    with pytest.raises(FixInputError):
        names(tree, path)


def test_special_files_are_no_files(tree):
    os.mkfifo(tree / "pipe.csv")
    assert "pipe.csv" not in names(tree, ".")


def test_a_name_that_is_not_utf_8_is_refused(tree):
    (tree / os.fsdecode(b"\xff.csv")).write_text("x")
    with pytest.raises(FixInputError, match="not UTF-8"):
        names(tree, "*.csv")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.csv", ("csv", None)),
        ("a.CSV.GZ", ("csv", "gzip")),
        ("a.2024.jsonl.zst", ("ndjson", "zstd")),
        ("a.parquet", ("parquet", None)),
        ("a", (None, None)),
        ("a.gz", (None, "gzip")),
    ],
)
def test_extensions_tell_format_and_compression(name, kind):
    assert kind_of(name) == kind


@settings(max_examples=300, deadline=None)
@given(st.text("ab*?[]!-.^\\", max_size=8), st.text("ab*?[]!-.^\\", max_size=6))
def test_any_pattern_is_a_valid_expression_that_never_crosses_folders(pattern, name):
    expression = re.compile(_segment(pattern))
    assert not expression.fullmatch(name + "/" + name)
    if not set(pattern) & set("*?["):
        assert bool(expression.fullmatch(name)) == (pattern == name)

"""Only one plain, bounded, unambiguous YAML document is read; anything else is refused before it costs anything."""

from __future__ import annotations

import contextlib
from time import process_time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from headgate.contract.complaint import ContractRefused
from headgate.contract.yaml_reader import MAX_BYTES, MAX_DEPTH, read_yaml, read_yaml_bytes


def value_of(text):
    return read_yaml_bytes(text.encode(), "f").value


def refusal(data):
    with pytest.raises(ContractRefused) as refused:
        read_yaml_bytes(data, "f")
    return refused.value


def test_values_are_plain():
    text = "a: 1\nb: 1.5\nc: true\nd: ~\ne: [x, 'y', \"z\"]\nf: {g: -0x1F}\nh: |\n  two\n  lines\n"
    assert value_of(text.replace("-0x1F", "0x1F")) == {
        "a": 1, "b": 1.5, "c": True, "d": None, "e": ["x", "y", "z"], "f": {"g": 31}, "h": "two\nlines\n",
    }  # fmt: skip


def test_keys_are_always_text():
    assert value_of("{NO: Norway, 1: one, true: yea}") == {"NO": "Norway", "1": "one", "true": "yea"}


def test_dates_stay_text_with_a_warning():
    document = read_yaml_bytes(b"a: 2024-01-31\nb: '2024-01-31'\n", "f")
    assert document.value == {"a": "2024-01-31", "b": "2024-01-31"}
    assert [str(one.place) for one in document.warnings] == ["f:1:4"]


@pytest.mark.parametrize(
    "word", ["yes", "No", "ON", "off", "007", "-01", "1_000", "1:30", "1e5", "1.5e3", "0o17", "0b11", "1_0.5"]
)
def test_words_that_readers_understand_differently_must_be_quoted(word):
    assert "means different things" in refusal(f"a: {word}".encode()).message
    assert value_of(f"a: '{word}'") == {"a": word}


@given(st.text(alphabet="0123456789+-._:exobEyYnNtTfF~", max_size=8).filter(lambda word: not word.endswith(":")))
def test_unquoted_words_mean_what_yaml_1_1_makes_of_them_or_are_refused(word):
    try:
        ours = value_of(f"- {word}\n")
    except ContractRefused:
        return
    try:
        theirs = yaml.safe_load(f"- {word}\n")
    except ValueError:
        return  # the looks of a date that does not exist
    if ours != theirs:  # only dates (text here, with a warning), and a NaN is no equal of itself
        assert hasattr(theirs[0], "isoformat") or ours[0] != ours[0], (word, ours, theirs)


def test_every_value_and_key_has_its_place():
    document = read_yaml_bytes("a: 1\nböb:\n  - {c: x}\n  -   d\n".encode(), "f")
    assert str(document.place(())) == "f:1:1"
    assert str(document.place(("böb", 0, "c"))) == "f:3:9"
    assert str(document.key_place(("böb", 0, "c"))) == "f:3:6"
    assert str(document.key_place(("böb",))) == "f:2:1"
    assert str(document.place(("böb", 1))) == "f:4:7"
    assert str(document.place(("böb", 7, "none"))) == "f:3:3"


def test_anchors_aliases_and_merges_are_followed():
    text = "a: &a {x: 1, y: 2}\nb: *a\nc: {<<: *a, y: 3}\nd: {<<: [*a, {z: 4}]}\n"
    assert value_of(text) == {
        "a": {"x": 1, "y": 2},
        "b": {"x": 1, "y": 2},
        "c": {"x": 1, "y": 3},
        "d": {"x": 1, "y": 2, "z": 4},
    }


def laughs(levels):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines).encode()


BOMBS = {
    "billion laughs": laughs(10),
    "many aliases": b"a: &a x\nb: [" + b"*a, " * 200 + b"]",
    "deep in brackets": b"[" * 1_000_000,
    "deep in braces": b"{a: " * 200_000,
    "deep in dashes": b"- " * 500_000,
    "deep in questions": b"? " * 500_000,
    "deep by aliases": b"a0: &a0 [x]\n" + b"".join(b"a%d: &a%d [*a%d]\n" % (n, n, n - 1) for n in range(1, 90)),
    "wide": b"[" + b"1," * 400_000 + b"]",
    "too long": b"a: " + b"x" * MAX_BYTES,
    "long number": b"a: " + b"9" * 100_000,
    "many anchors": b"".join(b"- &a%d x\n" % n for n in range(60_000)),
}


@pytest.mark.parametrize("data", BOMBS.values(), ids=BOMBS.keys())
def test_bomb_is_refused_before_it_costs_anything(data):
    start = process_time()
    refusal(data)
    assert process_time() - start < 2  # milliseconds for most, a quarter of a second for the widest


def test_depth_up_to_the_limit_is_read():
    assert value_of("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert f"deeper than {MAX_DEPTH}" in refusal(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1)).message


@pytest.mark.parametrize(
    ("data", "where", "fragment"),
    [
        (b"a: 1\nb: caf\xe9\n", "f:2:7", "byte 0xe9 is not valid UTF-8"),
        (b"a: 1\nb: x\0y\n", "f:2:5", "U+0000"),
        (b"a: \x07", "f:1:4", "U+0007"),
        ("a: 1".encode("utf-16"), "f:1:1", "UTF-16"),
        (b'a: "\\0"', "f:1:4", "NUL"),
        (b"a: 1\n---\nb: 2\n", "f:2:1", "second document"),
        (b"a: 1\na: 2\n", "f:2:1", "stands twice, first at line 1"),
        (b"a:\n\tb: 1\n", "f:2:1", "tab"),
        (b"a: !!binary aGk=\n", "f:1:4", "tag"),
        (b"a: !mine x\n", "f:1:4", "tag"),
        (b"[a]: 1\n", "f:1:1", "a key must be text"),
        (b"'': 1\n", "f:1:1", "a key is empty"),
        (b"a: {<<: 5}\n", "f:1:9", "`<<` takes a mapping"),
        (b"a: b: c\n", "f:1:5", "mapping values are not allowed"),
    ],
)
def test_refusal_says_what_and_where(data, where, fragment):
    error = refusal(data)
    assert error.where == where
    assert fragment in error.message
    assert error.complaints[0].code == "yaml"


def test_all_duplicate_keys_are_told_at_once():
    assert len(refusal(b"a: 1\na: 2\nb: {c: 1, c: 2}\n").complaints) == 2


def test_byte_order_mark_is_no_part_of_the_text():
    assert value_of("\ufeffa: 1") == {"a": 1}


def test_empty_file_has_no_value(tmp_path):
    path = tmp_path / "empty.yaml"
    path.write_bytes(b"# nothing\n")
    assert read_yaml(path).value is None


@given(st.binary(max_size=200))
def test_bytes_are_read_or_refused(data):
    with contextlib.suppress(ContractRefused):
        read_yaml_bytes(data, "f")


@given(st.text(alphabet="ab:-?[]{}&*|>'\"%@`#, \n1~", max_size=60))
def test_punctuation_is_read_as_others_read_it_or_refused(text):
    try:
        ours = value_of(text)
    except ContractRefused:
        return
    assert _as_text_keys(yaml.load(text, Loader=yaml.CSafeLoader)) == ours


def _as_text_keys(value):
    if isinstance(value, dict):
        return {("~" if key is None else str(key)): _as_text_keys(one) for key, one in value.items()}
    return [_as_text_keys(one) for one in value] if isinstance(value, list) else value

"""Cuts a JSON file that is not one value per line: the elements of an array, or one whole document.

An element is what stands between the commas of the outer array, white space at its sides left out. Brackets and
texts are followed, nothing else is checked: an element that is no JSON lands as it is. Should the brackets not
balance, the rest of the file is one element.
"""

from __future__ import annotations

import json
import re

import numpy as np

from headgate.sources.files_split import Cut, OversizeRecord

LINES, ARRAY, DOCUMENT = "lines", "array", "document"

_SPACE = b" \t\r\n"
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["\[\]{},]', re.DOTALL)  # possessive: nothing is tried twice


def shape_of(beginning: bytes) -> str:
    """How values stand in a file that begins so: an array, one value per line, or one document."""
    start = beginning.lstrip(_SPACE)
    if start.startswith(b"["):
        return ARRAY
    return LINES if not start or any(_is_object(line) for line in start.split(b"\n")[:20]) else DOCUMENT


def cut_document(block: bytearray, end: int, final: bool, limit: int) -> Cut:
    """The whole file is one record."""
    if not final:
        if end > limit:
            raise OversizeRecord(0)
        return _made([], [], [], 0, 0)
    return _elements(block, end, [(0, end, True)], limit, end)


def cut_array(block: bytearray, end: int, final: bool, limit: int) -> Cut:
    """The array's elements; the block begins behind its opening bracket or behind a comma."""
    spans = []
    start = depth = 0
    for token in _TOKEN.finditer(block, 0, end):
        at = token.start()
        byte = block[at]
        if byte == 0x22:
            if token.end() == at + 1:  # a text that is not closed here
                break
        elif byte in b"[{":
            depth += 1
        elif depth:
            depth -= byte in b"]}"
        elif byte != 0x7D:
            spans.append((start, at, byte == 0x5D))
            start = at + 1
    if final:
        spans.append((start, end, True))
        start = end
    return _elements(block, end, spans, limit, start)


def _elements(block: bytearray, end: int, spans: list[tuple[int, int, bool]], limit: int, used: int) -> Cut:
    """Spans (start, stop, may be nothing) without the space around them, as records."""
    starts, stops, lines = [], [], []
    line = counted = 0
    for span_start, span_stop, optional in spans:
        text = bytes(block[span_start:span_stop])
        start = span_start + len(text) - len(text.lstrip(_SPACE))
        stop = max(start, span_start + len(text.rstrip(_SPACE)))
        if start == stop and optional:
            continue
        line += block.count(b"\n", counted, start)
        counted = start
        if stop - start > limit:
            raise OversizeRecord(line)
        starts.append(start)
        stops.append(stop)
        lines.append(line)
    if end - used > limit + (1 << 16):  # white space around an element is not counted, but not without end
        raise OversizeRecord(line)
    return _made(starts, stops, lines, used, line + block.count(b"\n", counted, used))


def _made(starts: list[int], stops: list[int], lines: list[int], used: int, used_lines: int) -> Cut:
    return Cut(np.array(starts, np.int64), np.array(stops, np.int64), np.array(lines, np.int64), used, used_lines)


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False

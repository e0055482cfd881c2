"""Looks over SQL that a contract holds, so that it can only be one expression or one query."""

from __future__ import annotations

import re

MAX_LENGTH = 10_000
_CLOSING = {")": "(", "]": "[", "}": "{"}
_STATEMENTS = re.compile(
    r"\s*(insert|update|delete|drop|create|alter|copy|attach|detach|install|load|pragma|set|call|export|import|use)\b",
    re.IGNORECASE,
)


def expression_problem(text: str) -> str | None:
    """Why this cannot stand as one expression between parentheses; None when it can."""
    if _STATEMENTS.match(text):
        return "it is a statement, not an expression"
    return _shape_problem(text)


def query_problem(text: str) -> str | None:
    """Why this is not one read-only query; None when it may be one. `${object}` and `{property}` may stand in it."""
    if not re.match(r"[\s(]*(select|with|from)\b", text, re.IGNORECASE):
        return "it does not begin with SELECT, WITH or FROM"
    return _shape_problem(re.sub(r"\$?\{[A-Za-z_]+\}", "x", text.rstrip().removesuffix(";")))


def _shape_problem(text: str) -> str | None:
    if not text.strip():
        return "it is empty"
    if len(text) > MAX_LENGTH:
        return f"it is longer than {MAX_LENGTH} characters"
    open_ones: list[str] = []
    at = 0
    while at < len(text):
        one = text[at]
        if one in "'\"":
            escapes = one == "'" and at > 0 and text[at - 1] in "eE" and not text[at - 2 : at - 1].isalnum()
            end = _end_of_quoted(text, at, escapes=escapes)
            if end is None:
                return f"a {one} without its end"
            at = end
            continue
        if text.startswith(("--", "/*"), at):
            return "comments may not stand in it"
        if one == ";":
            return "a `;` may not stand in it"
        if one == "$":
            return "parameters and dollar quotes may not stand in it"
        if one in "([{":
            open_ones.append(one)
        elif one in _CLOSING and (not open_ones or open_ones.pop() != _CLOSING[one]):
            return f"a `{one}` without its beginning"
        at += 1
    return f"a `{open_ones[-1]}` without its end" if open_ones else None


def _end_of_quoted(text: str, start: int, *, escapes: bool) -> int | None:
    """The index after the closing quote; a doubled quote stands for itself."""
    quote = text[start]
    at = start + 1
    while at < len(text):
        if escapes and text[at] == "\\":
            at += 2
        elif text[at] == quote:
            if text[at + 1 : at + 2] != quote:
                return at + 1
            at += 2
        else:
            at += 1
    return None

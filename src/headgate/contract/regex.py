"""Judges whether a pattern is one that RE2 (DuckDB's regular expressions) takes, without RE2.

Conservative: what is refused here might work in RE2, what is accepted does.
"""

from __future__ import annotations

import re
import warnings

MAX_LENGTH = 1000
MAX_DEPTH = 50
MAX_REPEAT = 1000
MAX_COST = 20_000  # about the size of RE2's program; it takes no larger one than some 80,000 instructions

_CLASSES = "dDwWsS"
_ANCHORS = "AbBz"
_CONTROLS = "tnrfva"
_NAMED_SETS = frozenset({
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper",
    "word", "xdigit",
})  # fmt: skip
_SCRIPTS = frozenset({
    "L", "Lu", "Ll", "Lt", "Lm", "Lo", "M", "Mn", "Mc", "Me", "N", "Nd", "Nl", "No", "P", "Pc", "Pd", "Ps", "Pe",
    "Pi", "Pf", "Po", "S", "Sm", "Sc", "Sk", "So", "Z", "Zs", "Zl", "Zp", "C", "Cc", "Cf", "Co", "Latin", "Greek",
    "Cyrillic", "Arabic", "Hebrew", "Han", "Hiragana", "Katakana", "Hangul", "Thai", "Devanagari", "Armenian",
    "Georgian", "Common",
})  # fmt: skip
_GROUP = re.compile(r"\?(?:P<[A-Za-z_][A-Za-z0-9_]{0,31}>|[ims]*(?:-[ims]+)?:)")
_LEADING_FLAGS = re.compile(r"\(\?[ims]+\)")
_REPEAT = re.compile(r"\{([0-9]+)(,([0-9]*))?\}")
_LOOKING = {"?=": "look-ahead", "?!": "look-ahead", "?<=": "look-behind", "?<!": "look-behind"}


def pattern_problem(pattern: str) -> str | None:
    """Why RE2 would not take this pattern, None when it does."""
    if len(pattern) > MAX_LENGTH:
        return f"it is longer than {MAX_LENGTH} characters"
    scan = _Scan(pattern)
    try:
        scan.run()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            re.compile("".join(scan.python))
    except _RefusedError as refused:
        return str(refused)
    except (re.error, OverflowError, RecursionError, Warning) as cause:
        return str(cause) or "it is not a regular expression"
    return None


class _RefusedError(ValueError):
    pass


class _Scan:
    """Walks over a pattern, refuses what RE2 lacks and rewrites the rest so that Python can check its structure."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        self.python: list[str] = []
        self.last = 1  # how often the last atom stands, counting repetitions inside it
        self.most = [1]  # the same for the most repeated atom so far, per open group
        self.last_cost = 0  # size of the program for the last atom
        self.cost = [0]  # the same for all atoms so far, per open group

    def run(self) -> None:
        flags = _LEADING_FLAGS.match(self.pattern)
        if flags:
            self.python.append(flags[0])
            self.at = flags.end()
        while self.at < len(self.pattern):
            one = self.pattern[self.at]
            if one == "\\":
                wide = self.pattern[self.at + 1 : self.at + 2] in ("p", "P")
                self.python.append(self._escape(inside=False))
                self._atom(150 if wide else 10)
            elif one == "[":
                start = self.at
                self._set()
                self._atom(150 if "\\p" in self.pattern[start : self.at].lower() else 10)
            elif one == "(":
                self._group()
            elif one in "*+?{":
                self._repeat()
            else:
                if one == ")" and len(self.most) > 1:
                    self._atom(self.cost.pop() + 1, self.most.pop())
                else:
                    self._atom(10)
                self.python.append(one)
                self.at += 1
        if self.cost[0] > MAX_COST:
            raise _RefusedError("it is too large for RE2; repeat less")

    def _atom(self, cost: int, copies: int = 1) -> None:
        """Account for something that a repetition may follow."""
        self.last, self.last_cost = copies, cost
        self.most[-1] = max(self.most[-1], copies)
        self.cost[-1] += cost

    def _group(self) -> None:
        rest = self.pattern[self.at + 1 :]
        for start in ("?<=", "?<!", "?=", "?!"):
            if rest.startswith(start):
                raise _RefusedError(f"RE2 has no {_LOOKING[start]} `({start}…)`")
        if rest.startswith("?"):
            known = _GROUP.match(rest)
            if not known:
                raise _RefusedError(f"RE2 has no group `({rest[:3]}…)` here")
            # Python takes flags in fewer places: structure is all that is checked.
            self.python.append("(?:" if known[0].endswith(":") else f"(?P<{_name(known[0])}>")
            self.at += 1 + known.end()
        else:
            self.python.append("(")
            self.at += 1
        self.most.append(1)
        self.cost.append(0)
        if len(self.most) > MAX_DEPTH:
            raise _RefusedError(f"groups are nested deeper than {MAX_DEPTH}")

    def _repeat(self) -> None:
        one = self.pattern[self.at]
        if one == "{":
            counted = _REPEAT.match(self.pattern, self.at)
            if not counted:
                raise _RefusedError("a `{` that does not begin a repetition; write `\\{`")
            low = int(counted[1][:9])
            high = int(counted[3][:9]) if counted[3] else low
            if max(low, high) > MAX_REPEAT:
                raise _RefusedError(f"RE2 repeats at most {MAX_REPEAT} times")
            self.last *= max(low, high, 1)
            self.cost[-1] += self.last_cost * max(low, high, 1)
            self.last_cost *= max(low, high, 1)
            self.most[-1] = max(self.most[-1], self.last)
            if self.last > MAX_REPEAT:
                raise _RefusedError(f"nested repetitions multiply to more than {MAX_REPEAT}")
            text = counted[0]
        else:
            text = one
        following = self.pattern[self.at + len(text) : self.at + len(text) + 1]
        if following == "?":
            text += "?"
            following = self.pattern[self.at + len(text) : self.at + len(text) + 1]
        if following and following in "*+?{":
            raise _RefusedError(f"two repetitions in a row: `{text}{following}`")
        self.python.append(text)
        self.at += len(text)

    def _set(self) -> None:
        """A set such as `[a-z[:alpha:]]`."""
        self.python.append("[")
        self.at += 1
        if self.pattern[self.at : self.at + 1] == "^":
            self.python.append("^")
            self.at += 1
        first = True
        while True:
            one = self.pattern[self.at : self.at + 1]
            if not one:
                raise _RefusedError("a `[` without its `]`")
            if one == "]" and not first:
                break
            first = False
            if self.pattern.startswith("[:", self.at):
                self._named_set()
            elif one == "\\":
                self.python.append(self._escape(inside=True))
            elif one == "[":
                self.python.append("\\[")
                self.at += 1
            elif one in "&|~" and self.pattern[self.at + 1 : self.at + 2] == one:
                self.python.append("\\" + one)
                self.at += 1
            else:
                self.python.append("\\]" if one == "]" else one)
                self.at += 1
        self.python.append("]")
        self.at += 1

    def _named_set(self) -> None:
        end = self.pattern.find(":]", self.at)
        name = self.pattern[self.at + 2 : end].removeprefix("^") if end > 0 else ""
        if name not in _NAMED_SETS:
            raise _RefusedError(f"unknown set `[:{name[:20]}`")
        self.python.append("\\w")
        self.at = end + 2

    def _escape(self, *, inside: bool) -> str:
        """The escape at this point, as Python would write something of the same shape."""
        one = self.pattern[self.at + 1 : self.at + 2]
        self.at += 2
        if one == "":
            raise _RefusedError("it ends in a backslash")
        if one in "123456789" or (one == "k" and not inside):
            raise _RefusedError(f"RE2 has no back reference `\\{one}`")
        if one in _CLASSES or one in _CONTROLS:
            return "\\" + one
        if one in _ANCHORS and not inside:
            return "\\Z" if one == "z" else "\\" + one
        if one in "pP":
            return self._property()
        if one == "x":
            return self._code_point()
        if one.isalnum() or one == "_" or not one.isascii():
            raise _RefusedError(f"RE2 has no escape `\\{one}`")
        return "\\" + one

    def _property(self) -> str:
        braced = re.compile(r"\{\^?([A-Za-z_]+)\}").match(self.pattern, self.at)
        name = braced[1] if braced else self.pattern[self.at : self.at + 1]
        if name not in _SCRIPTS:
            raise _RefusedError(f"unknown character property `{name[:20]}`")
        self.at = braced.end() if braced else self.at + 1
        return "\\w"

    def _code_point(self) -> str:
        code = re.compile(r"\{([0-9A-Fa-f]{1,6})\}|([0-9A-Fa-f]{2})").match(self.pattern, self.at)
        if not code:
            raise _RefusedError("`\\x` needs two hexadecimal digits, or more in braces")
        value = int(code[1] or code[2], 16)
        if value > 0x10FFFF or 0xD800 <= value <= 0xDFFF:
            raise _RefusedError(f"there is no character U+{value:04X}")
        self.at = code.end()
        return f"\\U{value:08x}"


def _name(group: str) -> str:
    return group.removeprefix("?").removeprefix("P")[1:-1]

"""Which names a contract may give: they become tables, columns, paths and SQL identifiers."""

from __future__ import annotations

import re
import unicodedata

DATASET = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
RESERVED = "_hg_"
MAX_FIELD_BYTES = 63


def fold(name: str) -> str:
    """Equal for names that a person or a case-insensitive engine takes for the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def dataset_problem(name: str) -> str | None:
    """Why a dataset may not have this name; None when it may."""
    if not DATASET.fullmatch(name):
        return "a dataset's name is 1 to 63 of a-z, A-Z, 0-9 and _, not beginning with a digit"
    if fold(name).startswith(RESERVED):
        return f"names beginning with `{RESERVED}` belong to Headgate"
    return None


def field_problem(name: str) -> str | None:
    """Why a field may not have this name; None when it may."""
    if not name.strip():
        return "a field's name is blank"
    if len(name.encode("utf-8", "surrogatepass")) > MAX_FIELD_BYTES:
        return f"a field's name is longer than {MAX_FIELD_BYTES} bytes"
    if name != name.strip():
        return "a field's name begins or ends with a blank"
    if any(unicodedata.category(one) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for one in name):
        return "a field's name holds a character that cannot be printed"
    if "[]" in name:
        return "a field's name holds `[]`, which in paths stands for the items of an array"
    if fold(name).startswith(RESERVED):
        return f"names beginning with `{RESERVED}` belong to Headgate"
    return None

from collections.abc import Sequence
from typing import TypeAlias

from typing_extensions import Buffer

TEXT: int
INT32: int
INT64: int
FLOAT32: int
FLOAT64: int
DECIMAL: int
BOOLEAN: int
DAY: int
CLOCK: int
MOMENT: int
INSTANT: int
BYTES: int
OBJECT: int
ARRAY: int

# key, kind, required, first child, children, precision, scale, least, most, low, high, allowed values
Node: TypeAlias = tuple[bytes, int, bool, int, int, int, int, int, int, float, float, Sequence[bytes] | Sequence[int]]

# the bytes of a binary array, the int32 edges of its values in them, which edge is the first, lines
Chunk: TypeAlias = tuple[Buffer | None, Buffer, int, int]

# length, bitmap of validity, values or edges or bits, bytes of texts; None where there is none
Column: TypeAlias = tuple[int, Block | None, Block | None, Block | None]

class Block(Buffer): ...

class Layout:
    # One byte for each line, 1 when it was taken; and a column for each node, with a row for each of these lines.
    #
    # A line is taken when it surely is one JSON object of this layout, every value is what careful reading makes of it,
    # and every limit holds. Python's lock is let go meanwhile. Raises ValueError when edges are out of order.
    def read(self, chunks: Sequence[Chunk], /) -> tuple[Block, list[Column]]: ...

# The layout of lines. The first node is the line's object; the children of a node stand together, behind it, in the
# order of their parents. `closed`: a line with a key that no member has is not taken. Limits are those of an integer or
# an unscaled decimal, of the characters of a text or the items of an array (`least`, `most`), and of a float (`low`,
# `high`). Raises ValueError for what is no such tree, is nested too deeply, or has keys that JSON writes with escapes.
def layout_of(nodes: Sequence[Node], closed: bool, /) -> Layout: ...

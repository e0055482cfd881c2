from typing import Any, TypeAlias

from typing_extensions import Buffer

_Column: TypeAlias = tuple[Buffer | None, Buffer, Buffer, int]  # valid (None: all are), ends, bytes, how many are NULL
_Headers: TypeAlias = tuple[
    Buffer, Buffer, int, int, _Column, _Column
]  # lists: valid, ends, NULLs, items; names, values
_Error: TypeAlias = tuple[int, str]  # code and text

class Failed(Exception): ...  # with code and text

class Consumer:
    size_bytes: int
    def __len__(self) -> int: ...
    # Gathers messages up to about `limit` bytes. How many came; errors with partition and offset; what was told aside;
    # whether a message came again. `following`, `stop` (int64) and `epochs` (int32) have a place for each partition and
    # are moved. ValueError once it is closed.
    def drain(
        self, following: Any, stop: Any, epochs: Any, limit: int, wait_s: float, hold_s: float, /
    ) -> tuple[int, list[tuple[_Error, int, int]], list[_Error], bool]: ...
    # What is gathered: how many, partitions, offsets, kinds and instants of timestamps, values, keys, headers.
    def take(self) -> tuple[int, Buffer, Buffer, Buffer, Buffer, _Column, _Column, _Headers | None]: ...
    def close(self) -> None: ...

def bind(path: str, /) -> bool: ...
def consume(settings: list[tuple[str, str]], topic: str, starts: list[tuple[int, int, int]], /) -> Consumer: ...

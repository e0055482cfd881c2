from typing_extensions import Buffer

# Of unsigned numbers of 64 bits that are spread evenly; None where they are not.
def in_order(hashes: Buffer, /) -> bytearray | None: ...  # the same, sorted
def order(
    hashes: Buffer, /
) -> bytearray | None: ...  # their numbers (32 bits) in sorted order, equal ones as they stood

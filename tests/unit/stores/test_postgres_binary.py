"""Rows for COPY come in chunks, the first of them soon; together they are the same bytes."""

import numpy as np
import pyarrow as pa

from headgate.stores import postgres_binary
from headgate.stores.postgres_binary import RowEncoder

ROW_BYTES = 2 + 4 + 8


def test_the_first_chunk_is_small_and_all_rows_are_in_all_chunks(monkeypatch):
    monkeypatch.setattr(postgres_binary, "ROWS", 50)
    monkeypatch.setattr(postgres_binary, "FIRST_ROWS", 10)
    numbers = np.arange(170, dtype=">i8")
    batches = [pa.record_batch({"n": pa.array(some.astype("i8"))}) for some in (numbers[:120], numbers[120:])]
    encoder = RowEncoder(batches[0].schema, "silver.x", replace_nul=False)
    chunks = [chunk for batch in batches for chunk in encoder.encode(batch)]
    assert [len(chunk) // ROW_BYTES for chunk in chunks] == [10, 50, 50, 10, 50]
    found = np.frombuffer(b"".join(chunks), np.dtype([("fields", ">i2"), ("length", ">i4"), ("n", ">i8")]))
    assert (found["fields"] == 1).all()
    assert (found["length"] == 8).all()
    assert (found["n"] == numbers).all()

"""Makes a file source over a folder and reads it."""

from headgate.contract.model import Dataset, Field, Kind, Server, Type
from headgate.ports.batch import RAW, Position
from headgate.sources.files import connect

NAME = "landing"


def source(base, path, names=(), read=None, **options):
    fields = tuple(Field(name, Type(Kind.STRING)) for name in names)
    dataset = Dataset("things", fields, "contract", "1.0.0")
    return connect(dataset, Server(NAME, "files", {"path": str(path), "_base": str(base), **options}), read or {})


def batches(source, after=None):
    return list(source.read(after or Position.start()))


def rows(batches):
    return [row for batch in batches for row in batch.rows.to_pylist()]


def raw(batches):
    return [row[RAW] for row in rows(batches)]


def end(batches, otherwise=None):
    return batches[-1].end if batches else otherwise


def read_all(base, path, **options):
    return rows(batches(source(base, path, **options)))

"""Contracts: model, parsing and checking, and their translation to Arrow and SQL. Pure: no I/O but reading a file."""

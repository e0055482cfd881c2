"""A contract as DuckDB SQL: the door. Pure text; nothing here runs anything.

    quote, literal       names and values in SQL text
    duckdb_type          a contract type's name
    column -> Column     a source's column standardised and typed: held exactly, or `bad`
    fails, dropped       a row rule or a declared drop as a boolean over the typed row
    check_query          a check of the whole table as a query for one number

The SQL wants DuckDB 2.0 (lambdas are written `lambda x: …`) and depends on no session setting.
"""

from headgate.contract.sql_checks import check_query
from headgate.contract.sql_columns import Column, column
from headgate.contract.sql_names import duckdb_type, literal, quote
from headgate.contract.sql_rules import dropped, fails

__all__ = ["Column", "check_query", "column", "dropped", "duckdb_type", "fails", "literal", "quote"]

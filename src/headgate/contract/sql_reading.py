r"""Reading text exactly: SQL that gives the value which a text says, or NULL when it says none of that type.

DuckDB's own casts are generous: '1.5' becomes the integer 2, ' 12 ', '0x10', '1_000', 'yes', 'epoch' and '24:00:00'
are all taken. So every reading here asks a grammar first and casts only what the grammar lets through.

The grammars (digits are ASCII, nothing may stand before or behind):

    integer    [+-]digits
    decimal    [+-]digits[.digits][e[+-]digits], exact at the type's scale: 1.2000 is a decimal(12,3), 1.2345 is not
    number     as decimal; the float nearest to the text, if the float written with as many digits gives the text again:
               0.1 is taken, 9007199254740993 and other texts with more digits than the float can hold are not. NaN and
               Infinity are no numbers in a text.
    boolean    true, false, t, f in any case
    date       YYYY-MM-DD, years 0001 to 9999
    time       HH:MM:SS[.f], to 23:59:59.999999
    timestamp  date, one `T` or blank, time; zoned: then Z, +hh, +hhmm, +hh:mm or +hh:mm:ss. A zoned text
               is never a timestamp without zone, nor the other way round: the contract would change its meaning.
    binary     PostgreSQL's \x and pairs of hexadecimal digits

Fractions of a second may have more than six digits when the rest are zeros.
"""

from __future__ import annotations

from headgate.contract.model import Kind, Type
from headgate.contract.sql_names import duckdb_type, once, text_literal

LONG = 300  # characters of an expression that is worth a name; columns and short casts are repeated, which is cheaper

_DATE = r"(?:000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})-[0-9]{2}-[0-9]{2}"
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6}0*)?"
_ZONE = r"(?:Z|[+-](?:0[0-9]|1[0-5])(?:[0-5][0-9]|:[0-5][0-9](?::[0-5][0-9])?)?)"
_NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,9})?"
_GRAMMAR = {
    Kind.INTEGER: r"[+-]?[0-9]+",
    Kind.DATE: _DATE,
    Kind.TIME: _TIME,
}

# A text of at most so many characters without exponent has so few digits that writing the float gives them back.
_SAFE_LENGTH = {32: 6, 64: 15}


def matches(text: str, grammar: str) -> str:
    """SQL: the whole text follows the grammar."""
    return f"regexp_full_match({text}, {text_literal(grammar)})"


def scalar(of: Type, text: str) -> str:
    """SQL: the value of a scalar type that the SQL text says, NULL when it says none."""
    if len(text) > LONG and of.kind is not Kind.STRING:
        return once(text, "hg_b", scalar(of, "hg_b"))
    target = duckdb_type(of)
    match of.kind:
        case Kind.STRING:
            return text
        case Kind.INTEGER | Kind.DATE | Kind.TIME:
            return f"CASE WHEN {matches(text, _GRAMMAR[of.kind])} THEN TRY_CAST({text} AS {target}) END"
        case Kind.DECIMAL:
            return _decimal(text, of.precision, of.scale)
        case Kind.NUMBER:
            return _number(text, of.bits)
        case Kind.BOOLEAN:
            no = f"WHEN lower({text}) IN ('false', 'f') THEN false"
            return f"CASE WHEN lower({text}) IN ('true', 't') THEN true {no} END"
        case Kind.TIMESTAMP:
            return _timestamp(text, of.zoned)
        case Kind.BINARY:
            hexadecimal = matches(text, r"\\x(?:[0-9a-fA-F]{2})*")
            return f"CASE WHEN {hexadecimal} THEN from_hex(substr({text}, 3)) END"
        case _:
            raise AssertionError(of.kind)


def _timestamp(text: str, zoned: bool) -> str:
    if not zoned:
        return f"CASE WHEN {matches(text, f'{_DATE}[T ]{_TIME}')} THEN TRY_CAST({text} AS TIMESTAMP) END"
    instant = f"TRY_CAST({text} AS TIMESTAMPTZ)"
    # The zone can carry the first and the last day out of the years that everybody can hold.
    inside = f"epoch_us({instant}) BETWEEN -62135596800000000 AND 253402300799999999"
    return f"CASE WHEN {matches(text, f'{_DATE}[T ]{_TIME}{_ZONE}')} AND {inside} THEN {instant} END"


def _decimal(text: str, precision: int, scale: int) -> str:
    target = f"DECIMAL({precision},{scale})"
    head = rf"\.[0-9]{{1,{scale}}}0*|\.0+" if scale else r"\.0+"
    plain = rf"[+-]?(?:[0-9]+(?:\.[0-9]{{0,{scale}}}0*)?|{head})"
    with_exponent = (
        f"CASE WHEN {matches(text, _NUMBER)} THEN {once(text, 'hg_n', _exact_plain('hg_n', precision, scale))} END"
    )
    return (
        f"CASE WHEN {matches(text, plain)} THEN TRY_CAST({text} AS {target}) "
        f"WHEN {text} IS NOT NULL THEN TRY_CAST({with_exponent} AS {target}) END"
    )


def _number(text: str, bits: int) -> str:
    target = "FLOAT" if bits == 32 else "DOUBLE"
    value = f"TRY_CAST({text} AS {target})"
    as_double = f"CAST({value} AS DOUBLE)"
    # The exact value of the float, written with as many digits as the text has without its outer zeros.
    core = f"rtrim({_mantissa('hg_p')}, '0')"
    written = f"printf('%.' || CAST(greatest(0, least(strlen({core}), 800) - 1) AS VARCHAR) || 'e', {as_double})"
    same = once(text, "hg_p", f"{_normal('hg_p')} = {_normal(written)}")
    short = f"strlen({text}) <= {_SAFE_LENGTH[bits]} AND NOT contains(lower({text}), 'e')"
    return (
        f"CASE WHEN NOT {matches(text, _NUMBER)} OR {value} IS NULL OR NOT isfinite({value}) THEN NULL "
        f"WHEN {short} THEN {value} WHEN CAST({value} AS VARCHAR) = {text} THEN {value} WHEN {same} THEN {value} END"
    )


def _mantissa(number: str) -> str:
    """SQL: the digits of a number's text without sign, point, exponent and leading zeros."""
    return f"ltrim(replace(regexp_extract({number}, '^[+-]?([0-9.]*)', 1), '.', ''), '0')"


def _power(number: str) -> str:
    """SQL: the power of ten of the last digit of `_mantissa`."""
    exponent = f"CAST('0' || regexp_extract({number}, '[eE][+-]?0*([0-9]*)$', 1) AS BIGINT)"
    signed = f"(CASE WHEN regexp_matches({number}, '[eE]-') THEN -{exponent} ELSE {exponent} END)"
    return f"({signed} - strlen(regexp_extract({number}, '\\.([0-9]*)', 1)))"


def _normal(number: str) -> str:
    """SQL: one text for all the ways to write the same number: sign, digits without outer zeros, power of ten."""
    digits = _mantissa(number)
    core = f"rtrim({digits}, '0')"
    sign = f"(CASE WHEN starts_with({number}, '-') THEN '-' ELSE '' END)"
    power = f"({_power(number)} + strlen({digits}) - strlen({core}))"
    return f"(CASE WHEN {core} = '' THEN '0' ELSE {sign} || {core} || 'e' || CAST({power} AS VARCHAR) END)"


def _exact_plain(number: str, precision: int, scale: int) -> str:
    """SQL: the number without exponent at the scale given; NULL when it needs more digits than the type has."""
    digits = _mantissa(number)
    core = f"rtrim({digits}, '0')"
    sign = f"(CASE WHEN starts_with({number}, '-') THEN '-' ELSE '' END)"
    # The number is core x 10^power; shifted left by the scale it must be whole.
    shift = f"({_power(number)} + strlen({digits}) - strlen({core}) + {scale})"
    unscaled = f"lpad({core} || repeat('0', CAST({shift} AS INTEGER)), {precision + 1}, '0')"
    placed = f"{sign} || left({unscaled}, {precision + 1 - scale}) || '.' || right({unscaled}, {scale})"
    fits = f"{shift} >= 0 AND {shift} + strlen({core}) <= {precision}"
    return f"(CASE WHEN {core} = '' THEN '0' WHEN {fits} THEN {placed} END)"

"""Every bad contract is refused at the right line and column, with words that say what is wrong.

In each case `§` stands where the complaint must point; it is taken out before the contract is written.
"""

from __future__ import annotations

import pytest

from headgate.contract.complaint import ContractRefused
from headgate.contract.model import Severity
from headgate.contract.parse import check_contract, load_contract

HEAD = "apiVersion: v3.2.0\nkind: DataContract\nid: x\nversion: 1.0.0\nstatus: draft\n"


def field(text):
    return HEAD + f"schema:\n  - name: d\n    properties:\n      - {text}\n"


def quality(text, of="string"):
    return field(f"name: a\n        logicalType: {of}\n        quality:\n          - {text}")


def dataset(text):
    fields = (
        "[{name: k, logicalType: integer, primaryKey: true}, {name: s, logicalType: string},"
        " {name: o, logicalType: object, properties: [{name: p, logicalType: date}]}]"
    )
    return HEAD + f"schema:\n  - name: d\n    properties: {fields}\n    {text}\n"


def own(name, value):
    return dataset(f"customProperties:\n      - {{property: headgate.{name}, value: {value}}}")


def options(of, text):
    return field(f"{{name: a, logicalType: {of}, logicalTypeOptions: {{{text}}}}}")


def standardise(value, of="string"):
    return field(
        f"name: a\n        logicalType: {of}\n        customProperties:\n"
        f"          - {{property: headgate.standardise, value: {value}}}"
    )


FULL_READS = (
    field(
        "{name: a, logicalType: string, primaryKey: true, required: true}\n"
        "      - {name: at, logicalType: timestamp, required: true, logicalTypeOptions: {timezone: true}}\n"
        "      - {name: change, logicalType: string}"
    )
    + "    customProperties:\n      - {property: headgate.full_reads, value: {at: at, change: change}}\n"
)
CASES = {
    # the file itself
    "empty file": ("§", "the file is empty"),
    "not a mapping": ("§- a\n- b\n", "a contract is a mapping"),
    "duplicate key": (HEAD + "§id: y\nschema: []\n", "key `id` stands twice, first at line 3"),
    "duplicate key in braces": (field("{name: a, logicalType: string, §name: b}"), "key `name` stands twice"),
    "tab": (HEAD + "schema:\n§\t- name: d\n", "a tab where YAML wants blanks"),
    "second document": (HEAD + "§---\na: 1\n", "a second document"),
    "unquoted variable in braces": (HEAD + "servers:\n  - {server: a, host: $§{HOST}}\n", "did not find expected"),
    "unclosed bracket": (HEAD + "schema: [a\n§", "did not find expected"),
    "yes for true": (field("{name: a, logicalType: string, required: §yes}"), "`yes` means different things"),
    "number with leading zero": (
        field("{name: a, logicalType: string, enum: [{value: §007}]}"),
        "`007` means different",
    ),
    "recursive alias": (HEAD + "schema: &a [§*a]\n", "alias `*a` stands inside what it names"),
    "unknown alias": (HEAD + "schema: §*a\n", "alias `*a` has no anchor"),
    "foreign tag": (HEAD + "schema: §!!python/object:os.system [a]\n", "is not allowed"),
    # the standard
    "no apiVersion": ("§kind: DataContract\nid: x\n", "`apiVersion` is missing in the contract"),
    "apiVersion of another time": ("apiVersion: §v2.2.2\nkind: DataContract\n", "apiVersion `v2.2.2` is not one"),
    "apiVersion of the future": ("apiVersion: §v4.0.0\nkind: DataContract\n", "apiVersion `v4.0.0` is not one"),
    "kind of something else": ("apiVersion: v3.2.0\nkind: §DataProduct\nid: x\n", "kind is not DataContract"),
    "no id": ("§apiVersion: v3.2.0\nkind: DataContract\nversion: 1.0.0\nschema: []\n", "`id` is missing"),
    "unknown property": (field("{name: a, logicalType: string, §requird: true}"), "unknown property `requird`"),
    "unknown property on top": (HEAD + "§shema: []\n", "unknown property `shema`"),
    "unknown option": (options("string", "§minLenght: 1"), "unknown property `minLenght`"),
    "option of another type": (options("integer", "§minLength: 1"), "unknown property `minLength`"),
    "wrong type of a property": (field("{name: a, logicalType: string, required: §maybe}"), "must be true or false"),
    "number for a text": (HEAD + "name: §5\nschema: []\n", "`name` must be text, not 5"),
    "list for a mapping": (HEAD + "schema:\n  - §d\n", "must be a mapping"),
    "server without host": (
        HEAD + "servers:\n  - §{server: a, type: postgres, port: 1, database: d, schema: s}\nschema: []\n",
        "`host` is missing",
    ),
    "server of unknown type": (
        HEAD + "servers:\n  - {server: a, type: §postgress}\n",
        "is not a value of `servers.type`",
    ),
    "same server twice": (
        HEAD + "servers:\n  - {server: a, type: custom}\n  - {server: §a, type: custom}\n",
        "server `a` stands twice",
    ),
    # names
    "dataset name that is a path": (HEAD + "schema:\n  - {name: §../../etc, properties: []}\n", "a dataset's name is"),
    "dataset name with SQL": (
        HEAD + "schema:\n  - {name: §'x; drop table y', properties: []}\n",
        "a dataset's name is",
    ),
    "dataset name of 64 letters": (
        HEAD + f"schema:\n  - {{name: §{'a' * 64}, properties: []}}\n",
        "a dataset's name is",
    ),
    "reserved dataset name": (HEAD + "schema:\n  - {name: §_HG_x, properties: []}\n", "belong to Headgate"),
    "same dataset twice": (
        field("{name: a, logicalType: string}") + "  - name: §D\n    properties: [{name: a, logicalType: string}]\n",
        "dataset `D` is `d` to whoever ignores case",
    ),
    "same field twice": (
        field("{name: a, logicalType: string}\n      - {name: §a, logicalType: date}"),
        "field `a` stands twice",
    ),
    "field twice but for case": (
        field("{name: straße, logicalType: string}\n      - {name: §STRASSE, logicalType: date}"),
        "is `straße` to whoever ignores case",
    ),
    "field twice but for composition": (
        field("{name: \u00e9, logicalType: string}\n      - {name: §e\u0301, logicalType: date}"),
        "to whoever ignores case",
    ),
    "reserved field name": (field("{name: §_hg_offset, logicalType: string}"), "belong to Headgate"),
    "field name with a control character": (field('{name: §"a\\tb", logicalType: string}'), "cannot be printed"),
    "field name with NUL": (field('{name: §"a\\0b", logicalType: string}'), "a NUL character"),
    "field name of 64 bytes": (field(f"{{name: §{'é' * 32}, logicalType: string}}"), "longer than 63 bytes"),
    "blank field name": (field("{name: §' ', logicalType: string}"), "is blank"),
    "field that looks like a path": (
        field(
            "{name: a, logicalType: object, properties: [{name: b, logicalType: date}]}\n"
            "      - {name: §a.b, logicalType: date}"
        ),
        "`a.b` is also `b` inside `a`",
    ),
    # types
    "no fields": (HEAD + "schema:\n  - {name: d, properties: §[]}\n", "dataset `d` has no fields"),
    "no dataset": (HEAD + "§schema: []\n", "describes no dataset"),
    "no logicalType": (field("§{name: a}"), "`logicalType` is missing"),
    "unknown logicalType": (field("{name: a, logicalType: §strng}"), "unknown logicalType `strng`"),
    "vector": (field("{name: a, logicalType: §vector, logicalTypeOptions: {dimensions: 3}}"), "not supported"),
    "array without items": (field("{name: a, logicalType: §array}"), "an array without `items`"),
    "object without properties": (field("{name: a, logicalType: §object}"), "an object without `properties`"),
    "map without types": (field("{name: a, logicalType: §map, map: {key: {logicalType: string}}}"), "a map needs"),
    "map with keys of numbers": (
        field("{name: a, logicalType: map, map: {key: {logicalType: §integer}, value: {logicalType: date}}}"),
        "keys of a map must be string",
    ),
    "precision of 39": (field("{name: a, logicalType: number, physicalType: §'numeric(39,2)'}"), "not within 1 and 38"),
    "scale above precision": (field("{name: a, logicalType: number, physicalType: §'numeric(3,4)'}"), "scale of"),
    "negative scale": (field("{name: a, logicalType: number, physicalType: §'numeric(3,-1)'}"), "scale of"),
    "integer with decimals": (field("{name: a, logicalType: integer, physicalType: §'numeric(9,2)'}"), "has decimals"),
    "128 bits": (options("integer", "format: §i128"), "format `i128` is not supported"),
    "float that is a decimal": (
        field("{name: a, logicalType: number, physicalType: 'numeric(9,2)', logicalTypeOptions: {format: §f64}}"),
        "is a binary float",
    ),
    "timestamp with and without zone": (
        field("{name: a, logicalType: timestamp, physicalType: timestamptz, logicalTypeOptions: {timezone: §false}}"),
        "timezone is false",
    ),
    "time with zone": (field("{name: a, logicalType: §time, physicalType: timetz}"), "time with a time zone"),
    # limits
    "minimum above maximum": (
        options("integer", "minimum: §5, maximum: 4"),
        "minimum 5 leaves nothing below maximum 4",
    ),
    "exclusive bounds that touch": (options("number", "exclusiveMinimum: §1, maximum: 1"), "no value can pass"),
    "minLength above maxLength": (options("string", "minLength: §3, maxLength: 2"), "minLength 3 is greater"),
    "minItems above maxItems": (
        field(
            "{name: a, logicalType: array, items: {logicalType: date}, logicalTypeOptions: {minItems: §2, maxItems: 1}}"
        ),
        "minItems 2 is greater",
    ),
    "negative length": (options("string", "minLength: §-1"), "minLength -1 is not within 0"),
    "minimum that the type cannot hold": (
        field("{name: a, logicalType: number, physicalType: 'numeric(3,1)', logicalTypeOptions: {minimum: §100}}"),
        "greater than any decimal(3,1)",
    ),
    "multipleOf zero": (options("number", "multipleOf: §0"), "multipleOf"),
    "infinite minimum": (options("number", "minimum: §.inf"), "must be a number"),
    "minimum that is no date": (options("date", "minimum: §'31.12.2024'"), "is not a date"),
    "date that does not exist": (options("date", "minimum: §'2024-02-30'"), "is not a date"),
    "zone in a bound without zone": (options("timestamp", "minimum: §'2024-01-01T00:00:00Z'"), "is not a timestamp"),
    "swapped dates": (options("date", "minimum: §'2025-01-01', maximum: '2024-01-01'"), "leaves nothing below"),
    "pattern with look-ahead": (options("string", "pattern: §'^(?=a)'"), "RE2 has no look-ahead"),
    "pattern with look-behind": (options("string", "pattern: §'(?<!a)b'"), "RE2 has no look-behind"),
    "pattern with a back reference": (options("string", "pattern: §'(a)\\1'"), "RE2 has no back reference"),
    "pattern without end": (options("string", "pattern: §'[a-'"), "pattern"),
    "unknown format": (options("string", "format: §uuuid"), "unknown format `uuuid`"),
    "pattern of binary": (
        field("{name: a, logicalType: string, physicalType: bytea, logicalTypeOptions: {pattern: §a}}"),
        "of a binary field cannot be checked",
    ),
    "enum of another type": (
        field("{name: a, logicalType: integer, enum: [{value: §'1'}]}"),
        'value "1" is not a integer',
    ),
    "number in an enum of texts": (field("{name: a, logicalType: string, enum: [{value: §1}]}"), "is not a string"),
    "enum without value": (field("{name: a, logicalType: string, enum: [§a]}"), "is a mapping with `value`"),
    "enum twice": (field("{name: a, logicalType: integer, enum: [{value: 1}, {value: §1.0}]}"), "stands twice"),
    "enum out of limits": (
        field("{name: a, logicalType: integer, logicalTypeOptions: {maximum: 5}, enum: [{value: 4}, {value: §6}]}"),
        "enum value 6 breaks maximum 5",
    ),
    "enum too long": (
        field("{name: a, logicalType: string, logicalTypeOptions: {maxLength: 2}, enum: [{value: §abc}]}"),
        'enum value "abc" breaks maxLength 2',
    ),
    "enum that is too exact": (
        field("{name: a, logicalType: number, physicalType: 'numeric(3,1)', enum: [{value: §1.25}]}"),
        "is not a decimal(3,1)",
    ),
    "enum of an object": (
        field("{name: a, logicalType: object, properties: [{name: b, logicalType: date}], enum: §[{value: a}]}"),
        "enum cannot be checked for object",
    ),
    # keys
    "optional key": (field("{name: a, logicalType: string, primaryKey: true, required: §false}"), "cannot be optional"),
    "key of floats": (field("{name: a, logicalType: number, primaryKey: §true}"), "cannot be part of the key"),
    "gap in key positions": (
        field(
            "{name: a, logicalType: string, primaryKey: true, primaryKeyPosition: 1}\n"
            "      - {name: b, logicalType: string, primaryKey: true, primaryKeyPosition: §3}"
        ),
        "primaryKeyPosition 3 of `b` should be 2",
    ),
    "same key position twice": (
        field(
            "{name: a, logicalType: string, primaryKey: true, primaryKeyPosition: 1}\n"
            "      - {name: b, logicalType: string, primaryKey: true, primaryKeyPosition: §1}"
        ),
        "should be 2",
    ),
    "some key positions": (
        field(
            "{name: a, logicalType: string, primaryKey: true, primaryKeyPosition: 1}\n"
            "      - {name: b, logicalType: string, primaryKey: §true}"
        ),
        "`b` has no primaryKeyPosition",
    ),
    "key position without key": (
        field("{name: a, logicalType: string, primaryKeyPosition: §1}"),
        "without `primaryKey: true`",
    ),
    "key inside an object": (
        field("{name: a, logicalType: object, properties: [{name: b, logicalType: string, primaryKey: §true}]}"),
        "not to a nested one",
    ),
    # properties of ours
    "unknown property of ours": (
        own("x", "1").replace("property: headgate.x", "property: §headgate.ordr"),
        "unknown property `headgate.ordr`",
    ),
    "order by an unknown field": (own("order", "[§kk]"), '"kk", which is not declared'),
    "order by an object": (own("order", "[§o]"), "`o` is object and cannot order rows"),
    "order that is no list": (own("order", "§5"), "headgate.order is a list of fields"),
    "budget in words": (own("error_budget", "§a few"), "headgate.error_budget cannot be"),
    "budget above all": (own("error_budget", "§101 percent"), "cannot be"),
    "half a row": (own("error_budget", "§0.5"), "cannot be"),
    "negative budget": (own("error_budget", "§-1"), "cannot be"),
    "scd2": (own("history", "§scd2"), "scd2 needs headgate.order of one required date, timestamp or integer"),
    "operation of an unknown field": (own("operation", "{field: §oo, delete: [d]}"), "which is not declared"),
    "operation without values": (own("operation", "§{field: k}"), "`delete` lists values of `k`"),
    "unknown history": (own("history", "§lates"), "headgate.history is one of latest, append"),
    "latest without key": (
        field("{name: a, logicalType: string}")
        + "    customProperties:\n      - {property: headgate.history, value: §latest}\n",
        "headgate.history: latest needs a key",
    ),
    "checksum of nothing": (own("checksum", "{field: s, of: §oo}"), '"oo", which is not declared'),
    "checksum by an unknown algorithm": (own("checksum", "{field: s, of: o, algorithm: §crc}"), "checksum algorithm"),
    "checksum in a number": (own("checksum", "{field: §k, of: o}"), "cannot hold a checksum"),
    "window of duplicates": (own("duplicates", "{window: §7 d}"), 'a window of "7 d" for duplicates'),
    "window over no time": (own("duplicates", "{window: 7 days, field: §k}"), "is no date or timestamp"),
    "full reads into an unknown field": (own("full_reads", "{at: §aat, change: s}"), "which is not declared"),
    "full reads whose moment is no instant": (own("full_reads", "{at: §k, change: s}"), "must be a required timestamp"),
    "full reads with more than all": (
        own("full_reads", "{at: s, change: s, most_deleted: §101 percent}"),
        "most_deleted cannot be",
    ),
    "full reads and an order": (
        FULL_READS + "      - {property: §headgate.order, value: [at]}\n",
        "headgate.full_reads says what headgate.order is",
    ),
    "full reads without a key": (
        FULL_READS.replace("primaryKey: true, ", "").replace("headgate.full", "§headgate.full"),
        "needs a key",
    ),
    "full reads by a key made from another": (
        FULL_READS.replace(
            "{name: a,", "{name: a, customProperties: [{property: headgate.standardise, value: [trim]}],"
        ).replace("headgate.full", "§headgate.full"),
        "compares keys as the source has them",
    ),
    "window over versions": (
        field(
            "{name: a, logicalType: string, primaryKey: true, primaryKeyPosition: 1}\n"
            "      - {name: at, logicalType: date, required: true}"
        )
        + "    customProperties:\n      - {property: headgate.order, value: [at]}\n"
        "      - {property: headgate.history, value: scd2}\n"
        "      - {property: §headgate.duplicates, value: {window: 7 days, field: at}}\n",
        "a window cannot bound scd2",
    ),
    "drop without SQL": (own("drop", "[§{id: a}]"), "`sql` is missing"),
    "drop with a statement": (own("drop", "[{id: a, sql: §'drop table x'}]"), "it is a statement"),
    "property twice": (
        dataset(
            "customProperties:\n      - {property: headgate.order, value: [s]}\n"
            "      - {property: §headgate.order, value: [k]}"
        ),
        "stands twice",
    ),
    "property on the wrong level": (
        field(
            "name: a\n        logicalType: string\n        customProperties: [{property: §headgate.order, value: [a]}]"
        ),
        "unknown property `headgate.order` of a field",
    ),
    "unknown standardisation": (standardise("[trim, §sqeeze]"), 'unknown standardisation "sqeeze"'),
    "standardisation without argument": (standardise("[§map]"), "standardisation `map` needs an argument"),
    "standardisation with an argument too many": (standardise("[{trim: §x}]"), "takes no argument"),
    "currency of a date": (standardise("[§currency]", of="date"), "makes no sense for date"),
    "date format without directive": (standardise("[{date: [§dd.mm]}]"), "has no `%…` at all"),
    "date format with an unknown directive": (standardise("[{date: [§'%Q']}]"), "has `%Q`"),
    "map to a number": (standardise("[{map: {a: §1}}]"), "which is not text"),
    "unknown partition transform": (
        field(
            "name: a\n        logicalType: date\n        customProperties: [{property: headgate.partition, value: §weekly}]"
        ),
        "unknown partition transform",
    ),
    "partition of a text by month": (
        field(
            "name: a\n        logicalType: string\n        customProperties: [{property: headgate.partition, value: §month}]"
        ),
        "cannot be partitioned by month",
    ),
    "partition of floats": (field("{name: a, logicalType: number, partitioned: §true}"), "cannot be partitioned"),
    # quality
    "unknown severity": (
        quality("{type: custom, engine: headgate, implementation: a > 0, severity: §fatal}"),
        "unknown severity `fatal`",
    ),
    "predicate that closes too much": (
        quality("{type: custom, engine: headgate, implementation: §'true) or (true'}"),
        "a `)` without its beginning",
    ),
    "predicate with a second statement": (
        quality("{type: custom, engine: headgate, implementation: §'a > 0; drop table x'}"),
        "a `;` may not stand in it",
    ),
    "predicate with a comment": (
        quality("{type: custom, engine: headgate, implementation: §'a > 0 -- x'}"),
        "comments may not stand in it",
    ),
    "query that writes": (quality("{type: sql, query: §'delete from x', mustBe: 0}"), "not a query"),
    "check without operator": (quality("§{metric: nullValues}"), "no operator says what is permitted"),
    "two operators": (quality("{metric: nullValues, mustBe: 0, mustBeLessThan: §5}"), "several operators"),
    "interval backwards": (quality("{metric: nullValues, mustBeBetween: §[5, 1]}"), "5 is greater than 1"),
    "count below zero": (quality("{metric: nullValues, mustBeLessThan: §0}"), "can never hold for a count"),
    "percentage above 100": (quality("{metric: nullValues, mustBeGreaterThan: §100, unit: percent}"), "never hold"),
    "unknown unit": (quality("{metric: nullValues, mustBe: 0, unit: §percents}"), "unknown unit `percents`"),
    "unknown metric": (quality("{metric: §nulValues, mustBe: 0}"), "unknown metric `nulValues`"),
    "unknown argument": (
        quality("{metric: invalidValues, mustBe: 0, arguments: {§valid: [a]}}"),
        "unknown argument `valid`",
    ),
    "invalid by nothing": (quality("{metric: §invalidValues, mustBe: 0}"), "needs to know which values are valid"),
    "invalid values wanted": (
        quality("{metric: invalidValues, arguments: {pattern: a}, mustBeGreaterThan: §5}"),
        "does not say how many invalid values are too many",
    ),
    "valid value of another type": (
        quality("{metric: invalidValues, arguments: {validValues: [1, §x]}, mustBe: 0}", of="integer"),
        'value "x" is not a integer',
    ),
    "pattern of a number": (
        quality("{metric: invalidValues, arguments: {pattern: §a}, mustBe: 0}", of="integer"),
        "a pattern judges text",
    ),
    "row count of a field": (quality("{metric: §rowCount, mustBeGreaterThan: 0}"), "belongs to the dataset"),
    "nulls of a dataset": (dataset("quality:\n      - {metric: §nullValues, mustBe: 0}"), "belongs to a field"),
    "duplicates by an unknown field": (
        dataset("quality:\n      - §{metric: duplicateValues, arguments: {properties: [kk]}, mustBe: 0}"),
        "names the field `kk`",
    ),
    "checks against each other": (
        dataset(
            "quality:\n      - {metric: rowCount, mustBeGreaterThan: 9}\n      - §{metric: rowCount, mustBeLessThan: 5}"
        ),
        "cannot both hold",
    ),
    "required and missing": (
        field(
            "name: a\n        logicalType: string\n        required: true\n        quality: [{metric: §nullValues, mustBeGreaterThan: 0}]"
        ),
        "the field is required, but",
    ),
    "missing and permitted": (
        field(
            "name: a\n        logicalType: string\n        enum: [{value: n/a}]\n"
            "        quality: [{metric: missingValues, arguments: {missingValues: [§n/a]}, mustBe: 0}]"
        ),
        "but permitted by enum",
    ),
    "same id twice": (
        dataset(
            "quality:\n      - {id: a, metric: rowCount, mustBeGreaterThan: 0}\n"
            "      - {id: §a, metric: rowCount, mustBeLessThan: 9}"
        ),
        "the id `a` stands twice",
    ),
    # service levels
    "latency of an unknown field": (
        field("{name: a, logicalType: date}")
        + "slaProperties: [{property: latency, value: 1, unit: d, element: §d.b}]\n",
        "names a field that is not declared",
    ),
    "latency of a text": (
        field("{name: a, logicalType: string}")
        + "slaProperties: [{property: latency, value: 1, unit: d, element: §d.a}]\n",
        "latency needs a timestamp or a date",
    ),
    "latency in unknown units": (
        field("{name: a, logicalType: date}")
        + "slaProperties: [{property: latency, value: 1, unit: §fortnight, element: d.a}]\n",
        "unknown unit of time",
    ),
    "latency below zero": (
        field("{name: a, logicalType: date}")
        + "slaProperties: [{property: latency, value: §-1, unit: d, element: d.a}]\n",
        "can never hold",
    ),
    "transform that is a statement": (
        field("{name: a, logicalType: string, transformLogic: §insert into x}"),
        "it is a statement",
    ),
}


@pytest.mark.parametrize(("marked", "fragment"), CASES.values(), ids=CASES.keys())
def test_bad_contract_is_refused_at_its_place(tmp_path, marked, fragment):
    before, mark, after = marked.partition("§")
    assert mark, "the case says where the complaint must point"
    line = before.count("\n") + 1
    column = len(before) - (before.rfind("\n") + 1) + 1
    path = tmp_path / "c.odcs.yaml"
    path.write_text(before + after, encoding="utf-8")
    found = [one for one in check_contract(path) if one.severity is Severity.ERROR]
    places = [(one.place.line, one.place.column) for one in found if fragment in one.message]
    assert places == [(line, column)], "\n".join(map(str, found))
    with pytest.raises(ContractRefused) as refused:
        load_contract(path)
    assert fragment in str(refused.value)
    assert len(refused.value.complaints) >= len(found)


def test_all_complaints_are_told_at_once_in_reading_order(tmp_path):
    path = tmp_path / "c.odcs.yaml"
    path.write_text(
        field(
            "{name: a, logicalType: strng}\n      - {name: b, logicalType: string, requird: true}\n"
            "      - {name: c, logicalType: integer, logicalTypeOptions: {minimum: 2, maximum: 1}}"
        )
    )
    with pytest.raises(ContractRefused) as refused:
        load_contract(path, shown="c.yaml")
    text = str(refused.value)
    assert text.startswith("c.yaml:9:32: unknown logicalType `strng`")
    assert [one.place.line for one in refused.value.complaints] == [9, 10, 11]
    assert refused.value.exit_code == 2
    assert refused.value.hint == "did you mean `string`?"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (field("{name: a, logicalType: string, requird: true}"), "did you mean `required`?"),
        (options("string", "minLenght: 1"), "did you mean `minLength`?"),
        (HEAD + "shema: []\n", "did you mean `schema`?"),
        (own("ordr", "[k]"), "did you mean `order`?"),
        (own("Order", "[k]"), "did you mean `order`?"),
        (own("order", "[ss]"), "did you mean `s`?"),
        (standardise("[trimm]"), "did you mean `trim`?"),
        (field("{name: a, logicalType: strng}"), "did you mean `string`?"),
        (quality("{metric: nullValue, mustBe: 0}"), "did you mean `nullValues`?"),
        (HEAD + "servers: [{server: a, type: postgress}]\n", "did you mean `postgres`?"),
        (own("standardise", "[trim]"), "it belongs to a field"),
    ],
)
def test_hint_names_what_was_probably_meant(tmp_path, text, hint):
    path = tmp_path / "c.odcs.yaml"
    path.write_text(text)
    assert hint in [one.hint for one in check_contract(path)]


def test_one_mistake_gives_one_complaint(tmp_path):
    path = tmp_path / "c.odcs.yaml"
    for marked, fragment in CASES.values():
        path.write_text(marked.replace("§", "", 1), encoding="utf-8")
        found = [one for one in check_contract(path) if one.severity is Severity.ERROR]
        at_place = [one for one in found if fragment in one.message]
        same = [one for one in found if one.place == at_place[0].place]
        assert len(same) == 1, "\n".join(map(str, same))

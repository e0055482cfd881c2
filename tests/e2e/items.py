"""Contracts of items that come as JSON lines, with a history and rows that delete."""

HEAD = """\
apiVersion: v3.2.0
kind: DataContract
id: shop.items
name: items
version: 1.0.0
status: draft
servers: [{server: drop, type: local, path: 'in/*.ndjson', format: ndjson}]
"""
DELETES = "{property: headgate.operation, value: {field: op, delete: [d]}}"


def contract(fields, history, *own, service_levels=()):
    """The contract's text. `fields`, `own` and `service_levels` are maps in YAML, one a line each."""
    ordered = ("{property: headgate.order, value: [at]}", f"{{property: headgate.history, value: {history}}}")
    levels = [f"  - {one}" for one in service_levels]
    return HEAD + "\n".join([
        *(["slaProperties:", *levels] if levels else []),
        "schema:",
        "  - name: items",
        "    properties:",
        *(f"      - {one}" for one in fields.splitlines()),
        "    customProperties:",
        *(f"      - {one}" for one in (*ordered, *own)),
        "",
    ])  # fmt: skip

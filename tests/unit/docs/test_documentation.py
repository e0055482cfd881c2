"""Documentation cannot lie: every command, error code and table has its page."""

import argparse
import inspect
import re
from pathlib import Path

import headgate.errors
from headgate.apps.metrics import families
from headgate.cli.main import parser

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"


def commands():
    (action,) = [a for a in parser()._actions if isinstance(a, argparse._SubParsersAction)]
    return list(action.choices)


def test_every_command_has_its_line():
    text = (DOCS / "reference" / "command-line.md").read_text()
    assert [c for c in commands() if f"`headgate {c}" not in text] == []


def test_every_error_code_has_its_line_with_the_right_exit_code():
    text = (DOCS / "reference" / "errors.md").read_text()
    rows = [re.split(r"(?<!\\)\|", line) for line in text.splitlines() if line.startswith("|")]
    said = {code: row[1].strip() for row in rows for code in re.findall(r"`([a-z-]+)`", row[2])}
    for name, kind in inspect.getmembers(headgate.errors, inspect.isclass):
        if issubclass(kind, headgate.errors.HeadgateError):
            assert said.get(kind.code) == str(kind.exit_code), name


def test_every_metric_has_its_row():
    text = (DOCS / "reference" / "metrics.md").read_text()
    for name, kind, labels, help_ in families():
        row = f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels) or '-'} | {help_} |"
        assert row in text, row


def test_links_between_pages_lead_somewhere():
    links = [
        (page, target)
        for page in [*DOCS.rglob("*.md"), *ROOT.glob("*.md")]
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text())
    ]
    broken = [
        f"{page.name}: {to}" for page, to in links if not to.startswith("http") and not (page.parent / to).exists()
    ]
    assert broken == []


def test_nothing_points_outside_the_project():
    words = re.compile("/" + "work/|/" + "root/")
    listed = [
        p
        for p in ROOT.rglob("*")
        if p.suffix in (".py", ".md", ".yaml", ".sql", ".toml", ".txt")
        and ".venv" not in p.parts
        and "build" not in p.parts
    ]
    allowed = {"test_documentation.py"}
    assert [
        str(p.relative_to(ROOT))
        for p in listed
        if p.name not in allowed and words.search(p.read_text("utf-8", "replace"))
    ] == []

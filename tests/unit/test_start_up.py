"""Start-up is a promise: `headgate --help` and `import headgate` load nothing heavy."""

import subprocess
import sys

import pytest

HEAVY = ("pyarrow", "duckdb", "pyiceberg", "numpy", "psycopg2", "rich", "yaml", "msgspec", "pydantic")


@pytest.mark.parametrize("code", ["import headgate", "from headgate.cli.main import parser; parser().format_help()"])
def test_nothing_heavy_is_imported(code):
    check = f"{code}\nimport sys\nprint([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_are_pinned():
    import headgate

    assert headgate.__all__ == ["Project", "RunRecord", "__version__"]
    assert all(hasattr(headgate, name) for name in headgate.__all__)

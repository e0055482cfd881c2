"""Start-up is a promise: `headgate --help` and `import headgate` load nothing heavy."""

import os
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


@pytest.mark.skipif(sys.platform != "linux", reason="measured on Linux only")
@pytest.mark.parametrize(("given", "taken"), [({}, "jemalloc"), ({"ARROW_DEFAULT_MEMORY_POOL": "system"}, "system")])
@pytest.mark.parametrize(
    "how", ["from headgate import Project", "from headgate.cli.main import main; main(['doctor', '-p', '/nowhere'])"]
)
def test_arrow_takes_its_memory_from_the_allocator_that_was_chosen(given, taken, how):
    code = f"{how}\nimport pyarrow\nprint(pyarrow.default_memory_pool().backend_name)"
    known = {k: v for k, v in os.environ.items() if not k.startswith(("ARROW_", "JE_ARROW"))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=known | given)
    assert done.stdout.split()[-1] == taken

"""Compiles `src/headgate/native/*.c`, each to a module of its own, while Headgate is installed.

Where there is no C compiler the install goes on without: every compiled part has a slower twin in Python.
`python hatch_build.py` compiles in place, after a change, and fails where it can't. CFLAGS and LDFLAGS are heeded.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

NATIVE = Path("src") / "headgate" / "native"
LIMITED_API = ("Py_LIMITED_API", "0x030B0000")  # one build serves Python 3.11 and everything after it


def compile_all(root: Path, work: Path) -> list[Path]:
    """The compiled modules, beside their sources; raises what setuptools raises."""
    from setuptools import Distribution, Extension
    from setuptools.command.build_ext import build_ext

    flags = [] if sys.platform == "win32" else ["-std=c11", "-O3", "-fvisibility=hidden", "-Wall", "-Wextra"]
    made = []
    for source in sorted((root / NATIVE).glob("*.c")):
        extension = Extension(
            f"headgate.native.{source.stem}",
            [os.path.relpath(source)],
            extra_compile_args=flags,
            define_macros=[LIMITED_API],
            py_limited_api=True,
            depends=[os.path.relpath(header) for header in source.parent.glob("*.h")],
        )
        command = build_ext(Distribution({"ext_modules": [extension]}))
        command.build_lib, command.build_temp = str(root / "src"), str(work)
        command.ensure_finalized()
        command.run()
        made.append(Path(command.get_ext_fullpath(extension.name)))
    return made


if __name__ == "__main__":
    for module in compile_all(Path.cwd(), Path("build") / "native"):
        print(module)
else:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface

    class CompiledParts(BuildHookInterface[Any]):
        """Runs before a wheel is put together, an editable one too."""

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            root = Path(self.root)
            try:
                with TemporaryDirectory() as work:
                    made = compile_all(root, Path(work))
            except Exception as problem:
                self.app.display_warning(f"nothing is compiled, Headgate will be slower: {problem}")
                return
            if made and version != "editable":
                build_data["pure_python"] = False
                build_data["tag"] = f"cp311-abi3-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
                build_data["artifacts"].extend(str(module.relative_to(root)) for module in made)

# SPDX-License-Identifier: Apache-2.0
"""The package is typed, and the stub tells the truth about the extension."""
from __future__ import annotations

import ast
import os
import pathlib
import subprocess
import sys

from merritt import _core

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "python" / "src" / "merritt"
MYPY = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--cache-dir=/dev/null"]


def test_mypy_strict_passes_on_the_package_and_the_examples() -> None:
    examples = sorted(str(path) for path in (ROOT / "examples" / "python").glob("*.py"))
    done = subprocess.run([*MYPY, str(PACKAGE), *examples], capture_output=True, text=True,
                          env={**os.environ, "MYPYPATH": str(PACKAGE.parent)})
    assert done.returncode == 0, done.stdout + done.stderr
    assert examples and (PACKAGE / "py.typed").is_file()


def test_the_stub_names_what_the_extension_has() -> None:
    tree = ast.parse((PACKAGE / "_core.pyi").read_text(encoding="utf-8"))
    stub: dict[str, set[str]] = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            stub[node.name] = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            stub[node.target.id] = set()
    real = {name for name in dir(_core) if not name.startswith("__")} | {"__version__"}
    assert set(stub) == real
    for name, methods in stub.items():
        thing = getattr(_core, name)
        if isinstance(thing, type):
            public = {method for method in vars(thing) if not method.startswith("_")} | {"__init__"}
            assert methods == public, name

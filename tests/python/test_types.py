# SPDX-License-Identifier: Apache-2.0
"""The package is typed, and the stub tells the truth about the extension."""
from __future__ import annotations

import ast
import pathlib
import subprocess
import sys

from merritt import _core

PACKAGE = pathlib.Path(__file__).resolve().parents[2] / "python" / "src" / "merritt"


def test_mypy_strict_passes() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--cache-dir=/dev/null", str(PACKAGE)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert (PACKAGE / "py.typed").is_file()


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

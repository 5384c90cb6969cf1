# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from typing import Callable

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
import tiny_model  # noqa: E402

PROGRAM = pathlib.Path(os.environ.get("MERRITT_PROGRAM", ROOT / "build" / "bin" / "merritt"))
Merritt = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture(scope="session")
def program() -> pathlib.Path:
    assert PROGRAM.is_file(), f"{PROGRAM} is not built"
    return PROGRAM


@pytest.fixture(scope="session")
def merritt(program: pathlib.Path) -> Merritt:
    """Runs the command: merritt("run", "-m", path, stdin=b"..") -> CompletedProcess of bytes."""

    def call(*words: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([program, *map(str, words)], input=stdin, capture_output=True, timeout=600)

    return call


@pytest.fixture(scope="session")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tiny_model.model_path(tmp_path_factory.mktemp("model"))

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import tiny_model  # noqa: E402
from merritt_command import PROGRAM, Merritt  # noqa: E402


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

# SPDX-License-Identifier: Apache-2.0
"""The examples, built against the installed package and run; the README's code is cut from them."""
from __future__ import annotations

import pathlib
import subprocess
import sys

from merritt_command import PROGRAM, ROOT


def build_folder() -> pathlib.Path:
    """The CMake folder behind the program: of the release build in build/, or the program's own."""
    output = PROGRAM.parents[1]
    return output / "release" if (output / "release" / "CMakeCache.txt").is_file() else output


def test_examples_build_against_the_package_and_run(model_path: pathlib.Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "run.py", "--build", build_folder(), "--model", model_path,
         "--python", sys.executable],
        capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[cancelled]" in done.stdout
    assert "0 bytes still held" in done.stdout
    assert "all examples ran" in done.stdout


def test_readme_code_is_the_examples_code() -> None:
    done = subprocess.run([sys.executable, ROOT / "tests" / "tidy" / "readme_snippets.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_docs_link_to_files_and_give_the_limits_of_the_code() -> None:
    done = subprocess.run([sys.executable, ROOT / "tests" / "tidy" / "check_docs.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

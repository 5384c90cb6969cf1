# SPDX-License-Identifier: Apache-2.0
"""The examples, built against the installed package and run; the README's code is cut from them."""
from __future__ import annotations

import json
import pathlib
import re
import shlex
import subprocess
import sys

import pytest
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
    assert "== my_program" in done.stdout
    assert "all examples ran" in done.stdout


def test_readme_code_is_the_examples_code() -> None:
    done = subprocess.run([sys.executable, ROOT / "tests" / "tidy" / "readme_snippets.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_docs_keep_to_what_is_there() -> None:
    done = subprocess.run([sys.executable, ROOT / "tests" / "tidy" / "check_docs.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def command_lines(page: str) -> list[list[str]]:
    """The words of every `build/bin/merritt ...` line in the shell blocks of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("build/bin/merritt ")]


def shortened(words: list[str]) -> list[str]:
    """The same with fewer tokens and runs, which a reader need not wait for and neither need a test."""
    if words[0] == "bench":
        words = [*words, "-r", "1"]
        words[words.index("-p") + 1], words[words.index("-n") + 1] = "32", "4"
    if words[0] == "run":
        words = [*words, "-n", "4"]
    return words


@pytest.mark.parametrize(("page", "count"), [("README.md", 4), ("docs/howto/load_your_own_model.md", 4)])
def test_command_lines_of_the_docs_run(tmp_path: pathlib.Path, page: str, count: int) -> None:
    gemma = ROOT / "models" / "gemma-3-270m-q4_k_m.gguf"
    if not gemma.is_file():
        pytest.skip(f"{gemma.name} is absent (./dev setup)")
    (tmp_path / "models").symlink_to(gemma.parent)
    (tmp_path / "model.gguf").symlink_to(gemma)
    found = command_lines(page)
    assert len(found) >= count
    for words in found:
        done = subprocess.run([PROGRAM, *shortened(words)], cwd=tmp_path, input=b"/quit\n", capture_output=True)
        assert done.returncode == 0, (words, done.stderr)
        assert done.stdout or words[0] == "chat"
        if "--json" in words:
            json.loads(done.stdout)

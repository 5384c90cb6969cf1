# SPDX-License-Identifier: Apache-2.0
"""./dev demo [--model FILE]: from a bare machine to two tenants streaming at the same time, one line per stage."""
from __future__ import annotations

import pathlib
import subprocess
import sys
import time

from . import build, models, setup, util
from .util import DevError


def model_of(words: list[str]) -> tuple[pathlib.Path, list[str]]:
    """(model file, what is left for the command line)."""
    rest = list(words)
    for index, word in enumerate(rest):
        if word == "--model":
            if index + 1 == len(rest):
                raise DevError("--model needs a file")
            return pathlib.Path(rest[index + 1]).expanduser().absolute(), rest[:index] + rest[index + 2:]
        if word.startswith("--model="):
            return pathlib.Path(word.removeprefix("--model=")).expanduser().absolute(), rest[:index] + rest[index + 1:]
    return models.gemma_path(), rest


def demo(words: list[str]) -> int:
    start = time.monotonic()
    model, rest = model_of(words)
    if "--json" in rest:
        util.REPORT = sys.stderr
    if model != models.gemma_path() and not model.is_file():
        raise DevError(f"no file {model}")
    setup.setup([], gemma=model == models.gemma_path())
    util.say("build")
    with util.stage("library, plugins, command line"):
        build.build_preset("release", targets=build.targets_for("release", []), quiet=True)
    util.say(f"ready after {time.monotonic() - start:.1f} s\n")
    return subprocess.run([util.BUILD / "bin" / "merritt", "demo", "--model", model, *rest], cwd=util.ROOT).returncode

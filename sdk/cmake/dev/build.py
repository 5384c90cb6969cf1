# SPDX-License-Identifier: Apache-2.0
"""./dev build: CMake presets and Ninja; the release build also makes the Python extension for .venv."""
from __future__ import annotations

import pathlib

from . import deps, util
from .util import DevError

PRESETS = ("release", "debug", "asan", "tsan", "fuzz")


def output_dir(preset: str) -> pathlib.Path:
    """Where bin/ and lib/ of a preset are: build/ itself for release, build/<preset> for the others."""
    return util.BUILD if preset == "release" else util.BUILD / preset


def cmake_options(preset: str, werror: bool) -> list[str]:
    options = [f"-DMERRITT_DEPS_DIR={util.deps_dir()}", f"-DMERRITT_WERROR={'ON' if werror else 'OFF'}"]
    python = util.VENV / "bin" / "python"
    if preset == "release" and python.exists() and (util.ROOT / "python" / "CMakeLists.txt").is_file():
        pybind = util.capture([python, "-c", "import pybind11; print(pybind11.get_cmake_dir())"]).strip()
        options += ["-DMERRITT_PYTHON=ON", f"-DPython_EXECUTABLE={python}", f"-Dpybind11_DIR={pybind}"]
    return options


def targets_for(preset: str, programs: list[str]) -> list[str]:
    """The named programs, and what they load at run time: the library, the plugins and, for tests, every fixture."""
    configure(preset, False, None)
    listed = {line.split(":")[0] for line in util.capture(["ninja", "-C", util.BUILD / preset, "-t", "targets", "all"])
              .splitlines() if line.endswith(": phony")}
    fixtures = ("plugin_faulty_", "plugin_fardevice", "plugin_idle", "loader_fixture_", "fixture_")
    wanted = ("plugin_", *fixtures)
    loaded = sorted(name for name in listed if name.startswith(wanted) and "/" not in name
                    and (programs or not name.startswith(fixtures)))
    command = set() if programs else {"merritt_command"}  # tests use the library
    return [*programs, *loaded, *sorted(({"merritt"} | command) & listed)]


def configure(preset: str, werror: bool, log: str | None) -> None:
    for recipe in deps.all_recipes():
        if not (deps.prefix_of(recipe) / ".complete").is_file():
            raise DevError(f"{recipe.stem} is not built; run: ./dev setup")
    util.run(["cmake", "--preset", preset, *cmake_options(preset, werror)], log=log or f"configure-{preset}",
             what=f"cmake of {preset}")


def build_preset(preset: str, targets: list[str] | None = None, werror: bool = False, quiet: bool = False) -> None:
    if preset not in PRESETS:
        raise DevError(f"no preset {preset!r}; there are {', '.join(PRESETS)}")
    log = f"build-{preset}" if quiet else None
    configure(preset, werror, log)
    util.run(["ninja", "-C", util.BUILD / preset, f"-j{util.cpu_count()}", *(targets or [])], log=log,
             what=f"build of {preset}")


def build(words: list[str]) -> int:
    werror = "--werror" in words
    words = [word for word in words if word != "--werror"]
    build_preset(words[0] if words else "release", words[1:], werror)
    return 0

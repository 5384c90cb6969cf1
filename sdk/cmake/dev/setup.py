# SPDX-License-Identifier: Apache-2.0
"""./dev setup: from a bare Debian 12 to a machine that can build, test and run Merritt. Every step is skipped when
its result is there, so a second run takes seconds."""
from __future__ import annotations

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

from . import deps, models, util
from .util import DevError

# Why each group is there: compilers and build tools; headers and static archives of the libraries; what lint needs.
PACKAGES = """
build-essential cmake ninja-build ccache pkg-config git ca-certificates dpkg-dev xz-utils
python3 python3-venv python3-dev
libboost1.81-dev libspdlog-dev libfmt-dev libssl-dev nlohmann-json3-dev libcli11-dev libutf8proc-dev capnproto
libgtest-dev libgmock-dev libbenchmark-dev
abigail-tools clang-16 clang-tidy-16 clang-format-16 libclang-rt-16-dev llvm-16 gcc-mingw-w64-x86-64-win32
""".split()

PYTHON_PACKAGES = ["pybind11>=3,<4", "numpy>=1.26", "pytest>=8", "pytest-xdist>=3.6", "mypy>=1.10", "tqdm>=4.66"]


def missing_packages() -> list[str]:
    if not util.have("dpkg-query"):
        raise DevError("./dev setup installs with apt and needs Debian 12; elsewhere install what PACKAGES in "
                       "sdk/cmake/dev/setup.py names, and the libraries of sdk/cmake/deps under MERRITT_DEPS_DIR")
    text = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *PACKAGES],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    installed = {line.split()[0] for line in text.splitlines() if line.endswith(" installed")}
    return [name for name in PACKAGES if name not in installed]


def install_packages() -> str:
    missing = missing_packages()
    if not missing:
        return "all there"
    if os.geteuid() == 0:
        sudo: list[str] = []
    elif util.have("sudo") and subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode == 0:
        sudo = ["sudo", "-n"]
    else:
        raise DevError("packages are missing and this user cannot install them; run as root:\n"
                       f"  apt-get update && apt-get install -y --no-install-recommends {' '.join(missing)}")
    env = ["env", "DEBIAN_FRONTEND=noninteractive"]
    # A third-party list that is out of reach must not stop the archive's own packages: install decides.
    subprocess.run([*sudo, *env, "apt-get", "-o", "Acquire::Retries=3", "update"], stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    util.run([*sudo, *env, "apt-get", "-o", "Acquire::Retries=3", "install", "-y", "--no-install-recommends", *missing],
             log="setup-packages", what="apt-get install")
    return f"{len(missing)} installed"


def python_program() -> str:
    """The interpreter of the virtual environment: the one running this, or the one below it when .venv runs this."""
    return getattr(sys, "_base_executable", None) or sys.executable or util.need("python3")


def make_venv() -> str:
    stamp = util.VENV / ".merritt-stamp"
    want = hashlib.sha256("\n".join([*PYTHON_PACKAGES, python_program(), sys.version]).encode()).hexdigest()
    if stamp.is_file() and stamp.read_text() == want and (util.VENV / "bin" / "python").exists():
        return "current"
    shutil.rmtree(util.VENV, ignore_errors=True)
    util.run([python_program(), "-m", "venv", util.VENV], log="setup-python", what="python3 -m venv")
    util.run([util.VENV / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
              *PYTHON_PACKAGES], log="setup-python", what="pip install")
    stamp.write_text(want)
    return "made"


def setup(_: list[str], gemma: bool = True) -> int:
    util.say("setup")
    with util.stage("packages") as notes:
        notes.append(install_packages())
    for recipe in deps.all_recipes():
        with util.stage(f"{recipe.stem} from source") as notes:
            notes.append(deps.build(recipe))
    with util.stage("python environment") as notes:
        notes.append(make_venv())
    with util.stage("model stories260k") as notes:
        notes.append(models.convert_stories())
    if gemma:
        with util.stage("model gemma-3-270m") as notes:
            notes.append(models.fetch_gemma())
    return 0

# SPDX-License-Identifier: Apache-2.0
"""./dev package: the installed tree as dist/merritt-<version>-linux-x86_64.tar.gz, and the Python wheel."""
from __future__ import annotations

import re
import shutil
import tarfile

from . import build, util
from .util import DevError


def version() -> str:
    match = re.search(r"project\(merritt VERSION ([0-9.]+)", (util.ROOT / "CMakeLists.txt").read_text())
    if not match:
        raise DevError("CMakeLists.txt names no version")
    return match.group(1)


def package(_: list[str]) -> int:
    dist = util.ROOT / "dist"
    name = f"merritt-{version()}-linux-x86_64"
    tree = dist / name
    shutil.rmtree(tree, ignore_errors=True)
    dist.mkdir(exist_ok=True)
    with util.stage("build"):
        build.build_preset("release", quiet=True)
    with util.stage("install"):
        util.run(["cmake", "--install", util.BUILD / "release", "--prefix", tree, "--strip"], log="package",
                 what="cmake --install")
    if not (tree / "include" / "merritt" / "merritt.h").is_file() or not list(tree.glob("lib/libmerritt.so*")):
        raise DevError(f"the install rules left no headers or no library in {tree.relative_to(util.ROOT)}")
    with util.stage("archive") as notes:
        archive = dist / f"{name}.tar.gz"
        with tarfile.open(archive, "w:gz") as out:
            out.add(tree, arcname=name)
        notes.append(f"{archive.relative_to(util.ROOT)}, {archive.stat().st_size >> 20} MiB")
    if (util.ROOT / "python" / "pyproject.toml").is_file():
        with util.stage("python wheel"):
            util.run([util.VENV / "bin" / "python", "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", dist,
                      util.ROOT / "python"], log="package", what="pip wheel")
    return 0

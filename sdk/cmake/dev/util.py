# SPDX-License-Identifier: Apache-2.0
"""Paths, running commands and the one-line-per-stage report shared by every verb of ./dev."""
from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import pathlib
import subprocess
import sys
import time
from typing import Iterator, Sequence

ROOT = pathlib.Path(__file__).resolve().parents[3]
BUILD = ROOT / "build"
LOGS = BUILD / "logs"
VENV = ROOT / ".venv"
MODELS = ROOT / "models"
SHARED_DATA = ROOT.parent / "shared" / "data"


class DevError(Exception):
    """A failure whose message already says what to do."""


def deps_dir() -> pathlib.Path:
    """Where the libraries built from source live; MERRITT_DEPS_DIR overrides, in CMake too."""
    chosen = os.environ.get("MERRITT_DEPS_DIR")
    return pathlib.Path(chosen) if chosen else pathlib.Path.home() / ".cache" / "merritt"


def cache_compiles() -> None:
    """ccache's folder lies with the other things that are slow to make, so that whoever keeps them keeps it."""
    if "CCACHE_DIR" not in os.environ:
        os.environ["CCACHE_DIR"] = str(deps_dir() / "ccache")
        os.environ.setdefault("CCACHE_MAXSIZE", "3G")
    # Another checkout of the same sources is served from the same cache.
    os.environ.setdefault("CCACHE_BASEDIR", str(ROOT))
    os.environ.setdefault("CCACHE_NOHASHDIR", "1")


def cpu_count() -> int:
    """CPUs this process may use: affinity capped by the cgroup's cpu.max."""
    count = len(os.sched_getaffinity(0))
    with contextlib.suppress(OSError, ValueError):
        quota, period = pathlib.Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            count = min(count, max(1, int(quota) // int(period)))
    return max(1, count)


REPORT = sys.stdout  # where the one-line-per-stage report goes; stderr where stdout is somebody's data


def say(text: str) -> None:
    print(text, flush=True, file=REPORT)


def sha256_of(path: pathlib.Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def tail(path: pathlib.Path, lines: int = 30) -> str:
    with contextlib.suppress(OSError):
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    return ""


def run(args: Sequence[str | os.PathLike[str]], *, log: str | None = None, cwd: pathlib.Path | None = None,
        env: dict[str, str] | None = None, what: str = "") -> None:
    """Runs a command; with `log` its output goes to build/logs/<log>.log and only a failure shows its end."""
    words = [str(a) for a in args]
    full_env = {**os.environ, **(env or {})}
    if log is None:
        code = subprocess.run(words, cwd=cwd or ROOT, env=full_env).returncode
        if code != 0:
            raise DevError(f"{what or words[0]} failed (exit {code})")
        return
    LOGS.mkdir(parents=True, exist_ok=True)
    path = LOGS / f"{log}.log"
    with open(path, "ab") as out:
        out.write(("\n$ " + " ".join(words) + "\n").encode())
        out.flush()
        code = subprocess.run(words, cwd=cwd or ROOT, env=full_env, stdin=subprocess.DEVNULL, stdout=out,
                              stderr=subprocess.STDOUT).returncode
    if code != 0:
        shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
        raise DevError(f"{what or words[0]} failed (exit {code}); the end of {shown}:\n{tail(path)}")


def capture(args: Sequence[str | os.PathLike[str]], *, cwd: pathlib.Path | None = None,
            env: dict[str, str] | None = None, check: bool = True) -> str:
    """Standard output of a command."""
    words = [str(a) for a in args]
    done = subprocess.run(words, cwd=cwd or ROOT, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace")
    if check and done.returncode != 0:
        raise DevError(f"{' '.join(words)} failed (exit {done.returncode}): {done.stderr.strip()[-2000:]}")
    return done.stdout


@contextlib.contextmanager
def stage(name: str) -> Iterator[list[str]]:
    """Prints `name ... note  12.3 s` on one line; append to the yielded list to add a note."""
    start = time.monotonic()
    notes: list[str] = []
    interactive = REPORT.isatty()
    if interactive:
        print(f"  {name} ...", end="\r", flush=True, file=REPORT)
    ok = False
    try:
        yield notes
        ok = True
    finally:
        took = time.monotonic() - start
        note = ", ".join(notes)
        if interactive:
            print("\033[2K", end="", file=REPORT)
        say(f"  {name:<34} {'' if ok else 'FAILED '}{note + '  ' if note else ''}{took:.1f} s")


@contextlib.contextmanager
def locked(path: pathlib.Path) -> Iterator[None]:
    """Holds an exclusive file lock, so that two checkouts do not build the same library at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def have(tool: str) -> bool:
    from shutil import which
    return which(tool) is not None


def need(tool: str) -> str:
    from shutil import which
    found = which(tool)
    if not found:
        raise DevError(f"{tool} is not installed; run: ./dev setup")
    return found

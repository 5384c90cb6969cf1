# SPDX-License-Identifier: Apache-2.0
"""./dev fmt and ./dev lint: the check scripts of tests/tidy, clang-format, clang-tidy."""
from __future__ import annotations

import concurrent.futures
import hashlib
import json
import pathlib
import re
import shlex
import subprocess
import sys

from . import abi, util
from .totals import Totals
from .util import DevError

TIDY = util.ROOT / "tests" / "tidy"
FAST_CHECKS = ["check_layers", "check_words", "check_tree", "check_docs", "readme_snippets", "check_signatures",
               "check_headers", "check_versions"]
BINARY_CHECKS = ["binary_lint", "abi-check"]


def tracked(*patterns: str) -> list[pathlib.Path]:
    text = util.capture(["git", "-c", f"safe.directory={util.ROOT}", "ls-files", "-co", "--exclude-standard", "-z", "--",
                         *patterns])
    return sorted({util.ROOT / name for name in text.split("\0") if name and (util.ROOT / name).is_file()})


def formatted_files() -> list[pathlib.Path]:
    """C++ and C files; the ABI headers keep their hand-set columns."""
    return [p for p in tracked("*.cpp", "*.hpp", "*.c", "*.h") if not p.is_relative_to(util.ROOT / "abi")]


def fmt(_: list[str]) -> int:
    files = formatted_files()
    util.run([util.need("clang-format-16"), "-i", *files])
    util.say(f"formatted {len(files)} files")
    return 0


def run_abi_check(totals: Totals) -> None:
    try:
        breaks, _ = abi.check()
        totals.add("check:abi-check", "failed" if breaks else "passed", "\n".join(breaks)[:2000])
    except DevError as error:
        totals.add("check:abi-check", "failed", str(error))


def run_checks(totals: Totals, pattern: str, names: list[str], extra: dict[str, list[str]] | None = None) -> None:
    """Runs check scripts of tests/tidy; each counts as one case."""
    for name in names:
        if pattern and pattern not in name:
            continue
        with util.stage(name) as notes:
            if name == "abi-check":
                before = totals.counts()
                run_abi_check(totals)
                notes.append(totals.since(before))
                continue
            done = subprocess.run([sys.executable, TIDY / f"{name}.py", *(extra or {}).get(name, [])], cwd=util.ROOT,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            lines = done.stdout.strip().splitlines()
            notes.append(lines[-1] if lines else "no output")
            totals.add(f"check:{name}", "passed" if done.returncode == 0 else "failed",
                       "" if done.returncode == 0 else "\n" + "\n".join(lines[-60:]))


def check_format(totals: Totals) -> None:
    with util.stage("clang-format") as notes:
        files = formatted_files()
        done = subprocess.run([util.need("clang-format-16"), "--dry-run", "-Werror", *files], cwd=util.ROOT,
                              capture_output=True, text=True)
        bad = sorted({line.split(":")[0] for line in done.stderr.splitlines() if "error:" in line})
        notes.append(f"{len(files)} files")
        totals.add("check:clang-format", "failed" if done.returncode else "passed",
                   f"run ./dev fmt: {', '.join(pathlib.Path(b).name for b in bad)}"[:1500] if done.returncode else "")


def compile_commands() -> list[dict[str, str]]:
    """Of the release build, each source once: a mutant of it is no other code."""
    database = util.BUILD / "release" / "compile_commands.json"
    if not database.is_file():
        raise DevError("no compile_commands.json; run ./dev build")
    entries: dict[str, dict[str, str]] = {}
    for entry in json.loads(database.read_text()):
        if "-DMERRITT_MUTANT=" not in entry["command"]:
            entries.setdefault(entry["file"], entry)
    return list(entries.values())


def clang_database() -> pathlib.Path:
    """A folder with the release build's compile commands less the flags that only GCC knows."""
    folder = util.BUILD / "tidy"
    folder.mkdir(exist_ok=True)
    (folder / "compile_commands.json").write_text(json.dumps(compile_commands()).replace("-fno-gnu-unique ", ""))
    return folder


def object_of(command: str) -> str:
    """The object file a compiler command writes. (CMake 3.25 gives an entry of compile_commands.json no "output".)"""
    words = shlex.split(command)
    return words[words.index("-o") + 1] if "-o" in words[:-1] else ""


def sources_of(unit: pathlib.Path) -> list[pathlib.Path]:
    """A unit that is put together of several sources only includes them."""
    if unit.parent.name not in ("units", "Unity"):
        return [unit]
    return [util.ROOT / name for name in re.findall(r'^#include "(.+)"$', unit.read_text(), re.M)]


def tidy_units() -> list[tuple[pathlib.Path, str]]:
    """(source, digest of all it is made of) for the translation units of the core, the plugins and the tools."""
    build = util.BUILD / "release"
    depends: dict[str, list[str]] = {}
    current: list[str] = []
    for line in util.capture(["ninja", "-C", build, "-t", "deps"]).splitlines():
        if line and not line.startswith(" ") and ":" in line:
            current = depends.setdefault(line.split(":")[0], [])
        elif line.startswith(" "):
            current.append(line.strip())
    config = (util.ROOT / ".clang-tidy").read_bytes()
    units = []
    seen: dict[str, str] = {}
    for entry in compile_commands():
        source = pathlib.Path(entry["file"])
        sources = sources_of(source)
        if not any(sources[0].is_relative_to(util.ROOT / folder) for folder in ("sdk/src", "sdk/tools", "plugins")):
            continue
        # Where the checkout lies is no part of what is checked.
        command = entry["command"].replace(str(util.ROOT), "")
        digest = hashlib.sha256(config + command.encode() + b"".join(part.read_bytes() for part in sources))
        for name in sorted(depends.get(object_of(entry["command"]), [])):
            path = (build / name).resolve()
            if path.is_relative_to(util.ROOT) and path.is_file():
                if str(path) not in seen:
                    seen[str(path)] = util.sha256_of(path)
                digest.update(seen[str(path)].encode())
        units.append((source, digest.hexdigest()))
    return units


def check_tidy(totals: Totals) -> None:
    """clang-tidy over every unit of what ships; a unit whose inputs passed before is not checked again."""
    cache = util.deps_dir() / "tidy"
    cache.mkdir(parents=True, exist_ok=True)
    tool = util.need("clang-tidy-16")
    database = clang_database()

    def one(unit: tuple[pathlib.Path, str]) -> tuple[pathlib.Path, str]:
        source, digest = unit
        words = ["nice", tool, "--quiet", "-p", str(database), str(source)]
        done = subprocess.run(words, cwd=util.ROOT, capture_output=True, text=True)
        if done.returncode == 0:
            (cache / digest).touch()
            return source, ""
        findings = [line for line in done.stdout.splitlines() if " error: " in line or " warning: " in line]
        return source, "\n".join(findings[:12]) or (done.stdout + done.stderr)[-800:]

    with util.stage("clang-tidy") as notes:
        units = tidy_units()
        todo = [unit for unit in units if not (cache / unit[1]).exists()]
        notes.append(f"{len(units)} units, {len(units) - len(todo)} unchanged")
        problems: dict[str, None] = {}  # a finding in a header comes once for each unit that includes it
        with concurrent.futures.ThreadPoolExecutor(util.cpu_count()) as pool:
            for _, text in pool.map(one, todo):
                problems.update((line.replace(f"{util.ROOT}/", ""), None) for line in text.splitlines())
        totals.add("check:clang-tidy", "failed" if problems else "passed", "\n" + "\n".join(problems)[:6000])


def run_lint(totals: Totals, fast: bool) -> None:
    seen = f"--cache={util.deps_dir() / 'headers'}"
    run_checks(totals, "", FAST_CHECKS, {"check_headers": [seen] if fast else [seen, "--all"]})
    check_format(totals)
    if not fast:
        check_tidy(totals)
        run_checks(totals, "", BINARY_CHECKS)


def lint(words: list[str]) -> int:
    if [word for word in words if word != "--fast"]:
        raise DevError("the only option is --fast")
    totals = Totals()
    run_lint(totals, "--fast" in words)
    return totals.close()

# SPDX-License-Identifier: Apache-2.0
"""Builds the libraries the distribution does not ship in the form Merritt needs (static, PIC, hidden).

Each recipe in sdk/cmake/deps/*.json pins a Debian source package by SHA-256. The sources come through apt with a
private package list derived from the machine's own mirror; nothing in /etc is touched. The result is a prefix
<deps>/<name>-<version>-<first 12 digits of the recipe's SHA-256>, the very path MerrittDeps.cmake computes."""
from __future__ import annotations

import fnmatch
import json
import os
import pathlib
import re
import shutil

from . import util
from .util import DevError

RECIPES = util.ROOT / "sdk" / "cmake" / "deps"
KEYRING = pathlib.Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def prefix_of(recipe_path: pathlib.Path) -> pathlib.Path:
    recipe = json.loads(recipe_path.read_text())
    digest = util.sha256_of(recipe_path)[:12]
    return util.deps_dir() / f"{recipe['name']}-{recipe['version']}-{digest}"


def mirror_uris() -> list[str]:
    """URIs from which this machine's apt takes the main Debian archive, in order."""
    uris: list[str] = []
    etc = pathlib.Path("/etc/apt")
    for path in sorted(etc.glob("sources.list.d/*.sources")):
        for stanza in re.split(r"\n\s*\n", path.read_text(errors="replace")):
            fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.*)$", stanza, re.M))
            suites = fields.get("Suites", "").split()
            if "main" in fields.get("Components", "").split() and "bookworm" in suites:
                uris += fields.get("URIs", "").split()
    for path in [etc / "sources.list", *sorted(etc.glob("sources.list.d/*.list"))]:
        if not path.is_file():
            continue
        for line in path.read_text(errors="replace").splitlines():
            match = re.match(r"\s*deb(?:-src)?\s+(?:\[[^\]]*\]\s+)?(\S+)\s+bookworm\s+(.*)", line)
            if match and "main" in match.group(2).split():
                uris.append(match.group(1))
    return list(dict.fromkeys(uris))


def fetch_source(recipe: dict, work: pathlib.Path, log: str) -> pathlib.Path:
    """Downloads and unpacks the pinned source package; returns the source folder."""
    uris = mirror_uris()
    if not uris:
        raise DevError("no Debian 12 archive (suite bookworm, component main) in /etc/apt: "
                       "./dev setup builds on Debian 12")
    if not KEYRING.exists():
        raise DevError("debian-archive-keyring is missing; run: apt-get install debian-archive-keyring")
    apt = work / "apt"
    for folder in ("lists/partial", "cache/archives/partial"):
        (apt / folder).mkdir(parents=True)
    (apt / "sources.list").write_text("".join(
        f"deb-src [signed-by={KEYRING}] {uri} {recipe['suite']} main\n" for uri in uris))
    options = []
    for option in (f"Dir::Etc::sourcelist={apt}/sources.list", "Dir::Etc::sourceparts=-",
                   f"Dir::State::Lists={apt}/lists", f"Dir::Cache={apt}/cache", "APT::Sandbox::User=root",
                   "Acquire::Languages=none", "Acquire::Retries=3"):
        options += ["-o", option]
    util.run(["apt-get", *options, "update"], log=log, what="apt-get update (private list)")
    package = f"{recipe['source']}={recipe['source_version']}"
    util.run(["apt-get", *options, "source", "--download-only", package], cwd=work, log=log,
             what=f"download of the source package {package}")
    for name, digest in recipe["files"].items():
        got = util.sha256_of(work / name) if (work / name).is_file() else "absent"
        if got != digest:
            raise DevError(f"{name}: expected SHA-256 {digest}, got {got}")
    dsc = next(name for name in recipe["files"] if name.endswith(".dsc"))
    source = work / "src"
    # The archive's signature was checked by apt and every file against its pin above.
    util.run(["dpkg-source", "--no-check", "-x", dsc, source], cwd=work, log=log, what="dpkg-source")
    return source


def prune(recipe: dict, source: pathlib.Path) -> None:
    """Deletes sources Merritt never links, which only costs compile time; the recipe's check links the rest."""
    rules = recipe.get("delete")
    if not rules:
        return
    pattern = re.compile(rules["regex"])
    removed = 0
    for path in sorted((source / rules["under"]).rglob("*.cpp")):
        name = path.relative_to(source / rules["under"]).as_posix()
        if pattern.search(name):
            path.unlink()
            removed += 1
    if removed < rules["at_least"]:
        raise DevError(f"{recipe['name']}: {removed} files matched the delete rule, expected >= {rules['at_least']}")


def edit(recipe: dict, source: pathlib.Path) -> None:
    """Exact replacements; one that does not fit the pinned source is an error."""
    for rule in recipe.get("edit", []):
        path = source / rule["file"]
        text = path.read_text()
        if text.count(rule["from"]) != 1:
            raise DevError(f"{recipe['name']}: {rule['file']} does not hold {rule['from']!r} exactly once")
        path.write_text(text.replace(rule["from"], rule["to"]))


def install(recipe: dict, source: pathlib.Path, build: pathlib.Path, prefix: pathlib.Path, log: str) -> None:
    rules = recipe.get("install")
    if rules is None:
        util.run(["cmake", "--install", build, "--prefix", prefix], log=log, what="install")
        return
    for rule in rules:
        base = {"source": source, "build": build}[rule["from"]] / rule["under"]
        for path in sorted(base.rglob("*")):
            name = path.relative_to(base).as_posix()
            if path.is_file() and any(fnmatch.fnmatch(name, glob) for glob in rule["globs"]):
                target = prefix / rule["to"] / (name if rule.get("tree") else path.name)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, target)


def check(recipe: dict, prefix: pathlib.Path, work: pathlib.Path, log: str) -> None:
    """Everything the recipe promises exists, and its small program links as a shared object would and runs."""
    for name in recipe["provides"]:
        if not (prefix / name).is_file():
            raise DevError(f"{recipe['name']}: the build left no {name}")
    program = recipe.get("check")
    if not program:
        return
    shared, main = work / "check.so", work / "check"
    libraries = [prefix / lib for lib in program["libraries"]]
    util.run(["g++", "-std=c++20", "-O1", "-fPIC", "-fvisibility=hidden", "-shared", "-I", prefix / "include",
              RECIPES / program["file"], "-o", shared, *libraries, "-Wl,-z,defs", "-Wl,-z,text", "-Wl,--gc-sections",
              "-Wl,--exclude-libs,ALL"], log=log, what=f"link check of {recipe['name']}")
    util.run(["g++", "-std=c++20", "-O1", "-DCHECK_MAIN", "-I", prefix / "include", RECIPES / program["file"], "-o",
              main, *libraries], log=log, what=f"link check of {recipe['name']}")
    util.run([main], log=log, what=f"run check of {recipe['name']}")


def build(recipe_path: pathlib.Path, keep_work: bool = False) -> str:
    """Builds one recipe unless its prefix is there; returns a note for the report."""
    recipe = json.loads(recipe_path.read_text())
    prefix = prefix_of(recipe_path)
    stamp = prefix / ".complete"
    with util.locked(util.deps_dir() / f".lock-{recipe['name']}"):
        if stamp.is_file():
            return "cached"
        log = f"setup-{recipe['name']}"
        work = util.deps_dir() / f".work-{recipe['name']}"
        for stale in (work, prefix):
            shutil.rmtree(stale, ignore_errors=True)
        work.mkdir(parents=True)
        source = fetch_source(recipe, work, log)
        prune(recipe, source)
        edit(recipe, source)
        made = work / "build"
        staged = work / "prefix"
        compiler = ["-DCMAKE_C_COMPILER=gcc", "-DCMAKE_CXX_COMPILER=g++"]
        launcher = [f"-DCMAKE_{lang}_COMPILER_LAUNCHER=ccache" for lang in ("C", "CXX")] if util.have("ccache") else []
        # A clean environment: a developer's CXXFLAGS must not leak into a cached library.
        env = {"CFLAGS": "", "CXXFLAGS": "", "CPPFLAGS": "", "LDFLAGS": "", "CCACHE_BASEDIR": str(work)}
        util.run(["cmake", "-S", source, "-B", made, "-G", "Ninja", f"-DCMAKE_INSTALL_PREFIX={prefix}", *compiler,
                  *launcher, *recipe["cmake"]], log=log, env=env, what=f"cmake of {recipe['name']}")
        util.run(["nice", "ninja", "-C", made, f"-j{util.cpu_count()}", *recipe.get("targets", [])], log=log, env=env,
                 what=f"build of {recipe['name']}")
        install(recipe, source, made, staged, log)
        check(recipe, staged, work, log)
        (staged / ".complete").write_text(recipe_path.read_text())
        os.rename(staged, prefix)
        if not keep_work:
            shutil.rmtree(work, ignore_errors=True)
        return "built"


def all_recipes() -> list[pathlib.Path]:
    return sorted(RECIPES.glob("*.json"))

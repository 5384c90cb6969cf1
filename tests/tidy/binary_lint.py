#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the built library and plugins promise a host: which libraries they need, what they export, how they load, and
that no wide-vector instruction runs before the CPU was asked.

usage: binary_lint.py [--output build] [--objects build/release]"""
from __future__ import annotations

import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess

import tree

NEEDED = {"libc.so.6", "libm.so.6", "libstdc++.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2"}
BASELINES = tree.ROOT / "abi/baseline"
PLUGIN_SYMBOL = "merritt_backend_v1"
# Instruction-set marks of file names, and the registers that only such files may touch.
ISA_NAME = re.compile(r"_(avx2|avx512|vnni|bf16|amx)\b|_(avx512|vnni|bf16|amx)_", re.I)
WIDE_NAME = re.compile(r"avx512|vnni|bf16|amx", re.I)


def tool(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def exported(path: pathlib.Path) -> list[tuple[str, str]]:
    """(name, version) of every symbol the object defines for others."""
    found = []
    for line in tool("nm", "-D", "--defined-only", "--with-symbol-versions", str(path)).splitlines():
        words = line.split()
        if len(words) == 3 and words[1] != "A":
            name, _, version = words[2].partition("@")
            found.append((name, version.lstrip("@")))
    return found


def check_loading(path: pathlib.Path) -> list[str]:
    problems = []
    dynamic = tool("readelf", "-dW", str(path))
    for library in re.findall(r"\(NEEDED\).*\[(.*?)\]", dynamic):
        if library not in NEEDED:
            problems.append(f"needs {library}; only {', '.join(sorted(NEEDED))} may be needed")
    for mark, text in (("(TEXTREL)", "has text relocations"), ("TEXTREL", "has text relocations"),
                       ("STATIC_TLS", "uses static TLS"), ("(RPATH)", "carries an RPATH"),
                       ("(RUNPATH)", "carries a RUNPATH")):
        if mark in dynamic and text not in problems:
            problems.append(text)
    headers = tool("readelf", "-lW", str(path))
    stack = re.search(r"GNU_STACK\s+(?:0x\w+\s+){5}([RWE ]+?)\s+0x", headers)
    if not stack or "E" in stack.group(1):
        problems.append("asks for an executable stack")
    if re.search(r"LOAD.*\sRWE\s", headers):
        problems.append("has a segment that is writable and executable")
    if "GNU_RELRO" not in headers:
        problems.append("is linked without relro")
    symbols = tool("readelf", "--dyn-syms", "-W", str(path))
    problems += [f"unique symbol {line.split()[-1]}" for line in symbols.splitlines() if " UNIQUE " in line]
    return problems


def declared() -> set[str]:
    found: set[str] = set()
    for header in (tree.ROOT / "abi/include/merritt").glob("*.h"):
        text = tree.without_comments_and_strings(header.read_text())
        found |= set(re.findall(r"\bMERRITT_API\b[^;(]*?\b(merritt_\w+)\s*\(", text))
    return found


def version_nodes() -> tuple[dict[str, str], str]:
    """The node of every released function, and that of those which this version adds."""
    released = {}
    for symbols in BASELINES.glob("*/symbols.txt"):
        for line in symbols.read_text().splitlines():
            name, _, node = line.split()[1].partition("@@")
            released[name] = node
    base = (tree.ROOT / "abi/include/merritt/base.h").read_text()
    major, minor = (re.search(rf"MERRITT_VERSION_{part} (\d+)", base).group(1) for part in ("MAJOR", "MINOR"))
    return released, f"MERRITT_{major}.{minor}"


def check_library(path: pathlib.Path) -> list[str]:
    problems = []
    names = set()
    released, current = version_nodes()
    for name, version in exported(path):
        names.add(name)
        node = released.get(name, current)
        if version != node:
            problems.append(f"exports {name} with version {version or 'none'}, not {node}")
    want = declared()
    problems += [f"exports {name}, which no public header declares" for name in sorted(names - want)]
    problems += [f"does not export {name}, which a public header declares" for name in sorted(want - names)]
    soname = re.search(r"\(SONAME\).*\[(.*?)\]", tool("readelf", "-dW", str(path)))
    if not soname or soname.group(1) != "libmerritt.so.1":
        problems.append("its SONAME is not libmerritt.so.1")
    return problems


def check_plugin(path: pathlib.Path) -> list[str]:
    names = [name for name, _ in exported(path)]
    return [] if names == [PLUGIN_SYMBOL] else [f"exports {', '.join(names) or 'nothing'}; exactly {PLUGIN_SYMBOL} is due"]


def check_object(path: pathlib.Path) -> list[str]:
    """Vector registers wider than the file's name allows, and inline functions an ISA file would lend to others."""
    problems = []
    source = path.name.removesuffix(".o")
    registers = ["zmm", "tmm"] if not WIDE_NAME.search(source) else []
    if not ISA_NAME.search(source):
        registers.append("ymm")
    if registers:
        text = tool("objdump", "-d", "--no-show-raw-insn", str(path))
        function = ""
        pattern = re.compile(f"%(?:{'|'.join(registers)})[0-9]")
        for line in text.splitlines():
            if line.endswith(">:"):
                function = line.split("<", 1)[1][:-2]
                continue
            used = pattern.search(line)
            if used:
                problems.append(f"{function} uses {used.group(0)} outside an ISA file")
                break
    else:
        lent = [line.split()[-1] for line in tool("nm", str(path)).splitlines() if re.search(r" [WVu] \S", line)]
        functions = [name for name in lent if name.startswith("_Z") and not re.match(r"_ZT[VISC]|_ZGR", name)]
        if functions:
            shown = tool("c++filt", *functions[:3]).split("\n")
            problems.append("defines inline functions the linker may use for every caller, also on a CPU without these "
                            f"instructions; make them static or always_inline: {'; '.join(shown[:3])}")
    return problems


def our_objects(build: pathlib.Path) -> list[pathlib.Path]:
    """Objects of the code that ships: the core, the plugins and the tools; not tests, not third-party archives."""
    return sorted(p for folder in ("sdk", "plugins") for p in (build / folder).rglob("*.o")
                  if "test" not in p.relative_to(build).as_posix())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, default=tree.ROOT / "build")
    parser.add_argument("--objects", type=pathlib.Path, default=tree.ROOT / "build" / "release")
    options = parser.parse_args()
    library = options.output / "lib" / "libmerritt.so.1"
    plugins = sorted((options.output / "lib" / "merritt" / "plugins").glob("*.so"))
    problems = []
    if not library.exists():
        problems.append(f"{library} is not built; run ./dev build")
    if not plugins:
        problems.append("no plugin is built; run ./dev build")
    for path, check in [(library, check_library)] * library.exists() + [(plugin, check_plugin) for plugin in plugins]:
        problems += [f"{path.name}: {text}" for text in check_loading(path) + check(path)]
    objects = our_objects(options.objects)
    if not objects:
        problems.append(f"no object files under {options.objects}")
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for path, found in zip(objects, pool.map(check_object, objects)):
            problems += [f"{path.name}: {text}" for text in found]
    tree.finish("binaries", problems, f"{len(plugins)} plugins, {len(objects)} objects")


if __name__ == "__main__":
    main()

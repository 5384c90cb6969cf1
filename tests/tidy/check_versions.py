#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One version: the headers' macros, CMake's project, the Python package and the Conan recipe agree, and it is the newest
that CHANGELOG.md names."""
from __future__ import annotations

import re

import tree

PLACES = {
    "CMakeLists.txt": r"project\(merritt VERSION ([0-9.]+)",
    "python/pyproject.toml": r'^version = "([^"]+)"',
    "conan/conanfile.py": r'^    version = "([^"]+)"',
    "CHANGELOG.md": r"^## ([0-9][0-9.]*)",
}
HEADER = "abi/include/merritt/base.h"


def main() -> None:
    problems = []
    macros = dict(re.findall(r"^#define MERRITT_VERSION_(MAJOR|MINOR|PATCH) (\d+)$", (tree.ROOT / HEADER).read_text(), re.M))
    version = ".".join(macros.get(part, "?") for part in ("MAJOR", "MINOR", "PATCH"))
    for name, pattern in PLACES.items():
        found = re.search(pattern, (tree.ROOT / name).read_text(), re.M)
        if found is None or found.group(1) != version:
            problems.append(f"{name}: {found.group(1) if found else 'no version'}, but {HEADER} says {version}")
    tree.finish("versions", problems, version)


if __name__ == "__main__":
    main()

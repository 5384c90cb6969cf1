#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Shape of the tree: top-level folders, file lengths, licence line, include guards, file names, stray whitespace."""
from __future__ import annotations

import re

import tree

TOP_FOLDERS = {"sdk", "plugins", "abi", "python", "examples", "tests", "conan", "docs", ".ci"}
AIM, LIMIT = 300, 600
SPDX = "SPDX-License-Identifier: Apache-2.0"
CODE = {".h", ".c", ".hpp", ".cpp", ".py"}


def main() -> None:
    problems, long_files = [], []
    for path in tree.files():
        name = tree.name(path)
        parts = name.split("/")
        if len(parts) > 1 and parts[0] not in TOP_FOLDERS:
            problems.append(f"{name}: {parts[0]}/ is not one of the top-level folders")
        is_script = path.suffix == "" and path.stat().st_mode & 0o111
        if path.suffix not in CODE and not is_script or name.startswith("abi/baseline/"):
            continue
        text = path.read_text(errors="replace")
        lines = text.splitlines()
        if SPDX not in "\n".join(lines[:3]):
            problems.append(f"{name}:1: no line `{SPDX}`")
        if len(lines) > LIMIT:
            problems.append(f"{name}: {len(lines)} lines; {LIMIT} is the limit, {AIM} the aim")
        elif len(lines) > AIM:
            long_files.append(f"{name} ({len(lines)})")
        if not re.fullmatch(r"[a-z0-9_]+", path.stem) and path.stem not in ("__init__", "__main__"):
            problems.append(f"{name}: file names are snake_case")
        if path.suffix == ".hpp" and "#pragma once" not in text:
            problems.append(f"{name}: no #pragma once")
        if text and not text.endswith("\n"):
            problems.append(f"{name}: no newline at the end")
        for number, line in enumerate(lines, 1):
            if line != line.rstrip() or "\t" in line:
                problems.append(f"{name}:{number}: trailing blank or tab")
    for entry in long_files:
        print(f"longer than {AIM} lines: {entry}")
    tree.finish("tree", problems, f"{len(long_files)} files over {AIM} lines")


if __name__ == "__main__":
    main()

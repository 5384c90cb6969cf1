#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Who includes whom: sdk/src by layers.txt; plugins only abi/ and plugins/support; the public C++ layer only abi/."""
from __future__ import annotations

import re

import tree

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">]+)[">]', re.M)


def rules() -> dict[str, set[str]]:
    table: dict[str, set[str]] = {}
    for line in (tree.ROOT / "sdk/src/layers.txt").read_text().splitlines():
        line = line.split("#")[0].strip()
        if line:
            layer, _, allowed = line.partition(":")
            table[layer.strip()] = set(allowed.split()) | {layer.strip()}
    return table


def layer_of(path: str, layers: dict[str, set[str]]) -> str | None:
    """The longest layer that is a folder above `path`."""
    found = [layer for layer in layers if path.startswith(layer + "/")]
    return max(found, key=len) if found else None


def plugin_may_include(name: str, quote: str, target: str) -> bool:
    """plugins/<own>/x: merritt/backend.h, support/ and <own>/; no OpenMP, none of the core's libraries."""
    if target == "merritt/backend.h":
        return True
    if quote == '"' and not target.startswith("oneapi/"):
        own = name.split("/")[1]
        return ".." not in target and target.split("/")[0] in ("support", own) and (tree.ROOT / "plugins" / target).exists()
    return not re.match(r"(merritt|spdlog|fmt|capnp|kj|omp|tbb|boost|openssl|nlohmann)\b", target)


def main() -> None:
    table = rules()
    problems = []
    for layer, allowed in table.items():
        problems += [f"sdk/src/layers.txt: {layer} names the unknown layer {other}" for other in allowed - table.keys()]
    for path in tree.source_files():
        name = tree.name(path)
        text = path.read_text(errors="replace")
        for match in INCLUDE.finditer(text):
            quote, target = match.groups()
            where = f"{name}:{tree.line_of(text, match.start())}"
            other = layer_of(target, table)
            if name.startswith("sdk/src/"):
                own = layer_of(name.removeprefix("sdk/src/"), table)
                if own is None:
                    problems.append(f"{name}: its folder is no layer of sdk/src/layers.txt")
                    break
                if quote == '"' and other is None and not target.startswith("merritt/") \
                        and not target.endswith(".capnp.h"):
                    problems.append(f'{where}: "{target}" is not written from sdk/src')
                elif other is not None and other not in table[own]:
                    problems.append(f"{where}: layer {own} may not include {target} (layer {other})")
            elif name.startswith("plugins/") and not plugin_may_include(name, quote, target):
                problems.append(f"{where}: a plugin may include only abi/, support/ and its own files, not {target}")
            elif name.startswith("sdk/include/") and other is not None and quote == '"':
                problems.append(f"{where}: a public header may not include {target}")
            elif name.startswith("abi/include/") and not (target.startswith("merritt/") or target in
                                                          ("stddef.h", "stdint.h")):
                problems.append(f"{where}: an ABI header includes only merritt/*.h, stddef.h and stdint.h")
    tree.finish("layers", problems)


if __name__ == "__main__":
    main()

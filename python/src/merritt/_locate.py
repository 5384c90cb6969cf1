# SPDX-License-Identifier: Apache-2.0
"""Where the extension, the plugins and the list of trusted publishers are."""
from __future__ import annotations

import importlib.machinery
import json
import pathlib
import sys
from typing import Any

Publisher = tuple[str, bytes, str, int]


def check_interpreter() -> None:
    """Says what is wrong when the package's extension was built for another interpreter."""
    built = sorted(file.name for file in pathlib.Path(__file__).resolve().parent.glob("_core.*so"))
    if any(name == "_core" + suffix for name in built for suffix in importlib.machinery.EXTENSION_SUFFIXES):
        return
    raise ImportError(
        f"merritt has no extension for Python {sys.version_info[0]}.{sys.version_info[1]} ({sys.executable}); "
        f"it holds {', '.join(built) or 'none at all'}: install the wheel of this Python, or build with "
        "-DPython_EXECUTABLE naming it"
    )


def default_plugin_dir() -> pathlib.Path:
    """plugins/ in the package; a package in a build tree says in a file where the build put them."""
    package = pathlib.Path(__file__).resolve().parent
    pointer = package / "plugin_dir.txt"
    if pointer.is_file():
        return pathlib.Path(pointer.read_text(encoding="utf-8").strip())
    return package / "plugins"


def plugin_files(folders: list[pathlib.Path]) -> list[pathlib.Path]:
    """Every lib*.so; onednn first and the reference, which is slow, last."""
    order = {"libmerritt_onednn.so": 0, "libmerritt_reference.so": 2}
    files = [file for folder in folders if folder.is_dir() for file in folder.glob("lib*.so")]
    return sorted(files, key=lambda file: (order.get(file.name, 1), str(file)))


def read_trust(path: pathlib.Path) -> list[Publisher]:
    """Publishers of a trust list: {"publishers": [{"name", "key": 64 hex digits, "plugin_id"?, "not_after"?}]}."""
    try:
        root: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no trust list there; name one with Engine(trust=...)") from None
    except ValueError as error:
        raise ValueError(f"{path}: not a trust list: {error}") from None
    try:
        return [
            (entry["name"], bytes.fromhex(entry["key"]), entry.get("plugin_id") or "", int(entry.get("not_after") or 0))
            for entry in root["publishers"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f'{path}: not a trust list ({error!r}); expected {{"publishers": [{{"name": ..., "key": 64 hex digits}}]}}'
        ) from None

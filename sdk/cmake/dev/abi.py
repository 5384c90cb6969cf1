# SPDX-License-Identifier: Apache-2.0
"""./dev abi-check: the built library and the headers against abi/baseline/<version>.

symbols.txt     exported functions with their version node
layout.txt      every constant, and size and offsets of every public struct, printed by a C program; then the text of
                every field, typedef and function as it is declared, blanks and comments aside: a slot of the plugin
                ABI is a field, and abidiff sees only what libmerritt.so exports
libmerritt.abi  abidw's dump of the types behind the exported functions
include/        the headers themselves

The ABI only grows: an addition is reported, a removal or a change fails. A struct that carries struct_size may grow at
its end, any other keeps its size. A missing tool or baseline is a failure, not a pass.
--update writes the baseline; that of a version which CHANGELOG.md names with its commit is final, and only --force-new
writes it again (never after 1.0)."""
from __future__ import annotations

import pathlib
import re
import shutil
import subprocess
import tempfile

from . import util
from .util import DevError

VERSION = "0.1"
HEADERS = util.ROOT / "abi" / "include"
BASELINE = util.ROOT / "abi" / "baseline" / VERSION
LIBRARY = util.BUILD / "lib" / "libmerritt.so.1"


def strip_comments(text: str) -> str:
    return re.sub(r"/\*.*?\*/", " ", text, flags=re.S)


def braces(text: str, start: int) -> int:
    """Index after the brace that closes the one at `start`."""
    depth = 0
    for index in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[index], 0)
        if depth == 0:
            return index + 1
    raise DevError("abi-check: a brace is not closed in a public header")


def structs_of(text: str) -> list[tuple[str, str]]:
    """(name, body) of every `typedef struct name { ... } name;`."""
    found = []
    for match in re.finditer(r"\btypedef\s+struct\s+\w+\s*\{", text):
        end = braces(text, match.end() - 1)
        name = re.match(r"\s*(\w+)\s*;", text[end:])
        if name:
            found.append((name.group(1), text[match.end():end - 1]))
    return found


def normal(text: str) -> str:
    """A declaration with its blanks in one way only."""
    text = re.sub(r"\s+", " ", text).strip()
    return re.sub(r" ?([(){}\[\],;*]) ?", r"\1", text)


def struct_fields(body: str, prefix: str = "") -> list[tuple[str, str]]:
    """(name, declaration) of the fields; a nested struct or union gives its own name and `name.field` for what is in
    it."""
    names: list[tuple[str, str]] = []
    position = 0
    while position < len(body):
        nested = re.match(r"\s*(?:struct|union)\s*\{", body[position:])
        if nested:
            end = braces(body, position + nested.end() - 1)
            inner = body[position + nested.end():end - 1]
            semicolon = body.index(";", end)
            name = body[end:semicolon].strip()
            if name:
                names.append((prefix + name, normal(body[position:semicolon])))
            names += struct_fields(inner, f"{prefix}{name}." if name else prefix)
            position = semicolon + 1
            continue
        semicolon = body.find(";", position)
        if semicolon < 0:
            break
        declaration = body[position:semicolon].strip()
        position = semicolon + 1
        pointer = re.search(r"\(\s*\*\s*(\w+)\s*\)\s*\(", declaration)
        if pointer:
            names.append((prefix + pointer.group(1), normal(declaration)))
            continue
        base = ""  # what `type a, b` says once for both
        for part in declaration.split(","):
            match = re.search(r"(\w+)\s*(?:\[[^\]]*\]\s*)*$", part.strip())
            if not match:
                raise DevError(f"abi-check cannot read the declaration {declaration!r}")
            names.append((prefix + match.group(1), normal(f"{base} {part}")))
            base = base or part.strip()[:match.start()].rstrip("* ")
    return names


def typedefs_of(text: str) -> list[tuple[str, str]]:
    """(name, declaration) of handles and function pointers."""
    found = []
    for match in re.finditer(r"\btypedef\b(?!\s+(?:struct|union)\s+\w+\s*\{)([^;{]*);", text):
        declaration = match.group(1)
        name = re.search(r"\(\s*\*\s*(\w+)\s*\)\s*\(", declaration) or re.search(r"(\w+)\s*$", declaration)
        if not name:
            raise DevError(f"abi-check cannot read the typedef {declaration!r}")
        found.append((name.group(1), normal(declaration)))
    return found


def functions_of(text: str) -> list[tuple[str, str]]:
    return [(match.group(2), normal(match.group(1) + ";"))
            for match in re.finditer(r"\bMERRITT_API\b([^;(]*?\b(merritt_\w+)\s*\([^;]*\))\s*;", text)]


def declarations(folder: pathlib.Path) -> str:
    """One line for each field, typedef and function: what kind, name, text."""
    lines = []
    for header in sorted((folder / "merritt").glob("*.h")):
        text = strip_comments(header.read_text())
        for name, body in structs_of(text):
            lines += [f"field {name}.{field} {declared}" for field, declared in struct_fields(body)]
        lines += [f"typedef {name} {declared}" for name, declared in typedefs_of(text)]
        lines += [f"function {name} {declared}" for name, declared in functions_of(text)]
    return "".join(f"{line}\n" for line in dict.fromkeys(lines))


def enum_names(body: str) -> list[str]:
    return [part.split("=")[0].strip() for part in body.split(",") if part.strip()]


def probe_source(folder: pathlib.Path) -> str:
    """A C11 program that prints one line for each constant, size and offset of the headers in `folder`."""
    lines, includes = [], []
    for header in sorted((folder / "merritt").glob("*.h")):
        raw = header.read_text()
        text = strip_comments(raw)
        includes.append(f"#include <merritt/{header.name}>")
        structs = structs_of(text)
        if len(structs) != len(re.findall(r"\bstruct\s+\w+\s*\{", text)):
            raise DevError(f"{header.name}: a struct is not written `typedef struct name {{ ... }} name;`, so its layout "
                           "cannot be recorded")
        for name, body in structs:
            lines.append(f'  printf("sizeof {name} %zu align %zu\\n", sizeof({name}), _Alignof({name}));')
            for field, _ in struct_fields(body):
                lines.append(f'  printf("offset {name}.{field} %zu size %zu\\n", offsetof({name}, {field}), '
                             f"sizeof((({name} *)0)->{field}));")
        for body in re.findall(r"\benum\s*(?:\w+\s*)?\{(.*?)\}", text, re.S):
            for name in enum_names(body):
                lines.append(f'  printf("constant {name} %lld\\n", (long long){name});')
        joined = text.replace("\\\n", " ")
        for name, value in re.findall(r"^[ \t]*#[ \t]*define[ \t]+(\w+)[ \t]+(\S[^\n]*)$", joined, re.M):
            if name.startswith("MERRITT_VERSION_"):
                continue
            value = value.strip()
            if value.startswith('"'):
                lines.append(f'  printf("constant {name} %s\\n", {name});')
            elif re.fullmatch(r"[-+(){}\w\s<>|*]+", value) and re.search(r"\d", value) and "__" not in value:
                lines.append(f'  printf("constant {name} %lld\\n", (long long){name});')
    body = "\n".join(dict.fromkeys(lines))
    return ("#include <stddef.h>\n#include <stdint.h>\n#include <stdio.h>\n" + "\n".join(includes) +
            f"\nint main(void) {{\n{body}\n  return 0;\n}}\n")


def layout(folder: pathlib.Path) -> str:
    with tempfile.TemporaryDirectory() as temporary:
        source = pathlib.Path(temporary) / "probe.c"
        source.write_text(probe_source(folder))
        program = pathlib.Path(temporary) / "probe"
        util.capture([util.need("gcc"), "-std=c11", "-I", folder, source, "-o", program])
        return util.capture([program]) + declarations(folder)


def symbols(library: pathlib.Path) -> str:
    lines = []
    for line in util.capture([util.need("nm"), "-D", "--defined-only", "--with-symbol-versions", library]).splitlines():
        words = line.split()
        if len(words) == 3 and words[1] not in ("A",):
            lines.append(f"{words[1]} {words[2]}")
    return "".join(f"{line}\n" for line in sorted(lines))


def declared_functions(folder: pathlib.Path) -> set[str]:
    return {name for header in (folder / "merritt").glob("*.h")
            for name, _ in functions_of(strip_comments(header.read_text()))}


def dump(library: pathlib.Path, out: pathlib.Path) -> None:
    util.capture([util.need("abidw"), "--exported-interfaces-only", "--headers-dir", HEADERS, "--drop-private-types",
                  "--no-corpus-path", "--no-comp-dir-path", "--no-show-locs", "--out-file", out, library])
    # Where the checkout lies is no part of the ABI, and nobody's business in a baseline.
    out.write_text(re.sub(r"(<abi-instr [^>]*\bpath=')[^']*?/(?=sdk/src/)", r"\1", out.read_text()))


def compare_layout(old: str, new: str) -> tuple[list[str], list[str]]:
    """(breaks, additions) between two layout texts."""
    def table(text: str) -> dict[str, str]:
        return {" ".join(line.split()[:2]): " ".join(line.split()[2:]) for line in text.splitlines()}
    before, after = table(old), table(new)
    breaks: list[str] = []
    additions: list[str] = []
    for key, value in before.items():
        if key not in after:
            breaks.append(f"{key} is gone")
        elif after[key] != value:
            name = key.split()[1]
            grows = (key.startswith("sizeof ") and f"offset {name}.struct_size" in before
                     and int(after[key].split()[0]) > int(value.split()[0])
                     and after[key].split()[2] == value.split()[2])
            (additions if grows else breaks).append(f"{key}: {value} became {after[key]}")
    additions += [f"{key} {after[key]}" for key in after if key not in before]
    return breaks, additions


def check() -> tuple[list[str], list[str]]:
    """(breaks, additions) of the built library against the baseline."""
    for name in ("symbols.txt", "layout.txt", "libmerritt.abi", "include/merritt/merritt.h"):
        if not (BASELINE / name).is_file():
            raise DevError(f"no baseline {(BASELINE / name).relative_to(util.ROOT)}; ./dev abi-check --update writes it")
    if not LIBRARY.exists():
        raise DevError("build/lib/libmerritt.so.1 is not built; run ./dev build")
    tool = util.need("abidiff")
    breaks, additions = compare_layout((BASELINE / "layout.txt").read_text(), layout(HEADERS))
    if layout(BASELINE / "include") != (BASELINE / "layout.txt").read_text():
        breaks.append("layout.txt does not describe the baseline's own headers")
    old, new = set((BASELINE / "symbols.txt").read_text().splitlines()), set(symbols(LIBRARY).splitlines())
    breaks += [f"symbol {line} is gone" for line in sorted(old - new)]
    additions += [f"symbol {line}" for line in sorted(new - old)]
    exported = {line.split()[1].split("@")[0] for line in new}
    breaks += [f"{name} is declared but not exported" for name in sorted(declared_functions(HEADERS) - exported)]
    with tempfile.TemporaryDirectory() as temporary:
        current = pathlib.Path(temporary) / "now.abi"
        dump(LIBRARY, current)
        done = subprocess.run([tool, BASELINE / "libmerritt.abi", current], capture_output=True, text=True)
    # Bits of abidiff's status: 1 error, 2 usage, 4 a change, 8 an incompatible change.
    if done.returncode & 3:
        raise DevError(f"abidiff failed (status {done.returncode}): {done.stderr.strip()[-1000:]}")
    if done.returncode & 8:
        breaks.append("abidiff: incompatible change\n" + done.stdout)
    elif done.returncode & 4:
        additions.append("abidiff:\n" + done.stdout)
    return breaks, additions


def released() -> str | None:
    """The heading of CHANGELOG.md that says this version is out: with the commit it was made from."""
    for line in (util.ROOT / "CHANGELOG.md").read_text().splitlines():
        if re.match(rf"## {re.escape(VERSION)}\.\d+\b", line) and re.search(r"\b[0-9a-f]{7,40}\b", line.split(",", 1)[-1]):
            return line
    return None


def update(force: bool = False) -> None:
    heading = released()
    if heading is not None and not force and (BASELINE / "layout.txt").is_file():
        raise DevError(f"the baseline of {VERSION} is final: CHANGELOG.md says {heading.lstrip('# ')!r}. What has grown "
                       "since belongs to the next version; --force-new writes it all the same")
    if not LIBRARY.exists():
        raise DevError("build/lib/libmerritt.so.1 is not built; run ./dev build")
    missing = declared_functions(HEADERS) - {line.split()[1].split("@")[0] for line in symbols(LIBRARY).splitlines()}
    if missing:
        raise DevError(f"declared but not exported: {', '.join(sorted(missing))}")
    BASELINE.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(BASELINE / "include", ignore_errors=True)
    shutil.copytree(HEADERS, BASELINE / "include")
    (BASELINE / "layout.txt").write_text(layout(HEADERS))
    (BASELINE / "symbols.txt").write_text(symbols(LIBRARY))
    dump(LIBRARY, BASELINE / "libmerritt.abi")


def abi_check(words: list[str]) -> int:
    if words in (["--update"], ["--update", "--force-new"]):
        update("--force-new" in words)
        util.say(f"wrote {BASELINE.relative_to(util.ROOT)}")
        return 0
    if words:
        raise DevError("the only options are --update and, with it, --force-new")
    breaks, additions = check()
    for line in additions:
        util.say(f"added: {line}")
    for line in breaks:
        util.say(f"BROKEN: {line}")
    util.say(f"abi-check: {len(breaks)} broken, {len(additions)} added since {VERSION}")
    return 1 if breaks else 0

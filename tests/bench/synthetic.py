#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the seeded synthetic GGUF files that the other benchmarks read; prints their paths and sizes as JSON.

usage: ./dev bench synthetic [NAME...] [--folder FOLDER] [--vocabulary llama|gpt2] [--again]

NAME is SHAPE-TYPE, such as llama1b-q4_k_m; without names all of them are made. A file that is already there is kept when
its header is the one this version would write. Real weights cannot be had everywhere and do not change the speed: what
counts is sizes, types and finite activations of an ordinary range.
"""
from __future__ import annotations

import argparse
import json
import os
import pathlib
import struct
import sys
import zlib

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "sdk" / "cmake"), str(pathlib.Path(__file__).resolve().parent)]
from _gguf_blocks import FILE_TYPES, TYPES, draw_weights  # noqa: E402
from _gguf_shapes import ON_REQUEST, SHAPES, Shape, header_fields, llama3_rope_factors, tensors, type_of  # noqa: E402
from _gguf_vocabulary import VOCABULARIES  # noqa: E402
from dev import util  # noqa: E402

VERSION = 1  # of the files; a change makes them anew
SEED = 7
ALIGNMENT = 32
PIECE = 1 << 24  # weights drawn at a time
KINDS = {"u32": (4, "<I"), "i32": (5, "<i"), "f32": (6, "<f"), "bool": (7, "<?"), "string": (8, "")}


def names() -> list[str]:
    """Those that are made without being asked for."""
    return [f"{shape}-{kind}" for shape in SHAPES if shape not in ON_REQUEST for kind in FILE_TYPES]


def split_name(name: str) -> tuple[Shape, str]:
    shape, _, kind = name.partition("-")
    if shape not in SHAPES or kind not in FILE_TYPES:
        raise SystemExit(f"no synthetic model {name!r}; a name is one of {', '.join(SHAPES)}, a dash, and one of "
                         f"{', '.join(FILE_TYPES)}")
    return SHAPES[shape], kind


def default_folder() -> pathlib.Path:
    return util.deps_dir() / "bench-models"


def pack_string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def pack_field(key: str, kind: str, value: object) -> bytes:
    number, form = KINDS[kind]
    if isinstance(value, str):
        return pack_string(key) + struct.pack("<I", number) + pack_string(value)
    if isinstance(value, list):
        body = b"".join(map(pack_string, value)) if kind == "string" else struct.pack(f"<{len(value)}{form[1]}", *value)
        return pack_string(key) + struct.pack("<IIQ", 9, number, len(value)) + body
    return pack_string(key) + struct.pack("<I", number) + struct.pack(form, value)


def layout(shape: Shape, kind: str) -> list[tuple[str, tuple[int, ...], str, int]]:
    """(name, size, type, bytes) of every tensor."""
    out = []
    for name, size in tensors(shape):
        chosen = type_of(name, size, kind, shape.layers)
        _, per_block, block_bytes = TYPES[chosen]
        out.append((name, size, chosen, int(np.prod(size)) // per_block * block_bytes))
    return out


def header(shape: Shape, kind: str, vocabulary: str) -> bytes:
    """Everything before the tensors' data, padded."""
    fields = header_fields(shape)
    fields.insert(2, ("general.version", "string", f"synthetic {VERSION}, seed {SEED}"))
    fields.append(("general.file_type", "u32", FILE_TYPES[kind]))
    fields += VOCABULARIES[vocabulary](shape.vocab)
    placed = layout(shape, kind)
    out = [b"GGUF", struct.pack("<IQQ", 3, len(placed), len(fields))]
    out += [pack_field(*field) for field in fields]
    offset = 0
    for name, size, chosen, count in placed:
        out.append(pack_string(name) + struct.pack(f"<I{len(size)}QIQ", len(size), *size, TYPES[chosen][0], offset))
        offset += -(-count // ALIGNMENT) * ALIGNMENT
    raw = b"".join(out)
    return raw + b"\0" * (-len(raw) % ALIGNMENT)


def write_tensor(out, shape: Shape, name: str, size: tuple[int, ...], chosen: str) -> int:  # type: ignore[no-untyped-def]
    count = int(np.prod(size))
    if name == "rope_freqs.weight":
        return out.write(np.array(llama3_rope_factors(shape), "<f4"))
    if chosen == "f32":  # norms
        return out.write(np.ones(count, "<f4"))
    # Each tensor has its own stream, so that its codes do not depend on the others.
    rng = np.random.Generator(np.random.SFC64([SEED, zlib.crc32(name.encode())]))
    return sum(out.write(draw_weights(rng, chosen, min(PIECE, count - at))) for at in range(0, count, PIECE))


def ensure(name: str, folder: pathlib.Path | None = None, again: bool = False, vocabulary: str = "llama") -> pathlib.Path:
    """The file of that name, made when it is missing or another version's."""
    shape, kind = split_name(name)
    folder = folder or default_folder()
    path = folder / (f"{name}.gguf" if vocabulary == "llama" else f"{name}-{vocabulary}.gguf")
    head = header(shape, kind, vocabulary)
    whole = len(head) + sum(-(-count // ALIGNMENT) * ALIGNMENT for *_, count in layout(shape, kind))
    if not again and path.is_file() and path.stat().st_size == whole:
        with open(path, "rb") as file:
            if file.read(len(head)) == head:
                return path
    folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            file.write(head)
            for tensor, size, chosen, count in layout(shape, kind):
                written = write_tensor(file, shape, tensor, size, chosen)
                assert written == count, tensor
                file.write(b"\0" * (-written % ALIGNMENT))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--folder", type=pathlib.Path)
    parser.add_argument("--vocabulary", choices=tuple(VOCABULARIES), default="llama")
    parser.add_argument("--again", action="store_true", help="write the files even when they are there")
    args = parser.parse_args()
    for name in args.names:
        split_name(name)
    made = {}
    for name in args.names or names():
        path = ensure(name, args.folder, args.again, args.vocabulary)
        made[name] = {"path": str(path), "bytes": path.stat().st_size}
    print(json.dumps(made, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())

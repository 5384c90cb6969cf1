# SPDX-License-Identifier: Apache-2.0
"""The model of the Python and command line tests: stories260K when `./dev setup` has converted it, otherwise a seeded
random checkpoint of the same shape, so that the tests run in any checkout."""
from __future__ import annotations

import pathlib
import random
import struct
import subprocess
import sys
from array import array

ROOT = pathlib.Path(__file__).resolve().parents[2]
STORIES = ROOT / "models" / "stories260k.gguf"
GOLDEN = ROOT.parent / "shared" / "data" / "stories260K" / "golden_greedy_257.txt"


def write_checkpoint(path: pathlib.Path) -> None:
    """llama2.c version 0: dim 64, 172, 5 layers, 8 heads, 4 KV heads, vocabulary 512, context 512."""
    dim, hidden, layers, heads, kv_heads, vocab, context = 64, 172, 5, 8, 4, 512, 512
    kv = dim // heads * kv_heads
    draw = random.Random(260)
    norms, matrices = [1.0] * dim, lambda n: [draw.gauss(0, 0.08) for _ in range(n)]
    values = array("f", matrices(vocab * dim))
    values.extend(norms * layers)
    for size in (dim * dim, dim * kv, dim * kv, dim * dim):
        values.extend(matrices(size * layers))
    values.extend(norms * layers)
    for _ in range(3):
        values.extend(matrices(dim * hidden * layers))
    values.extend(norms)
    values.extend([0.0] * (context * (dim // heads)))
    path.write_bytes(struct.pack("<7i", dim, hidden, layers, heads, kv_heads, vocab, context) + values.tobytes())


def write_tokenizer(path: pathlib.Path) -> None:
    """<unk>, BOS, EOS, the 256 bytes, then printable characters and pairs of letters."""
    pieces = ["<unk>", "\n<s>\n", "\n</s>\n"] + [f"<0x{byte:02X}>" for byte in range(256)]
    pieces += [chr(code) for code in range(32, 127)]
    letters = "etaoinshrdlu"
    pieces += [a + b for a in letters for b in letters] + [" " + a for a in letters] + ["  "]
    pieces = pieces[:512] + [f"\u00e0{i}" for i in range(512 - len(pieces))]
    body = b""
    for index, piece in enumerate(pieces):
        raw = piece.encode()
        body += struct.pack("<fi", -float(index), len(raw)) + raw
    path.write_bytes(struct.pack("<i", 8) + body)


def model_path(folder: pathlib.Path) -> pathlib.Path:
    if STORIES.is_file():
        return STORIES
    out = folder / "tiny.gguf"
    write_checkpoint(folder / "tiny.bin")
    write_tokenizer(folder / "tiny_tokens.bin")
    script = ROOT / "tests" / "support" / "make_stories_gguf.py"
    subprocess.run([sys.executable, script, folder / "tiny.bin", folder / "tiny_tokens.bin", out], check=True)
    return out

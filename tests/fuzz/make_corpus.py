#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the seeds of fuzz_gguf, models of a few kilobytes that the reader accepts whole, or those of fuzz_chat_template,
the templates of tests/golden/chat_templates.json that render, a dozen a file, or that of fuzz_journal, a whole journal.

usage: make_corpus.py OUT_FOLDER
       make_corpus.py --templates OUT_FOLDER
       make_corpus.py --journal OUT_FOLDER"""
from __future__ import annotations

import json
import pathlib
import struct
import sys
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from make_stories_gguf import ALIGNMENT, BOOL, F32, I32, STRING, U32, pack_field, pack_string  # noqa: E402

DIM, HIDDEN, VOCAB = 8, 8, 12
TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"


def fields(architecture: str) -> list[tuple[str, int, object]]:
    pieces = ["<unk>", "<s>", "</s>", "<0x0A>", "\u2581", "a", "b", "\u2581a", "ab", "c", "e", "\u2581ab"]
    kinds = [2, 3, 3, 6] + [1] * (VOCAB - 4)
    p = architecture
    eps = "layer_norm_epsilon" if architecture == "cohere2" else "layer_norm_rms_epsilon"
    return [
        ("general.architecture", STRING, p), ("general.name", STRING, "seed"), ("general.alignment", U32, ALIGNMENT),
        (f"{p}.block_count", U32, 1), (f"{p}.context_length", U32, 64), (f"{p}.embedding_length", U32, DIM),
        (f"{p}.feed_forward_length", U32, HIDDEN), (f"{p}.attention.head_count", U32, 2),
        (f"{p}.attention.head_count_kv", U32, 1), (f"{p}.attention.key_length", U32, 4),
        (f"{p}.attention.value_length", U32, 4), (f"{p}.attention.{eps}", F32, 1e-5),
        (f"{p}.attention.sliding_window", U32, 16), (f"{p}.rope.dimension_count", U32, 4),
        (f"{p}.rope.freq_base", F32, 10000.0), ("tokenizer.ggml.model", STRING, "llama"),
        ("tokenizer.ggml.tokens", STRING, pieces), ("tokenizer.ggml.scores", F32, [-float(i) for i in range(VOCAB)]),
        ("tokenizer.ggml.token_type", I32, kinds), ("tokenizer.ggml.bos_token_id", U32, 1),
        ("tokenizer.ggml.eos_token_id", U32, 2), ("tokenizer.ggml.unknown_token_id", U32, 0),
        ("tokenizer.ggml.add_bos_token", BOOL, True), ("tokenizer.chat_template", STRING, TEMPLATE),
    ]


def tensors(architecture: str) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (DIM, VOCAB), "output_norm.weight": (DIM,)}
    layer = {"attn_norm": (DIM,), "attn_q": (DIM, 8), "attn_k": (DIM, 4), "attn_v": (DIM, 4), "attn_output": (8, DIM),
             "ffn_norm": (DIM,), "ffn_gate": (DIM, HIDDEN), "ffn_up": (DIM, HIDDEN), "ffn_down": (HIDDEN, DIM)}
    if architecture in ("gemma3", "qwen3"):
        layer |= {"attn_q_norm": (4,), "attn_k_norm": (4,)}
    if architecture == "gemma3":
        layer |= {"post_attention_norm": (DIM,), "post_ffw_norm": (DIM,)}
    if architecture == "cohere2":
        del layer["ffn_norm"]
    return shapes | {f"blk.0.{name}.weight": shape for name, shape in layer.items()}


def gguf(architecture: str) -> bytes:
    described, listed = fields(architecture), tensors(architecture)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(listed), len(described))
    head += b"".join(pack_field(*field) for field in described)
    offset = 0
    for name, shape in listed.items():
        head += pack_string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, offset)
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        offset += (4 * count + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
    return head + b"\0" * (-len(head) % ALIGNMENT) + b"\0" * offset


def write_templates(folder: pathlib.Path, per_file: int = 12) -> None:
    goldens = json.loads((pathlib.Path(__file__).resolve().parents[1] / "golden" / "chat_templates.json").read_text())
    texts = list(dict.fromkeys(each["template"] for each in goldens["templates"] if each["expected"] is not None))
    for i in range(0, len(texts), per_file):
        (folder / f"goldens_{i // per_file:02d}.jinja").write_bytes("\n".join(texts[i:i + per_file]).encode())


def journal(counters: int = 30) -> bytes:
    """Two records, of one tenant and of two; the layout is in sdk/src/tenant/journal_format.hpp."""
    head = b"MRTUSAGE" + struct.pack("<IIQ", 1, counters, 0)
    file = head + struct.pack("<II", zlib.crc32(head), 0)
    for number, names in enumerate(((b"acme",), (b"acme", b"globex")), 1):
        entries = b"".join(struct.pack(f"<II64s{counters}Q", len(name), i, name, *range(counters))
                           for i, name in enumerate(names, 1))
        start = struct.pack("<4sIQQ", b"MTRC", len(names), number, 1_700_000_000)
        start += struct.pack("<I", zlib.crc32(start))
        file += start + struct.pack("<I", zlib.crc32(start + entries)) + entries
    return file


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--journal":
        (pathlib.Path(sys.argv[2]) / "two_records.journal").write_bytes(journal())
        raise SystemExit(0)
    if len(sys.argv) == 3 and sys.argv[1] == "--templates":
        write_templates(pathlib.Path(sys.argv[2]))
        raise SystemExit(0)
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("llama", "gemma3", "qwen3", "cohere2"):
        (folder / f"{name}.gguf").write_bytes(gguf(name))

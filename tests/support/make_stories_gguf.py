#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Converts a llama2.c checkpoint and its tokenizer to a GGUF v3 file (llama architecture, F32, SPM vocabulary).

usage: make_stories_gguf.py CHECKPOINT.bin TOKENIZER.bin OUT.gguf

Standard library only. llama2.c rotates adjacent pairs, which is the GGUF llama convention too, so Q and K are copied
as they are. The embedding is the output matrix unless the checkpoint carries one of its own (negative vocab size)."""
from __future__ import annotations

import os
import struct
import sys
from array import array

GGUF_VERSION = 3
ALIGNMENT = 32
U32, F32, BOOL, STRING, ARRAY, I32 = 4, 6, 7, 8, 9, 5
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
WORD_START = "\u2581"


def read_checkpoint(path: str) -> tuple[dict[str, int], dict[str, tuple[tuple[int, ...], array]]]:
    """Header fields, and tensors by GGUF name as (shape with the fastest dimension first, values)."""
    with open(path, "rb") as handle:
        data = handle.read()
    names = ("dim", "hidden", "layers", "heads", "kv_heads", "vocab", "context")
    header = dict(zip(names, struct.unpack_from("<7i", data)))
    own_output = header["vocab"] < 0
    header["vocab"] = abs(header["vocab"])
    dim, hidden, vocab = header["dim"], header["hidden"], header["vocab"]
    head = dim // header["heads"]
    kv_dim = head * header["kv_heads"]
    position = 28

    def take(count: int) -> array:
        nonlocal position
        values = array("f")
        values.frombytes(data[position:position + 4 * count])
        if len(values) != count:
            raise SystemExit(f"{path}: ends at byte {len(data)}, {count} floats expected at {position}")
        if sys.byteorder == "big":
            values.byteswap()
        position += 4 * count
        return values

    tensors: dict[str, tuple[tuple[int, ...], array]] = {"token_embd.weight": ((dim, vocab), take(dim * vocab))}
    per_layer = (("attn_norm", (dim,)), ("attn_q", (dim, dim)), ("attn_k", (dim, kv_dim)), ("attn_v", (dim, kv_dim)),
                 ("attn_output", (dim, dim)), ("ffn_norm", (dim,)), ("ffn_gate", (dim, hidden)),
                 ("ffn_down", (hidden, dim)), ("ffn_up", (dim, hidden)))
    for name, shape in per_layer:
        size = shape[0] * (shape[1] if len(shape) > 1 else 1)
        for layer in range(header["layers"]):
            tensors[f"blk.{layer}.{name}.weight"] = (shape, take(size))
    tensors["output_norm.weight"] = ((dim,), take(dim))
    take(header["context"] * head)  # the rotation table, which every engine computes itself
    if own_output:
        tensors["output.weight"] = ((dim, vocab), take(dim * vocab))
    if position != len(data):
        raise SystemExit(f"{path}: {len(data) - position} bytes left over; not a llama2.c version 0 checkpoint")
    return header, tensors


def read_tokenizer(path: str, vocab: int) -> tuple[list[bytes], list[float], list[int]]:
    """Pieces with the SPM word mark restored, scores, and GGUF token types."""
    with open(path, "rb") as handle:
        data = handle.read()
    position = 4
    pieces, scores, kinds = [], [], []
    for index in range(vocab):
        score, length = struct.unpack_from("<fi", data, position)
        piece = data[position + 8:position + 8 + length]
        position += 8 + length
        kind = NORMAL
        if index == 0:
            kind = UNKNOWN
        elif index in (1, 2):
            kind, piece = CONTROL, piece.strip()  # written as "\n<s>\n"
        elif len(piece) == 6 and piece.startswith(b"<0x") and piece.endswith(b">"):
            kind = BYTE
        else:
            piece = piece.replace(b" ", WORD_START.encode())
        pieces.append(piece)
        scores.append(score)
        kinds.append(kind)
    if position != len(data):
        raise SystemExit(f"{path}: {len(data) - position} bytes left over after {vocab} tokens")
    return pieces, scores, kinds


def pack_string(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw)) + raw


def pack_value(kind: int, value: object) -> bytes:
    if kind == STRING:
        return pack_string(value)  # type: ignore[arg-type]
    return struct.pack({U32: "<I", F32: "<f", BOOL: "<?", I32: "<i"}[kind], value)


def pack_field(key: str, kind: int, value: object) -> bytes:
    if isinstance(value, list):
        body = b"".join(pack_value(kind, item) for item in value)
        return pack_string(key) + struct.pack("<IIQ", ARRAY, kind, len(value)) + body
    return pack_string(key) + struct.pack("<I", kind) + pack_value(kind, value)


def main(checkpoint: str, tokenizer: str, out: str) -> None:
    header, tensors = read_checkpoint(checkpoint)
    pieces, scores, kinds = read_tokenizer(tokenizer, header["vocab"])
    fields = [
        ("general.architecture", STRING, "llama"),
        ("general.name", STRING, "stories260K"),
        ("general.alignment", U32, ALIGNMENT),
        ("general.file_type", U32, 0),
        ("llama.block_count", U32, header["layers"]),
        ("llama.context_length", U32, header["context"]),
        ("llama.embedding_length", U32, header["dim"]),
        ("llama.feed_forward_length", U32, header["hidden"]),
        ("llama.attention.head_count", U32, header["heads"]),
        ("llama.attention.head_count_kv", U32, header["kv_heads"]),
        ("llama.attention.layer_norm_rms_epsilon", F32, 1e-5),
        ("llama.rope.dimension_count", U32, header["dim"] // header["heads"]),
        ("llama.rope.freq_base", F32, 10000.0),
        ("llama.vocab_size", U32, header["vocab"]),
        ("tokenizer.ggml.model", STRING, "llama"),
        ("tokenizer.ggml.pre", STRING, "default"),
        ("tokenizer.ggml.tokens", STRING, pieces),
        ("tokenizer.ggml.scores", F32, scores),
        ("tokenizer.ggml.token_type", I32, kinds),
        ("tokenizer.ggml.bos_token_id", U32, 1),
        ("tokenizer.ggml.eos_token_id", U32, 2),
        ("tokenizer.ggml.unknown_token_id", U32, 0),
        ("tokenizer.ggml.add_bos_token", BOOL, True),
        ("tokenizer.ggml.add_eos_token", BOOL, False),
    ]
    head = b"GGUF" + struct.pack("<IQQ", GGUF_VERSION, len(tensors), len(fields))
    head += b"".join(pack_field(*field) for field in fields)
    offset = 0
    for name, (shape, values) in tensors.items():
        head += pack_string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, offset)
        offset += (4 * len(values) + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
    temporary = f"{out}.part"
    with open(temporary, "wb") as handle:
        handle.write(head)
        handle.write(b"\0" * (-len(head) % ALIGNMENT))
        for _, values in tensors.values():
            if sys.byteorder == "big":
                values.byteswap()
            raw = values.tobytes()
            handle.write(raw + b"\0" * (-len(raw) % ALIGNMENT))
    os.replace(temporary, out)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])

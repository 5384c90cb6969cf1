# SPDX-License-Identifier: Apache-2.0
"""The shapes that are measured: sizes, header fields, tensor names, and the type each tensor has in a quantised file."""
from __future__ import annotations

import dataclasses
import math

from _gguf_blocks import TYPES


@dataclasses.dataclass(frozen=True)
class Shape:
    arch: str
    full_name: str
    layers: int
    width: int
    inner: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    context: int
    rope_base: float
    eps: float
    window: int = 0
    period: int = 6  # every so-manyth layer has no window

    def kv_bytes(self, depth: int, bytes_each: int = 2) -> int:
        """KV bytes that a token at this depth reads."""
        per_token = 2 * self.kv_heads * self.head_dim * bytes_each
        local = 0 if not self.window else sum(1 for i in range(self.layers) if (i + 1) % self.period != 0)
        return per_token * ((self.layers - local) * depth + local * min(depth, self.window))

    def matrix_weights(self) -> int:
        """Weights in the layers' matrices, that is without embedding and head: each costs a prompt token 2 FLOP."""
        return sum(rows * cols for name, (cols, *rest) in tensors(self) for rows in rest if name.startswith("blk."))


SHAPES = {
    "llama1b": Shape("llama", "Llama-3.2-1B shape", 16, 2048, 8192, 32, 8, 64, 128256, 131072, 500000.0, 1e-5),
    "qwen06b": Shape("qwen3", "Qwen3-0.6B shape", 28, 1024, 3072, 16, 8, 128, 151936, 40960, 1000000.0, 1e-6),
    "gemma270m": Shape("gemma3", "Gemma-3-270M shape", 18, 640, 2048, 4, 1, 256, 262144, 32768, 1000000.0, 1e-6, 512),
    "command7b": Shape("cohere2", "Command R7B shape", 32, 4096, 14336, 32, 8, 128, 256000, 8192, 50000.0, 1e-5, 4096, 4),
}
ON_REQUEST = ("command7b",)  # 5 GB and more: made only by name


def tensors(shape: Shape) -> list[tuple[str, tuple[int, ...]]]:
    """Names and sizes (fastest first), in the order of the file."""
    q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    out: list[tuple[str, tuple[int, ...]]] = [("token_embd.weight", (shape.width, shape.vocab))]
    if shape.arch == "llama":
        out.append(("rope_freqs.weight", (shape.head_dim // 2,)))
    layer: list[tuple[str, tuple[int, ...]]] = [
        ("attn_norm", (shape.width,)), ("attn_q", (shape.width, q)), ("attn_k", (shape.width, kv)),
        ("attn_v", (shape.width, kv)), ("attn_output", (q, shape.width)), ("ffn_norm", (shape.width,)),
        ("ffn_gate", (shape.width, shape.inner)), ("ffn_up", (shape.width, shape.inner)),
        ("ffn_down", (shape.inner, shape.width))]
    if shape.arch == "cohere2":  # both halves of a block see the same norm
        layer = [entry for entry in layer if entry[0] != "ffn_norm"]
    if shape.arch in ("qwen3", "gemma3"):
        layer += [("attn_q_norm", (shape.head_dim,)), ("attn_k_norm", (shape.head_dim,))]
    if shape.arch == "gemma3":
        layer += [("post_attention_norm", (shape.width,)), ("post_ffw_norm", (shape.width,))]
    out += [(f"blk.{i}.{name}.weight", size) for i in range(shape.layers) for name, size in layer]
    return [*out, ("output_norm.weight", (shape.width,))]


def more_bits(layer: int, layers: int) -> bool:
    """Where the "M" mixes of K-quants spend more: the first and last eighth, and every third layer between."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def type_of(name: str, size: tuple[int, ...], kind: str, layers: int) -> str:
    """The type llama.cpp's quantiser chooses for a tensor of a file with a tied head."""
    if len(size) == 1:
        return "f32"
    if kind in ("bf16", "q8_0"):
        return kind
    head = name == "token_embd.weight"
    if head:
        return "q6_k" if size[0] % 256 == 0 else "q8_0"
    if kind == "q4_0":
        return "q4_0"
    part = name.split(".")
    chosen = "q6_k" if part[2] in ("attn_v", "ffn_down") and more_bits(int(part[1]), layers) else "q4_k"
    if size[0] % TYPES[chosen][1] != 0:  # K-quants need rows of whole 256s
        return {"q4_k": "q5_0", "q6_k": "q8_0"}[chosen]
    return chosen


def llama3_rope_factors(shape: Shape) -> list[float]:
    """Llama 3.1's stretching of slow rotations: factor 32 beyond wavelengths of 8192, none below 2048."""
    factors = []
    for i in range(shape.head_dim // 2):
        wave = 2 * math.pi * shape.rope_base ** (2 * i / shape.head_dim)
        smooth = (8192 / wave - 1) / (4 - 1)
        factors.append(1.0 if wave < 8192 / 4 else 32.0 if wave > 8192 else 1 / ((1 - smooth) / 32 + smooth))
    return factors


def header_fields(shape: Shape) -> list[tuple[str, str, object]]:
    """(key, kind, value) of everything but the tokenizer."""
    arch = shape.arch
    fields: list[tuple[str, str, object]] = [
        ("general.architecture", "string", arch),
        ("general.name", "string", shape.full_name),
        (f"{arch}.block_count", "u32", shape.layers),
        (f"{arch}.context_length", "u32", shape.context),
        (f"{arch}.embedding_length", "u32", shape.width),
        (f"{arch}.feed_forward_length", "u32", shape.inner),
        (f"{arch}.attention.head_count", "u32", shape.heads),
        (f"{arch}.attention.head_count_kv", "u32", shape.kv_heads),
        (f"{arch}.attention.key_length", "u32", shape.head_dim),
        (f"{arch}.attention.value_length", "u32", shape.head_dim),
        (f"{arch}.attention.layer_norm_rms_epsilon", "f32", shape.eps),
        (f"{arch}.rope.dimension_count", "u32", shape.head_dim),
        (f"{arch}.rope.freq_base", "f32", shape.rope_base),
        (f"{arch}.vocab_size", "u32", shape.vocab),
    ]
    if shape.window:
        fields.append((f"{arch}.attention.sliding_window", "u32", shape.window))
    if arch == "cohere2":
        fields += [(f"{arch}.attention.layer_norm_epsilon", "f32", shape.eps), (f"{arch}.logit_scale", "f32", 0.25)]
    return fields

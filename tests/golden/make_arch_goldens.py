#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Logits of the tiny models of tests/support/tiny_gguf.hpp, computed from the equations of Hugging Face transformers.

usage: make_arch_goldens.py [--check DIR] OUT.json

Weights are made here again from their names and the seed; nothing of Merritt is read or run. The forward passes follow
transformers' LlamaForCausalLM, Gemma3ForCausalLM, Qwen3ForCausalLM and Cohere2ForCausalLM in float64: q and k in transformers' own layout
(a llama file interleaves the halves of each head, which is undone first), rotate_half with cosines over both halves,
Gemma's norms as x * (1 + w) with w one less than in the file, an additive mask. With --check, DIR holds the same models
as files (NAME.gguf) and llama-cpp-python compares its logits with these."""
from __future__ import annotations

import argparse
import json
import pathlib

import numpy as np

MASK64 = (1 << 64) - 1
VOCABULARY = 320
TOKENS = [2, 262, 275, 300, 17, 99, 264, 280, 290, 301] * 4   # longer than the window of 16
ROWS = [0, 1, 16, 39]

CASES = {
    "gemma3": {"architecture": "gemma3", "seed": 1},
    "gemma3_linear": {"architecture": "gemma3", "seed": 2, "rope_linear": 8.0, "kv_heads": 1, "layers": 7},
    "llama": {"architecture": "llama", "seed": 3, "layers": 3},
    "llama_factors": {"architecture": "llama", "seed": 4, "layers": 3, "rope_freqs": True, "tied_output": False,
                      "kv_heads": 4},
    "llama_linear": {"architecture": "llama", "seed": 5, "layers": 2, "rope_linear": 4.0},
    "qwen3": {"architecture": "qwen3", "seed": 6, "layers": 3},
    "cohere2": {"architecture": "cohere2", "seed": 7, "layers": 5},
}
DEFAULTS = {"layers": 8, "width": 64, "inner": 128, "heads": 4, "kv_heads": 2, "head_dim": 32, "window": 16,
            "rope_linear": 0.0, "rope_freqs": False, "tied_output": True}


def noise(seed: int, name: str, shape: tuple[int, ...], scale: float) -> np.ndarray:
    """Numbers in (-scale, scale), rounded to f32 as the file has them."""
    state = (seed * 0x9E3779B97F4A7C15) & MASK64
    for byte in name.encode():
        state = ((state ^ byte) * 0x100000001B3) & MASK64
    count = int(np.prod(shape))
    with np.errstate(over="ignore"):
        z = np.uint64(state) + np.uint64(0x9E3779B97F4A7C15) * np.arange(1, count + 1, dtype=np.uint64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    unit = (z >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)
    return (unit * np.float32(scale)).reshape(shape)


class Model:
    """The state dict of one case, in transformers' layout: weight [out, in]."""

    def __init__(self, case: dict) -> None:
        self.__dict__.update(DEFAULTS | case)
        self.gemma = self.architecture == "gemma3"
        self.llama = self.architecture == "llama"
        self.cohere = self.architecture == "cohere2"
        self.eps = float(np.float32(1e-6))

    def linear(self, name: str, size_in: int, size_out: int) -> np.ndarray:
        scale = np.float32(1.75) / np.sqrt(np.float32(size_in))
        return noise(self.seed, name, (size_out, size_in), scale).astype(np.float64)

    def norm(self, name: str, size: int) -> np.ndarray:
        return (noise(self.seed, name, (size,), 0.25) + np.float32(1)).astype(np.float64)

    def embedding(self, name: str = "token_embd.weight") -> np.ndarray:
        return noise(self.seed, name, (VOCABULARY, self.width), 0.5).astype(np.float64)


def rms_norm(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * weight


def gemma_norm(x: np.ndarray, file_weight: np.ndarray, eps: float) -> np.ndarray:
    """Gemma3RMSNorm: its parameter starts at zero, and the file carries parameter + 1."""
    parameter = file_weight - 1.0
    return x * (1.0 / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps)) * (1.0 + parameter)


def cohere_norm(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    """Cohere2LayerNorm: about the mean, no bias."""
    centred = x - x.mean(axis=-1, keepdims=True)
    return weight * centred / np.sqrt(np.mean(centred * centred, axis=-1, keepdims=True) + eps)


def unpermute(weight: np.ndarray, heads: int) -> np.ndarray:
    """Undoes the conversion's permute: per head [half, 2] rows back to [2, half]."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def rotate_half(x: np.ndarray) -> np.ndarray:
    half = x.shape[-1] // 2
    return np.concatenate((-x[..., half:], x[..., :half]), axis=-1)


def apply_rotary(x: np.ndarray, inverse_frequencies: np.ndarray) -> np.ndarray:
    """x: [heads, tokens, dim]."""
    angles = np.arange(x.shape[1])[:, None] * inverse_frequencies[None, :]
    angles = np.concatenate((angles, angles), axis=-1)
    return x * np.cos(angles) + rotate_half(x) * np.sin(angles)


def apply_rotary_pairs(x: np.ndarray, inverse_frequencies: np.ndarray) -> np.ndarray:
    """Cohere2: repeat_interleave of the angles, and a rotate_half that swaps neighbours."""
    angles = np.repeat(np.arange(x.shape[1])[:, None] * inverse_frequencies[None, :], 2, axis=-1)
    swapped = np.stack((-x[..., 1::2], x[..., ::2]), axis=-1).reshape(x.shape)
    return x * np.cos(angles) + swapped * np.sin(angles)


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1.0 + np.exp(-x))


def gelu_pytorch_tanh(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3)))


def causal_mask(tokens: int, window: int | None) -> np.ndarray:
    """0 where key j may be seen by query i, else -inf. transformers' sliding overlay: j > i - window."""
    i, j = np.arange(tokens)[:, None], np.arange(tokens)[None, :]
    seen = j <= i
    if window is not None:
        seen &= j > i - window
    return np.where(seen, 0.0, -np.inf)


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, scaling: float, mask: np.ndarray) -> np.ndarray:
    """eager_attention_forward; q [heads, n, d], k and v [kv heads, n, d]."""
    repeat = q.shape[0] // k.shape[0]
    k, v = np.repeat(k, repeat, axis=0), np.repeat(v, repeat, axis=0)
    scores = q @ k.transpose(0, 2, 1) * scaling + mask
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return (scores / scores.sum(axis=-1, keepdims=True)) @ v


def is_sliding(m: Model, layer: int) -> bool:
    """layer_types of Gemma3TextConfig with sliding_window_pattern 6, of Cohere2Config with 4."""
    return (m.gemma and (layer + 1) % 6 != 0) or (m.cohere and (layer + 1) % 4 != 0)


def inverse_frequencies(m: Model, layer: int) -> np.ndarray:
    exponent = np.arange(0, m.head_dim, 2) / m.head_dim
    if m.cohere:
        return 1.0 / 50000.0**exponent
    if is_sliding(m, layer):
        return 1.0 / 10000.0**exponent           # rope_local_base_freq, never scaled
    base = 10000.0 if m.llama else 1000000.0
    result = 1.0 / base**exponent
    if m.rope_linear:
        result /= m.rope_linear
    if m.rope_freqs:
        result /= (noise(m.seed, "rope_freqs.weight", (m.head_dim // 2,), 1.0) + np.float32(2)).astype(np.float64)
    return result


def cohere_layer(m: Model, x: np.ndarray, layer: int) -> np.ndarray:
    """Cohere2DecoderLayer: attention and feed-forward of one norm, side by side."""
    blk = f"blk.{layer}."
    tokens = x.shape[0]
    h = cohere_norm(x, m.norm(blk + "attn_norm.weight", m.width), m.eps)

    def heads_of(name: str, heads: int) -> np.ndarray:
        weight = m.linear(f"{blk}attn_{name}.weight", m.width, heads * m.head_dim)
        return (h @ weight.T).reshape(tokens, heads, m.head_dim).transpose(1, 0, 2)

    q, k, v = heads_of("q", m.heads), heads_of("k", m.kv_heads), heads_of("v", m.kv_heads)
    sliding = is_sliding(m, layer)
    if sliding:
        frequencies = inverse_frequencies(m, layer)
        q, k = apply_rotary_pairs(q, frequencies), apply_rotary_pairs(k, frequencies)
    out = attention(q, k, v, m.head_dim**-0.5, causal_mask(tokens, m.window if sliding else None))
    out = out.transpose(1, 0, 2).reshape(tokens, -1)
    attended = out @ m.linear(blk + "attn_output.weight", m.heads * m.head_dim, m.width).T
    inner = silu(h @ m.linear(blk + "ffn_gate.weight", m.width, m.inner).T)
    inner = inner * (h @ m.linear(blk + "ffn_up.weight", m.width, m.inner).T)
    return x + attended + inner @ m.linear(blk + "ffn_down.weight", m.inner, m.width).T


def decoder_layer(m: Model, x: np.ndarray, layer: int) -> np.ndarray:
    blk = f"blk.{layer}."
    normalise = gemma_norm if m.gemma else rms_norm
    tokens = x.shape[0]

    def heads_of(name: str, heads: int, h: np.ndarray) -> np.ndarray:
        weight = m.linear(f"{blk}attn_{name}.weight", m.width, heads * m.head_dim)
        if m.llama and name in "qk":
            weight = unpermute(weight, heads)
        return (h @ weight.T).reshape(tokens, heads, m.head_dim).transpose(1, 0, 2)

    h = normalise(x, m.norm(blk + "attn_norm.weight", m.width), m.eps)
    q, k, v = heads_of("q", m.heads, h), heads_of("k", m.kv_heads, h), heads_of("v", m.kv_heads, h)
    if not m.llama:
        q = normalise(q, m.norm(blk + "attn_q_norm.weight", m.head_dim), m.eps)
        k = normalise(k, m.norm(blk + "attn_k_norm.weight", m.head_dim), m.eps)
    frequencies = inverse_frequencies(m, layer)
    q, k = apply_rotary(q, frequencies), apply_rotary(k, frequencies)
    mask = causal_mask(tokens, m.window if is_sliding(m, layer) else None)
    out = attention(q, k, v, m.head_dim**-0.5, mask).transpose(1, 0, 2).reshape(tokens, -1)
    out = out @ m.linear(blk + "attn_output.weight", m.heads * m.head_dim, m.width).T
    if m.gemma:
        out = normalise(out, m.norm(blk + "post_attention_norm.weight", m.width), m.eps)
    x = x + out

    h = normalise(x, m.norm(blk + "ffn_norm.weight", m.width), m.eps)
    act = gelu_pytorch_tanh if m.gemma else silu
    inner = act(h @ m.linear(blk + "ffn_gate.weight", m.width, m.inner).T)
    inner = inner * (h @ m.linear(blk + "ffn_up.weight", m.width, m.inner).T)
    out = inner @ m.linear(blk + "ffn_down.weight", m.inner, m.width).T
    if m.gemma:
        out = normalise(out, m.norm(blk + "post_ffw_norm.weight", m.width), m.eps)
    return x + out


def forward(m: Model) -> np.ndarray:
    table = m.embedding()
    x = table[TOKENS] * (np.sqrt(m.width) if m.gemma else 1.0)
    for layer in range(m.layers):
        x = (cohere_layer if m.cohere else decoder_layer)(m, x, layer)
    normalise = gemma_norm if m.gemma else cohere_norm if m.cohere else rms_norm
    x = normalise(x, m.norm("output_norm.weight", m.width), m.eps)
    return x @ (table if m.tied_output else m.embedding("output.weight")).T * (0.25 if m.cohere else 1.0)


def check_with_llama_cpp(path: pathlib.Path, expected: np.ndarray) -> None:
    from llama_cpp import Llama

    llama = Llama(str(path), n_ctx=64, logits_all=True, n_threads=1, verbose=False)
    llama.eval(TOKENS)
    got = np.array(llama.scores[:len(TOKENS)], dtype=np.float64)
    print(f"{path.stem}: largest difference from llama.cpp {np.abs(got - expected).max():.2e}, "
          f"logits up to {np.abs(expected).max():.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", type=pathlib.Path, metavar="DIR")
    parser.add_argument("out", type=pathlib.Path)
    options = parser.parse_args()
    goldens = []
    for name, case in CASES.items():
        logits = forward(Model(case))
        if options.check:
            check_with_llama_cpp(options.check / f"{name}.gguf", logits)
        rows = [[float(f"{value:.6g}") for value in logits[row]] for row in ROWS]
        goldens.append({"name": name, "model": DEFAULTS | case, "tokens": TOKENS, "rows": ROWS, "logits": rows})
    lines = ",\n".join(json.dumps(golden, separators=(",", ":")) for golden in goldens)
    options.out.write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Random weights in GGUF's tensor types, made as blocks: codes are drawn, scales are set for the wanted spread.

Every type's values have mean 0 and standard deviation kStd. The mean matters: the codes of Q4_0, Q5_0 and Q6_K run from
-2^n to 2^n - 1, and half a step of offset in every weight would outweigh everything else in a long sum. So scales carry
a random sign there, and the minimum of Q4_K lies in the middle of its codes.
"""
from __future__ import annotations

import numpy as np

STD = 0.02
# Type number, weights in a block, bytes of a block.
TYPES = {"f32": (0, 1, 4), "q4_0": (2, 32, 18), "q5_0": (6, 32, 22), "q8_0": (8, 32, 34), "q4_k": (12, 256, 144),
         "q6_k": (14, 256, 210), "bf16": (30, 1, 2)}
FILE_TYPES = {"bf16": 32, "q8_0": 7, "q4_0": 2, "q4_k_m": 15}  # general.file_type, as llama.cpp numbers them


def spread_of(codes: int) -> float:
    """The standard deviation of a whole number drawn from `codes` adjacent ones."""
    return float(np.sqrt((codes * codes - 1) / 12))


def draw_bytes(rng: np.random.Generator, rows: int, cols: int) -> np.ndarray:
    words = rng.integers(0, 1 << 64, (rows * cols + 7) // 8, dtype=np.uint64)
    return words.view(np.uint8)[: rows * cols].reshape(rows, cols)


def draw_scales(rng: np.random.Generator, count: int, middle: float, signed: bool) -> np.ndarray:
    """f16 scales within a fifth of `middle`, as bytes."""
    scales = middle * rng.uniform(0.8, 1.2, count).astype(np.float32)
    if signed:
        scales *= 1 - 2 * rng.integers(0, 2, count, dtype=np.int8)
    return scales.astype("<f2").reshape(count, 1).view(np.uint8)


def simple_blocks(rng: np.random.Generator, count: int, kind: str) -> np.ndarray:
    """Q4_0, Q5_0 and Q8_0: one scale, then codes."""
    bits = {"q4_0": 4, "q5_0": 5, "q8_0": 8}[kind]
    blocks = np.empty((count, TYPES[kind][2]), np.uint8)
    blocks[:, :2] = draw_scales(rng, count, STD / spread_of(1 << bits), signed=True)
    blocks[:, 2:] = draw_bytes(rng, count, TYPES[kind][2] - 2)
    return blocks


def q4_k_blocks(rng: np.random.Generator, count: int) -> np.ndarray:
    """d, dmin, eight scales and eight minima of 6 bits in 12 bytes, 256 codes; value = d scale code - dmin min."""
    blocks = np.empty((count, 144), np.uint8)
    d = (STD / (52 * spread_of(16)) * rng.uniform(0.8, 1.2, count)).astype("<f2")
    blocks[:, 0:2] = d.reshape(count, 1).view(np.uint8)
    blocks[:, 2:4] = (7.5 * d.astype(np.float32)).astype("<f2").reshape(count, 1).view(np.uint8)
    scale = rng.integers(41, 64, (count, 8), dtype=np.uint8)  # and the minimum is the same number
    low, high = scale[:, :4], scale[:, 4:]
    blocks[:, 4:8] = blocks[:, 8:12] = low | (high >> 4) << 6
    blocks[:, 12:16] = (high & 15) | (high & 15) << 4
    blocks[:, 16:] = draw_bytes(rng, count, 128)
    return blocks


def q6_k_blocks(rng: np.random.Generator, count: int) -> np.ndarray:
    """Low and high bits of 256 codes, sixteen signed scales of 8 bits, d; value = d scale (code - 32)."""
    blocks = np.empty((count, 210), np.uint8)
    blocks[:, :192] = draw_bytes(rng, count, 192)
    scale = rng.integers(40, 81, (count, 16), dtype=np.int8) * (1 - 2 * rng.integers(0, 2, (count, 16), dtype=np.int8))
    blocks[:, 192:208] = scale.view(np.uint8)
    blocks[:, 208:] = draw_scales(rng, count, STD / (61 * spread_of(64)), signed=False)
    return blocks


def bf16_table() -> np.ndarray:
    """65536 normal numbers, evenly by rank: a normal draw is then a look-up, several times as fast as drawing it."""
    rank = (np.arange(1 << 15) + 0.5) / (1 << 15)  # of the positive half
    # |z| from its rank by Newton on the error function's series would need scipy; sorted draws are as good.
    draws = np.sort(np.abs(np.random.default_rng(1).standard_normal(1 << 20)))
    half = np.interp(rank, (np.arange(draws.size) + 0.5) / draws.size, draws)
    values = np.concatenate([half, -half]).astype(np.float32)
    values *= STD / values.std()
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2")


BF16_TABLE = bf16_table()


def draw_weights(rng: np.random.Generator, kind: str, count: int) -> np.ndarray:
    """`count` weights of a type as bytes; `count` must be whole blocks."""
    _, per_block, _ = TYPES[kind]
    blocks = count // per_block
    if kind == "bf16":
        return BF16_TABLE[draw_bytes(rng, count, 2).view(np.uint16)].view(np.uint8)
    if kind == "q4_k":
        return q4_k_blocks(rng, blocks)
    if kind == "q6_k":
        return q6_k_blocks(rng, blocks)
    return simple_blocks(rng, blocks, kind)

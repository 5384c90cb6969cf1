#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Random blocks of every GGUF weight type and the f32 values the `gguf` package (gguf-py) makes of them.

Writes quants.json beside this file: per type the bytes and the values, both as hex of little-endian data.
Needs numpy and gguf. Run: python make_quant_goldens.py
"""
import json
import pathlib

import numpy as np
from gguf import GGMLQuantizationType as T
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize

TYPES = [T.F32, T.F16, T.BF16, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.Q2_K, T.Q3_K, T.Q4_K, T.Q5_K, T.Q6_K, T.IQ4_NL]
# Byte offsets of the half-precision scales in a block: random bits there would make infinities.
SCALES = {T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q2_K: [80, 82], T.Q3_K: [108],
          T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208], T.IQ4_NL: [0]}


def blocks(rng, kind):
    elements, size = GGML_QUANT_SIZES[kind]
    if elements == 1:
        values = rng.standard_normal(24).astype(np.float32)
        if kind == T.F32:
            return values.view(np.uint8)
        if kind == T.F16:
            small = np.array([0.0, -0.0, 6e-8, -3e-6, 65504.0], np.float16)
            return np.concatenate([values.astype(np.float16), small]).view(np.uint8)
        return (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
    data = rng.integers(0, 256, (2, size), dtype=np.uint8)
    for row in data:
        for at in SCALES[kind]:
            row[at:at + 2] = np.array([rng.uniform(-0.1, 0.1)], np.float16).view(np.uint8)
    return data.reshape(-1)


def main():
    rng = np.random.default_rng(20240607)
    out = []
    for kind in TYPES:
        data = blocks(rng, kind)
        values = dequantize(data.view(np.float32) if kind == T.F32 else data.view(np.float16) if kind == T.F16 else data,
                            kind).astype("<f4").reshape(-1)
        out.append({"type": int(kind), "name": kind.name, "bytes": data.tobytes().hex(), "values": values.tobytes().hex()})
    path = pathlib.Path(__file__).with_name("quants.json")
    path.write_text(json.dumps(out, indent=0) + "\n")
    print(path, path.stat().st_size)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""The synthetic GGUF files of the benchmarks: headers that Merritt reads, the types llama.cpp would choose, and weights of
the wanted spread. Whole files take gigabytes, so that shapes are shrunk or only headers are written."""
from __future__ import annotations

import dataclasses
import json
import math
import pathlib
import sys

import numpy as np
import pytest
from merritt_command import ROOT, Merritt


sys.path.insert(0, str(ROOT / "tests" / "bench"))
import _gguf_blocks  # noqa: E402
import _gguf_shapes  # noqa: E402
import synthetic  # noqa: E402
from _gguf_vocabulary import byte_level, sentencepiece  # noqa: E402


def values_of(kind: str, raw: np.ndarray) -> np.ndarray:
    """Opens blocks by the format's description, one code at a time as it says."""
    blocks = raw.reshape(-1, _gguf_blocks.TYPES[kind][2])
    f16 = lambda at: blocks[:, at:at + 2].copy().view("<f2").astype(np.float64)  # noqa: E731
    if kind == "bf16":
        return (raw.copy().view("<u2").astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    if kind == "q8_0":
        return (f16(0) * blocks[:, 2:].view(np.int8)).ravel()
    if kind == "q4_0":
        return np.concatenate([f16(0) * ((blocks[:, 2:] & 15) - 8.0), f16(0) * ((blocks[:, 2:] >> 4) - 8.0)], 1).ravel()
    if kind == "q5_0":
        high = np.unpackbits(blocks[:, 2:6], axis=1, bitorder="little").astype(np.uint8) << 4
        codes = np.concatenate([blocks[:, 6:] & 15, blocks[:, 6:] >> 4], 1) | high
        return (f16(0) * (codes - 16.0)).ravel()
    if kind == "q4_k":
        out = []
        for j in range(8):
            s = blocks[:, 4:16]
            scale, low = (s[:, j] & 63, s[:, j + 4] & 63) if j < 4 else (
                (s[:, j + 4] & 15) | (s[:, j - 4] >> 6) << 4, (s[:, j + 4] >> 4) | (s[:, j] >> 6) << 4)
            codes = blocks[:, 16 + j // 2 * 32:48 + j // 2 * 32]
            codes = codes & 15 if j % 2 == 0 else codes >> 4
            out.append(f16(0) * scale[:, None] * codes - f16(2) * low[:, None])
        return np.concatenate(out, 1).ravel()
    assert kind == "q6_k"
    out = []
    for half in range(2):
        low, high = blocks[:, 64 * half:64 * half + 64], blocks[:, 128 + 32 * half:160 + 32 * half]
        for part in range(4):
            codes = (low[:, 32 * (part % 2):][:, :32] >> (4 if part > 1 else 0)) & 15 | ((high >> 2 * part) & 3) << 4
            scales = blocks[:, 192 + 8 * half + 2 * part:][:, :2].view(np.int8).repeat(16, 1)
            out.append(f16(208) * scales * (codes - 32.0))
    return np.concatenate(out, 1).ravel()


@pytest.mark.parametrize("kind", ["bf16", "q8_0", "q4_0", "q5_0", "q4_k", "q6_k"])
def test_weights_have_the_wanted_spread(kind: str) -> None:
    count = 1 << 18
    raw = np.ascontiguousarray(_gguf_blocks.draw_weights(np.random.default_rng(3), kind, count)).reshape(-1)
    values = values_of(kind, raw)
    assert values.size == count and np.isfinite(values).all()
    assert abs(values.mean()) < 4 * _gguf_blocks.STD / math.sqrt(count / 256)
    assert values.std() == pytest.approx(_gguf_blocks.STD, rel=0.05)


# Bytes of the files as published mixes have them; a vocabulary adds what its words take.
TABLE = {"llama1b": (2475.5, 1317.0, 766.8, 803.6), "qwen06b": (1196.7, 637.9, 380.1, 395.2),
         "gemma270m": (544.0, 292.7, 242.6, 254.3)}


@pytest.mark.parametrize("shape", TABLE)
def test_sizes_are_those_of_the_published_mixes(shape: str) -> None:
    for kind, wanted in zip(_gguf_blocks.FILE_TYPES, TABLE[shape]):
        size = sum(count for *_, count in synthetic.layout(_gguf_shapes.SHAPES[shape], kind)) / 1e6
        assert wanted - 9 < size < wanted, (kind, size)


def test_rows_that_a_k_quant_does_not_divide_fall_back() -> None:
    types = {name: kind for name, _, kind, _ in synthetic.layout(_gguf_shapes.SHAPES["gemma270m"], "q4_k_m")}
    assert types["token_embd.weight"] == "q8_0" and types["blk.3.attn_q.weight"] == "q5_0"
    assert types["blk.0.attn_v.weight"] == "q8_0" and types["blk.0.ffn_down.weight"] == "q6_k"
    assert types["blk.3.ffn_down.weight"] == "q4_k" and types["blk.0.attn_norm.weight"] == "f32"


@pytest.mark.parametrize("name", ["llama1b-q4_k_m", "qwen06b-q4_0", "gemma270m-q8_0", "command7b-q4_k_m"])
def test_the_command_reads_and_runs_a_shrunk_file(
    merritt: Merritt, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    full, kind = synthetic.split_name(name)
    small = dataclasses.replace(full, layers=2, width=256, inner=512, heads=4, kv_heads=1, head_dim=64, vocab=2000)
    monkeypatch.setitem(_gguf_shapes.SHAPES, name.split("-")[0], small)
    path = synthetic.ensure(name, tmp_path)
    done = merritt("inspect", path, "--tensors", "--metadata", "--json")
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout)
    assert (out["layers"], out["vocabulary"], out["supported"]) == (2, 2000, True)
    assert [t["bytes"] for t in out["tensor_list"]] == [count for *_, count in synthetic.layout(small, kind)]
    done = merritt("run", "-m", path, "--raw", "-p", "tea time", "--max-tokens", "4", "--quiet")
    assert done.returncode == 0 and done.stdout, done.stderr
    # More sequences than four contexts hold, and windowed layers that drop what the depth would see again.
    done = merritt("bench", "-m", path, "-p", 0, "-n", 64, "-d", 600 if full.window else 128, "-b", 20, "-r", 1, "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["decode_tokens_per_s"]["median"] > 0, done.stderr


def test_a_file_is_kept_while_it_is_the_same_and_made_again_otherwise(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = dataclasses.replace(_gguf_shapes.SHAPES["llama1b"], layers=1, width=256, inner=256, vocab=1500)
    monkeypatch.setitem(_gguf_shapes.SHAPES, "llama1b", small)
    path = synthetic.ensure("llama1b-q4_0", tmp_path)
    first, bytes_ = path.stat().st_ino, path.read_bytes()
    assert synthetic.ensure("llama1b-q4_0", tmp_path).stat().st_ino == first
    assert synthetic.ensure("llama1b-q4_0", tmp_path, again=True).read_bytes() == bytes_
    path.write_bytes(bytes_[:-32])
    assert synthetic.ensure("llama1b-q4_0", tmp_path).read_bytes() == bytes_
    monkeypatch.setattr(synthetic, "VERSION", 99)
    assert synthetic.ensure("llama1b-q4_0", tmp_path).read_bytes() != bytes_
    assert [p.name for p in tmp_path.iterdir()] == ["llama1b-q4_0.gguf"]


@pytest.mark.parametrize("make", [sentencepiece, byte_level])
@pytest.mark.parametrize("count", [2000, 262144])
def test_a_vocabulary_has_as_many_pieces_and_none_twice(make, count: int) -> None:  # type: ignore[no-untyped-def]
    fields = {key: value for key, _, value in make(count)}
    tokens = fields["tokenizer.ggml.tokens"]
    assert len(tokens) == len(set(tokens)) == len(fields["tokenizer.ggml.token_type"]) == count
    for merge in fields.get("tokenizer.ggml.merges", [])[::97]:
        left, right = merge.split(" ")
        assert left in tokens and right in tokens and left + right in tokens

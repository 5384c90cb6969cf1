# SPDX-License-Identifier: Apache-2.0
"""How well Gemma-3-270M predicts a public-domain text, as prompt and token by token, beside the reference plugin and
llama.cpp (tests/golden/make_nll_goldens.py). In nats per token; accuracy is what speed may not be bought with."""
from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest

import merritt

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = json.loads((ROOT / "tests" / "golden" / "gemma3_270m_nll.json").read_text())


def mean_nll(rows: np.ndarray, ids: list[int]) -> float:
    """Of every token after the first, given the rows that predict it."""
    total = 0.0
    for row, target in zip(rows, ids[1:]):
        peak = float(row.max())
        total += peak + float(np.log(np.exp(row - peak).sum(dtype=np.float64))) - float(row[target])
    return total / (len(ids) - 1)


@pytest.mark.parametrize(("decode", "limit"), [(False, 0.003), (True, 0.006)], ids=["prefill", "decode"])
def test_likelihood_of_a_text(gemma: tuple[merritt.Model, merritt.Tenant], decode: bool, limit: float) -> None:
    model, tenant = gemma
    ours = np.array([mean_nll(model.eval(tenant, ids, decode=decode), ids) for ids in GOLDEN["tokens"]])
    for oracle in ("reference", "llama.cpp", "llama.cpp f32"):
        off = ours - np.array(GOLDEN[oracle])
        print(f"{oracle}: {ours.mean():.5f} nats, mean difference {off.mean():+.5f}, windows {np.round(off, 5)}")
    assert abs((ours - GOLDEN["reference"]).mean()) <= limit
    assert np.abs(ours - GOLDEN["llama.cpp f32"]).max() <= 0.01
    assert abs((ours - GOLDEN["llama.cpp"]).mean()) <= 0.01

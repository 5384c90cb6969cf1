#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Negative log-likelihoods of a public-domain text (public_domain.txt: the Declaration of Independence and articles of the
Constitution of the United States) under Gemma-3-270M, over windows of 512 tokens that each begin with BOS.

By llama.cpp on the same file and on the weights expanded to F32, and by our reference plugin, which is too slow to be
run again in every test. The mean over the windows' predicted tokens, in nats, is what the test compares.

usage: make_nll_goldens.py llama MODEL.gguf OUT.json       (needs llama-cpp-python==0.3.36, gguf, numpy)
       make_nll_goldens.py reference MODEL.gguf OUT.json   (needs merritt; adds to OUT.json, takes tens of minutes)
"""
from __future__ import annotations

import json
import os
import pathlib
import sys
import tempfile

import numpy as np

TEXT = pathlib.Path(__file__).with_name("public_domain.txt")
WINDOWS, WINDOW = 4, 512


def nll(rows: np.ndarray, ids: list[int]) -> list[float]:
    """Of each token after the first, given the rows that predict it."""
    rows = rows[:-1].astype(np.float64)
    peak = rows.max(axis=1)
    log_sum = peak + np.log(np.exp(rows - peak[:, None]).sum(axis=1))
    return list(log_sum - rows[np.arange(len(ids) - 1), ids[1:]])


def windows(ids: list[int], bos: int) -> list[list[int]]:
    return [[bos, *ids[i * (WINDOW - 1):(i + 1) * (WINDOW - 1)]] for i in range(WINDOWS)]


def with_llama(model: str) -> dict[str, object]:
    import llama_cpp
    from make_llama_goldens import expand

    def run(path: str) -> list[float]:
        llm = llama_cpp.Llama(path, n_ctx=WINDOW, n_batch=WINDOW, n_threads=2, logits_all=True, verbose=False)
        means = []
        for ids in tokens:
            llm.reset()
            llm.eval(ids)
            means.append(float(np.mean(nll(llm.scores[:WINDOW], ids))))
        return means

    vocabulary = llama_cpp.Llama(model, vocab_only=True, verbose=False)
    ids = vocabulary.tokenize(TEXT.read_bytes(), add_bos=False, special=False)
    tokens = windows(ids, vocabulary.token_bos())
    with tempfile.TemporaryDirectory() as folder:
        expanded = os.path.join(folder, "model-f32.gguf")
        expand(model, expanded)
        exact = run(expanded)
    return {"version": llama_cpp.__version__, "tokens": tokens, "llama.cpp": run(model), "llama.cpp f32": exact}


def with_reference(model: str, golden: dict[str, object]) -> dict[str, object]:
    import merritt

    means = []
    with merritt.Engine(threads=2) as engine, engine.load(model, backend="reference", context_max=WINDOW) as loaded:
        with engine.tenant("goldens") as tenant:
            for ids in golden["tokens"]:
                means.append(float(np.mean(nll(loaded.eval(tenant, ids), ids))))
                print("reference", means[-1], flush=True)
    return {**golden, "reference": means}


if __name__ == "__main__":
    who, model_path, out = sys.argv[1:4]
    result = with_llama(model_path) if who == "llama" else with_reference(model_path, json.loads(pathlib.Path(out).read_text()))
    pathlib.Path(out).write_text(json.dumps(result) + "\n")

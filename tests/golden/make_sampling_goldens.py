#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the sampling chain should keep, and with which probabilities, by a plain NumPy account of it.

Writes sampling.json beside this file: tables of logits, cases over them, and random numbers of Philox4x32-10. The cases
named `order_*` come out differently when two stages change places, which this script checks. Needs numpy.
Run: python make_sampling_goldens.py
"""
import json
import pathlib

import numpy as np

VOCABULARY = 24
STAGES = ("top_k", "top_p", "min_p")
OFF = {"top_k": 0, "top_p": 1, "min_p": 0}
MARGIN = 1e-4  # no decision hangs on the rounding of float


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def edited(logits, case):
    x = np.array(logits, np.float64)
    for token, bias in case.get("logit_bias", []):
        x[token] += -np.inf if bias is None else bias
    prompt, output = case.get("prompt", []), case.get("output", [])
    placed = [(token, False) for token in prompt] + [(token, True) for token in output]
    last_n = case.get("penalty_last_n", 0)
    placed = placed[-last_n:] if last_n else placed
    for token in sorted({token for token, _ in placed}):
        count = sum(1 for t, generated in placed if t == token and generated)
        repetition = case.get("repetition_penalty", 1)
        x[token] = x[token] / repetition if x[token] > 0 else x[token] * repetition
        x[token] -= count * case.get("frequency_penalty", 0) + (case.get("presence_penalty", 0) if count else 0)
    if len(output) < case.get("min_tokens", 0):
        x[case["end_tokens"]] = -np.inf
    if "mask" in case:
        x[[i for i in range(len(x)) if i not in case["mask"]]] = -np.inf
    return x


def cut(p, stage, case):
    """p with what this stage drops set to zero, renormalised; the decision must not be close."""
    if case.get(stage, OFF[stage]) == OFF[stage]:
        return p
    order = sorted(range(len(p)), key=lambda i: (-p[i], i))
    keep = np.zeros(len(p), bool)
    if stage == "top_k":
        keep[order[:case["top_k"]]] = True
    elif stage == "top_p":
        top_p, mass = case["top_p"], 0.0
        for i in order:
            assert abs(mass - top_p) > MARGIN, (case, mass)
            if mass >= top_p:
                break
            keep[i] = True
            mass += p[i]
    else:
        least = case["min_p"] * p.max()
        assert all(q == 0 or q == p.max() or abs(q - least) > MARGIN * p.max() for q in p), case
        keep = p >= least
    p = np.where(keep, p, 0)
    return p / p.sum()


def distribution(logits, case, stages=STAGES):
    x = edited(logits, case)
    if case.get("temperature", 0) == 0:
        p = np.zeros(len(x))
        p[int(np.argmax(x))] = 1  # the first among equals
        return p
    p = softmax(x / case["temperature"])
    for stage in stages:
        p = cut(p, stage, case)
    return p


def philox(counter, key):
    """Salmon et al., SC 2011, with Python's integers."""
    word = (1 << 32) - 1
    for i in range(10):
        k0, k1 = (key[0] + i * 0x9E3779B9) & word, (key[1] + i * 0xBB67AE85) & word
        a, b = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [(b >> 32) ^ counter[1] ^ k0, b & word, (a >> 32) ^ counter[3] ^ k1, a & word]
    return counter


def uniform(seed, choice, position):
    words = philox([position & 0xFFFFFFFF, position >> 32, choice, 0], [seed & 0xFFFFFFFF, seed >> 32])
    return ((words[0] << 32 | words[1]) >> 11) / 2.0**53


def cases():
    said = {"prompt": [3, 5, 5, 9], "output": [7, 7, 7, 11, 3]}
    ends = {"end_tokens": [0, 6]}
    yield from (
        ("greedy", {}), ("greedy_ties", {"table": "ties"}), ("greedy_flat", {"table": "flat"}),
        ("temperature_1", {"temperature": 1}), ("temperature_half", {"temperature": 0.5}),
        ("temperature_3", {"temperature": 3}), ("temperature_least", {"temperature": 0.001}),
        ("flat", {"table": "flat", "temperature": 1}),
        ("top_k_1", {"temperature": 1, "top_k": 1}), ("top_k_5", {"temperature": 1, "top_k": 5}),
        ("top_k_ties", {"table": "ties", "temperature": 1, "top_k": 3}),
        ("top_k_more_than_there_are", {"temperature": 1, "top_k": 1000}),
        ("top_p_small", {"temperature": 1, "top_p": 0.01}), ("top_p_70", {"temperature": 1, "top_p": 0.7}),
        ("top_p_95_hot", {"temperature": 2, "top_p": 0.95}),
        ("top_p_flat", {"table": "flat", "temperature": 1, "top_p": 0.52}),
        ("min_p_1", {"table": "ties", "temperature": 1, "min_p": 1}), ("min_p_10", {"temperature": 1, "min_p": 0.1}),
        ("min_p_hot", {"temperature": 2.5, "min_p": 0.3}),
        ("repetition", {"temperature": 1, "repetition_penalty": 1.8, **said}),
        ("repetition_below_1", {"temperature": 1, "repetition_penalty": 0.6, **said}),
        ("frequency", {"temperature": 1, "frequency_penalty": 0.9, **said}),
        ("frequency_negative", {"temperature": 1, "frequency_penalty": -0.4, **said}),
        ("presence", {"temperature": 1, "presence_penalty": 1.7, **said}),
        ("penalties_together", {"temperature": 0.9, "repetition_penalty": 1.3, "frequency_penalty": 0.5,
                                "presence_penalty": 0.25, **said}),
        ("penalty_last_2", {"temperature": 1, "repetition_penalty": 1.8, "frequency_penalty": 0.7, "penalty_last_n": 2,
                            **said}),
        ("penalty_last_7", {"temperature": 1, "presence_penalty": 1.1, "repetition_penalty": 1.4, "penalty_last_n": 7,
                            **said}),
        ("penalty_last_100", {"temperature": 1, "repetition_penalty": 1.5, "penalty_last_n": 100, **said}),
        ("greedy_penalised", {"repetition_penalty": 5, "presence_penalty": 2, **said}),
        ("bias_up", {"temperature": 1, "logit_bias": [[4, 3.5], [20, -2.25]]}),
        ("bias_forbids", {"temperature": 1, "logit_bias": [[7, None], [3, None]]}),
        ("bias_twice_adds_up", {"temperature": 1, "logit_bias": [[4, 1.5], [4, 2.0]]}),
        ("bias_greedy", {"logit_bias": [[13, 50]]}),
        ("min_tokens_before", {"temperature": 1, "min_tokens": 6, **ends, **said}),
        ("min_tokens_reached", {"temperature": 1, "min_tokens": 5, **ends, **said}),
        ("mask", {"temperature": 1, "mask": [1, 2, 3, 8, 21]}), ("mask_greedy", {"mask": [8, 21]}),
        ("mask_one", {"temperature": 1, "mask": [17]}),
        ("order_top_k_then_top_p", {"temperature": 1, "top_k": 6, "top_p": 0.8}),
        ("order_top_k_then_min_p", {"temperature": 1.5, "top_k": 6, "min_p": 0.25}),
        ("order_temperature_first", {"temperature": 2, "top_p": 0.5}),
        ("order_bias_then_penalty", {"temperature": 1, "logit_bias": [[7, 2.0]], "repetition_penalty": 2, **said}),
        ("order_penalty_then_cut", {"temperature": 1, "repetition_penalty": 4, "top_k": 4, **said}),
        ("order_mask_then_cut", {"temperature": 1, "mask": [1, 2, 4, 8, 12, 21], "top_k": 3, "top_p": 0.9}),
        ("everything", {"temperature": 0.8, "top_k": 12, "top_p": 0.92, "min_p": 0.02, "repetition_penalty": 1.2,
                        "frequency_penalty": 0.2, "presence_penalty": 0.1, "penalty_last_n": 6, "min_tokens": 9,
                        "logit_bias": [[2, 1.0], [9, None]], "mask": list(range(1, 23)), **ends, **said}),
    )


def check_order(logits, named):
    """The cases about order would not notice a wrong order unless the stages do something each."""
    case = named["order_top_k_then_top_p"]
    right = distribution(logits, case)
    assert not np.allclose(right, distribution(logits, case, ("top_p", "top_k", "min_p")))
    cold = dict(named["order_temperature_first"], temperature=1)
    kept = set(np.flatnonzero(distribution(logits, named["order_temperature_first"])))
    assert kept != set(np.flatnonzero(distribution(logits, cold)))
    case = named["order_bias_then_penalty"]
    late = edited(logits, dict(case, logit_bias=[]))
    late[7] += 2.0
    assert not np.allclose(softmax(late), distribution(logits, case))
    for name, field in (("order_penalty_then_cut", "repetition_penalty"), ("order_mask_then_cut", "mask")):
        case = {k: v for k, v in named[name].items() if k != field}
        early = set(np.flatnonzero(distribution(logits, case)))
        assert early != set(np.flatnonzero(distribution(logits, named[name]))), name


def main():
    rng = np.random.default_rng(20240911)
    plain = np.round(rng.standard_normal(VOCABULARY) * 1.2, 3)
    ties = np.round(rng.standard_normal(VOCABULARY), 3)
    ties[[4, 9, 15, 22]] = 2.5
    tables = {"plain": plain.tolist(), "ties": ties.tolist(), "flat": [0.25] * VOCABULARY}
    out = []
    for name, case in cases():
        logits = tables[case.get("table", "plain")]
        p = distribution(logits, case)
        kept = np.flatnonzero(p)
        out.append({"name": name, "table": "plain", **case, "kept": kept.tolist(),
                    "probabilities": [float(f"{q:.9g}") for q in p[kept]]})
    check_order(tables["plain"], dict(cases()))
    draws = [[seed, choice, position, uniform(seed, choice, position)] for seed, choice, position in
             ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (2**64 - 1, 63, 2**40 + 5), (0x0123456789ABCDEF, 7, 1000))]
    logprobs = {name: np.log(softmax(np.array(x))).round(7).tolist() for name, x in tables.items()}
    lines = ["{\"tables\": " + json.dumps(tables) + ",", "\"logprobs\": " + json.dumps(logprobs) + ",",
             "\"uniform\": " + json.dumps(draws) + ",", "\"cases\": ["]
    lines += [",\n".join(json.dumps(case) for case in out), "]}"]
    path = pathlib.Path(__file__).with_name("sampling.json")
    path.write_text("\n".join(lines) + "\n")
    print(path, path.stat().st_size)


if __name__ == "__main__":
    main()

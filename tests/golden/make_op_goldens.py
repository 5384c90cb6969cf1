#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Small graphs, one or two ops each, evaluated with plain NumPy in float64 and rounded to f32 after every node.

Writes ops.json beside this file: the graph, the runs of the step and the expected result of its last node. Inputs and
weights are made from a seed by `noise`, which the C++ test repeats bit for bit. Needs numpy. Run: python make_op_goldens.py
"""
import json
import math
import pathlib

import numpy as np

OPS = ("EMBED LINEAR RMS_NORM LAYER_NORM ROPE ATTENTION ACT GATE ADD SCALE SOFTCAP MOE SELECT_ROWS POOL").split()
OP = {name: i + 1 for i, name in enumerate(OPS)}
INTS = ("HEAD_DIM V_DIM HEADS KV_HEADS KV_LAYER WINDOW MASK ROT_DIM STYLE SCALING ORIG_CTX ACT EXPERTS TOP_K SCORE "
        "NORM_TOPK POOL").split()
REALS = "EPS OFFSET BASE SCALE SOFTCAP FACTOR BETA_FAST BETA_SLOW".split()
KEY = {**{k: i + 1 for i, k in enumerate(INTS)}, **{k: 0x100 + i for i, k in enumerate(REALS)}}
WEIGHT, INPUT, NONE = 0x40000000, 0x80000000, 0xC0000000
TOKENS, POSITIONS, TYPES, HIDDEN = (INPUT | i for i in range(4))


def noise(seed, n, scale):
    """n values in (-scale, scale) that C++ makes the same: splitmix64, the top 24 bits, then one f32 product."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(
            0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    unit = (z >> np.uint64(40)).astype(np.float32) * np.float32(2.0 ** -23) - np.float32(1.0)
    return unit * np.float32(scale)


def act(kind, x):
    erf = np.vectorize(math.erf)
    return [lambda: x, lambda: x / (1 + np.exp(-x)),
            lambda: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3))),
            lambda: 0.5 * x * (1 + erf(x / math.sqrt(2))), lambda: np.maximum(x, 0), lambda: np.maximum(x, 0) ** 2,
            lambda: np.tanh(x), lambda: 1 / (1 + np.exp(-x))][kind]()


class Case:
    def __init__(self, name, runs, width, rows=None, positions=None):
        self.name, self.runs, self.width, self.rows = name, runs, width, rows or []
        self.tokens = sum(runs)
        self.positions = positions or [i for n in runs for i in range(n)]
        self.ids = [int(v) for v in (np.abs(noise(77, self.tokens, 1.0)) * 11).astype(int)]
        self.types = [i % 2 for i in range(self.tokens)]
        self.hidden_seed = len(name) * 131 + 7
        self.hidden = noise(self.hidden_seed, self.tokens * width, 1.0).reshape(self.tokens, width).astype(np.float64)
        self.weights, self.arrays, self.nodes, self.values = [], [], [], []

    def weight(self, dims, scale=1.0):
        seed = 1000 + 17 * len(self.weights) + len(self.name)
        self.weights.append({"dims": dims, "seed": seed, "scale": scale})
        self.arrays.append(noise(seed, math.prod(dims), scale).reshape(dims[::-1]).astype(np.float64))
        return WEIGHT | (len(self.weights) - 1)

    def node(self, op, width, args, rows=0, **attrs):
        get = [None if a == NONE else self.arrays[a & 0xFFFF] if a & WEIGHT and not a & INPUT else self.read(a) for a in args]
        value = getattr(self, op.lower())(get, width, attrs)
        self.values.append(value.astype(np.float32).astype(np.float64))
        assert self.values[-1].shape[1] == width, (self.name, op, self.values[-1].shape, width)
        self.nodes.append({"op": OP[op], "rows": rows, "width": width, "args": args,
                           "attrs": [[KEY[k], v] for k, v in attrs.items()]})
        return len(self.nodes) - 1

    def read(self, ref):
        if ref & INPUT:
            return {TOKENS: self.ids, POSITIONS: self.positions, TYPES: self.types, HIDDEN: self.hidden}[ref]
        return self.values[ref]

    def embed(self, a, width, at):
        return a[1][a[0]] * at.get("SCALE", 1.0)

    def linear(self, a, width, at):
        return a[0] @ a[1].T + (a[2] if len(a) > 2 and a[2] is not None else 0)

    def heads(self, x, w, head, kind):
        n = x.shape[1] // head
        x = x.reshape(x.shape[0], n, head)
        w = None if w is None else np.broadcast_to(w.reshape(-1, head), (n, head))
        return x, w

    def rms_norm(self, a, width, at):
        x, w = self.heads(a[0], a[1] if len(a) > 1 else None, at.get("HEAD_DIM") or width, 0)
        y = x / np.sqrt((x * x).mean(-1, keepdims=True) + at.get("EPS", 0))
        return (y * (1 if w is None else w + at.get("OFFSET", 0))).reshape(a[0].shape)

    def layer_norm(self, a, width, at):
        head = at.get("HEAD_DIM") or width
        x, w = self.heads(a[0], a[1] if len(a) > 1 else None, head, 0)
        _, b = self.heads(a[0], a[2] if len(a) > 2 else None, head, 0)
        y = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + at.get("EPS", 0))
        return (y * (1 if w is None else w) + (0 if b is None else b)).reshape(a[0].shape)

    def rope(self, a, width, at):
        head = at["HEAD_DIM"]
        rot = at.get("ROT_DIM") or head
        inv = at["BASE"] ** (-np.arange(0, rot, 2) / rot)
        if len(a) > 2 and a[2] is not None:
            inv = inv / a[2].reshape(-1)
        if at.get("SCALING") == 1:
            inv = inv / at["FACTOR"]
        if at.get("SCALING") == 2:
            def dim(turns):
                return rot * math.log(at["ORIG_CTX"] / (turns * 2 * math.pi)) / (2 * math.log(at["BASE"]))
            low, high = max(0, math.floor(dim(at["BETA_FAST"]))), min(rot - 1, math.ceil(dim(at["BETA_SLOW"])))
            ramp = np.clip((np.arange(rot // 2) - low) / max(0.001, high - low), 0, 1)
            inv = inv / at["FACTOR"] * ramp + inv * (1 - ramp)
        angle = np.outer(a[1], inv)[:, None, :]
        c, s = np.cos(angle) * at.get("SCALE", 1.0), np.sin(angle) * at.get("SCALE", 1.0)
        x = a[0].reshape(self.tokens, width // head, head)
        y = x.copy()
        first = slice(0, rot // 2) if not at.get("STYLE") else slice(0, rot, 2)
        second = slice(rot // 2, rot) if not at.get("STYLE") else slice(1, rot, 2)
        y[..., first] = x[..., first] * c - x[..., second] * s
        y[..., second] = x[..., first] * s + x[..., second] * c
        return y.reshape(self.tokens, width)

    def attention(self, a, width, at):
        heads, kv, dim = at["HEADS"], at["KV_HEADS"], at["HEAD_DIM"]
        v_dim = at.get("V_DIM") or dim
        if a[1] is None:
            a[1], a[2] = self.cached[at["KV_LAYER"]]
        elif at.get("KV_LAYER"):
            self.cached = {**getattr(self, "cached", {}), at["KV_LAYER"]: (a[1], a[2])}
        out = np.zeros((self.tokens, heads * v_dim))
        first = 0
        for n in self.runs:
            rows = slice(first, first + n)
            q, k, v = (m[rows].reshape(n, h, d) for m, h, d in ((a[0], heads, dim), (a[1], kv, dim), (a[2], kv, v_dim)))
            i, j = np.arange(n)[:, None], np.arange(n)[None, :]
            seen = np.ones((n, n), bool) if at.get("MASK") else j <= i
            if at.get("WINDOW"):
                seen = seen & (np.abs(i - j) < at["WINDOW"])
            for h in range(heads):
                s = q[:, h] @ k[:, h // (heads // kv)].T * at.get("SCALE", 1.0)
                if at.get("SOFTCAP"):
                    s = at["SOFTCAP"] * np.tanh(s / at["SOFTCAP"])
                s = np.where(seen, s, -np.inf)
                if len(a) > 3 and a[3] is not None:
                    s = np.concatenate([s, np.full((n, 1), a[3].reshape(-1)[h])], 1)
                p = np.exp(s - s.max(1, keepdims=True))
                p = (p / p.sum(1, keepdims=True))[:, :n]
                out[rows, h * v_dim:(h + 1) * v_dim] = p @ v[:, h // (heads // kv)]
            first += n
        return out

    def act(self, a, width, at):
        return act(at.get("ACT", 0), a[0])

    def gate(self, a, width, at):
        return act(at.get("ACT", 0), a[0]) * a[1]

    def add(self, a, width, at):
        return a[0] + a[1]

    def scale(self, a, width, at):
        return a[0] * at.get("SCALE", 1.0) * (a[1].reshape(-1) if len(a) > 1 and a[1] is not None else 1)

    def softcap(self, a, width, at):
        return at["SOFTCAP"] * np.tanh(a[0] / at["SOFTCAP"])

    def moe(self, a, width, at):
        x, logits, gate, up, down = a[:5]
        bias = a[5].reshape(-1) if len(a) > 5 and a[5] is not None else 0
        out = np.zeros_like(x)
        for t in range(x.shape[0]):
            z = logits[t]
            soft = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
            score = [soft, 1 / (1 + np.exp(-z)), z][at.get("SCORE", 0)]
            chosen = np.argsort(-(score + bias), kind="stable")[:at["TOP_K"]]
            if at.get("SCORE") == 2:
                w = np.exp(z[chosen] - z[chosen].max())
                w = w / w.sum()
            else:
                w = score[chosen]
                w = w / w.sum() if at.get("NORM_TOPK") else w
            for e, share in zip(chosen, w * at.get("SCALE", 1.0)):
                out[t] += share * (down[e] @ (act(at.get("ACT", 0), gate[e] @ x[t]) * (up[e] @ x[t])))
        return out

    def select_rows(self, a, width, at):
        return a[0][self.rows]

    def pool(self, a, width, at):
        out, first = [], 0
        for n in self.runs:
            rows = a[0][first:first + n]
            out.append([rows[0], rows.mean(0), rows[-1]][at.get("POOL", 0)])
            first += n
        return np.array(out)

    def record(self):
        return {"name": self.name, "runs": self.runs, "rows": self.rows, "positions": self.positions, "ids": self.ids,
                "types": self.types, "hidden": {"seed": self.hidden_seed, "width": self.width}, "weights": self.weights,
                "nodes": self.nodes, "expect": [float(f"{v:.9g}") for v in self.values[-1].reshape(-1)]}


def qkv(c, heads, kv, dim, v_dim):
    x = c.node("LINEAR", heads * dim, [HIDDEN, c.weight([c.width, heads * dim], 0.5)])
    k = c.node("LINEAR", kv * dim, [HIDDEN, c.weight([c.width, kv * dim], 0.5)])
    v = c.node("LINEAR", kv * v_dim, [HIDDEN, c.weight([c.width, kv * v_dim], 0.5)])
    return x, k, v


def cases():
    out = []

    def case(*args, **kwargs):
        out.append(Case(*args, **kwargs))
        return out[-1]

    for kind, table in (("tokens", TOKENS), ("positions", POSITIONS), ("types", TYPES)):
        c = case(f"embed_{kind}", [3, 2], 8)
        c.node("EMBED", 8, [table, c.weight([8, 12])], SCALE=2.5)
    for n in ([1], [3], [2, 5]):
        c = case(f"linear_{sum(n)}", n, 20)
        c.node("LINEAR", 7, [HIDDEN, c.weight([20, 7])])
    c = case("linear_bias", [4], 33)
    c.node("LINEAR", 5, [HIDDEN, c.weight([33, 5]), c.weight([5])])
    for head in (0, 8):
        c = case(f"rms_norm_head{head}", [3], 24)
        c.node("RMS_NORM", 24, [HIDDEN, c.weight([head or 24])], EPS=1e-5, OFFSET=1.0, **({"HEAD_DIM": head} if head else {}))
        c = case(f"layer_norm_head{head}", [3], 24)
        c.node("LAYER_NORM", 24, [HIDDEN, c.weight([head or 24]), c.weight([head or 24])], EPS=1e-5,
               **({"HEAD_DIM": head} if head else {}))
    c = case("rms_norm_plain", [2], 10)
    c.node("RMS_NORM", 10, [HIDDEN], EPS=1e-6)
    c = case("layer_norm_all_heads", [2], 16)
    c.node("LAYER_NORM", 16, [HIDDEN, c.weight([8, 2])], EPS=1e-5, HEAD_DIM=8)
    for style in (0, 1):
        c = case(f"rope_style{style}", [4, 3], 24, positions=[0, 1, 2, 3, 90, 91, 92])
        c.node("ROPE", 24, [HIDDEN, POSITIONS], HEAD_DIM=8, BASE=10000.0, STYLE=style)
        c = case(f"rope_partial_style{style}", [5], 24, positions=[5, 6, 7, 8, 9])
        c.node("ROPE", 24, [HIDDEN, POSITIONS], HEAD_DIM=12, ROT_DIM=8, BASE=500000.0, STYLE=style, SCALE=1.25)
    c = case("rope_linear", [4], 16, positions=[0, 7, 100, 2000])
    c.node("ROPE", 16, [HIDDEN, POSITIONS], HEAD_DIM=16, BASE=1000000.0, SCALING=1, FACTOR=8.0)
    c = case("rope_yarn", [4], 32, positions=[0, 7, 100, 9000])
    c.node("ROPE", 32, [HIDDEN, POSITIONS], HEAD_DIM=32, BASE=10000.0, SCALING=2, FACTOR=4.0, ORIG_CTX=4096, BETA_FAST=32.0,
           BETA_SLOW=1.0, SCALE=1.138629436)
    c = case("rope_factors", [3], 16, positions=[1, 10, 1000])
    c.node("SCALE", 16, [HIDDEN, c.weight([16])], SCALE=0.5)
    c.node("ROPE", 16, [0, POSITIONS, c.weight([4], 3.0)], HEAD_DIM=8, BASE=10000.0)
    for name, attrs, sinks in (("causal", {}, False), ("window", {"WINDOW": 3}, False), ("softcap", {"SOFTCAP": 2.0}, False),
                               ("sinks", {}, True), ("window_sinks_softcap", {"WINDOW": 2, "SOFTCAP": 5.0}, True)):
        for cached in (0, 1):
            c = case(f"attention_{name}_{'cached' if cached else 'uncached'}", [6, 9, 1], 12,
                     positions=[3 + 2 * i for i in range(16)])  # positions are data for ROPE, not where a key is kept
            q, k, v = qkv(c, 4, 2, 8, 8)
            args = [q, k, v] + ([c.weight([4])] if sinks else [])
            c.node("ATTENTION", 32, args, HEAD_DIM=8, HEADS=4, KV_HEADS=2, SCALE=0.35355339, **attrs,
                   **({"KV_LAYER": 1} if cached else {}))
    for window in (0, 3):
        c = case(f"attention_bidirectional_window{window}", [5, 7], 12)
        q, k, v = qkv(c, 2, 1, 8, 8)
        c.node("ATTENTION", 16, [q, k, v], HEAD_DIM=8, HEADS=2, KV_HEADS=1, SCALE=0.5, MASK=1,
               **({"WINDOW": window} if window else {}))
    c = case("attention_v_dim_shared", [7, 4], 12)
    q, k, v = qkv(c, 4, 2, 8, 4)
    first = c.node("ATTENTION", 16, [q, k, v], HEAD_DIM=8, V_DIM=4, HEADS=4, KV_HEADS=2, KV_LAYER=1)
    q2 = c.node("LINEAR", 32, [first, c.weight([16, 32])])
    c.node("ATTENTION", 16, [q2, NONE, NONE], HEAD_DIM=8, V_DIM=4, HEADS=4, KV_HEADS=2, KV_LAYER=1)
    for kind in range(8):
        c = case(f"act_{kind}", [3], 9)
        c.node("ACT", 9, [HIDDEN], ACT=kind)
    for kind in (0, 1, 2):
        c = case(f"gate_{kind}", [3], 9)
        a = c.node("SCALE", 9, [HIDDEN], SCALE=3.0)
        c.node("GATE", 9, [a, HIDDEN], ACT=kind)
    c = case("add_softcap", [3], 9)
    a = c.node("SCALE", 9, [HIDDEN, c.weight([9])], SCALE=3.0)
    b = c.node("ADD", 9, [a, HIDDEN])
    c.node("SOFTCAP", 9, [b], SOFTCAP=1.5)
    for score in (0, 1, 2):
        for bias in (0, 1):
            c = case(f"moe_score{score}_bias{bias}", [3, 2], 10)
            r = c.node("LINEAR", 5, [HIDDEN, c.weight([10, 5])])
            args = [HIDDEN, r, c.weight([10, 6, 5], 0.5), c.weight([10, 6, 5], 0.5), c.weight([6, 10, 5], 0.5)]
            c.node("MOE", 10, args + ([c.weight([5])] if bias else []), EXPERTS=5, TOP_K=2, SCORE=score, NORM_TOPK=bias,
                   SCALE=1.5, ACT=1)
    c = case("select_rows", [4, 3], 6, rows=[0, 3, 6])
    c.node("SELECT_ROWS", 6, [HIDDEN], rows=1)
    for kind in range(3):
        c = case(f"pool_{kind}", [4, 1, 3], 6)
        c.node("POOL", 6, [HIDDEN], rows=2, POOL=kind)
    return out


def main():
    path = pathlib.Path(__file__).with_name("ops.json")
    records = [c.record() for c in cases()]
    path.write_text("[\n" + ",\n".join(json.dumps(r) for r in records) + "\n]\n")
    print(path, path.stat().st_size, len(records))


if __name__ == "__main__":
    main()

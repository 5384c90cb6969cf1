# SPDX-License-Identifier: Apache-2.0
"""A victim and its neighbours: the loads that `tenants.py` puts on an engine, and what the victim must still get."""
from __future__ import annotations

import dataclasses
from typing import Any

CONTEXT = 512  # of every scenario, whatever the model allows
CHUNK = 480    # tokens of the prompt that stands for one prefill chunk; with its output it must fit
POOL = 8192    # tokens of KV: more than a flood of short requests needs, half of what the hog would like
Load = dict[str, Any]


def closed(clients: int) -> Load:
    return {"law": "closed", "clients": clients}


def neighbour(**fields: Any) -> Load:
    return {"name": "neighbour", "arrivals": closed(32), "prompt": 64, "output": 32, **fields}


def many_tenants(count: int, **fields: Any) -> list[Load]:
    return [{**neighbour(**fields), "name": f"neighbour{i}"} for i in range(count)]


MEMORY_HOG = {"prompt": 240, "output": 256}
NEIGHBOURS: dict[str, Load | list[Load]] = {
    "flood": neighbour(arrivals=closed(96), queue_max=64),
    "memory hog": neighbour(**MEMORY_HOG),
    # No tenant is above its part of the sequences, and all run. Sixteen times two are as many as there are.
    "many tenants": many_tenants(16, arrivals=closed(2), output=200),
    "hoard of sessions": neighbour(arrivals=closed(8), prompt=200, sessions_kept=4096),
    "10 MB prompts": neighbour(arrivals=closed(4), text_bytes=10 << 20, retry_ms=10),
    # Each is rendered until its steps are spent, or is longer than the context: the work comes before the refusal.
    "template bombs": neighbour(arrivals=closed(4), messages=100_000, retry_ms=10),
    "stop-string bombs": neighbour(arrivals=closed(16), stop_strings=64, stop_bytes=1024),
    "cancel storm": neighbour(prompt=240, output=200, cancel_probability=1, cancel_after_ms=2),
    "slow reader": neighbour(output=400, reader_pause_ms=250),
    "session storm": neighbour(arrivals=closed(1), sessions_per_second=500, sessions_held=2000),
    "retry storm": neighbour(sequences_max=1, queue_max=1, retry_ms=2),
}
# What the victim is protected from: the same neighbours where the engine cannot tell the two apart, so that they are
# served in the order they came (`as`), or where the hog may have the whole pool. These must miss.
CONTRASTS: dict[str, Load | list[Load]] = {
    "flood as the same tenant": neighbour(arrivals=closed(96), queue_max=64, **{"as": "victim"}),
    "memory hog as the same tenant": neighbour(**MEMORY_HOG, **{"as": "victim"}),
    "memory hog without a ceiling": neighbour(**MEMORY_HOG, kv_ceiling=1),
}
WEIGHT = {"many tenants": 16}  # of the victim: half of the engine, of which it wants a third


def loads_of(name: str) -> list[Load]:
    found = {**NEIGHBOURS, **CONTRASTS}[name]
    return found if isinstance(found, list) else [found]


def victim(requests: int, arrivals: Load, **fields: Any) -> Load:
    return {"name": "victim", "requests": requests, "arrivals": arrivals, "prompt": 64, "output": 32, **fields}


def spec(tenants: list[Load], seconds: float, seed: int) -> Load:
    return {"seconds": seconds, "warmup_seconds": 0.5, "bucket_seconds": max(0.05, seconds / 400), "seed": seed,
            "kv_tokens": POOL, "tenants": tenants}


@dataclasses.dataclass(frozen=True)
class Alone:
    """What the victim has without neighbours, and what the engine can do at most."""
    first_token_ms_p99: float
    tokens_per_s: float
    saturated_tokens_per_s: float
    chunk_ms: float

    @property
    def first_token_ms_most(self) -> float:
        return 3 * self.first_token_ms_p99 + self.chunk_ms

    def tokens_per_s_least(self, weights: list[float]) -> float:
        """weights: the victim's, then those of its neighbours."""
        return 0.95 * min(self.tokens_per_s, weights[0] / sum(weights) * self.saturated_tokens_per_s)


def of_tenant(report: dict[str, Any], name: str) -> dict[str, Any]:
    return next(tenant for tenant in report["tenants"] if tenant["tenant"] == name)


def figures(report: dict[str, Any]) -> dict[str, Any]:
    own = of_tenant(report, "victim")
    return {"first_token_ms": own["first_token_ms"], "first_token_steps": own["first_token_steps"], "late_ms_p99": own["late_ms"]["p99"],
            "tokens_per_s": own["tokens_out_per_s"], "requests": own["requests"], "steps": report["steps"],
            "seconds": report["seconds"], "load": report.get("load", {}),
            "neighbours": [{key: tenant[key] for key in ("tenant", "tokens_in_per_s", "tokens_out_per_s", "requests", "sessions")}
                           for tenant in report["tenants"] if tenant["tenant"] != "victim"]}


def misses(report: dict[str, Any], alone: Alone, requests: int) -> list[str]:
    """In what the victim was harmed."""
    own = of_tenant(report, "victim")
    found = []
    p99 = own["first_token_ms"]["p99"]
    if p99 > alone.first_token_ms_most:
        found.append(f"p99 to the first token {p99:.1f} ms, at most {alone.first_token_ms_most:.1f}")
    least = alone.tokens_per_s_least([tenant["weight"] for tenant in report["tenants"]])
    if own["tokens_out_per_s"] < least:
        found.append(f"{own['tokens_out_per_s']:.0f} tokens/s, at least {least:.0f}")
    if own["requests"]["done"] < requests:
        found.append(f"{own['requests']['done']} of {requests} requests done")
    for kind in ("refused", "failed"):
        if own["requests"][kind]:
            found.append(f"{kind}: {own['requests'][kind]}")
    return found


def others_of(result: dict[str, Any]) -> float:
    """The part of the CPUs that others had meanwhile."""
    return float(result["load"].get("others", 0) + result["load"].get("stolen", 0))


def row(name: str, result: dict[str, Any]) -> str:
    first, others = result["first_token_ms"], 100 * others_of(result)
    return (f"{name:<32} {first['p50']:8.2f} {first['p99']:8.2f} {first['max']:8.2f} {result['first_token_steps']['p99']:9.1f} {result['tokens_per_s']:9.0f} "
            f"{result['requests']['done']:6} {result['steps']:8} {others:6.1f}%  {'; '.join(result['misses']) or 'holds'}")


HEAD = (f"{'the victim':<32} {'ttft p50':>8} {'p99':>8} {'max ms':>8} {'p99 steps':>9} {'tokens/s':>9} {'done':>6} {'steps':>8} {'others':>7}")

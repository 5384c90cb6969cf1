# SPDX-License-Identifier: Apache-2.0
"""What is measured, what a machine could do at most, and what the results are held against. Arithmetic only."""
from __future__ import annotations

import dataclasses
import statistics
from typing import Any, Iterable


@dataclasses.dataclass(frozen=True)
class Group:
    """One process on each side, which can serve several cells."""
    prompt: int = 0
    steps: int = 0
    depth: int = 0
    batch: int = 1
    load: bool = False


@dataclasses.dataclass(frozen=True)
class Cell:
    group: str
    metric: str  # prefill, decode (tokens/s), first_token_s or rss_mib
    more_is_better: bool = True


GROUPS = {
    "base": Group(prompt=512, steps=128),
    "pp4096": Group(prompt=4096),
    "tg128@4096": Group(steps=128, depth=4096),
    "tg128@16384": Group(steps=128, depth=16384),
    **{f"batch{b}": Group(steps=64, depth=128, batch=b) for b in (4, 8, 16, 32)},
    "load": Group(load=True),
}
CELLS = {
    "pp512": Cell("base", "prefill"),
    "tg128": Cell("base", "decode"),
    "rss": Cell("base", "rss_mib", more_is_better=False),
    "pp4096": Cell("pp4096", "prefill"),
    "tg128@4096": Cell("tg128@4096", "decode"),
    "tg128@16384": Cell("tg128@16384", "decode"),
    **{f"batch{b}": Cell(f"batch{b}", "decode") for b in (4, 8, 16, 32)},
    "load": Cell("load", "first_token_s", more_is_better=False),
}


@dataclasses.dataclass(frozen=True)
class ModelFacts:
    """What the limits are computed from; of `merritt inspect --tensors --metadata`."""
    file_bytes: int
    read_bytes: int  # of tensors that every token reads: all but an embedding that is not the head as well
    layer_weights: int  # of matrices in layers
    tail_weights: int  # of these, what lies behind the last layer's attention, where only rows asked for go on
    layers: int
    kv_heads: int
    head_dim: int
    heads: int
    window: int  # 0 = none
    period: int = 6  # every so-manyth layer has no window

    def spans(self, depth: float) -> list[float]:
        """The tokens each layer's attention sees at a depth."""
        local = lambda i: self.window and (i + 1) % self.period != 0  # noqa: E731
        return [min(depth, self.window) if local(i) else depth for i in range(self.layers)]

    def kv_read_bytes(self, depth: float, bytes_each: int = 2) -> float:
        return sum(self.spans(depth)) * 2 * self.kv_heads * self.head_dim * bytes_each

    def prompt_flops(self, tokens: int) -> float:
        """Of `tokens` from position 0 of which the last is asked for. A multiplication with its addition counts as two."""
        attention = sum(4.0 * self.heads * self.head_dim * span for t in range(0, tokens, 64)
                        for span in self.spans(t + 32)) * min(64, tokens)
        return 2.0 * (self.layer_weights - self.tail_weights) * tokens + attention


def model_facts(inspected: dict[str, Any]) -> ModelFacts:
    meta, arch = inspected["metadata"], inspected["architecture"]
    number = lambda key, missing=0: int(float(meta.get(f"{arch}.{key}", missing)))  # noqa: E731
    tensors = inspected["tensor_list"]
    untied = any(t["name"] == "output.weight" for t in tensors)
    read = sum(t["bytes"] for t in tensors if not (untied and t["name"] == "token_embd.weight"))
    matrices = {t["name"]: t["dims"][0] * t["dims"][1] for t in tensors if t["name"].startswith("blk.") and len(t["dims"]) > 1}
    last = number("block_count") - 1
    tail = [f"blk.{last}.{name}.weight" for name in ("attn_output", "ffn_gate", "ffn_up", "ffn_down")]
    heads = number("attention.head_count")
    return ModelFacts(
        file_bytes=inspected["file_bytes"], read_bytes=read, layer_weights=sum(matrices.values()),
        tail_weights=sum(matrices.get(name, 0) for name in tail),
        layers=number("block_count"), kv_heads=number("attention.head_count_kv", heads), heads=heads,
        head_dim=number("attention.key_length", number("embedding_length") // heads),
        window=number("attention.sliding_window") if arch in ("gemma3", "cohere2") else 0, period=4 if arch == "cohere2" else 6)


def decode_limit(facts: ModelFacts, group: Group, read_bytes_per_s: float) -> float:
    """Tokens per second when a step takes only the time to read its weights once and every sequence's KV."""
    kv = facts.kv_read_bytes(group.depth + group.steps / 2)
    return group.batch * read_bytes_per_s / (facts.read_bytes + group.batch * kv)


def prefill_limit(facts: ModelFacts, group: Group, ops_per_s: float) -> float:
    return ops_per_s * group.prompt / facts.prompt_flops(group.prompt)


def rss_limit_mib(file_bytes: int, kv_bytes: int) -> float:
    return (1.08 * file_bytes + kv_bytes) / 2**20 + 120


def spread(values: Iterable[float]) -> dict[str, Any]:
    runs = list(values)
    return {"median": statistics.median(runs), "min": min(runs), "max": max(runs), "runs": len(runs)}


@dataclasses.dataclass(frozen=True)
class Check:
    models: tuple[str, ...]
    cell: str
    ratio: float  # of Merritt's to llama.cpp's: at least, or at most where less is better
    of_limit: float = 0.0


B1 = ("llama1b-q8_0", "llama1b-q4_0", "llama1b-q4_k_m")
CHECKS = (
    *(Check((model,), "pp512", 4.0, 0.20) for model in B1),
    Check(("llama1b-bf16",), "pp512", 6.0, 0.20),
    Check(("llama1b-q8_0",), "tg128", 1.15, 0.86),
    Check(("llama1b-q4_0",), "tg128", 1.15, 0.82),
    Check(("llama1b-q4_k_m",), "tg128", 1.5, 0.72),
    Check(("llama1b-q4_0",), "tg128@4096", 1.6, 0.62),
    Check(("llama1b-q4_0",), "tg128@16384", 1.6),
    Check(("llama1b-q8_0",), "batch16", 1.7),
    Check(("llama1b-q4_0",), "batch16", 2.3),
    Check(("gemma270m-q4_k_m",), "pp512", 3.0),
    Check(("gemma270m-q4_k_m",), "tg128", 1.4),
    Check(("llama1b-q8_0",), "load", 0.6),
)
CAPPED_RATIOS = {"pp512": 1.3, "tg128": 1.1}  # both sides under the same cap; every other speed at least 1
OPENVINO_CELLS = {"qwen06b-q8_0": ("pp512", "tg128", "batch8"), "qwen06b-q4_0": ("pp512", "tg128", "batch8")}


def failures_of(row: dict[str, Any], capped: bool, amx: bool) -> list[str]:
    """What the table of floors holds against one cell's summary."""
    where = f"{row['model']} {row['cell']}"
    if row.get("void"):
        return [f"{where}: {row['void']}"]
    if row["cell"] == "rss":
        peak, limit = row["merritt"]["max"], row["rss_limit_mib"]
        return [] if peak <= limit else [f"{where}: {peak:.0f} MiB, more than {limit:.0f}"]
    more = CELLS[row["cell"]].more_is_better
    found = []
    for check in floors(row["model"], row["cell"], capped):
        ratio = row["ratio"].get("llama.cpp")
        if ratio is not None and not (ratio >= check.ratio if more else ratio <= check.ratio):
            found.append(f"{where}: {ratio:.2f} of llama.cpp's, wanted {check.ratio}")
        limited = not capped and check.of_limit and (amx or row["cell"] != "pp512")
        if limited and not row.get("of_limit", 0) >= check.of_limit:
            found.append(f"{where}: {100 * row.get('of_limit', 0):.0f} % of the limit, wanted {100 * check.of_limit:.0f} %")
    if row["cell"] in OPENVINO_CELLS.get(row["model"], ()) and row["ratio"].get("openvino", 1.0) < 1.0:
        found.append(f"{where}: {row['ratio']['openvino']:.2f} of OpenVINO GenAI's, wanted 1.0")
    return found


def floors(model: str, cell: str, capped: bool) -> list[Check]:
    if not capped:
        return [check for check in CHECKS if cell == check.cell and model in check.models]
    if not CELLS[cell].more_is_better:
        return []
    return [Check((model,), cell, CAPPED_RATIOS.get(cell, 1.0))]

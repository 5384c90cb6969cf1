# SPDX-License-Identifier: Apache-2.0
"""Finished pairs, one JSON line each in a file, so that a long comparison can be stopped and continued; and their summary."""
from __future__ import annotations

import json
import pathlib
import statistics
from typing import Any

from _cells import (CELLS, GROUPS, Cell, ModelFacts, decode_limit, prefill_limit, rss_limit_mib, spread)


class Pairs:
    """The pairs of one file. A pair belongs to a key: everything that must be the same for two pairs to be of one kind."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.all: list[dict[str, Any]] = []
        if path.is_file():
            for line in path.read_text().splitlines():
                try:
                    self.all.append(json.loads(line))
                except ValueError:
                    continue  # the machine went down while it was written

    def of(self, key: dict[str, Any]) -> list[dict[str, Any]]:
        return [pair for pair in self.all if pair["key"] == key]

    def counted(self, key: dict[str, Any]) -> list[dict[str, Any]]:
        return [pair for pair in self.of(key) if not pair["void"]]

    def add(self, pair: dict[str, Any]) -> None:
        self.all.append(pair)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        cut = self.path.is_file() and not self.path.read_bytes().endswith(b"\n")  # a half line must not take this one along
        with open(self.path, "a") as file:
            file.write("\n" * cut + json.dumps(pair) + "\n")


def void_reason(runs: dict[str, dict[str, Any]], load_max: float) -> str:
    """Why a pair does not count, or nothing."""
    for side, run in runs.items():
        load = run.get("load", {})
        used = load.get("others", 0) + load.get("stolen", 0)
        if used > load_max:
            return f"others used {100 * used:.1f} % of the CPUs while {side} ran"
    return ""


def sides_to_run(done: list[dict[str, Any]], sides: list[str], cells: dict[str, Cell]) -> list[str]:
    """Variants of a peer (`llama.cpp fa=off`) that lost every cell by a tenth in the first pair are not run again."""
    if not done:
        return sides
    first = done[0]["runs"]
    kept = []
    for side in sides:
        peer = side.split(" ")[0]
        rivals = [s for s in first if s != side and s.split(" ")[0] == peer and metrics_in(first[s], cells)]
        mine = metrics_in(first.get(side, {}), cells)
        speeds = [cell for cell in cells.values() if cell.metric != "rss_mib"]
        lost = mine and any(all(better(first[r], first[side], cell, 1.1) for cell in speeds) for r in rivals)
        if "not_run" not in first.get(side, {}) and not lost:
            kept.append(side)
    return kept


def metrics_in(run: dict[str, Any], cells: dict[str, Cell]) -> bool:
    return all(cell.metric in run for cell in cells.values())


def better(a: dict[str, Any], b: dict[str, Any], cell: Cell, factor: float) -> bool:
    high, low = (a, b) if cell.more_is_better else (b, a)
    return bool(high[cell.metric] > factor * low[cell.metric])


def summarise(model: str, name: str, pairs: list[dict[str, Any]], facts: ModelFacts) -> dict[str, Any]:
    """One cell of one model from its pairs; pairs that are void are counted and otherwise left out."""
    cell = CELLS[name]
    good = [pair for pair in pairs if not pair["void"]]
    row: dict[str, Any] = {"model": model, "cell": name, "pairs": len(good), "void_pairs": len(pairs) - len(good),
                           "ratio": {}, "pair_ratio": {}, "peers": {}}
    if not good:
        return {**row, "void": pairs[-1]["void"] if pairs else "nothing was measured"}
    values = lambda side: [p["runs"][side][cell.metric] for p in good if cell.metric in p["runs"].get(side, {})]  # noqa: E731
    ours = values("merritt")
    row["merritt"] = spread(ours)
    row["others_max"] = max(run.get("load", {}).get("others", 0) for p in good for run in p["runs"].values())
    for side in sorted({side for pair in good for side in pair["runs"]} - {"merritt"}):
        measured = values(side)
        if measured:
            row["peers"][side] = spread(measured)
        else:
            row["peers"][side] = {"not_run": next(p["runs"][side].get("not_run", "no such figure") for p in good
                                                  if side in p["runs"])}
    for peer in {side.split(" ")[0] for side in row["peers"]}:
        add_ratio(row, peer, cell, good)
    add_limit(row, name, good, facts)
    return row


def add_ratio(row: dict[str, Any], peer: str, cell: Cell, good: list[dict[str, Any]]) -> None:
    """Against the peer's best variant; of medians, and the range of the single pairs' ratios."""
    sides = {s: v["median"] for s, v in row["peers"].items() if s.split(" ")[0] == peer and "median" in v}
    if not sides:
        return
    best = (max if cell.more_is_better else min)(sides, key=lambda s: sides[s])
    ratios = [p["runs"]["merritt"][cell.metric] / p["runs"][best][cell.metric] for p in good
              if cell.metric in p["runs"].get(best, {})]
    row["ratio"][peer] = row["merritt"]["median"] / sides[best]
    row["pair_ratio"][peer] = {"best": best, "min": min(ratios), "max": max(ratios)}


def add_limit(row: dict[str, Any], name: str, good: list[dict[str, Any]], facts: ModelFacts) -> None:
    cell, group = CELLS[name], GROUPS[CELLS[name].group]
    if cell.metric == "rss_mib":
        kv = max(p["runs"]["merritt"].get("kv_bytes", 0) for p in good)
        row["rss_limit_mib"] = rss_limit_mib(facts.file_bytes, kv)
        return
    if cell.metric == "decode":
        row["read_gb_per_s"] = statistics.median(p["limits"]["read_gb_per_s"] for p in good)
        row["limit"] = decode_limit(facts, group, row["read_gb_per_s"] * 1e9)
    elif cell.metric == "prefill":
        row["tera_ops_per_s"] = statistics.median(map(prompt_peak, good))
        row["limit"] = prefill_limit(facts, group, row["tera_ops_per_s"] * 1e12)
    if "limit" in row:
        row["of_limit"] = row["merritt"]["median"] / row["limit"]


def prompt_peak(pair: dict[str, Any]) -> float:
    """Of the widest floating-point units, bf16 or f32: what a prompt could use at most."""
    peaks = pair["limits"]["tera_ops_per_s"]
    return max(peak for name, peak in peaks.items() if "int8" not in name and not isinstance(peak, str))


def table(rows: list[dict[str, Any]]) -> str:
    """For people: medians and ranges, ratio, part of the limit."""
    unit = {"prefill": "t/s", "decode": "t/s", "first_token_s": "s", "rss_mib": "MiB"}
    lines = [f"{'model':<17}{'cell':<13}{'Merritt':>24}{'llama.cpp (best)':>34}{'ratio':>7}{'of limit':>10}{'others':>8}"
             "  pairs"]
    for row in rows:
        if "void" in row:
            lines.append(f"{row['model']:<17}{row['cell']:<13}void: {row['void']}")
            continue
        best = row["pair_ratio"].get("llama.cpp", {}).get("best", "")
        ratio = f"{row['ratio']['llama.cpp']:.2f}" if "llama.cpp" in row["ratio"] else ""
        limit = f"{100 * row['of_limit']:.0f} %" if "of_limit" in row else ""
        if "rss_limit_mib" in row:
            limit = f"<{row['rss_limit_mib']:.0f}"
        lines.append(f"{row['model']:<17}{row['cell']:<13}{shown(row['merritt']):>20}{unit[CELLS[row['cell']].metric]:>4}"
                     f"{shown(row['peers'].get(best)):>26}{best.replace('llama.cpp', ''):>8}"
                     f"{ratio:>7}{limit:>10}{100 * row['others_max']:>6.1f} %{row['pairs']:>5}")
        for side, peer in row["peers"].items():
            if "not_run" in peer:
                lines.append(f"{'':<17}{'':<13}{side}: not run: {peer['not_run']}")
            elif not side.startswith("llama.cpp"):
                lines.append(f"{'':<17}{'':<13}{side}: {shown(peer)}, ratio {row['ratio'][side]:.2f}")
    return "\n".join(lines)


def shown(value: dict[str, Any] | None) -> str:
    if not value:
        return "-"
    digits = 1 if value["median"] >= 10 else 2
    return f"{value['median']:.{digits}f} ({value['min']:.{digits}f}-{value['max']:.{digits}f})"

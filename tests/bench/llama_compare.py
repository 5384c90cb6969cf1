#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Merritt and llama.cpp on the same file, the same cores, alternating A B B A; medians, spread and ratio as JSON.

usage: ./dev bench llama_compare [--model FILE] [--pairs 4] [-p 512] [-n 128] [--peer PYTHON] [--check]

PYTHON is an interpreter that has llama-cpp-python (default: one made at the first run in the dependencies' cache, from the
source distribution of PyPI with GGML_NATIVE and GGML_LLAMAFILE, which takes minutes). --check: exit code 1 unless prefill
and decode are at least half of llama.cpp's and the resident peak is within 1.2 x file + KV pool + 150 MiB.
"""
from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import _peers  # noqa: E402

ROOT = _peers.ROOT
RATIO_MIN = 0.5


def ours(args: argparse.Namespace) -> dict[str, float]:
    out = subprocess.run([ROOT / "build/bin/merritt", "bench", "-m", args.model, "-p", str(args.p), "-n", str(args.n),
                          "--backend", "onednn", "--threads", "2", "--json"], check=True, capture_output=True, text=True)
    report = json.loads(out.stdout)
    return {"prefill": report["prefill_tokens_per_s"]["median"], "decode": report["decode_tokens_per_s"]["median"],
            "rss_mib": report["peak_rss_bytes"] / 2**20,
            "rss_limit_mib": (1.2 * report["file_bytes"] + report["kv_bytes"]) / 2**20 + 150}


def theirs(args: argparse.Namespace) -> dict[str, float]:
    out = subprocess.run([args.peer, ROOT / "tests/bench/llama_side.py", args.model, "-p", str(args.p), "-n", str(args.n),
                          "-t", "2", "--repeat", "3"], check=True, capture_output=True, text=True,
                         env={**os.environ, **_peers.LLAMA_ENV})
    report = json.loads(out.stdout.strip().splitlines()[-1])
    return {"prefill": statistics.median(report["prefill_tokens_per_s"]),
            "decode": statistics.median(report["decode_tokens_per_s"]), "rss_mib": report["peak_rss_mib"]}


def failures(summary: dict[str, Any]) -> list[str]:
    """What --check holds against a summary."""
    found = [f"{key} is {summary[key]['ratio']:.2f} of llama.cpp's, less than {RATIO_MIN}"
             for key in ("prefill", "decode") if not summary[key]["ratio"] >= RATIO_MIN]
    peak, limit = summary["rss_mib"]["merritt_range"][1], summary["rss_limit_mib"]
    if not peak <= limit:
        found.append(f"the resident peak is {peak:.0f} MiB, more than {limit:.0f} MiB")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(ROOT / "models/gemma-3-270m-q4_k_m.gguf"))
    parser.add_argument("--pairs", type=int, default=4, help="pairs of runs, A B then B A; an even number is fair")
    parser.add_argument("-p", type=int, default=512)
    parser.add_argument("-n", type=int, default=128)
    parser.add_argument("--peer", default="")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    args.peer = args.peer or str(_peers.llama_python())
    runs: dict[str, list[dict[str, float]]] = {"merritt": [], "llama.cpp": []}
    for pair in range(args.pairs):
        sides = [("merritt", ours), ("llama.cpp", theirs)]
        for name, run in sides if pair % 2 == 0 else reversed(sides):
            runs[name].append(run(args))
    summary: dict[str, Any] = {"model": args.model, "pairs": args.pairs, "load_average": os.getloadavg()[0]}
    for key in ("prefill", "decode", "rss_mib"):
        a, b = ([run[key] for run in runs[name]] for name in ("merritt", "llama.cpp"))
        summary[key] = {"merritt": statistics.median(a), "merritt_range": [min(a), max(a)], "llama.cpp": statistics.median(b),
                        "llama.cpp_range": [min(b), max(b)], "ratio": statistics.median(a) / statistics.median(b)}
    summary["rss_limit_mib"] = runs["merritt"][0]["rss_limit_mib"]
    summary["failures"] = failures(summary)
    print(json.dumps(summary, indent=2))
    return 1 if args.check and summary["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())

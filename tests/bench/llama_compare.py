#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Merritt and llama.cpp on the same file, the same cores, alternating A B B A; medians, spread and ratio as JSON.

usage: ./dev bench llama_compare [--model FILE] [--pairs 5] [-p 512] [-n 128] [--peer PYTHON]

PYTHON is an interpreter that has llama-cpp-python (default: .venv/peers/bin/python, made here at the first run; the
source distribution is built with GGML_NATIVE and GGML_LLAMAFILE, which takes minutes).
"""
from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PEER_VERSION = "0.3.36"


def peer_python() -> pathlib.Path:
    python = ROOT / ".venv" / "peers" / "bin" / "python"
    if not python.is_file():
        subprocess.run([sys.executable, "-m", "venv", python.parents[1]], check=True)
        env = {**os.environ, "CMAKE_ARGS": "-DGGML_NATIVE=ON -DGGML_LLAMAFILE=ON"}
        subprocess.run([python, "-m", "pip", "install", "-q", "numpy", f"llama-cpp-python=={PEER_VERSION}"], check=True, env=env)
    return python


def ours(args: argparse.Namespace) -> dict[str, float]:
    out = subprocess.run([ROOT / "build/bin/merritt", "bench", "-m", args.model, "-p", str(args.p), "-n", str(args.n),
                          "--backend", "onednn", "--threads", "2", "--json"], check=True, capture_output=True, text=True)
    report = json.loads(out.stdout)
    return {"prefill": report["prefill_tokens_per_s"]["median"], "decode": report["decode_tokens_per_s"]["median"],
            "rss_mib": report["peak_rss_bytes"] / 2**20}


def theirs(args: argparse.Namespace) -> dict[str, float]:
    out = subprocess.run([args.peer, ROOT / "tests/bench/llama_side.py", args.model, "-p", str(args.p), "-n", str(args.n),
                          "-t", "2", "--repeat", "3"], check=True, capture_output=True, text=True)
    report = json.loads(out.stdout.strip().splitlines()[-1])
    return {"prefill": statistics.median(report["prefill_tokens_per_s"]),
            "decode": statistics.median(report["decode_tokens_per_s"]), "rss_mib": report["peak_rss_mib"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(ROOT / "models/gemma-3-270m-q4_k_m.gguf"))
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("-p", type=int, default=512)
    parser.add_argument("-n", type=int, default=128)
    parser.add_argument("--peer", default="")
    args = parser.parse_args()
    args.peer = args.peer or str(peer_python())
    runs: dict[str, list[dict[str, float]]] = {"merritt": [], "llama.cpp": []}
    for pair in range(args.pairs):
        sides = [("merritt", ours), ("llama.cpp", theirs)]
        for name, run in sides if pair % 2 == 0 else reversed(sides):
            runs[name].append(run(args))
    summary: dict[str, object] = {"model": args.model, "pairs": args.pairs, "load_average": os.getloadavg()[0]}
    for key in ("prefill", "decode", "rss_mib"):
        a, b = ([run[key] for run in runs[name]] for name in ("merritt", "llama.cpp"))
        summary[key] = {"merritt": statistics.median(a), "merritt_range": [min(a), max(a)], "llama.cpp": statistics.median(b),
                        "llama.cpp_range": [min(b), max(b)], "ratio": statistics.median(a) / statistics.median(b)}
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()

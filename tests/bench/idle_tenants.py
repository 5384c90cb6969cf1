#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A hundred tenants alone, and beside 1,900 that have a session and send nothing: what the idle ones cost.

usage: ./dev bench idle_tenants [--check] [--json] [--active N] [--idle N] [--pairs N] [--seconds S] [--model FILE]

The active tenants send short requests at a rate that the engine serves in half of its time. Runs alternate, alone, beside,
beside, alone, so that a machine that gets slower harms both. --check: exit code 1 when the median p99 to the first token
is more than a tenth longer beside the idle tenants, when one of those takes more than 16 KiB of memory (the model's KV pool
not counted: that is there without them), or when a request was refused.
"""
from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import sys
import tempfile
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import _load  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
LONGER_MOST = 1.10
HEAP_BYTES_MOST = 16 << 10
PAGE_TOKENS = 64  # of the engine, by default: an idle session holds one page
Report = dict[str, Any]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "models/stories260k.gguf")
    parser.add_argument("--active", type=int, default=100)
    parser.add_argument("--idle", type=int, default=1900)
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=20, help="of each run")
    parser.add_argument("--use", type=float, default=0.5, help="part of the time in which the engine serves the active ones")
    parser.add_argument("--threads", type=int, default=max(1, len(os.sched_getaffinity(0)) - 1), help="of the engine")
    parser.add_argument("--merritt", type=pathlib.Path, default=ROOT / "build/bin/merritt")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--json", action="store_true", help="all figures as JSON instead of a table")
    return parser.parse_args()


def p99(report: Report) -> float:
    """Of the tenants' p99 to the first token, the median: each of them is a victim."""
    return statistics.median(tenant["first_token_ms"]["p99"] for tenant in report["tenants"])


def judge(alone: list[Report], beside: list[Report]) -> dict[str, Any]:
    longer = statistics.median(map(p99, beside)) / statistics.median(map(p99, alone))
    heap = max(report["idle"]["heap_bytes_each"] for report in beside)
    failures = []
    if longer > LONGER_MOST:
        failures.append(f"p99 to the first token is {longer:.2f} times what it is alone, at most {LONGER_MOST}")
    if heap > HEAP_BYTES_MOST:
        failures.append(f"an idle tenant takes {heap / 1024:.1f} KiB, at most {HEAP_BYTES_MOST >> 10}")
    refused = sum(sum(tenant["requests"][kind].values()) for report in (*alone, *beside) for tenant in report["tenants"]
                  for kind in ("refused", "failed"))
    if refused:
        failures.append(f"{refused} requests were refused or failed")

    def runs(reports: list[Report]) -> list[dict[str, Any]]:
        return [{"first_token_ms_p99": p99(report), "requests": sum(t["first_token_ms"]["count"] for t in report["tenants"]),
                 "steps_per_s": report["steps"] / report["seconds"], "load": report["load"]} for report in reports]

    return {"p99_beside_over_alone": longer, "heap_bytes_each": heap, "kv_bytes_each": beside[0]["idle"]["kv_bytes_each"],
            "alone": runs(alone), "beside": runs(beside), "failures": failures}


class Bench:
    def __init__(self, args: argparse.Namespace, folder: pathlib.Path) -> None:
        self.args = args
        self.folder = folder
        self.cpus = sorted(os.sched_getaffinity(0))

    def run(self, arrivals: dict[str, Any], idle: int, seconds: float) -> Report:
        active = {"name": "active", "copies": self.args.active, "arrivals": arrivals, "prompt": 32, "output": 16}
        load = {"seconds": seconds, "warmup_seconds": 1, "seed": 1, "tenants": [active], "idle_tenants": idle,
                # The same pool in all runs, with room for everybody: nobody's pages are taken.
                "kv_tokens": (self.args.idle + 2 * self.args.active) * PAGE_TOKENS}
        spec = self.folder / "load.json"
        spec.write_text(json.dumps(load))
        words = [self.args.merritt, "bench", "-m", self.args.model, "--tenants", spec, "--context", 512, "--threads",
                 self.args.threads, "--json"]
        return _load.run_measured([str(word) for word in words], self.cpus, timeout_s=seconds + 600)

    def rate(self) -> float:
        """Of requests of one tenant."""
        full = self.run({"law": "closed", "clients": 1}, 0, min(self.args.seconds, 5))
        done = sum(tenant["requests"]["done"] for tenant in full["tenants"])
        return float(self.args.use * done / full["seconds"] / self.args.active)

    def measure(self) -> dict[str, Any]:
        arrivals = {"law": "poisson", "per_second": max(self.rate(), 1e-3)}
        alone: list[Report] = []
        beside: list[Report] = []
        for pair in range(self.args.pairs):
            for idle in (0, self.args.idle) if pair % 2 == 0 else (self.args.idle, 0):
                report = self.run(arrivals, idle, self.args.seconds)
                (beside if idle else alone).append(report)
                print(f"{idle:5} idle: p99 {p99(report):.2f} ms", file=sys.stderr, flush=True)
        return {"model": alone[0]["model"], "threads": alone[0]["threads"], "cpu": alone[0]["cpu"], "active": self.args.active,
                "idle": self.args.idle, "requests_per_second_each": arrivals["per_second"], **judge(alone, beside)}


def table(out: dict[str, Any]) -> str:
    lines = [f"{out['model']}, {out['threads']} threads, {out['active']} tenants with {out['requests_per_second_each']:.2f} requests/s each, "
             f"{out['idle']} idle ones: {out['heap_bytes_each'] / 1024:.1f} KiB of memory and {out['kv_bytes_each'] / 1024:.1f} KiB of KV each"]
    for name in ("alone", "beside"):
        lines += [f"{name:<8} p99 {run['first_token_ms_p99']:8.2f} ms  {run['requests']:7} requests  {run['steps_per_s']:8.0f} steps/s  "
                  f"others {100 * (run['load'].get('others', 0) + run['load'].get('stolen', 0)):.1f}%" for run in out[name]]
    return "\n".join([*lines, f"p99 beside the idle ones over alone: {out['p99_beside_over_alone']:.3f}"])


def main() -> int:
    args = parse()
    try:
        with tempfile.TemporaryDirectory() as folder:
            out = Bench(args, pathlib.Path(folder)).measure()
    except _load.RunError as error:
        print(f"bench idle_tenants: {error}", file=sys.stderr)
        return 1
    print(json.dumps(out, indent=2) if args.json else table(out))
    if args.check:
        print("\n".join(out["failures"]) or "the idle tenants cost what they may", file=sys.stderr)
    return 1 if args.check and out["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What this machine can do at most: reading memory, and multiply-adds of each instruction set; JSON.

usage: ./dev bench limits [--threads 2] [--passes 7]

Memory is 2 GiB on pages of 2 MiB (asked for; "huge_pages" says whether they came), read plainly in four streams per thread.
Operations run on registers only, so that no kernel can beat them. "load" is what others used of the CPUs meanwhile.
"""
from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import _load  # noqa: E402

PROGRAM = pathlib.Path(__file__).resolve().parents[2] / "build/bin/bench_limits"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--passes", type=int, default=7)
    args = parser.parse_args()
    cpus = sorted(os.sched_getaffinity(0))[: args.threads]
    try:
        report = _load.run_measured([PROGRAM, "--threads", str(args.threads), "--passes", str(args.passes)], cpus)
    except _load.RunError as error:
        print(f"bench limits: {error}", file=sys.stderr)
        return 1
    print(json.dumps({"cpus": cpus, **report}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())

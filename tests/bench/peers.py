#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Merritt and its peers on the same files and cores, alternating A B B A; medians, spread, ratio and share of the limit.

usage: ./dev bench peers [--models NAME,...] [--cells NAME,...] [--pairs 5] [--json] [--check] ...

Each pair measures the memory's read speed, then one process per side, in turned order in every second pair. A pair during
which others used more than --load-max of the CPUs is void and is measured again. Finished pairs are kept in --out: the same
call continues there, and --at-most stops after so many new ones. llama.cpp runs with flash attention on and off, and the
better counts; it gets huge pages. --check: exit code 1 unless the floors of the documentation hold.
"""
from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import _load  # noqa: E402
import _peers  # noqa: E402
import _sides  # noqa: E402
import synthetic  # noqa: E402
from _cells import CELLS, GROUPS, OPENVINO_CELLS, failures_of  # noqa: E402
from _pairs import Pairs, sides_to_run, summarise, table, void_reason  # noqa: E402

ROOT = _peers.ROOT
VOID_TRIES = 3  # void pairs in a row before a cell is left


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="", help="synthetic models by name, or GGUF files; default all synthetic ones")
    parser.add_argument("--cells", default="", help=f"of {', '.join(CELLS)}; default all")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one repetition in each process instead of three")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--isa-max", default="any", choices=("any", "avx2", "avx512", "vnni", "amx"), help="Merritt's cap")
    parser.add_argument("--peer-isa", default="", choices=tuple(_peers.LLAMA_FLAGS), help="llama.cpp's, a build of its own")
    parser.add_argument("--pack-cache", default="", help="folder of packed weights, for Merritt's side of the cell load")
    parser.add_argument("--peer", default="", help="interpreter with llama-cpp-python instead of the one made here")
    parser.add_argument("--fa", default="on,off", help="flash attention of llama.cpp: on, off or both")
    parser.add_argument("--no-openvino", action="store_true")
    parser.add_argument("--no-llama", action="store_true")
    parser.add_argument("--merritt", type=pathlib.Path, default=ROOT / "build/bin/merritt")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "build/bench/peers.jsonl")
    parser.add_argument("--at-most", type=int, default=0, help="stop after so many new pairs; the same call continues")
    parser.add_argument("--load-max", type=float, default=0.02, help="share of the CPUs that others may use")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--json", action="store_true", help="the summary as JSON instead of a table")
    args = parser.parse_args()
    args.models = [word for word in args.models.split(",") if word] or synthetic.names()
    args.cells = [word for word in args.cells.split(",") if word] or list(CELLS)
    for cell in args.cells:
        if cell not in CELLS:
            parser.error(f"no cell {cell!r}; there are {', '.join(CELLS)}")
    return args


def sides_of(args: argparse.Namespace, model: str, group: str) -> list[str]:
    peers = [] if args.no_llama else [f"llama.cpp fa={fa}" for fa in args.fa.split(",")]
    wanted = [name for name in OPENVINO_CELLS.get(model, ()) if CELLS[name].group == group]
    if wanted and not args.no_openvino:
        peers.append("openvino")
    return ["merritt", *peers]


def measure_pair(bench: _sides.Bench, model: _sides.Model, group: str, done: list[dict[str, Any]]) -> dict[str, Any]:
    args = bench.args
    cells = {name: CELLS[name] for name in args.cells if CELLS[name].group == group}
    sides = sides_to_run(done, sides_of(args, model.name, group), cells)
    if len(done) % 2 == 1:
        sides.reverse()
    limits = bench.limits(GROUPS[group])
    runs: dict[str, dict[str, Any]] = {}
    for side in sides:
        try:
            runs[side] = bench.run(side, model, GROUPS[group])
        except _load.RunError as error:
            if side == "merritt":
                raise
            runs[side] = {"not_run": str(error)}
    return {"key": bench.key(model, group), "order": sides, "limits": limits, "runs": runs,
            "void": void_reason(runs, args.load_max)}


def measure_all(bench: _sides.Bench, models: list[_sides.Model], pairs: Pairs) -> None:
    args, new = bench.args, 0
    groups = list(dict.fromkeys(CELLS[cell].group for cell in args.cells))
    for number in range(args.pairs):  # all cells once, then again: a cell's pairs are spread over the whole time
        for model in models:
            for group in groups:
                key, tries = bench.key(model, group), 0
                while len(pairs.counted(key)) <= number and tries < VOID_TRIES:
                    if args.at_most and new == args.at_most:
                        return
                    pair = measure_pair(bench, model, group, pairs.counted(key))
                    pairs.add(pair)
                    tries, new = tries + 1, new + 1
                    figures = {side: {metric: round(value, 2) for metric, value in run.items() if metric in _sides.METRICS}
                               for side, run in pair["runs"].items()}
                    print(f"{model.name} {group} pair {number + 1}: {figures} {pair['void']}", file=sys.stderr, flush=True)


def main() -> int:
    args = parse()
    bench = _sides.Bench(args)
    models = [bench.model(word) for word in args.models]
    pairs = Pairs(args.out)
    try:
        measure_all(bench, models, pairs)
    except _load.RunError as error:
        print(f"bench peers: {error}", file=sys.stderr)
        return 1
    rows = [summarise(model.name, cell, pairs.of(bench.key(model, CELLS[cell].group)), model.facts)
            for model in models for cell in args.cells]
    amx = "amx_tile" in _load.cpu_flags()
    capped = args.isa_max != "any" or args.peer_isa != ""
    failures = [failure for row in rows for failure in failures_of(row, capped, amx)]
    summary = {"machine": bench.machine(), "threads": args.threads, "isa_max": args.isa_max, "peer_isa": args.peer_isa,
               "load_average": os.getloadavg()[0], "load_max": args.load_max, "rows": rows, "not_run": _peers.NOT_RUN,
               "failures": failures}
    print(json.dumps(summary, indent=2) if args.json else table(rows))
    if args.check:
        print("\n".join(failures) or "all floors hold", file=sys.stderr)
    return 1 if args.check and failures else 0


if __name__ == "__main__":
    sys.exit(main())

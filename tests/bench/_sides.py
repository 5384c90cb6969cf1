# SPDX-License-Identifier: Apache-2.0
"""How each side of a comparison is run, and what of its answer counts."""
from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import pathlib
import statistics
import subprocess
from typing import Any

import _load
import _peers
import synthetic
from _cells import Group, ModelFacts, model_facts
from dev import util

ROOT = _peers.ROOT
HERE = pathlib.Path(__file__).resolve().parent
METRICS = ("prefill", "decode", "first_token_s", "rss_mib")


@dataclasses.dataclass(frozen=True)
class Model:
    name: str
    path: pathlib.Path
    facts: ModelFacts

    @property
    def kind(self) -> str:
        return self.name.rpartition("-")[2]


def digest_of_build(command: pathlib.Path) -> str:
    """Of the command, the library and the plugins: pairs of different builds are never mixed."""
    home = command.resolve().parent.parent
    digest = hashlib.sha256(command.read_bytes())
    for path in sorted([*home.glob("lib/libmerritt.so.*"), *home.glob("lib/merritt/plugins/*.so")]):
        if not path.is_symlink():
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def shape_words(group: Group) -> list[str]:
    return ["-p", str(group.prompt), "-n", str(group.steps), "-d", str(group.depth), "-b", str(group.batch)]


class Bench:
    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.cpus = sorted(os.sched_getaffinity(0))[: args.threads]
        self.build = digest_of_build(args.merritt)
        self.repeat = 1 if args.quick else 3
        self.flags = _load.cpu_flags()
        self.packed: set[str] = set()
        self._llama: pathlib.Path | None = pathlib.Path(args.peer) if args.peer else None

    def model(self, word: str) -> Model:
        path = pathlib.Path(word) if word.endswith(".gguf") else synthetic.ensure(word)
        out = subprocess.run([self.args.merritt, "inspect", path, "--tensors", "--metadata", "--json"], check=True,
                             capture_output=True, text=True)
        return Model(path.stem, path, model_facts(json.loads(out.stdout)))

    def key(self, model: Model, group: str) -> dict[str, Any]:
        """What two pairs must have in common to be counted together."""
        return {"model": model.name, "bytes": model.facts.file_bytes, "group": group, "merritt": self.build,
                "llama.cpp": self.args.peer or _peers.LLAMA_BUILD, "isa_max": self.args.isa_max,
                "peer_isa": self.args.peer_isa, "threads": self.args.threads, "repeat": self.repeat,
                **({"pack_cache": True} if self.args.pack_cache and group == "load" else {})}

    def limits(self, group: Group) -> dict[str, Any]:
        """What this minute's machine can do: the best of nine passes, since what else it does can only slow it."""
        words = [] if group.prompt else ["--read-only"]
        program = ROOT / "build/bin/bench_limits"
        report = _load.run_measured([program, "--threads", str(self.args.threads), "--passes", "9", *words], self.cpus)
        best = lambda rates: rates[str(self.args.threads)]["max"] if isinstance(rates, dict) else rates  # noqa: E731
        return {"read_gb_per_s": best(report["read"]["gb_per_s"]),
                "tera_ops_per_s": {name: best(rates) for name, rates in report.get("tera_ops_per_s", {}).items()}}

    def machine(self) -> dict[str, Any]:
        names = [line.split(":", 1)[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                 if line.startswith("model name")]
        return {"cpu": names[0] if names else "", "cpus": self.cpus, "amx": "amx_tile" in self.flags}

    def run(self, side: str, model: Model, group: Group) -> dict[str, Any]:
        if side == "merritt":
            return self.merritt_load(model) if group.load else self.merritt(model, group)
        if side == "openvino":
            return self.openvino(model, group)
        return self.llama(model, group, side.partition("fa=")[2])

    def merritt_words(self) -> list[str]:
        return ["--backend", "onednn", "--threads", str(self.args.threads), "--isa-max", self.args.isa_max]

    def merritt(self, model: Model, group: Group) -> dict[str, Any]:
        report = _load.run_measured(
            [self.args.merritt, "bench", "-m", model.path, *shape_words(group), "-r", str(self.repeat), "--kv-type", "f16",
             "--json", *self.merritt_words()], self.cpus)
        out = {"rss_mib": report["peak_rss_bytes"] / 2**20, "kv_bytes": report["kv_bytes"], "load": report["load"],
               "wall_s": report["wall_s"]}
        for ours, theirs in (("prefill", "prefill_tokens_per_s"), ("decode", "decode_tokens_per_s")):
            if theirs in report:
                out[ours] = report[theirs]["median"]
        return out

    def merritt_load(self, model: Model) -> dict[str, Any]:
        self.keep_in_page_cache(model)
        words = [self.args.merritt, "run", "-m", model.path, "--raw", "-p", "hello", "--max-tokens", "1", "--quiet",
                 "--kv-type", "f16", "--context", "512", *self.merritt_words()]
        if self.args.pack_cache:
            words += ["--pack-cache", self.args.pack_cache]
            if model.name not in self.packed:  # the first load makes the pack, and puts it into the page cache
                _load.time_to_first_output(words, self.cpus)
                self.packed.add(model.name)
        report = _load.time_to_first_output(words, self.cpus)
        return {"first_token_s": report["first_output_s"], "load": report["load"], "wall_s": report["wall_s"]}

    def llama(self, model: Model, group: Group, fa: str) -> dict[str, Any]:
        if self._llama is None:
            self._llama = _peers.llama_python(self.args.peer_isa)
        words: list[Any] = [self._llama, HERE / "llama_side.py", model.path, "-t", str(self.args.threads), "--fa", fa]
        if group.load:
            self.keep_in_page_cache(model)
            words.append("--first-token")
        else:
            words += [*shape_words(group), "--repeat", str(self.repeat)]
        if group.depth >= 4096:
            states = util.deps_dir() / "bench-models" / "states"
            states.mkdir(parents=True, exist_ok=True)
            words += ["--state", states / f"{model.name}-{model.facts.file_bytes}-{group.depth}-{_peers.LLAMA_BUILD}-{fa}"]
        report = _load.run_measured(words, self.cpus, _peers.LLAMA_ENV)
        faults = _peers.llama_faults(report, model.kind, self.flags, self.args.peer_isa)
        if faults:
            return {"not_run": "; ".join(faults), "load": report["load"]}
        out = {"rss_mib": report["peak_rss_mib"], "load": report["load"], "wall_s": report["wall_s"],
               "amx_buffer": "the CPU has no AMX"}
        if "amx_tile" in self.flags:
            out["amx_buffer"] = any("AMX" in line for line in report["buffers"])
        for ours, theirs in (("prefill", "prefill_tokens_per_s"), ("decode", "decode_tokens_per_s")):
            if report.get(theirs):
                out[ours] = statistics.median(report[theirs])
        if group.load:
            out["first_token_s"], out["python_s"] = report["first_token_s"], report["python_s"]
        return out

    def openvino(self, model: Model, group: Group) -> dict[str, Any]:
        # Its GGUF reader takes byte-level BPE vocabularies only: the same weights under such a header.
        path = synthetic.ensure(model.name, vocabulary="gpt2")
        report = _load.run_measured(
            [_peers.openvino_python(), HERE / "openvino_side.py", path, *shape_words(group), "-t", str(self.args.threads),
             "--repeat", str(self.repeat)], self.cpus)
        out = {"rss_mib": report["peak_rss_mib"], "load": report["load"], "wall_s": report["wall_s"]}
        for name in ("prefill", "decode"):
            if report.get(name):
                out[name] = statistics.median(report[name])
        return out

    @staticmethod
    def keep_in_page_cache(model: Model) -> None:
        with open(model.path, "rb", buffering=0) as file:
            block = bytearray(1 << 22)
            while file.readinto(block):
                pass

# SPDX-License-Identifier: Apache-2.0
"""merritt bench on the small model, and the micro benchmarks of the kernels: what they report, never how fast."""
from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest
from merritt_command import ROOT, Merritt


def test_bench_measures(merritt: Merritt, model_path: pathlib.Path) -> None:
    done = merritt("bench", "-m", model_path, "-p", 32, "-n", 16, "-d", 8, "-b", 2, "-r", 2, "--trace-kernels", "--json")
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout)
    for name in ("prefill_tokens_per_s", "decode_tokens_per_s", "first_token_ms"):
        assert len(out[name]["runs"]) == 2 and min(out[name]["runs"]) > 0
        assert out[name]["min"] <= out[name]["p25"] <= out[name]["median"] <= out[name]["p75"] <= out[name]["max"]
    assert (out["prompt_tokens"], out["generated_tokens"], out["depth"], out["batch"]) == (32, 16, 8, 2)
    assert out["weight_bytes"] > 0 and out["kv_bytes"] > 0 and out["peak_rss_bytes"] > out["weight_bytes"]


def test_bench_leaves_out_what_it_did_not_measure(merritt: Merritt, model_path: pathlib.Path) -> None:
    words = ("bench", "-m", model_path, "-r", 1, "--threads", 1, "--json")
    prompt = json.loads(merritt(*words, "-p", 16, "-n", 0).stdout)
    assert "prefill_tokens_per_s" in prompt and "decode_tokens_per_s" not in prompt
    decode = json.loads(merritt(*words, "-p", 0, "-n", 2).stdout)
    assert "prefill_tokens_per_s" not in decode and "first_token_ms" not in decode
    assert decode["decode_tokens_per_s"]["median"] > 0
    assert prompt["threads"] == decode["threads"] == 1


def test_bench_speculates(merritt: Merritt, model_path: pathlib.Path) -> None:
    words = ("bench", "-m", model_path, "-p", 0, "-n", 64, "-b", 2, "-r", 1, "--json")
    out = json.loads(merritt(*words, "--speculate", 4).stdout)
    assert out["speculate"] == 4 and out["decode_tokens_per_s"]["median"] > 0
    assert 0 <= out["draft_tokens_accepted"] <= out["draft_tokens"]
    assert "draft_tokens" not in json.loads(merritt(*words).stdout)


@pytest.mark.parametrize("backend", ["onednn", "reference"])
def test_a_trace_names_the_kernel_of_every_node(merritt: Merritt, model_path: pathlib.Path, backend: str) -> None:
    done = merritt("bench", "-m", model_path, "-p", 8, "-n", 0, "-r", 1, "--backend", backend, "--trace-kernels", "--json")
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout)
    kernels = out["kernels"]
    for rows in ("prompt", "generated"):
        nodes = kernels[rows]
        assert [node["node"] for node in nodes] == list(range(len(nodes)))
        assert [node["op"] for node in nodes].count("attention") == 5
        assert [node["op"] for node in nodes].count("linear") == 5 * 7 + 1
        assert all(node["kernel"] for node in nodes)
        assert sum(node["flops_share"] for node in nodes) == pytest.approx(1.0, abs=0.01)
    prompt = [node["kernel"] for node in kernels["prompt"] if node["op"] == "linear"]
    if backend == "onednn":
        assert all(kernel.startswith("onednn:") for kernel in prompt), prompt
        assert kernels["onednn_share_of_prefill_flops"] > 0.5
        assert out["cpu_features"].startswith("avx2 fma")
    else:
        assert not any("onednn" in kernel for kernel in prompt)
        assert kernels["onednn_share_of_prefill_flops"] == 0
        assert out["cpu_features"] == "baseline x86-64"


def test_features_used_follow_the_kernels(merritt: Merritt, model_path: pathlib.Path) -> None:
    out = json.loads(merritt("bench", "-m", model_path, "-p", 8, "-n", 0, "-r", 1, "--isa-max", "avx2", "--json").stdout)
    assert "avx2" in out["cpu_features"] and "avx512" not in out["cpu_features"]


def test_micro_benchmarks_report_as_json(program: pathlib.Path) -> None:
    bench = program.with_name("bench_kernels")
    done = subprocess.run([bench, "--benchmark_filter=^(gemv|prompt)/q4_K/(1|16)$|^attention/.*/4$",
                           "--benchmark_min_time=0.001", "--benchmark_format=json"], capture_output=True)
    assert done.returncode == 0, done.stderr
    runs = {run["name"]: run for run in json.loads(done.stdout)["benchmarks"]}
    assert {name.split("/")[0] for name in runs} == {"gemv", "prompt", "attention"}
    assert all(run["iterations"] > 0 and not run.get("error_occurred") for run in runs.values())


@pytest.mark.parametrize(("peer_speed", "code"), [(1e-3, 0), (1e9, 1)], ids=["slower peer", "faster peer"])
def test_the_comparison_with_llama_cpp_decides(
    model_path: pathlib.Path, tmp_path: pathlib.Path, peer_speed: float, code: int
) -> None:
    """The script's arithmetic and verdict, with a stand-in for llama.cpp's side."""
    peer = tmp_path / "peer"
    report = {"prefill_tokens_per_s": [peer_speed] * 3, "decode_tokens_per_s": [peer_speed] * 3, "peak_rss_mib": 50}
    peer.write_text(f"#!/bin/sh\necho '{json.dumps(report)}'\n")
    peer.chmod(0o755)
    done = subprocess.run([sys.executable, ROOT / "tests" / "bench" / "llama_compare.py", "--model", model_path, "--pairs", "2",
                           "-p", "16", "-n", "4", "--peer", peer, "--check"], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    out = json.loads(done.stdout)
    assert out["prefill"]["llama.cpp"] == peer_speed
    assert out["prefill"]["ratio"] == pytest.approx(out["prefill"]["merritt"] / peer_speed)
    assert out["rss_mib"]["merritt_range"][1] <= out["rss_limit_mib"]
    assert [failure.split()[0] for failure in out["failures"]] == (["prefill", "decode"] if code else [])

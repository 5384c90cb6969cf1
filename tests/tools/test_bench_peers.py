# SPDX-License-Identifier: Apache-2.0
"""./dev bench peers: what counts, what is void, the limits' arithmetic, and that a stopped comparison goes on."""
from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from typing import Any

import pytest
from merritt_command import ROOT, Merritt

sys.path.insert(0, str(ROOT / "tests" / "bench"))
import _cells  # noqa: E402
import _load  # noqa: E402
import _pairs  # noqa: E402
import _peers  # noqa: E402

FACTS = _cells.ModelFacts(file_bytes=1000, read_bytes=900, layer_weights=100, tail_weights=0, layers=6, kv_heads=1, head_dim=4, heads=2,
                          window=8)


def pair(ours: float, theirs: float, void: str = "", **more: Any) -> dict[str, Any]:
    runs = {"merritt": {"decode": ours, "load": {"others": 0.01, "stolen": 0.0}},
            "llama.cpp fa=on": {"decode": theirs, **more}}
    return {"key": {"k": 1}, "limits": {"read_gb_per_s": 1e-6}, "runs": runs, "void": void}


def test_others_use_is_what_is_left_of_the_machines_time() -> None:
    line = lambda user, idle, steal: f"cpu {user} 0 0 {idle} 0 0 0 {steal} 0 0\ncpu0 1\ncpu1 1\n"  # noqa: E731
    before = _load.CpuTimes.parse(line(1000, 5, 0))
    after = _load.CpuTimes.parse(line(1000 + 3 * _load.TICK, 5, _load.TICK // 2))
    load = _load.others_share(before, after, own_s=2.0, wall_s=5.0)
    assert load == {"others": pytest.approx(0.1), "stolen": pytest.approx(0.05)}


def test_a_pair_beside_other_work_is_void() -> None:
    runs = {"merritt": {"load": {"others": 0.005, "stolen": 0.0}},
            "llama.cpp fa=on": {"load": {"others": 0.015, "stolen": 0.01}}}
    assert "2.5 %" in _pairs.void_reason(runs, 0.02) and "llama.cpp" in _pairs.void_reason(runs, 0.02)
    assert _pairs.void_reason(runs, 0.03) == ""


def test_decode_limit_counts_weights_once_and_every_sequences_kv() -> None:
    # Layers 0 to 4 see at most 8 tokens, layer 5 all; 2 planes of 1 head of 4 values of 2 bytes = 16 bytes a token.
    assert FACTS.kv_read_bytes(100) == (5 * 8 + 100) * 16
    group = _cells.Group(steps=4, depth=98, batch=3)
    assert _cells.decode_limit(FACTS, group, 1e6) == pytest.approx(3e6 / (900 + 3 * 140 * 16))


def test_prompt_flops_count_matrices_and_attention() -> None:
    one = _cells.ModelFacts(0, 0, layer_weights=10, tail_weights=3, layers=1, kv_heads=1, head_dim=4, heads=2, window=0)
    assert one.prompt_flops(128) == pytest.approx(2 * 7 * 128 + 4 * 8 * 64 * (32 + 96))


def test_facts_leave_out_an_embedding_that_is_not_the_head() -> None:
    tensors = [{"name": "token_embd.weight", "bytes": 50, "dims": [4, 10]},
               {"name": "blk.0.attn_q.weight", "bytes": 7, "dims": [4, 6]},
               {"name": "blk.0.attn_norm.weight", "bytes": 3, "dims": [4]}]
    meta = {"llama.attention.head_count": "2", "llama.embedding_length": "4", "llama.block_count": "1"}
    inspected = {"architecture": "llama", "file_bytes": 99, "metadata": meta, "tensor_list": tensors}
    tied = _cells.model_facts(inspected)
    assert (tied.read_bytes, tied.layer_weights, tied.head_dim, tied.kv_heads, tied.window) == (60, 24, 2, 2, 0)
    assert tied.tail_weights == 0
    tensors.append({"name": "blk.0.ffn_up.weight", "bytes": 0, "dims": [4, 5]})
    assert (_cells.model_facts(inspected).layer_weights, _cells.model_facts(inspected).tail_weights) == (44, 20)
    tensors.append({"name": "output.weight", "bytes": 40, "dims": [4, 10]})
    assert _cells.model_facts(inspected).read_bytes == 50


def test_a_summary_takes_medians_and_the_peers_better_variant() -> None:
    pairs = [pair(30, 10), pair(20, 11), pair(40, 1, void="others used 9 % of the CPUs")]
    for one in pairs:
        one["runs"]["llama.cpp fa=off"] = {"decode": 20}
        one["runs"]["openvino"] = {"not_run": "no such model"}
    row = _pairs.summarise("m", "tg128", pairs, FACTS)
    assert (row["pairs"], row["void_pairs"], row["merritt"]["median"]) == (2, 1, 25)
    assert row["pair_ratio"]["llama.cpp"] == {"best": "llama.cpp fa=off", "min": 1.0, "max": 1.5}
    assert row["ratio"] == {"llama.cpp": 1.25} and row["peers"]["openvino"] == {"not_run": "no such model"}
    assert row["of_limit"] == pytest.approx(25 / _cells.decode_limit(FACTS, _cells.GROUPS["base"], 1e3))
    assert "fa=off" in _pairs.table([row]) and "no such model" in _pairs.table([row])
    assert _pairs.summarise("m", "tg128", pairs[2:], FACTS)["void"].startswith("others")


def test_a_variant_that_lost_clearly_is_not_run_again() -> None:
    cells = {"tg128": _cells.CELLS["tg128"]}
    sides = ["merritt", "llama.cpp fa=on", "llama.cpp fa=off", "openvino"]
    first = pair(30, 20)
    first["runs"] |= {"llama.cpp fa=off": {"decode": 10}, "openvino": {"not_run": "x"}}
    assert _pairs.sides_to_run([], sides, cells) == sides
    assert _pairs.sides_to_run([first], sides, cells) == ["merritt", "llama.cpp fa=on"]
    first["runs"]["llama.cpp fa=off"]["decode"] = 19
    assert _pairs.sides_to_run([first], sides, cells) == ["merritt", "llama.cpp fa=on", "llama.cpp fa=off"]


def test_floors() -> None:
    row = {"model": "llama1b-q8_0", "cell": "tg128", "ratio": {"llama.cpp": 1.2}, "of_limit": 0.9}
    assert _cells.failures_of(row, capped=False, amx=False) == []
    assert len(_cells.failures_of({**row, "ratio": {"llama.cpp": 1.0}, "of_limit": 0.5}, capped=False, amx=False)) == 2
    assert _cells.failures_of({**row, "ratio": {"llama.cpp": 1.05}, "of_limit": 0.1}, capped=True, amx=False) != []
    load = {"model": "llama1b-q8_0", "cell": "load", "ratio": {"llama.cpp": 0.7}}
    assert len(_cells.failures_of(load, capped=False, amx=False)) == 1
    rss = {"model": "x", "cell": "rss", "merritt": {"max": 10.0}, "rss_limit_mib": 9.0}
    assert "more than 9" in _cells.failures_of(rss, capped=False, amx=False)[0]
    prefill = {"model": "llama1b-bf16", "cell": "pp512", "ratio": {"llama.cpp": 7.0}, "of_limit": 0.1}
    assert len(_cells.failures_of(prefill, capped=False, amx=True)) == 1
    assert _cells.failures_of(prefill, capped=False, amx=False) == []  # that share is of the AMX peak
    slow = {"model": "qwen06b-q4_0", "cell": "batch8", "ratio": {"openvino": 0.9}}
    assert "OpenVINO" in _cells.failures_of(slow, capped=False, amx=False)[0]


def test_a_build_that_is_not_the_wanted_one_does_not_count() -> None:
    good = {"system_info": "AVX2 = 1 | LLAMAFILE = 1 | ", "buffers": ["AMX model buffer size = 700 MiB"]}
    assert _peers.llama_faults(good, "q4_0", {"amx_tile"}) == []
    assert _peers.llama_faults({**good, "system_info": "LLAMAFILE = 0"}, "q4_0", set()) != []
    assert "AMX" in _peers.llama_faults({**good, "buffers": ["CPU buffer size"]}, "q8_0", {"amx_tile"})[0]
    assert _peers.llama_faults({**good, "buffers": []}, "bf16", {"amx_tile"}) == []
    assert _peers.llama_faults({**good, "buffers": []}, "q8_0", {"amx_tile"}, isa="vnni") == []


def test_the_first_output_is_timed_from_the_start_of_the_process() -> None:
    words = ["sh", "-c", "sleep 0.2; printf a; sleep 0.2; printf b"]
    report = _load.time_to_first_output(words, [0])
    assert report["stdout"] == "ab" and 0.2 <= report["first_output_s"] < report["wall_s"]
    with pytest.raises(_load.RunError):
        _load.time_to_first_output(["sh", "-c", "echo why >&2; exit 3"], [0])


@pytest.fixture
def stand_in(tmp_path: pathlib.Path) -> pathlib.Path:
    """An interpreter whose llama.cpp always answers the same."""
    peer = tmp_path / "peer"
    report = {"prefill_tokens_per_s": [5.0], "decode_tokens_per_s": [2.0], "peak_rss_mib": 50, "system_info": "LLAMAFILE = 1",
              "buffers": ["AMX"], "first_token_s": 0.5, "python_s": 0.1}
    peer.write_text(f"#!/bin/sh\necho run >> {tmp_path}/runs\necho '{json.dumps(report)}'\n")
    peer.chmod(0o755)
    return peer


def test_a_stopped_comparison_goes_on(
    merritt: Merritt, model_path: pathlib.Path, tmp_path: pathlib.Path, stand_in: pathlib.Path
) -> None:
    out = tmp_path / "pairs.jsonl"
    words = [sys.executable, ROOT / "tests/bench/peers.py", "--models", model_path, "--cells", "batch4", "--quick",
             "--peer", stand_in, "--fa", "on", "--pairs", "2", "--load-max", "10", "--out", out, "--json", "--threads", "1"]
    first = subprocess.run([*words, "--at-most", "1"], capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    assert [row["pairs"] for row in json.loads(first.stdout)["rows"]] == [1]
    with open(out, "a") as file:
        file.write('{"key": {"half a li')  # the machine went down
    second = subprocess.run(words, capture_output=True, text=True)
    assert second.returncode == 0, second.stderr
    row = json.loads(second.stdout)["rows"][0]
    assert row["pairs"] == 2 and row["peers"]["llama.cpp fa=on"]["median"] == 2.0
    assert row["ratio"]["llama.cpp"] == pytest.approx(row["merritt"]["median"] / 2.0) and row["limit"] > 0
    assert (tmp_path / "runs").read_text().count("run") == 2
    orders = [json.loads(line)["order"] for line in out.read_text().splitlines() if line.endswith("}")]
    assert orders == [["merritt", "llama.cpp fa=on"], ["llama.cpp fa=on", "merritt"]]


def test_loading_is_timed_with_the_pack_that_the_load_before_made(
    merritt: Merritt, model_path: pathlib.Path, tmp_path: pathlib.Path, stand_in: pathlib.Path
) -> None:
    words = [sys.executable, ROOT / "tests/bench/peers.py", "--models", model_path, "--cells", "load", "--peer", stand_in,
             "--fa", "on", "--pairs", "1", "--load-max", "10", "--out", tmp_path / "pairs.jsonl", "--json", "--threads", "1",
             "--pack-cache", tmp_path / "packs"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)["rows"][0]
    assert row["ratio"]["llama.cpp"] == pytest.approx(row["merritt"]["median"] / 0.5) and row["merritt"]["median"] > 0
    assert (tmp_path / "packs").is_dir()


def test_limits_are_measured(program: pathlib.Path) -> None:
    limits = program.with_name("bench_limits")
    done = subprocess.run([limits, "--threads", "2", "--mib", "16", "--passes", "1"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout)
    assert set(out["read"]["gb_per_s"]) == {"1", "2"} and out["read"]["gb_per_s"]["2"]["median"] > 0
    peaks = out["tera_ops_per_s"]
    assert set(peaks) == {"avx2_f32", "avx512_f32", "avx512_vnni_int8", "avx512_bf16", "amx_int8", "amx_bf16"}
    flags = _load.cpu_flags()
    assert isinstance(peaks["amx_bf16"], dict) == ({"amx_tile", "amx_bf16"} <= flags)
    assert peaks["avx2_f32"]["1"]["median"] > 0
    assert subprocess.run([limits, "--threads", "x"], capture_output=True).returncode == 2

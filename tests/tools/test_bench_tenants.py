# SPDX-License-Identifier: Apache-2.0
"""merritt bench --tenants and ./dev bench tenants on the small model: what they report, never how fast."""
from __future__ import annotations

import json
import pathlib
import re
import subprocess
import sys
import xml.etree.ElementTree
from typing import Any

import pytest
from merritt_command import ROOT, Merritt

sys.path.insert(0, str(ROOT / "tests" / "bench"))
import _scenarios  # noqa: E402
import idle_tenants  # noqa: E402
import tenants  # noqa: E402

Load = dict[str, Any]


@pytest.fixture
def bench(merritt: Merritt, model_path: pathlib.Path, tmp_path: pathlib.Path) -> Any:
    def run(tenants: list[Load], *words: object, **fields: Any) -> dict[str, Any]:
        spec = tmp_path / "spec.json"
        spec.write_text(json.dumps({"seconds": 60, "warmup_seconds": 0.05, "tenants": tenants, **fields}))
        model = [] if "-m" in words else ["-m", model_path]
        done = merritt("bench", *model, "--tenants", spec, "--threads", 1, "--json", *words)
        assert done.returncode == 0, done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        report["by_name"] = {tenant["tenant"]: tenant for tenant in report["tenants"]}
        return report

    return run


def test_two_tenants_are_measured(bench: Any, tmp_path: pathlib.Path) -> None:
    page = tmp_path / "page.html"
    out = bench([{"name": "steady", "requests": 20, "arrivals": {"law": "poisson", "per_second": 60}, "prompt": 16, "output": 8},
                 {"name": "busy", "weight": 2, "arrivals": {"law": "closed", "clients": 4}, "output": 12,
                  "prompt": {"law": "lognormal", "median": 20, "most": 60}}], "--report", page, bucket_seconds=0.1)
    assert 0 < out["seconds"] < 60, "the numbered tenant ends the run"
    assert out["steps"] > 0 and 0 < out["jain_index"] <= 1
    steady, busy = out["by_name"]["steady"], out["by_name"]["busy"]
    assert steady["requests"]["done"] >= 20 and busy["requests"]["done"] > 0
    for tenant in (steady, busy):
        for figure in ("first_token_ms", "first_token_steps", "between_tokens_ms"):
            found = tenant[figure]
            assert 0 <= found["p50"] <= found["p90"] <= found["p99"] <= found["max"] and found["count"] > 0
        assert tenant["tokens_out"] == sum(piece["tokens_out"] for piece in tenant["timeline"])
        assert tenant["tokens_in"] == sum(piece["tokens_in"] for piece in tenant["timeline"])
        assert tenant["compute_ms"] > 0 and tenant["requests"]["refused"] == tenant["requests"]["failed"] == {}
    assert steady["tokens_in"] % 16 == 0
    html = page.read_text()
    assert "<script" not in html and "://" not in html
    charts = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(charts) == 5
    for chart in charts:
        xml.etree.ElementTree.fromstring(chart)
        assert "<title>steady</title>" in chart and "<title>busy</title>" in chart


def test_hostile_tenants_are_counted(bench: Any) -> None:
    storm = {"prompt": 100, "output": 200}
    out = bench([{"name": "victim", "requests": 30, "prompt": 8, "output": 4},
                 {"name": "cancels", "arrivals": {"law": "closed", "clients": 4}, "cancel_probability": 1, **storm},
                 {"name": "slow_reader", "arrivals": {"law": "closed", "clients": 2}, "reader_pause_ms": 20, "output": 40},
                 {"name": "too_long", "text_bytes": 3000, "prompt_bytes_max": 2000, "retry_ms": 5},
                 {"name": "bombs", "stop_strings": 64, "stop_bytes": 1024},
                 {"name": "retries", "arrivals": {"law": "closed", "clients": 6}, "queue_max": 1, "sequences_max": 1,
                  "retry_ms": 1},
                 {"name": "sessions", "sessions_per_second": 500, "sessions_held": 20}])
    found = out["by_name"]
    assert found["victim"]["requests"]["done"] >= 30
    assert found["cancels"]["requests"]["cancelled"] > 0 and found["cancels"]["requests"]["done"] == 0
    assert found["too_long"]["requests"]["sent"] == 0
    assert list(found["too_long"]["requests"]["refused"]) == ["quota_exceeded"]
    assert sum(found["retries"]["requests"]["refused"].values()) > 0
    assert found["sessions"]["sessions"] > 0
    assert all(tenant["requests"]["failed"] == {} for tenant in out["tenants"])


def test_conversations_are_rendered(bench: Any, merritt: Merritt, model_path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """A model without a template gets one for it, and is the same otherwise."""
    model = tenants.with_template(model_path, tmp_path / "talks.gguf")
    talks = bench([{"name": "talks", "requests": 4, "messages": 3, "output": 2}], "-m", model)["by_name"]["talks"]
    assert talks["requests"]["done"] >= 4
    bomb = bench([{"name": "bomb", "messages": 200_000, "retry_ms": 5}], "-m", model, seconds=3)["by_name"]["bomb"]
    assert bomb["requests"]["sent"] == 0 and sum(bomb["requests"]["refused"].values()) > 0
    assert tenants.with_template(model, tmp_path / "again.gguf") == model
    texts = [merritt("run", "-m", path, "-p", "the", "--raw", "-n", "8", "--temperature", "0").stdout for path in (model_path, model)]
    assert texts[0] and texts[0] == texts[1]


def test_a_slow_reader_loses_nothing(bench: Any) -> None:
    out = bench([{"name": "slow", "requests": 3, "prompt": 8, "output": 40, "reader_pause_ms": 5}], warmup_seconds=0)
    slow = out["by_name"]["slow"]
    assert slow["requests"]["done"] == 3 and slow["tokens_out"] == 3 * 40


def test_one_capability_for_two_loads(bench: Any) -> None:
    out = bench([{"name": "a", "requests": 10, "output": 4}, {"name": "b", "as": "a", "output": 4}])
    assert out["by_name"]["b"]["tokens_out"] > 0
    assert out["by_name"]["b"]["compute_ms"] == 0 < out["by_name"]["a"]["compute_ms"], "the bill is the tenant's"


def test_idle_tenants_are_there_and_keep_their_past(bench: Any) -> None:
    copies = {"name": "one", "requests": 2, "prompt": 8, "output": 4, "copies": 3}
    out = bench([copies], idle_tenants=40, kv_tokens=8192)
    assert [tenant["tenant"] for tenant in out["tenants"]] == ["one1", "one2", "one3"]
    assert all(tenant["requests"]["done"] >= 2 for tenant in out["tenants"])
    idle = out["idle"]
    assert idle["tenants"] == 40 and idle["kv_bytes_each"] > 0 and idle["heap_bytes_each"] > 0
    assert "idle" not in bench([copies])


def test_idle_tenants_are_judged_by_memory_and_waits() -> None:
    def report(p99: float, waits: int = 1000, refused: Load | None = None, heap: float = 5000) -> Load:
        one = {"tenant": "a1", "first_token_ms": {"p99": p99, "count": waits}, "requests": {"refused": refused or {}, "failed": {}}}
        return {"tenants": [one, {**one, "tenant": "a2"}], "steps": 1000, "seconds": 1, "load": {},
                "idle": {"tenants": 9, "heap_bytes_each": heap, "kv_bytes_each": 1}}

    def said(alone: list[Load], beside: list[Load]) -> list[str]:
        found: list[str] = idle_tenants.judge(alone, beside)["failures"]
        return found

    assert said([report(10), report(12)], [report(12), report(12)]) == []
    assert len(said([report(10), report(10)], [report(11.2), report(11.2)])) == 1
    assert len(said([report(10)], [report(10, heap=16385)])) == 1
    assert len(said([report(10, refused={"overloaded": 1})], [report(10)])) == 1


def test_the_table_is_for_people(merritt: Merritt, model_path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    spec = tmp_path / "spec.json"
    spec.write_text('{"seconds": 0.2, "warmup_seconds": 0, "tenants": [{"name": "acme", "output": 4}]}')
    done = merritt("bench", "-m", model_path, "--tenants", spec)
    assert done.returncode == 0, done.stderr
    assert re.search(rb"^acme +1 +\d+ ", done.stdout, re.MULTILINE) and b"engine steps" in done.stdout


def test_wrong_specs_and_options_end_with_2(merritt: Merritt, model_path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    spec = tmp_path / "spec.json"
    spec.write_text('{"tenants": [{"name": "a", "wieght": 2}]}')
    done = merritt("bench", "-m", model_path, "--tenants", spec)
    assert done.returncode == 2 and b'did you mean "weight"?' in done.stderr and done.stdout == b""
    assert merritt("bench", "-m", model_path, "--tenants", tmp_path / "none.json").returncode == 2
    spec.write_text('{"tenants": [{"name": "a", "prompt": 4000000}]}')
    done = merritt("bench", "-m", model_path, "--tenants", spec)
    assert done.returncode == 2 and b"--context" in done.stderr
    assert merritt("bench", "-m", model_path, "--tenants", spec, "-p", 3).returncode == 2
    assert merritt("bench", "-m", model_path, "--report", "x.html").returncode == 2


def test_what_the_victim_must_get() -> None:
    alone = _scenarios.Alone(first_token_ms_p99=10, tokens_per_s=100, saturated_tokens_per_s=300, chunk_ms=4)
    assert alone.first_token_ms_most == 34
    assert alone.tokens_per_s_least([1, 1]) == pytest.approx(95)  # its rate alone is less than its half
    assert alone.tokens_per_s_least([1, 5]) == pytest.approx(47.5)

    def report(p99: float, rate: float, done: int, refused: Load) -> Load:
        return {"tenants": [{"tenant": "victim", "weight": 1, "first_token_ms": {"p99": p99}, "tokens_out_per_s": rate,
                             "requests": {"done": done, "refused": refused, "failed": {}}},
                            {"tenant": "neighbour", "weight": 1}]}

    assert _scenarios.misses(report(34, 95.1, 600, {}), alone, 600) == []
    assert len(_scenarios.misses(report(34.1, 94, 599, {"overloaded": 1}), alone, 600)) == 4


def test_the_scenarios_run(program: pathlib.Path, model_path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    done = subprocess.run([sys.executable, ROOT / "tests" / "bench" / "tenants.py", "--model", model_path, "--requests", "10",
                           "--scenarios", "flood,memory hog as the same tenant", "--tries", "1", "--merritt", program, "--out",
                           tmp_path, "--json"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout)
    assert list(out["scenarios"]) == ["flood", "memory hog as the same tenant"]
    assert out["scenarios"]["flood"]["asked"] and not out["scenarios"]["memory hog as the same tenant"]["asked"]
    assert out["saturated_tokens_per_s"] > 0 and out["chunk_ms"] > 0
    assert (tmp_path / "flood.html").is_file() and (tmp_path / "flood.json").is_file()


@pytest.mark.parametrize(("known", "unknown", "area"), [
    ([1.0, 2.0], [3.0, 4.0], 1.0), ([3.0, 4.0], [1.0, 2.0], 0.0), ([1.0, 1.0], [1.0], 0.5), ([1.0, 3.0], [2.0], 0.5),
    ([1.0, 2.0, 2.0], [2.0, 5.0], (3 + 1 + 1) / 6),
])
def test_the_area_under_the_curve_counts_pairs(known: list[float], unknown: list[float], area: float) -> None:
    import timing_channel

    assert timing_channel.auc(known, unknown) == pytest.approx(area)
    pairs = [1.0 if k < u else 0.5 if k == u else 0.0 for k in known for u in unknown]
    assert timing_channel.auc(known, unknown) == pytest.approx(sum(pairs) / len(pairs))


def test_a_channel_that_tells_is_a_miss_and_so_is_a_probe_that_sees_nothing() -> None:
    import timing_channel

    good = {"own": 0.99, "other": 0.52, "refusal": 0.46}
    assert timing_channel.misses(good) == []
    assert "own" in timing_channel.misses({**good, "own": 0.9})[0]
    assert "refusal" in timing_channel.misses({**good, "refusal": 0.44})[0]


def test_the_timing_channel_is_probed(model_path: pathlib.Path) -> None:
    """That all probes run; 8 of each say nothing about time."""
    done = subprocess.run([sys.executable, ROOT / "tests/bench/timing_channel.py", "--json", "--probes", "8", "--model",
                           model_path], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["auc"]) == {"own", "other", "published", "evicted", "refusal", "retry_after"}

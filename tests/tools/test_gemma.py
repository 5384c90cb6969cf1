# SPDX-License-Identifier: Apache-2.0
"""The command line on Gemma-3-270M: chat template, conversations, progress, memory, licence."""
from __future__ import annotations

import json
import os
import pathlib
import pty
import re
import subprocess

import pytest
from merritt_command import ROOT, Merritt

GEMMA = ROOT / "models" / "gemma-3-270m-q4_k_m.gguf"
STATS = re.compile(r"^(\w+): prompt (\d+) tokens \((\d+) cached\) .* generated (\d+) tokens", re.MULTILINE)


@pytest.fixture(autouse=True)
def gemma() -> pathlib.Path:
    if not GEMMA.is_file():
        pytest.skip(f"{GEMMA.name} is absent (./dev setup)")
    return GEMMA


def stats_of(stderr: bytes) -> list[tuple[int, int, int]]:
    """(prompt, cached, generated) of every line of statistics."""
    return [(int(prompt), int(cached), int(made)) for _, prompt, cached, made in STATS.findall(stderr.decode())]


def prompt_tokens(merritt: Merritt, said: str) -> int:
    """Tokens of a first turn, rendered here as Gemma's template does."""
    rendered = f"<start_of_turn>user\n{said}<end_of_turn>\n<start_of_turn>model\n"
    return len(merritt("tokenize", "-m", GEMMA, "--special", stdin=rendered.encode()).stdout.split())


def test_run_goes_through_the_models_template(merritt: Merritt) -> None:
    question = "Name three rivers."
    done = merritt("run", "-m", GEMMA, "-p", question, "-n", 12, "--context", 256)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.strip()) > 0 and b"<end_of_turn>" not in done.stdout
    assert [prompt for prompt, _, _ in stats_of(done.stderr)] == [prompt_tokens(merritt, question)]
    assert done.stderr.count(b"\n") == 1, "no progress where nobody watches"


def test_chat_remembers_and_forgets(merritt: Merritt) -> None:
    said = b"Name a colour.\n\nWhy that one?\n" + b"word " * 600 + b"\n/help\n/clear\nName a colour.\n/quit\nnever read\n"
    done = merritt("chat", "-m", GEMMA, "--stats", "-n", 16, "--context", 512, stdin=said)
    assert done.returncode == 0, done.stderr
    first, second, third = stats_of(done.stderr)
    assert first[:2] == (prompt_tokens(merritt, "Name a colour."), 0)
    prompt, cached, _ = second
    assert first[0] < cached < prompt, "the second turn runs only what is new"
    assert third == first, "/clear forgets"
    out = done.stdout
    assert any(out[:k] == out[-k:] for k in range(4, len(out) // 2)), "and the same answer comes again"
    assert b"/clear forgets" in done.stderr, "/help explains"
    assert done.stderr.count(b"fix: --context") == 1, "a turn that does not fit is told and taken back"


def test_chat_takes_a_system_message(merritt: Merritt) -> None:
    words = ("chat", "-m", GEMMA, "--stats", "-n", 4, "--context", 256, "--system", "Answer in one word.")
    done = merritt(*words, stdin=b"Hello\n/exit\n")
    assert done.returncode == 0, done.stderr
    assert [stats[0] for stats in stats_of(done.stderr)] == [prompt_tokens(merritt, "Answer in one word.\n\nHello")]


def read_all(terminal: int) -> bytes:
    text = b""
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # how a pseudo terminal says that nobody has its other end open
            return text
        if not piece:
            return text
        text += piece


@pytest.mark.parametrize("verb", ["run", "bench"])
def test_long_work_shows_progress_on_a_terminal(program: pathlib.Path, model_path: pathlib.Path, verb: str) -> None:
    words, shown = {
        "run": (["-m", GEMMA, "--raw", "-p", "x", "-n", "1", "--context", "64"], "loading gemma"),
        "bench": (["-m", model_path, "-p", "8", "-n", "0", "-r", "4"], "bench"),
    }[verb]
    mine, childs = pty.openpty()
    child = subprocess.Popen([program, verb, *words], stdout=subprocess.PIPE, stderr=childs)
    os.close(childs)
    text = read_all(mine).decode()
    os.close(mine)
    assert child.stdout is not None
    out = child.stdout.read()
    assert child.wait() == 0, text
    percents = [int(percent) for percent in re.findall(rf"{shown}[^\r\n]* +(\d+) %", text)]
    assert len(percents) >= 2 and percents == sorted(percents)
    assert text.rfind("\r\033[2K") > text.rfind(" %"), "the line is wiped"
    assert shown.encode() not in out


def test_onednn_multiplies_and_memory_stays_small(merritt: Merritt) -> None:
    done = merritt("bench", "-m", GEMMA, "-p", 512, "-n", 2, "-r", 1, "--backend", "onednn", "--trace-kernels", "--json")
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout)
    limit = 1.2 * out["file_bytes"] + out["kv_bytes"] + 150 * 2**20
    assert out["weight_bytes"] < out["peak_rss_bytes"] <= limit
    nodes = out["kernels"]["prompt"]
    assert [node["node"] for node in nodes] == list(range(len(nodes)))
    assert [node["op"] for node in nodes].count("attention") == 18
    products = {node["kernel"] for node in nodes if node["op"] == "linear"}
    if products == {"own:gemm_bf16_amx"}:  # on a CPU with AMX; what is left to the library is attention
        assert {node["kernel"] for node in nodes if node["op"] == "attention"} == {"onednn:brgemm_bf16"}
        assert out["kernels"]["onednn_share_of_prefill_flops"] > 0.02
    elif all(kernel.startswith("own:gemm_") and kernel.endswith("_avx2") for kernel in products):  # no weights of 16 bits
        assert out["kernels"]["onednn_share_of_prefill_flops"] == 0
    else:
        assert all(kernel.startswith("onednn:") for kernel in products)
        assert out["kernels"]["onednn_share_of_prefill_flops"] > 0.5


def test_demo_shows_the_licence(merritt: Merritt) -> None:
    done = merritt("demo", "--model", GEMMA, "-n", 16, "--context", 256)
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode()
    assert "Gemma Terms of Use, https://ai.google.dev/gemma/terms" in text
    terms = GEMMA.with_name("gemma-terms.html")
    assert str(terms) in text and terms.is_file() and "Gemma Terms of Use" in terms.read_text(encoding="utf-8")
    assert "one batch:" in text

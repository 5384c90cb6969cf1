# SPDX-License-Identifier: Apache-2.0
"""Every verb of the command line: what goes to stdout, exit codes, errors that name the fix."""
from __future__ import annotations

import json
import pathlib
import re
import signal
import subprocess
import time

import numpy as np
import pytest
import tiny_model
from merritt_command import Merritt

BACKENDS = ["reference", "onednn"]


def test_run_writes_text_to_stdout_and_statistics_to_stderr(merritt: Merritt, model_path: pathlib.Path) -> None:
    done = merritt("run", "-m", model_path, "--raw", "-p", "Once upon a time", "-n", 12, "--ignore-eos")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(b"\n") and len(done.stdout.strip()) > 0
    assert b"generated 12 tokens" in done.stderr and b"t/s" in done.stderr
    quiet = merritt("run", "-m", model_path, "--raw", "-p", "Once upon a time", "-n", 12, "--ignore-eos", "--quiet")
    assert quiet.stdout == done.stdout and quiet.stderr == b""


def test_run_speculates_without_another_text(merritt: Merritt, model_path: pathlib.Path) -> None:
    words = ("run", "-m", model_path, "--raw", "-p", "The dog. The dog. The dog. The", "-n", 48, "--ignore-eos")
    plain, drafted = merritt(*words), merritt(*words, "--speculate", 8)
    assert drafted.returncode == 0, drafted.stderr
    assert drafted.stdout == plain.stdout
    assert b"draft" not in plain.stderr
    assert b"draft tokens accepted" in drafted.stderr


@pytest.mark.parametrize("backend", BACKENDS)
def test_run_tells_the_published_story(merritt: Merritt, model_path: pathlib.Path, backend: str) -> None:
    if not tiny_model.GOLDEN.is_file() or model_path != tiny_model.STORIES:
        pytest.skip("needs stories260K of ../shared/data")
    done = merritt("run", "-m", model_path, "--raw", "-p", "", "-n", 256, "--backend", backend, "--quiet")
    assert done.returncode == 0, done.stderr
    golden = tiny_model.GOLDEN.read_bytes()
    assert done.stdout.strip() == golden.strip()[: len(done.stdout.strip())]
    assert len(done.stdout.strip()) > 0.9 * len(golden.strip())


def test_run_reads_its_prompt_from_stdin(merritt: Merritt, model_path: pathlib.Path) -> None:
    words = ("run", "-m", model_path, "--raw", "-n", 6, "--quiet", "-p")
    assert merritt(*words, "-", stdin=b"The sun").stdout == merritt(*words, "The sun").stdout


def test_run_without_template_says_raw(merritt: Merritt, model_path: pathlib.Path) -> None:
    done = merritt("run", "-m", model_path, "-p", "hello")
    assert done.returncode == 1
    assert b"--raw" in done.stderr and done.stdout == b""


def test_seed_decides(merritt: Merritt, model_path: pathlib.Path) -> None:
    def sample(seed: int) -> bytes:
        return merritt("run", "-m", model_path, "--raw", "-p", "A", "-n", 24, "--temperature", 1.5, "--seed", seed,
                       "--ignore-eos", "--quiet").stdout

    assert sample(3) == sample(3) != sample(4)


def test_tokenize_takes_the_exact_bytes(merritt: Merritt, model_path: pathlib.Path) -> None:
    plain = merritt("tokenize", "-m", model_path, stdin=b"Once upon a time")
    assert plain.returncode == 0, plain.stderr
    ids = [int(word) for word in plain.stdout.split()]
    raw = merritt("tokenize", "-m", model_path, "--raw", stdin=b"Once upon a time")
    assert [int(word) for word in raw.stdout.split()] == ids[1:]
    newline = merritt("tokenize", "-m", model_path, "--raw", stdin=b"Once upon a time\n")
    assert len(newline.stdout.split()) == len(ids)
    assert json.loads(merritt("tokenize", "-m", model_path, "--json", stdin=b"Once upon a time").stdout) == ids
    special = merritt("tokenize", "-m", model_path, "--raw", "--special", stdin=b"<s>")
    assert special.stdout.split() == [b"1"]
    assert merritt("tokenize", "-m", model_path, "--raw", stdin=b"<s>").stdout.split() != [b"1"]
    assert merritt("tokenize", "-m", model_path, "--raw", stdin=b"").stdout == b"\n"


def test_detokenize_goes_back(merritt: Merritt, model_path: pathlib.Path) -> None:
    for text in ("Lily said: \u00e9\u4e2d!\n".encode(), b" a blank of its own", b"none"):
        ids = merritt("tokenize", "-m", model_path, "--raw", stdin=text).stdout
        done = merritt("detokenize", "-m", model_path, stdin=ids)
        assert done.returncode == 0
        assert done.stdout == text
    wrong = merritt("detokenize", "-m", model_path, stdin=b"1 two 3")
    assert wrong.returncode == 2 and b"two" in wrong.stderr
    assert merritt("detokenize", "-m", model_path, stdin=b"99999").returncode == 1


def test_tokenize_needs_only_the_vocabulary(merritt: Merritt) -> None:
    vocabulary = tiny_model.ROOT.parent / "shared" / "data" / "vocab" / "ggml-vocab-llama-spm.gguf"
    if not vocabulary.is_file():
        pytest.skip("needs ../shared/data/vocab")
    cases = vocabulary.with_name(vocabulary.name + ".inp").read_bytes().split(b"\n__ggml_vocab_test__\n")
    expected = vocabulary.with_name(vocabulary.name + ".out").read_text().splitlines()
    for case, line in list(zip(cases, expected))[:12]:
        done = merritt("tokenize", "-m", vocabulary, "--raw", stdin=case)
        assert done.stdout.split() == [word.encode() for word in line.split()], case


def test_eval_writes_numpy(merritt: Merritt, model_path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    for name, extra in (("prompt", []), ("decode", ["--decode"])):
        done = merritt("eval", "-m", model_path, "--tokens", "1,403,407", "--logits", tmp_path / f"{name}.npy", *extra)
        assert done.returncode == 0, done.stderr
        assert done.stdout == b""
    prompt, decode = np.load(tmp_path / "prompt.npy"), np.load(tmp_path / "decode.npy")
    assert prompt.dtype == np.float32 and prompt.shape == decode.shape == (3, 512)
    assert np.isfinite(prompt).all() and np.abs(prompt - decode).max() < 0.2
    assert merritt("eval", "-m", model_path, "--tokens", "1,x", "--logits", tmp_path / "x.npy").returncode == 2
    assert not (tmp_path / "x.npy").exists()


def test_backends_agree_about_logits(merritt: Merritt, model_path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    found = []
    for backend in BACKENDS:
        out = tmp_path / f"{backend}.npy"
        done = merritt("eval", "-m", model_path, "--tokens", "1,403,407,261,378", "--logits", out, "--backend", backend)
        assert done.returncode == 0, done.stderr
        found.append(np.load(out))
    assert (found[0].argmax(axis=1) == found[1].argmax(axis=1)).all()
    assert np.abs(found[0] - found[1]).max() < 0.3


def test_inspect_reads_the_header(merritt: Merritt, model_path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    out = json.loads(merritt("inspect", model_path, "--json", "--tensors", "--metadata", "--load").stdout)
    assert out["architecture"] == "llama" and out["vocabulary"] == 512 and out["layers"] == 5
    assert out["supported"] is True and out["loaded"]["kv_bytes"] > 0
    assert len(out["tensor_list"]) == out["tensors"] > 40
    assert out["metadata"]["general.architecture"] == "llama"
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(model_path.read_bytes()[:1000])
    done = merritt("inspect", broken)
    assert done.returncode == 1 and b"fix:" in done.stderr


def test_backends_lists_what_is_trusted(merritt: Merritt) -> None:
    rows = json.loads(merritt("backends", "--json").stdout)
    loaded = {row["id"]: row for row in rows if row["loaded"]}
    assert {"reference", "onednn"} <= set(loaded)
    assert all(len(row["sha256"]) == 64 for row in loaded.values())


def test_demo_runs_two_tenants_in_one_step(merritt: Merritt, model_path: pathlib.Path) -> None:
    # Long enough that a submitting thread which loses its core for a scheduler's slice still meets the other's request.
    done = merritt("demo", "--model", model_path, "-n", 400, "--json")
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout)
    assert out["steps_mixed"] > 0 and len(out["steps_seen_by_both"]) > 0
    assert [tenant["tenant"] for tenant in out["tenants"]] == ["acme", "globex"]
    trace = out["step_trace"]
    assert trace["step"] in out["steps_seen_by_both"]
    assert [row["tenant"] for row in trace["rows"]] == ["acme", "globex"]
    for row, tenant in zip(trace["rows"], out["tenants"]):
        assert row["class"] == "generated"
        assert tenant["prompt_tokens"] <= row["position"] < tenant["prompt_tokens"] + tenant["generated_tokens"] - 1
        assert 0 <= row["token"] < 512 and 0 <= row["drawn"] < 512


def test_demo_prints_streams_rows_and_a_table(merritt: Merritt, model_path: pathlib.Path) -> None:
    done = merritt("demo", "--model", model_path, "-n", 100, "--backend", "reference")
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode()
    assert re.search(r"carried rows of both tenants\nstep \d+, one batch:\n.*position", text)
    for tenant in ("acme", "globex"):
        assert re.search(rf"^{tenant} +steps +\d+-\d+ +\|", text, re.MULTILINE)
        assert re.search(rf"^  {tenant} +generated +\d+  \d+ \".*\" -> \d+ \"", text, re.MULTILINE)
    for word in ("tokens/s", "first token", "memory", "backend", "licence        not stated in the file"):
        assert word in text
    assert re.search(r"^features used +baseline x86-64$", text, re.MULTILINE), "the reference uses no wide registers"


def test_chat_answers_or_says_why_not(merritt: Merritt, model_path: pathlib.Path) -> None:
    done = merritt("chat", "-m", model_path, stdin=b"hello\n/quit\n")
    assert done.returncode == 1 and b"no chat template" in done.stderr


def test_ctrl_c_cancels_a_run(program: pathlib.Path, model_path: pathlib.Path) -> None:
    child = subprocess.Popen(
        [program, "run", "-m", model_path, "--raw", "-p", "Once", "-n", "500", "--ignore-eos", "--backend", "reference"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.read(1)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 1 and b"cancelled" in errors
    generated = re.search(rb"generated (\d+) tokens", errors)
    assert generated and int(generated[1]) < 500


def wait_until_it_catches_ctrl_c(child: subprocess.Popen[bytes]) -> None:
    while child.poll() is None:
        caught = re.search(r"^SigCgt:\s*(\w+)", pathlib.Path(f"/proc/{child.pid}/status").read_text(), re.MULTILINE)
        if caught and int(caught[1], 16) >> (signal.SIGINT - 1) & 1:
            return
        time.sleep(0.005)


@pytest.mark.parametrize("words", [["tokenize"], ["eval", "--logits", "/dev/null", "--tokens", "-"]])
def test_ctrl_c_ends_what_cannot_cancel(program: pathlib.Path, model_path: pathlib.Path, words: list[str]) -> None:
    """Also what a second Ctrl-C does everywhere: exit code 1, not a signal's."""
    child = subprocess.Popen([program, *words, "-m", model_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    wait_until_it_catches_ctrl_c(child)
    child.send_signal(signal.SIGINT)
    assert child.wait(timeout=60) == 1
    assert child.stdin is not None and child.stdout is not None
    child.stdin.close()
    assert child.stdout.read() == b""


def test_wrong_command_lines_exit_with_2(merritt: Merritt, model_path: pathlib.Path) -> None:
    for words in ([], ["fly"], ["run"], ["run", "-m", model_path], ["bench", "-m", model_path, "-b", "0"],
                  ["run", "-m", model_path, "-p", "x", "--isa-max", "sse"], ["run", "-m", model_path, "-p", "x", "-n", "many"]):
        done = merritt(*words)
        assert done.returncode == 2, words
        assert done.stdout == b"" and done.stderr != b""
    assert merritt("--help").returncode == 0
    assert merritt("--version").stdout.startswith(b"0.")

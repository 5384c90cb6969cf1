# SPDX-License-Identifier: Apache-2.0
"""What goes wrong is told on stderr with the way to mend it; nothing of it reaches stdout."""
from __future__ import annotations

import json
import pathlib

import pytest
from merritt_command import Merritt

# {m}: the model, {t}: an empty folder, {x}: a file that is no model. The words that the message must hold.
CASES: dict[str, tuple[list[str], bytes, list[str]]] = {
    "no such model": (["run", "-m", "{t}/absent.gguf", "-p", "x"], b"", ["merritt doctor"]),
    "no plugins": (["run", "-m", "{m}", "-p", "x", "--plugin-dir", "{t}"], b"", ["--plugin-dir"]),
    "no such backend": (["run", "-m", "{m}", "-p", "x", "--backend", "cuda"], b"", ["cuda", "doctor"]),
    "no template": (["run", "-m", "{m}", "-p", "x"], b"", ["--raw"]),
    "chat without template": (["chat", "-m", "{m}"], b"hello\n", ["--raw"]),
    "prompt over the context": (["run", "-m", "{m}", "--raw", "-p", "-"], b"word " * 3000, ["512", "--context"]),
    "eval over the context": (["eval", "-m", "{m}", "--tokens", "-", "--logits", "{t}/l.npy"], b"5 " * 600, ["--context"]),
    "token out of range": (["eval", "-m", "{m}", "--tokens", "1,99999", "--logits", "{t}/l.npy"], b"", ["99999"]),
    "logits into no folder": (["eval", "-m", "{m}", "--tokens", "1", "--logits", "{t}/no/l.npy"], b"", ["--logits"]),
    "logits onto a full disk": (["eval", "-m", "{m}", "--tokens", "1", "--logits", "/dev/full"], b"", ["--logits", "room"]),
    "bad sampling": (["run", "-m", "{m}", "--raw", "-p", "x", "--repetition-penalty", "-3"], b"", ["--help"]),
    "tokenize with no model": (["tokenize", "-m", "{x}"], b"a", ["inspect"]),
    "detokenize with no model": (["detokenize", "-m", "{x}"], b"1", ["inspect"]),
    "detokenize out of range": (["detokenize", "-m", "{m}"], b"99999", ["99999", "merritt tokenize"]),
    "inspect of no model": (["inspect", "{x}"], b"", ["GGUF"]),
    "run of no model": (["run", "-m", "{x}", "--raw", "-p", "x"], b"", ["SHA-256"]),
    "keygen into no folder": (["plugin", "keygen", "{t}/no/key.pem"], b"", ["folder"]),
    "sign without a key": (["plugin", "sign", "{x}", "--key", "{t}/key.pem", "--publisher", "us"], b"", ["keygen"]),
    "verify in no folder": (["plugin", "verify", "{t}/no/libx.so"], b"", ["lib*.so"]),
    "verify of no plugin": (["plugin", "verify", "{x}", "--trust", "{trust}"], b"", ["plugin sign"]),
}


@pytest.mark.parametrize("case", CASES)
def test_errors_name_the_fix(merritt: Merritt, model_path: pathlib.Path, tmp_path: pathlib.Path, case: str) -> None:
    words, stdin, expected = CASES[case]
    empty, other = tmp_path / "empty", tmp_path / "other"
    empty.mkdir()
    other.mkdir()
    (other / "x.gguf").write_bytes(b"no model at all")
    (other / "trust.json").write_text(json.dumps({"publishers": []}))
    names = {"m": model_path, "t": empty, "x": other / "x.gguf", "trust": other / "trust.json"}
    done = merritt(*(word.format(**names) for word in words), stdin=stdin)
    text = done.stderr.decode()
    assert done.returncode == 1 and done.stdout == b"", text
    problem, _, fix = text.partition("\n  fix: ")
    assert problem.startswith("merritt: ") or "\nmerritt: " in problem, text
    assert len(fix.strip()) > 10, text
    assert all(word in text for word in expected), text
    assert not list(empty.iterdir()), "a failure leaves no file"


@pytest.mark.parametrize("text", ["{", "[]", '{"publishers": 1}', '{"publishers": [{"name": "us", "key": "12"}]}'])
def test_a_trust_list_that_is_none(merritt: Merritt, tmp_path: pathlib.Path, text: str) -> None:
    (tmp_path / "trust.json").write_text(text)
    done = merritt("backends", "--trust", tmp_path / "trust.json")
    assert done.returncode == 1 and done.stdout == b""
    assert b"trust.json" in done.stderr and b"keygen" in done.stderr


@pytest.mark.parametrize("words", [
    ["bench", "-m", "{m}", "-n", "1"], ["bench", "-m", "{m}", "-p", "0", "-n", "0"],
    ["eval", "-m", "{m}", "--tokens", "", "--logits", "l.npy"], ["eval", "-m", "{m}", "--tokens", "1,x", "--logits", "l.npy"],
])
def test_values_that_make_no_sense_are_the_command_lines_fault(
    merritt: Merritt, model_path: pathlib.Path, words: list[str]
) -> None:
    done = merritt(*(word.format(m=model_path) for word in words))
    assert done.returncode == 2 and done.stdout == b"" and b"fix:" in done.stderr

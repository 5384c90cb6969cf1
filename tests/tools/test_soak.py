# SPDX-License-Identifier: Apache-2.0
"""A short soak of the release build: every ending of a round once. ./dev soak runs it for minutes under the sanitizers."""
from __future__ import annotations

import json
import pathlib
import subprocess

from merritt_command import PROGRAM

SOAK = PROGRAM.parent / "soak"


def test_a_short_soak_finds_nothing(model_path: pathlib.Path) -> None:
    done = subprocess.run([SOAK, "--seconds", "10", "--seed", "1", "--plugin", "onednn", "--model", model_path],
                          capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["failures"] == 0 and said["rounds"] >= 3
    answers = said["answers"]
    for call in ("submit", "next", "queue_next", "cancel", "tenant_destroy", "limits_set", "session_fork", "drain",
                 "usage_since", "poll"):
        assert sum(answers[call].values()) > 0, call
    assert answers["submit"]["ok"] > 20
    assert sum(said["finished"].values()) > 20


def test_a_soak_names_the_words_it_takes() -> None:
    for words in (["--plugin", "none"], ["--seconds"], ["--seconds", "0"], ["--nonsense", "1"]):
        done = subprocess.run([SOAK, *words], capture_output=True, text=True, timeout=60)
        assert done.returncode == 2 and "usage: soak" in done.stderr, words

# SPDX-License-Identifier: Apache-2.0
"""./dev soak: how minutes add up in its log, what it runs next, and that a finding stops it."""
from __future__ import annotations

import io
import json
import pathlib
import sys
from typing import Any

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "sdk" / "cmake"))

from dev import build, ci, soak, util  # noqa: E402

PROGRAM = r"""#!/bin/sh
# A soak that takes no time: `seconds` are those it was asked for.
while [ $# -gt 0 ]; do
  case "$1" in --seconds) seconds="$2";; --seed) seed="$2";; --plugin) plugin="$2";; esac
  shift 2
done
echo "$seconds $seed $plugin" >> "$(dirname "$0")/calls"
%s
echo "{\"seconds\": $seconds, \"rounds\": 3, \"generated_tokens\": 9, \"finished\": {\"eos\": 2},"\
" \"answers\": {\"submit\": {\"ok\": 4, \"overloaded\": 1}}}"
exit %d
"""


def program(sanitizer: str, text: str = "", code: int = 0) -> pathlib.Path:
    path = build.output_dir(sanitizer) / "bin" / "soak"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(PROGRAM % (text, code))
    path.chmod(0o755)
    return path


def calls(sanitizer: str) -> list[list[str]]:
    path = build.output_dir(sanitizer) / "bin" / "calls"
    return [line.split() for line in path.read_text().splitlines()] if path.is_file() else []


@pytest.fixture(autouse=True)
def said(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What it prints. It builds nothing, and keeps its log in a folder of the test."""
    report = io.StringIO()
    monkeypatch.setattr(util, "BUILD", tmp_path)
    monkeypatch.setattr(util, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(util, "REPORT", report)
    monkeypatch.setattr(build, "build_preset", lambda *words, **names: None)
    monkeypatch.setattr(ci, "sanitizer_wrapper", lambda preset: [])
    monkeypatch.setattr(soak, "MODEL", pathlib.Path(__file__))
    for sanitizer in soak.SANITIZERS:
        program(sanitizer)
    return report


def run(sanitizer: str, seconds: int, result: str = "passed", plugin: str = "onednn") -> dict[str, Any]:
    return {"sanitizer": sanitizer, "plugin": plugin, "seconds": seconds, "result": result}


def test_minutes_are_those_of_runs_that_found_nothing() -> None:
    assert soak.runs() == [] and soak.minutes() == 0
    for one in (run("asan", 90), run("tsan", 30), run("tsan", 600, "failed")):
        soak.note(one)
    with open(soak.runs_file(), "a") as out:
        out.write('{"sanitizer": "asan", "sec')  # the process was killed here
    assert (soak.minutes(), soak.minutes("asan"), soak.minutes("tsan")) == (2.0, 1.5, 0.5)


def test_who_has_had_least_is_next() -> None:
    assert soak.next_run(["asan", "tsan"], ["onednn", "fardevice"]) == ("asan", "onednn")
    soak.note(run("asan", 60))
    assert soak.next_run(["asan", "tsan"], ["onednn", "fardevice"]) == ("tsan", "onednn")
    soak.note(run("tsan", 90))
    assert soak.next_run(["asan", "tsan"], ["onednn", "fardevice"]) == ("asan", "fardevice")
    assert soak.next_run(["tsan"], ["onednn"]) == ("tsan", "onednn")


def test_minutes_go_on_until_there_are_enough(said: io.StringIO) -> None:
    soak.note(run("asan", 120))
    assert soak.soak(["--until", "9"]) == 0
    assert soak.minutes() == 9
    assert [int(call[0]) for call in calls("tsan")] == [150, 120]
    assert [int(call[0]) for call in calls("asan")] == [150]
    seeds = [one["seed"] for one in soak.runs() if "seed" in one]
    assert len(set(seeds)) == 3, "each run has a seed of its own"
    assert soak.runs()[-1]["refused"] == {"overloaded": 1} and soak.runs()[-1]["requests"] == 4
    assert "9.0 minutes without a finding so far: 4.5 under asan, 4.5 under tsan" in said.getvalue()
    assert soak.soak(["--until", "9"]) == 0
    assert soak.minutes() == 9, "there is nothing left to run"


def test_minutes_of_one_call() -> None:
    assert soak.soak(["--minutes", "3", "--sanitizer", "tsan", "--plugin", "reference"]) == 0
    assert [(call[0], call[2]) for call in calls("tsan")] == [("150", "reference"), ("30", "reference")]
    assert calls("asan") == []


@pytest.mark.parametrize(("text", "code"), [
    ("echo 'soak: seed 5 round 1: a finding' >&2", 1),
    ("echo 'WARNING: ThreadSanitizer: data race'", 0),
    ("exit 0", 0),  # it ended well and has said nothing
])
def test_a_finding_stops_it_and_is_no_minutes(text: str, code: int) -> None:
    program("tsan", text, code)
    with pytest.raises(util.DevError, match=r"failed \(exit \d+\); its output: .*soak-tsan-\d+\.log") as raised:
        soak.soak(["--minutes", "9", "--sanitizer", "tsan"])
    [one] = soak.runs()
    assert one["result"] == "failed" and soak.minutes() == 0
    assert pathlib.Path(one["log"]).is_file() and one["log"] in str(raised.value)
    assert len(calls("tsan")) == 1


def test_a_model_that_is_not_there_is_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "MODEL", pathlib.Path("/nowhere/model.gguf"))
    with pytest.raises(util.DevError, match="run: ./dev setup"):
        soak.soak([])
    assert soak.runs() == []


@pytest.mark.parametrize(("words", "text"), [
    (["--sanitizer", "msan"], "no sanitizer 'msan'"),
    (["--plugin", "idle"], "no plugin 'idle'"),
    (["--minutes"], "needs a value"),
    (["--minutes", "many"], "many is no number"),
    (["now"], "unknown word 'now'"),
])
def test_words(words: list[str], text: str) -> None:
    with pytest.raises(util.DevError, match=text):
        soak.soak(words)


def test_the_log_is_json_a_line() -> None:
    soak.soak(["--minutes", "1", "--sanitizer", "asan"])
    [line] = soak.runs_file().read_text().splitlines()
    assert json.loads(line)["result"] == "passed"

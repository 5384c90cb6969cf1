# SPDX-License-Identifier: Apache-2.0
"""./dev soak [--minutes M] [--until M] [--sanitizer asan|tsan|both] [--plugin NAME,...]: tests/soak under the sanitizers,
for minutes. Each run has a seed of its own and is a line of build/soak/runs.jsonl when it has ended, so that minutes add
up over any number of calls: --until runs what is missing to so many in all. What is found stops it."""
from __future__ import annotations

import json
import os
import pathlib
import random
import subprocess
from typing import Any

from . import build, ci, util
from .util import DevError

SANITIZERS = ("asan", "tsan")
PLUGINS = ("onednn", "fardevice", "reference")
MODEL = util.MODELS / "stories260k.gguf"
DEFAULT_MINUTES = 4.0
RUN_SECONDS = 150       # one process: several rounds, and what it does not give back is seen
ENDING_SECONDS = 900    # what a run may take beyond its load: rounds end, and a sanitizer looks for leaks
# A process that frees much is judged by what it holds, not by what the sanitizer keeps of it.
SOAK_ENV = {"ASAN_OPTIONS": ci.SANITIZER_ENV["ASAN_OPTIONS"] + ":quarantine_size_mb=32:detect_leaks=1"}
REPORTS = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "WARNING: ThreadSanitizer", "runtime error:")


def runs_file() -> pathlib.Path:
    return util.BUILD / "soak" / "runs.jsonl"


def runs() -> list[dict[str, Any]]:
    """The finished runs so far; a line that was torn by the end of a process is none."""
    found = []
    if runs_file().is_file():
        for line in runs_file().read_text().splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
    return found


def minutes(of: str | None = None) -> float:
    """Of the runs that found nothing, under one sanitizer or all."""
    return sum(run["seconds"] for run in runs() if run["result"] == "passed" and of in (None, run["sanitizer"])) / 60


def note(run: dict[str, Any]) -> None:
    runs_file().parent.mkdir(parents=True, exist_ok=True)
    with open(runs_file(), "a") as out:
        out.write(json.dumps(run) + "\n")


def next_run(sanitizers: list[str], plugins: list[str]) -> tuple[str, str]:
    """The sanitizer with the fewest minutes, and the plugin with the fewest under it: those named first where alike."""
    sanitizer = min(sanitizers, key=minutes)
    spent = {plugin: sum(run["seconds"] for run in runs() if (run["sanitizer"], run["plugin"]) == (sanitizer, plugin))
             for plugin in plugins}
    return sanitizer, min(plugins, key=lambda plugin: spent[plugin])


def summary_of(text: str) -> dict[str, Any]:
    """The program's last line, when it got there."""
    for line in reversed(text.splitlines()):
        if line.startswith("{"):
            try:
                return dict(json.loads(line))
            except ValueError:
                break
    return {}


def run_program(sanitizer: str, plugin: str, seconds: int, seed: int) -> dict[str, Any]:
    """One run, for the log. Its output is kept when it failed."""
    program = build.output_dir(sanitizer) / "bin" / "soak"
    words = [*ci.sanitizer_wrapper(sanitizer), str(program), "--seconds", str(seconds), "--seed", str(seed),
             "--plugin", plugin, "--model", str(MODEL)]
    util.LOGS.mkdir(parents=True, exist_ok=True)
    output = util.LOGS / f"soak-{sanitizer}-{seed}.log"
    with open(output, "wb") as out:
        try:
            code = subprocess.run(words, cwd=util.ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                  env={**os.environ, **ci.SANITIZER_ENV, **SOAK_ENV}, timeout=seconds + ENDING_SECONDS).returncode
        except subprocess.TimeoutExpired:
            code = 124
    text = output.read_text(errors="replace")
    said = summary_of(text)
    reported = any(report in text for report in REPORTS)
    answers = said.get("answers", {})
    submits = dict(answers.get("submit", {}))
    run = {"sanitizer": sanitizer, "plugin": plugin, "seed": seed, "seconds": said.get("seconds", 0),
           "rounds": said.get("rounds", 0), "requests": submits.pop("ok", 0), "refused": submits,
           "finished": said.get("finished", {}), "generated_tokens": said.get("generated_tokens", 0), "exit": code,
           "result": "failed" if code or reported or not said else "passed"}
    if run["result"] == "failed":
        run["log"] = str(output)
    else:
        output.unlink()
    return run


def value_of(words: list[str], name: str, default: str) -> str:
    """Takes `name VALUE` off the words."""
    if name not in words:
        return default
    at = words.index(name)
    if at + 1 == len(words):
        raise DevError(f"{name} needs a value")
    value = words[at + 1]
    del words[at:at + 2]
    return value


def number_of(words: list[str], name: str) -> float | None:
    text = value_of(words, name, "")
    try:
        return float(text) if text else None
    except ValueError:
        raise DevError(f"{name} {text} is no number") from None


def soak(words: list[str]) -> int:
    rest = list(words)
    until, wanted = number_of(rest, "--until"), number_of(rest, "--minutes")
    chosen = value_of(rest, "--sanitizer", "both")
    plugins = value_of(rest, "--plugin", ",".join(PLUGINS)).split(",")
    if rest:
        raise DevError(f"unknown word {rest[0]!r}; ./dev help lists what there is")
    if chosen not in (*SANITIZERS, "both"):
        raise DevError(f"no sanitizer {chosen!r}; there are {', '.join(SANITIZERS)} and both")
    for plugin in plugins:
        if plugin not in PLUGINS:
            raise DevError(f"no plugin {plugin!r}; there are {', '.join(PLUGINS)}")
    if wanted is None:
        wanted = DEFAULT_MINUTES if until is None else until
    if not MODEL.is_file():
        raise DevError(f"no file {MODEL}; run: ./dev setup")
    sanitizers = list(SANITIZERS) if chosen == "both" else [chosen]
    targets = ["merritt", "soak", *(f"plugin_{plugin}" for plugin in plugins)]
    built: set[str] = set()
    spent = 0.0
    while (left := min(wanted - spent, until - minutes() if until is not None else wanted)) > 0.01:
        sanitizer, plugin = next_run(sanitizers, plugins)
        if sanitizer not in built:
            with util.stage(f"build ({sanitizer})"):
                build.build_preset(sanitizer, targets=targets, quiet=True)
            built.add(sanitizer)
        with util.stage(f"soak {sanitizer} {plugin}") as notes:
            run = run_program(sanitizer, plugin, max(10, min(RUN_SECONDS, round(60 * left))), random.getrandbits(48))
            note(run)
            notes.append(f"{run['requests']} requests, {run['generated_tokens']} tokens")
            if run["result"] != "passed":
                util.say(util.tail(pathlib.Path(run["log"]), 40))
                raise DevError(f"seed {run['seed']} on {plugin} under {sanitizer} failed (exit {run['exit']}); "
                               f"its output: {run['log']}")
        spent += run["seconds"] / 60
    per = ", ".join(f"{minutes(sanitizer):.1f} under {sanitizer}" for sanitizer in SANITIZERS)
    util.say(f"soak: {minutes():.1f} minutes without a finding so far: {per}")
    return 0

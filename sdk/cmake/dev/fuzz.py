# SPDX-License-Identifier: Apache-2.0
"""./dev fuzz [TARGET] [SECONDS]: libFuzzer with AddressSanitizer; the corpus grows under build/corpus and starts from
tests/fuzz/corpus/TARGET. A finding is kept as build/corpus/TARGET-crash-* and fails the run."""
from __future__ import annotations

import subprocess

from . import build, util
from .util import DevError

DEFAULT_SECONDS = 60


def run_target(name: str, seconds: int) -> tuple[int, str]:
    """(findings, what libFuzzer said last) of one target."""
    program = util.BUILD / "fuzz" / "bin" / name
    corpus = util.BUILD / "corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    short = name.removeprefix("fuzz_")
    words = [str(program), str(corpus)]
    for seeds in (util.ROOT / "tests" / "fuzz" / "corpus" / folder for folder in (name, short)):
        if seeds.is_dir():
            words.append(str(seeds))
    words += [f"-max_total_time={seconds}", "-rss_limit_mb=3072", "-timeout=20", "-print_final_stats=1", "-verbosity=0",
              f"-artifact_prefix={util.BUILD / 'corpus'}/{name}-"]
    log = util.LOGS / f"{name}.log"
    util.LOGS.mkdir(parents=True, exist_ok=True)
    with open(log, "wb") as out:
        try:
            code = subprocess.run(words, cwd=util.ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                  timeout=seconds + 300).returncode
        except subprocess.TimeoutExpired:
            code = 124
    runs = [line.split()[-1] for line in log.read_text(errors="replace").splitlines() if "number_of_executed_units" in line]
    return code, f"{runs[-1]} inputs" if runs else f"exit {code}, see build/logs/{name}.log"


def targets() -> list[str]:
    return sorted(p.name for p in (util.BUILD / "fuzz" / "bin").glob("fuzz_*") if p.is_file())


def fuzz(words: list[str]) -> int:
    seconds = DEFAULT_SECONDS
    if words and words[-1].isdigit():
        seconds = int(words.pop())
    for tool in ("clang-16", "clang++-16"):
        util.need(tool)
    with util.stage("build (fuzz)"):
        build.build_preset("fuzz", targets=["fuzzers"], quiet=True)
    chosen = [name for name in targets() if not words or words[0] in (name, name.removeprefix("fuzz_"))]
    if not chosen:
        raise DevError(f"no fuzz target {words[0] if words else ''!r}; there are {', '.join(targets()) or 'none'}")
    bad = 0
    for name in chosen:
        with util.stage(name) as notes:
            code, note = run_target(name, seconds)
            notes.append(note)
            if code:
                bad += 1
                util.say(util.tail(util.LOGS / f"{name}.log", 25))
    util.say(f"fuzz: {len(chosen)} targets, {bad} with findings")
    return 1 if bad else 0



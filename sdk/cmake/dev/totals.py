# SPDX-License-Identifier: Apache-2.0
"""Counts of test cases from GoogleTest, pytest, CTest and check scripts, and the one closing line."""
from __future__ import annotations

import concurrent.futures
import dataclasses
import fnmatch
import json
import os
import pathlib
import re
import signal
import subprocess
import time
import xml.etree.ElementTree as xml

from . import util

SKIPS_ALLOWED = util.ROOT / "tests" / "skips_allowed.txt"


class Totals:
    def __init__(self) -> None:
        self.passed = 0
        self.failed: list[str] = []
        self.skipped: list[str] = []

    def add(self, name: str, outcome: str, detail: str = "") -> None:
        if outcome == "passed":
            self.passed += 1
        elif outcome == "skipped":
            self.skipped.append(name)
            util.say(f"    skipped  {name}{': ' + detail if detail else ''}")
        else:
            self.failed.append(name)
            util.say(f"    FAILED   {name}{': ' + detail if detail else ''}")

    def add_all(self, other: Totals) -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def counts(self) -> tuple[int, int, int]:
        return self.passed, len(self.failed), len(self.skipped)

    def since(self, before: tuple[int, int, int]) -> str:
        now = self.counts()
        names = ("passed", "failed", "skipped")
        return ", ".join(f"{n - b} {name}" for n, b, name in zip(now, before, names) if n != b) or "nothing to run"

    def unexpected_skips(self) -> list[str]:
        allowed = []
        if SKIPS_ALLOWED.is_file():
            lines = (line.split("#")[0].strip() for line in SKIPS_ALLOWED.read_text().splitlines())
            allowed = [line for line in lines if line]
        return [name for name in self.skipped if not any(fnmatch.fnmatch(name, rule) for rule in allowed)]

    def close(self, strict: bool = False) -> int:
        """Prints what went wrong and, last of all, the line of totals; returns the exit status. `strict`, for the
        continuous integration: a skip outside tests/skips_allowed.txt is a failure."""
        for name in self.failed:
            util.say(f"failed: {name}")
        surprises = self.unexpected_skips() if strict else []
        for name in surprises:
            util.say(f"skipped and not in tests/skips_allowed.txt: {name}")
        util.say(f"{self.passed} passed, {len(self.failed)} failed, {len(self.skipped)} skipped")
        return 1 if self.failed or surprises else 0

    def add_gtest(self, program: str, report: pathlib.Path, code: int, output: pathlib.Path) -> None:
        bad = 0
        if report.is_file():
            try:
                suites = json.loads(report.read_text()).get("testsuites", [])
            except ValueError:
                suites = []
            for suite in suites:
                for case in suite.get("testsuite", []):
                    if case.get("status") != "RUN":
                        continue
                    name = f"{program}:{suite['name']}.{case['name']}"
                    if case.get("failures"):
                        bad += 1
                        self.add(name, "failed", case["failures"][0]["failure"][:600])
                    elif case.get("result") == "SKIPPED":
                        self.add(name, "skipped", skip_reason(output, f"{suite['name']}.{case['name']}"))
                    else:
                        self.add(name, "passed")
        if (code != 0 or not report.is_file()) and bad == 0:  # whoever writes no report has run nothing
            how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit {code}"
            self.add(f"{program}:whole-program", "failed", f"{how}; the end of its output:\n{util.tail(output, 40)}")

    def add_junit(self, report: pathlib.Path, prefix: str) -> None:
        for case in xml.parse(report).getroot().iter("testcase"):
            name = f"{prefix}:{case.get('classname', '')}.{case.get('name', '')}"
            broken = case.find("failure") if case.find("failure") is not None else case.find("error")
            skip = case.find("skipped")
            if broken is not None:
                text = (broken.get("message") or "") + "\n" + (broken.text or case.findtext("system-out") or "")
                self.add(name, "failed", text.strip()[-1500:])
            elif skip is not None:
                self.add(name, "skipped", (skip.get("message") or "")[:200])
            else:
                self.add(name, "passed")


def skip_reason(output: pathlib.Path, case: str) -> str:
    """What the case said when it skipped; GoogleTest 1.12 leaves it out of its JSON."""
    match = re.search(rf"\[ RUN      \] {re.escape(case)}\n.*?: Skipped\n(.*?)\n*\[", output.read_text(errors="replace"),
                      re.S)
    return " ".join(match.group(1).split())[:200] if match else ""


@dataclasses.dataclass
class Program:
    """A GoogleTest program on its way: its cases are dealt to shards, which run in any order."""
    path: pathlib.Path
    words: list[str]
    tag: str
    env: dict[str, str]
    shards_left: int = 0
    seconds: float = 0.0  # of all shards


def run_gtests(totals: Totals, folder: pathlib.Path, pattern: str = "", filters: dict[str, str] | None = None,
               wrapper: list[str] | None = None, env: dict[str, str] | None = None, timeout_s: int = 1500) -> None:
    """Runs every GoogleTest program test_* of `folder`, the largest files first, or those named in `filters`, in that order and
    each with its --gtest_filter; one line each, with the seconds of all its shards."""
    util.LOGS.mkdir(parents=True, exist_ok=True)
    reports = util.BUILD / "reports"
    reports.mkdir(parents=True, exist_ok=True)
    reports.chmod(0o777)  # the unprivileged runs of ci write here too
    # The engine's cases are the longest, and what begins last should be short.
    names = list(filters) if filters is not None else [
        path.name for path in sorted(folder.glob("test_*"), key=lambda path: (path.name != "test_engine", -path.stat().st_size))
        if path.is_file() and os.access(path, os.X_OK)]
    programs = []
    for name in names:
        if not (folder / name).is_file():
            totals.add(f"{folder.parent.name}:{name}", "failed", f"{folder / name} is not built")
            continue
        chosen = filters[name] if filters is not None else f"*{pattern}*"
        programs.append(Program(folder / name, [*(wrapper or []), str(folder / name), "--gtest_color=no", f"--gtest_filter={chosen}"],
                                f"{folder.parent.name}-{name}{'-user' if wrapper else ''}", env or {}))
    run_programs(totals, programs, timeout_s)


def run_programs(totals: Totals, programs: list[Program], timeout_s: int) -> None:
    """Most cases keep one core busy, so the cases of all programs are dealt to as many processes as there are cores, each
    program's in four times as many shards: whoever is done early takes another, and long cases seldom fall together."""
    workers = util.cpu_count()
    shards = 4 * workers if workers > 1 else 1

    def run_shard(program: Program, index: int) -> tuple[Program, pathlib.Path, int, pathlib.Path, float]:
        report, output = util.BUILD / "reports" / f"{program.tag}-{index}.json", util.LOGS / f"{program.tag}-{index}.log"
        report.unlink(missing_ok=True)
        shard = {"GTEST_TOTAL_SHARDS": str(shards), "GTEST_SHARD_INDEX": str(index)}
        start = time.monotonic()
        with open(output, "wb") as out:
            try:
                code = subprocess.run([*program.words, f"--gtest_output=json:{report}"], cwd=util.ROOT,
                                      stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                      timeout=timeout_s, env={**os.environ, **program.env, **shard}).returncode
            except subprocess.TimeoutExpired:
                code = 124
        return program, report, code, output, time.monotonic() - start

    counted = {program.tag: Totals() for program in programs}
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        waiting = []
        for program in programs:
            program.shards_left = shards
            waiting += [pool.submit(run_shard, program, index) for index in range(shards)]
        for done in concurrent.futures.as_completed(waiting):
            program, report, code, output, seconds = done.result()
            own = counted[program.tag]
            own.add_gtest(program.path.name, report, code, output)
            program.seconds += seconds
            program.shards_left -= 1
            if program.shards_left == 0:
                util.say(f"  {program.path.name:<34} {own.since((0, 0, 0))}  {program.seconds:.1f} s")
                totals.add_all(own)

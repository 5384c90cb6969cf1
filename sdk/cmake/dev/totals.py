# SPDX-License-Identifier: Apache-2.0
"""Counts of test cases from GoogleTest, pytest, CTest and check scripts, and the one closing line."""
from __future__ import annotations

import concurrent.futures
import fnmatch
import json
import os
import pathlib
import re
import signal
import subprocess
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


def run_gtests(totals: Totals, folder: pathlib.Path, pattern: str = "", only: list[str] | None = None,
               wrapper: list[str] | None = None, env: dict[str, str] | None = None, timeout_s: int = 1500) -> None:
    """Runs every GoogleTest program test_* of `folder` (or those named in `only`), one line each."""
    util.LOGS.mkdir(parents=True, exist_ok=True)
    reports = util.BUILD / "reports"
    reports.mkdir(parents=True, exist_ok=True)
    reports.chmod(0o777)  # the unprivileged runs of ci write here too
    for program in sorted(folder.glob("test_*")):
        if not program.is_file() or not os.access(program, os.X_OK) or (only is not None and program.name not in only):
            continue
        tag = f"{program.parent.parent.name}-{program.name}{'-user' if wrapper else ''}"
        words = [*(wrapper or []), str(program), "--gtest_color=no"]
        if pattern:
            words.append(f"--gtest_filter=*{pattern}*")
        before = totals.counts()
        with util.stage(program.name) as notes:
            run_shards(totals, program.name, words, tag, env or {}, timeout_s)
            notes.append(totals.since(before))


def run_shards(totals: Totals, program: str, words: list[str], tag: str, env: dict[str, str], timeout_s: int) -> None:
    """Most cases keep one core busy, so a program's cases are dealt to as many processes as there are cores, in four
    times as many shards: whoever is done early takes another, and long cases seldom fall into the same one."""
    workers = util.cpu_count()
    shards = 4 * workers if workers > 1 else 1

    def run_shard(index: int) -> tuple[pathlib.Path, int, pathlib.Path]:
        report, output = util.BUILD / "reports" / f"{tag}-{index}.json", util.LOGS / f"{tag}-{index}.log"
        report.unlink(missing_ok=True)
        shard = {"GTEST_TOTAL_SHARDS": str(shards), "GTEST_SHARD_INDEX": str(index)}
        with open(output, "wb") as out:
            try:
                code = subprocess.run([*words, f"--gtest_output=json:{report}"], cwd=util.ROOT,
                                      stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                      timeout=timeout_s, env={**os.environ, **env, **shard}).returncode
            except subprocess.TimeoutExpired:
                code = 124
        return report, code, output

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        for report, code, output in pool.map(run_shard, range(shards)):
            totals.add_gtest(program, report, code, output)

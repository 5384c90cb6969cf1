# SPDX-License-Identifier: Apache-2.0
"""./dev test [FILTER]: everything that must pass, and one closing line of totals."""
from __future__ import annotations

import subprocess

from . import build, lint, setup, util
from .totals import Totals, run_gtests


def run_pytest(totals: Totals, pattern: str) -> None:
    folders = [util.ROOT / "tests" / name for name in ("tidy", "python", "tools")]
    python = util.VENV / "bin" / "python"
    if not python.exists():
        totals.add("pytest:whole-run", "failed", "no .venv; run ./dev setup")
        return
    report = util.BUILD / "reports" / "pytest.xml"
    report.unlink(missing_ok=True)
    words = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", str(util.cpu_count()), f"--junitxml={report}",
             *(str(folder) for folder in folders if any(folder.glob("test_*.py")))]
    if pattern:
        words += ["-k", pattern]
    before = totals.counts()
    with util.stage("pytest") as notes:
        with open(util.LOGS / "pytest.log", "wb") as out:
            code = subprocess.run(words, cwd=util.ROOT, stdin=subprocess.DEVNULL, stdout=out,
                                  stderr=subprocess.STDOUT).returncode
        if report.is_file():
            totals.add_junit(report, "pytest")
        if code not in (0, 1, 5):  # 1: some failed, counted above; 5: the filter chose none
            totals.add("pytest:whole-run", "failed", f"exit {code}\n{util.tail(util.LOGS / 'pytest.log')}")
        notes.append(totals.since(before))


def run_everything(totals: Totals, pattern: str) -> None:
    run_gtests(totals, util.BUILD / "bin", pattern)
    run_pytest(totals, pattern)


def test(words: list[str]) -> int:
    pattern = words[0] if words else ""
    setup.setup([])
    with util.stage("build"):
        build.build_preset("release", quiet=True)
    totals = Totals()
    run_everything(totals, pattern)
    lint.run_checks(totals, pattern, lint.FAST_CHECKS + lint.BINARY_CHECKS)
    if pattern and totals.counts() == (0, 0, 0):
        util.say(f"no test matches {pattern!r}")
        return 1
    return totals.close()

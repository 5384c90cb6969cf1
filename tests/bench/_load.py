# SPDX-License-Identifier: Apache-2.0
"""Running a measured program on chosen CPUs, and how much of the machine others used meanwhile."""
from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import resource
import subprocess
import time
from typing import Any, Mapping, Sequence

TICK = os.sysconf("SC_CLK_TCK")


@dataclasses.dataclass(frozen=True)
class CpuTimes:
    """Seconds since boot, over all CPUs."""
    busy: float
    stolen: float
    cpus: int

    @classmethod
    def parse(cls, text: str) -> CpuTimes:
        lines = [line.split() for line in text.splitlines() if line.startswith("cpu")]
        user, nice, system, _idle, _iowait, irq, softirq, steal = (int(word) / TICK for word in lines[0][1:9])
        return cls(user + nice + system + irq + softirq, steal, len(lines) - 1)

    @classmethod
    def now(cls) -> CpuTimes:
        return cls.parse(pathlib.Path("/proc/stat").read_text())


def others_share(before: CpuTimes, after: CpuTimes, own_s: float, wall_s: float) -> dict[str, float]:
    """The part of all CPUs' time that others used, and that the hypervisor gave to others."""
    all_s = wall_s * after.cpus
    return {"others": max(0.0, (after.busy - before.busy - own_s) / all_s),
            "stolen": (after.stolen - before.stolen) / all_s}


def own_cpu_s() -> float:
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


class RunError(Exception):
    """The program failed; the text is the end of what it said."""


def run_measured(words: Sequence[str | os.PathLike[str]], cpus: Sequence[int], env: Mapping[str, str] | None = None,
                 timeout_s: float = 3600) -> dict[str, Any]:
    """Runs a program that ends its stdout with JSON: that JSON, and under "load" what others used meanwhile."""
    before, own, start = CpuTimes.now(), own_cpu_s(), time.monotonic()
    try:
        done = subprocess.run([str(word) for word in words], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="replace", env={**os.environ, **(env or {})}, timeout=timeout_s,
                              preexec_fn=lambda: os.sched_setaffinity(0, cpus))
    except subprocess.TimeoutExpired:
        raise RunError(f"not done after {timeout_s:.0f} s") from None
    except OSError as error:
        raise RunError(str(error)) from None
    wall = time.monotonic() - start
    load = others_share(before, CpuTimes.now(), own_cpu_s() - own, wall)
    if done.returncode != 0:
        raise RunError(f"exit {done.returncode}: {(done.stderr.strip() or done.stdout.strip())[-600:]}")
    return {**last_json(done.stdout), "load": load, "wall_s": wall}


def last_json(text: str) -> dict[str, Any]:
    """The JSON object that the text ends with: all of it, or its last line."""
    for candidate in (text, text.strip().splitlines()[-1] if text.strip() else ""):
        try:
            value = json.loads(candidate)
        except ValueError:
            continue
        if isinstance(value, dict):
            return value
    raise RunError(f"no JSON at the end of: {text[-300:]!r}")


def time_to_first_output(words: Sequence[str | os.PathLike[str]], cpus: Sequence[int],
                         env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Seconds from the start of the process to its first byte on stdout, and what followed on it."""
    before, own, start = CpuTimes.now(), own_cpu_s(), time.monotonic()
    with subprocess.Popen([str(word) for word in words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env={**os.environ, **(env or {})},
                          preexec_fn=lambda: os.sched_setaffinity(0, cpus)) as process:
        assert process.stdout is not None and process.stderr is not None
        first = os.read(process.stdout.fileno(), 1)
        took = time.monotonic() - start
        rest, errors = process.communicate()
    if not first or process.returncode != 0:
        raise RunError(f"exit {process.returncode}: {errors.decode(errors='replace')[-600:]}")
    wall = time.monotonic() - start
    load = others_share(before, CpuTimes.now(), own_cpu_s() - own, wall)
    return {"first_output_s": took, "stdout": (first + rest).decode(errors="replace"), "load": load, "wall_s": wall}


def cpu_flags() -> set[str]:
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("flags"):
            return set(line.split(":", 1)[1].split())
    return set()

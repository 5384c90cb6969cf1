# SPDX-License-Identifier: Apache-2.0
"""./dev ci: everything the continuous integration checks, from a bare machine to the one closing line of totals."""
from __future__ import annotations

import os
import subprocess
import time

from . import build, fuzz, lint, setup, test, util
from .totals import Totals, run_gtests

# (program: GoogleTest filter). Parsers of hostile files, the loader and the misuse of the ABI under AddressSanitizer and
# UndefinedBehaviorSanitizer; under ThreadSanitizer what many threads reach. A program that is not there although its
# folder holds tests is a failure.
ASAN_SUITES: dict[str, str] = {
    # The reference plugin is slow here, test_plugins has run all of it, and with gemma the engine still drives it.
    "test_engine": "*-*gemma270m*:*reference_stories*:*Speculation.ChangesNoToken/0:*BatchInvariance*reference*"
                   ":*BatchInvariance*fardevice_stories*",
    # Of two cases that take the same paths through a kernel the shorter one is enough.
    "test_plugins": "*-*AgreesWithTheReferenceOverSeveralSegments*:*DraftsGiveTheBitsOfSingleSteps/fardevice",
    "test_plugins_kernels": "*", "test_abi": "*-*gemma270m*", "test_sim": "*-Theorem.OneResourceStaysWithinTwiceTheBound",
    "test_base": "*", "test_tokens": "*", "test_sampling": "*", "test_model": "*", "test_model_pack": "*",
    "test_backend": "*", "test_kv": "*", "test_secret": "*", "test_tenant": "*", "test_scheduler": "*",
}
# ThreadSanitizer cannot start threads in a forked child; AddressSanitizer runs those calls.
# The reference plugin has no thread of its own and is the slowest there: onednn works on the host's threads and
# fardevice on its own, in which the size of the model changes nothing. Speculation meets other requests in
# ChangesNoTokenOfOthers; alone it shares nothing.
TSAN_SUITES: dict[str, str] = {
    "test_engine": "*-*gemma270m*:*reference_*:*Speculation.ChangesNoToken/*:*BatchInvariance*fardevice_stories*"
                   ":*Prefix*onednn_stories:*IdleSession*onednn_stories:*Preemption*onednn_stories",
    "test_base": "*", "test_backend": "*", "test_abi": "*Misuse.*:Fork.*-Fork.RandomCalls*",
}
# What must also hold for a user without privileges and with the usual 8 MiB of lockable memory.
USER_SUITES: dict[str, str] = {"test_base": "*", "test_secret": "*", "test_backend": "*", "test_kv": "*",
                               "test_model_pack": "*", "test_engine": "*PackCache*", "test_abi": "Fork.*:Misuse.*"}

FUZZ_SECONDS = 10

SANITIZER_ENV = {
    # intercept_tls_get_addr: up to GCC 13 and LLVM 16 the interceptor takes a thread's block for one of glibc 2.19 where
    # it lies at a certain place by chance, and the search for leaks then reads an address that is none (google/sanitizers
    # issue 1322).
    "ASAN_OPTIONS": "abort_on_error=0:detect_stack_use_after_return=1:allocator_may_return_null=1"
                    ":intercept_tls_get_addr=0",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=0:second_deadlock_stack=1:exitcode=66:die_after_fork=0",
}


def plain_user() -> list[str]:
    """A command prefix: an unprivileged user where this checkout is readable for one, else root without capabilities."""
    # A container may allow less than the usual 8 MiB already.
    limit = ["bash", "-c", 'ulimit -l 8192 2>/dev/null; [ "$(ulimit -l)" != unlimited ] && exec "$@"', "limited"]
    if os.geteuid() != 0:
        return limit
    nobody = [util.need("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all",
              "--inh-caps=-all", "--no-new-privs"]
    probe = ["ls", str(util.BUILD / "bin"), str(util.ROOT / "tests")]
    if subprocess.run([*nobody, *probe], capture_output=True).returncode == 0:
        return [*limit, *nobody]
    return [*limit, util.need("setpriv"), "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]


def sanitizer_wrapper(preset: str) -> list[str]:
    """A command prefix: ThreadSanitizer of GCC 12 cannot live with the widest address randomisation some kernels use."""
    fixed = ["setarch", "-R"]
    return fixed if preset == "tsan" and subprocess.run([*fixed, "true"], capture_output=True).returncode == 0 else []


def sanitizer(totals: Totals, preset: str, suites: dict[str, str]) -> None:
    util.say(f"{preset}")
    try:
        with util.stage(f"build {preset}"):
            build.build_preset(preset, targets=build.targets_for(preset, list(suites)), quiet=True)
    except util.DevError as error:
        totals.add(f"{preset}:build", "failed", str(error))
        return
    run_gtests(totals, build.output_dir(preset) / "bin", filters=suites, wrapper=sanitizer_wrapper(preset),
               env=SANITIZER_ENV)


def fuzzers(totals: Totals) -> None:
    """The fuzz targets build, and find nothing in their seeds and a few seconds; ./dev fuzz runs them for longer."""
    util.say("fuzz")
    try:
        with util.stage("build fuzz"):
            build.build_preset("fuzz", targets=["fuzzers"], quiet=True)
    except util.DevError as error:
        totals.add("fuzz:build", "failed", str(error))
        return
    for name in fuzz.targets():
        with util.stage(name) as notes:
            code, note = fuzz.run_target(name, FUZZ_SECONDS)
            notes.append(note)
            totals.add(f"fuzz:{name}", "failed" if code else "passed", util.tail(util.LOGS / f"{name}.log", 25))


def ci(words: list[str]) -> int:
    start = time.monotonic()
    totals = Totals()
    try:
        setup.setup([])
        util.say("release")
        with util.stage("build, warnings as errors"):
            build.build_preset("release", werror=True, quiet=True)
    except util.DevError as error:
        totals.add("setup-and-build", "failed", str(error))
        return totals.close(strict=True)
    util.say("lint")
    lint.run_lint(totals, fast=False)
    util.say("tests")
    test.run_everything(totals, "")
    util.say("as an unprivileged user, 8 MiB lockable")
    run_gtests(totals, util.BUILD / "bin", filters=USER_SUITES, wrapper=plain_user())
    if "--quick" not in words:
        sanitizer(totals, "asan", ASAN_SUITES)
        sanitizer(totals, "tsan", TSAN_SUITES)
        fuzzers(totals)
    util.say(f"ci took {(time.monotonic() - start) / 60:.1f} min")
    return totals.close(strict=True)

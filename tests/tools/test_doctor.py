# SPDX-License-Identifier: Apache-2.0
"""merritt doctor and inspect: what works on this machine, and which files run here."""
from __future__ import annotations

import json
import os
import pathlib
import subprocess
from typing import Any

import pytest
from merritt_command import Merritt


def checks_of(out: dict[str, Any]) -> dict[str, dict[str, str]]:
    return {check["name"]: check for check in out["checks"]}


def test_doctor_checks_this_machine(merritt: Merritt) -> None:
    done = merritt("doctor", "--json")
    out = json.loads(done.stdout)
    assert done.returncode == 0
    assert {"cpu", "threads", "memory", "memlock", "huge pages", "models"} <= set(checks_of(out))
    assert "plugin libmerritt_reference.so" in checks_of(out)
    assert all(check["health"] == "ok" or check["fix"] for check in out["checks"])


def elsewhere(folder: pathlib.Path, **variables: object) -> dict[str, str]:
    """An environment in which nothing but `folder` is searched for models: no home, no python3 on PATH."""
    cleared = {"HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "VIRTUAL_ENV"}
    kept = {name: value for name, value in os.environ.items() if name not in cleared}
    return {**kept, "HOME": str(folder), "PATH": str(folder), **{name: str(value) for name, value in variables.items()}}


def test_doctor_warns_about_little_locked_memory(program: pathlib.Path, tmp_path: pathlib.Path) -> None:
    done = subprocess.run(["/bin/bash", "-c", 'ulimit -l 64 && exec "$0" doctor --json', program], capture_output=True,
                          cwd=tmp_path, env=elsewhere(tmp_path))
    out = json.loads(done.stdout)
    assert done.returncode == 0 and out["memlock_bytes"] == 65536
    check = checks_of(out)["memlock"]
    assert check["health"] == "warn" and "ulimit -l" in check["fix"]


def test_doctor_counts_the_threads_an_engine_starts(
    program: pathlib.Path, model_path: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    def doctor(*prefix: str) -> dict[str, Any]:
        done = subprocess.run([*prefix, program, "doctor", "--json"], capture_output=True, cwd=tmp_path,
                              env=elsewhere(tmp_path))
        return dict(json.loads(done.stdout))

    pinned = doctor("/usr/bin/taskset", "-c", str(min(os.sched_getaffinity(0))))
    assert pinned["threads"] == 1
    if (os.cpu_count() or 1) > 1:
        assert checks_of(pinned)["threads"]["health"] == "warn"
    free = doctor()
    bench = subprocess.run([program, "bench", "-m", model_path, "-p", "8", "-n", "0", "-r", "1", "--json"], capture_output=True)
    assert json.loads(bench.stdout)["threads"] == free["threads"]


def test_doctor_fails_without_plugins(program: pathlib.Path, tmp_path: pathlib.Path) -> None:
    done = subprocess.run([program, "doctor", "--json", "--plugin-dir", tmp_path], capture_output=True, cwd=tmp_path,
                          env=elsewhere(tmp_path))
    check = checks_of(json.loads(done.stdout))["plugins"]
    assert done.returncode == 1 and check["health"] == "fail" and "--plugin-dir" in check["fix"]


def test_doctor_fails_when_no_plugin_is_trusted(program: pathlib.Path, tmp_path: pathlib.Path) -> None:
    trust = tmp_path / "trust.json"
    trust.write_text('{"publishers": []}')
    done = subprocess.run([program, "doctor", "--json", "--trust", trust], capture_output=True, cwd=tmp_path,
                          env=elsewhere(tmp_path))
    plugins = [check for name, check in checks_of(json.loads(done.stdout)).items() if name.startswith("plugin")]
    assert done.returncode == 1 and plugins
    assert all(check["health"] != "ok" and check["fix"] for check in plugins)


def test_doctor_warns_when_there_is_no_model(program: pathlib.Path, tmp_path: pathlib.Path) -> None:
    done = subprocess.run([program, "doctor", "--json"], cwd=tmp_path, capture_output=True, env=elsewhere(tmp_path))
    out = json.loads(done.stdout)
    assert done.returncode == 0 and out["models"] == []
    assert checks_of(out)["models"]["health"] == "warn" and "merritt run -m" in checks_of(out)["models"]["fix"]


@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME"])
def test_doctor_finds_models_in_packages_and_caches(program: pathlib.Path, tmp_path: pathlib.Path, variable: str) -> None:
    data = tmp_path / ".venv" / "lib" / "python3.11" / "site-packages" / "pieces" / "data"
    data.mkdir(parents=True)
    (data / "m.gguf.part01").write_bytes(b"22")
    (data / "m.gguf.part00").write_bytes(b"1")
    root = tmp_path / "cache"
    hub = root / {"HF_HUB_CACHE": ".", "HF_HOME": "hub", "XDG_CACHE_HOME": "huggingface/hub",
                  "HOME": ".cache/huggingface/hub"}[variable]
    model = hub / "models--a--b"
    (model / "snapshots" / "c").mkdir(parents=True)
    (model / "blobs").mkdir()
    (model / "blobs" / "d1g3").write_bytes(b"333")
    (model / "snapshots" / "c" / "n.gguf").symlink_to("../../blobs/d1g3")
    done = subprocess.run([program, "doctor", "--json"], cwd=tmp_path, capture_output=True,
                          env=elsewhere(tmp_path, **{variable: root}))
    found = {pathlib.Path(model["path"]).name: model for model in json.loads(done.stdout)["models"]}
    assert set(found) == {"n.gguf", "m.gguf"}
    assert found["n.gguf"]["bytes"] == 3 and found["n.gguf"]["where"] == "hugging face cache"
    assert [pathlib.Path(part).name for part in found["m.gguf"]["parts"]] == ["m.gguf.part00", "m.gguf.part01"]
    text = subprocess.run([program, "doctor"], cwd=tmp_path, capture_output=True, text=True,
                          env=elsewhere(tmp_path, **{variable: root})).stdout
    assert f"cat {data / 'm.gguf.part00'} {data / 'm.gguf.part01'} > m.gguf" in text


def string_value(text: str) -> bytes:
    return len(text).to_bytes(8, "little") + text.encode()


def test_inspect_says_when_the_vocabulary_is_not_served(
    merritt: Merritt, model_path: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """A byte-pair vocabulary under an architecture that is served: what inspect says and what run does agree."""
    data = model_path.read_bytes()
    kind, name = b"tokenizer.ggml.model\x08\0\0\0", b"general.name\x08\0\0\0"
    for key, old, new in ((kind, "llama", "gpt2"), (name, "stories260K", "stories260K+")):  # the same length in all
        assert data.count(key + string_value(old)) == 1
        data = data.replace(key + string_value(old), key + string_value(new))
    other = tmp_path / "bpe.gguf"
    other.write_bytes(data)
    out = json.loads(merritt("inspect", other, "--json").stdout)
    run = merritt("run", "-m", other, "--raw", "-p", "x", "-n", 2)
    if run.returncode == 0:
        assert out["supported"] is True
    else:
        assert out["supported"] is False and "gpt2" in out["unsupported"]
        assert b"gpt2" in run.stderr and b"unsupported" in run.stderr

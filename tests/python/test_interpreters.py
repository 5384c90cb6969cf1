# SPDX-License-Identifier: Apache-2.0
"""The built package under the machine's python3 and Debian's, with numpy 1.26 and 2. The environments are kept in the
cache of `./dev setup`; making one needs PyPI once."""
from __future__ import annotations

import fcntl
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig

import pytest

import merritt

CACHE = pathlib.Path(os.environ.get("MERRITT_DEPS_DIR") or pathlib.Path.home() / ".cache" / "merritt") / "pyenvs"
PACKAGE = pathlib.Path(merritt.__file__).resolve().parent
DEBIAN = pathlib.Path("/usr/bin/python3")
MACHINE = pathlib.Path(getattr(sys, "_base_executable", sys.executable)).resolve()
SMOKE = """
import sys, numpy, merritt
assert numpy.__version__.startswith(sys.argv[2] + "."), numpy.__version__
with merritt.Engine() as engine:
    model = engine.load(sys.argv[1])
    tenant = engine.tenant("t")
    ids = model.tokenize("Once upon a time")
    logits = model.eval(tenant, ids)
    assert type(logits) is numpy.ndarray and logits.dtype == numpy.float32 and logits.shape == (len(ids), 512)
    stream = tenant.generate(model, ids, max_tokens=8, ignore_eos=True)
    pieces = list(stream)
    assert "".join(pieces) == stream.text() and len(stream.tokens) == 8
    assert stream.tokens[0] == int(logits[-1].argmax())
    print(stream.text())
"""


def environment(python: pathlib.Path, numpy: str) -> pathlib.Path:
    """The interpreter of a virtual environment with that numpy, made at the first use."""
    version = subprocess.run([python, "-c", "import platform; print(platform.python_version())"], capture_output=True,
                             text=True, check=True).stdout.strip()
    whose = "debian" if python == DEBIAN else "machine"
    folder = CACHE / f"{whose}-{version}-numpy-{numpy}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / ".lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / ".complete").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([python, "-m", "venv", folder], check=True)
            subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check",
                            "--only-binary=:all:", f"numpy=={numpy}"], check=True)
            (folder / ".complete").touch()
    return folder / "bin" / "python"


def suffix_of(python: pathlib.Path) -> str:
    return subprocess.run([python, "-c", "import sysconfig; print(sysconfig.get_config_var('EXT_SUFFIX'))"],
                          capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("numpy", ["1.26.4", "2.2.6"])
@pytest.mark.parametrize("python", [DEBIAN, MACHINE], ids=["debian", "machine"])
def test_generates_and_evaluates(python: pathlib.Path, numpy: str, model_path: pathlib.Path) -> None:
    inside = environment(python, numpy)
    done = subprocess.run([inside, "-c", SMOKE, model_path, numpy.split(".")[0]], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)})
    if suffix_of(python) == sysconfig.get_config_var("EXT_SUFFIX"):
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()
    else:  # an extension is made for one minor version; the other is told so
        assert "merritt has no extension for Python" in done.stderr and "Python_EXECUTABLE" in done.stderr


def test_another_interpreter_is_told(tmp_path: pathlib.Path) -> None:
    package = tmp_path / "merritt"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("_core.*so", "__pycache__"))
    (package / "_core.cpython-38-x86_64-linux-gnu.so").touch()
    done = subprocess.run([sys.executable, "-S", "-c", "import merritt"], capture_output=True, text=True,
                          env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1
    assert "ImportError: merritt has no extension for Python" in done.stderr and "cpython-38" in done.stderr

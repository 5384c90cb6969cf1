# SPDX-License-Identifier: Apache-2.0
"""Lifetimes, the GIL, fork, pickling, discovery of plugins."""
from __future__ import annotations

import copy
import os
import pathlib
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

import merritt


def test_handles_cannot_be_pickled_or_copied(
    engine: merritt.Engine, model: merritt.Model, tenant: merritt.Tenant
) -> None:
    for thing in (engine, model, tenant, tenant.session(model)):
        with pytest.raises(TypeError, match="one process"):
            pickle.dumps(thing)
        with pytest.raises(TypeError, match="one process"):
            copy.copy(thing)


def test_closed_objects_answer_with_errors(engine: merritt.Engine, model: merritt.Model) -> None:
    tenant = engine.tenant("soon-closed")
    session = tenant.session(model)
    tenant.close()
    with pytest.raises(merritt.MerrittError):
        session.length
    tenant.close()
    with pytest.raises(merritt.MerrittError):
        tenant.usage


def test_a_tenant_name_is_taken_once(engine: merritt.Engine, tenant: merritt.Tenant) -> None:
    with pytest.raises(merritt.FailedPreconditionError):
        engine.tenant(tenant.name)
    with pytest.raises(merritt.InvalidArgumentError):
        engine.tenant("no spaces")


def test_other_threads_run_while_the_library_works(model: merritt.Model, tenant: merritt.Tenant) -> None:
    """The interpreter's own switching is turned off, so the other thread runs only when the library lets it."""
    ids = np.asarray(model.tokenize("Once upon a time " * 16), dtype=np.int32)
    go, ran = threading.Event(), threading.Event()

    def other() -> None:
        go.wait()
        ran.set()

    thread = threading.Thread(target=other)
    thread.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e6)
    try:
        go.set()
        assert not ran.is_set(), "no other thread may run yet"
        for _ in range(1000):
            model._core.eval(tenant._core, ids, 0)
            if ran.is_set():
                break
        assert ran.is_set()
    finally:
        sys.setswitchinterval(interval)
    thread.join()


def test_a_forked_child_gets_a_clear_error(model: merritt.Model) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            model.tokenize("x")
            word = b"worked"
        except merritt.FailedPreconditionError:
            word = b"refused"
        except BaseException as error:  # noqa: BLE001
            word = repr(error).encode()
        os.write(writing, word)
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    assert os.read(reading, 1000) == b"refused"
    os.close(reading)


def test_an_absent_backend_is_named() -> None:
    with pytest.raises(merritt.NotFoundError, match="cuda"):
        merritt.Engine(backends=["cuda"])
    with pytest.raises(ValueError, match="isa_max"):
        merritt.Engine(isa_max="sse9")


def test_plugins_of_a_folder_without_trust_list(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError, match="trust"):
        merritt.Engine(plugin_dirs=[tmp_path])
    (tmp_path / "trust.json").write_text('{"publishers": [{"name": "x"}]}')
    with pytest.raises(ValueError, match="trust list"):
        merritt.Engine(plugin_dirs=[tmp_path])


def test_reprs_for_notebooks(engine: merritt.Engine, tenant: merritt.Tenant) -> None:
    assert "backends" in engine._repr_html_()
    assert "generated_tokens" in tenant._repr_html_()


def test_a_script_that_closes_nothing_ends_cleanly(model_path: pathlib.Path) -> None:
    script = (
        "import merritt, sys\n"
        "engine = merritt.Engine()\n"
        "model = engine.load(sys.argv[1], progress=False)\n"
        "stream = engine.tenant('t').generate(model, 'Once', raw=True, max_tokens=200)\n"
        "print(len(next(stream)) > 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(model_path)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr

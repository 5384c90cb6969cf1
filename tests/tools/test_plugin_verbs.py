# SPDX-License-Identifier: Apache-2.0
"""merritt plugin keygen, sign and verify, on a copy of the reference plugin."""
from __future__ import annotations

import json
import pathlib
import shutil
import stat

import pytest
from merritt_command import Merritt


@pytest.fixture
def folder(program: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    plugins = tmp_path / "plugins"
    plugins.mkdir(mode=0o755)
    source = program.parents[1] / "lib" / "merritt" / "plugins" / "libmerritt_reference.so"
    copy = shutil.copyfile(source, plugins / "libmerritt_reference.so")
    copy.chmod(0o644)
    return plugins


def sign(merritt: Merritt, folder: pathlib.Path, *extra: str) -> str:
    """A fresh key, the plugin signed with it, and the trust list that names it; returns the public key."""
    key = folder.parent / "key.pem"
    made = merritt("plugin", "keygen", key)
    assert made.returncode == 0, made.stderr
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    public = made.stdout.decode().strip()
    assert len(bytes.fromhex(public)) == 32
    done = merritt("plugin", "sign", folder / "libmerritt_reference.so", "--key", key, "--publisher", "us", *extra)
    assert done.returncode == 0, done.stderr
    (folder / "trust.json").write_text(json.dumps({"publishers": [{"name": "us", "key": public}]}))
    return public


def test_a_signed_plugin_verifies_and_runs(merritt: Merritt, folder: pathlib.Path, model_path: pathlib.Path) -> None:
    sign(merritt, folder)
    plugin = folder / "libmerritt_reference.so"
    out = json.loads(merritt("plugin", "verify", plugin, "--json").stdout)
    assert out["trusted"] and out["id"] == "reference" and out["publisher"] == "us"
    done = merritt("run", "-m", model_path, "--raw", "-p", "Once", "-n", 4, "--plugin-dir", folder)
    assert done.returncode == 0, done.stderr
    assert b"reference" in done.stderr


def test_an_altered_plugin_is_refused(merritt: Merritt, folder: pathlib.Path) -> None:
    sign(merritt, folder)
    plugin = folder / "libmerritt_reference.so"
    data = bytearray(plugin.read_bytes())
    data[-1] ^= 1
    plugin.write_bytes(data)
    done = merritt("plugin", "verify", plugin)
    assert done.returncode == 1 and b"fix:" in done.stderr
    rows = json.loads(merritt("backends", "--plugin-dir", folder, "--json").stdout)
    assert [row["loaded"] for row in rows] == [False]


def test_an_unknown_key_is_refused(merritt: Merritt, folder: pathlib.Path) -> None:
    sign(merritt, folder)
    (folder / "trust.json").write_text(json.dumps({"publishers": [{"name": "us", "key": "00" * 32}]}))
    assert merritt("plugin", "verify", folder / "libmerritt_reference.so").returncode == 1


def test_an_expired_signature_is_refused(merritt: Merritt, folder: pathlib.Path) -> None:
    sign(merritt, folder, "--not-after", "1000")
    done = merritt("plugin", "verify", folder / "libmerritt_reference.so")
    assert done.returncode == 1


def test_keygen_never_overwrites(merritt: Merritt, tmp_path: pathlib.Path) -> None:
    key = tmp_path / "key.pem"
    assert merritt("plugin", "keygen", key).returncode == 0
    before = key.read_bytes()
    assert merritt("plugin", "keygen", key).returncode == 1
    assert key.read_bytes() == before


def test_a_trust_list_that_is_none_is_named(merritt: Merritt, folder: pathlib.Path) -> None:
    sign(merritt, folder)
    for text in ("{", "[]", '{"publishers": [{"name": "us", "key": "12"}]}'):
        (folder / "trust.json").write_text(text)
        done = merritt("backends", "--plugin-dir", folder)
        assert done.returncode == 1 and b"trust.json" in done.stderr

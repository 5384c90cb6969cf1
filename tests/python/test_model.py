# SPDX-License-Identifier: Apache-2.0
"""Tokens, logits and loading."""
from __future__ import annotations

import pathlib
import time

import numpy as np
import pytest
import tiny_model

import merritt


def test_tokens_are_int32_and_go_back_to_text(model: merritt.Model) -> None:
    ids = model.tokenize("Once upon a time")
    assert ids.dtype == np.int32 and ids.ndim == 1
    assert ids[0] == model.info["bos"]
    raw = model.tokenize("Once upon a time", raw=True)
    assert (ids[1:] == raw).all()
    assert model.detokenize(raw).strip() == "Once upon a time"
    assert model.detokenize([int(token) for token in ids]).strip() == "Once upon a time"


def test_wrong_token_ids_are_refused(model: merritt.Model) -> None:
    with pytest.raises(merritt.InvalidArgumentError):
        model.detokenize([10**6])
    with pytest.raises(ValueError, match="negative"):
        model.detokenize([-1])
    with pytest.raises(ValueError, match="integers"):
        model.detokenize(np.zeros(3, dtype=np.float32))


def test_logits_of_both_feeding_orders_agree(model: merritt.Model, tenant: merritt.Tenant) -> None:
    ids = model.tokenize("Once upon a time there was")
    logits = model.eval(tenant, ids)
    assert logits.shape == (len(ids), model.info["vocabulary"]) and logits.dtype == np.float32
    assert np.isfinite(logits).all()
    one_by_one = model.eval(tenant, ids, decode=True)
    assert np.abs(logits - one_by_one).max() < 0.2


def test_the_largest_logit_is_the_greedy_token(model: merritt.Model, tenant: merritt.Tenant) -> None:
    ids = model.tokenize("Once upon a time")
    stream = tenant.generate(model, ids, max_tokens=1, ignore_eos=True)
    stream.text()
    assert stream.tokens == [int(model.eval(tenant, ids)[-1].argmax())]
    assert stream.logprobs[0] <= 0


def test_load_reports_progress_and_errors(engine: merritt.Engine, tmp_path: pathlib.Path) -> None:
    with pytest.raises(merritt.NotFoundError):
        engine.load(tmp_path / "absent.gguf", progress=False)
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF\x03\x00\x00\x00" + b"\xff" * 100)
    with pytest.raises(merritt.CorruptError):
        engine.load(broken, progress=False)
    with pytest.raises(ValueError, match="kv_type"):
        engine.load(broken, kv_type="q9")


def test_loading_shows_a_bar_when_asked(
    engine: merritt.Engine, model_path: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    engine.load(model_path, progress=True).close()
    shown = capfd.readouterr()
    assert model_path.name in shown.err and "%|" in shown.err and shown.out == ""
    for silent in (False, None):  # None: only where somebody watches, and nobody watches a test
        engine.load(model_path, progress=silent).close()
        assert capfd.readouterr() == ("", "")


def test_loading_reports_rising_fractions(
    engine: merritt.Engine, model_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []
    monkeypatch.setattr("merritt._progress.LoadProgress.report", property(lambda _: seen.append))
    engine.load(model_path).close()
    assert seen == sorted(seen) and 0 <= seen[0] and seen[-1] == 1


def test_info_describes_the_model(model: merritt.Model, model_path: pathlib.Path) -> None:
    assert model.info["architecture"] == "llama"
    assert model.info["file_bytes"] == model_path.stat().st_size
    assert model.info["layers"] == 5
    assert "merritt.Model" in repr(model)
    assert "<table>" in model._repr_html_()


def test_the_second_load_is_from_the_pack_cache(engine: merritt.Engine, tmp_path: pathlib.Path) -> None:
    path, packs = tiny_model.model_path(tmp_path), tmp_path.resolve() / "packs"
    packs.mkdir(mode=0o700)
    time.sleep(3.1)  # a file that changed a moment ago is not kept
    for from_pack in (False, True):
        with engine.load(path, backend="onednn", pack_cache=packs, progress=False) as model:
            assert model.info["from_pack_cache"] is from_pack
    packs.chmod(0o777)
    with pytest.raises(merritt.PermissionDeniedError, match="writable by"):
        engine.load(path, backend="onednn", pack_cache=packs, progress=False)

# SPDX-License-Identifier: Apache-2.0
"""Limits, usage, export and journal of tenants."""
from __future__ import annotations

import gc
import json
import pathlib

import pytest

import merritt


def test_limits_are_read_and_changed_live(engine: merritt.Engine, model: merritt.Model) -> None:
    with engine.tenant("limits", weight=3, tokens_per_minute=6000, models=[model]) as tenant:
        assert tenant.limits["weight"] == 3
        assert tenant.limits["queue_max"] == 64
        assert tenant.limits["tokens_burst"] == 6000
        assert tenant.limits["models"] == (model,)
        tenant.set_limits(output_max=2)
        assert tenant.limits["weight"] == 3
        assert tenant.limits["models"] == (model,)
        stream = tenant.generate(model, "the", raw=True, ignore_eos=True)
        stream.text()
        assert stream.stats["generated_tokens"] == 2
        with pytest.raises(merritt.QuotaExceededError, match="output_max is 2"):
            tenant.generate(model, "the", raw=True, max_tokens=3)
        tenant.set_limits(output_max=0, models=())
        assert tenant.limits["output_max"] == 0
        with pytest.raises(merritt.InvalidArgumentError, match="65536"):
            tenant.set_limits(weight=100_000)
        with pytest.raises(TypeError, match="no limit 'tokens_per_hour'"):
            tenant.set_limits(tokens_per_hour=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="no limit"):
        engine.tenant("limits", speed=1)  # type: ignore[call-arg]


def test_beginnings_of_prompts_are_run_once(engine: merritt.Engine, model: merritt.Model) -> None:
    prompt = "x" * 150
    options = {"raw": True, "max_tokens": 4, "seed": 1, "temperature": 0.7}
    with engine.tenant("own", prefix_bytes_max=1 << 22) as own, engine.tenant("other") as other, \
            engine.tenant("publisher", publishes=True, kv_bytes_floor=1 << 20) as publisher:
        assert own.limits["prefix_bytes_max"] == 1 << 22 and publisher.limits["publishes"] is True
        text = own.generate(model, prompt, **options).text()
        again = own.generate(model, prompt, **options)
        assert again.text() == text
        cached = again.stats["cached_tokens"]
        assert cached > 0
        alone = other.generate(model, prompt, **options)
        assert alone.text() == text and alone.stats["cached_tokens"] == 0
        with pytest.raises(merritt.PermissionDeniedError, match="publishes"):
            own.session(model).publish()
        session = publisher.session(model)
        assert session.generate(prompt, **options).text() == text
        assert session.publish() == cached
        found = other.generate(model, prompt, **options)
        assert found.text() == text and found.stats["cached_tokens"] == cached


def test_a_model_of_its_own(engine: merritt.Engine, model: merritt.Model, model_path: pathlib.Path) -> None:
    with engine.tenant("owner", model_bytes_max=1 << 30) as owner, engine.tenant("other") as other:
        assert owner.limits["model_bytes_max"] == 1 << 30
        with pytest.raises(merritt.PermissionDeniedError, match="model_bytes_max is 0"):
            engine.load(model_path, tenant=other)
        own = engine.load(model_path, context_max=128, tenant=owner)
        usage = owner.usage
        assert usage["model_bytes"] == own.info["weight_bytes"] + own.info["kv_bytes"]
        assert usage["model_loads"] == 1 and usage["model_load_ns"] > 0
        options = {"raw": True, "max_tokens": 4, "seed": 1}
        assert owner.generate(own, "the", **options).text() == other.generate(model, "the", **options).text()
        with pytest.raises(merritt.PermissionDeniedError, match="another tenant"):
            other.session(own)
    with pytest.raises(merritt.NotFoundError):
        own.tokenize("x")


def test_a_model_keeps_its_tenant(engine: merritt.Engine, model_path: pathlib.Path) -> None:
    own = engine.load(model_path, context_max=128, tenant=engine.tenant("kept", model_bytes_max=1 << 30))
    gc.collect()
    assert len(own.tokenize("x")) > 0
    own.close()


def test_a_rate_says_when_to_come_back(engine: merritt.Engine, model: merritt.Model) -> None:
    with engine.tenant("rates", requests_per_second=1) as tenant:
        tenant.generate(model, "the", raw=True, max_tokens=1).text()
        with pytest.raises(merritt.QuotaExceededError) as refused:
            tenant.generate(model, "the", raw=True, max_tokens=1)
        assert 0 < refused.value.retry_after_ms <= 1000
        assert tenant.usage["refusals_by_cause"]["request_rate"] == 1


def test_usage_export_and_journal(model_path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with merritt.Engine(threads=1, backends=["reference"]) as engine:
        engine.open_journal(tmp_path / "usage.journal")
        model = engine.load(model_path, progress=False)
        tenant = engine.tenant("acme")
        tenant.generate(model, "the", raw=True, max_tokens=5, ignore_eos=True).text()
        usage = tenant.usage
        assert usage["generated_tokens"] == 5
        assert usage["finished"]["length"] == 1
        assert usage["compute_ns"] > 0
        lines = [json.loads(line) for line in engine.usage_export().splitlines()]
        assert lines[1]["tenant"] == "acme" and lines[1]["generated_tokens"] == 5
        assert 'merritt_tenant_generated_tokens_total{tenant="acme"} 5\n' in engine.usage_export("prometheus")
        with pytest.raises(ValueError, match="prometheus"):
            engine.usage_export("xml")
        engine.flush_journal()
        records = engine.usage_since()
        assert sum(entry.get("generated_tokens", 0) for record in records for entry in record["tenants"]) == 5
        assert engine.usage_since(records[-1]["record"]) == []
        assert "acme" in tenant._repr_html_()

# SPDX-License-Identifier: Apache-2.0
"""Limits and usage of tenants."""
from __future__ import annotations

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


def test_a_rate_says_when_to_come_back(engine: merritt.Engine, model: merritt.Model) -> None:
    with engine.tenant("rates", requests_per_second=1) as tenant:
        tenant.generate(model, "the", raw=True, max_tokens=1).text()
        with pytest.raises(merritt.QuotaExceededError) as refused:
            tenant.generate(model, "the", raw=True, max_tokens=1)
        assert 0 < refused.value.retry_after_ms <= 1000
        assert tenant.usage["refusals_by_cause"]["request_rate"] == 1

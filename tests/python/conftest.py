# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pathlib
import sys
from typing import Iterator

import pytest

import merritt

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import tiny_model  # noqa: E402


@pytest.fixture(scope="session")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tiny_model.model_path(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def engine() -> Iterator[merritt.Engine]:
    with merritt.Engine(threads=2) as engine:
        yield engine


@pytest.fixture(scope="session")
def model(engine: merritt.Engine, model_path: pathlib.Path) -> Iterator[merritt.Model]:
    with engine.load(model_path, progress=False) as model:
        yield model


@pytest.fixture
def tenant(engine: merritt.Engine, request: pytest.FixtureRequest) -> Iterator[merritt.Tenant]:
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)[:60]
    with engine.tenant(name) as tenant:
        yield tenant


@pytest.fixture(scope="module")
def gemma() -> Iterator[tuple[merritt.Model, merritt.Tenant]]:
    """Gemma-3-270M on onednn, two threads, and a tenant of its own."""
    path = pathlib.Path(__file__).resolve().parents[2] / "models" / "gemma-3-270m-q4_k_m.gguf"
    if not path.is_file():
        pytest.skip(f"{path.name} is absent (./dev setup)")
    with merritt.Engine(threads=2) as engine, engine.load(path, backend="onednn", context_max=512, progress=False) as model:
        with engine.tenant("gemma") as tenant:
            yield model, tenant

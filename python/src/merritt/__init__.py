# SPDX-License-Identifier: Apache-2.0
"""Merritt: language models in your process, for many tenants.

    import merritt

    with merritt.Engine() as engine:
        model = engine.load("model.gguf")
        acme = engine.tenant("acme")
        for piece in acme.generate(model, "Tell me a joke.", max_tokens=100):
            print(piece, end="", flush=True)
"""
from ._locate import check_interpreter

check_interpreter()

from ._core import __version__
from .engine import Engine
from .errors import (
    BackendError,
    CancelledError,
    CorruptError,
    DeadlineExceededError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    MerrittError,
    NotFoundError,
    OutOfMemoryError,
    OverloadedError,
    PermissionDeniedError,
    QuotaExceededError,
    UnsupportedError,
)
from .model import Model
from .session import Session
from .stream import Event, Stream
from .tenant import Tenant

__all__ = [
    "BackendError",
    "CancelledError",
    "CorruptError",
    "DeadlineExceededError",
    "Engine",
    "Event",
    "FailedPreconditionError",
    "InternalError",
    "InvalidArgumentError",
    "MerrittError",
    "Model",
    "NotFoundError",
    "OutOfMemoryError",
    "OverloadedError",
    "PermissionDeniedError",
    "QuotaExceededError",
    "Session",
    "Stream",
    "Tenant",
    "UnsupportedError",
    "__version__",
]

# SPDX-License-Identifier: Apache-2.0
"""A tenant: the capability that sessions, quotas and usage hang from."""
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterable, TypedDict

from . import _core
from ._handle import Handle, html_table, human_bytes
from .model import Model
from .sampling import Prompt, Sampling
from .session import Session
from .stream import Stream

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .engine import Engine


class Limits(TypedDict, total=False):
    """What a tenant may ask for. What is left out or zero has its default.

    sequences_max, queue_max (64): requests running and waiting at once. prompt_bytes_max (1 MiB): of a prompt's text.
    context_max, output_max: tokens of a session, and max_tokens of a request. requests_per_second, requests_burst;
    tokens_per_minute, tokens_burst: prompts and outputs. kv_bytes_max, kv_bytes_floor, kv_bytes_burst: the ceiling of
    its KV caches, what is kept for it, and what it may borrow above the ceiling. weight (1): its part of a busy engine.
    deadline_ms_default: of a request that names none. template_steps_max, template_bytes_max: of rendering one
    conversation. prefix_bytes_max (0): KV bytes of prompts that are kept in each model for prompts that begin alike;
    model_bytes_max (0): weights and KV pools of models loaded for it (Engine.load). publishes (False): Session.publish
    may be called on its sessions. models: those it may use; empty = every one.
    """

    sequences_max: int
    queue_max: int
    prompt_bytes_max: int
    kv_bytes_max: int
    kv_bytes_floor: int
    kv_bytes_burst: int
    weight: int
    requests_per_second: int
    requests_burst: int
    context_max: int
    tokens_per_minute: int
    tokens_burst: int
    output_max: int
    deadline_ms_default: int
    template_steps_max: int
    template_bytes_max: int
    prefix_bytes_max: int
    model_bytes_max: int
    publishes: bool
    models: Iterable[Model]


def core_limits(limits: Limits) -> dict[str, Any]:
    unknown = set(limits) - set(Limits.__annotations__)
    if unknown:
        raise TypeError(f"a tenant has no limit {sorted(unknown)[0]!r}; there are {', '.join(Limits.__annotations__)}")
    out: dict[str, Any] = dict(limits)
    if "models" in out:
        out["models"] = [model._core for model in limits["models"]]
    return out


class Tenant(Handle):
    """Made by Engine.tenant."""

    def __init__(self, core: _core.Tenant, name: str, engine: Engine, models: Iterable[Model] = ()) -> None:
        self._core = core
        self._engine = engine
        self._models = tuple(models)
        self.name = name

    def generate(self, model: Model, prompt: Prompt, **sampling: Unpack[Sampling]) -> Stream:
        """One generation in a session of its own.

        prompt: a text (the user's message, when the model has a chat template and raw is not set), a conversation of
        {"role", "content"} messages, or token ids. The options are those of merritt.sampling.Sampling.
        """
        return self.session(model).generate(prompt, **sampling)

    def session(self, model: Model) -> Session:
        """A conversation with a model."""
        return Session(_core.Session(self._core, model._core), self, model)

    @property
    def usage(self) -> dict[str, Any]:
        """Requests, tokens, compute time, KV bytes and refusals since the tenant was made."""
        return self._core.usage()

    @property
    def limits(self) -> dict[str, Any]:
        """The limits as they are now, with the defaults filled in."""
        return {**self._core.limits(), "models": self._models}

    def set_limits(self, **limits: Unpack[Limits]) -> None:
        """Changes these limits and leaves the others; 0 is the default again. What was accepted goes on as it was."""
        changed: Limits = {**self.limits, **limits}  # type: ignore[typeddict-item]
        models = tuple(changed["models"])
        changed["models"] = models
        self._core.set_limits(core_limits(changed))
        self._models = models

    def close(self) -> None:
        """Cancels the tenant's requests and ends its sessions and the models that were loaded for it."""
        self._core.close()

    def __repr__(self) -> str:
        return f"<merritt.Tenant {self.name!r}>"

    def _repr_html_(self) -> str:
        usage = self.usage
        for detail in ("refusals_by_cause", "finished"):
            usage[detail] = ", ".join(f"{name} {count}" for name, count in usage[detail].items() if count)
        usage["kv_bytes"] = human_bytes(usage["kv_bytes"])
        return html_table(f"merritt.Tenant {self.name}", usage)

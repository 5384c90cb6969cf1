# SPDX-License-Identifier: Apache-2.0
"""A tenant: the capability that sessions, quotas and usage hang from."""
from __future__ import annotations

from typing import TYPE_CHECKING

from . import _core
from ._handle import Handle, html_table, human_bytes
from .model import Model
from .sampling import Prompt, Sampling
from .session import Session
from .stream import Stream

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .engine import Engine


class Tenant(Handle):
    """Made by Engine.tenant."""

    def __init__(self, core: _core.Tenant, name: str, engine: Engine) -> None:
        self._core = core
        self._engine = engine
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
    def usage(self) -> dict[str, int]:
        """Requests, tokens and KV bytes since the tenant was made."""
        return self._core.usage()

    def close(self) -> None:
        """Cancels the tenant's requests and ends its sessions."""
        self._core.close()

    def __repr__(self) -> str:
        return f"<merritt.Tenant {self.name!r}>"

    def _repr_html_(self) -> str:
        usage: dict[str, object] = dict(self.usage)
        usage["kv_bytes"] = human_bytes(self.usage["kv_bytes"])
        return html_table(f"merritt.Tenant {self.name}", usage)

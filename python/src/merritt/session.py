# SPDX-License-Identifier: Apache-2.0
"""A session: one tenant's conversation with one model, which keeps the KV cache of what was said."""
from __future__ import annotations

from typing import TYPE_CHECKING, Callable

from . import _core
from ._handle import Handle
from .model import Model
from .sampling import Prompt, Sampling, request_options
from .stream import Stream

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .tenant import Tenant


class Session(Handle):
    """Made by Tenant.session. messages is the conversation that `chat` keeps."""

    def __init__(self, core: _core.Session, tenant: Tenant, model: Model) -> None:
        self._core = core
        self._tenant = tenant
        self._model = model
        self.messages: list[dict[str, str]] = []

    def generate(self, prompt: Prompt, **sampling: Unpack[Sampling]) -> Stream:
        """Continues the session's cache with a prompt; a list of messages is the whole conversation."""
        return self._stream(prompt, sampling)

    def chat(self, text: str, **sampling: Unpack[Sampling]) -> Stream:
        """Says something and streams the answer; both are added to messages when the answer has ended."""
        asked = [*self.messages, {"role": "user", "content": text}]

        def remember(stream: Stream) -> None:
            self.messages = [*asked, {"role": "assistant", "content": "".join(stream._texts[0])}]

        return self._stream(asked, sampling, remember)

    def _stream(self, prompt: Prompt, sampling: Sampling, on_end: Callable[[Stream], None] | None = None) -> Stream:
        request = _core.Request(self._core, request_options(self._model, prompt, sampling))
        return Stream(request, self, self._tenant._engine._dispatchers, on_end)

    @property
    def length(self) -> int:
        """Tokens in the cache."""
        return self._core.length()

    def truncate(self, position: int) -> None:
        """Drops cached tokens from `position` on."""
        self._core.truncate(position)

    def fork(self) -> Session:
        """A second session with the same past."""
        copy = Session(self._core.fork(), self._tenant, self._model)
        copy.messages = list(self.messages)
        return copy

    def publish(self) -> int:
        """The beginning of its first prompt is there for the prompts of every tenant; the number of tokens.

        It goes with this tenant. Everybody can find out what it is: never publish what a tenant wrote.
        """
        return self._core.publish()

    def close(self) -> None:
        """Cancels what runs on it; its cache is zeroed."""
        self._core.close()

# SPDX-License-Identifier: Apache-2.0
"""One generation, read as it is made."""
from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Any, AsyncIterator, Callable, Deque, Iterator, Optional, Tuple

from . import _core
from ._dispatch import Dispatcher, Dispatchers
from ._handle import Handle, html_table

_FINISH = ("none", "eos", "stop", "length", "cancelled", "deadline", "error")
_RawEvent = Tuple[int, int, int, int, float, str, int]


@dataclass(frozen=True)
class Event:
    """A piece of one choice. text: whole characters, possibly none. token: -1 = none. step: of the engine."""

    choice: int
    text: str
    token: int
    logprob: float
    step: int


class Stream(Handle, Iterator[str], AsyncIterator[str]):
    """Iterates over the text of choice 0 as it comes, with `for` or `async for`; text() is the whole.

    Ctrl-C while waiting cancels the generation. tokens and logprobs hold what choice 0 has so far; events() gives the
    pieces of all choices. Closing it cancels what still runs.
    """

    def __init__(
        self,
        request: _core.Request,
        keep: Any,
        dispatchers: Dispatchers,
        on_end: Callable[[Stream], None] | None = None,
    ) -> None:
        self._request = request
        self._dispatchers = dispatchers
        self._dispatcher: Dispatcher | None = None  # of the loop that reads it
        self._arrived: Deque[Tuple[_RawEvent, Optional[Exception]]] = deque()
        self._news: asyncio.Event | None = None
        self._keep = keep  # the session, which lives as long as the stream
        self._on_end = on_end
        self._texts: dict[int, list[str]] = {0: []}
        self._finishes: dict[int, str] = {}
        self._stats: dict[str, Any] | None = None
        self._ended = False
        self.tokens: list[int] = []
        self.logprobs: list[float] = []

    def _take(self, event: _RawEvent) -> Event | None:
        kind, choice, finish, token, logprob, text, step = event
        if kind == _core.EVENT_TEXT:
            self._texts.setdefault(choice, []).append(text)
            if choice == 0 and token >= 0:
                self.tokens.append(token)
                self.logprobs.append(logprob)
            return Event(choice, text, token, logprob, step)
        if kind == _core.EVENT_CHOICE_END:
            self._finishes[choice] = _FINISH[finish]
        elif kind == _core.EVENT_END and not self._ended:
            self._ended = True
            self._finishes.setdefault(0, _FINISH[finish])
            self._stats = self._request.stats()
            if self._on_end is not None:
                self._on_end(self)
        return None

    def _arrive(self, event: _RawEvent, error: Exception | None) -> None:
        self._arrived.append((event, error))
        if self._news is not None:
            self._news.set()

    def _take_arrived(self) -> Event | None:
        raw, error = self._arrived.popleft()
        event = self._take(raw)
        if error is not None:
            raise error
        return event

    def _next(self) -> Event | None:
        if self._arrived:
            return self._take_arrived()
        if self._dispatcher is not None:  # a loop has read the beginning
            self._dispatcher.remove(self._request)
            self._dispatcher = None
        raw = self._request.next()
        return None if raw is None else self._take(raw)

    def events(self) -> Iterator[Event]:
        """The pieces of all choices."""
        try:
            while not self._ended:
                event = self._next()
                if event is not None:
                    yield event
        except KeyboardInterrupt:
            self.cancel()
            raise

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> str:
        for event in self.events():
            if event.choice == 0 and event.text:
                return event.text
        raise StopIteration

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> str:
        if self._dispatcher is None and not self._ended:
            self._news = asyncio.Event()
            self._dispatcher = self._dispatchers.here()
            self._dispatcher.add(self, self._request)
        try:
            while not self._ended:
                while self._arrived:
                    event = self._take_arrived()
                    if event is not None and event.choice == 0 and event.text:
                        return event.text
                if not self._ended:
                    assert self._news is not None
                    self._news.clear()
                    await self._news.wait()
        except asyncio.CancelledError:
            self.cancel()
            raise
        raise StopAsyncIteration

    def text(self, choice: int = 0) -> str:
        """The whole text of a choice; waits for the end."""
        for _ in self.events():
            pass
        return "".join(self._texts.get(choice, []))

    def texts(self) -> list[str]:
        """The whole text of every choice; waits for the end."""
        self.text()
        return ["".join(self._texts[choice]) for choice in sorted(self._texts)]

    def cancel(self) -> None:
        """Asks the engine to stop; what was made until then stays readable."""
        self._request.cancel()

    @property
    def finish(self) -> str | None:
        """Why choice 0 ended: "eos", "stop", "length", "cancelled", "deadline", "error"; None while it runs."""
        return self._finishes.get(0)

    @property
    def stats(self) -> dict[str, Any]:
        """Token counts and times in seconds; also while it runs."""
        return self._stats if self._stats is not None else self._request.stats()

    def close(self) -> None:
        """Cancels what still runs."""
        if not self._ended:
            self._ended = True
            self._stats = self._request.stats()
        self._request.close()
        self._keep = None

    def _repr_html_(self) -> str:
        return html_table("merritt.Stream", {"text": "".join(self._texts[0]), "finish": self.finish, **self.stats})

# SPDX-License-Identifier: Apache-2.0
"""Brings events of the engine into an asyncio loop without a thread: the loop waits on a queue's descriptor."""
from __future__ import annotations

import asyncio
import itertools
import weakref
from typing import TYPE_CHECKING

from . import _core

if TYPE_CHECKING:
    from .stream import Stream


class Dispatcher:
    """The queue of one engine in one loop. Used by the loop's thread alone."""

    def __init__(self, engine: _core.Engine, loop: asyncio.AbstractEventLoop) -> None:
        self._queue = _core.Queue(engine)
        self._numbers = itertools.count(1)
        self._streams: dict[int, weakref.ref[Stream]] = {}
        loop.add_reader(self._queue.fd(), self._read)

    def add(self, stream: Stream, request: _core.Request) -> None:
        number = next(self._numbers)
        self._queue.add(request, number)
        self._streams[number] = weakref.ref(stream, lambda _: self._streams.pop(number, None))

    def remove(self, request: _core.Request) -> None:
        self._queue.remove(request)

    def _read(self) -> None:
        for number, event, error in self._queue.take():
            reference = self._streams.get(number)
            stream = None if reference is None else reference()
            if stream is not None:
                stream._arrive(event, error)
            if event[0] == _core.EVENT_END:
                self._streams.pop(number, None)


class Dispatchers:
    """One for each loop that reads streams of an engine; it goes with the loop."""

    def __init__(self, engine: _core.Engine) -> None:
        self._engine = engine
        self._of_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Dispatcher] = weakref.WeakKeyDictionary()

    def here(self) -> Dispatcher:
        loop = asyncio.get_running_loop()
        if loop not in self._of_loop:
            self._of_loop[loop] = Dispatcher(self._engine, loop)
        return self._of_loop[loop]

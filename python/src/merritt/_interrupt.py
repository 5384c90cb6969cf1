# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C during a call of the library that has no way to be cancelled."""
from __future__ import annotations

import threading
from typing import Callable, TypeVar

T = TypeVar("T")
_running: set[threading.Event] = set()


def interruptible(work: Callable[[], T]) -> T:
    """work(), such that Ctrl-C is raised here at once.

    Python raises Ctrl-C only in the main thread, and only while that runs Python code; so there the work gets a thread
    of its own to wait for. Interrupted work goes on to its end and is thrown away, or ends when its engine is closed.
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    done = threading.Event()
    results: list[T] = []
    failures: list[BaseException] = []

    def body() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001: raised by the waiting thread
            failures.append(error)
        finally:
            _running.discard(done)
            done.set()

    _running.add(done)
    threading.Thread(target=body, name="merritt-call", daemon=True).start()
    done.wait()
    if failures:
        raise failures[0]
    return results[0]


def wait_for_interrupted() -> None:
    """At exit, after the engines are closed: until no thread is inside the library."""
    for done in list(_running):
        done.wait()

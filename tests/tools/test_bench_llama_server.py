# SPDX-License-Identifier: Apache-2.0
"""The client of the comparison with llama-server, against a server of this file's own that speaks its protocol."""
from __future__ import annotations

import http.server
import json
import pathlib
import sys
import threading
import time
from typing import Iterator

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "bench"))
import llama_server  # noqa: E402

LAST = {"content": "", "tokens": [], "stop": True, "tokens_predicted": llama_server.OUTPUT}
ANSWERS: dict[int, list[dict[str, object]]] = {  # by the first id of the prompt
    1: [{"content": "", "tokens": []}, {"content": "ab", "tokens": [7]}, LAST],
    2: [{"content": "a", "tokens": [7]}, {**LAST, "tokens_predicted": 3}],
    3: [{"error": {"code": 500, "message": "no room"}}],
}


RELEASED, ANSWERED = threading.Event(), threading.Event()


class Stub(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:  # noqa: N802 - the base class's name
        first = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["prompt"][0]
        self.send_response(200 if first else 400)
        self.end_headers()
        for event in ANSWERS.get(first, []):
            self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        if first == 4:
            RELEASED.wait(30)
            ANSWERED.set()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stub) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def asked(port: int, first: int) -> llama_server.Ask:
    ask = llama_server.Ask(port, [first], time.monotonic() - 1)
    ask.start()
    ask.join(10)
    return ask


def test_tokens_are_counted_by_the_last_event_and_time_runs_from_when_it_was_due(port: int) -> None:
    ask = asked(port, 1)
    assert (ask.error, ask.tokens) == ("", llama_server.OUTPUT)
    assert 1000 <= ask.first_ms <= 1000 * (time.monotonic() - ask.due)


@pytest.mark.parametrize("first, error", [(2, "3 tokens instead of"), (3, "no room"), (0, "400"), (9, "0 tokens instead of")])
def test_an_answer_that_is_none_is_an_error(port: int, first: int, error: str) -> None:
    assert error in asked(port, first).error


def test_who_waits_too_long_gives_up(port: int) -> None:
    ask = llama_server.Ask(port, [4], time.monotonic())
    ask.start()
    time.sleep(0.2)
    ask.give_up()
    assert ask.error == "not done in time" and not ask.is_alive() and not ANSWERED.is_set()
    RELEASED.set()

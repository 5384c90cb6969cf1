#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One user beside another that floods the server: Merritt, where they are tenants, and llama-server, which has no tenants.

usage: ./dev bench llama_server [--requests 200] [--json] [--model FILE] [--neighbours 96] [--seconds-most 300]

The same load for both: the victim sends short requests at a steady rate, which is half of what the slower engine serves one
at a time; the neighbour keeps as many requests in flight as it may. Each engine has all CPUs but the one that sends and
reads. llama-server gets as many slots as the engine runs sequences and is asked by its own protocol, with ids for the prompt
and without reuse of prompts; it is built, once per version, from the source distribution of llama-cpp-python.
"""
from __future__ import annotations

import argparse
import contextlib
import dataclasses
import http.client
import json
import os
import pathlib
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any, Iterator

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import _load  # noqa: E402
import _peers  # noqa: E402
from _scenarios import CONTEXT, Load, closed, neighbour, of_tenant, spec, victim  # noqa: E402

PROMPT, OUTPUT, SLOTS = 64, 32, 32


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, default=_peers.ROOT / "models/gemma-3-270m-q4_k_m.gguf")
    parser.add_argument("--requests", type=int, default=200, help="of the victim")
    parser.add_argument("--neighbours", type=int, default=96, help="requests that the neighbour keeps in flight")
    parser.add_argument("--threads", type=int, default=max(1, len(os.sched_getaffinity(0)) - 1), help="of each engine")
    parser.add_argument("--seconds-most", type=float, default=300, help="of a run; what is not done then is left out")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--merritt", type=pathlib.Path, default=_peers.ROOT / "build/bin/merritt")
    parser.add_argument("--json", action="store_true", help="all figures as JSON instead of a table")
    return parser.parse_args()


@dataclasses.dataclass
class Figures:
    """What the victim got: milliseconds to the first token of its requests, and tokens per second while it was sending."""
    p50_ms: float
    p99_ms: float
    done: int
    tokens_per_s: float
    neighbour_tokens_per_s: float


class Merritt:
    name = "merritt"

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args

    def run(self, arrivals: Load, requests: int, neighbours: int) -> Figures:
        tenants = [victim(requests, arrivals, prompt=PROMPT, output=OUTPUT)]
        if neighbours:
            tenants.append(neighbour(arrivals=closed(neighbours), prompt=PROMPT, output=OUTPUT, queue_max=neighbours))
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(spec(tenants, self.args.seconds_most, self.args.seed), file)
            file.flush()
            report = _load.run_measured(
                [self.args.merritt, "bench", "-m", self.args.model, "--tenants", file.name, "--context", str(CONTEXT),
                 "--threads", str(self.args.threads), "--backend", "onednn", "--json"],
                sorted(os.sched_getaffinity(0)), timeout_s=self.args.seconds_most + 600)
        own = of_tenant(report, "victim")
        first = own["first_token_ms"]
        beside = of_tenant(report, "neighbour")["tokens_out_per_s"] if neighbours else 0.0
        return Figures(first["p50"], first["p99"], own["requests"]["done"], own["tokens_out_per_s"], beside)


class Ask(threading.Thread):
    """One request to llama-server: what came of it, or what went wrong."""

    def __init__(self, port: int, ids: list[int], due: float) -> None:
        super().__init__(daemon=True)
        self.due, self.first_ms, self.tokens, self.error = due, 0.0, 0, ""
        self.body = json.dumps({"prompt": ids, "n_predict": OUTPUT, "stream": True, "ignore_eos": True, "cache_prompt": False,
                                "temperature": 0, "return_tokens": True})
        self.connection = http.client.HTTPConnection("127.0.0.1", port)
        self.socket: socket.socket | None = None  # the connection forgets it when the answer ends with it

    def run(self) -> None:
        try:
            self.read()
        except (OSError, ValueError, http.client.HTTPException) as error:
            self.error = self.error or str(error) or type(error).__name__
        finally:
            self.connection.close()

    def read(self) -> None:
        self.connection.connect()
        self.socket = self.connection.sock
        self.connection.request("POST", "/completion", self.body, {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        if answer.status != 200:
            self.error = f"{answer.status}: {answer.read(300)!r}"
            return
        for line in answer:
            if not line.startswith(b"data: {"):
                self.error = line.decode(errors="replace") if line.startswith(b"error") else self.error
                continue
            event = json.loads(line[6:])
            # A token that ends within a character is told with the next one, and only the last event counts them all.
            if event.get("tokens") and not self.first_ms:
                self.first_ms = 1000 * (time.monotonic() - self.due)
            self.tokens = event.get("tokens_predicted", 0) if event.get("stop") else self.tokens
            self.error = str(event["error"]) if "error" in event else self.error
        if not self.error and self.tokens != OUTPUT:
            self.error = f"{self.tokens} tokens instead of {OUTPUT}"

    def give_up(self) -> None:
        """The server ends what nobody reads."""
        self.error = "not done in time"
        with contextlib.suppress(OSError):
            if self.socket is not None:
                self.socket.shutdown(socket.SHUT_RDWR)
        self.join()


class LlamaServer:
    name = "llama-server"

    def __init__(self, args: argparse.Namespace, port: int, vocabulary: int) -> None:
        self.args, self.port, self.vocabulary = args, port, vocabulary

    def run(self, arrivals: Load, requests: int, neighbours: int) -> Figures:
        draw = random.Random(self.args.seed)
        over = threading.Event()
        crowd = [Crowd(self, random.Random(self.args.seed + 1 + i), over) for i in range(neighbours)]
        for one in crowd:
            one.start()
        time.sleep(0.5 + neighbours / 64)
        begun = [one.tokens for one in crowd]
        start = due = time.monotonic()
        end, mine = start + self.args.seconds_most, []
        for _ in range(requests):
            due = due + draw.expovariate(arrivals["per_second"]) if arrivals["law"] == "poisson" else time.monotonic()
            if due > end:
                break
            time.sleep(max(0.0, due - time.monotonic()))
            mine.append(Ask(self.port, self.ids(draw), due))
            mine[-1].start()
            if arrivals["law"] == "closed":
                mine[-1].join()
        for ask in mine:
            ask.join(max(0.0, end - time.monotonic()))
        took = time.monotonic() - start
        over.set()
        beside = sum(one.tokens - before for one, before in zip(crowd, begun)) / took
        for ask in [ask for ask in mine if ask.is_alive()]:
            ask.give_up()
        for one in crowd:
            one.join()
        for asked in [*mine, *crowd]:
            if asked.error and asked.error != "not done in time":
                raise _load.RunError(f"llama-server: {asked.error}")
        # Who has no first token yet has waited for as long as this.
        waits = sorted(ask.first_ms or 1000 * (start + took - ask.due) for ask in mine)
        at = lambda part: waits[min(len(waits) - 1, int(part * len(waits)))]  # noqa: E731
        done = [ask for ask in mine if not ask.error]
        return Figures(at(0.5), at(0.99), len(done), sum(ask.tokens for ask in done) / took, beside)

    def ids(self, draw: random.Random) -> list[int]:
        return [draw.randrange(self.vocabulary // 2, self.vocabulary) for _ in range(PROMPT)]


class Crowd(threading.Thread):
    """One of the neighbour's requests in flight, sent again whenever it is done."""

    def __init__(self, server: LlamaServer, draw: random.Random, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self.server, self.draw, self.over = server, draw, over
        self.tokens, self.error = 0, ""

    def run(self) -> None:
        while not self.over.is_set() and not self.error:
            ask = Ask(self.server.port, self.server.ids(self.draw), time.monotonic())
            ask.start()
            while ask.is_alive() and not self.over.is_set():
                ask.join(0.2)
            if ask.is_alive():
                return ask.give_up()
            self.tokens, self.error = self.tokens + ask.tokens, ask.error


@contextlib.contextmanager
def running(args: argparse.Namespace) -> Iterator[LlamaServer]:
    program = _peers.llama_server()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [program, "-m", args.model, "-c", SLOTS * CONTEXT, "-np", SLOTS, "-t", args.threads, "-tb", args.threads, "--host",
             "127.0.0.1", "--port", port]
    with tempfile.TemporaryFile() as log, subprocess.Popen([str(word) for word in words], stdin=subprocess.DEVNULL, stdout=log,
                                                           stderr=log, env={**os.environ, **_peers.LLAMA_ENV}) as server:
        try:
            wait_until_healthy(server, port, log)
            yield LlamaServer(args, port, vocabulary_of(args))
        finally:
            server.kill()


def vocabulary_of(args: argparse.Namespace) -> int:
    out = subprocess.run([args.merritt, "inspect", args.model, "--json"], check=True, capture_output=True, text=True)
    return int(json.loads(out.stdout)["vocabulary"])


def wait_until_healthy(server: subprocess.Popen[bytes], port: int, log: Any) -> None:
    for _ in range(600):
        with contextlib.suppress(OSError, http.client.HTTPException):
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
                connection.request("GET", "/health")
                if connection.getresponse().status == 200:
                    return
        if server.poll() is not None:
            break
        time.sleep(0.1)
    log.seek(0)
    raise _load.RunError(f"llama-server did not start: {log.read()[-600:].decode(errors='replace')}")


def measure(args: argparse.Namespace) -> dict[str, Any]:
    with running(args) as server:
        engines = [Merritt(args), server]
        alone_s = max(OUTPUT / engine.run(closed(1), max(10, args.requests // 10), 0).tokens_per_s for engine in engines)
        arrivals: Load = {"law": "poisson", "per_second": 0.5 / alone_s}
        found = {}
        for engine in engines:
            alone, beside = (engine.run(arrivals, args.requests, count) for count in (0, args.neighbours))
            found[engine.name] = {"alone": dataclasses.asdict(alone), "beside": dataclasses.asdict(beside)}
    return {"model": args.model.stem, "threads": args.threads, "arrivals": arrivals, "neighbours": args.neighbours,
            "llama.cpp": _peers.LLAMA_VERSION, "engines": found}


def table(out: dict[str, Any]) -> str:
    lines = [f"{out['model']}, {out['threads']} threads; the victim sends {out['arrivals']['per_second']:.2f} requests/s, the "
             f"neighbour has {out['neighbours']} in flight",
             f"{'':<24}{'ttft p50':>10}{'p99 ms':>10}{'tokens/s':>10}{'done':>7}{'neighbour':>11}"]
    for name, figures in out["engines"].items():
        for when in ("alone", "beside"):
            f = figures[when]
            lines.append(f"{name + ' ' + when:<24}{f['p50_ms']:>10.0f}{f['p99_ms']:>10.0f}{f['tokens_per_s']:>10.1f}"
                         f"{f['done']:>7}{f['neighbour_tokens_per_s']:>11.0f}")
    return "\n".join(lines)


def main() -> int:
    args = parse()
    try:
        out = measure(args)
    except _load.RunError as error:
        print(f"bench llama_server: {error}", file=sys.stderr)
        return 1
    print(json.dumps(out, indent=2) if args.json else table(out))
    return 0


if __name__ == "__main__":
    sys.exit(main())

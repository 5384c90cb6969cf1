#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Whether a tenant can tell, by the time its own request takes, that another tenant ran the same prompt before.

usage: ./dev bench timing_channel [--check] [--json] [--probes N] [--model FILE]

In each probe the victim runs a secret prompt or, as a coin says, another one of the same length; then somebody runs the
secret and the time to its first token is read. The area under the ROC curve (AUC) says how well that time tells which of
the two the victim ran: 0.5 not at all, 1 always. Read are also the time to a refusal and the hint it carries. --check:
exit code 1 unless the victim's own probes tell (at least 0.95) and nobody else's do (within 0.05 of 0.5): also when the
victim's entry was evicted meanwhile, and when both prompts begin as a published one does.
"""
from __future__ import annotations

import argparse
import json
import pathlib
import random
import sys
import time
from typing import Callable, Sequence

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "build" / "python"))
import merritt  # noqa: E402

TOKENS, PUBLISHED, CONTEXT, PAGE = 160, 64, 256, 16
TELLS, SAYS_NOTHING = 0.95, 0.05
FIRST_ID, LAST_ID = 300, 500  # pieces of text in the vocabulary of 512


def auc(with_it: list[float], without: list[float]) -> float:
    """P(a time with the secret known < one without) + P(equal) / 2, by ranks (Mann and Whitney 1947)."""
    times = sorted([(t, True) for t in with_it] + [(t, False) for t in without])
    below, wins, at = 0, 0.0, 0  # `below`: times with the secret known, seen so far
    while at < len(times):
        end = at
        while end < len(times) and times[end][0] == times[at][0]:
            end += 1
        ties = sum(1 for _, known in times[at:end] if known)
        wins += (end - at - ties) * (below + ties / 2)
        below += ties
        at = end
    return wins / (len(with_it) * len(without))


class Channel:
    """An engine whose KV pool holds `sequences` whole contexts, with a victim and somebody who probes."""

    def __init__(self, model: pathlib.Path, sequences: int, seed: int) -> None:
        self.engine = merritt.Engine(threads=1)
        probe = self.engine.load(model, backend="onednn", context_max=CONTEXT, page_tokens=PAGE, progress=False)
        kv_bytes = probe.info["kv_bytes"] // 4 * sequences  # by default 4 contexts
        probe.close()
        self.model = self.engine.load(model, backend="onednn", context_max=CONTEXT, page_tokens=PAGE, kv_bytes=kv_bytes,
                                      progress=False)
        limits = {"prefix_bytes_max": kv_bytes, "queue_max": 1}
        self.victim = self.engine.tenant("victim", **limits)
        self.other = self.engine.tenant("other", **limits)
        self.filler = self.engine.tenant("filler")
        self.operator = self.engine.tenant("operator", publishes=True, kv_bytes_floor=kv_bytes // sequences)
        self.draw = random.Random(seed)

    def prompt(self, n: int = TOKENS) -> list[int]:
        return [self.draw.randint(FIRST_ID, LAST_ID) for _ in range(n)]

    def run(self, tenant: merritt.Tenant, prompt: list[int], max_tokens: int = 1) -> float:
        """Seconds to the first token."""
        with tenant.session(self.model) as session:
            stream = session.generate(prompt, max_tokens=max_tokens, ignore_eos=True)
            stream.text()
            return stream.stats["first_token_s"]

    def publish(self) -> list[int]:
        prompt = self.prompt(PUBLISHED)
        session = self.operator.session(self.model)
        session.generate(prompt, max_tokens=1).text()
        assert session.publish() == PUBLISHED
        return prompt

    def refusal(self, prompt: list[int]) -> tuple[int, int]:
        """Nanoseconds to a refusal because the prober's queue is full, and the hint in it."""
        sessions = [self.other.session(self.model) for _ in range(6)]
        streams = []
        try:
            for session in sessions:
                start = time.perf_counter_ns()
                try:
                    streams.append(session.generate(prompt, max_tokens=4, ignore_eos=True))
                except merritt.MerrittError as refused:
                    return time.perf_counter_ns() - start, refused.retry_after_ms
            raise RuntimeError("nothing was refused")
        finally:
            for stream in streams:
                stream.text()
            for session in sessions:
                session.close()

    def probe(self, read: Callable[[list[int]], tuple[float, ...]], probes: int, begin: Sequence[int] = (),
              between: Callable[[], object] = lambda: None) -> list[float]:
        """The AUC of each number that `read` gives of the secret prompt."""
        known: list[tuple[float, ...]] = []
        unknown: list[tuple[float, ...]] = []
        for _ in range(probes):
            secret, another = [*begin, *self.prompt()], [*begin, *self.prompt()]
            ran = self.draw.random() < 0.5
            self.run(self.victim, secret if ran else another)
            between()
            (known if ran else unknown).append(read(secret))
        return [auc([k[i] for k in known], [u[i] for u in unknown]) for i in range(len(known[0]))]


def measure(model: pathlib.Path, probes: int, seed: int) -> dict[str, float]:
    wide = Channel(model, 8, seed)
    time_of = {name: lambda secret, who=who: (wide.run(who, secret),)
               for name, who in (("own", wide.victim), ("other", wide.other))}
    found = {"own": wide.probe(time_of["own"], max(200, probes // 10))[0],
             "other": wide.probe(time_of["other"], probes)[0],
             "published": wide.probe(time_of["other"], probes, begin=wide.publish())[0]}
    found["refusal"], found["retry_after"] = wide.probe(wide.refusal, probes)
    narrow = Channel(model, 2, seed)
    found["evicted"] = narrow.probe(lambda secret: (narrow.run(narrow.other, secret),), probes,
                                    between=lambda: [narrow.run(narrow.filler, narrow.prompt(240)) for _ in range(2)])[0]
    return found


def misses(found: dict[str, float]) -> list[str]:
    out = []
    if found["own"] < TELLS:
        out.append(f"own: {found['own']:.3f}, less than {TELLS}: the probe measures nothing")
    out += [f"{name}: {value:.3f}, more than {SAYS_NOTHING} from 0.5" for name, value in found.items()
            if name != "own" and abs(value - 0.5) > SAYS_NOTHING]
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "models/stories260k.gguf")
    parser.add_argument("--probes", type=int, default=2000, help="of each kind; a tenth of the victim's own")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if not args.model.is_file():
        parser.error(f"{args.model} is absent; ./dev setup makes it")
    found = measure(args.model, args.probes, args.seed)
    if args.json:
        print(json.dumps({"probes": args.probes, "auc": found, "misses": misses(found)}, indent=2))
    else:
        for name, value in found.items():
            print(f"{name:12} AUC {value:.3f}")
    for line in misses(found):
        print(line, file=sys.stderr)
    return 1 if args.check and misses(found) else 0


if __name__ == "__main__":
    sys.exit(main())

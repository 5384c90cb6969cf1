# SPDX-License-Identifier: Apache-2.0
"""Generation: streaming, whole text, async, cancelling, sampling options."""
from __future__ import annotations

import asyncio
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import merritt


def test_streams_the_pieces_that_make_the_whole_text(model: merritt.Model, tenant: merritt.Tenant) -> None:
    stream = tenant.generate(model, "Once upon a time", raw=True, max_tokens=24)
    pieces = list(stream)
    assert len(pieces) > 1
    assert "".join(pieces) == stream.text()
    assert stream.finish in ("length", "eos")
    assert stream.stats["generated_tokens"] == len(stream.tokens) <= 24
    assert stream.stats["first_token_s"] > 0


def test_greedy_gives_the_same_text_twice(model: merritt.Model, tenant: merritt.Tenant) -> None:
    first = tenant.generate(model, "Lily", raw=True, max_tokens=16, ignore_eos=True)
    second = tenant.generate(model, "Lily", raw=True, max_tokens=16, ignore_eos=True)
    assert first.text() == second.text()
    assert first.tokens == second.tokens and len(first.tokens) == 16


def test_a_seed_decides_the_sample(model: merritt.Model, tenant: merritt.Tenant) -> None:
    def sample(seed: int) -> list[int]:
        stream = tenant.generate(model, "A", raw=True, max_tokens=24, temperature=1.5, seed=seed, ignore_eos=True)
        stream.text()
        return stream.tokens

    assert sample(1) == sample(1)
    assert sample(1) != sample(2)


def test_n_choices_share_a_prompt(model: merritt.Model, tenant: merritt.Tenant) -> None:
    stream = tenant.generate(model, "The", raw=True, max_tokens=12, n=3, temperature=1.5, seed=5, ignore_eos=True)
    texts = stream.texts()
    assert len(texts) == 3
    assert len(set(texts)) > 1


def test_a_higher_priority_starts_first(model_path: pathlib.Path) -> None:
    with merritt.Engine(threads=1, backends=["reference"], no_threads=True) as engine:
        model = engine.load(model_path, progress=False)
        tenant = engine.tenant("one", sequences_max=1)
        low, high = (tenant.generate(model, "the", raw=True, max_tokens=4, priority=priority) for priority in (0, 5))
        assert high.text() and low.text()
        assert low.stats["queue_s"] > high.stats["queue_s"]
        with pytest.raises(merritt.InvalidArgumentError, match="priority is 101; it is -100 to 100"):
            tenant.generate(model, "the", priority=101)


def test_speculation_changes_no_token(model: merritt.Model, tenant: merritt.Tenant) -> None:
    prompt = "The dog ran. The cat ran. The dog ran. The"
    plain = tenant.generate(model, prompt, raw=True, max_tokens=64, ignore_eos=True)
    drafted = tenant.generate(model, prompt, raw=True, max_tokens=64, ignore_eos=True, speculate_max=8)
    assert drafted.text() == plain.text()
    assert drafted.tokens == plain.tokens and drafted.logprobs == plain.logprobs
    assert drafted.stats["draft_tokens"] >= drafted.stats["draft_tokens_accepted"]
    assert plain.stats["draft_tokens"] == 0
    assert drafted.stats["steps"] + drafted.stats["draft_tokens_accepted"] == plain.stats["steps"]


def test_token_ids_are_a_prompt(model: merritt.Model, tenant: merritt.Tenant) -> None:
    ids = model.tokenize("Once upon a time")
    by_ids = tenant.generate(model, ids, max_tokens=8, ignore_eos=True)
    by_text = tenant.generate(model, "Once upon a time", raw=True, max_tokens=8, ignore_eos=True)
    assert by_ids.text() == by_text.text()
    assert tenant.generate(model, ids.tolist(), max_tokens=8, ignore_eos=True).text() == by_text.text()


def test_a_stop_token_and_a_bias_are_honoured(model: merritt.Model, tenant: merritt.Tenant) -> None:
    free = tenant.generate(model, "Once", raw=True, max_tokens=4, ignore_eos=True)
    free.text()
    stopped = tenant.generate(model, "Once", raw=True, max_tokens=4, stop_tokens=[free.tokens[0]])
    stopped.text()
    assert stopped.finish == "eos"
    biased = tenant.generate(
        model, "Once", raw=True, max_tokens=4, ignore_eos=True, logit_bias={free.tokens[0]: float("-inf")}
    )
    biased.text()
    assert free.tokens[0] not in biased.tokens


def test_async_for_inside_a_running_loop(model: merritt.Model, tenant: merritt.Tenant) -> None:
    async def collect(prompt: str) -> str:
        return "".join([piece async for piece in tenant.generate(model, prompt, raw=True, max_tokens=12)])

    async def both() -> list[str]:
        return await asyncio.gather(collect("One day"), collect("The sun"))

    left, right = asyncio.run(both())
    assert left == tenant.generate(model, "One day", raw=True, max_tokens=12).text()
    assert right == tenant.generate(model, "The sun", raw=True, max_tokens=12).text()


def test_cancelling_an_async_task_cancels_the_generation(model: merritt.Model, tenant: merritt.Tenant) -> None:
    async def run() -> merritt.Stream:
        stream = tenant.generate(model, "Once", raw=True, max_tokens=400, ignore_eos=True)

        async def read() -> None:
            async for _ in stream:
                pass

        task = asyncio.create_task(read())
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return stream

    stream = asyncio.run(run())
    stream.text()
    assert stream.finish in ("cancelled", "length")


def test_many_streams_of_a_loop_use_no_thread_of_their_own(model: merritt.Model, tenant: merritt.Tenant) -> None:
    before = threading.active_count()

    async def read(seed: int) -> tuple[str, list[int], int]:
        stream = tenant.generate(model, "Once", raw=True, max_tokens=24, temperature=1, seed=seed, ignore_eos=True)
        text = "".join([piece async for piece in stream])
        return text, stream.tokens, threading.active_count()

    async def all_of_them() -> list[tuple[str, list[int], int]]:
        return await asyncio.gather(*[read(seed) for seed in range(1, 25)])

    for seed, (text, tokens, threads) in enumerate(asyncio.run(all_of_them()), 1):
        alone = tenant.generate(model, "Once", raw=True, max_tokens=24, temperature=1, seed=seed, ignore_eos=True)
        assert (text, tokens) == (alone.text(), alone.tokens)
        assert threads == before


def test_a_stream_begun_in_a_loop_can_be_read_to_its_end_without(model: merritt.Model, tenant: merritt.Tenant) -> None:
    async def beginning() -> tuple[merritt.Stream, str]:
        stream = tenant.generate(model, "Once", raw=True, max_tokens=64, ignore_eos=True)
        return stream, await stream.__anext__()

    stream, first = asyncio.run(beginning())
    whole = tenant.generate(model, "Once", raw=True, max_tokens=64, ignore_eos=True).text()
    assert stream.text() == whole and whole.startswith(first)


def test_an_error_arrives_in_the_loop(model: merritt.Model, engine: merritt.Engine) -> None:
    async def read(tenant: merritt.Tenant) -> list[str]:
        return [piece async for piece in tenant.generate(model, "Once", raw=True, max_tokens=400)]

    with engine.tenant("small", kv_bytes_max=4096) as tenant:
        with pytest.raises(merritt.QuotaExceededError):
            asyncio.run(read(tenant))


def test_an_engine_without_threads_runs_where_it_is_polled(model_path: pathlib.Path) -> None:
    with merritt.Engine(no_threads=True, backends=["reference"]) as engine:
        model, tenant = engine.load(model_path, progress=False), engine.tenant("acme")
        stream = tenant.generate(model, "Once", raw=True, max_tokens=8, ignore_eos=True)
        polls = 0
        while engine.poll():
            polls += 1
        assert polls >= 8 and stream.stats["generated_tokens"] == 8
        assert len(stream.text()) > 0
        waited = tenant.generate(model, "Once", raw=True, max_tokens=8, ignore_eos=True)
        assert waited.text() == stream.text()
        engine.drain(1)
        with pytest.raises(merritt.FailedPreconditionError, match="draining"):
            tenant.generate(model, "Once", raw=True)


def test_cancel_ends_the_stream(model: merritt.Model, tenant: merritt.Tenant) -> None:
    stream = tenant.generate(model, "Once", raw=True, max_tokens=450, ignore_eos=True)
    next(stream)
    stream.cancel()
    stream.text()
    assert stream.finish == "cancelled"
    assert len(stream.tokens) < 450


def test_ctrl_c_cancels(engine: merritt.Engine, model_path: pathlib.Path, tenant: merritt.Tenant) -> None:
    with engine.load(model_path, backend="reference", progress=False) as slow:
        for attempt in range(4):  # a signal between two calls of the library is the caller's to handle: try again
            stream = tenant.generate(slow, "Once", raw=True, max_tokens=450, ignore_eos=True)
            next(stream)
            with pytest.raises(KeyboardInterrupt):
                threading.Timer(0.02 + 0.003 * attempt, os.kill, (os.getpid(), signal.SIGINT)).start()
                for _ in stream:
                    pass
                time.sleep(1)  # the stream ended first: let the signal come here and not in the next test
            stream.text()
            if stream.finish == "cancelled":
                return
        pytest.fail("no Ctrl-C cancelled the generation")


def test_ctrl_c_leaves_an_evaluation(engine: merritt.Engine, model_path: pathlib.Path, tenant: merritt.Tenant) -> None:
    with engine.load(model_path, backend="reference", progress=False) as slow:
        ids = np.arange(3, 483)
        expected = slow.eval(tenant, ids[:8], decode=True)
        for _ in range(8):  # an evaluation may end before the signal comes: try again
            before = engine.stats["generated_tokens"]

            def interrupt() -> None:
                while engine.stats["generated_tokens"] < before + 8:
                    time.sleep(0.001)
                os.kill(os.getpid(), signal.SIGINT)

            thread = threading.Thread(target=interrupt)
            thread.start()
            with pytest.raises(KeyboardInterrupt):
                slow.eval(tenant, ids, decode=True)
                thread.join()
                time.sleep(60)  # the signal came too late for the evaluation; it is raised here
            left_early = engine.stats["generated_tokens"] < before + len(ids)
            thread.join()
            if left_early:
                break
        assert left_early, "no Ctrl-C left an evaluation before its end"
        again = slow.eval(tenant, ids[:8], decode=True)
        assert (again == expected).all(), "the tenant and the model go on"


def test_a_script_interrupted_in_an_evaluation_ends(model_path: pathlib.Path) -> None:
    """The evaluation is cancelled, and the engine closed at exit."""
    script = (
        "import merritt, os, signal, sys, threading, time\n"
        "engine = merritt.Engine(backends=['reference'])\n"
        "model = engine.load(sys.argv[1], progress=False)\n"
        "def interrupt():\n"
        "    while engine.stats['generated_tokens'] == 0: time.sleep(0.001)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "threading.Thread(target=interrupt, daemon=True).start()\n"
        "try:\n"
        "    while True: model.eval(engine.tenant(f't{time.monotonic_ns()}'), range(3, 483), decode=True)\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(model_path)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr


def test_two_tenants_share_steps(engine: merritt.Engine, model: merritt.Model) -> None:
    before = engine.stats["steps_mixed"]
    with engine.tenant("left") as left, engine.tenant("right") as right:
        # Long enough that a thread which loses its core for a scheduler's slice still meets the other's request.
        streams = [
            tenant.generate(model, "Once", raw=True, max_tokens=480, ignore_eos=True) for tenant in (left, right)
        ]
        threads = [threading.Thread(target=stream.text) for stream in streams]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert streams[0].text() == streams[1].text()
        assert left.usage["generated_tokens"] == 480
    assert engine.stats["steps_mixed"] > before


def test_a_session_remembers(model: merritt.Model, tenant: merritt.Tenant) -> None:
    with tenant.session(model) as session:
        whole = tenant.generate(model, "Once upon", raw=True, max_tokens=12, ignore_eos=True)
        whole.text()
        session.generate("Once upon", raw=True, max_tokens=6, ignore_eos=True).text()
        length = session.length
        assert length >= 6
        copy = session.fork()
        session.truncate(2)
        assert session.length == 2
        assert copy.length == length
        copy.close()


def test_wrong_options_are_named(model: merritt.Model, tenant: merritt.Tenant) -> None:
    with pytest.raises(TypeError, match="maxtokens"):
        tenant.generate(model, "x", maxtokens=3)  # type: ignore[call-arg]
    with pytest.raises(merritt.InvalidArgumentError, match="top_p"):
        tenant.generate(model, "x", raw=True, top_p=-1.0, temperature=1.0)
    with pytest.raises(merritt.InvalidArgumentError) as caught:
        tenant.generate(model, np.full(5000, 3))
    assert "5000" in str(caught.value)
    assert caught.value.code == 1


def test_a_model_without_template_refuses_chat(model: merritt.Model, tenant: merritt.Tenant) -> None:
    if model.info["chat_template"] != "none":
        pytest.fail("the test model is expected to have no chat template")
    with pytest.raises(merritt.UnsupportedError):
        tenant.session(model).chat("hello")

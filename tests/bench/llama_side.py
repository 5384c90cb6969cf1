#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""llama.cpp's side of a comparison, through llama-cpp-python's C interface; JSON on the last line of stdout.

usage: llama_side.py MODEL.gguf [-p 512] [-n 128] [-d 0] [-b 1] [-t 2] [--repeat 1] [--fa on|off] [--state FILE]
       llama_side.py MODEL.gguf --first-token

The same work as `merritt bench -p -n -d -b`: one warm pass, then `repeat` timed ones, B sequences at depth D; prefill of P
tokens for each of them, then N decode steps that give each one token. KV is f16. With --state the KV of the depth is kept in
that file, so that only the first run computes it. --first-token loads the model, evaluates a prompt of five tokens and prints
"first" when the next token is known; the time Python itself took is reported beside it.
"""
import os
import time


def seconds_since_process_start() -> float:
    with open("/proc/self/stat") as file:
        started = int(file.read().rsplit(")", 1)[1].split()[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started


import argparse  # noqa: E402
import ctypes  # noqa: E402
import json  # noqa: E402
import pathlib  # noqa: E402
import resource  # noqa: E402
import sys  # noqa: E402

import llama_cpp  # noqa: E402
import numpy as np  # noqa: E402

PYTHON_S = seconds_since_process_start()
GGML_TYPE_F16 = 1
LOG: list = []


@llama_cpp.llama_log_callback
def keep_log(_level, text, _data):
    LOG.append(text.decode(errors="replace"))


class Sequences:
    """A context with as many sequences, each of them at some position."""

    def __init__(self, args):
        self.args = args
        llama_cpp.llama_log_set(keep_log, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        params = llama_cpp.llama_model_default_params()
        self.model = llama_cpp.llama_model_load_from_file(args.model.encode(), params)
        if not self.model:
            raise SystemExit("llama.cpp did not load the model:\n" + "".join(LOG[-20:]))
        context = llama_cpp.llama_context_default_params()
        context.n_seq_max = args.b
        each = args.d + max(args.p, args.n) + 16
        context.n_ctx = args.b * ((each + 255) // 256 * 256)  # a sequence's part is a multiple of 256
        context.n_batch, context.n_ubatch = 2048, 512
        context.n_threads = context.n_threads_batch = args.t
        context.type_k = context.type_v = GGML_TYPE_F16
        context.flash_attn_type = 1 if args.fa == "on" else 0
        context.swa_full = False  # the default keeps every token of windowed layers, and is slower
        self.context = llama_cpp.llama_init_from_model(self.model, context)
        if not self.context:
            raise SystemExit("llama.cpp made no context:\n" + "".join(LOG[-20:]))
        self.memory = llama_cpp.llama_get_memory(self.context)
        self.vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))
        self.batch = llama_cpp.llama_batch_init(2048, 0, 1)
        self.last = {}

    def run(self, rows):
        """rows: (sequence, position, token, wanted); at most 2048. Waits for the logits of the last row."""
        for i, (sequence, position, token, wanted) in enumerate(rows):
            self.batch.token[i], self.batch.pos[i], self.batch.logits[i] = token, position, wanted
            self.batch.n_seq_id[i], self.batch.seq_id[i][0] = 1, sequence
        self.batch.n_tokens = len(rows)
        code = llama_cpp.llama_decode(self.context, self.batch)
        if code != 0:
            raise SystemExit(f"llama_decode returned {code}")
        llama_cpp.llama_synchronize(self.context)

    def prompt(self, sequence, first, ids):
        for at in range(0, len(ids), 2048):
            part = ids[at:at + 2048]
            self.run([(sequence, first + at + i, token, at + i + 1 == len(ids)) for i, token in enumerate(part)])

    def prompts(self, first, ids):
        """Each sequence's own ids from position `first`, together in full batches."""
        rows = [(s, first + i, token, i + 1 == len(own)) for s, own in enumerate(ids) for i, token in enumerate(own)]
        for at in range(0, len(rows), 2048):
            self.run(rows[at:at + 2048])

    def cut(self, depth):
        for sequence in range(self.args.b):
            llama_cpp.llama_memory_seq_rm(self.memory, sequence, depth, -1)

    def fill(self, draw):
        """Brings all sequences to the depth, from the kept state when there is one."""
        depth, state = self.args.d, self.args.state
        if depth == 0:
            return
        if not state:
            self.prompts(0, [draw(depth) for _ in range(self.args.b)])
            return
        count, tokens = ctypes.c_size_t(0), (llama_cpp.llama_token * depth)()
        if not os.path.isfile(state):
            self.prompt(0, 0, draw(depth))
            part = f"{state}.{os.getpid()}"
            llama_cpp.llama_state_seq_save_file(self.context, part.encode(), 0, tokens, depth)
            os.replace(part, state)
        for sequence in range(self.args.b):
            if not llama_cpp.llama_state_seq_load_file(self.context, state.encode(), sequence, tokens, depth,
                                                       ctypes.byref(count)):
                pathlib.Path(state).unlink()
                raise SystemExit(f"{state} was of another kind and is removed; run again")


def measure(args):
    sequences = Sequences(args)
    rng = np.random.default_rng(7)
    draw = lambda count: rng.integers(1000, min(sequences.vocab, 100000), count).tolist()  # noqa: E731
    sequences.fill(draw)
    prefill, decode = [], []
    for round_ in range(args.repeat + 1):
        if args.p:
            sequences.cut(args.d)
            ids = [draw(args.p) for _ in range(args.b)]
            start = time.perf_counter()
            sequences.prompts(args.d, ids)
            prefill.append(args.b * args.p / (time.perf_counter() - start))
        if args.n:
            sequences.cut(args.d)
            ids = [draw(args.b) for _ in range(args.n)]
            start = time.perf_counter()
            for step, row in enumerate(ids):
                sequences.run([(s, args.d + step, token, True) for s, token in enumerate(row)])
            decode.append(args.b * args.n / (time.perf_counter() - start))
        if round_ == 0 and args.repeat:  # that was the warm one
            prefill.clear()
            decode.clear()
    return {"prefill_tokens_per_s": prefill, "decode_tokens_per_s": decode}


def first_token(args):
    args.p = args.n = 64
    sequences = Sequences(args)
    sequences.prompt(0, 0, [1, 300, 301, 302, 303])
    logits = llama_cpp.llama_get_logits_ith(sequences.context, -1)
    token = int(np.argmax(np.ctypeslib.as_array(logits, shape=(sequences.vocab,))))
    print("first", token, flush=True)
    return {"first_token_s": seconds_since_process_start() - PYTHON_S, "python_s": PYTHON_S}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("-p", type=int, default=512, help="prompt tokens of each sequence, 0 = none")
    parser.add_argument("-n", type=int, default=128, help="decode steps, 0 = none")
    parser.add_argument("-d", type=int, default=0, help="tokens in the cache before either")
    parser.add_argument("-b", type=int, default=1, help="sequences at the same time")
    parser.add_argument("-t", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--fa", choices=("on", "off"), default="on")
    parser.add_argument("--state", default="")
    parser.add_argument("--first-token", action="store_true")
    args = parser.parse_args()
    report = first_token(args) if args.first_token else measure(args)
    log = "".join(LOG)
    report.update({
        "engine": "llama.cpp", "version": llama_cpp.__version__,
        "system_info": llama_cpp.llama_print_system_info().decode(),
        "buffers": [line.strip() for line in log.splitlines() if "buffer size" in line],
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    })
    print(json.dumps(report))
    sys.stdout.flush()
    os._exit(0)  # nothing of llama.cpp's own teardown is measured


if __name__ == "__main__":
    main()

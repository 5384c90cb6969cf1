#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""llama.cpp's side of a comparison, through llama-cpp-python: one warm pass, then `repeat` timed ones; JSON on stdout.

usage: llama_side.py MODEL.gguf [-p 512] [-n 128] [-t 2] [--repeat 1]
"""
import argparse
import json
import resource
import time

import llama_cpp
import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("-p", type=int, default=512)
    parser.add_argument("-n", type=int, default=128)
    parser.add_argument("-t", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=1)
    args = parser.parse_args()
    llm = llama_cpp.Llama(
        args.model, n_ctx=args.p + args.n + 64, n_batch=512, n_ubatch=512, n_threads=args.t, n_threads_batch=args.t,
        verbose=False, flash_attn=True,
    )
    ids = np.random.default_rng(7).integers(1000, 100000 if llm.n_vocab() > 100000 else llm.n_vocab(), args.p).tolist()
    llm.eval(ids[:64])
    prefill, decode = [], []
    for _ in range(args.repeat):
        llm.reset()
        llm._ctx.kv_cache_clear()
        start = time.perf_counter()
        llm.eval(ids)
        mid = time.perf_counter()
        for i in range(args.n):
            llm.eval([ids[i % len(ids)]])
        end = time.perf_counter()
        prefill.append(args.p / (mid - start))
        decode.append(args.n / (end - mid))
    print(json.dumps({
        "engine": "llama.cpp", "version": llama_cpp.__version__, "prefill_tokens_per_s": prefill,
        "decode_tokens_per_s": decode, "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""OpenVINO GenAI's side of a comparison, on a GGUF file; JSON on the last line of stdout.

usage: openvino_side.py MODEL.gguf [-p 512] [-n 128] [-d 0] [-b 1] [-t 2] [--repeat 1]

Prefill is P tokens of every sequence until all of them have their first token. Decode is N steps of all sequences at depth D:
the wall clock of N + 1 tokens less that of one. Prefix caching is off, so that every run computes its prompt; everything
else, such as its KV cache in 8 bits, is as it comes.
"""
import argparse
import json
import resource
import time

import numpy as np
import openvino
import openvino_genai


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("-p", type=int, default=512)
    parser.add_argument("-n", type=int, default=128)
    parser.add_argument("-d", type=int, default=0)
    parser.add_argument("-b", type=int, default=1)
    parser.add_argument("-t", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=1)
    args = parser.parse_args()
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.enable_prefix_caching = False
    scheduler.max_num_batched_tokens = 2048
    scheduler.cache_size = 2  # GB
    pipeline = openvino_genai.LLMPipeline(args.model, "CPU", INFERENCE_NUM_THREADS=args.t, scheduler_config=scheduler)
    rng = np.random.default_rng(7)
    config = openvino_genai.GenerationConfig()
    config.ignore_eos, config.do_sample = True, False

    def seconds(prompt, steps):
        ids = rng.integers(1000, 100000, (args.b, max(prompt, 1)))
        config.max_new_tokens = steps
        tokens = openvino_genai.TokenizedInputs(openvino.Tensor(ids), openvino.Tensor(np.ones_like(ids)))
        start = time.perf_counter()
        pipeline.generate(tokens, config)
        return time.perf_counter() - start

    prefill, decode = [], []
    for round_ in range(args.repeat + 1):
        if args.p:
            prefill.append(args.b * args.p / seconds(args.p, 1))
        if args.n:
            decode.append(args.b * args.n / (seconds(args.d, args.n + 1) - seconds(args.d, 1)))
        if round_ == 0 and args.repeat:
            prefill.clear()
            decode.clear()
    print(json.dumps({
        "engine": "OpenVINO GenAI", "version": openvino_genai.__version__, "prefill": prefill, "decode": decode,
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


if __name__ == "__main__":
    main()

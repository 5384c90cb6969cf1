#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Teacher-forcing goldens of Gemma-3-270M from llama.cpp (PyPI llama-cpp-python, one version below).

For each of 5 prompts, raw and as a chat turn, llama.cpp continues greedily for 64 tokens; then it is teacher-forced
over prompt + continuation and, for each of the 64 predicting positions, the 64 largest logits, their ids and the log of
the sum of exp over the whole vocabulary are kept. KL over {those 64, the rest as one event} is a lower bound of the
full KL that loses nothing but the split inside the rest's mass.

usage: make_llama_goldens.py MODEL.gguf OUT.npz      (needs llama-cpp-python==0.3.36, numpy)
"""
import sys

import numpy as np
import llama_cpp

PROMPTS = [
    "The capital of Canada is Ottawa, and the capital of Japan is",
    "Summarise: The hospital signed an agreement with a domestic data centre so that patient records never leave the"
    " province. The agreement covers storage, backup and inference.\nSummary:",
    "def fibonacci(n):\n    \"\"\"Return the n-th Fibonacci number.\"\"\"\n",
    "Les principaux avantages de l'informatique souveraine sont",
    "Question: A bank has 12 branches and opens 3 more each year. How many branches after 5 years?\nAnswer:",
]
CONTINUE = 64
TOP = 64


def chat(text: str) -> str:
    return f"<start_of_turn>user\n{text}<end_of_turn>\n<start_of_turn>model\n"


def main(model_path: str, out_path: str) -> None:
    llm = llama_cpp.Llama(model_path, n_ctx=512, n_batch=512, n_threads=2, logits_all=True, verbose=False, seed=1)
    data: dict[str, np.ndarray] = {}
    for mode in ("raw", "chat"):
        for i, prompt in enumerate(PROMPTS):
            text = chat(prompt) if mode == "chat" else prompt
            ids = llm.tokenize(text.encode(), add_bos=True, special=(mode == "chat"))
            n_prompt = len(ids)
            llm.reset()
            llm.eval(ids)
            for _ in range(CONTINUE):
                row = llm.scores[llm.n_tokens - 1]
                token = int(np.argmax(row))
                ids.append(token)
                llm.eval([token])
            # Teacher-forced in one pass, as a prompt.
            llm.reset()
            llm.eval(ids[:-1])
            rows = llm.scores[n_prompt - 1 : n_prompt - 1 + CONTINUE].astype(np.float64)
            top = np.argsort(-rows, axis=1)[:, :TOP].astype(np.int32)
            peak = rows.max(axis=1, keepdims=True)
            lse = (peak[:, 0] + np.log(np.exp(rows - peak).sum(axis=1))).astype(np.float32)
            key = f"{mode}{i}"
            data[f"{key}_ids"] = np.array(ids, np.int32)
            data[f"{key}_prompt"] = np.array(n_prompt, np.int32)
            data[f"{key}_top"] = top
            data[f"{key}_logits"] = np.take_along_axis(rows, top, axis=1).astype(np.float32)
            data[f"{key}_lse"] = lse
            print(key, n_prompt, llm.detokenize(ids[n_prompt:]).decode(errors="replace")[:70].replace("\n", "|"))
    data["version"] = np.array(llama_cpp.__version__)
    np.savez_compressed(out_path, **data)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])

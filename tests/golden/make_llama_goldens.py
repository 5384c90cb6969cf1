#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Teacher-forcing goldens of Gemma-3-270M from llama.cpp (PyPI llama-cpp-python, one version below).

For each of 5 prompts, raw and as a chat turn, llama.cpp continues greedily for 64 tokens; then it is teacher-forced
over prompt + continuation and, for each of the 64 predicting positions, the 64 largest logits, their ids and the log of
the sum of exp over the whole vocabulary are kept. KL over {those 64, the rest as one event} is a lower bound of the
full KL that loses nothing but the split inside the rest's mass.

llama.cpp rounds activations to 8 bits before every product with quantised weights, so its logits carry noise of their own
(up to 1.3 on this model against exact arithmetic). With --exact the same tokens are forced through the same weights expanded
to F32, where llama.cpp computes in F32: the sharper oracle.

usage: make_llama_goldens.py MODEL.gguf OUT.npz                   (needs llama-cpp-python==0.3.36, numpy)
       make_llama_goldens.py --exact MODEL.gguf IN.npz OUT.npz    (also gguf; writes a temporary F32 file of 1.1 GB)
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


def expand(model_path: str, f32_path: str) -> None:
    """The same model with every tensor as F32."""
    import gguf

    reader = gguf.GGUFReader(model_path)
    writer = gguf.GGUFWriter(f32_path, "gemma3")
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key in ("general.architecture", "general.file_type"):
            continue
        value, types = field.contents(), field.types
        if types[0] == gguf.GGUFValueType.ARRAY:
            writer.add_key_value(key, value, types[0], sub_type=types[1])
        else:
            writer.add_key_value(key, value, types[0])
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def exact(model_path: str, in_path: str, out_path: str) -> None:
    import os
    import tempfile

    source = np.load(in_path)
    data: dict[str, np.ndarray] = {"version": np.array(llama_cpp.__version__)}
    with tempfile.TemporaryDirectory() as folder:
        f32_path = os.path.join(folder, "model-f32.gguf")
        expand(model_path, f32_path)
        llm = llama_cpp.Llama(f32_path, n_ctx=512, n_batch=512, n_threads=2, logits_all=True, verbose=False)
        for key in [k[: -len("_ids")] for k in source.files if k.endswith("_ids")]:
            ids, n_prompt = source[f"{key}_ids"].tolist(), int(source[f"{key}_prompt"])
            llm.reset()
            llm.eval(ids[:-1])
            rows = llm.scores[n_prompt - 1 : n_prompt - 1 + CONTINUE].astype(np.float64)
            keep(data, key, rows)
    np.savez_compressed(out_path, **data)


def keep(data: dict[str, np.ndarray], key: str, rows: np.ndarray) -> None:
    top = np.argsort(-rows, axis=1)[:, :TOP].astype(np.int32)
    peak = rows.max(axis=1, keepdims=True)
    data[f"{key}_top"] = top
    data[f"{key}_logits"] = np.take_along_axis(rows, top, axis=1).astype(np.float32)
    data[f"{key}_lse"] = (peak[:, 0] + np.log(np.exp(rows - peak).sum(axis=1))).astype(np.float32)


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
            key = f"{mode}{i}"
            data[f"{key}_ids"] = np.array(ids, np.int32)
            data[f"{key}_prompt"] = np.array(n_prompt, np.int32)
            keep(data, key, rows)
            print(key, n_prompt, llm.detokenize(ids[n_prompt:]).decode(errors="replace")[:70].replace("\n", "|"))
    data["version"] = np.array(llama_cpp.__version__)
    np.savez_compressed(out_path, **data)


if __name__ == "__main__":
    if sys.argv[1] == "--exact":
        exact(*sys.argv[2:5])
    else:
        main(sys.argv[1], sys.argv[2])

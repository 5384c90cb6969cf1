# SPDX-License-Identifier: Apache-2.0
"""The options of a generation, and turning a prompt and options into a request."""
from __future__ import annotations

from typing import Any, Iterable, Mapping, Sequence, TypedDict, Union

import numpy as np

from . import _core
from .model import Model, token_array

# A text, a conversation of {"role", "content"} messages, or token ids.
Prompt = Union[str, Sequence[Mapping[str, str]], Iterable[int]]


class Sampling(TypedDict, total=False):
    """What `generate` takes beside the prompt. Zero is default; temperature 0 is greedy.

    raw: a text goes to the model as it is, without its chat template. Without `raw` the template is used when the
    model has one.
    speculate_max: how many tokens a step may guess from the prompt and the output so far; the tokens stay the same.
    priority: -100 to 100; of the tenant's requests, those with a higher one start first and are taken back last.
    """

    raw: bool
    max_tokens: int
    min_tokens: int
    n: int
    deadline_ms: int
    seed: int
    temperature: float
    top_p: float
    min_p: float
    top_k: int
    repetition_penalty: float
    frequency_penalty: float
    presence_penalty: float
    penalty_last_n: int
    logit_bias: Mapping[int, float]
    stop: Sequence[str]
    stop_tokens: Sequence[int]
    speculate_max: int
    priority: int
    ignore_eos: bool
    echo_special: bool
    parse_special: bool


_FLAGS = {
    "ignore_eos": _core.REQUEST_IGNORE_EOS,
    "echo_special": _core.REQUEST_ECHO_SPECIAL,
    "parse_special": _core.REQUEST_PARSE_SPECIAL,
}


def _messages(prompt: Sequence[Mapping[str, str]]) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in prompt]


def request_options(model: Model, prompt: Prompt, sampling: Sampling) -> dict[str, Any]:
    """Options for _core.Request."""
    options: dict[str, Any] = dict(sampling)
    has_template = model.info["chat_template"] != "none"
    raw = options.pop("raw", not has_template)
    options["flags"] = sum(bit for name, bit in _FLAGS.items() if options.pop(name, False))
    if "logit_bias" in options:
        options["logit_bias"] = {int(token): float(bias) for token, bias in options["logit_bias"].items()}
    if isinstance(options.get("stop"), str):
        options["stop"] = [options["stop"]]
    if "stop_tokens" in options:
        options["stop_tokens"] = [int(token) for token in options["stop_tokens"]]
    if isinstance(prompt, str):
        if not raw:
            options["messages"] = [("user", prompt)]
        elif prompt == "" and model.info["bos"] >= 0:
            options["tokens"] = [model.info["bos"]]
        else:
            options["text"] = prompt
        return options
    if isinstance(prompt, np.ndarray):
        options["tokens"] = token_array(prompt).tolist()
        return options
    items: list[Any] = list(prompt)
    if items and isinstance(items[0], Mapping):
        options["messages"] = _messages(items)
    else:
        options["tokens"] = token_array(items).tolist()
    return options

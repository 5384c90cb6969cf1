# SPDX-License-Identifier: Apache-2.0
"""A model: weights compiled by a backend, its KV pool, tokenizer and chat template."""
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterable, Mapping, Union

import numpy as np
import numpy.typing as npt

from . import _core
from ._handle import Handle, html_table, human_bytes

if TYPE_CHECKING:
    from .engine import Engine
    from .tenant import Tenant

Tokens = Union["npt.NDArray[np.int32]", Iterable[int]]
KV_TYPES = {"default": 0, "f32": 256, "f16": 1, "bf16": 30, "q8_0": 8}


def token_array(tokens: Tokens) -> npt.NDArray[np.int32]:
    """Any sequence of whole numbers as int32; refuses what int32 cannot hold."""
    array = np.asarray(tokens if isinstance(tokens, np.ndarray) else list(tokens))
    if array.size == 0:
        return np.zeros(0, dtype=np.int32)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(f"tokens are a flat sequence of integers, not {array.dtype} of shape {array.shape}")
    if array.max() > np.iinfo(np.int32).max or array.min() < 0:
        raise ValueError("a token id is negative or larger than 2147483647")
    return np.ascontiguousarray(array, dtype=np.int32)


class Model(Handle):
    """Made by Engine.load; info describes it."""

    def __init__(self, core: _core.Model, engine: Engine, tenant: Tenant | None = None) -> None:
        self._core = core
        self._engine = engine
        self._tenant = tenant  # whose it is, and with which it ends
        self.info: dict[str, Any] = core.info()

    def tokenize(self, text: str, *, raw: bool = False, special: bool = False) -> npt.NDArray[np.int32]:
        """Token ids. raw: add no BOS or EOS. special: the text of a special token becomes its id."""
        flags = (_core.TOKENIZE_RAW if raw else 0) | (_core.TOKENIZE_SPECIAL if special else 0)
        return self._core.tokenize(text, flags)

    def detokenize(self, tokens: Tokens, *, special: bool = False) -> str:
        """Text of token ids. special: special tokens appear as their text."""
        return self._core.detokenize(token_array(tokens), _core.DETOKENIZE_SPECIAL if special else 0)

    def render_chat(self, messages: Iterable[Mapping[str, str]]) -> str:
        """The conversation as the model's chat template writes it."""
        return self._core.render_chat([(message["role"], message["content"]) for message in messages])

    def eval(self, tenant: Tenant, tokens: Tokens, *, decode: bool = False) -> npt.NDArray[np.float32]:
        """Teacher-forced logits, float32 [tokens, vocabulary]. decode: feed the tokens one by one.

        Ctrl-C cancels the evaluation, within a few steps.
        """
        return self._core.eval(tenant._core, token_array(tokens), _core.EVAL_DECODE if decode else 0)

    def close(self) -> None:
        """Ends the model's sessions and returns its memory."""
        self._core.close()

    def __repr__(self) -> str:
        info = self.info
        return f"<merritt.Model {info['name']!r} {info['architecture']} {info['quantization']} on {info['backend']}>"

    def _repr_html_(self) -> str:
        info = self.info
        return html_table(
            f"merritt.Model {info['name']}",
            {
                "architecture": info["architecture"],
                "parameters": f"{info['parameters'] / 1e6:.1f} M",
                "quantization": info["quantization"],
                "context": f"{info['context_max']} of {info['context_trained']}",
                "weights": human_bytes(info["weight_bytes"]),
                "KV pool": human_bytes(info["kv_bytes"]),
                "chat template": info["chat_template"],
                "licence": info["license"] or "not stated in the file",
                "backend": info["backend"],
            },
        )

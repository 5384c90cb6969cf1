# SPDX-License-Identifier: Apache-2.0
"""Vocabularies of any size, of invented words: SentencePiece (what Merritt reads) and byte-level BPE (what OpenVINO's GGUF
reader wants). Every word has pieces from which it can be merged, so that both are whole."""
from __future__ import annotations

LETTERS = "etaoinshrdlucmfwygpbvkxqjz"
PAIRS = [a + b for a in LETTERS for b in LETTERS]
Fields = list[tuple[str, str, object]]
UNKNOWN, NORMAL, CONTROL, BYTE = 2, 1, 3, 6  # tokenizer.ggml.token_type


def words(count: int) -> list[str]:
    """Of four letters, then six."""
    out = [PAIRS[i % 676] + PAIRS[i // 676] for i in range(min(count, 676**2))]
    return out + [out[i] + PAIRS[i % 676] for i in range(count - len(out))]


def sentencepiece(count: int) -> Fields:
    pieces = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    pieces += ["\u2581", *(chr(code) for code in range(33, 127)), *PAIRS, *("\u2581" + letter for letter in LETTERS)]
    pieces += words(count - len(pieces))
    return [
        ("tokenizer.ggml.model", "string", "llama"),
        ("tokenizer.ggml.pre", "string", "default"),
        ("tokenizer.ggml.tokens", "string", pieces[:count]),
        ("tokenizer.ggml.scores", "f32", [-float(i) for i in range(count)]),
        ("tokenizer.ggml.token_type", "i32", [UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256 + [NORMAL] * (count - 259)),
        ("tokenizer.ggml.bos_token_id", "u32", 1),
        ("tokenizer.ggml.eos_token_id", "u32", 2),
        ("tokenizer.ggml.unknown_token_id", "u32", 0),
        ("tokenizer.ggml.add_bos_token", "bool", True),
        ("tokenizer.ggml.add_eos_token", "bool", False),
    ]


def byte_letters() -> list[str]:
    """Byte-level BPE writes each byte as one printable character; those that are not printable follow from 256 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def byte_level(count: int) -> Fields:
    pieces = [*byte_letters(), *PAIRS]
    pieces += words(count - len(pieces) - 3)
    merges = [f"{pair[0]} {pair[1]}" for pair in PAIRS]
    merges += [f"{word[:-2]} {word[-2:]}" for word in pieces[256 + len(PAIRS):]]
    pieces += ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    return [
        ("tokenizer.ggml.model", "string", "gpt2"),
        ("tokenizer.ggml.pre", "string", "qwen2"),
        ("tokenizer.ggml.tokens", "string", pieces),
        ("tokenizer.ggml.token_type", "i32", [NORMAL] * (count - 3) + [CONTROL] * 3),
        ("tokenizer.ggml.merges", "string", merges),
        ("tokenizer.ggml.bos_token_id", "u32", count - 3),
        ("tokenizer.ggml.eos_token_id", "u32", count - 1),
        ("tokenizer.ggml.padding_token_id", "u32", count - 3),
        ("tokenizer.ggml.add_bos_token", "bool", False),
        ("tokenizer.chat_template", "string", "{% for m in messages %}{{ m['content'] }}{% endfor %}"),
    ]


VOCABULARIES = {"llama": sentencepiece, "gpt2": byte_level}

# SPDX-License-Identifier: Apache-2.0
"""Streams one generation, and the same from async code.

usage: 01_stream.py MODEL.gguf
"""
import asyncio
import sys

# readme: stream
import merritt


def main(path: str) -> None:
    with merritt.Engine() as engine:
        model = engine.load(path)
        acme = engine.tenant("acme")
        for piece in acme.generate(model, "Once upon a time", max_tokens=64):
            print(piece, end="", flush=True)
# end
        print()
        logits = model.eval(acme, model.tokenize("Once upon a time"))
        print("logits", logits.shape, logits.dtype)
        asyncio.run(two_at_once(engine, model))
        print(engine.stats["steps_mixed"], "steps with rows of both tenants")


async def collect(tenant: merritt.Tenant, model: merritt.Model, prompt: str) -> str:
    return "".join([piece async for piece in tenant.generate(model, prompt, max_tokens=32)])


async def two_at_once(engine: merritt.Engine, model: merritt.Model) -> None:
    globex, initech = engine.tenant("globex"), engine.tenant("initech")
    texts = await asyncio.gather(collect(globex, model, "The sun"), collect(initech, model, "The moon"))
    for text in texts:
        print(repr(text))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} MODEL.gguf")
    main(sys.argv[1])

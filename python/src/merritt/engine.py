# SPDX-License-Identifier: Apache-2.0
"""An engine: one scheduler, one memory budget, any number of models and tenants."""
from __future__ import annotations

import atexit
import json
import os
import pathlib
import weakref
from typing import TYPE_CHECKING, Any, Iterable, Union

from . import _core, _locate
from ._dispatch import Dispatchers
from ._handle import Handle, html_table, human_bytes
from ._progress import LoadProgress
from .errors import MerrittError, NotFoundError
from .model import KV_TYPES, Model
from .tenant import Limits, Tenant, core_limits

if TYPE_CHECKING:
    from typing_extensions import Unpack

StrPath = Union[str, "os.PathLike[str]"]
_open_engines: weakref.WeakSet[Engine] = weakref.WeakSet()
USAGE_FORMATS = {"json": 0, "prometheus": 1}
ISA_LEVELS = {"any": 0, "avx2": 1, "avx512": 2, "vnni": 3, "amx": 4}


def _close_all() -> None:
    for engine in list(_open_engines):
        engine.close()


# An engine has threads of its own; they end before the interpreter does.
atexit.register(_close_all)


class Engine(Handle):
    """Loads the plugins of the package (or of `plugin_dirs`) that the trust list vouches for.

    threads: 0 = what the machine gives this process. isa_max: "any", "avx2", "avx512", "vnni" or "amx".
    memory_bytes_max: budget for all models, 0 = no limit. backends: ids to load, None = all.
    no_threads: steps run in poll() and in calls that wait, and nowhere else; `async for` needs somebody who polls.
    refused: the plugin files that could not be loaded, with the reason.
    """

    def __init__(
        self,
        *,
        threads: int = 0,
        isa_max: str = "any",
        memory_bytes_max: int = 0,
        plugin_dirs: Iterable[StrPath] | None = None,
        trust: StrPath | None = None,
        backends: Iterable[str] | None = None,
        no_threads: bool = False,
    ) -> None:
        if isa_max not in ISA_LEVELS:
            raise ValueError(f"isa_max is {isa_max!r}; one of {', '.join(ISA_LEVELS)}")
        folders = [pathlib.Path(folder).resolve() for folder in plugin_dirs or [_locate.default_plugin_dir()]]
        trust_file = pathlib.Path(trust) if trust is not None else folders[0] / "trust.json"
        self._core = _core.Engine(
            threads=threads,
            isa_max=ISA_LEVELS[isa_max],
            memory_bytes_max=memory_bytes_max,
            plugin_dirs=[str(folder) for folder in folders],
            publishers=_locate.read_trust(trust_file),
            flags=_core.ENGINE_NO_THREADS if no_threads else 0,
        )
        self._dispatchers = Dispatchers(self._core)
        _open_engines.add(self)
        self.refused: dict[str, str] = {}
        self._load_backends(folders, None if backends is None else list(backends))

    def _load_backends(self, folders: list[pathlib.Path], wanted: list[str] | None) -> None:
        loaded = []
        for file in _locate.plugin_files(folders):
            if wanted is not None and file.name not in {f"libmerritt_{name}.so" for name in wanted}:
                continue
            try:
                loaded.append(self._core.load_backend(str(file)))
            except MerrittError as error:
                self.refused[str(file)] = str(error)
        missing = [name for name in wanted or [] if name not in loaded]
        if missing or not loaded:
            self.close()
            where = ", ".join(str(folder) for folder in folders)
            why = "".join(f"\n  {path}: {reason}" for path, reason in self.refused.items())
            what = f"backend {', '.join(missing)}" if missing else "a plugin"
            raise NotFoundError(f"could not load {what} from {where}{why}")

    def load(
        self,
        path: StrPath,
        *,
        backend: str = "",
        context_max: int = 0,
        sequences_max: int = 0,
        step_tokens_max: int = 0,
        page_tokens: int = 0,
        kv_type: str = "default",
        kv_bytes: int = 0,
        pack_cache: StrPath | None = None,
        tenant: Tenant | None = None,
        progress: bool | None = None,
    ) -> Model:
        """Reads and compiles a GGUF file. Zeros are defaults; progress None shows a bar when somebody can see it.

        pack_cache is an absolute folder of this user alone: the weights are kept there as the backend packs them, and the
        next load of the same file reads them back, checked. None keeps nothing.

        tenant: whose model it is, within its model_bytes_max; nobody else may use it, and it ends with the tenant. None:
        every tenant's.
        """
        if kv_type not in KV_TYPES:
            raise ValueError(f"kv_type is {kv_type!r}; one of {', '.join(KV_TYPES)}")
        bar = LoadProgress(pathlib.Path(path).name, progress)
        try:
            core = _core.Model(
                self._core,
                os.fspath(path),
                backend=backend,
                kv_type=KV_TYPES[kv_type],
                context_max=context_max,
                sequences_max=sequences_max,
                step_tokens_max=step_tokens_max,
                page_tokens=page_tokens,
                kv_bytes=kv_bytes,
                pack_cache="" if pack_cache is None else os.fspath(pack_cache),
                tenant=None if tenant is None else tenant._core,
                progress=bar.report,
            )
        finally:
            bar.close()
        return Model(core, self, tenant)

    def tenant(self, name: str, **limits: Unpack[Limits]) -> Tenant:
        """A new tenant with its limits, those of merritt.tenant.Limits. Two live tenants never share a name."""
        models = tuple(limits.get("models", ()))
        limits["models"] = models
        return Tenant(_core.Tenant(self._core, name, core_limits(limits)), name, self, models)

    def poll(self, budget_s: float = 0.0) -> bool:
        """On an engine made with no_threads: runs steps for about so long, one at least. True: there is more to do."""
        return self._core.poll(max(0, int(budget_s * 1e6)))

    def drain(self, deadline_s: float) -> None:
        """Takes no more work and waits for the end of what it has; raises DeadlineExceededError when it cancelled some."""
        self._core.drain(max(0, int(deadline_s * 1e3)))

    @property
    def backends(self) -> list[dict[str, Any]]:
        """The loaded backends in load order."""
        return self._core.backends()

    @property
    def stats(self) -> dict[str, int]:
        """Memory, steps and tokens since the engine was made."""
        return self._core.stats()

    def usage_export(self, format: str = "json") -> str:
        """What all tenants have used: "json", an object a line, or "prometheus", its text format."""
        if format not in USAGE_FORMATS:
            raise ValueError(f"format is {format!r}; one of {', '.join(USAGE_FORMATS)}")
        return self._core.usage_export(USAGE_FORMATS[format])

    def open_journal(self, path: StrPath) -> None:
        """From now on, what tenants use is appended to this file, at least once a second."""
        self._core.open_journal(os.fspath(path))

    def flush_journal(self) -> None:
        """Brings what is not in the journal yet to disk."""
        self._core.flush_journal()

    def usage_since(self, after: int = 0) -> list[dict[str, Any]]:
        """The journal's records after this number, about a megabyte of them at most: {"record", "unix_seconds",
        "tenants"}. Go on with the number of the last one."""
        lines, _ = self._core.usage_since(after)
        return [json.loads(line) for line in lines.splitlines()]

    def close(self) -> None:
        """Cancels all requests, ends all models and tenants, and returns every byte."""
        self._core.close()

    def _repr_html_(self) -> str:
        stats = self.stats
        return html_table(
            "merritt.Engine",
            {
                "backends": ", ".join(backend["id"] for backend in self.backends),
                "threads": stats["threads"],
                "memory": human_bytes(stats["memory_bytes"]),
                "steps": stats["steps"],
                "steps with several tenants": stats["steps_mixed"],
                "prompt tokens": stats["prompt_tokens"],
                "generated tokens": stats["generated_tokens"],
            },
        )

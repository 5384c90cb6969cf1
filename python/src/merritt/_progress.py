# SPDX-License-Identifier: Apache-2.0
"""A progress bar for loading, where somebody can see it."""
from __future__ import annotations

import importlib
import sys
from typing import Any, Callable, Optional

Report = Optional[Callable[[float], None]]


def _somebody_watches() -> bool:
    if "ipykernel" in sys.modules:
        return True
    return sys.stderr is not None and sys.stderr.isatty()


class LoadProgress:
    """`show` None = on a terminal or in a notebook; needs tqdm, and is silent without it."""

    def __init__(self, title: str, show: bool | None) -> None:
        self._bar: Any = None
        if show or (show is None and _somebody_watches()):
            try:
                tqdm = importlib.import_module("tqdm.auto").tqdm
            except ImportError:
                return
            self._bar = tqdm(total=100, desc=title, unit="%", leave=False)

    @property
    def report(self) -> Report:
        return None if self._bar is None else self._update

    def _update(self, fraction: float) -> None:
        self._bar.update(int(fraction * 100) - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

# SPDX-License-Identifier: Apache-2.0
"""What every object that owns a handle of the library shares."""
from __future__ import annotations

import html
from types import TracebackType
from typing import Any, NoReturn, TypeVar

Self = TypeVar("Self", bound="Handle")


class Handle:
    """Closes with its `with` block; refuses to be pickled or copied."""

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(
            f"a merritt.{type(self).__name__} lives in one process and cannot be pickled or copied; "
            "send the model path and the prompt, and open an engine in the other process"
        )


def html_table(title: str, rows: dict[str, Any]) -> str:
    """A small table for notebooks."""
    cells = "".join(
        f"<tr><th style='text-align:left'>{html.escape(str(key))}</th>"
        f"<td style='text-align:left'>{html.escape(str(value))}</td></tr>"
        for key, value in rows.items()
    )
    return f"<table><caption>{html.escape(title)}</caption>{cells}</table>"


def human_bytes(count: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"

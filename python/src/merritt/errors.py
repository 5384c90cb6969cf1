# SPDX-License-Identifier: Apache-2.0
"""One exception class for each code of the C ABI; the numbers never change."""
from __future__ import annotations

_BLASTS = ("request", "session", "tenant", "device", "process")


class MerrittError(Exception):
    """A call of the library failed.

    code: the number of the C ABI. retry_after_ms: 0, or when a retry may succeed. blast: who else is affected
    ("request", "session", "tenant", "device" or "process").
    """

    code: int = 13
    name: str = "internal"

    def __init__(self, message: str, retry_after_ms: int = 0, blast: str = "request") -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms
        self.blast = blast


class InvalidArgumentError(MerrittError, ValueError):
    code = 1
    name = "invalid_argument"


class NotFoundError(MerrittError):
    code = 2
    name = "not_found"


class PermissionDeniedError(MerrittError):
    code = 3
    name = "permission_denied"


class FailedPreconditionError(MerrittError):
    code = 4
    name = "failed_precondition"


class QuotaExceededError(MerrittError):
    code = 5
    name = "quota_exceeded"


class OverloadedError(MerrittError):
    code = 6
    name = "overloaded"


class DeadlineExceededError(MerrittError):
    code = 7
    name = "deadline_exceeded"


class CancelledError(MerrittError):
    code = 8
    name = "cancelled"


class UnsupportedError(MerrittError):
    code = 9
    name = "unsupported"


class CorruptError(MerrittError):
    code = 10
    name = "corrupt"


class BackendError(MerrittError):
    code = 11
    name = "backend"


class OutOfMemoryError(MerrittError, MemoryError):
    code = 12
    name = "out_of_memory"


class InternalError(MerrittError):
    code = 13
    name = "internal"


_BY_CODE: dict[int, type[MerrittError]] = {
    kind.code: kind
    for kind in (
        InvalidArgumentError,
        NotFoundError,
        PermissionDeniedError,
        FailedPreconditionError,
        QuotaExceededError,
        OverloadedError,
        DeadlineExceededError,
        CancelledError,
        UnsupportedError,
        CorruptError,
        BackendError,
        OutOfMemoryError,
        InternalError,
    )
}


def from_code(code: int, message: str, retry_after_ms: int, blast: int) -> MerrittError:
    """The exception for a failure; called by the extension module."""
    kind = _BY_CODE.get(code, InternalError)
    return kind(message, retry_after_ms, _BLASTS[blast] if blast < len(_BLASTS) else "process")

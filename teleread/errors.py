"""The one error tree.

    TelereadError
    ├── InputRejected    the bytes or the request are at fault: do not retry unchanged
    ├── PeerError        another system did not answer as it should: retry later
    ├── StorageError     the object store, the catalogue or the vault could not keep its promise
    ├── Conflict         the act does not fit the present state
    ├── AccessDenied     not allowed, or not to be known about
    └── Misconfigured    settings or the alliance file are wrong: an operator must act

Every error has a stable ``code`` (snake case; user texts, metrics and tests share it) and a ``safe_message``
that never holds personal data and may therefore be logged and shown.
"""

from __future__ import annotations


class TelereadError(Exception):
    """Base of all errors that teleread raises on purpose.

    Args:
        code: stable identifier, for example ``"dicom_truncated"``.
        safe_message: one English sentence without personal data.
    """

    exit_code = 5

    def __init__(self, code: str, safe_message: str) -> None:
        super().__init__(f"{code}: {safe_message}")
        self.code = code
        self.safe_message = safe_message

    def __reduce__(self) -> tuple[type[TelereadError], tuple[str, str]]:
        return type(self), (self.code, self.safe_message)


class InputRejected(TelereadError):
    """The bytes or the request are at fault."""

    exit_code = 3


class PeerError(TelereadError):
    """Another system failed or did not answer; the same request may succeed later."""

    exit_code = 4


class StorageError(TelereadError):
    """Bytes or rows could not be stored or read back as promised."""


class Conflict(TelereadError):
    """The act does not fit the present state, for example a second claim of one case."""

    exit_code = 3


class AccessDenied(TelereadError):
    """The caller may not do this, or may not know that it exists."""

    exit_code = 3


class Misconfigured(TelereadError):
    """Settings or the alliance file are wrong; an operator must act."""

    exit_code = 2

"""Names of files and channels that come from outside."""

from __future__ import annotations

_MAX_NAME = 128


def safe_name(name: str) -> bool:
    """Whether ``name`` is a plain file name: no folder, no drive, no control character, not ``.`` or ``..``."""
    return (
        0 < len(name) <= _MAX_NAME
        and not name.startswith((".", "-", "~"))
        and not any(c in '/\\:*?"<>|' or not c.isprintable() for c in name)
    )


def unique_name(name: str, taken: set[str]) -> str:
    """``name``, or ``name (2)`` and so on when it is taken; it is taken from now on."""
    candidate, k = name, 2
    while candidate in taken:
        candidate, k = f"{name} ({k})", k + 1
    taken.add(candidate)
    return candidate

"""Names of files and channels that come from outside."""

from __future__ import annotations

import re
from collections.abc import Mapping

NOT_ECG = re.compile(r"(?:EEG|EMG|EOG|ERG|MEG|MCG|EP|GSR|EDA|RESP|SAO2|SPO2|PPG|PLETH|ACC)(?![A-Za-z])", re.IGNORECASE)
"""How channels are called that are no ECG, whatever their unit."""

_MAX_NAME = 128
_FORBIDDEN = '/\\:*?"<>|'


def safe_name(name: str) -> bool:
    """Whether ``name`` is a plain file name: no folder, no drive, no control character, not ``.`` or ``..``."""
    return (
        0 < len(name) <= _MAX_NAME
        and not name.startswith((".", "-", "~"))
        and not any(c in _FORBIDDEN or not c.isprintable() for c in name)
    )


def safe_names(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The same files under names that are safe and differ in more than case; a safe name stays as it is."""
    named: dict[str, bytes] = {}
    taken: set[str] = set()
    for name, data in sorted(files.items()):
        plain = "".join("_" if c in _FORBIDDEN or not c.isprintable() else c for c in name)
        plain = plain.lstrip(".-~")[-100:] or "file"
        candidate, k = plain, 2
        while candidate.casefold() in taken:
            candidate, k = f"{k}-{plain}", k + 1
        taken.add(candidate.casefold())
        named[candidate] = data
    return named


def unique_name(name: str, taken: set[str]) -> str:
    """``name``, or ``name (2)`` and so on when it is taken; it is taken from now on."""
    candidate, k = name, 2
    while candidate in taken:
        candidate, k = f"{name} ({k})", k + 1
    taken.add(candidate)
    return candidate

"""Identifiers that follow from what they name, so that a step that runs twice makes the same rows twice."""

from __future__ import annotations

import hashlib

# Crockford's base 32: no letter that is read as a digit over the telephone
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def derived_id(*parts: str) -> str:
    """32 hexadecimal characters that depend on every part and on their order."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def arrival_id(site_id: str, sha256: str) -> str:
    """One site's arrival of some bytes. Another site's arrival of the same bytes has another id."""
    return derived_id("arrival", site_id, sha256)


def receipt_of(arrival: str) -> str:
    """The arrival's receipt number, three groups of four, to be read aloud: ``7K2M-QX9D-0RTB``."""
    number = int(arrival[:15], 16)
    letters = "".join(_ALPHABET[(number >> shift) & 31] for shift in range(55, -1, -5))
    return "-".join(letters[start : start + 4] for start in (0, 4, 8))


def uid_from(*parts: str) -> str:
    """A DICOM UID for what has none of its own (PS3.5 B.2: ``2.25.`` and a 128-bit number)."""
    return f"2.25.{int(derived_id('uid', *parts), 16)}"

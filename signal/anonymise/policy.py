"""What de-identification is asked to do, and what it says it did."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from teleread.errors import Misconfigured

POLICY_VERSION = "basic-2026c.2"
"""Changes whenever the same input and key would give other bytes."""

MAX_SHIFT_DAYS = 3660

BurnedIn = Literal["yes", "no", "unknown"]

_PSEUDONYM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Policy:
    """How one patient's objects are pseudonymised for one purpose.

    The result is *pseudonymised, not anonymous*: whoever holds the vault, or the key and an original UID, can link it
    back, and pixels may still show a face or burned-in text.

    Args:
        uid_key: secret of the project, 16 bytes or more; equal keys map equal UIDs equally.
        pseudonym: becomes Patient ID and Patient's Name; letters, digits, ``.``, ``_`` and ``-``, 64 at most.
        beyond_table: also clean what Table E.1-1 forgets: overlay planes that have lost their data (with label and
            description), comment, Exif and IPTC segments of JPEG and comments of JPEG 2000 streams (blanked in place,
            decoded pixels unchanged), and free text in the meaning of codes of the closed ``DCM`` scheme. False
            follows the table to the letter and leaves every stored byte of pixel data as it was.
        shift_days: None removes the dates, as the Basic Profile says. A number other than 0 moves the dates of study,
            series, acquisition, content and performed step by that many days and keeps their times (Retain
            Longitudinal Temporal Information with Modified Dates Option, PS3.15 E.3.6), so that the intervals between
            one patient's studies stay; take one number for all objects of a patient. Every other date goes.

    Raises:
        Misconfigured: ``weak_uid_key``, ``bad_pseudonym`` or ``bad_date_shift``.
    """

    uid_key: bytes = field(repr=False)
    pseudonym: str
    beyond_table: bool = True
    shift_days: int | None = None
    version: str = POLICY_VERSION

    def __post_init__(self) -> None:
        if len(self.uid_key) < 16:
            raise Misconfigured("weak_uid_key", "The key for UIDs needs 16 bytes or more.")
        if not _PSEUDONYM.fullmatch(self.pseudonym):
            raise Misconfigured("bad_pseudonym", "A pseudonym is 1 to 64 letters, digits, dots, dashes, underscores.")
        if self.shift_days is not None and not 0 < abs(self.shift_days) <= MAX_SHIFT_DAYS:
            raise Misconfigured("bad_date_shift", f"Dates are moved by 1 to {MAX_SHIFT_DAYS} days.")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What was done to one object: counts, never values.

    ``counts`` has the keys ``removed``, ``emptied``, ``replaced``, ``uids``, ``private``, ``sequences`` (kept and
    cleaned inside), ``beyond_table``, ``kept`` and ``unknown`` (kept although no dictionary knows them).
    ``burned_in`` repeats what the file says about text in its pixels; ``"unknown"`` when it says nothing. No pixel has
    been looked at, so ``"no"`` is the sender's word.
    """

    policy_version: str
    table_edition: str
    counts: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    burned_in: BurnedIn = "unknown"

    def to_json(self) -> dict[str, Any]:
        """The manifest as JSON values."""
        return {
            "policy_version": self.policy_version,
            "table_edition": self.table_edition,
            "counts": dict(sorted(self.counts.items())),
            "burned_in": self.burned_in,
        }

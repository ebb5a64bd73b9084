"""What every way in has in common: items that a site shows, the memory of what was taken, and the result of one pull.

A source never decides what a study is worth: it finds what the site holds, asks the ledger what is missing, hands
each missing item over to ``land`` (which returns only when the bytes are durable) and then tells the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from teleread.alliance import Priority
from teleread.errors import PeerError


@dataclass(frozen=True, slots=True)
class SourceItem:
    """One thing that arrives as a whole: an object, or the files of one recording."""

    key: str
    """SOP instance UID, or a keyed hash of the file's name: at most 64 characters and never personal data."""
    fingerprint: str
    """How the site describes the item now; another fingerprint under the same key means: look again."""
    files: Mapping[str, bytes]
    priority: Priority


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """What is remembered of an item.

    Args:
        fingerprint: as last noted or landed.
        first_seen_at: aware UTC, when this fingerprint was first noted.
        arrival_id: None until landed with this fingerprint.
    """

    fingerprint: str
    first_seen_at: datetime
    arrival_id: str | None


class Ledger(Protocol):
    """The memory of one site's items."""

    def get(self, key: str) -> LedgerRow | None:
        """What is remembered, or None."""

    def note(self, key: str, fingerprint: str) -> None:
        """Remember an item that was seen and not landed; another fingerprint starts ``first_seen_at`` anew."""

    def landed(self, key: str, fingerprint: str, arrival_id: str) -> None:
        """Remember that these bytes are durable under an arrival."""


Land = Callable[[SourceItem], str]
"""Stores an item durably and returns its arrival id; raises a ``TelereadError`` when it could not."""


@dataclass(frozen=True, slots=True)
class PullResult:
    """What one pull did.

    Args:
        listed: items that the site showed.
        landed: items landed by this pull.
        known: items that had landed before and are unchanged.
        waiting: items listed and not landed yet, for whatever reason.
        unrecognised: files or entries left alone, because nothing says that they are studies.
        refused: (key, code) of items that could not be taken this time.
        complete: False when the pull ended (time, ``max_items``) before it had seen and taken everything.
        short_studies: studies of which the site counts more objects than it lists; a hint, often wrong.
    """

    listed: int = 0
    landed: int = 0
    known: int = 0
    waiting: int = 0
    unrecognised: int = 0
    refused: tuple[tuple[str, str], ...] = ()
    complete: bool = True
    short_studies: int = 0


class PullStopped(PeerError):
    """The site failed. ``result`` holds what was done until then: nothing of it is lost."""

    def __init__(self, code: str, safe_message: str, result: PullResult | None = None) -> None:
        super().__init__(code, safe_message)
        self.result = PullResult() if result is None else result


class Source(Protocol):
    """One way in."""

    def pull(self, ledger: Ledger, land: Land, deadline: float) -> PullResult:
        """Take what is missing until ``deadline`` (``time.monotonic`` seconds).

        Raises:
            PullStopped: the site refused, broke off or fell silent; carries the partial result.
        """

"""A ledger in memory, for pulls that nobody goes on with."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from teleread.ingest.sources.base import LedgerRow


class MemoryLedger:
    """Behaves as ``Ledger`` asks and forgets everything at the end.

    Args:
        now: aware UTC clock.
    """

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self.rows: dict[str, LedgerRow] = {}

    def get(self, key: str) -> LedgerRow | None:
        """See ``Ledger.get``."""
        return self.rows.get(key)

    def note(self, key: str, fingerprint: str) -> None:
        """See ``Ledger.note``."""
        row = self.rows.get(key)
        if row is None or row.fingerprint != fingerprint:
            self.rows[key] = LedgerRow(fingerprint, self._now(), None)

    def landed(self, key: str, fingerprint: str, arrival_id: str) -> None:
        """See ``Ledger.landed``."""
        row = self.rows.get(key)
        seen = row.first_seen_at if row is not None and row.fingerprint == fingerprint else self._now()
        self.rows[key] = LedgerRow(fingerprint, seen, arrival_id)

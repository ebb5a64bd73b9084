"""What a site has shown before, kept in the catalogue."""

from __future__ import annotations

from typing import Any

from sqlalchemy import insert, select, update

from teleread.ingest.sources.base import LedgerRow
from teleread.pipeline.services import Services
from teleread.storage.catalogue.schema import pull_ledger


class CatalogueLedger:
    """What a source has shown before, kept in the catalogue."""

    def __init__(self, services: Services, site_id: str) -> None:
        self._services = services
        self._site_id = site_id

    def get(self, key: str) -> LedgerRow | None:
        with self._services.catalogue.read() as conn:
            row = conn.execute(select(pull_ledger).where(*self._is(key))).one_or_none()
        return None if row is None else LedgerRow(row.fingerprint, row.first_seen_at, row.arrival_id)

    def note(self, key: str, fingerprint: str) -> None:
        """Remember that an item was seen with this fingerprint and has not landed with it."""
        self._put(key, fingerprint, None)

    def landed(self, key: str, fingerprint: str, arrival_id: str) -> None:
        """Remember under which arrival an item landed with this fingerprint."""
        self._put(key, fingerprint, arrival_id)

    def refused(self, key: str, code: str) -> None:
        """Remember why an item could not be taken this time."""
        with self._services.catalogue.write() as conn:
            conn.execute(update(pull_ledger).where(*self._is(key)).values(refused_code=code))

    def _is(self, key: str) -> tuple[Any, Any]:
        return pull_ledger.c.site_id == self._site_id, pull_ledger.c.item == key

    def _put(self, key: str, fingerprint: str, arrival_id: str | None) -> None:
        now = self._services.clock()
        with self._services.catalogue.write() as conn:
            known = conn.execute(select(pull_ledger).where(*self._is(key))).one_or_none()
            if known is None:
                row = {"site_id": self._site_id, "item": key, "fingerprint": fingerprint, "first_seen_at": now}
                conn.execute(insert(pull_ledger).values(**row, arrival_id=arrival_id))
                return
            seen = known.first_seen_at if known.fingerprint == fingerprint else now
            conn.execute(
                update(pull_ledger)
                .where(*self._is(key))
                .values(fingerprint=fingerprint, first_seen_at=seen, arrival_id=arrival_id, refused_code=None)
            )

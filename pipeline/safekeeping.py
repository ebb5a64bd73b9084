"""Whether what is held would survive tonight: backups, the key that opens them, the audit's chains. No identities."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import Connection, func, select

from teleread.errors import Misconfigured, PeerError, StorageError
from teleread.pipeline.services import Services
from teleread.storage import audit
from teleread.storage.catalogue.schema import backups

BACKUP_EVERY = timedelta(days=1)
SEALED_WITHIN = timedelta(minutes=1)

Sealing = Literal["sealed", "late", "broken", "unknown"]


@dataclass(frozen=True, slots=True)
class Chain:
    """One database's audit.

    Args:
        database: ``catalogue`` or ``vault``.
        sealing: ``late``: an event waits for its link for more than a minute; ``broken``: the chain's end does not
            fit its check, so that nothing is sealed; ``unknown``: the database does not answer.
        waits_since: time of the oldest event that has no link; None where none waits.
    """

    database: str
    sealing: Sealing
    waits_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Safekeeping:
    """What an engineer must see to.

    Args:
        backup_at: what the newest finished backup holds is of this moment; None when there is none.
        backup_overdue: it is older than a day, or there is none.
        recovery_key: the two halves were made; without them no backup can be made or opened.
        chains: one for each database.
    """

    backup_at: datetime | None
    backup_overdue: bool
    recovery_key: bool
    chains: tuple[Chain, ...]


def safekeeping(services: Services) -> Safekeeping:
    """Look at all of it: some small reads. A vault that does not answer is said so and stops nothing."""
    now = services.clock()
    with services.catalogue.read() as conn:
        backup_at = _newest_backup(conn)
    return Safekeeping(
        backup_at=backup_at,
        backup_overdue=backup_at is None or now - backup_at > BACKUP_EVERY,
        recovery_key=services.ring.recovery_public is not None,
        chains=tuple(_chain(trail, services.audit_key, now) for trail in services.trails),
    )


def _newest_backup(conn: Connection) -> datetime | None:
    rows = conn.execute(
        select(backups.c.begun_at, backups.c.facts)
        .where(backups.c.made_at.is_not(None))
        .order_by(backups.c.begun_at.desc())
    )
    return next((row.begun_at for row in rows if "dropped_at" not in row.facts), None)


def _chain(trail: audit.Trail, key: bytes, now: datetime) -> Chain:
    tables = trail.tables
    waiting = select(func.min(tables.events.c.at)).join(
        tables.unsealed, tables.unsealed.c.event_id == tables.events.c.id
    )
    try:
        with trail.database.snapshot() as conn:
            since = conn.scalar(waiting)
            audit.read_head(conn, tables, key, trail.database.is_sqlite)
    except (StorageError, PeerError, Misconfigured) as error:
        return Chain(trail.name, "broken" if error.code == "audit_broken" else "unknown")
    return Chain(trail.name, "late" if since is not None and now - since > SEALED_WITHIN else "sealed", since)

"""What follows a restore: the system is brought from the backup's time to now, and checked.

In this order: what was deleted since is deleted again, before anything could be prepared from it; what was landed
since comes back from its notes and raw objects; the audit chains are sealed and walked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy import select

from teleread.errors import StorageError
from teleread.pipeline.deletion import Replayed, replay
from teleread.pipeline.identity_corrections import reopen_lost_corrections
from teleread.pipeline.reconcile import Report, reconcile
from teleread.pipeline.services import Services
from teleread.storage import audit
from teleread.storage.backup.manifest import AuditHead
from teleread.storage.backup.rings import store_ring as _store_ring


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """What was done after a restore.

    Args:
        replayed: deletions from after the backup.
        compared: store against catalogue; what came after the backup is among the mended.
        links: of each audit chain that fit.
    """

    replayed: Replayed
    compared: Report
    links: Mapping[str, int]


def catch_up(
    services: Services,
    heads: Mapping[str, AuditHead | None],
    *,
    actor: str,
    progress: Callable[[str, int], None] = lambda _what, _done: None,
) -> CaughtUp:
    """Bring a restored system up to now; may be called again.

    Args:
        services: of the restored system.
        heads: where the backup's audit chains ended, by database.
        actor: who restores.
        progress: called now and then.

    Raises:
        StorageError: ``certificate_corrupt`` when nobody knows what a deletion was of, so that the system must not
            enter service; ``audit_broken`` when a chain does not hold or does not contain the backup's end;
            otherwise as the steps do.
    """
    replayed = replay(services)
    if replayed.unknown:
        raise StorageError(
            "certificate_corrupt",
            f"No certificate of {len(replayed.unknown)} deletions can be read, the first of {replayed.unknown[0]}: "
            "what was deleted may be back. Put a kept copy in its place and restore again.",
        )
    compared = reconcile(services, repair=True, actor=actor, progress=progress)
    reopen_lost_corrections(services)
    links = {}
    services.sealer.seal_all()
    for trail in services.trails:
        name = trail.name
        verdict = audit.verify(trail.database, trail.tables, services.audit_key, services.clock())
        if verdict.broken is not None:
            raise StorageError(
                "audit_broken", f"The audit chain of the {name} does not hold: {verdict.broken.message}."
            )
        if not _contains(trail, heads.get(name)):
            raise StorageError("audit_broken", f"The audit chain of the {name} is not the one that was backed up.")
        links[name] = verdict.links
    return CaughtUp(replayed, compared, links)


def store_ring(services: Services) -> None:
    """Keep a sealed copy of the key ring in the store; to be called after each change of the ring.

    Does nothing while there is no recovery key.
    """
    if services.ring.recovery_public is not None:
        _store_ring(services.store.blobs, services.ring)


def _contains(trail: audit.Trail, head: AuditHead | None) -> bool:
    if head is None:
        return True
    chain = trail.tables.chain
    with trail.database.read() as conn:
        found = conn.scalar(select(chain.c.hash).where(chain.c.seq == head.seq))
    return found is not None and bytes(found).hex() == head.hash

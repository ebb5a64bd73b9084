"""Prepare and enqueue many arrivals: a bad one never stops the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import and_, or_, select, update

from teleread.alliance import PRIORITIES
from teleread.errors import Conflict, Misconfigured, PeerError, StorageError, TelereadError
from teleread.pipeline.enqueue import enqueue
from teleread.pipeline.prepare import prepare
from teleread.pipeline.services import Services
from teleread.storage import audit
from teleread.storage.catalogue.schema import arrivals, quarantine

BATCH_SIZE = 256
# what a clinic pushes is prepared at once by the web service; the durable lane leaves it that long
FAST_LANE_S = 20


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """How many arrivals of a batch ended in which way; ``failed`` ones stay landed and are tried again."""

    prepared: int
    quarantined: int
    failed: int


def plan_batches(services: Services, size: int = BATCH_SIZE) -> list[list[str]]:
    """Ids of the arrivals that wait to be prepared or enqueued, most urgent and oldest first, in batches."""
    settled = services.clock() - timedelta(seconds=FAST_LANE_S)
    waiting = or_(arrivals.c.state == "landed", arrivals.c.case_id.is_(None))
    query = (
        select(arrivals.c.id, arrivals.c.clinic_priority)
        .where(and_(waiting, or_(arrivals.c.source != "web", arrivals.c.arrived_at < settled)))
        .order_by(arrivals.c.arrived_at, arrivals.c.id)
    )
    with services.catalogue.read() as conn:
        rows = conn.execute(query).all()
    ids = [row.id for row in sorted(rows, key=lambda row: PRIORITIES.index(row.clinic_priority))]
    return [ids[start : start + size] for start in range(0, len(ids), size)]


def prepare_batch(
    services: Services, arrival_ids: Sequence[str], progress: Callable[[str, str], None] = lambda _id, _state: None
) -> BatchOutcome:
    """Prepare and enqueue each arrival; each has its own recorded outcome.

    Raises:
        StorageError: storage or the parser failed for some arrivals, after all the others were done; those stay
            landed.
    """
    counts = {"prepared": 0, "quarantined": 0, "failed": 0}
    last: TelereadError | None = None
    for arrival_id in arrival_ids:
        try:
            state = prepare(services, arrival_id)
            enqueue(services, arrival_id)
        except (StorageError, PeerError, Misconfigured) as error:
            state, last = "failed", error
        counts[state] += 1
        progress(arrival_id, state)
    if last is not None:
        raise StorageError(last.code, f"{counts['failed']} of {len(arrival_ids)} arrivals wait: {last.safe_message}")
    return BatchOutcome(**counts)


def retry_quarantined(services: Services, arrival_id: str, actor: str) -> str:
    """Prepare and enqueue a quarantined arrival again, for example after a fix of the parser.

    Returns:
        The arrival's new state.

    Raises:
        Conflict: ``not_quarantined``.
    """
    now = services.clock()
    with services.catalogue.write() as conn:
        changed = conn.execute(
            update(arrivals)
            .where(
                arrivals.c.id == arrival_id,
                arrivals.c.state == "quarantined",
                arrivals.c.id.in_(select(quarantine.c.arrival_id).where(quarantine.c.resolved_at.is_(None))),
            )
            .values(state="landed")
        ).rowcount
        if not changed:
            raise Conflict("not_quarantined", "This arrival is not in quarantine.")
        audit.record(conn, at=now, actor=actor, action="retry", object_type="arrival", object_id=arrival_id)
    state = prepare(services, arrival_id)
    enqueue(services, arrival_id)
    return state

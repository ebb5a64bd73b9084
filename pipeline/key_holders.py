"""Who holds the keys of an arrival's objects: the patient whose study it is, and nobody else.

Vault and catalogue share no transaction. Keys are adopted before the catalogue says whose a study is and let go of
after it, so that no bytes are ever without a holder; what a failure leaves in between is put right from here.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable

from sqlalchemy import Connection, or_, select

from teleread.errors import Conflict, StorageError
from teleread.pipeline.services import Services
from teleread.storage.catalogue.schema import arrivals, identity_corrections, identity_questions, quarantine, studies
from teleread.storage.vault import Identity

log = logging.getLogger(__name__)

_AT_ONCE = 200


def placeholder(arrival_id: str) -> Identity:
    """Whose an arrival's objects are while it names nobody."""
    return Identity("teleread", f"unidentified-{arrival_id}")


def settle_keys(services: Services, roots: Iterable[str], *, who: str) -> int:
    """Let the patients hold the keys whose studies stand in the catalogue, and let all others go of them.

    An entry that stood for the arrival alone is forgotten once it is empty. A failure is logged and left to
    :func:`disown_left`.

    Args:
        roots: SHA-256 of raw objects, hexadecimal.
        who: account name.

    Returns:
        How many entries let go of something.
    """
    settled = 0
    wanted = sorted(set(roots))
    try:
        holders = services.vault.holders(wanted)
    except StorageError as error:
        log.error("keys not settled: %s", error.code)
        return 0
    for root in wanted:
        try:
            settled += _settle(services, root, holders.get(root, set()), who)
        except (StorageError, Conflict) as error:
            log.error("keys of %s not settled: %s", root[:16], error.code)
    return settled


def disown_left(services: Services) -> int:
    """Settle the keys of every case that was ever under correction, and of all that could be read only later.

    Returns:
        How many entries let go of something.

    Raises:
        StorageError: the catalogue did not answer.
    """
    settled, after = 0, ""
    while True:
        with services.catalogue.read() as conn:
            roots = _doubtful(conn, after)
        if not roots:
            return settled
        settled += settle_keys(services, roots, who="teleread")
        after = roots[-1]


def _settle(services: Services, root: str, holders: Collection[str], who: str) -> int:
    with services.catalogue.read() as conn:
        rows = conn.execute(
            select(arrivals.c.id, studies.c.patient_pseudonym)
            .join(studies, studies.c.id == arrivals.c.study_id, isouter=True)
            .where(arrivals.c.sha256 == root)
            .order_by(arrivals.c.id)
        ).all()
        asked = _asked_about(conn, [row.id for row in rows])
    rightful = {row.patient_pseudonym for row in rows if row.patient_pseudonym is not None}
    others = set(holders) - rightful - asked
    if not rightful or (not others and rightful <= set(holders)):
        return 0
    now, key = services.clock(), services.store.data_key(root)
    for pseudonym in sorted(rightful):
        services.vault.adopt(pseudonym, [key], now)
    cases = [row.id for row in rows]
    people = services.vault.join(sorted(others), who=who, why="disown_arrivals", case_ids=cases, at=now)
    nobody = {placeholder(row.id).patient_id: row.patient_pseudonym is None for row in rows}
    settled = 0
    for pseudonym, identity in sorted(people.items()):
        stands_for = nobody.get(identity.patient_id) if identity.issuer == placeholder("").issuer else None
        if stands_for:
            continue  # nobody could read that arrival yet
        services.vault.disown(pseudonym, cases, [key], who=who, at=now)
        settled += 1
        if stands_for is not None and pseudonym not in services.vault.holders([root]).get(root, set()):
            services.vault.forget(pseudonym, now, who=who, reason="arrival_identified")
    return settled


def _asked_about(conn: Connection, arrival_ids: list[str]) -> set[str]:
    """Patients whom an arrival states although its study is another's: while a person has to decide, both hold it."""
    query = select(identity_questions.c.pseudonym).where(
        identity_questions.c.code == "other_patient_in_study",
        identity_questions.c.answered_at.is_(None),
        identity_questions.c.arrival_id.in_(arrival_ids),
    )
    return set(conn.scalars(query))


def _doubtful(conn: Connection, after: str) -> list[str]:
    """Roots of what was corrected or could not be read at first, in ascending order."""
    corrected = select(identity_corrections.c.case_id)
    read_later = select(quarantine.c.arrival_id).where(quarantine.c.resolved_at.is_not(None))
    query = (
        select(arrivals.c.sha256)
        .where(
            arrivals.c.sha256 > after,
            arrivals.c.study_id.is_not(None),
            or_(arrivals.c.case_id.in_(corrected), arrivals.c.id.in_(corrected), arrivals.c.id.in_(read_later)),
        )
        .distinct()
        .order_by(arrivals.c.sha256)
        .limit(_AT_ONCE)
    )
    return list(conn.scalars(query))

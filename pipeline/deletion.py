"""Deleting a patient's records for good, by a named person's decision, in steps that can be taken again.

begun      the decision stands: a row, and a certificate in the store; nobody adds to the patient any more
           (:func:`refuse_deleted`). Then study by study: the rows go and the objects are condemned in one short
           transaction. Then the patient's own rows, then the objects themselves, then the vault's entry.
forgotten  all of that is done and certified. Copies of the bytes elsewhere may still be opened with an intake key
           that is in use, or from a backup.
final      every intake key concerned is retired and every backup from before is destroyed: any copy is noise.

Bytes that another patient's or another site's arrival shares stay. Audit events stay: they name pseudonyms.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from teleread.errors import Conflict, PeerError, StorageError, TelereadError
from teleread.pipeline import certificates
from teleread.pipeline.counting import zone_of
from teleread.pipeline.deletion_rows import Study, delete_patient, studies_of
from teleread.pipeline.deletion_study import objects_of, remove_study
from teleread.pipeline.identifiers import derived_id
from teleread.pipeline.intake_keys import keep_for_owners
from teleread.pipeline.retention import Decision, Policy, decide, facts_of
from teleread.pipeline.services import Services
from teleread.reading.persons import checked_name, checked_reason, lock_patients
from teleread.storage import audit
from teleread.storage.backup.rings import stored_generations
from teleread.storage.catalogue import sweeping
from teleread.storage.catalogue.schema import backups, deletions, swept_objects
from teleread.storage.objects.raw import raw_root

_FORGET_REASON = "retention"
Step = Callable[[str], None]


def refuse_deleted(conn: Connection, pseudonym: str) -> None:
    """Call in every transaction that adds something to a patient, before the rows.

    Raises:
        StorageError: ``patient_deleted``: enrol again and come back; the same issuer and id is another patient once
            the entry is forgotten.
    """
    lock_patients(conn, [pseudonym])
    if conn.execute(select(deletions.c.id).where(deletions.c.pseudonym == pseudonym)).first() is not None:
        raise StorageError("patient_deleted", "The patient's records are being deleted; enrol again.")


def begin(services: Services, pseudonym: str, policy: Policy, *, who: str, reason: str) -> list[str]:
    """Decide the deletion of a person who is due: one deletion for each patient that the person is.

    Returns:
        Ids of the deletions, to be taken through by :func:`run`.

    Raises:
        InputRejected: ``reason_missing``, ``reason_too_long``, ``name_missing``, ``name_too_long``.
        Conflict: ``not_due``, with why.
    """
    who = checked_name(who)
    reason = checked_reason(reason)
    now = services.clock()
    with services.catalogue.read() as conn:
        person = facts_of(conn, pseudonym).pseudonyms
    with services.catalogue.write() as conn:
        lock_patients(conn, person)
        decision = decide(facts_of(conn, pseudonym), policy, now)
        if not decision.due or decision.pseudonyms != person:
            raise Conflict("not_due", f"This person's records are not due: {', '.join(decision.reasons) or 'changed'}.")
        return [_insert(conn, name, decision, policy, who, reason, now) for name in person]


def run(services: Services, deletion_id: str, *, step: Step = lambda _name: None) -> str:
    """Take a deletion as far as it goes; what was done is not done again. Returns its state.

    Raises:
        Conflict: ``no_such_deletion``; ``remover_busy`` when the sweeper is at work: call again.
        StorageError, PeerError: call again.
    """
    row = _row(services, deletion_id)
    if row.state != "begun":
        return str(row.state)
    blobs, ring = services.store.blobs, services.ring
    certificates.keep(
        blobs,
        certificates.certificate_key(row.id, "decision"),
        certificates.certificate(row, "decision", row.decided_at, ring),
    )
    step("decision_kept")
    known = frozenset(row.facts["data_keys"]) if row.facts.get("replayed") else None
    while (study := _next_study(services, row.pseudonym)) is not None:
        found = objects_of(services, study, known)
        step("study_looked_at")
        with services.catalogue.write() as conn:
            remove_study(conn, deletion_id, study, found, zone_of(services), services.clock())
        step("study_removed")
    with services.catalogue.write() as conn:
        delete_patient(conn, row.pseudonym)
    step("patient_removed")
    _delete_objects(services, deletion_id, step)
    step("objects_removed")
    _keep_shared(services, deletion_id)
    step("shared_kept")
    _forget(services, row)
    step("entry_forgotten")
    _certify(services, deletion_id)
    step("certified")
    return "forgotten"


def resume(services: Services, *, step: Step = lambda _name: None) -> dict[str, str]:
    """Take every deletion that was begun as far as it goes, then :func:`finalise`. Returns state by id.

    Raises:
        Conflict, StorageError, PeerError: the first that stopped a deletion; the others were taken on all the same.
    """
    with services.catalogue.read() as conn:
        waiting = list(
            conn.scalars(select(deletions.c.id).where(deletions.c.state == "begun").order_by(deletions.c.id))
        )
    states: dict[str, str] = {}
    failed: list[TelereadError] = []
    for identifier in waiting:
        try:
            states[identifier] = run(services, identifier, step=step)
        except (Conflict, StorageError, PeerError) as error:
            failed.append(error)
    states |= dict.fromkeys(finalise(services), "final")
    if failed:
        raise failed[0]
    return states


def finalise(services: Services) -> list[str]:
    """Declare final what no key is left for; returns the ids."""
    with services.catalogue.read() as conn:
        waiting = conn.execute(select(deletions).where(deletions.c.state == "forgotten").order_by(deletions.c.id)).all()
    done = []
    for row in waiting:
        if remaining(services, row):
            continue
        now = services.clock()
        data = certificates.certificate(row, "final", now, services.ring)
        key = certificates.certificate_key(row.id, "final")
        sha256 = certificates.keep(services.store.blobs, key, data)
        with services.catalogue.write() as conn:
            changed = conn.execute(
                update(deletions)
                .where(deletions.c.id == row.id, deletions.c.state == "forgotten")
                .values(state="final", final_at=now, certificate_key=key)
            ).rowcount
            if changed:
                _record(conn, now, "teleread", "deletion_final", row, {"certificate_sha256": sha256})
        done.append(row.id)
    return done


def remaining(services: Services, row: Any) -> list[str]:
    """What still holds a key to copies of a forgotten patient's bytes; nothing when the deletion is final."""
    living = {key.id.hex() for key in services.ring.intakes() if key.retired_at is None}
    found = [f"intake key {key}" for key in row.facts["intake_keys"] if key in living]
    # a corrected identity leaves the key of a study with the patient whose it was said to be before
    roots = {one["sha256"] for one in row.facts["objects"] if raw_root(one["key"]) is not None and one["sha256"]}
    ours = set(row.facts["data_keys"])
    others = {root for root, key_id in services.vault.held(sorted(roots)) if key_id.hex() in ours}
    found += [f"another patient's entry, which holds the key of {root}" for root in sorted(others)]
    with services.catalogue.read() as conn:
        found += [f"backup {name}" for name in _backups_before(conn, row.facts["forgotten_at"])]
    generation = services.ring.generation
    if any(number < generation for number in stored_generations(services.store.blobs)):
        found.append("an older copy of the key ring in the store")
    return found


@dataclass(frozen=True, slots=True)
class Replayed:
    """What certificates in the store made a restored system delete again.

    Args:
        deleted: ids.
        unreadable: keys of certificates that are not what was written; an earlier stage may have stood in.
        unknown: ids of deletions of which no stage can be read, so that nobody knows whose they were.
    """

    deleted: tuple[str, ...]
    unreadable: tuple[str, ...]
    unknown: tuple[str, ...]


def replay(services: Services, *, step: Step = lambda _name: None) -> Replayed:
    """After a restore: delete again what was deleted since the backup. To be done before anything is prepared."""
    blobs, ring = services.store.blobs, services.ring
    done: list[str] = []
    unreadable: list[str] = []
    undecided: list[str] = []
    for identifier, stages in certificates.kept(blobs):
        body, rotten = certificates.latest(blobs, stages, ring)
        unreadable += rotten
        if body is None:
            undecided.append(identifier)
            continue
        with services.catalogue.write() as conn:
            known = conn.scalar(select(deletions.c.state).where(deletions.c.id == identifier))
            complete = body["stage"] != "decision"
            if known is None:
                conn.execute(insert(deletions).values(**_row_of(body, complete=complete)))
            elif known == "begun" and complete:
                # it came to its end after the backup: what has another data key came later and stays
                row = _row_of(body, complete=True)
                conn.execute(update(deletions).where(deletions.c.id == identifier).values(**row))
        if known in (None, "begun"):
            run(services, identifier, step=step)
            done.append(identifier)
    return Replayed(tuple(done), tuple(unreadable), tuple(undecided))


def _next_study(services: Services, pseudonym: str) -> Study | None:
    with services.catalogue.read() as conn:
        return next(iter(studies_of(conn, pseudonym)), None)


def _delete_objects(services: Services, deletion_id: str, step: Step) -> None:
    condemned = _row(services, deletion_id).facts["condemned"]
    if not _waiting(services, condemned):
        return
    with sweeping.sole_remover(services.catalogue) as alone:
        if not alone:
            raise Conflict("remover_busy", "Orphans are being removed at this moment; try again in a minute.")
        # asked again: until now another remover may have come to the end of them, and the bytes may be back
        sweeping.finish(services.catalogue, services.store, _waiting(services, condemned), step=step)


def _waiting(services: Services, condemned: Sequence[str]) -> list[str]:
    waits = swept_objects.c.gone.is_(False)
    with services.catalogue.read() as conn:
        return [
            key
            for start in range(0, len(condemned), 500)
            for key in conn.scalars(
                select(swept_objects.c.key).where(swept_objects.c.key.in_(condemned[start : start + 500]), waits)
            )
        ]


def _keep_shared(services: Services, deletion_id: str) -> None:
    """Whoever else these bytes are of holds their key too, before the patient's entry goes.

    An arrival that nobody has prepared yet has no patient whose entry would hold it; once the intake key is retired,
    the entry that is forgotten now may be the only one.
    """
    for root in _row(services, deletion_id).facts["shared"]:
        try:
            keep_for_owners(services, root)
        except StorageError as error:
            # lost or rotten before; reconcile names it
            if error.code not in ("object_missing", "object_corrupt", "object_key_missing"):
                raise


def _forget(services: Services, row: Any) -> None:
    try:
        services.vault.forget(row.pseudonym, services.clock(), who=row.decided_by, reason=_FORGET_REASON)
    except Conflict as error:
        # enrolled after the backup that was restored, so there is nothing to forget
        if error.code != "no_such_patient":
            raise


def _certify(services: Services, deletion_id: str) -> None:
    now = services.clock()
    with services.catalogue.write() as conn:
        row = conn.execute(select(deletions).where(deletions.c.id == deletion_id).with_for_update()).one()
        if "forgotten_at" not in row.facts:  # fixed once, so that the certificate's bytes are
            held = [{"id": name, "until": "it is destroyed"} for name in _backups_before(conn, now.isoformat())]
            facts = {**row.facts, "forgotten_at": now.isoformat(), "backups": held}
            facts.pop("condemned", None)
            conn.execute(update(deletions).where(deletions.c.id == deletion_id).values(facts=facts))
    row = _row(services, deletion_id)
    at = datetime.fromisoformat(row.facts["forgotten_at"])
    key = certificates.certificate_key(row.id, "forgotten")
    data = certificates.certificate(row, "forgotten", at, services.ring)
    sha256 = certificates.keep(services.store.blobs, key, data)
    with services.catalogue.write() as conn:
        changed = conn.execute(
            update(deletions)
            .where(deletions.c.id == row.id, deletions.c.state == "begun")
            .values(state="forgotten", certificate_key=key)
        ).rowcount
        if changed:
            _record(conn, now, row.decided_by, "delete", row, {"certificate_sha256": sha256, **row.facts["counts"]})


def _backups_before(conn: Connection, at: str) -> list[str]:
    """Backups that were begun before a time and that nobody has destroyed, as far as we know.

    Also those that the catalogue does not know as made: one that was killed at its end can be restored.
    """
    rows = conn.execute(select(backups).where(backups.c.begun_at <= datetime.fromisoformat(at)).order_by(backups.c.id))
    return [row.id for row in rows if "dropped_at" not in row.facts]


def _insert(
    conn: Connection, pseudonym: str, decision: Decision, policy: Policy, who: str, reason: str, now: datetime
) -> str:
    identifier = derived_id("deletion", pseudonym, now.isoformat())
    facts = {
        **_EMPTY,
        "person": list(decision.pseudonyms),
        "due_at": None if decision.due_at is None else decision.due_at.isoformat(),
        "basis": decision.basis,
    }
    row = {
        "id": identifier,
        "pseudonym": pseudonym,
        "policy_id": policy.id,
        "policy_version": policy.version,
        "reason": reason,
        "decided_by": who,
        "decided_at": now,
        "state": "begun",
        "facts": facts,
    }
    conn.execute(insert(deletions).values(**row))
    audit.record(
        conn,
        at=now,
        actor=who,
        action="decide_deletion",
        object_type="patient",
        object_id=pseudonym,
        detail={"deletion": identifier, "policy": policy.id, "version": policy.version},
    )
    return identifier


_EMPTY: Mapping[str, Any] = {
    "counts": {},
    "objects": [],
    "shared": [],
    "rotten": [],
    "condemned": [],
    "intake_keys": [],
    "data_keys": [],
}


def _row_of(body: Mapping[str, Any], *, complete: bool) -> dict[str, Any]:
    """The row of a deletion that the restored catalogue does not know.

    Args:
        body: of its certificate.
        complete: the certificate names every data key, so other ones are of bytes that came later.
    """
    facts = {**_EMPTY, **body["facts"], "condemned": []}
    facts.pop("forgotten_at", None)
    if complete:
        facts["replayed"] = True
    return {
        "id": body["id"],
        "pseudonym": body["pseudonym"],
        "policy_id": body["policy"]["id"],
        "policy_version": body["policy"]["version"],
        "reason": body["reason"],
        "decided_by": body["decided_by"],
        "decided_at": datetime.fromisoformat(body["decided_at"]),
        "state": "begun",
        "facts": facts,
    }


def _row(services: Services, deletion_id: str) -> Row[Any]:
    with services.catalogue.read() as conn:
        row = conn.execute(select(deletions).where(deletions.c.id == deletion_id)).one_or_none()
    if row is None:
        raise Conflict("no_such_deletion", "No deletion has this id.")
    return row


def _record(conn: Connection, at: datetime, who: str, action: str, row: Any, detail: dict[str, Any]) -> None:
    audit.record(
        conn,
        at=at,
        actor=who,
        action=action,
        object_type="patient",
        object_id=row.pseudonym,
        detail={"deletion": row.id, **detail},
    )


def digest(decisions: Collection[Decision]) -> str:
    """What a person confirms: a hash of who would be deleted and why."""
    lines = [f"{' '.join(one.pseudonyms)} {one.due_at} {one.basis}" for one in decisions]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()

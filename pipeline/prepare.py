"""Step 2, prepare: parse and analyse one arrival, enrol its patient, and store what was derived."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Row, select, update

from teleread.errors import Conflict, InputRejected, StorageError
from teleread.ingest.bounded import Product
from teleread.pipeline import products, records, same_recordings
from teleread.pipeline.deletion import refuse_deleted
from teleread.pipeline.key_holders import placeholder, settle_keys
from teleread.pipeline.patients import note_patient
from teleread.pipeline.products import EXPORT_PROJECT, Lineage
from teleread.pipeline.same_recordings import Same
from teleread.pipeline.services import PIPELINE_VERSION, Services
from teleread.reading import consent, corrections
from teleread.storage import audit
from teleread.storage.catalogue import sweeping
from teleread.storage.catalogue.schema import arrivals, quarantine, studies
from teleread.storage.objects.protocol import StoredObject
from teleread.storage.objects.raw import get_raw
from teleread.storage.vault import Enrolled, Identity

LARGEST_BYTES = 512 << 20
"""What is larger is kept and read by a person with other means; it would not fit into the parsers' memory."""


@dataclass(frozen=True, slots=True)
class Room:
    """How much of the caller's memory one arrival may take.

    Args:
        input_bytes: as it was sent.
        output_bytes: all that one job of a parser gives back.
    """

    input_bytes: int
    output_bytes: int


@dataclass(frozen=True, slots=True)
class _Whose:
    """Whose an arrival is.

    Args:
        pseudonym: who holds the keys and whom the copy for export names.
        enrolled: the vault's answer to what the arrival states; None where that was corrected before.
        seen: whose the arrival's study was before this; None where it had none.
    """

    pseudonym: str
    enrolled: Enrolled | None
    seen: str | None


@dataclass(frozen=True, slots=True)
class _Prepared:
    """All that one arrival's rows are written from."""

    facts: dict[str, Any]
    whose: _Whose
    stored: dict[str, tuple[StoredObject, Lineage]]
    same: tuple[Same, ...]


def prepare(services: Services, arrival_id: str, *, timeout_s: float | None = None, room: Room | None = None) -> str:
    """Prepare one arrival; one that is prepared or quarantined already is left as it is.

    What cannot be parsed or analysed is quarantined with its reason, its bytes stay, and it is read by a person.

    Args:
        room: what needs more is left to another process; None for no limit but :data:`LARGEST_BYTES`.

    Returns:
        The arrival's state: ``prepared`` or ``quarantined``; ``landed`` where it was left.

    Raises:
        StorageError: nothing was decided; run again later.
        Conflict: ``no_such_arrival``.
    """
    arrival, mark = _begin(services, arrival_id)
    if arrival.state != "landed":
        return str(arrival.state)
    if arrival.size_bytes > LARGEST_BYTES:
        return _set_aside(services, arrival_id, "file_too_large", "The file is larger than is taken into memory.")
    if room is not None and arrival.size_bytes > room.input_bytes:
        return "landed"
    try:
        data = get_raw(services.store, arrival.sha256)
    except StorageError as error:
        if error.code not in {"object_corrupt", "object_missing", "object_key_missing"}:
            raise
        # waiting mends nothing here: an operator and a reader must see it
        return _set_aside(services, arrival_id, error.code, error.safe_message)
    on = arrival.arrived_at.date()
    lineage = Lineage(
        str(arrival.site_id),
        services.alliance.utc_offset_minutes,
        ecg_profile=services.alliance.ecg_rules(on).profile,
        ecg_profile_on=on.isoformat(),
    )
    limits = products.Limits(timeout_s, None if room is None else room.output_bytes)
    try:
        product = products.derive(services, data, lineage, limits)
    except products.NeedsMoreRoom:
        return "landed"
    except InputRejected as error:
        return _set_aside(services, arrival_id, error.code, error.safe_message)
    try:
        prepared = _store(services, arrival, data, product, lineage, limits)
    except products.NeedsMoreRoom:
        return "landed"
    try:
        with services.catalogue.write() as conn:
            sweeping.check(conn, [arrival.object_key, *(item.key for item, _ in prepared.stored.values())], mark)
            refuse_deleted(conn, prepared.whose.pseudonym)
            state = _record(conn, services, arrival, prepared)
    except StorageError as error:
        if error.code != "catalogue_bad_value":
            raise
        # a hostile header: trying again would fail for ever, and nobody would see the study
        return _set_aside(services, arrival_id, "header_out_of_range", "A value of the header is out of range.")
    settle_keys(services, [arrival.sha256], who="teleread")
    return state


def _store(
    services: Services, arrival: Row[Any], data: bytes, product: Product, lineage: Lineage, limits: products.Limits
) -> _Prepared:
    """Enrol the patient, make the copy for export, and store all that was derived."""
    products.made_with()  # reads files the first time, which has no place inside the transaction
    facts = dict(product.facts)
    whose = _enroll(services, arrival, facts)
    blobs = {name: (blob, lineage) for name, blob in product.blobs.items()}
    same = same_recordings.find(services, arrival, facts, product.blobs)
    if facts["failure"] is None and not _refused(services, arrival, facts, same):
        exported = Lineage(lineage.issuer, lineage.utc_offset_minutes, EXPORT_PROJECT)
        try:
            copies = products.pseudonymise(services, data, exported, whose.pseudonym, limits)
            blobs |= {name: (blob, exported) for name, blob in copies.items()}
        except InputRejected as error:
            # the study is known all the same: a person must see whose it is and why it has no copy
            facts["failure"] = {"code": error.code, "safe_message": error.safe_message}
    stored = {
        name: (services.store.put(derived_key(arrival.id, name, blob), blob, root=arrival.sha256), made_by)
        for name, (blob, made_by) in blobs.items()
    }
    return _Prepared(facts, whose, stored, same)


def _refused(services: Services, arrival: Row[Any], facts: dict[str, Any], same: tuple[Same, ...]) -> bool:
    """Whether the patient has refused by a form of the same case: then there is no copy that could leave."""
    study_id = arrival.study_id or records.study_id_of(arrival, facts)
    with services.catalogue.read() as conn:
        return consent.refuses(conn, arrival.id, study_id=study_id, same_as=[one.arrival_id for one in same])


def _enroll(services: Services, arrival: Row[Any], facts: dict[str, Any]) -> _Whose:
    """Enrol whom the arrival states, and give its keys to whom it is: somebody may have said that it is another's."""
    keys, now = [services.store.data_key(arrival.sha256)], services.clock()
    study_id = arrival.study_id or records.study_id_of(arrival, facts)
    with services.catalogue.read() as conn:
        seen = conn.scalar(select(studies.c.patient_pseudonym).where(studies.c.id == study_id))
        corrected = corrections.corrected_to(conn, study_id)
    if corrected is not None and arrival.study_id is not None:
        # what it states was found to be wrong, so it is not stated once more
        services.vault.adopt(corrected, keys, now)
        return _Whose(corrected, None, seen)
    identity = _identity(facts["patient"], arrival, services.alliance.sites)
    first = [] if corrected is not None else keys
    enrolled = services.vault.enroll(identity, at=now, data_keys=first, arrival_id=arrival.id)
    whose = enrolled.pseudonym
    if corrected is not None:
        with services.catalogue.read() as conn:
            if corrections.was_corrected(conn, study_id, enrolled.pseudonym, corrected):
                whose = corrected
        services.vault.adopt(whose, keys, now)
        if whose != enrolled.pseudonym:
            services.vault.disown(enrolled.pseudonym, [arrival.id], keys, who="teleread", at=now)
    return _Whose(whose, enrolled, seen)


def derived_key(arrival_id: str, name: str, blob: bytes) -> str:
    """Where a derived object lies. Other bytes, made after a fix, lie elsewhere; nothing is written over."""
    return f"derived/{PIPELINE_VERSION}/{arrival_id}/{hashlib.sha256(blob).hexdigest()[:16]}-{name}"


def _begin(services: Services, arrival_id: str) -> tuple[Row[Any], int]:
    with services.catalogue.read() as conn:
        mark = sweeping.mark(conn)
        arrival = conn.execute(select(arrivals).where(arrivals.c.id == arrival_id)).one_or_none()
    if arrival is None:
        raise Conflict("no_such_arrival", "No arrival has this id.")
    return arrival, mark


def _identity(patient: dict[str, Any], arrival: Row[Any], sites: Collection[str]) -> Identity:
    """The vault's key of a patient. Without an identifier of their own, two arrivals are two patients.

    A header may name any issuer. One that is another member's own is not believed, because whoever made up such a
    header would be shown that member's patient: the identifier is this site's, given in the other's name.
    """
    born = patient["birth_date"]
    nobody = placeholder(arrival.id)
    issuer = str(patient["issuer"])
    if issuer != arrival.site_id and issuer.strip().casefold() in {site.casefold() for site in sites}:
        issuer = f"{arrival.site_id}:{issuer}"
    return Identity(
        issuer=issuer if patient["id"] else nobody.issuer,
        patient_id=str(patient["id"] or nobody.patient_id),
        name=patient["name"],
        birth_date=None if born is None else date.fromisoformat(born),
        sex=patient["sex"],
    )


def _record(conn: Connection, services: Services, arrival: Row[Any], prepared: _Prepared) -> str:
    # a failure of another process, a time-out perhaps, does not stand against what we have read
    if _locked_state(conn, arrival.id) == "prepared":
        return "prepared"
    now = services.clock()
    facts = prepared.facts
    whose = prepared.whose
    study_id = records.put_study(conn, arrival, facts, whose.pseudonym, now)
    standing = conn.scalar(select(studies.c.patient_pseudonym).where(studies.c.id == (arrival.study_id or study_id)))
    if standing not in {whose.seen, whose.pseudonym}:
        raise StorageError("identity_changed", "Whose the study is was corrected meanwhile; prepare it again.")
    records.put_instance(conn, arrival, facts, study_id, now)
    recording = facts.get("recording")
    if recording is not None:
        records.put_recording(conn, arrival, recording, facts.get("device", ""), now)
    # said while the copy was being made: it is an orphan then, which the sweeper removes
    withheld = consent.refuses(
        conn,
        arrival.id,
        study_id=arrival.study_id or study_id,
        same_as=[one.arrival_id for one in prepared.same],
    )
    for name, (item, lineage) in prepared.stored.items():
        if withheld and lineage.project is not None:
            continue
        records.put_derived(conn, arrival, name, item, lineage, now)
    # one that was parted from its study by a correction of identity stays apart
    study_id = arrival.study_id or study_id
    once = same_recordings.note(conn, arrival, facts, prepared.same, pseudonym=whose.pseudonym, at=now)
    if whose.enrolled is not None:
        note_patient(
            conn,
            enrolled=whose.enrolled,
            identified=bool(facts["patient"]["id"]),
            arrival_id=arrival.id,
            site_id=arrival.site_id,
            study_id=study_id,
            acquired_at=records.acquired_at(facts),
            at=now,
            once=once,
        )
        same_recordings.ask_whose(conn, arrival, prepared.same, pseudonym=whose.pseudonym, at=now)
    state = _settle(conn, arrival.id, facts["failure"], now)
    conn.execute(
        update(arrivals)
        .where(arrivals.c.id == arrival.id)
        .values(state=state, prepared_at=now, study_id=study_id, kind="ecg" if recording else arrival.kind)
    )
    detail = {"copy": "consent_refused"} if withheld else None
    audit.record(
        conn,
        at=now,
        actor="teleread",
        action="prepare",
        object_type="arrival",
        object_id=arrival.id,
        detail=detail,
    )
    return state


def _settle(conn: Connection, arrival_id: str, failure: dict[str, str] | None, now: datetime) -> str:
    """Into quarantine or out of it; gives the arrival's state."""
    if failure is not None:
        records.quarantine_arrival(conn, arrival_id, failure["code"], failure["safe_message"], now)
        return "quarantined"
    conn.execute(
        update(quarantine)
        .where(quarantine.c.arrival_id == arrival_id, quarantine.c.resolved_at.is_(None))
        .values(resolved_at=now)
    )
    return "prepared"


def _set_aside(services: Services, arrival_id: str, code: str, safe_message: str) -> str:
    with services.catalogue.write() as conn:
        if (state := _locked_state(conn, arrival_id)) != "landed":
            return state
        records.quarantine_arrival(conn, arrival_id, code, safe_message, services.clock())
    return "quarantined"


def _locked_state(conn: Connection, arrival_id: str) -> str:
    """The state as it is now: another process may have prepared the arrival while we did, and was first."""
    query = select(arrivals.c.state).where(arrivals.c.id == arrival_id).with_for_update()
    return str(conn.execute(query).scalar_one())

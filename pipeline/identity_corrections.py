"""Correcting whose a case is: opened by its clinic or a reader, closed by naming the patient or by confirming.

Between the two the case keeps its place, its priority and its readers; what would be given back is held, and
everyone who acknowledged is told, at the beginning and at the end. A signed report's text is never changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Row, or_, select, update

from teleread.errors import AccessDenied, Conflict, InputRejected, TelereadError
from teleread.pipeline.correction_moves import Whose, arrivals_of, drop_export_copies, move_case
from teleread.pipeline.correction_notes import CorrectionNote, correction_notes, note_correction, noted_at
from teleread.pipeline.key_holders import disown_left as disown_left  # part of the daily round
from teleread.pipeline.key_holders import settle_keys
from teleread.pipeline.services import Services
from teleread.reading import corrections, notices, persons, questions
from teleread.reading.corrections import HELD, RECALL, Correction
from teleread.storage import audit
from teleread.storage.catalogue.schema import arrivals, deliveries, identity_corrections, reports
from teleread.storage.vault import Identity

CORRECTED, CONFIRMED = "identity_corrected", "identity_confirmed"
_LOST = "corrected after the backup: name the patient again"
_AT_ONCE = 500
_PUSHED = ("dicom", "folder")  # channels over which a report has left; a page shows what holds now


def open_correction(services: Services, case_id: str, *, reason: str, who: str, site_id: str | None = None) -> str:
    """Put a case's identity under correction; one that is stays as it is.

    Args:
        site_id: of a clinic's account, which corrects its own cases alone; None for a reader.

    Returns:
        The correction's id.

    Raises:
        InputRejected: ``reason_missing`` or ``reason_too_long``.
        AccessDenied: ``not_found``.
        StorageError: it was not opened.
    """
    with services.catalogue.read() as conn:
        before = notices.viewers(conn, corrections.family(conn, case_id))
    with services.catalogue.write() as conn:
        return begin_correction(
            conn, case_id, reason=reason, who=who, from_site=site_id, at=services.clock(), before=before
        )


def begin_correction(
    conn: Connection,
    case_id: str,
    *,
    reason: str,
    who: str,
    from_site: str | None,
    at: datetime,
    before: notices.Known | None,
) -> str:
    """:func:`open_correction` inside the caller's transaction.

    Args:
        before: who had looked at the report, read before the transaction, which then reads little.
    """
    reason = persons.checked_reason(reason)
    item = _locked(conn, case_id, from_site)
    if (known := corrections.open_correction(conn, case_id)) is not None:
        return known.id
    key = corrections.write_down(conn, case_id, pseudonym=item.patient_pseudonym, reason=reason, opened_by=who, at=at)
    _record(conn, at, who, "correction_open", case_id, {"correction": key})
    cases = corrections.family(conn, case_id)
    names = (notices.signers(conn, cases) | notices.viewers(conn, cases, before).accounts) - {who}
    given = _given_back(conn, cases) is not None
    site_id = item.site_id if given or from_site != item.site_id else None
    notices.tell(conn, case_id, HELD, names, site_id, at)
    return key


def confirm(services: Services, case_id: str, *, who: str, site_id: str | None = None) -> None:
    """Close a case's correction: it was the right patient. What was held is given back.

    Raises:
        AccessDenied: ``not_found``.
        Conflict: ``no_open_correction``.
    """
    now = services.clock()
    with services.catalogue.read() as conn:
        before = notices.viewers(conn, corrections.family(conn, case_id))
    with services.catalogue.write() as conn:
        _locked(conn, case_id, site_id)
        current = _current(conn, case_id)
        _close(conn, current, "confirmed", current.pseudonym or None, who, now, before)


def correct(services: Services, case_id: str, *, identity: Identity, who: str, site_id: str | None = None) -> str:
    """Close a case's correction by naming the right patient, and give back under that name.

    The case, its study and its work items are that patient's from now on; the analysis stays, copies for export,
    which carry the other patient's pseudonym, do not.
    A report that had left by folder or DICOM leaves again, the same version and text, as a document of its own.

    Returns:
        The patient's pseudonym.

    A clinic names its own patients, or those of the issuer whose number the case has already: of others' patients it
    would be shown the names. A known patient's name stays whatever is typed; where it differs, a reader is asked.

    Raises:
        InputRejected: ``patient_id_missing``; ``issuer_foreign`` for a clinic, ``issuer_unknown`` for a reader.
        AccessDenied: ``not_found``.
        Conflict: ``no_open_correction``; ``case_without_study``: nothing could be read, so that it names nobody.
        StorageError: nothing was corrected; try again.
    """
    if not identity.patient_id.strip() or not identity.issuer.strip():
        raise InputRejected("patient_id_missing", "Name the patient's number and whose number it is.")
    with services.catalogue.read() as conn:
        current = _current(conn, case_id)
        before = notices.viewers(conn, corrections.family(conn, case_id))
        rows = arrivals_of(conn, case_id)
    if site_id is not None and current.site_id != site_id:
        raise AccessDenied("not_found", "There is nothing here.")
    if not any(row.study_id for row in rows):
        raise Conflict("case_without_study", "Nothing of this case could be read, so it names nobody.")
    now = services.clock()
    _check_issuer(services, identity.issuer, current, site_id, who, now)
    roots = sorted({row.sha256 for row in rows})
    try:
        whose = _enroll(services, identity, case_id, rows, who, now)
        pseudonym = whose.enrolled.pseudonym
        # another name, birth date or sex of a known patient is not taken over by itself: it is asked about
        outcome = "corrected" if pseudonym != current.pseudonym else "confirmed"
        recall = False
        with services.catalogue.write() as conn:
            _locked(conn, case_id, site_id)
            if _current(conn, case_id).id != current.id:
                raise Conflict("no_open_correction", "This case's identity is not under correction.")
            if outcome == "corrected":
                persons.know_patients(
                    conn,
                    [{"pseudonym": pseudonym, "site_id": current.site_id, "first_seen_at": now, "identified": True}],
                )
                move_case(conn, case_id, whose, now)
                drop_export_copies(conn, [row.id for row in rows])
                recall = _give_again(conn, corrections.family(conn, case_id))
            _close(conn, current, outcome, pseudonym, who, now, before)
            if recall:
                _tell_to_recall(conn, current, now)
            if "name" in whose.enrolled.changed:
                _ask_name(conn, current, rows[0].id, pseudonym, now)
    except TelereadError:
        settle_keys(services, roots, who=who)  # the patient who was named in vain holds nothing of it
        raise
    settle_keys(services, roots, who=who)
    if outcome == "corrected":
        first = rows[0]
        note_correction(
            services.store, correction_id=current.id, case_id=case_id, arrival_id=first.id, sha256=first.sha256, at=now
        )
    return pseudonym


def reopen_lost_corrections(services: Services) -> int:
    """After a restore: put every case under correction that was corrected after the backup.

    Who the right patient was stands nowhere but in what was lost, so somebody has to say it again; until then nothing
    is given back under the wrong name. A case that is not queued yet waits for the next call. The same again changes
    nothing.

    Returns:
        How many were opened.

    Raises:
        StorageError: store or catalogue did not answer; call again.
    """
    opened = 0
    for note, case_id in _lost(services):
        if (at := noted_at(services.store, note)) is None:
            continue
        with services.catalogue.read() as conn:
            before = notices.viewers(conn, corrections.family(conn, case_id))
        with services.catalogue.write() as conn:
            if corrections.lock_case(conn, case_id) is None or _opened_since(conn, case_id, at):
                continue
            begin_correction(
                conn, case_id, reason=_LOST, who="teleread", from_site=None, at=services.clock(), before=before
            )
            opened += 1
    return opened


def _lost(services: Services) -> Iterator[tuple[CorrectionNote, str]]:
    """Notes of corrections that the catalogue does not know, each with the case of its arrival."""
    notes = correction_notes(services.store)
    while some := list(islice(notes, _AT_ONCE)):
        query = select(identity_corrections.c.id).where(
            identity_corrections.c.id.in_([note.correction_id for note in some])
        )
        with services.catalogue.read() as conn:
            known = set(conn.scalars(query))
            lost = [note for note in some if note.correction_id not in known]
            ours = arrivals.c.id.in_([note.arrival_id for note in lost]), arrivals.c.case_id.is_not(None)
            cases = {
                row.id: row.case_id for row in conn.execute(select(arrivals.c.id, arrivals.c.case_id).where(*ours))
            }
        yield from ((note, cases[note.arrival_id]) for note in lost if note.arrival_id in cases)


def _opened_since(conn: Connection, case_id: str, at: datetime) -> bool:
    query = select(identity_corrections.c.id).where(
        identity_corrections.c.case_id == case_id,
        or_(identity_corrections.c.closed_at.is_(None), identity_corrections.c.opened_at >= at),
    )
    return conn.execute(query.limit(1)).first() is not None


def issuers(services: Services, own: Iterable[str | None], site_id: str | None = None) -> list[str]:
    """Whose patient numbers somebody may name, the likeliest first.

    Args:
        own: the issuer of the number that the case has, and the case's site, as far as they are known.
        site_id: of a clinic's account, which names these alone; None for a reader, who may name every known one.
    """
    known = [*services.alliance.sites, *services.alliance.issuers] if site_id is None else []
    return list(dict.fromkeys(one for one in (*own, *known) if one))


def _check_issuer(
    services: Services, issuer: str, current: Correction, site_id: str | None, who: str, at: datetime
) -> None:
    if issuer in issuers(services, [current.site_id], site_id):
        return
    cases = [current.case_id]
    known = services.vault.join([current.pseudonym], who=who, why="correct_identity", case_ids=cases, at=at)
    if issuer in {one.issuer for one in known.values()}:
        return
    if site_id is not None:
        raise InputRejected("issuer_foreign", "A clinic names its own patients; a reader names another issuer's.")
    raise InputRejected("issuer_unknown", "Nobody of this alliance issues patient numbers under this name.")


def _ask_name(conn: Connection, current: Correction, arrival_id: str, pseudonym: str, at: datetime) -> None:
    questions.ask(
        conn,
        "other_name",
        [current.id, pseudonym],
        site_id=current.site_id,
        pseudonym=pseudonym,
        arrival_id=arrival_id,
        at=at,
    )


def _enroll(
    services: Services, identity: Identity, case_id: str, rows: list[Row[Any]], who: str, at: datetime
) -> Whose:
    # the objects' keys go to the patient whose they are: they live and die with that entry
    keys = [services.store.data_key(row.sha256) for row in rows]
    enrolled = services.vault.enroll(identity, at=at, data_keys=keys, arrival_id=rows[0].id, typed=True)
    # the vault may know more of this patient than was typed; of the former one nothing may stay
    joined = services.vault.join([enrolled.pseudonym], who=who, why="correct_identity", case_ids=[case_id], at=at)
    known = joined.get(enrolled.pseudonym, identity)
    return Whose(enrolled, identity.sex or known.sex, identity.birth_date or known.birth_date)


def _close(
    conn: Connection,
    current: Correction,
    outcome: str,
    pseudonym: str | None,
    who: str,
    at: datetime,
    before: notices.Known,
) -> None:
    cases = corrections.family(conn, current.case_id)
    corrections.close_all(conn, cases, outcome=outcome, new_pseudonym=pseudonym, who=who, at=at)
    left = current.pseudonym if outcome == "corrected" else None
    questions.settle_case(conn, current.case_id, who=who, at=at, left=left)
    conn.execute(
        update(deliveries)
        .where(
            deliveries.c.error_code == HELD,
            deliveries.c.report_id.in_(select(reports.c.id).where(reports.c.case_id.in_(cases))),
        )
        .values(error_code=None)
    )
    _record(conn, at, who, "correction_close", current.case_id, {"correction": current.id, "outcome": outcome})
    names = notices.told(conn, current.case_id, HELD, current.opened_at)
    names |= notices.signers(conn, cases) | notices.viewers(conn, cases, before).accounts | {current.opened_by}
    code = CORRECTED if outcome == "corrected" else CONFIRMED
    notices.tell(conn, current.case_id, code, names - {who}, current.site_id, at)


def _give_again(conn: Connection, cases: list[str]) -> bool:
    """The newest report that left over a channel leaves once more; older versions stand behind it as before.

    Returns:
        Whether there is one: it lies in the site's system under the wrong name.
    """
    report_id = _given_back(conn, cases, _PUSHED)
    if report_id is not None:
        conn.execute(
            update(deliveries)
            .where(deliveries.c.report_id == report_id)
            .values(delivered_at=None, tried_at=None, attempts=0, error_code=CORRECTED)
        )
    return report_id is not None


def _tell_to_recall(conn: Connection, current: Correction, at: datetime) -> None:
    """The site in whose system it lies, also when its own account corrected it, and the readers whose report it is."""
    names = notices.signers(conn, corrections.family(conn, current.case_id))
    notices.tell(conn, current.case_id, RECALL, names, current.site_id, at)


def _given_back(conn: Connection, cases: list[str], channels: tuple[str, ...] = (*_PUSHED, "web")) -> str | None:
    query = (
        select(reports.c.id)
        .join(deliveries, deliveries.c.report_id == reports.c.id)
        .where(
            reports.c.case_id.in_(cases),
            deliveries.c.delivered_at.is_not(None),
            deliveries.c.channel.in_(channels),
        )
        .order_by(reports.c.signed_at.desc(), reports.c.version.desc())
        .limit(1)
    )
    return conn.scalar(query)


def _locked(conn: Connection, case_id: str, site_id: str | None) -> Row[Any]:
    item = corrections.lock_case(conn, case_id)
    if item is None or (site_id is not None and item.site_id != site_id):
        raise AccessDenied("not_found", "There is nothing here.")
    return item


def _current(conn: Connection, case_id: str) -> Correction:
    current = corrections.open_correction(conn, case_id)
    if current is None:
        raise Conflict("no_open_correction", "This case's identity is not under correction.")
    return current


def _record(conn: Connection, at: datetime, who: str, action: str, case_id: str, detail: dict[str, str]) -> None:
    audit.record(conn, at=at, actor=who, action=action, object_type="case", object_id=case_id, detail=detail)

"""Step 4, give back: a signed report goes to the site that the study came from."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, or_, select, update

from teleread.errors import Conflict, PeerError, TelereadError
from teleread.ingest.reports_out import Evidence, OutgoingReport, basic_text_sr, deliver
from teleread.pipeline.ledger import CatalogueLedger
from teleread.pipeline.services import Services
from teleread.reading import notices
from teleread.reading.corrections import HELD, RECALL, family, how_often_corrected, is_under_correction, lock_case
from teleread.reading.corrections import open_correction as correction_of
from teleread.reading.worklist import origin_of
from teleread.signal.ecg import Patient
from teleread.storage import audit
from teleread.storage.catalogue.schema import arrivals, deliveries, instances, reports, series, studies, work_items

_RETRY_MIN = (1, 2, 5, 15)


def give_back(services: Services, report_id: str) -> bool:
    """Deliver one report over its site's channel; a delivered one is left as it is.

    The patient's identity is joined from the vault for the delivery alone and stored nowhere. While the case's
    identity is under correction nothing is given back: the report is held, with this reason.

    Returns:
        True when this call delivered it, False when it had been delivered before or is held.

    Raises:
        TelereadError: the site did not take it, or it could not be made; the next try is due later.
        Conflict: ``no_such_report``.
    """
    with services.catalogue.read() as conn:
        row = _load(conn, report_id)
        # whose it is is asked of the case that a consultation belongs to
        subject = "" if row is None else origin_of(conn, row.case_id, row.parent_id)
        held = row is not None and correction_of(conn, subject) is not None
        corrected = 0 if row is None else _corrections(conn, subject)
    if row is None:
        raise Conflict("no_such_report", "No report has this id.")
    if row.delivered_at is not None:
        return False
    if held:
        _hold(services, report_id)
        return False
    now = services.clock()
    connection = services.alliance.connection(row.site_id, now.date())
    # the way of today, which may have changed since the report was signed
    channel = row.channel if connection is None else connection.report_back
    if channel != "web":
        try:
            if connection is None:
                raise PeerError("site_not_connected", "The site has no connection today; its report waits.")
            outgoing = _outgoing(services, row, corrected, now)
            if channel == "dicom":
                _expect_back(services, row, outgoing)
            deliver(connection, outgoing)
        except TelereadError as error:
            with services.catalogue.write() as conn:
                conn.execute(
                    update(deliveries)
                    .where(deliveries.c.report_id == report_id)
                    .values(attempts=deliveries.c.attempts + 1, error_code=error.code, tried_at=now)
                )
            raise
    return _delivered(services, row, subject, channel, corrected, now)


def _delivered(services: Services, row: Row[Any], subject: str, channel: str, corrected: int, now: datetime) -> bool:
    """Write down that a report left, unless a correction holds it or has made what left another patient's."""
    delivered = {"channel": channel, "delivered_at": now, "error_code": None, "tried_at": now}
    with services.catalogue.write() as conn:
        lock_case(conn, subject)
        correction = correction_of(conn, subject)
        if correction is not None and channel == "web":
            conn.execute(update(deliveries).where(deliveries.c.report_id == row.id).values(error_code=HELD))
            return False
        if channel != "web" and _corrections(conn, subject) != corrected:
            # it named the patient of before: due at once, under the right name
            notices.tell(conn, subject, RECALL, [row.signed_by], row.site_id, now)
            return False
        done = conn.execute(
            update(deliveries)
            .where(deliveries.c.report_id == row.id, deliveries.c.delivered_at.is_(None))
            .values(**delivered, attempts=deliveries.c.attempts + 1)
        ).rowcount
        if done:
            audit.record(
                conn,
                at=now,
                actor="teleread",
                action="give_back",
                object_type="case",
                object_id=row.case_id,
                detail={"channel": channel, "version": row.version},
            )
        if done and correction is not None:
            # it was on its way when the correction was opened: the site is told, and gets it again at the end
            notices.tell(conn, subject, HELD, (), row.site_id, now)
    return bool(done)


def _corrections(conn: Connection, case_id: str) -> int:
    return max(how_often_corrected(conn, one) for one in family(conn, case_id))


def _hold(services: Services, report_id: str) -> None:
    with services.catalogue.write() as conn:
        conn.execute(
            update(deliveries)
            .where(deliveries.c.report_id == report_id, deliveries.c.delivered_at.is_(None))
            .values(error_code=HELD)
        )


def undelivered(conn: Connection, at: datetime, channels: Sequence[str]) -> list[tuple[str, str]]:
    """The reports that are due to be given back over these channels, oldest first: report and site.

    Those whose case is under correction are not due.
    """
    query = (
        select(deliveries.c.report_id, deliveries.c.site_id, deliveries.c.attempts, deliveries.c.tried_at)
        .join(reports, reports.c.id == deliveries.c.report_id)
        .where(
            deliveries.c.delivered_at.is_(None),
            deliveries.c.channel.in_(list(channels)),
            ~is_under_correction(reports.c.case_id),
            or_(deliveries.c.tried_at.is_(None), deliveries.c.tried_at < at),
        )
        .order_by(reports.c.signed_at)
    )
    return [
        (row.report_id, row.site_id)
        for row in conn.execute(query)
        if row.tried_at is None or row.tried_at + _pause(row) <= at
    ]


def _pause(row: Any) -> timedelta:
    return timedelta(minutes=_RETRY_MIN[min(max(row.attempts, 1), len(_RETRY_MIN)) - 1])


def _expect_back(services: Services, row: Row[Any], outgoing: OutgoingReport) -> None:
    """The PACS will list our own report at the next pull: it is ours, not a new study."""
    sent = basic_text_sr(outgoing)
    fingerprint = f"{sent.StudyInstanceUID}/{sent.SeriesInstanceUID}"
    CatalogueLedger(services, row.site_id).landed(str(sent.SOPInstanceUID), fingerprint, row.id)


def _load(conn: Connection, report_id: str) -> Row[Any] | None:
    query = (
        select(
            reports,
            deliveries.c.site_id,
            deliveries.c.channel,
            deliveries.c.delivered_at,
            arrivals.c.receipt,
            studies.c.study_uid,
            studies.c.patient_pseudonym,
            work_items.c.kind.label("item_kind"),
            work_items.c.parent_id,
        )
        .join(deliveries, deliveries.c.report_id == reports.c.id)
        .join(work_items, work_items.c.case_id == reports.c.case_id)
        .join(arrivals, arrivals.c.id == work_items.c.arrival_id)
        .outerjoin(studies, studies.c.id == work_items.c.study_id)
        .where(reports.c.id == report_id)
        .order_by(work_items.c.seq.desc())
        .limit(1)
    )
    return conn.execute(query).one_or_none()


def _outgoing(services: Services, row: Row[Any], corrected: int, now: datetime) -> OutgoingReport:
    patient: Patient | None = None
    if row.patient_pseudonym is not None:
        joined = services.vault.join(
            [row.patient_pseudonym], who="teleread", why="give_back", case_ids=[row.case_id], at=now
        )
        identity = joined.get(row.patient_pseudonym)
        if identity is not None:
            patient = Patient(
                id=identity.patient_id,
                issuer=identity.issuer,
                name=identity.name,
                birth_date=identity.birth_date,
                sex=identity.sex,
            )
    return OutgoingReport(
        receipt=row.receipt,
        version=row.version,
        # the study still stands under the other patient at the site: nothing of this one may be filed there
        study_uid=None if corrected else row.study_uid,
        patient=patient,
        evidence=() if corrected else _evidence(services, row),
        corrected=corrected,
        consultation=row.case_id[:8] if row.item_kind == "consultation" else "",
        utc_offset_minutes=services.alliance.utc_offset_minutes,
        organisation=services.alliance.name_en,
        text=row.text,
        critical=row.critical,
        signed_by=row.signed_by,
        signed_at=row.signed_at,
    )


def _evidence(services: Services, row: Row[Any]) -> tuple[Evidence, ...]:
    with services.catalogue.read() as conn:
        case_id = origin_of(conn, row.case_id, row.parent_id)  # a consultation's recording lies in the case that asked
    query = (
        select(series.c.series_uid, instances.c.sop_class_uid, instances.c.sop_uid)
        .join(instances, instances.c.series_id == series.c.id)
        .join(arrivals, arrivals.c.id == instances.c.arrival_id)
        .where(arrivals.c.case_id == case_id)
        .order_by(series.c.series_uid, instances.c.sop_uid)
        .distinct()
    )
    with services.catalogue.read() as conn:
        return tuple(Evidence(*found) for found in conn.execute(query))

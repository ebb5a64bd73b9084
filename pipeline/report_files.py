"""A report on its way to a clinic's hands: as JSON that can be checked offline, and as a sheet to print.

The patient's identity is joined from the vault for these files alone and stored nowhere; where the vault does not
answer, the receipt number joins the sheet to the patient.
"""

from __future__ import annotations

import json
from datetime import timedelta, timezone
from typing import Any

import numpy as np
from sqlalchemy import select

from teleread.errors import StorageError
from teleread.pipeline.services import Services
from teleread.pipeline.verdict import Verdict
from teleread.reading import report_sheet, reports
from teleread.reading.documents import NOTICE, as_file
from teleread.reading.report_sheet import Printed
from teleread.reading.reports import Report
from teleread.reading.sheet_files import pdf_files
from teleread.signal.ecg.record import Filters
from teleread.signal.ecg.sheet import draw_sheet
from teleread.signal.ecg.sheet_layout import SheetContent, Statement
from teleread.signal.ecg.sheet_text import filter_text
from teleread.storage.catalogue.lookups import derived_key
from teleread.storage.catalogue.schema import arrivals, studies
from teleread.storage.vault.identity import Identity


def report_json(services: Services, found: Verdict, *, who: str) -> bytes:
    """Every version that was given back, with what is needed to check it, and whose it is.

    ``teleread report verify`` reads it. Versions that were signed before there were signatures stand under
    ``unsigned``.
    """
    patient = _identity(services, found, who)
    with services.catalogue.read() as conn:
        bundles = [(one, reports.bundle(conn, one)) for one in found.reports]
        beside = [reports.bundle(conn, one) for one in found.consultations]
    body = json.loads(as_file([bundle for _one, bundle in bundles if bundle is not None]))
    if beside:
        body["consultations"] = [bundle.plain() for bundle in beside if bundle is not None]
    body |= {
        "receipt": found.receipt,
        "in_force": None if found.report is None else found.report.id,
        "notice": NOTICE,
        "patient": None if patient is None else _plain_patient(patient),
        "identity_under_correction": found.under_correction,
        "unsigned": [
            {"id": one.id, "version": one.version, "text": one.text, "signed_by": one.signed_by}
            for one, bundle in bundles
            if bundle is None
        ],
    }
    return (json.dumps(body, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode("utf-8")


def report_pdf(services: Services, found: Verdict, language: str, *, who: str) -> bytes:
    """The report as a sheet: its words, then the tracing at 25 mm/s and 10 mm/mV.

    The same report gives the same bytes, as long as the patient is named the same.
    """
    if found.report is None:
        raise AssertionError("a sheet is made of a report that was given back")
    patient = _identity(services, found, who)
    zone = timezone(timedelta(minutes=services.alliance.utc_offset_minutes))
    printed = Printed(
        alliance=services.alliance.name_zh if language == "zh" else services.alliance.name_en,
        receipt=found.receipt,
        person=_person(services, found, patient),
        report=found.report,
        addenda=found.addenda,
        consultations=found.consultations,
        earlier=found.earlier,
        under_correction=found.under_correction,
        zone=zone,
        language=language,
    )
    pages = list(report_sheet.draw(printed))
    content = _tracing(services, found.arrival_id, found.report, printed)
    pages += [] if content is None else draw_sheet(content)
    return pdf_files(pages)[0]


def _tracing(services: Services, arrival_id: str, report: Report, printed: Printed) -> SheetContent | None:
    """The recording with the reader's statements beside it, none of the program's; None where there is none."""
    with services.catalogue.read() as conn:
        keys = [derived_key(conn, arrival_id, name) for name in ("display.json", "wave.i16", "analysis.json")]
    if keys[0] is None or keys[1] is None:
        return None
    display = json.loads(services.store.get(keys[0]))
    analysis = {} if keys[2] is None else json.loads(services.store.get(keys[2]))
    language, document = printed.language, report.content
    said = [] if document is None else document["content"]["statements"]
    filters = Filters(**display["filters"])
    return SheetContent(
        signals_mv=samples_mv(display, services.store.get(keys[1])),
        leads=tuple(display["leads"]),
        fs_hz=display["fs_hz"],
        title=printed.receipt,
        person=report_sheet.person_lines(printed),
        facts=report_sheet.facts(document, language),
        statements=tuple(Statement(one[language], alert=one["critical"]) for one in said),
        filters=filter_text(filters, language, analysis.get("not_judged", ())),
        language=language,
        signed=report_sheet.signed_line(report, printed),
    )


def samples_mv(display: dict[str, Any], wave: bytes) -> np.ndarray:
    """The samples of a stored display, shape (n_leads, n), in mV; NaN where missing."""
    steps = np.frombuffer(wave, "<i2").reshape(len(display["leads"]), display["n_samples"])
    offsets = np.array(display.get("offset_uv") or [0.0] * len(steps))[:, np.newaxis]
    uv = np.where(steps == display["missing"], np.nan, steps * display["uv_per_step"] + offsets)
    return np.asarray(uv / 1000.0, dtype=np.float64)


def _identity(services: Services, found: Verdict, who: str) -> Identity | None:
    """Whose it is; None where nobody is named, or the vault does not answer."""
    pseudonym = found.patient_pseudonym
    if pseudonym is None:
        return None
    case_id = found.case_id or found.arrival_id
    try:
        joined = services.vault.join([pseudonym], who=who, why="give_back", case_ids=[case_id], at=services.clock())
    except StorageError:
        return None
    return joined.get(pseudonym)


def _person(services: Services, found: Verdict, patient: Identity | None) -> report_sheet.Person:
    sex, age, acquired = None, None, None
    with services.catalogue.read() as conn:
        row = conn.execute(_study(found.arrival_id)).one_or_none()
    if row is not None:
        acquired, sex, age = row
    site = services.alliance.sites.get(found.site_id)
    return report_sheet.Person(
        name=None if patient is None else patient.name,
        # a number of our own, made where the file had none, is nobody's patient number
        patient_id=None if patient is None or patient.issuer == "teleread" else patient.patient_id,
        sex=sex,
        age_years=age,
        site=(site.name_zh, site.name_en) if site else (found.site_id, found.site_id),
        acquired_at=acquired,
    )


def _study(arrival_id: str) -> Any:
    return (
        select(studies.c.acquired_at, studies.c.patient_sex, studies.c.patient_age_years)
        .join(arrivals, arrivals.c.study_id == studies.c.id)
        .where(arrivals.c.id == arrival_id)
    )


def _plain_patient(patient: Identity) -> dict[str, str | None]:
    return {
        "id": patient.patient_id,
        "issuer": patient.issuer,
        "name": patient.name,
        "birth_date": None if patient.birth_date is None else patient.birth_date.isoformat(),
        "sex": patient.sex,
    }

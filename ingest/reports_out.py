"""Giving a signed report back to the hospital: a file in its folder, or a Basic Text SR in its PACS.

Whatever way it goes, the same version of a report is the same file, the same object under the same UIDs: sending it
twice changes nothing at the other end.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID
from pynetdicom.presentation import build_context

from teleread.alliance import Connection
from teleread.errors import Misconfigured, PeerError
from teleread.ingest.sources.dimse import associate
from teleread.ingest.sources.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from teleread.signal.ecg.record import Patient

BASIC_TEXT_SR = "1.2.840.10008.5.1.4.1.1.88.11"
IDENTITY_CORRECTED = "身份已更正，以本文为准 IDENTITY CORRECTED, replaces what was given back under this receipt before"
CONSULTATION = "专科会诊报告 CONSULTATION of specialists, beside the report under this receipt"
_EXPLICIT = "1.2.840.10008.1.2.1"
_NOT_IN_LINE = re.compile(r"[\\\x00-\x1f\x7f]")
_NOT_IN_TEXT = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")
_RECEIPT = re.compile(r"[A-Za-z0-9-]{1,32}")


@dataclass(frozen=True, slots=True)
class Evidence:
    """An object that the reader judged."""

    series_uid: str
    sop_class_uid: str
    sop_uid: str


@dataclass(frozen=True, slots=True)
class OutgoingReport:
    """A signed report on its way home.

    Args:
        receipt: the number that the clinic was given; with ``version`` it names the report for good.
        text: as signed.
        signed_by: the reader as the clinic is to see it.
        signed_at: aware.
        study_uid: None when the recording came without one (a file of a cart).
        patient: None when the vault could not say; the receipt then joins report and patient at the clinic.
        accession_number, study_id, study_date, study_time: as the study has them, "" when unknown.
        utc_offset_minutes: of the dates and times in the SR.
        corrected: how often the case was given another patient's identity. What left before names another patient,
            so what leaves now is a document, and in a PACS a study, of its own; its text is the one that was signed.
        consultation: what names it among the consultations under this receipt, letters and digits; "" for the report
            itself. It is a document of its own, in the same study.
    """

    receipt: str
    version: int
    text: str
    critical: bool
    signed_by: str
    signed_at: datetime
    study_uid: str | None = None
    patient: Patient | None = None
    evidence: tuple[Evidence, ...] = ()
    accession_number: str = ""
    study_id: str = ""
    study_date: str = ""
    study_time: str = ""
    organisation: str = "teleread"
    language: str = "zh"
    utc_offset_minutes: int = 480
    corrected: int = 0
    consultation: str = ""

    def __post_init__(self) -> None:
        if not _RECEIPT.fullmatch(self.receipt) or self.version < 1:
            raise ValueError("a receipt is letters, digits and hyphens, a version counts from one")
        if self.consultation and not (self.consultation.isascii() and self.consultation.isalnum()):
            raise ValueError("a consultation is named by letters and digits")
        if self.signed_at.tzinfo is None:
            raise ValueError("signed_at must be aware")


def deliver(connection: Connection, report: OutgoingReport, *, monotonic: Callable[[], float] = time.monotonic) -> None:
    """Give a report back by the connection's ``report_back`` channel; for ``web`` there is nothing to send.

    Raises:
        PeerError: codes of ``associate``, ``folder_missing``, ``folder_denied``, ``folder_unwritable``: try again.
        Misconfigured: ``report_path_missing``.
    """
    if connection.report_back == "folder":
        if connection.report_path is None:
            raise Misconfigured("report_path_missing", "The connection names no folder for reports.")
        write_files(connection.report_path, report)
    elif connection.report_back == "dicom":
        store_sr(connection, basic_text_sr(report), monotonic=monotonic)


def write_files(folder: Path, report: OutgoingReport) -> None:
    """Write ``<receipt>-v<version>.txt`` and ``.json``, each whole or not at all; the JSON last, so that it may be
    taken as the sign that both are there. After a correction of identity the name ends in ``-c<number>``; a
    consultation's report bears its name before the version.

    Raises:
        PeerError: see ``deliver``.
    """
    name = "-".join(part for part in (report.receipt, report.consultation, f"v{report.version}") if part)
    name += f"-c{report.corrected}" if report.corrected else ""
    try:
        folder.mkdir(exist_ok=True)
        _write(folder, f"{name}.txt", as_text(report).encode())
        _write(folder, f"{name}.json", as_json(report).encode())
    except PermissionError as error:
        raise PeerError("folder_denied", "The folder for reports may not be written to.") from error
    except (FileNotFoundError, NotADirectoryError, FileExistsError) as error:
        raise PeerError("folder_missing", "The folder for reports is not there.") from error
    except OSError as error:
        raise PeerError("folder_unwritable", "The folder for reports cannot be written to.") from error


def as_json(report: OutgoingReport) -> str:
    """The report for a program: stable order, UTF-8."""
    patient = report.patient
    document = {
        "receipt": report.receipt,
        "version": report.version,
        **({"consultation": report.consultation} if report.consultation else {}),
        "text": report.text,
        "critical": report.critical,
        "signed_by": report.signed_by,
        "signed_at": report.signed_at.isoformat(),
        "study_uid": report.study_uid,
        "identity_corrections": report.corrected,
        "patient": None
        if patient is None
        else {
            "id": patient.id,
            "issuer": patient.issuer,
            "name": patient.name,
            "birth_date": None if patient.birth_date is None else patient.birth_date.isoformat(),
            "sex": patient.sex,
        },
    }
    return json.dumps(document, ensure_ascii=False, indent=2, sort_keys=True) + "\n"


def as_text(report: OutgoingReport) -> str:
    """The report for a person, in Chinese and English."""
    patient = report.patient or Patient()
    lines = [
        f"回执号 Receipt: {report.receipt}    版本 Version: {report.version}",
        f"患者 Patient: {patient.name or '—'}    {patient.id or '—'}",
    ]
    if report.consultation:
        lines.append(CONSULTATION)
    if report.corrected:
        lines.append(IDENTITY_CORRECTED)
    if report.critical:
        lines.append("危急值 CRITICAL RESULT")
    signed_at = _local(report).strftime("%Y-%m-%d %H:%M:%S %z")
    return "\n".join([*lines, "", report.text, "", f"签发 Signed: {report.signed_by}    {signed_at}", ""])


def _write(folder: Path, name: str, data: bytes) -> None:
    target = folder / name
    if target.is_file() and target.read_bytes() == data:
        return
    # the folder belongs to the hospital: a name of our choosing could be a link that somebody laid out there
    handle, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=folder)
    try:
        with open(handle, "wb") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError:
        os.unlink(temporary)
        raise
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def store_sr(connection: Connection, document: Dataset, *, monotonic: Callable[[], float] = time.monotonic) -> None:
    """C-STORE one SR.

    Raises:
        PeerError: codes of ``associate``; ``peer_failed`` when the peer does not store it.
    """
    deadline = monotonic() + connection.connect_timeout_s + 3 * connection.answer_timeout_s
    with associate(
        connection, [build_context(BASIC_TEXT_SR, _EXPLICIT)], deadline=deadline, monotonic=monotonic
    ) as peer:
        peer.store(document)


def basic_text_sr(report: OutgoingReport) -> Dataset:
    """A verified Basic Text SR (PS3.3 A.35.1, TID 2000) in explicit VR little endian, UIDs derived from the receipt.

    Without a study UID the report opens a study of its own, the same for all versions.
    """
    document = Dataset()
    document.file_meta = _file_meta(_uid("document", *_names(report), str(report.version)))
    document.SpecificCharacterSet = "ISO_IR 192"
    document.SOPClassUID = BASIC_TEXT_SR
    document.SOPInstanceUID = document.file_meta.MediaStorageSOPInstanceUID
    document.TimezoneOffsetFromUTC = _local(report).strftime("%z")
    _patient_and_study(document, report)
    _series(document, report)
    _general(document, report)
    _content(document, report)
    return document


def _file_meta(sop_uid: str) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = UID(BASIC_TEXT_SR)
    meta.MediaStorageSOPInstanceUID = UID(sop_uid)
    meta.TransferSyntaxUID = UID(_EXPLICIT)
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION
    return meta


def _patient_and_study(document: Dataset, report: OutgoingReport) -> None:
    patient = report.patient or Patient()
    document.PatientName = _line(patient.name)
    document.PatientID = _line(patient.id)
    if patient.issuer:
        document.IssuerOfPatientID = _line(patient.issuer)
    document.PatientBirthDate = "" if patient.birth_date is None else f"{patient.birth_date:%Y%m%d}"
    document.PatientSex = patient.sex or ""
    document.StudyInstanceUID = report.study_uid or _uid("study", *_of_study(report))
    document.StudyDate, document.StudyTime = report.study_date, report.study_time
    document.StudyID, document.AccessionNumber = report.study_id, report.accession_number
    document.ReferringPhysicianName = ""


def _series(document: Dataset, report: OutgoingReport) -> None:
    signed = _local(report)
    document.Modality = "SR"
    document.SeriesInstanceUID = _uid("series", *_names(report))
    document.SeriesNumber = 9001
    document.SeriesDate, document.SeriesTime = f"{signed:%Y%m%d}", f"{signed:%H%M%S}"
    document.SeriesDescription = "Tele-reading report"
    document.ReferencedPerformedProcedureStepSequence = []
    document.Manufacturer = "teleread"


def _general(document: Dataset, report: OutgoingReport) -> None:
    signed = _local(report)
    document.InstanceNumber = report.version
    document.CompletionFlag = "COMPLETE"
    document.VerificationFlag = "VERIFIED"
    document.ContentDate, document.ContentTime = f"{signed:%Y%m%d}", f"{signed:%H%M%S}"
    verifier = Dataset()
    verifier.VerifyingObserverName = _line(report.signed_by)
    verifier.VerifyingObserverIdentificationCodeSequence = []
    verifier.VerifyingOrganization = _line(report.organisation)
    verifier.VerificationDateTime = f"{signed:%Y%m%d%H%M%S%z}"
    document.VerifyingObserverSequence = [verifier]
    document.PerformedProcedureCodeSequence = []
    if report.evidence and report.study_uid:
        document.CurrentRequestedProcedureEvidenceSequence = [_references(report.study_uid, report.evidence)]
    if report.version > 1 and not report.corrected:
        before = Evidence(
            document.SeriesInstanceUID, BASIC_TEXT_SR, _uid("document", *_names(report), str(report.version - 1))
        )
        document.PredecessorDocumentsSequence = [_references(document.StudyInstanceUID, (before,))]


def _references(study_uid: str, objects: tuple[Evidence, ...]) -> Dataset:
    by_series: dict[str, list[Dataset]] = {}
    for one in objects:
        reference = Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = one.sop_class_uid, one.sop_uid
        by_series.setdefault(one.series_uid, []).append(reference)
    study = Dataset()
    study.StudyInstanceUID = study_uid
    study.ReferencedSeriesSequence = []
    for series_uid, references in by_series.items():
        series = Dataset()
        series.SeriesInstanceUID, series.ReferencedSOPSequence = series_uid, references
        study.ReferencedSeriesSequence.append(series)
    return study


def _content(document: Dataset, report: OutgoingReport) -> None:
    """TID 2000: language, observer, then the findings as signed; a critical result is a section of its own."""
    document.ValueType = "CONTAINER"
    document.ConceptNameCodeSequence = [_code("18748-4", "LN", "Diagnostic Imaging Report")]
    document.ContinuityOfContent = "SEPARATE"
    template = Dataset()
    template.MappingResource, template.TemplateIdentifier = "DCMR", "2000"
    document.ContentTemplateSequence = [template]
    country, name = ("CN", "Chinese") if report.language.startswith("zh") else ("US", "English")
    language = _item("HAS CONCEPT MOD", "CODE", _code("121049", "DCM", "Language of Content Item and Descendants"))
    language.ConceptCodeSequence = [_code(report.language[:2], "RFC5646", name)]
    where = _item("HAS CONCEPT MOD", "CODE", _code("121046", "DCM", "Country of Language"))
    where.ConceptCodeSequence = [_code(country, "ISO3166_1", "China" if country == "CN" else "United States")]
    language.ContentSequence = [where]
    observer = _item("HAS OBS CONTEXT", "PNAME", _code("121008", "DCM", "Person Observer Name"))
    observer.PersonName = _line(report.signed_by)
    document.ContentSequence = [language, observer]
    if report.corrected:
        said = _section("121111", "Summary", "121106", "Comment", IDENTITY_CORRECTED)
        document.ContentSequence.append(said)
    if report.consultation:
        document.ContentSequence.append(_section("121111", "Summary", "121106", "Comment", CONSULTATION))
    if report.critical:
        critical = _section("121072", "Impressions", "121073", "Impression", "危急值 Critical result")
        document.ContentSequence.append(critical)
    document.ContentSequence.append(_section("121070", "Findings", "121071", "Finding", report.text))


def _section(heading: str, heading_name: str, concept: str, concept_name: str, text: str) -> Dataset:
    section = _item("CONTAINS", "CONTAINER", _code(heading, "DCM", heading_name))
    section.ContinuityOfContent = "SEPARATE"
    body = _item("CONTAINS", "TEXT", _code(concept, "DCM", concept_name))
    body.TextValue = _NOT_IN_TEXT.sub(" ", text)
    section.ContentSequence = [body]
    return section


def _item(relationship: str, value_type: str, concept: Dataset) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType, item.ConceptNameCodeSequence = relationship, value_type, [concept]
    return item


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def _line(text: str | None) -> str:
    """One value of a short text element: no value separator, no control character, at most 64 characters."""
    return _NOT_IN_LINE.sub(" ", text or "")[:64].strip()


def _local(report: OutgoingReport) -> datetime:
    return report.signed_at.astimezone(timezone(timedelta(minutes=report.utc_offset_minutes)))


def _names(report: OutgoingReport) -> tuple[str, ...]:
    """What the UIDs follow from: another identity is another study, series and document, a consultation a series."""
    names = _of_study(report)
    return (*names, f"consultation {report.consultation}") if report.consultation else names


def _of_study(report: OutgoingReport) -> tuple[str, ...]:
    """The same for the study: a consultation's report lies beside the report itself."""
    return (report.receipt, f"corrected {report.corrected}") if report.corrected else (report.receipt,)


def _uid(*what: str) -> str:
    """A UID that the same words always give (PS3.5 annex B.2)."""
    digest = hashlib.sha256("\0".join(("teleread report", *what)).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"

"""DICOM waveforms with ECG leads: 12-lead, General, Ambulatory, 32-bit ECG, haemodynamics (PS3.3 A.34)."""

from __future__ import annotations

from datetime import tzinfo
from types import MappingProxyType

from pydicom.dataset import Dataset

from teleread.errors import InputRejected
from teleread.ingest import dicom_values as values
from teleread.ingest.dicom_file import dicom_boundary, parse, split
from teleread.ingest.formats import dicom_results as results
from teleread.ingest.formats.dicom_waveform import choose, common_filters, read_groups
from teleread.signal.ecg.record import Device, EcgRecord

_WAVEFORM_CLASSES = "1.2.840.10008.5.1.4.1.1.9."
_ECG_CLASSES = "1.2.840.10008.5.1.4.1.1.9.1."
MAX_ELEMENTS = 60_000
"""Nested ones included; recordings of carts have some thousands, and so many take most of a second to read."""
_PDF_CLASS = "1.2.840.10008.5.1.4.1.1.104.1"


def read_dicom(data: bytes, zone: tzinfo) -> EcgRecord:
    """The rhythm recording in a DICOM waveform object of any class; median beats are left out.

    Args:
        data: the whole file.
        zone: what a time without offset is in.

    Raises:
        InputRejected: ``dicom_pdf_no_waveform``, ``dicom_too_many_elements``, what ``dicom_waveform.read_groups`` and
            ``choose`` raise (among it ``dicom_no_waveform``, ``dicom_no_ecg_lead``, ``dicom_truncated``,
            ``ecg_no_scale``), and the codes of
            :func:`~teleread.ingest.dicom_file.read_dataset`.
    """
    parts = split(data)
    if parts.layout.elements > MAX_ELEMENTS:
        raise InputRejected("dicom_too_many_elements", f"More than {MAX_ELEMENTS} elements in one ECG.")
    dataset, big_endian = parse(parts), not parts.little_endian
    del parts  # a copy of the file
    with dicom_boundary():
        return _record(dataset, big_endian, zone)


def _record(dataset: Dataset, big_endian: bool, zone: tzinfo) -> EcgRecord:
    sop_class = values.ascii_text(dataset, 0x00080016)
    if sop_class == _PDF_CLASS:
        raise InputRejected("dicom_pdf_no_waveform", "The DICOM file holds a printed report (PDF) and no waveform.")
    other_class = sop_class.startswith(_WAVEFORM_CLASSES) and not sop_class.startswith(_ECG_CLASSES)
    chosen = choose(read_groups(dataset, big_endian), leads_only=other_class)
    declared = values.character_sets(dataset)
    patient, acquired_at = values.patient(dataset), values.acquired_at(dataset, zone)
    return EcgRecord(
        signals_mv=chosen.rows.signals_mv,
        leads=chosen.rows.leads,
        fs_hz=chosen.fs_hz,
        source_format="dicom",
        other_channels=chosen.others,
        derived_leads=(*(c.name for c in chosen.channels if c.is_derived), *chosen.rows.derived),
        annotations=results.marks(dataset, chosen, declared),
        filters=common_filters(chosen.channels),
        patient=patient,
        acquired_at=acquired_at,
        age_years=values.age_years(dataset, patient.birth_date, acquired_at),
        device=Device(
            manufacturer=values.text(dataset, 0x00080070, declared=declared),
            model=values.text(dataset, 0x00081090, declared=declared),
            serial=values.text(dataset, 0x00181000, declared=declared),
            software=values.text(dataset, 0x00181020, declared=declared),
        ),
        device_measurements=results.measurements(dataset, declared),
        device_statements=results.statements(dataset, declared),
        extra=MappingProxyType(({"sop_class": sop_class} if sop_class else {}) | chosen.doubts),
    )

"""DICOM ECG waveforms: 12-lead, General, General 32-bit and Ambulatory ECG (PS3.3 A.34.3 to A.34.5)."""

from __future__ import annotations

from datetime import tzinfo

import numpy as np
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from teleread.errors import InputRejected
from teleread.ingest import dicom_values as values
from teleread.ingest.dicom_file import dicom_boundary, parse, split
from teleread.ingest.formats.dicom_waveform import choose, common_filters, read_groups
from teleread.signal.ecg.record import Device, DeviceMeasurement, EcgRecord, with_derived_leads

MAX_ANNOTATIONS = 512


def read_dicom(data: bytes, zone: tzinfo) -> EcgRecord:
    """The rhythm recording in a DICOM waveform object; median beats are left out.

    Args:
        data: the whole file.
        zone: what a time without offset is in.

    Raises:
        InputRejected: ``dicom_no_ecg_lead``, what ``dicom_waveform.read_groups`` raises, and the codes of
            :func:`~teleread.ingest.dicom_file.read_dataset`.
    """
    parts = split(data)
    dataset = parse(parts)
    with dicom_boundary():
        return _record(dataset, not parts.little_endian, zone)


def _record(dataset: Dataset, big_endian: bool, zone: tzinfo) -> EcgRecord:
    main, channels, others = choose(read_groups(dataset, big_endian))
    if not channels:
        raise InputRejected("dicom_no_ecg_lead", "No channel of the waveform holds a voltage.")
    declared = values.character_sets(dataset)
    measurements, statements = _device_results(dataset, declared)
    patient, acquired_at = values.patient(dataset), values.acquired_at(dataset, zone)
    record = EcgRecord(
        signals_mv=np.vstack([c.samples for c in channels]),
        leads=tuple(c.name for c in channels),
        fs_hz=main.fs_hz,
        source_format="dicom",
        other_channels=tuple(others),
        filters=common_filters(channels),
        patient=patient,
        acquired_at=acquired_at,
        age_years=values.age_years(dataset, patient.birth_date, acquired_at),
        device=Device(
            manufacturer=values.text(dataset, 0x00080070, declared=declared),
            model=values.text(dataset, 0x00081090, declared=declared),
            serial=values.text(dataset, 0x00181000, declared=declared),
            software=values.text(dataset, 0x00181020, declared=declared),
        ),
        device_measurements=measurements,
        device_statements=statements,
    )
    return with_derived_leads(record)


def _device_results(dataset: Dataset, declared: list[str]) -> tuple[tuple[DeviceMeasurement, ...], tuple[str, ...]]:
    """Numbers about the whole recording and sentences that the device wrote beside the waveform (PS3.3 C.10.10)."""
    measurements: list[DeviceMeasurement] = []
    statements: list[str] = []
    for item in (dataset.get("WaveformAnnotationSequence") or [])[:MAX_ANNOTATIONS]:
        sentence = values.text(item, 0x00700006, 256, declared)
        if sentence:
            statements.append(sentence)
        found = _device_measurement(item, declared)
        if found:
            measurements.append(found)
    return tuple(measurements), tuple(statements)


def _device_measurement(item: Dataset, declared: list[str]) -> DeviceMeasurement | None:
    if 0x0040A30A not in item:
        return None
    names, units, value = (
        item.get(k) for k in ("ConceptNameCodeSequence", "MeasurementUnitsCodeSequence", "NumericValue")
    )
    channels = item.get("ReferencedWaveformChannels")
    whole_group = channels is None or (len(channels) == 2 and int(channels[1]) == 0)
    if not names or not whole_group or value is None or isinstance(value, MultiValue):
        return None
    number = float(value)
    if not np.isfinite(number):
        return None
    return DeviceMeasurement(
        name=values.text(names[0], 0x00080104, declared=declared) or "",
        value=number,
        unit=values.ascii_text(units[0], 0x00080100) if units else "",
        code=f"{values.ascii_text(names[0], 0x00080102)}:{values.ascii_text(names[0], 0x00080100)}",
    )

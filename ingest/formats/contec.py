"""The ``.ECG`` file that a Contec ECG90A stores on its card, as described for that model.

43 bytes of header (case, time, name, sex, age, weight), then eight unsigned numbers of 16 bits per sample at 800 Hz
(II, III, V1 to V6; 2048 is zero, 5 microvolts per step, 0x6800 an electrode that is off), then 37 bytes that begin
with a sample of zeros.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, tzinfo

import numpy as np

from teleread.errors import InputRejected
from teleread.ingest.dicom_values import clean, decode_bare
from teleread.ingest.formats.dicom_waveform import MAX_SAMPLES
from teleread.ingest.formats.format import Format, Head, Source
from teleread.signal.ecg.record import STANDARD_LEADS, Device, EcgRecord, LeadRows, Patient

_HEADER, _FOOTER, _FRAME = 43, 37, 16
_START = re.compile(rb"[\w-]{1,7}\0{3,9}(\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2})\0", re.DOTALL)
_STORED = ("II", "III", "V1", "V2", "V3", "V4", "V5", "V6")
_ZERO, _STEP_UV, _OFF, _FS_HZ = 2048, 5.0, 0x6800, 800.0
_SEXES = {0: "F", 1: "M"}
_MAX_AGE = 200


def _recognises(head: Head) -> bool:
    found = _START.match(head.data)
    return found is not None and found.start(1) == 10 and head.size >= _HEADER


def read_contec(source: Source) -> EcgRecord:
    """II, III and V1 to V6 as stored; I, aVR, aVL and aVF follow from II and III. While an electrode is off, its lead
    has no samples.

    Raises:
        InputRejected: ``contec_truncated``, ``contec_broken`` (numbers beyond that of an electrode that is off),
            ``contec_no_ecg_lead`` (no electrode was on), ``contec_too_large``.
    """
    data = source.data
    payload = len(data) - _HEADER - _FOOTER
    # the file ends in a sample of zeros and a few bytes more; without them it was cut
    if payload < _FRAME or payload % _FRAME or any(data[-_FOOTER : -_FOOTER + _FRAME]):
        raise InputRejected("contec_truncated", "The Contec file ends before the end of its recording.")
    if payload // _FRAME * len(STANDARD_LEADS) > MAX_SAMPLES:
        raise InputRejected("contec_too_large", "The Contec file holds more samples than can be read.")
    stored = np.frombuffer(data, "<u2", offset=_HEADER, count=payload // 2).reshape(-1, len(_STORED)).T
    if stored.max() > _OFF:
        raise InputRejected("contec_broken", "The Contec file holds numbers that are no samples.")
    if (stored == _OFF).all():
        raise InputRejected("contec_no_ecg_lead", "No electrode was connected during the recording.")
    room = LeadRows.of(_STORED, stored.shape[1])
    for name, steps in zip(_STORED, stored, strict=True):
        row = room[name]
        np.subtract(steps, _ZERO, out=row, dtype=np.float64)
        row *= _STEP_UV
        row *= 1e-3
        row[steps == _OFF] = np.nan
    room.derive()
    sex, age = data[40], data[41]
    return EcgRecord(
        signals_mv=room.signals_mv,
        leads=room.leads,
        fs_hz=_FS_HZ,
        source_format="contec",
        derived_leads=room.derived,
        patient=Patient(
            name=clean(decode_bare(data[32:40].split(b"\0")[0]), 64) or None,
            sex=_SEXES.get(sex),
        ),
        acquired_at=_moment(data[10:29], source.zone),
        age_years=float(age) if 0 < age <= _MAX_AGE else None,
        device=Device(manufacturer="Contec", model="ECG90A"),
    )


def _moment(raw: bytes, zone: tzinfo) -> datetime | None:
    try:
        return datetime.strptime(raw.decode("ascii"), "%Y-%m-%d %H:%M:%S").replace(tzinfo=zone).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


FORMAT = Format(
    name="contec",
    title="Contec ECG90A",
    recognises=_recognises,
    read=read_contec,
    seen_from_device=True,
    extensions=(".ecg",),
)

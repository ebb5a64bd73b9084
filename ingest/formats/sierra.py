"""Philips Sierra XML (``restingecgdata`` 1.03 to 1.05): base64 of plain or XLI compressed 16 bit samples.

Source: the published schema of version 1.03, the description by the sierra-ecg-tools project. Microvolts per step are
``signalresolution`` (1.03) or ``resolution``. Leads come one behind the other; the residual limb leads are XLI's alone.
Eleven seconds hold ten of the patient and one with a calibration pulse; it stays, its span is listed.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from teleread.errors import InputRejected
from teleread.ingest.formats import xml_facts as facts
from teleread.ingest.formats.digits import Digits
from teleread.ingest.formats.format import Format, Head, Source
from teleread.ingest.formats.markup import Element, parse
from teleread.ingest.formats.persons import age_on
from teleread.ingest.formats.sierra_header import (
    NAME,
    age_of,
    beats_and_paces,
    device_of,
    filters_of,
    measurements_of,
    moment_of,
    patient_of,
    statements_of,
)
from teleread.ingest.formats.sierra_xli import rebuild_limb_leads, unpack
from teleread.signal.ecg.filters import run_lengths
from teleread.signal.ecg.record import (
    CALIBRATION_PULSE,
    STANDARD_LEADS,
    Annotation,
    EcgRecord,
    standard_lead_name,
    with_derived_leads,
)

_TYPES = frozenset(("sierraecg", "philipsecg"))
_VERSION = re.compile(r"1\.0[345](\.\d{1,2})?", re.ASCII)
_PLAIN = frozenset(("", "uncompressed", "none", "false"))
_PULSE_MV, _PULSE_S, _PULSE_REGION_S, _PULSE_LEADS = 1.0, (0.15, 0.45), 1.0, 2


def read(source: Source) -> EcgRecord:
    """The rhythm recording; representative beats are left out.

    Raises:
        InputRejected: the codes of :func:`~teleread.ingest.formats.markup.parse` and of ``sierra_xli``, and
            ``sierra_unsupported`` (version, encoding or compression), ``sierra_no_waveform``, ``sierra_no_rate``,
            ``sierra_no_scale``, ``sierra_no_ecg_lead``, ``sierra_broken``, ``sierra_truncated``, ``sierra_too_large``.
    """
    root = parse(source.data, NAME)
    kind, version = root.at("documentinfo/documenttype"), root.at("documentinfo/documentversion")
    if (kind and kind.lower() not in _TYPES) or (version and not _VERSION.fullmatch(version)):
        raise InputRejected("sierra_unsupported", "This version of the format is not supported.")
    waveform = root.anywhere("parsedwaveforms")
    if waveform is None:
        raise InputRejected("sierra_no_waveform", "The file holds no rhythm recording.")
    described = root.anywhere("signalcharacteristics") or Element("", {})
    fs_hz = facts.usable_rate(_one_of(described, waveform, ("samplingrate",), ("samplespersecond",), "_no_rate"), NAME)
    step_uv = _one_of(described, waveform, ("signalresolution", "resolution"), ("resolution",), "_no_scale")
    if step_uv is None or not facts.usable_scale(step_uv):
        raise InputRejected("sierra_no_scale", "The file states no microvolts per step.")
    leads = _leads(described, waveform)
    stored = _samples(described, waveform, leads, fs_hz)
    taken: set[str] = set()
    rows = {facts.lead_name(lead, taken): row * (step_uv / 1000.0) for lead, row in zip(leads, stored, strict=True)}
    signals, names = facts.stack(rows, NAME)
    patient, acquired_at = patient_of(root), moment_of(root, source.zone)
    record = EcgRecord(
        signals_mv=signals,
        leads=names,
        fs_hz=fs_hz,
        source_format=NAME,
        annotations=_calibration(signals, fs_hz) + beats_and_paces(root, fs_hz, signals.shape[1]),
        filters=filters_of(root, described, waveform),
        patient=patient,
        acquired_at=acquired_at,
        age_years=age_on(age_of(root), patient.birth_date, acquired_at),
        device=device_of(root),
        device_measurements=measurements_of(root),
        device_statements=statements_of(root),
        extra={"document_version": version} if version else {},
    )
    return with_derived_leads(record)


def _one_of(
    described: Element, waveform: Element, tags: tuple[str, ...], attributes: tuple[str, ...], code: str
) -> float | None:
    """The one value that the file states, in its description and with its samples; two different ones are refused."""
    stated = [described.at(tag) for tag in tags] + [waveform.get(attribute) for attribute in attributes]
    values = {facts.number(text) for text in stated if text}
    if len(values) > 1:
        raise InputRejected(f"{NAME}{code}", "The file states two different sampling rates or resolutions.")
    return values.pop() if values else None


def _leads(described: Element, waveform: Element) -> list[str]:
    labels = waveform.get("leadlabels").replace(",", " ").split()
    stated = facts.number(waveform.get("numberofleads"))
    if not labels:
        stated = facts.number(described.at("numberchannelsallocated") or described.at("numberchannelsvalid"))
        labels = list(STANDARD_LEADS) if described.at("acquisitiontype").upper() in ("STD-12", "10-WIRE") else []
        labels += [f"channel {k + 1}" for k in range(len(labels), int(min(max(stated or 0, 0), facts.MAX_LEADS)))]
    count = int(stated) if stated is not None and 1 <= stated <= len(labels) else len(labels)
    if not 1 <= count <= facts.MAX_LEADS:
        raise InputRejected("sierra_no_ecg_lead", "The file names no lead, or too many.")
    return labels[:count]


def _samples(described: Element, waveform: Element, leads: list[str], fs_hz: float) -> list[NDArray[np.float64]]:
    if (waveform.get("bitspersample") or waveform.get("nbitspersample") or "16") != "16":
        raise InputRejected("sierra_unsupported", "Samples of this size are not supported.")
    digits = Digits(NAME)
    length_ms = facts.number(waveform.get("durationperchannel"))
    length = round(length_ms * fs_hz / 1000.0) if length_ms is not None and 0 < length_ms < 1e9 else None
    offset = facts.number(waveform.get("signaloffset") or described.at("signaloffset") or "0")
    if offset != 0:
        raise InputRejected("sierra_unsupported", "Samples with an offset are not supported.")
    encoding = waveform.get("dataencoding").lower()
    flagged = waveform.get("compressflag").lower() != "false"
    compression = (waveform.get("compressmethod") or waveform.get("compression")).lower() if flagged else ""
    if encoding in ("plain", "") and compression in _PLAIN:
        return _split(digits.numbers(waveform.text), leads, length)
    if encoding != "base64" or compression not in _PLAIN | {"xli"}:
        raise InputRejected("sierra_unsupported", "This encoding of samples is not supported.")
    data = digits.base64(waveform.text)
    if compression in _PLAIN:
        if len(data) % 2:
            raise InputRejected("sierra_broken", "The samples end within one.")
        return _split(np.frombuffer(data, dtype="<i2").astype(np.float64), leads, length)
    rows = unpack(data, len(leads), facts.MAX_CELLS // len(leads))
    # the leads agree with each other or are damaged; a wrong statement of their common length harms nobody
    if len({row.size for row in rows}) > 1:
        raise InputRejected("sierra_broken", "The leads differ in length.")
    digits.take(rows[0].size * len(rows))
    named = [standard_lead_name(lead) for lead in leads]
    if tuple(named[:6]) == STANDARD_LEADS[:6]:
        rebuild_limb_leads(rows)
    elif any(lead in STANDARD_LEADS[2:6] or lead.startswith("channel ") for lead in named):
        raise InputRejected("sierra_unsupported", "Compressed limb leads in an unusual order are not supported.")
    return [row.astype(np.float64) for row in rows]


def _split(samples: NDArray[np.float64], leads: list[str], length: int | None) -> list[NDArray[np.float64]]:
    """One lead behind the other."""
    each, left = divmod(samples.size, len(leads))
    if each == 0 or (length is not None and each < length):
        raise InputRejected("sierra_truncated", "The file holds fewer samples than it states.")
    if left or (length is not None and each > length):
        raise InputRejected("sierra_broken", "The file holds more samples than it states.")
    return list(samples.reshape(len(leads), each))


def _calibration(signals: NDArray[np.float64], fs_hz: float) -> tuple[Annotation, ...]:
    """Where the leads step up by one millivolt and down again at once within the last second.

    The device adds the pulse to every lead. One that has none and is not flat was unpacked wrong: an error in second
    differences grows to the end.

    Raises:
        InputRejected: ``sierra_broken``.
    """
    n = signals.shape[1]
    region = round(_PULSE_REGION_S * fs_hz)
    if n <= 2 * region or not np.isfinite(signals[:, n - region :]).all():
        return ()
    tail = signals[:, n - region :]
    base = tail[:, -1:]  # behind the pulse the line is flat
    high = np.abs(tail - base - _PULSE_MV) < 0.05 * _PULSE_MV
    low = np.abs(tail - base) < 0.02 * _PULSE_MV
    for start, end in zip(*run_lengths(high.sum(axis=0) >= _PULSE_LEADS), strict=True):
        if not _PULSE_S[0] * fs_hz <= end - start <= _PULSE_S[1] * fs_hz:
            continue
        with_pulse = high[:, start:end].all(axis=1) & low[:, end:].all(axis=1)
        if with_pulse.sum() < _PULSE_LEADS:
            continue
        if not (with_pulse | low.all(axis=1)).all():
            raise InputRejected("sierra_broken", "A lead lacks the calibration pulse that the others have.")
        return (Annotation(CALIBRATION_PULSE, n - region + int(start), n - region + int(end)),)
    return ()


def _recognises(head: Head) -> bool:
    return head.is_xml and head.root == "restingecgdata"


FORMAT = Format(NAME, "Philips Sierra XML", _recognises, read, seen_from_device=True, extensions=(".xml",))

"""HL7 annotated ECG (``AnnotatedECG``, FDA XML), also as Mindray and Dräger MegaCare write it.

Source: HL7 aECG release 1 and its implementation guide of 2005-03-21. A sample is ``origin + scale * digit``; the time
of a sequence set is its GLIST_TS or GLIST_PQ. Sequence sets of one rate are put on one time line: samples between them
are missing. A derived series (representative beat) is no recording and is left out.
"""

from __future__ import annotations

from datetime import datetime, tzinfo

import numpy as np
from numpy.typing import NDArray

from teleread.errors import InputRejected
from teleread.ingest.formats import xml_facts as facts
from teleread.ingest.formats.aecg_header import NAME, acquired_of, age_of, device_of, filters_of, patient_of
from teleread.ingest.formats.aecg_line import SequenceSet, on_one_line
from teleread.ingest.formats.aecg_notes import notes_of
from teleread.ingest.formats.digits import Digits
from teleread.ingest.formats.format import Format, Head, Source
from teleread.ingest.formats.markup import Element, parse
from teleread.ingest.formats.persons import age_on
from teleread.signal.ecg.record import EcgRecord, with_derived_leads

_BEATS = ("BEAT", "MEDIAN", "AVERAGE", "TEMPLATE")
_PREFIXES = ("MDC_ECG_LEAD_", "NOM_ECG_LEAD_", "MDC_ECG_ELEC_POTL_", "NOM_ECG_ELEC_POTL_", "MDC_", "NOM_")
_MAX_SETS = 4096


def read(source: Source) -> EcgRecord:
    """The rhythm series.

    Raises:
        InputRejected: the codes of :func:`~teleread.ingest.formats.markup.parse`, and ``aecg_no_waveform`` (no rhythm
            series), ``aecg_no_rate`` (no increment, or no unit of time), ``aecg_no_scale`` (no scale, or no unit),
            ``aecg_no_ecg_lead``, ``aecg_broken`` (digits that are none, leads of different lengths),
            ``aecg_unsupported`` (times that repeat), ``aecg_too_large``.
    """
    root = parse(source.data, NAME)
    digits = Digits(NAME)
    found = [(one, one.all("component/sequenceset")) for one in _rhythms(root)]
    if sum(len(sets) for _, sets in found) > _MAX_SETS:
        raise InputRejected("aecg_too_large", "The file holds more sequence sets than can be read.")
    read_sets = [(one, [_set(each, digits, source.zone) for each in sets]) for one, sets in found]
    # a second rhythm series is another recording of the same patient: it stands aside
    series, sets = max(read_sets, key=lambda pair: max(each.rank for each in pair[1]))
    main, rows, others = on_one_line(sets, [each for one, sets in read_sets if one is not series for each in sets])
    signals, leads = facts.stack(rows, NAME)
    patient = patient_of(root)
    acquired_at = main.start or acquired_of(root, series, source.zone)
    annotations, measurements, statements = notes_of(
        series, main.start, main.offset_s, main.fs_hz, signals.shape[1], source.zone
    )
    record = EcgRecord(
        signals_mv=signals,
        leads=leads,
        fs_hz=main.fs_hz,
        source_format=NAME,
        other_channels=tuple(others),
        annotations=annotations,
        filters=filters_of(series),
        patient=patient,
        acquired_at=acquired_at,
        age_years=age_on(age_of(root), patient.birth_date, acquired_at),
        device=device_of(series),
        device_measurements=measurements,
        device_statements=statements,
    )
    return with_derived_leads(record)


def _rhythms(root: Element) -> list[Element]:
    """The series of a rhythm: by their code, else those that are no beat."""
    every = [one for one in root.all("component/series") if one.first("component/sequenceset/component/sequence")]
    coded = [one for one in every if "RHYTHM" in _code(one)]
    found = coded or [one for one in every if not any(word in _code(one) for word in _BEATS)]
    if not found:
        raise InputRejected("aecg_no_waveform", "The file holds no rhythm series with samples.")
    return found


def _code(element: Element) -> str:
    code = element.first("code")
    return code.get("code").upper() if code else ""


def _lead(sequence: Element) -> str:
    code = sequence.first("code")
    if code is not None and code.get("codesystemname") == "teleread":
        return code.get("displayname")
    return facts.LEAD_CODES.get(_code(sequence), _code(sequence))


def _set(one: Element, digits: Digits, zone: tzinfo) -> SequenceSet:
    fs_hz: float | None = None
    start: datetime | None = None
    offset_s: float | None = None
    rows: dict[str, NDArray[np.float64]] = {}
    others: list[tuple[str, str, NDArray[np.float64]]] = []
    taken: set[str] = set()
    sequences = one.all("component/sequence")
    if len(sequences) > facts.MAX_LEADS + 8:
        raise InputRejected("aecg_too_large", "The file holds more leads than can be read.")
    for sequence in sequences:
        value = sequence.first("value")
        if value is None:
            continue
        if value.first("increment") is not None or _code(sequence).startswith("TIME_"):
            fs_hz, start, offset_s = _time(value, zone)
            continue
        samples, unit = _samples(value, digits)
        lead = facts.lead_name(_lead(sequence), taken, _PREFIXES)
        per_mv = facts.millivolts_per(unit)
        if per_mv is None:
            others.append((lead, unit, samples))
        else:
            rows[lead] = samples * per_mv
    # one time for all of them: another length means that digits were lost, and with them the place of the rest
    if len({row.size for row in rows.values() if row.size}) > 1:
        raise InputRejected("aecg_broken", "The leads of a sequence set differ in length.")
    if fs_hz is None and (rows or others):
        raise InputRejected("aecg_no_rate", "A sequence set states no time between its samples.")
    return SequenceSet(fs_hz or 1.0, start, offset_s, rows, others)


def _time(value: Element, zone: tzinfo) -> tuple[float, datetime | None, float | None]:
    """(rate in Hz, moment of the first sample, its seconds on a relative time line)."""
    step, head = value.first("increment"), value.first("head")
    seconds = facts.seconds_per(step.get("unit")) if step else None
    every = facts.number(step.get("value")) if step else None
    if seconds is None or every is None or every <= 0:
        raise InputRejected("aecg_no_rate", "A sequence set states no time between its samples.")
    if value.get("denominator") not in ("", "1") or value.get("period") not in ("", "0"):
        raise InputRejected("aecg_unsupported", "A sequence set repeats its times.")
    # without the rounding of a float: 1/0.002777777777777778 is 360
    fs_hz = facts.usable_rate(float(f"{1.0 / (every * seconds):.12g}"), NAME)
    if head is None:
        return fs_hz, None, None
    unit, at = facts.seconds_per(head.get("unit")), facts.number(head.get("value"))
    if value.get("type").upper().endswith("GLIST_PQ") and unit is not None and at is not None and abs(at * unit) < 1e8:
        return fs_hz, None, at * unit
    return fs_hz, facts.timestamp(head.get("value"), zone), None


def _samples(value: Element, digits: Digits) -> tuple[NDArray[np.float64], str]:
    origin, scale = value.first("origin"), value.first("scale")
    step = facts.number(scale.get("value")) if scale else None
    unit = scale.get("unit") if scale else ""
    zero = facts.number(origin.get("value") or "0") if origin else 0.0
    zero_unit = (origin.get("unit") if origin else "") or unit
    if step is None or not facts.usable_scale(step) or not unit or zero is None or abs(zero) > 1e9:
        raise InputRejected("aecg_no_scale", "A lead states no scale, or no unit.")
    per_step, per_zero = facts.millivolts_per(unit), facts.millivolts_per(zero_unit)
    if zero and zero_unit != unit:
        if per_step is None or per_zero is None:
            raise InputRejected("aecg_no_scale", "A lead states its origin in another unit than its scale.")
        zero *= per_zero / per_step
    text = value.at("digits")
    return digits.numbers(text, commas="," in text) * step + zero, unit


def _recognises(head: Head) -> bool:
    return head.is_xml and head.root == "annotatedecg"


FORMAT = Format(NAME, "HL7 aECG (FDA XML)", _recognises, read, seen_from_device=True, extensions=(".xml", ".aecg"))

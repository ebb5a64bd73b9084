"""HL7 annotated ECG (``AnnotatedECG``, FDA XML), also as Mindray and Dräger MegaCare write it.

Source: HL7 aECG release 1 and its implementation guide of 2005-03-21. A sample is ``origin + scale * digit``; the time
of a sequence set is its GLIST_TS or GLIST_PQ. Sequence sets of one rate are put on one time line: samples between them
are missing. A derived series (representative beat) is no recording and is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, tzinfo

import numpy as np
from numpy.typing import NDArray

from teleread.errors import InputRejected
from teleread.ingest.formats import xml_facts as facts
from teleread.ingest.formats.aecg_header import NAME, acquired_of, age_of, device_of, filters_of, patient_of
from teleread.ingest.formats.aecg_notes import notes_of
from teleread.ingest.formats.digits import Digits
from teleread.ingest.formats.format import Format, Head, Source
from teleread.ingest.formats.markup import Element, parse
from teleread.signal.ecg.record import STANDARD_LEADS, EcgRecord, OtherChannel, with_derived_leads

_BEATS = ("BEAT", "MEDIAN", "AVERAGE", "TEMPLATE")
_PREFIXES = ("MDC_ECG_LEAD_", "NOM_ECG_LEAD_", "MDC_ECG_ELEC_POTL_", "NOM_ECG_ELEC_POTL_", "MDC_", "NOM_")
_MAX_SETS = 4096
_MAX_STRETCH = 8
"""How much longer than its samples a time line with gaps may be."""


@dataclass(frozen=True, slots=True, eq=False)
class _Set:
    """One sequence set: rows in millivolts by lead, other channels with their unit."""

    fs_hz: float
    start: datetime | None
    offset_s: float | None
    rows: dict[str, NDArray[np.float64]]
    others: list[tuple[str, str, NDArray[np.float64]]]

    @property
    def rank(self) -> tuple[int, int]:
        return sum(lead in STANDARD_LEADS for lead in self.rows), max((r.size for r in self.rows.values()), default=0)


def read(source: Source) -> EcgRecord:
    """The rhythm series.

    Raises:
        InputRejected: the codes of :func:`~teleread.ingest.formats.markup.parse`, and ``aecg_no_waveform`` (no rhythm
            series), ``aecg_no_rate`` (no increment, or no unit of time), ``aecg_no_scale`` (no scale, or no unit),
            ``aecg_no_ecg_lead``, ``aecg_broken`` (digits that are none), ``aecg_too_large``.
    """
    root = parse(source.data, NAME)
    series = _rhythm(root)
    digits = Digits(NAME)
    found = series.all("component/sequenceset")
    if not found:
        raise InputRejected("aecg_no_waveform", "The rhythm series holds no samples.")
    if len(found) > _MAX_SETS:
        raise InputRejected("aecg_too_large", "The file holds more sequence sets than can be read.")
    sets = [_set(one, digits, source.zone) for one in found]
    main, rows, others = _one_time_line(sets)
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
        age_years=facts.age_on(age_of(root), patient.birth_date, acquired_at),
        device=device_of(series),
        device_measurements=measurements,
        device_statements=statements,
    )
    return with_derived_leads(record)


def _rhythm(root: Element) -> Element:
    """The series of the rhythm: by its code, else the only one that is no beat."""
    every = root.all("component/series")
    coded = [one for one in every if "RHYTHM" in _code(one)]
    plain = [one for one in every if not any(word in _code(one) for word in _BEATS)]
    for some in (coded, plain):
        with_samples = [one for one in some if one.first("component/sequenceset/component/sequence")]
        if with_samples:
            return with_samples[0]
    raise InputRejected("aecg_no_waveform", "The file holds no rhythm series.")


def _code(element: Element) -> str:
    code = element.first("code")
    return code.get("code").upper() if code else ""


def _lead(sequence: Element) -> str:
    code = sequence.first("code")
    if code is not None and code.get("codesystemname") == "teleread":
        return code.get("displayname")
    return _code(sequence)


def _set(one: Element, digits: Digits, zone: tzinfo) -> _Set:
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
    if fs_hz is None and (rows or others):
        raise InputRejected("aecg_no_rate", "A sequence set states no time between its samples.")
    return _Set(fs_hz or 1.0, start, offset_s, rows, others)


def _time(value: Element, zone: tzinfo) -> tuple[float, datetime | None, float | None]:
    """(rate in Hz, moment of the first sample, its seconds on a relative time line)."""
    step, head = value.first("increment"), value.first("head")
    seconds = facts.seconds_per(step.get("unit")) if step else None
    every = facts.number(step.get("value")) if step else None
    if seconds is None or every is None or every <= 0:
        raise InputRejected("aecg_no_rate", "A sequence set states no time between its samples.")
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
    return digits.numbers(value.at("digits")) * step + zero, unit


def _one_time_line(sets: list[_Set]) -> tuple[_Set, dict[str, NDArray[np.float64]], list[OtherChannel]]:
    """The main set with those that fit on its time line; what does not fit stands aside."""
    main = max(sets, key=lambda one: one.rank)
    if not main.rows:
        raise InputRejected("aecg_no_ecg_lead", "No sequence holds a voltage.")
    placed = [(one, at) for one in sets if one.rows and (at := _place(one, main)) is not None]
    first = min(at for _, at in placed)
    end = max(at + one.rank[1] for one, at in placed)
    stored = sum(row.size for one, _ in placed for row in one.rows.values())
    leads = list(dict.fromkeys(lead for one, _ in placed for lead in one.rows))
    if len(leads) > facts.MAX_LEADS:
        raise InputRejected("aecg_too_large", "The file holds more leads than can be read.")
    if (end - first) * len(leads) > min(facts.MAX_CELLS, _MAX_STRETCH * max(stored, 1) + 1_000_000):
        placed, first, end, leads = [(main, 0)], 0, main.rank[1], list(main.rows)
    others = [OtherChannel(name, unit, one.fs_hz, samples) for one in sets for name, unit, samples in one.others]
    if len(placed) == 1:
        rows = main.rows
    else:
        rows = {lead: np.full(end - first, np.nan) for lead in leads}
        for one, at in placed:
            for lead, samples in one.rows.items():
                rows[lead][at - first : at - first + samples.size] = samples
    on_line = {id(one) for one, _ in placed}
    for one in sets:
        if id(one) not in on_line:
            others += [OtherChannel(lead, "mV", one.fs_hz, samples) for lead, samples in one.rows.items()]
    earliest = min(placed, key=lambda pair: pair[1])[0]
    return _Set(main.fs_hz, earliest.start, earliest.offset_s, main.rows, []), rows, others[: 4 * facts.MAX_LEADS]


def _place(one: _Set, main: _Set) -> int | None:
    """Where the set begins, in samples behind the main one; None when it cannot stand beside it."""
    if one is main:
        return 0
    if one.fs_hz != main.fs_hz:
        return None
    if one.start is not None and main.start is not None:
        return round((one.start - main.start).total_seconds() * main.fs_hz)
    if one.offset_s is not None and main.offset_s is not None:
        return round((one.offset_s - main.offset_s) * main.fs_hz)
    # no time for one of them: other leads of the same length were recorded together
    same_time = one.rank[1] == main.rank[1] and not any(lead in main.rows for lead in one.rows)
    return 0 if same_time else None


def _recognises(head: Head) -> bool:
    return head.is_xml and head.root == "annotatedecg"


FORMAT = Format(NAME, "HL7 aECG (FDA XML)", _recognises, read, seen_from_device=True, extensions=(".xml", ".aecg"))

"""Writes a record as HL7 annotated ECG (release 1, schema PORT_MT020001)."""

from __future__ import annotations

import hashlib
import uuid
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from numpy.typing import NDArray

from teleread.ingest.formats import device_names as names
from teleread.ingest.formats.aecg_notes import MARKS, MEASURED, STATEMENT
from teleread.ingest.formats.wire import plain, step_of
from teleread.signal.ecg.record import STANDARD_LEADS, EcgRecord

_MDC = 'codeSystem="2.16.840.1.113883.6.24" codeSystemName="MDC"'
_ACT = 'codeSystem="2.16.840.1.113883.5.4" codeSystemName="ActCode"'
_LOINC = 'codeSystem="2.16.840.1.113883.6.1" codeSystemName="LOINC"'
_OWN = 'codeSystemName="teleread"'
_SPACE = uuid.UUID("a3a8f5e0-0c4c-5d5e-9d0a-6f1f6f0c8d11")
_MAX_RUNS = 4096
_UNITS = {"/min": "bpm", "ms": "ms", "deg": "deg"}
_FILTERS = (
    ("low_pass_hz", "FILTER_LOW_PASS", "FILTER_CUTOFF_FREQ"),
    ("high_pass_hz", "FILTER_HIGH_PASS", "FILTER_CUTOFF_FREQ"),
    ("notch_hz", "FILTER_NOTCH", "FILTER_NOTCH_FREQ"),
)


def write_aecg(record: EcgRecord) -> bytes:
    """The record as one file, UTF-8; reading it gives every sample back within one step of its lead.

    Each lead's step is its own: the one in which its samples are whole numbers where there is one, else a nanovolt.
    Missing samples part a lead into several sequence sets. Derived leads are left out, they are derived again; so are
    other channels, for they are no ECG.

    Raises:
        ValueError: the record has no stored lead, an infinite sample, or more gaps than can be written.
    """
    stored = [at for at, lead in enumerate(record.leads) if lead not in record.derived_leads]
    if not stored or np.isinf(record.signals_mv).any():
        raise ValueError("a record to write has at least one stored lead and finite samples")
    content = hashlib.sha256(np.ascontiguousarray(record.signals_mv).tobytes()).hexdigest()
    start = record.acquired_at
    parts = [
        '<?xml version="1.0" encoding="UTF-8"?>\n<AnnotatedECG xmlns="urn:hl7-org:v3" xmlns:voc="urn:hl7-org:v3/voc" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" type="Observation">\n',
        f'<id root="{uuid.uuid5(_SPACE, content)}"/>\n',
        '<code code="93000" codeSystem="2.16.840.1.113883.6.12" codeSystemName="CPT-4"/>\n',
        _effective(record, start),
        _subject(record),
        _age(record),
        f'<component>\n<series>\n<id root="{uuid.uuid5(_SPACE, content + "series")}"/>\n',
        f'<code code="RHYTHM" {_ACT}/>\n',
        _effective(record, start),
        _author(record),
        *_filters(record),
        *_sets(record, stored, start),
        *_annotations(record, start),
        "</series>\n</component>\n</AnnotatedECG>\n",
    ]
    return "".join(parts).encode("utf-8")


def _effective(record: EcgRecord, start: datetime | None) -> str:
    if start is None:
        return '<effectiveTime nullFlavor="UNK"/>\n'
    end = start + timedelta(seconds=record.duration_s)
    return f'<effectiveTime><low value="{_ts(start)}"/><high value="{_ts(end)}"/></effectiveTime>\n'


def _ts(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y%m%d%H%M%S.%f") + "+0000"


def _subject(record: EcgRecord) -> str:
    patient = record.patient
    person = []
    if patient.name:
        person.append(f"<name>{_text(patient.name)}</name>")
    if patient.sex:
        # the vocabulary has M, F and UN; UN alone is what carts write when nobody asked
        code = 'code="UN" displayName="Other"' if patient.sex == "O" else f"code={_attribute(patient.sex)}"
        person.append(f'<administrativeGenderCode {code} codeSystem="2.16.840.1.113883.5.1"/>')
    if patient.birth_date:
        person.append(f'<birthTime value="{patient.birth_date:%Y%m%d}"/>')
    identity = f" extension={_attribute(patient.id)}" if patient.id else ' nullFlavor="UNK"'
    if patient.issuer:
        identity += f" assigningAuthorityName={_attribute(patient.issuer)}"
    return (
        "<componentOf><timepointEvent><componentOf><subjectAssignment><subject><trialSubject>"
        f"<id{identity}/>"
        + (f"<subjectDemographicPerson>{''.join(person)}</subjectDemographicPerson>" if person else "")
        + "</trialSubject></subject><componentOf><clinicalTrial>"
        '<id nullFlavor="NA"/></clinicalTrial></componentOf></subjectAssignment></componentOf></timepointEvent>'
        "</componentOf>\n"
    )


def _age(record: EcgRecord) -> str:
    if record.age_years is None:
        return ""
    return (
        f'<controlVariable><relatedObservation><code code="21612-7" {_LOINC} displayName="Reported Age"/>'
        f'<value xsi:type="PQ" value="{plain(record.age_years)}" unit="a"/></relatedObservation></controlVariable>\n'
    )


def _author(record: EcgRecord) -> str:
    device = record.device
    own = f"<id extension={_attribute(device.serial)}/>" if device.serial else ""
    if device.model:
        own += f"<manufacturerModelName>{_text(device.model)}</manufacturerModelName>"
    if device.software:
        own += f"<softwareName>{_text(device.software)}</softwareName>"
    maker = (
        f"<manufacturerOrganization><name>{_text(device.manufacturer)}</name></manufacturerOrganization>"
        if device.manufacturer
        else ""
    )
    if not own and not maker:
        return ""
    return (
        f"<author><seriesAuthor><manufacturedSeriesDevice>{own}</manufacturedSeriesDevice>{maker}"
        "</seriesAuthor></author>\n"
    )


def _filters(record: EcgRecord) -> Iterable[str]:
    for field, kind, frequency in _FILTERS:
        value = getattr(record.filters, field)
        if value is not None:
            yield (
                f'<controlVariable><controlVariable><code code="MDC_ECG_CTL_VBL_ATTR_{kind}" {_MDC}/><component>'
                f'<controlVariable><code code="MDC_ECG_CTL_VBL_ATTR_{frequency}" {_MDC}/>'
                f'<value xsi:type="PQ" value="{plain(value)}" unit="Hz"/></controlVariable></component>'
                "</controlVariable></controlVariable>\n"
            )


def _sets(record: EcgRecord, stored: list[int], start: datetime | None) -> Iterable[str]:
    """Sequence sets: leads whose samples are there over the same stretch stand together."""
    n = record.signals_mv.shape[1]
    stretches: dict[tuple[int, int], list[int]] = defaultdict(list)
    for at in stored:
        there = np.isfinite(record.signals_mv[at])
        edges = np.flatnonzero(np.diff(np.concatenate(([False], there, [False])).astype(np.int8)))
        runs = [(int(a), int(b)) for a, b in zip(edges[0::2], edges[1::2], strict=True)] or [(0, 0)]
        for run in runs:
            stretches[run].append(at)
        if len(stretches) > _MAX_RUNS:
            raise ValueError("the record has more gaps than can be written")
    stretches.pop((0, 0), None)
    # empty sets at either end keep the length; the first names all leads in their order, also where it has no sample
    for edge, there in ((0, any(a == 0 for a, _ in stretches)), (n, any(b == n for _, b in stretches))):
        if not there:
            stretches[edge, edge] = []
    steps = {at: step_of(record.signals_mv[at]) for at in stored}
    for place, ((a, b), rows) in enumerate(sorted(stretches.items())):
        yield f"<component><sequenceSet>\n{_time(record, a, start)}"
        for at in rows if place else stored:
            yield _sequence(record.leads[at], record.signals_mv[at, a : b if at in rows else a], steps[at])
        if place and not rows:
            yield _sequence(record.leads[stored[0]], np.zeros(0), steps[stored[0]])
        yield "</sequenceSet></component>\n"


def _time(record: EcgRecord, at: int, start: datetime | None) -> str:
    every = f'<increment value="{plain(1.0 / record.fs_hz)}" unit="s"/>'
    if start is None:
        kind, code, head = "GLIST_PQ", "TIME_RELATIVE", f'<head value="{plain(at / record.fs_hz)}" unit="s"/>'
    else:
        kind, code = "GLIST_TS", "TIME_ABSOLUTE"
        head = f'<head value="{_ts(start + timedelta(seconds=at / record.fs_hz))}"/>'
    return (
        f'<component><sequence><code code="{code}" {_ACT}/><value xsi:type="{kind}">{head}{every}</value>'
        "</sequence></component>\n"
    )


def _sequence(lead: str, samples_mv: NDArray[np.float64], step: tuple[float, float]) -> str:
    origin_mv, step_mv = step
    digits = np.rint((samples_mv - origin_mv) / step_mv).astype(np.int64).tolist()
    if lead in STANDARD_LEADS or (lead.isalnum() and lead.isascii() and lead == lead.upper()):
        code = f'code="MDC_ECG_LEAD_{lead.upper()}" {_MDC}'
    else:
        code = _own_code(lead)
    return (
        f'<component><sequence><code {code}/><value xsi:type="SLIST_PQ">'
        f'<origin value="{plain(origin_mv * 1000.0)}" unit="uV"/><scale value="{plain(step_mv * 1000.0)}" unit="uV"/>'
        f"<digits>{' '.join(map(str, digits))}</digits></value></sequence></component>\n"
    )


def _annotations(record: EcgRecord, start: datetime | None) -> Iterable[str]:
    notes = [_measurement(one.name, one.value, one.unit) for one in record.device_measurements]
    if record.device_statements:
        said = "".join(
            f'<component><annotation><code code="{STATEMENT}" {_MDC}/><value xsi:type="ST">{_text(sentence)}</value>'
            "</annotation></component>"
            for sentence in record.device_statements
        )
        notes.append(
            f'<component><annotation><code code="MDC_ECG_INTERPRETATION" {_MDC}/>{said}</annotation></component>'
        )
    notes += [_mark(record, mark.kind, mark.start, mark.end, mark.text, start) for mark in record.annotations]
    if notes:
        at = f'<activityTime value="{_ts(start)}"/>' if start else '<activityTime nullFlavor="UNK"/>'
        yield f"<subjectOf><annotationSet>{at}\n"
        yield "\n".join(note for note in notes if note)
        yield "\n</annotationSet></subjectOf>\n"


def _measurement(name: str, value: float, unit: str) -> str:
    if name in MEASURED and unit == names.UNITS[name]:
        code, unit = f'code="{MEASURED[name]}" {_MDC}', _UNITS[unit]
    else:
        code = _own_code(name)
    stated = f" unit={_attribute(unit)}" if unit else ""
    return (
        f'<component><annotation><code {code}/><value xsi:type="PQ" value="{plain(value)}"{stated}/>'
        "</annotation></component>"
    )


def _own_code(name: str) -> str:
    """A code has no white space; the name as it is stands beside it."""
    return f"code={_attribute('_'.join(name.split()) or 'x')} {_OWN} displayName={_attribute(name)}"


def _mark(record: EcgRecord, kind: str, first: int, end: int, text: str, start: datetime | None) -> str:
    if kind not in MARKS:
        return ""
    if start is None:
        code, kind_of, unit = "TIME_RELATIVE", "IVL_PQ", ' unit="s"'
        low, high = plain(first / record.fs_hz), plain(end / record.fs_hz)
    else:
        code, kind_of, unit = "TIME_ABSOLUTE", "IVL_TS", ""
        low, high = (_ts(start + timedelta(seconds=at / record.fs_hz)) for at in (first, end))
    said = f'<value xsi:type="ST">{_text(text)}</value>' if text else ""
    scheme = _MDC if kind == "device_beat" else _OWN
    return (
        f'<component><annotation><code code="{MARKS[kind]}" {scheme}/>{said}<support>'
        f'<supportingROI classCode="ROIBND"><code code="ROIPS" {_ACT}/><component><boundary>'
        f'<code code="{code}" {_ACT}/><value xsi:type="{kind_of}"><low value="{low}"{unit}/>'
        f'<high value="{high}"{unit}/></value></boundary></component></supportingROI></support></annotation>'
        "</component>"
    )


def _text(text: str) -> str:
    return escape(_legal(text))


def _attribute(text: str | None) -> str:
    return quoteattr(_legal(text or ""))


def _legal(text: str) -> str:
    """Without what XML 1.0 cannot hold."""
    return "".join(
        c for c in text if c in "\t\n\r" or (c >= " " and not "\ud800" <= c <= "\udfff" and c not in "\ufffe\uffff")
    )

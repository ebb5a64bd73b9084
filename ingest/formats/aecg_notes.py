"""Annotations of an HL7 annotated ECG: what the device measured, said and marked. A physician's are left out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, tzinfo

from teleread.ingest.formats import device_names as names
from teleread.ingest.formats import xml_facts as facts
from teleread.ingest.formats.markup import Element
from teleread.signal.ecg.record import CALIBRATION_PULSE, Annotation, DeviceMeasurement

MEASURED = {
    names.HEART_RATE: "MDC_ECG_HEART_RATE",
    names.ATRIAL_RATE: "MDC_ECG_HEART_RATE_ATRIAL",
    names.RR_INTERVAL: "MDC_ECG_TIME_PD_RR",
    names.P_DURATION: "MDC_ECG_TIME_PD_P",
    names.PR_INTERVAL: "MDC_ECG_TIME_PD_PR",
    names.QRS_DURATION: "MDC_ECG_TIME_PD_QRS",
    names.QT_INTERVAL: "MDC_ECG_TIME_PD_QT",
    names.QTC_INTERVAL: "MDC_ECG_TIME_PD_QTc",
    names.QTC_BAZETT: "MDC_ECG_TIME_PD_QTcB",
    names.QTC_FRIDERICIA: "MDC_ECG_TIME_PD_QTcF",
    names.QTC_FRAMINGHAM: "MDC_ECG_TIME_PD_QTcFRAM",
    names.QTC_HODGES: "MDC_ECG_TIME_PD_QTcH",
    names.P_AXIS: "MDC_ECG_ANGLE_P_FRONT",
    names.QRS_AXIS: "MDC_ECG_ANGLE_QRS_FRONT",
    names.T_AXIS: "MDC_ECG_ANGLE_T_FRONT",
}
"""The code that is written for each name."""
STATEMENT = "MDC_ECG_INTERPRETATION_STATEMENT"
MARKS = {"device_beat": "MDC_ECG_BEAT", "pacing": "MDC_ECG_PACING_SPIKE", CALIBRATION_PULSE: "CALIBRATION_PULSE"}
"""The code that is written for each kind of annotation; for the last two the standard has none."""

_ALIASES = {
    "ECG_RATE": names.HEART_RATE, "ECG_VENT_RATE": names.HEART_RATE, "ECG_VENTRICULAR_RATE": names.HEART_RATE,
    "ECG_ATRIAL_RATE": names.ATRIAL_RATE, "ECG_TIME_PD_RR_GL": names.RR_INTERVAL, "ECG_TIME_PD_PQ": names.PR_INTERVAL,
    "ECG_P_AXIS": names.P_AXIS, "ECG_QRS_AXIS": names.QRS_AXIS, "ECG_T_AXIS": names.T_AXIS,
    "ECG_TIME_PD_QTC_BAZETT": names.QTC_BAZETT, "ECG_TIME_PD_QTC_FRIDERICIA": names.QTC_FRIDERICIA,
}  # fmt: skip
_NAMES = _ALIASES | {code.removeprefix("MDC_").upper(): name for name, code in MEASURED.items()}
_KINDS = {code: kind for kind, code in MARKS.items()}
_SCHEMES = ("MDC_", "NOM_", "MINDRAY_", "GE_", "EDAN_")
_SAID = (STATEMENT, "MDC_ECG_INTERPRETATION", "MDC_ECG_INTERPRETATION_SUMMARY", "MDC_ECG_RHY")
_RATES = frozenset(("bpm", "/min", "1/min", "{beats}/min", "{h.b.}/min", "beats/min"))
_MAX_NOTES = 20_000


def notes_of(
    series: Element, start: datetime | None, offset_s: float | None, fs_hz: float, length: int, zone: tzinfo
) -> tuple[tuple[Annotation, ...], tuple[DeviceMeasurement, ...], tuple[str, ...]]:
    """(marks, global measurements, statements) of the device.

    Args:
        start: moment of the first sample, ``offset_s`` its seconds on a relative time line.
    """
    marks: list[Annotation] = []
    measured: list[DeviceMeasurement | None] = []
    said: list[str | None] = []
    for annotation, of_lead in _annotations(series):
        code, value = annotation.first("code"), annotation.first("value")
        name = code.get("code") if code else ""
        if name in _KINDS:
            span = _span(annotation, start, offset_s, fs_hz, zone)
            if span is not None and 0 <= span[0] < length:
                marks.append(
                    Annotation(_KINDS[name], span[0], min(max(span[1], span[0] + 1), length), text=_text(value))
                )
        elif name in _SAID:
            said.append(_text(value) or annotation.at("text"))
        elif not of_lead and code is not None and value is not None and len(measured) < _MAX_NOTES:
            measured.append(_measurement(code, value))
    return tuple(marks), facts.several(measured), facts.sentences(said)


def _annotations(series: Element) -> Iterator[tuple[Element, bool]]:
    """Every annotation of a device with whether it, or one around it, belongs to a lead; in document order."""
    left = _MAX_NOTES
    for found in series.all("subjectof/annotationset"):
        if found.first("author/assignedentity/assignedauthortype/assignedperson") is not None:
            continue
        waiting = [(one, False) for one in reversed(found.all("component/annotation"))]
        while waiting and left:
            left -= 1
            annotation, around = waiting.pop()
            of_lead = around or _of_lead(annotation)
            yield annotation, of_lead
            waiting.extend((one, of_lead) for one in reversed(annotation.all("component/annotation")))


def _of_lead(annotation: Element) -> bool:
    bounds = annotation.all("support/supportingroi/component/boundary/code")
    return any("LEAD_" in bound.get("code") for bound in bounds)


def _measurement(code: Element, value: Element) -> DeviceMeasurement | None:
    number, unit = facts.number(value.get("value")), value.get("unit")
    if number is None:
        return None
    plain = code.get("code")
    for scheme in _SCHEMES:
        plain = plain.removeprefix(scheme)
    name = _NAMES.get(plain.upper())
    stated = f"{code.get('codesystemname') or 'MDC'}:{code.get('code')}"[:64]
    if name is not None:
        seconds = facts.seconds_per(unit)
        wanted = names.UNITS[name]
        if wanted == "ms" and seconds is not None:
            return names.measured(name, number * (seconds * 1000.0), stated)
        fits = unit in _RATES if wanted == "/min" else wanted == "deg" and unit in ("deg", "\u00b0", "")
        return names.measured(name, number, stated) if fits else None
    title = facts.words(code.get("displayname")) or facts.words(code.get("code"))
    return DeviceMeasurement(title, number, facts.words(unit, 16) or "", stated) if title else None


def _text(value: Element | None) -> str:
    if value is None:
        return ""
    return value.text.strip() or value.get("displayname")


def _span(
    annotation: Element, start: datetime | None, offset_s: float | None, fs_hz: float, zone: tzinfo
) -> tuple[int, int] | None:
    for boundary in annotation.all("support/supportingroi/component/boundary"):
        code, value = boundary.first("code"), boundary.first("value")
        if code is None or value is None or not code.get("code").startswith("TIME_"):
            continue
        ends = [_sample(value.first(part), start, offset_s, fs_hz, zone) for part in ("low", "high")]
        if ends[0] is not None:
            return ends[0], ends[1] if ends[1] is not None else ends[0] + 1
    return None


def _sample(
    bound: Element | None, start: datetime | None, offset_s: float | None, fs_hz: float, zone: tzinfo
) -> int | None:
    if bound is None:
        return None
    seconds, number = facts.seconds_per(bound.get("unit")), facts.number(bound.get("value"))
    if seconds is not None and number is not None:
        at_s = number * seconds - (offset_s or 0.0)
        return round(at_s * fs_hz) if abs(at_s) < 1e8 else None
    at = facts.timestamp(bound.get("value"), zone)
    return round((at - start).total_seconds() * fs_hz) if at is not None and start is not None else None

"""What the device wrote beside a DICOM waveform: values, sentences and marks (PS3.3 C.10.10)."""

from __future__ import annotations

import math
import re

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from teleread.ingest import dicom_values as values
from teleread.ingest.formats import device_names as names
from teleread.ingest.formats.dicom_waveform import Chosen
from teleread.signal.ecg.record import CALIBRATION_PULSE, Annotation, DeviceMeasurement

MAX_ANNOTATIONS = 512
MAX_MARKS = 40_000
MAX_SENTENCE = 1024

MEASUREMENT_CODES = {
    # PS3.16 CID 3228, 3229, 3687 to 3690: ISO 11073-10102 and the codes of SCP-ECG before it; LOINC
    "MDC": {
        "2:16016": names.HEART_RATE, "2:16020": names.ATRIAL_RATE, "2:16168": names.RR_INTERVAL,
        "2:16184": names.P_DURATION, "2:15872": names.PR_INTERVAL, "2:16156": names.QRS_DURATION,
        "2:16160": names.QT_INTERVAL, "2:15876": names.QTC_INTERVAL, "2:15880": names.QTC_BAZETT,
        "2:16128": names.P_AXIS, "2:16132": names.QRS_AXIS, "2:16136": names.T_AXIS,
    },
    "SCPECG": {
        "5.10.2.5-1": names.HEART_RATE, "5.10.2.1-3": names.RR_INTERVAL, "5.13.5-5": names.P_DURATION,
        "5.13.5-7": names.PR_INTERVAL, "5.13.5-9": names.QRS_DURATION, "5.13.5-11": names.QT_INTERVAL,
        "5.10.2.5-5": names.QTC_INTERVAL, "5.10.3-11": names.P_AXIS, "5.10.3-13": names.QRS_AXIS,
        "5.10.3-15": names.T_AXIS,
    },
    "LN": {
        "8867-4": names.HEART_RATE, "8625-6": names.PR_INTERVAL, "8633-0": names.QRS_DURATION,
        "8634-8": names.QT_INTERVAL, "8636-3": names.QTC_INTERVAL, "8626-4": names.P_AXIS,
        "8632-4": names.QRS_AXIS, "9997-8": names.QRS_AXIS, "8638-9": names.T_AXIS,
    },
}  # fmt: skip
_WORDS = {
    "heart rate": names.HEART_RATE, "hr": names.HEART_RATE, "vent rate": names.HEART_RATE,
    "ventricular rate": names.HEART_RATE, "ventricular heart rate": names.HEART_RATE, "vrate": names.HEART_RATE,
    "atrial rate": names.ATRIAL_RATE, "atrial heart rate": names.ATRIAL_RATE, "rr interval": names.RR_INTERVAL,
    "p duration": names.P_DURATION, "p wave duration": names.P_DURATION, "pr interval": names.PR_INTERVAL,
    "pq interval": names.PR_INTERVAL, "qrs duration": names.QRS_DURATION, "qrs interval": names.QRS_DURATION,
    "qt interval": names.QT_INTERVAL, "qtc interval": names.QTC_INTERVAL, "qtc": names.QTC_INTERVAL,
    "qtc bazett": names.QTC_BAZETT, "qtcb interval": names.QTC_BAZETT, "qtc fridericia": names.QTC_FRIDERICIA,
    "qtcf interval": names.QTC_FRIDERICIA, "qtc framingham": names.QTC_FRAMINGHAM, "qtc hodges": names.QTC_HODGES,
    "p axis": names.P_AXIS, "p wave axis": names.P_AXIS, "qrs axis": names.QRS_AXIS, "r axis": names.QRS_AXIS,
    "r wave axis": names.QRS_AXIS, "t axis": names.T_AXIS, "t wave axis": names.T_AXIS,
}  # fmt: skip
_TEXT, _CONCEPT, _POSITIONS, _NUMBER = 0x00700006, 0x0040A168, 0x0040A132, 0x0040A30A
_FACTORS = {
    "ms": {"ms": 1.0, "msec": 1.0, "s": 1000.0},
    "/min": {"/min": 1.0, "{h.b.}/min": 1.0, "{beats}/min": 1.0, "bpm": 1.0, "1/min": 1.0, "min-1": 1.0},
    # a writer in use states an axis in milliseconds
    "deg": {"deg": 1.0, "°": 1.0, "degree": 1.0, "degrees": 1.0, "ms": 1.0, "": 1.0},
}


def measurements(dataset: Dataset, declared: list[str]) -> tuple[DeviceMeasurement, ...]:
    """Numbers about the whole recording, under the common names where they have one, else as the file calls them."""
    found: list[DeviceMeasurement] = []
    taken: set[str] = set()
    for item in _items(dataset):
        one = _measurement(item, declared)
        if one is not None and not (one.name in names.UNITS and one.name in taken):
            found.append(one)
            taken.add(one.name)
    return tuple(found)


def statements(dataset: Dataset, declared: list[str]) -> tuple[str, ...]:
    """Free text, and the meaning of coded findings."""
    found = []
    for item in _items(dataset):
        sentence, there = None, item.keys()
        if _TEXT in there:
            sentence = values.text(item, _TEXT, MAX_SENTENCE, declared)
        elif _CONCEPT in there and item[_CONCEPT].value:
            sentence = values.text(item[_CONCEPT].value[0], 0x00080104, declared=declared)
        if sentence:
            found.append(sentence)
    return tuple(found)


def marks(dataset: Dataset, chosen: Chosen, declared: list[str]) -> tuple[Annotation, ...]:
    """Calibration pulses, pacing and beats that the device marked; sample positions are counted from 1."""
    found: list[Annotation] = []
    n, looked_at = chosen.rows.signals_mv.shape[1], 0
    for item in _items(dataset, MAX_MARKS):
        there = item.keys()
        if _POSITIONS not in there or _NUMBER in there or not item.get("ConceptNameCodeSequence"):
            continue
        meaning = values.text(item.ConceptNameCodeSequence[0], 0x00080104, declared=declared) or ""
        kind = _kind(meaning.lower())
        where = _where(item, chosen) if kind else None
        if kind is None or where is None:
            continue
        positions = item[_POSITIONS].value
        at = [
            int(p)
            for p in (positions if isinstance(positions, (MultiValue, list)) else [positions] if positions else [])
        ]
        looked_at += len(at)
        if looked_at > MAX_MARKS:
            break
        start, lead = where
        text = meaning.partition(": ")[2]
        spans = [(a, a) for a in at]
        if str(item.get("TemporalRangeType") or "").endswith("SEGMENT"):
            spans = list(zip(at[0::2], at[1::2], strict=False))
        shifted = [(start + first - 1, start + last) for first, last in spans]
        found += [Annotation(kind, a, b, lead, text) for a, b in shifted if 0 <= a < b <= n]
    return tuple(found)


def _items(dataset: Dataset, limit: int = MAX_ANNOTATIONS) -> list[Dataset]:
    return list((dataset.get("WaveformAnnotationSequence") or [])[:limit])


def _kind(meaning: str) -> str | None:
    if "calibration" in meaning:
        return CALIBRATION_PULSE
    if meaning.startswith(("pace", "pacing", "ventricular pac", "atrial pac")) and "interval" not in meaning:
        return "pacing"
    if meaning.startswith(("beat", "normal beat", "device beat", "qrs complex", "r peak", "r-peak", "heart beat")):
        return "device_beat"
    return None


def _where(item: Dataset, chosen: Chosen) -> tuple[int, str | None] | None:
    """(column where the annotated group begins, the lead or None for all), None where it is not the rhythm."""
    channels = item.get("ReferencedWaveformChannels")
    if channels is None or len(channels) < 2:
        return None
    group, one = int(channels[0]), int(channels[1])
    if group not in chosen.groups or len(channels) > 2:
        return None
    start, leads = chosen.groups[group]
    if not one:
        return start, None
    return (start, leads[one - 1]) if 1 <= one <= len(leads) else None


def _measurement(item: Dataset, declared: list[str]) -> DeviceMeasurement | None:
    if _NUMBER not in item.keys():  # noqa: SIM118 - a Dataset is no dict, and this is far quicker
        return None
    concepts, units, value = (
        item.get(k) for k in ("ConceptNameCodeSequence", "MeasurementUnitsCodeSequence", "NumericValue")
    )
    channels = item.get("ReferencedWaveformChannels")
    whole_group = channels is None or (len(channels) == 2 and int(channels[1]) == 0)
    if not concepts or not whole_group or value is None or isinstance(value, MultiValue):
        return None
    number = float(value)
    if not math.isfinite(number):
        return None
    scheme, code = (values.ascii_text(concepts[0], tag) for tag in (0x00080102, 0x00080100))
    meaning = values.text(concepts[0], 0x00080104, declared=declared) or ""
    unit = values.ascii_text(units[0], 0x00080100) if units else ""
    scheme = {"LOINC": "LN"}.get(scheme.upper(), scheme)
    name = MEASUREMENT_CODES.get(scheme.upper(), {}).get(code) or _by_words(meaning)
    if name is not None:
        factor = _FACTORS[names.UNITS[name]].get(unit.lower())
        if factor is not None:
            return names.measured(name, number * factor, f"{scheme}:{code}")
    return DeviceMeasurement(name=meaning, value=number, unit=unit, code=f"{scheme}:{code}")


def _by_words(meaning: str) -> str | None:
    words = re.sub(r"[^a-z0-9]+", " ", meaning.lower()).replace(" global", "").strip()
    return _WORDS.get(words) or (words.replace(" ", "_") if words.replace(" ", "_") in names.UNITS else None)

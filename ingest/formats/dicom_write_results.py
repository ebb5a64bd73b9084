"""What the device wrote beside the waveform, as items of a Waveform Annotation Sequence (PS3.3 C.10.10)."""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from teleread.ingest.dicom_values import clean
from teleread.ingest.formats import device_names as names
from teleread.ingest.formats.dicom_results import MEASUREMENT_CODES
from teleread.ingest.formats.dicom_scale import decimal_string
from teleread.signal.ecg.record import CALIBRATION_PULSE, Annotation, DeviceMeasurement, EcgRecord

MAX_STATEMENTS = 250
MAX_MEASUREMENTS = 250
_POSITIONS = 8000  # an element with a length of 16 bits holds 16383, a span has two

_CODES = {
    names.HEART_RATE: ("2:16016", "Heart rate"), names.ATRIAL_RATE: ("2:16020", "Atrial rate"),
    names.RR_INTERVAL: ("2:16168", "RR interval global"), names.P_DURATION: ("2:16184", "P duration global"),
    names.PR_INTERVAL: ("2:15872", "PR interval global"), names.QRS_DURATION: ("2:16156", "QRS duration global"),
    names.QT_INTERVAL: ("2:16160", "QT interval global"), names.QTC_INTERVAL: ("2:15876", "QTc interval global"),
    names.QTC_BAZETT: ("2:15880", "QTc Bazett"), names.P_AXIS: ("2:16128", "P axis"),
    names.QRS_AXIS: ("2:16132", "QRS axis"), names.T_AXIS: ("2:16136", "T axis"),
}  # fmt: skip
_UNITS = {"/min": "{H.B.}/min"}
_MEANINGS = {CALIBRATION_PULSE: "Calibration pulse", "pacing": "Pacing", "device_beat": "Beat"}


def code(scheme: str, value: str, meaning: str) -> Dataset:
    """One item of a code sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    if scheme == "SCPECG":
        item.CodingSchemeVersion = "1.3"
    return item


def annotation_items(record: EcgRecord, width: int) -> list[Dataset]:
    """Measurements, statements and marks.

    Args:
        width: leads of one multiplex group.
    """
    items = [_measurement(one) for one in record.device_measurements[:MAX_MEASUREMENTS]]
    for sentence in record.device_statements[:MAX_STATEMENTS]:
        item = _item(1, 0)
        item.UnformattedTextValue = clean(sentence, 1024)
        items.append(item)
    order = attrgetter("kind", "text")
    known = sorted(
        (a for a in record.annotations if a.kind in _MEANINGS), key=lambda a: (order(a), a.lead or "", a.start)
    )
    for (_, _, lead), same in groupby(known, key=lambda a: (*order(a), a.lead)):
        every, row = list(same), record.leads.index(lead) if lead in record.leads else None
        items += [_marks(every[k : k + _POSITIONS], row, width) for k in range(0, len(every), _POSITIONS)]
    return items


def _item(group: int, channel: int) -> Dataset:
    item = Dataset()
    item.ReferencedWaveformChannels = [group, channel]
    item.AnnotationGroupNumber = 1
    return item


def _measurement(one: DeviceMeasurement) -> Dataset:
    scheme, _, value = one.code.partition(":")
    meaning = one.name
    if one.name in _CODES and MEASUREMENT_CODES.get(scheme, {}).get(value) != one.name:
        scheme, (value, meaning) = "MDC", _CODES[one.name]
    elif not (0 < len(scheme) <= 16 and 0 < len(value) <= 16) or not one.code.isascii():
        scheme, value = "99TELEREAD", (one.name if one.name.isascii() else "")[:16] or "measurement"
    item = _item(1, 0)
    unit = _UNITS.get(one.unit, one.unit)
    plain = unit if 0 < len(unit) <= 16 and unit.isascii() else "1"
    item.MeasurementUnitsCodeSequence = Sequence([code("UCUM", plain, unit or "no units")])
    item.ConceptNameCodeSequence = Sequence([code(scheme, value, clean(meaning, 64) or "measurement")])
    item.NumericValue = decimal_string(one.value)
    return item


def _marks(some: list[Annotation], row: int | None, width: int) -> Dataset:
    group, channel = (1, 0) if row is None else (row // width + 1, row % width + 1)
    item = _item(group, channel)
    text = clean(some[0].text, 40)
    meaning = _MEANINGS[some[0].kind] + (f": {text}" if text else "")
    item.ConceptNameCodeSequence = Sequence([code("99TELEREAD", some[0].kind[:16], meaning)])
    points = all(one.end == one.start + 1 for one in some)
    ends = [(one.start + 1,) if points else (one.start + 1, one.end) for one in some]
    many = "MULTI" if len(some) > 1 else ""
    item.TemporalRangeType = many + ("POINT" if points else "SEGMENT")
    item.ReferencedSamplePositions = [p for span in ends for p in span]
    return item

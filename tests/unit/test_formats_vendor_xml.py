"""Promises of the CardioSoft, Mortara, Schiller and Zoncare XML readers.

Each was written from public descriptions: the files here are built from those, none is a device's.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime

import numpy as np
import pytest

from teleread.errors import InputRejected
from teleread.ingest.formats import read_ecg, sniff
from teleread.ingest.formats.format import Given
from teleread.ingest.formats.registry import FORMATS
from teleread.signal.ecg import STANDARD_LEADS
from tests.prove.mutations import mutate
from tests.unit import xml_files as xml

ROWS = xml.stored()
TWELVE = xml.stored(12, 1000)
MICROVOLTS = Given(unit="uV")
NAMES = ("cardiosoft", "mortara", "schiller", "zoncare")
BUILT: dict[str, Callable[[], str]] = {
    "cardiosoft": lambda: xml.cardiosoft(ROWS),
    "mortara": lambda: xml.mortara(ROWS),
    "schiller": lambda: xml.schiller(ROWS),
    "zoncare": lambda: xml.zoncare(TWELVE),
}


def rejected(text: str, given: Given | None = None) -> str:
    with pytest.raises(InputRejected) as caught:
        read_ecg(text.encode(), given=given)
    return caught.value.code


@pytest.mark.parametrize("name", NAMES)
def test_a_format_that_no_device_file_proved_says_so(name: str) -> None:
    assert [one.seen_from_device for one in FORMATS if one.name == name] == [False]


@pytest.mark.parametrize(
    ("name", "step_mv", "fs_hz"), [("cardiosoft", 0.005, 500.0), ("mortara", 0.005, 1000.0), ("schiller", 0.005, 500.0)]
)
def test_the_rhythm_is_read_and_nothing_else(name: str, step_mv: float, fs_hz: float) -> None:
    data = BUILT[name]().encode()
    record = read_ecg(data)
    assert (sniff(data), record.source_format, record.leads, record.fs_hz) == (name, name, STANDARD_LEADS, fs_hz)
    for lead, row in zip(xml.EIGHT, ROWS, strict=True):
        assert np.allclose(record.signals_mv[record.leads.index(lead)], row * step_mv, atol=1e-12)
    assert record.other_channels == ()
    assert (record.patient.id, record.patient.name, record.patient.sex) == ("P7", "Wang Wu", "F")


def test_what_stands_around_the_samples_is_read() -> None:
    cardiosoft, mortara, schiller = (read_ecg(BUILT[name]().encode()) for name in NAMES[:3])
    assert cardiosoft.acquired_at == datetime(2024, 1, 31, 1, 5, 7, tzinfo=UTC)
    assert mortara.acquired_at == schiller.acquired_at == datetime(2024, 1, 31, 4, tzinfo=UTC)
    assert (cardiosoft.age_years, mortara.age_years) == (61.0, 61.0)
    assert mortara.patient.birth_date == schiller.patient.birth_date == date(1962, 2, 3)
    assert (cardiosoft.filters.high_pass_hz, cardiosoft.filters.low_pass_hz) == (0.05, 150.0)
    assert (cardiosoft.filters.notch_hz, mortara.filters.low_pass_hz) == (50.0, 150.0)
    for record in (cardiosoft, mortara, schiller):
        assert ("heart_rate", 72.0, "/min") in [(m.name, m.value, m.unit) for m in record.device_measurements]
    assert cardiosoft.device_statements == ("Sinus rhythm",)
    assert mortara.device_statements == ("Sinus rhythm: rate 72",)
    assert (mortara.device.manufacturer, mortara.device.model) == ("Mortara", "ELI 250")


def test_the_step_of_zoncare_must_be_given() -> None:
    text = xml.zoncare(TWELVE)
    assert sniff(text.encode()) == "zoncare"
    assert rejected(text) == "zoncare_no_scale"
    assert rejected(text, Given(unit="mmHg")) == "zoncare_no_scale"
    record = read_ecg(text.encode(), given=MICROVOLTS)
    assert (record.leads, record.fs_hz) == (STANDARD_LEADS, 500.0)
    assert np.allclose(record.signals_mv, TWELVE / 1000.0, atol=1e-12)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (xml.cardiosoft(ROWS, rate=""), "cardiosoft_no_rate"),
        (xml.cardiosoft(ROWS, rate="-500"), "cardiosoft_no_rate"),
        (xml.cardiosoft(ROWS, step="<Resolution>5"), "cardiosoft_no_scale"),
        (xml.cardiosoft(ROWS, step='<Resolution units="uVperLsb">'), "cardiosoft_no_scale"),
        (xml.cardiosoft(ROWS).replace("StripData", "FullDisclosure"), "cardiosoft_no_waveform"),
        (xml.cardiosoft(ROWS).replace(",", ",,", 1), "cardiosoft_broken"),
        (xml.cardiosoft(ROWS).replace("\n\t", "\n\t1,", 1), "cardiosoft_broken"),
        (xml.cardiosoft(ROWS[:0], ()), "cardiosoft_no_ecg_lead"),
        (xml.cardiosoft(xml.stored(65, 5), [f"L{k}" for k in range(65)]), "cardiosoft_too_large"),
        (xml.mortara(ROWS, per_mv=""), "mortara_no_scale"),
        (xml.mortara(ROWS, per_mv="0"), "mortara_no_scale"),
        (xml.mortara(ROWS).replace('SAMPLE_FREQ="1000"', "", 1), "mortara_no_rate"),
        (xml.mortara(ROWS, changes='BITS="12" FORMAT="SIGNED"'), "mortara_unsupported"),
        (xml.mortara(ROWS).replace('OFFSET="0"', 'OFFSET="10"', 1), "mortara_unsupported"),
        (xml.mortara(ROWS).replace('DURATION="600"', 'DURATION="601"', 1), "mortara_truncated"),
        (xml.mortara(ROWS).replace('DURATION="600"', 'DURATION="599"', 1), "mortara_broken"),
        (xml.mortara(ROWS[:0], ()), "mortara_no_waveform"),
        (xml.mortara(xml.stored(65, 5), [f"L{k}" for k in range(65)]), "mortara_too_large"),
        (xml.schiller(ROWS, units=""), "schiller_no_scale"),
        (xml.schiller(ROWS, exponent="3"), "schiller_unsupported"),
        (xml.schiller(ROWS).replace("COMMASEPARATE", "HEX"), "schiller_unsupported"),
        (xml.schiller(ROWS).replace("<value>500</value>", ""), "schiller_no_rate"),
        (xml.schiller(ROWS).replace("ECG_RHYTHMS", "ECG_AVERAGES"), "schiller_no_waveform"),
        (xml.schiller(ROWS).replace("</data>", ",7</data>").replace(",7</data>", "</data>", 15), "schiller_broken"),
    ],
    ids=range(24),
)
def test_what_cannot_be_read_is_refused(text: str, code: str) -> None:
    assert rejected(text) == code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (xml.zoncare(TWELVE, leads="8"), "zoncare_unsupported"),
        (xml.zoncare(TWELVE).replace("<sample>500</sample>", ""), "zoncare_no_rate"),
        (xml.zoncare(TWELVE).replace("<second>2", "<second>3"), "zoncare_truncated"),
        (xml.zoncare(TWELVE).replace("<second>2", "<second>1"), "zoncare_broken"),
        (xml.zoncare(np.vstack([TWELVE, TWELVE[:1]])), "zoncare_unsupported"),
        (xml.zoncare(TWELVE).replace("<data>", "<data>AAAA"), "zoncare_broken"),
        (xml.zoncare(TWELVE).replace("<data>", "<none>").replace("</data>", "</none>"), "zoncare_no_waveform"),
    ],
)
def test_a_zoncare_file_that_cannot_be_read_is_refused(text: str, code: str) -> None:
    assert rejected(text, MICROVOLTS) == code


@pytest.mark.parametrize("name", NAMES)
def test_a_mutated_file_gives_a_record_or_a_coded_refusal(name: str) -> None:
    original = BUILT[name]().encode()
    for seed in range(300):
        try:
            record = read_ecg(mutate(original, seed), given=MICROVOLTS)
        except InputRejected:
            continue
        assert len(set(record.leads)) == record.signals_mv.shape[0]

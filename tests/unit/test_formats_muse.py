"""Promises of the GE MUSE XML reader."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest

from teleread.errors import InputRejected
from teleread.ingest.formats import read_ecg, sniff
from teleread.signal.ecg import STANDARD_LEADS, Patient
from tests.prove.mutations import mutate
from tests.unit import xml_files as xml

ROWS = xml.stored()
WHO = (
    "<PatientDemographics><PatientID>P7</PatientID><PatientAge>61</PatientAge><AgeUnits>YEARS</AgeUnits>"
    "<DateofBirth>02-03-1962</DateofBirth><Gender>FEMALE</Gender><PatientLastName>张</PatientLastName>"
    "<PatientFirstName>三</PatientFirstName></PatientDemographics><TestDemographics><AcquisitionDevice>MAC55"
    "</AcquisitionDevice><AcquisitionTime>12:00:07</AcquisitionTime><AcquisitionDate>01-31-2024</AcquisitionDate>"
    "<CartNumber>9</CartNumber><AcquisitionSoftwareVersion>010A</AcquisitionSoftwareVersion></TestDemographics>"
)
FOUND = (
    "<RestingECGMeasurements><VentricularRate>72</VentricularRate><PRInterval>0</PRInterval><QRSDuration>90</QRSDuration>"
    "<QTCorrected>*</QTCorrected><PAxis>0</PAxis><RAxis>-30</RAxis></RestingECGMeasurements><Diagnosis>"
    "<DiagnosisStatement><StmtText>Sinus rhythm</StmtText></DiagnosisStatement><DiagnosisStatement><StmtFlag>ENDSLINE"
    "</StmtFlag><StmtText>with pauses</StmtText></DiagnosisStatement><DiagnosisStatement><StmtFlag>ENDSLINE</StmtFlag>"
    "<StmtText>ST段抬高</StmtText></DiagnosisStatement></Diagnosis><QRSTimesTypes><QRS><Type>0</Type><Time>100</Time></QRS>"
    "<QRS><Type>1</Type><Time>900</Time></QRS><QRS><Time>99999</Time></QRS></QRSTimesTypes>"
)


def rejected(text: str) -> str:
    with pytest.raises(InputRejected) as caught:
        read_ecg(text.encode())
    return caught.value.code


def one_lead(**changes: str) -> str:
    return xml.muse(ROWS, inner=xml.muse_waveform("Rhythm", xml.muse_lead("II", ROWS[1], changes)))


def test_the_rhythm_is_read_and_four_leads_are_derived() -> None:
    record = read_ecg(xml.muse(ROWS).encode())
    assert (record.source_format, record.leads, record.fs_hz) == ("muse", STANDARD_LEADS, 500.0)
    assert record.derived_leads == ("III", "aVR", "aVL", "aVF")
    for lead, row in zip(xml.EIGHT, ROWS, strict=True):
        assert np.allclose(record.signals_mv[record.leads.index(lead)], row * 0.00488, atol=1e-12)
    assert (record.filters.high_pass_hz, record.filters.low_pass_hz, record.filters.notch_hz) == (0.05, 150.0, 50.0)
    assert record.extra == {}


@pytest.mark.parametrize("written", ["utf-8", "gb18030", "utf-16"])
def test_what_stands_around_the_samples_is_read(written: str) -> None:
    record = read_ecg(xml.muse(ROWS, around=WHO + FOUND).encode(written))
    assert record.patient == Patient(id="P7", name="张三", birth_date=date(1962, 2, 3), sex="F")
    assert (record.acquired_at, record.age_years) == (datetime(2024, 1, 31, 4, 0, 7, tzinfo=UTC), 61.0)
    assert (record.device.model, record.device.serial, record.device.software) == ("MAC55", "9", "010A")
    measured = {one.name: (one.value, one.unit) for one in record.device_measurements}
    assert measured == {
        "heart_rate": (72.0, "/min"),
        "qrs_duration": (90.0, "ms"),
        "p_axis": (0.0, "deg"),
        "qrs_axis": (-30.0, "deg"),
    }
    assert record.device_statements == ("Sinus rhythm with pauses", "ST段抬高")
    assert [(m.kind, m.start, m.text) for m in record.annotations] == [
        ("device_beat", 50, "0"),
        ("device_beat", 450, "1"),
    ]


def test_a_number_of_zeros_is_no_identifier() -> None:
    """Else everybody without a number would be one patient."""
    around = WHO.replace("P7", "00000000").replace("张", "Anonymous").replace("三", "")
    assert read_ecg(xml.muse(ROWS, around=around).encode()).patient == Patient(birth_date=date(1962, 2, 3), sex="F")


def test_any_leads_at_any_rate_are_read() -> None:
    names = ("II", "V3R", "V7", "V1")
    rate = "<SampleBase>25</SampleBase><SampleExponent>1</SampleExponent>"
    changes = {"LeadAmplitudeUnits": "MILLIVOLTS", "LeadAmplitudeUnitsPerBit": "0.001"}
    leads = "".join(xml.muse_lead(n, r, changes) for n, r in zip(names, ROWS, strict=False))
    record = read_ecg(xml.muse(ROWS, inner=xml.muse_waveform("Rhythm", leads, rate)).encode())
    assert (record.leads, record.fs_hz, record.derived_leads) == (names, 250.0, ())
    assert np.allclose(record.signals_mv, ROWS[:4] / 1000.0)


def test_a_second_rhythm_of_another_rate_stands_aside() -> None:
    rate = "<SampleBase>1000</SampleBase>"
    inner = xml.muse_waveform("Rhythm", "".join(xml.muse_lead(n, r) for n, r in zip(xml.EIGHT, ROWS, strict=True)))
    record = read_ecg(
        xml.muse(ROWS, inner=inner + xml.muse_waveform("Rhythm", xml.muse_lead("V9", ROWS[0]), rate)).encode()
    )
    assert (record.fs_hz, [(c.name, c.fs_hz, c.unit) for c in record.other_channels]) == (500.0, [("V9", 1000.0, "mV")])


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"LeadAmplitudeUnitsPerBit": ""}, "muse_no_scale"),
        ({"LeadAmplitudeUnitsPerBit": "0"}, "muse_no_scale"),
        ({"LeadAmplitudeUnitsPerBit": "nan"}, "muse_no_scale"),
        ({"LeadAmplitudeUnits": ""}, "muse_no_scale"),
        ({"LeadAmplitudeUnits": "FURLONGS"}, "muse_no_scale"),
        ({"LeadSampleSize": "4"}, "muse_unsupported"),
        ({"LeadOffsetFirstSample": "2"}, "muse_unsupported"),
        ({"LeadSampleCountTotal": "601"}, "muse_truncated"),
        ({"LeadSampleCountTotal": "599", "LeadDataCRC32": ""}, "muse_broken"),
        ({"LeadSampleCountTotal": "", "LeadByteCountTotal": "9999999999"}, "muse_truncated"),
        ({"WaveFormData": "QUJD"}, "muse_broken"),
        ({"WaveFormData": "QUI"}, "muse_broken"),
        (
            {"WaveFormData": "<x/>", "LeadSampleCountTotal": "0", "LeadByteCountTotal": "", "LeadDataCRC32": ""},
            "muse_no_ecg_lead",
        ),
        ({"LeadDataCRC32": "1"}, "muse_checksum"),
    ],
)
def test_a_lead_that_cannot_be_right_is_refused(changes: dict[str, str], code: str) -> None:
    assert rejected(one_lead(**changes)) == code


@pytest.mark.parametrize(
    ("inner", "code"),
    [
        (xml.muse_waveform("Median", xml.muse_lead("II", ROWS[1])), "muse_no_waveform"),
        (xml.muse_waveform("Rhythm", ""), "muse_no_ecg_lead"),
        (xml.muse_waveform("Rhythm", xml.muse_lead("II", ROWS[1]), ""), "muse_no_rate"),
        (xml.muse_waveform("Rhythm", xml.muse_lead("II", ROWS[1]), "<SampleBase>0</SampleBase>"), "muse_no_rate"),
        (
            xml.muse_waveform(
                "Rhythm", xml.muse_lead("I", ROWS[0]) + xml.muse_lead("II", ROWS[1], {"LeadTimeOffset": "2500"})
            ),
            "muse_unsupported",
        ),
        (xml.muse_waveform("Rhythm", xml.muse_lead("II", ROWS[1]) * 65), "muse_too_large"),
    ],
)
def test_a_recording_that_cannot_be_read_is_refused(inner: str, code: str) -> None:
    assert rejected(xml.muse(ROWS, inner=inner)) == code


def test_one_wrong_checksum_is_damage_and_none_right_is_another_way_to_count() -> None:
    damaged = ROWS.copy()
    damaged[4, 300] += 1
    leads = "".join(xml.muse_lead(n, r, {"LeadDataCRC32": "77"}) for n, r in zip(xml.EIGHT, damaged, strict=True))
    text = xml.muse(ROWS, inner=xml.muse_waveform("Rhythm", leads))
    assert rejected(text) == "muse_checksum"  # the median's are right
    only = text[: text.index("<Waveform>")] + text[text.rindex("<Waveform>") :]
    assert read_ecg(only.encode()).extra == {"checksum": "wrong"}


def test_bytes_behind_the_samples_of_a_whole_lead_are_left() -> None:
    record = read_ecg(one_lead(LeadSampleCountTotal="590").encode())
    assert np.allclose(record.signals_mv[0], ROWS[1, :590] * 0.00488)


def test_a_baseline_is_not_added_but_noted() -> None:
    record = read_ecg(one_lead(FirstSampleBaseline="100").encode())
    assert np.allclose(record.signals_mv[0], ROWS[1] * 0.00488)
    assert record.extra == {"first_sample_baseline": "not added"}


def test_a_checksum_of_other_digits_is_none() -> None:
    """Seed 3855: a superscript digit is a digit to str.isdigit and none to int."""
    assert read_ecg(one_lead(LeadDataCRC32="³470638135").encode()).leads == ("II",)


@pytest.mark.parametrize("seed", range(300))
def test_a_mutated_file_gives_the_same_samples_or_a_coded_refusal(seed: int) -> None:
    original = xml.muse(ROWS, around=WHO + FOUND).encode()
    try:
        record = read_ecg(mutate(original, seed))
    except InputRejected:
        return
    whole = read_ecg(original)
    assert record.leads == whole.leads
    assert np.array_equal(record.signals_mv, whole.signals_mv)


def test_real_files_are_read_as_their_keys_say(data_dir: Path) -> None:
    for path in sorted((data_dir / "ecg_files" / "muse_xml").glob("*.xml")):
        record = read_ecg(path)
        key = json.loads(Path(f"{path}.gt.json").read_text(encoding="utf-8"))
        assert (sniff(path.read_bytes()), record.fs_hz, record.extra) == ("muse", key["fs"], {})
        with np.load(f"{path}.gt.npz") as truth:
            for lead in truth.files:
                row = record.lead(lead)
                assert row is not None
                assert np.abs(row - truth[lead]).max() < 1e-6


def test_the_chinese_statements_of_a_real_file_are_read(data_dir: Path) -> None:
    record = read_ecg(data_dir / "ecg_files" / "muse_xml" / "guangxi_teaching_sinus_rhythm.xml")
    assert record.device_statements == ("窦性心律", "ST段抬高（提示心室早期复极）", "正常心电图")  # not the physician's
    assert {m.name: m.value for m in record.device_measurements}["qrs_duration"] == 74.0
    assert record.acquired_at == datetime(2024, 1, 1, 2, 35, 17, tzinfo=UTC)

"""Promises of the Philips Sierra XML reader."""

from __future__ import annotations

import base64
import json
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest

from teleread.errors import InputRejected
from teleread.ingest.formats import read_ecg, sniff
from teleread.ingest.formats.sierra_xli import unpack
from teleread.signal.ecg import STANDARD_LEADS
from tests.prove.mutations import mutate
from tests.unit import xml_files as xml

PLAIN_BASE64 = 'dataencoding="Base64" compression="Uncompressed"'
PLAIN_TEXT = 'dataencoding="Plain" compressflag="False" compressmethod="XLI"'
AROUND = (
    "<patient><generalpatientdata><patientid>P7</patientid><name><lastname>张</lastname><firstname>三</firstname></name>"
    '<age defaultage="50"><dateofbirth>1962-02-03</dateofbirth></age><sex>Female</sex></generalpatientdata></patient>'
    "<internalmeasurements><crossleadmeasurements><meanventrate>72</meanventrate><meanqrsdur>91</meanqrsdur>"
    "<meanprint>Failed</meanprint><tfrontaxis>Indeterminate</tfrontaxis><pacepulses>100 1e99 400</pacepulses>"
    "</crossleadmeasurements></internalmeasurements><interpretations><interpretation><globalmeasurements><qrsdur>90"
    "</qrsdur><qrsfrontaxis>-20</qrsfrontaxis></globalmeasurements><severity>- ABNORMAL ECG -</severity><statement>"
    "<leftstatement>Sinus rhythm</leftstatement><rightstatement>rate 72</rightstatement></statement></interpretation>"
    "</interpretations>"
)


def twelve(n: int = 600, leads: int = 12) -> xml.Stored:
    """The dependent limb leads follow from I and II but for a step, as a device rounds them."""
    rows = xml.stored(leads, n)
    one, two = rows[0], rows[1]
    rows[2] = two - one - 1
    rows[3] = -((one + two) // 2)
    rows[4] = (one - rows[2]) // 2
    rows[5] = (two + rows[2]) // 2 + 1
    return rows


ROWS = twelve()


def rejected(text: str | bytes) -> str:
    with pytest.raises(InputRejected) as caught:
        read_ecg(text if isinstance(text, bytes) else text.encode())
    return caught.value.code


def by_lead(rows: xml.Stored) -> str:
    return xml.base64_of(rows.reshape(-1))


@pytest.mark.parametrize("written", ["utf-8", "utf-16"])
@pytest.mark.parametrize("version", ["1.03", "1.04", "1.04.01", "1.04.02", "1.05"])
def test_compressed_leads_and_their_residuals_are_rebuilt(version: str, written: str) -> None:
    record = read_ecg(xml.sierra(ROWS, xml.xli(ROWS), version=version).encode(written))
    assert (record.source_format, record.leads, record.fs_hz) == ("sierra", STANDARD_LEADS, 500.0)
    assert np.array_equal(record.signals_mv, ROWS * 0.005)
    assert record.derived_leads == ()


@pytest.mark.parametrize(
    ("attributes", "text"), [(PLAIN_BASE64, by_lead(ROWS)), (PLAIN_TEXT, " ".join(map(str, ROWS.reshape(-1))))]
)
def test_leads_that_are_not_compressed_are_taken_as_they_stand(attributes: str, text: str) -> None:
    record = read_ecg(xml.sierra(ROWS, text, attributes).encode())
    assert np.array_equal(record.signals_mv, ROWS * 0.005)


def test_leads_beyond_twelve_are_read() -> None:
    rows = twelve(leads=16)
    labels = (*STANDARD_LEADS, "V3R", "V4R", "V8", "V9")
    record = read_ecg(xml.sierra(rows, xml.xli(rows), labels=labels).encode())
    assert record.leads == labels
    assert np.array_equal(record.signals_mv, rows * 0.005)


def test_the_older_tag_of_the_resolution_is_known() -> None:
    step = "<signalresolution>2.5</signalresolution>"
    record = read_ecg(xml.sierra(ROWS, by_lead(ROWS), PLAIN_BASE64, step=step).encode())
    assert np.array_equal(record.signals_mv, ROWS * 0.0025)


def test_what_stands_around_the_samples_is_read() -> None:
    record = read_ecg(xml.sierra(ROWS, xml.xli(ROWS), around=AROUND).encode("utf-16"))
    assert (record.patient.id, record.patient.name, record.patient.sex) == ("P7", "张三", "F")
    assert (record.patient.birth_date, record.acquired_at) == (
        date(1962, 2, 3),
        datetime(2024, 1, 31, 4, tzinfo=UTC),
    )
    assert record.age_years == pytest.approx(61.99, abs=0.01)  # not the default age
    assert (record.device.manufacturer, record.device.model, record.device.software) == ("Philips", "TC70", "1.2")
    assert {m.name: m.value for m in record.device_measurements} == {
        "heart_rate": 72.0,
        "qrs_duration": 90.0,
        "qrs_axis": -20.0,
    }
    assert record.device_statements == ("Sinus rhythm: rate 72", "ABNORMAL ECG")
    assert [(m.kind, m.start) for m in record.annotations] == [("pacing", 50), ("pacing", 200)]


def test_a_calibration_pulse_at_the_end_is_listed_and_not_cut() -> None:
    rows = twelve(5500)
    rows[:, 5000:] = rows[:, 4999:5000]
    rows[:, 5350:5450] += 200
    record = read_ecg(xml.sierra(rows, by_lead(rows), PLAIN_BASE64).encode())
    assert record.signals_mv.shape == (12, 5500)
    assert [(m.kind, m.start, m.end, m.lead) for m in record.annotations] == [("calibration_pulse", 5350, 5450, None)]
    rows[3, 5000:] = 0  # a lead that was off
    assert len(read_ecg(xml.sierra(rows, by_lead(rows), PLAIN_BASE64).encode()).annotations) == 1


def test_a_lead_without_the_pulse_of_the_others_was_unpacked_wrong() -> None:
    """Seeds 1653, 1905, 2318 and 4711 of mutated real files: a wrong second difference drifts to the end."""
    rows = twelve(5500)
    rows[:, 5000:] = rows[:, 4999:5000]
    rows[:, 5350:5450] += 200
    rows[7, 3000:] += np.arange(2500)
    assert rejected(xml.sierra(rows, by_lead(rows), PLAIN_BASE64)) == "sierra_broken"
    rows[:, 5350:5450] -= 200  # no lead has one: ten seconds of a patient
    assert read_ecg(xml.sierra(rows, by_lead(rows), PLAIN_BASE64).encode()).annotations == ()


@pytest.mark.parametrize("labels", [("aVL", "I", "-aVR", "II", "aVF", "III"), ("I", "III", "II", "aVR", "aVL", "aVF")])
def test_residual_leads_in_another_order_are_not_taken_for_leads(labels: tuple[str, ...]) -> None:
    text = xml.sierra(ROWS, xml.xli(ROWS), labels=[*labels, *STANDARD_LEADS[6:]])
    assert rejected(text) == "sierra_unsupported"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (xml.sierra(ROWS, xml.xli(ROWS), rate=""), "sierra_no_rate"),
        (xml.sierra(ROWS, xml.xli(ROWS), rate="<samplingrate>0</samplingrate>"), "sierra_no_rate"),
        (
            xml.sierra(ROWS, xml.xli(ROWS), 'samplespersecond="1000" dataencoding="Base64" compression="XLI"'),
            "sierra_no_rate",
        ),
        (xml.sierra(ROWS, xml.xli(ROWS), step=""), "sierra_no_scale"),
        (xml.sierra(ROWS, xml.xli(ROWS), step="<resolution>x</resolution>"), "sierra_no_scale"),
        (xml.sierra(ROWS, xml.xli(ROWS), version="1.02"), "sierra_unsupported"),
        (xml.sierra(ROWS, xml.xli(ROWS), 'dataencoding="Base64" compression="ZIP"'), "sierra_unsupported"),
        (xml.sierra(ROWS, xml.xli(ROWS), 'dataencoding="Hex" compression="XLI"'), "sierra_unsupported"),
        (xml.sierra(ROWS, by_lead(ROWS), PLAIN_BASE64 + ' bitspersample="12"'), "sierra_unsupported"),
        (xml.sierra(ROWS, by_lead(ROWS), PLAIN_BASE64 + ' signaloffset="5"'), "sierra_unsupported"),
        (xml.sierra(ROWS, by_lead(ROWS[:, :-1]), PLAIN_BASE64), "sierra_truncated"),
        (xml.sierra(ROWS, xml.base64_of(np.append(ROWS, 1)), PLAIN_BASE64), "sierra_broken"),
        (xml.sierra(ROWS, xml.xli(ROWS)[:-400]), "sierra_truncated"),
        (xml.sierra(ROWS, xml.xli(ROWS)[:-401]), "sierra_broken"),
        (xml.sierra(ROWS, "", 'dataencoding="Plain"'), "sierra_truncated"),
        (xml.sierra(ROWS, xml.xli(ROWS)).replace("parsedwaveforms", "otherwaveforms"), "sierra_no_waveform"),
        (xml.sierra(ROWS, xml.xli(ROWS), labels=["V1"] * 65), "sierra_no_ecg_lead"),
    ],
)
def test_a_recording_that_cannot_be_read_is_refused(text: str, code: str) -> None:
    assert rejected(text) == code


def test_leads_of_different_lengths_are_damage() -> None:
    chunks = [xml.xli_chunk(row) for row in ROWS]
    chunks[7] = xml.xli_chunk(ROWS[7, :-4])
    assert rejected(xml.sierra(ROWS, base64.b64encode(b"".join(chunks)).decode())) == "sierra_broken"


def test_a_code_before_its_time_and_samples_out_of_range_are_damage() -> None:
    early = int("".join(f"{code:010b}" for code in (65, 300, 1023, 1023)), 2).to_bytes(5, "big")
    wild = xml.xli_chunk(np.array([0, 30_000, 60_000, 90_000, 120_000]))
    for body in (len(early).to_bytes(4, "little") + bytes(4) + early, wild):
        with pytest.raises(InputRejected) as caught:
            unpack(body, 1, 1000)
        assert caught.value.code == "sierra_broken"


def test_a_bomb_is_stopped_at_its_limit() -> None:
    packed = xml.lzw(bytes(4_000_000))
    assert len(packed) < 10_000
    chunk = len(packed).to_bytes(4, "little") + bytes(4) + packed
    with pytest.raises(InputRejected) as caught:
        unpack(chunk * 12, 12, 100_000)
    assert caught.value.code == "sierra_bomb"
    bomb = base64.b64encode(chunk * 12).decode()
    assert rejected(xml.sierra(ROWS, bomb)) in ("sierra_bomb", "sierra_too_large")


@pytest.mark.parametrize("seed", range(300))
def test_a_mutated_file_gives_a_record_or_a_coded_refusal(seed: int) -> None:
    try:
        record = read_ecg(mutate(xml.sierra(ROWS, xml.xli(ROWS), around=AROUND).encode(), seed))
    except InputRejected:
        return
    assert len(set(record.leads)) == record.signals_mv.shape[0]


def test_real_files_are_read_as_their_keys_say(data_dir: Path) -> None:
    for path in sorted((data_dir / "ecg_files" / "sierra_xml").glob("*.xml")):
        record = read_ecg(path)
        key = json.loads(Path(f"{path}.gt.json").read_text(encoding="utf-8"))
        assert (sniff(path.read_bytes()), record.fs_hz, record.leads) == ("sierra", key["fs"], STANDARD_LEADS)
        assert [(m.kind, m.start, m.end) for m in record.annotations] == [("calibration_pulse", 5350, 5450)]
        with np.load(f"{path}.gt.npz") as truth:
            for lead in truth.files:
                row = record.lead(lead)
                assert row is not None
                assert np.abs(row - truth[lead]).max() < 2e-6

"""Promises of the HL7 annotated ECG reader and writer."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teleread.errors import InputRejected
from teleread.ingest.formats import read_ecg, sniff
from teleread.ingest.formats.aecg_write import write_aecg
from teleread.signal.ecg import STANDARD_LEADS, EcgRecord, Patient, simulate
from teleread.signal.ecg.record import Annotation, Device, DeviceMeasurement, Filters
from tests.prove.mutations import mutate
from tests.unit import xml_files as xml

ROWS = xml.stored()
EIGHT = "".join(xml.aecg_sequence(f"MDC_ECG_LEAD_{n.upper()}", r) for n, r in zip(xml.EIGHT, ROWS, strict=True))


def rejected(text: str | bytes) -> str:
    with pytest.raises(InputRejected) as caught:
        read_ecg(text if isinstance(text, bytes) else text.encode())
    return caught.value.code


def one(sequence: str, time: str = "") -> str:
    return xml.aecg(xml.aecg_series((time or xml.aecg_time()) + sequence))


def test_the_rhythm_is_read_and_not_the_representative_beat() -> None:
    beat = xml.aecg_time() + xml.aecg_sequence("MDC_ECG_LEAD_I", [7, 7, 7])
    derived = (
        f"<derivation><derivedSeries><code code='REPRESENTATIVE_BEAT'/><component><sequenceSet>{beat}</sequenceSet>"
    )
    derived += "</component></derivedSeries></derivation>"
    text = xml.aecg(
        xml.aecg_series(beat, code="REPRESENTATIVE_BEAT"),
        xml.aecg_series(xml.aecg_time() + EIGHT, around=derived),
    )
    record = read_ecg(text.encode())
    assert (record.source_format, record.leads, record.fs_hz) == ("aecg", STANDARD_LEADS, 500.0)
    for lead, row in zip(xml.EIGHT, ROWS, strict=True):
        assert np.array_equal(record.signals_mv[record.leads.index(lead)], row * 2.5 * 0.001)
    assert record.acquired_at == datetime(2024, 1, 31, 4, tzinfo=UTC)
    assert record.derived_leads == ("III", "aVR", "aVL", "aVF")


@pytest.mark.parametrize(
    ("scale", "unit", "origin", "expected"),
    [("2.5", "uV", "0", [0.0025, -0.005]), ("0.005", "mV", "0", [0.005, -0.01]),
     ("1220", "nV", "0", [0.00122, -0.00244]),
     ("0.000001", "V", "0", [0.001, -0.002]), ("5", "µV", "-10", [-0.005, -0.02])],
)  # fmt: skip
def test_scale_and_origin_are_honoured_in_their_unit(scale: str, unit: str, origin: str, expected: list[float]) -> None:
    record = read_ecg(one(xml.aecg_sequence("MDC_ECG_LEAD_II", [1, -2], scale, unit, origin)).encode())
    assert record.signals_mv[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("increment", "fs_hz"),
    [('value="2" unit="ms"', 500.0), ('value="1000" unit="us"', 1000.0), ('value="0.00390625" unit="s"', 256.0),
     ('value="0.002777777777777778" unit="s"', 360.0)],
)  # fmt: skip
def test_the_increment_is_read_in_its_unit(increment: str, fs_hz: float) -> None:
    for kind, head in (("TS", 'value="20240131120000"'), ("PQ", 'value="0" unit="s"')):
        time = xml.aecg_time(head, increment, kind)
        assert read_ecg(one(xml.aecg_sequence("MDC_ECG_LEAD_II", [1, 2]), time).encode()).fs_hz == fs_hz


def test_leads_of_other_vendors_are_known() -> None:
    codes = ("NOM_ECG_LEAD_I", "131390", "MDC_ECG_LEAD_V3R", "MDC_ECG_LEAD_V9", "MDC_ECG_LEAD_I")
    inner = xml.aecg_time() + "".join(xml.aecg_sequence(code, [1, 2]) for code in codes)
    record = read_ecg(xml.aecg(xml.aecg_series(inner, code="ECG_RHYTHM_WAVEFORMS")).encode())
    assert record.leads == ("I", "aVR", "V3R", "V9", "I (2)")


def test_digits_may_stand_between_commas() -> None:
    text = one(xml.aecg_sequence("MDC_ECG_LEAD_II", [1])).replace("<digits>1", "<digits>1, -2,\n3,")
    assert read_ecg(text.encode()).signals_mv[0] == pytest.approx([0.0025, -0.005, 0.0075])


def test_sequence_sets_stand_on_one_time_line() -> None:
    sets = [
        xml.aecg_time(f'value="2024013112000{k}.000"') + xml.aecg_sequence(f"MDC_ECG_LEAD_{lead}", [k + 1] * 500)
        for k, lead in enumerate(("I", "AVR", "I"))
    ]
    record = read_ecg(xml.aecg(xml.aecg_series(*sets)).encode())
    assert (record.leads, record.signals_mv.shape) == (("I", "aVR"), (2, 1500))
    first, second = record.signals_mv
    assert np.allclose(first[:500], 0.0025)
    assert np.isnan(first[500:1000]).all()
    assert np.allclose(first[1000:], 0.0075)
    assert np.isnan(second[:500]).all()
    assert np.allclose(second[500:1000], 0.005)


def test_a_set_of_another_rate_or_years_away_stands_aside() -> None:
    sets = [
        xml.aecg_time() + xml.aecg_sequence("MDC_ECG_LEAD_I", [1] * 500),
        xml.aecg_time(increment='value="0.004" unit="s"') + xml.aecg_sequence("MDC_ECG_LEAD_V1", [2] * 250),
        xml.aecg_time('value="19240131120000.000"') + xml.aecg_sequence("MDC_ECG_LEAD_V2", [3] * 500),
    ]
    record = read_ecg(xml.aecg(xml.aecg_series(*sets)).encode())
    assert (record.leads, record.signals_mv.shape) == (("I",), (1, 500))
    assert [(c.name, c.fs_hz) for c in record.other_channels] == [("V1", 250.0), ("V2", 500.0)]


def test_samples_of_one_lead_and_time_are_not_written_over() -> None:
    sets = [xml.aecg_time() + xml.aecg_sequence("MDC_ECG_LEAD_I", [k] * 100) for k in (1, 2)]
    twice = xml.aecg_series(xml.aecg_time() + xml.aecg_sequence("MDC_ECG_LEAD_I", [3] * 50))
    record = read_ecg(xml.aecg(xml.aecg_series(*sets), twice).encode())
    assert np.allclose(record.signals_mv, 0.0025)
    assert [c.samples[0] for c in record.other_channels] == pytest.approx([0.005, 0.0075])


def test_a_channel_that_is_no_voltage_stands_aside() -> None:
    pressure = xml.aecg_sequence("MDC_PRESS", [100, 101], "1", "mmHg")
    record = read_ecg(one(xml.aecg_sequence("MDC_ECG_LEAD_II", [1, 2]) + pressure).encode())
    assert [(c.name, c.unit, c.samples.tolist()) for c in record.other_channels] == [("PRESS", "mmHg", [100.0, 101.0])]


def annotation(code: str, value: str, inner: str = "") -> str:
    return f'<component><annotation><code code="{code}"/>{value}{inner}</annotation></component>'


def test_a_physicians_annotations_and_those_of_one_lead_are_left_out() -> None:
    bound = "<component><boundary><code code='MDC_ECG_LEAD_I'/></boundary></component>"
    roi = f"<support><supportingROI>{bound}</supportingROI></support>"
    of_lead = annotation("MDC_ECG_TIME_PD_QRS", '<value value="99" unit="ms"/>', roi)
    device = annotation("MDC_ECG_TIME_PD_QRS", '<value value="0.09" unit="s"/>') + annotation(
        "MDC_ECG_INTERPRETATION", "", annotation("MDC_ECG_INTERPRETATION_STATEMENT", "<value>窦性心律</value>")
    )
    person = (
        "<author><assignedEntity><assignedAuthorType><assignedPerson/></assignedAuthorType></assignedEntity></author>"
    )
    doctor = person + annotation("MDC_ECG_TIME_PD_QT", '<value value="400" unit="ms"/>')
    around = "".join(
        f"<subjectOf><annotationSet>{one}</annotationSet></subjectOf>" for one in (of_lead + device, doctor)
    )
    record = read_ecg(xml.aecg(xml.aecg_series(xml.aecg_time() + EIGHT, around=around)).encode())
    assert [(m.name, m.value, m.unit) for m in record.device_measurements] == [("qrs_duration", 90.0, "ms")]
    assert record.device_statements == ("窦性心律",)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (one(xml.aecg_sequence("MDC_ECG_LEAD_II", [1], scale="")), "aecg_no_scale"),
        (one(xml.aecg_sequence("MDC_ECG_LEAD_II", [1], scale="0")), "aecg_no_scale"),
        (one(xml.aecg_sequence("MDC_ECG_LEAD_II", [1], unit="")), "aecg_no_scale"),
        (one(xml.aecg_sequence("MDC_ECG_LEAD_II", [1], unit="mmHg")), "aecg_no_ecg_lead"),
        (one(xml.aecg_sequence("MDC_ECG_LEAD_II", [])), "aecg_no_ecg_lead"),
        (one(xml.aecg_sequence("MDC_ECG_LEAD_II", [1]), xml.aecg_time(increment='value="2"')), "aecg_no_rate"),
        (one(xml.aecg_sequence("MDC_ECG_LEAD_II", [1]), xml.aecg_time(increment='value="0" unit="s"')), "aecg_no_rate"),
        (one(xml.aecg_sequence("MDC_ECG_LEAD_II", [1]), " "), "aecg_no_rate"),
        (one(EIGHT).replace('"GLIST_TS"', '"GLIST_TS" denominator="2"'), "aecg_unsupported"),
        (one(xml.aecg_sequence("MDC_ECG_LEAD_II", [1])).replace("<digits>1", "<digits>1 x"), "aecg_broken"),
        (one(xml.aecg_sequence("MDC_ECG_LEAD_II", [1, 2]) + xml.aecg_sequence("MDC_ECG_LEAD_I", [1])), "aecg_broken"),
        (one("".join(xml.aecg_sequence(f"L{k}", [1]) for k in range(80))), "aecg_too_large"),
        (xml.aecg(xml.aecg_series(xml.aecg_time() + EIGHT, code="REPRESENTATIVE_BEAT")), "aecg_no_waveform"),
        (xml.aecg(xml.aecg_series(code="RHYTHM")), "aecg_no_waveform"),
        (xml.aecg(), "aecg_no_waveform"),
        (xml.aecg()[:-5], "aecg_truncated"),
        (f"<AnnotatedECG>{'<a>' * 200_000}", "aecg_too_deep"),
    ],
    ids=range(17),
)
def test_a_recording_that_cannot_be_read_is_refused(text: str, code: str) -> None:
    assert rejected(text) == code


def test_far_more_digits_than_can_be_read_are_refused() -> None:
    text = one(xml.aecg_sequence("MDC_ECG_LEAD_II", [])).encode()
    assert rejected(text.replace(b"<digits>", b"<digits>" + b"1 " * 7_000_000)) == "aecg_too_large"
    assert rejected(text.replace(b"<digits>", b"<digits>" + b"12 " * 20_000_000)) == "aecg_too_large"


def full(condition: str = "normal") -> EcgRecord:
    record, _ = simulate(condition, 5)
    return replace(
        record,
        signals_mv=np.round(record.signals_mv / 0.0025) * 0.0025,
        patient=Patient("P7", "镇卫生院", "张三 <&> O'Neil", date(1962, 2, 3), "O"),
        acquired_at=datetime(2024, 1, 31, 4, 0, 7, 123456, tzinfo=UTC),
        age_years=61.9904,
        device=Device("Maker & Son", "Model \"X\"", "007", "1.2.3"),
        filters=Filters(0.05, 150.0, 50.0),
        device_measurements=(
            DeviceMeasurement("heart_rate", 72.0, "/min"),
            DeviceMeasurement("qrs_duration", 90.5, "ms"),
            DeviceMeasurement("qrs_axis", -30.0, "deg"),
            DeviceMeasurement("R amplitude V5", 1.25, "mV"),
        ),
        device_statements=("窦性心律", "ST < 0.1 mV & flat"),
        annotations=(
            Annotation("device_beat", 100, 101, text="0"),
            Annotation("pacing", 90, 91),
            Annotation("calibration_pulse", 4000, 4100),
        ),
    )  # fmt: skip


def facts_of(record: EcgRecord) -> tuple[object, ...]:
    measured = [(m.name, m.value, m.unit) for m in record.device_measurements]
    return (
        record.leads, record.derived_leads, record.fs_hz, record.patient, record.acquired_at, record.age_years,
        record.device, record.filters, measured, record.device_statements, record.annotations,
    )  # fmt: skip


def test_nothing_is_lost_by_writing_and_reading() -> None:
    record = full()
    back = read_ecg(write_aecg(record))
    assert facts_of(back) == facts_of(record)
    assert np.allclose(back.signals_mv, record.signals_mv, atol=1e-9)


def test_a_record_without_time_keeps_its_marks() -> None:
    record = replace(full(), acquired_at=None, fs_hz=360.0)
    back = read_ecg(write_aecg(record))
    assert facts_of(back) == facts_of(record)


def test_missing_samples_and_odd_leads_come_back() -> None:
    signals = np.round(np.random.default_rng(2).normal(0, 1, (4, 900)), 3)
    signals[0, :50] = signals[1, 300:400] = signals[:, 880:] = np.nan
    signals[3] = np.nan
    for at in (None, datetime(2024, 1, 31, 4, tzinfo=UTC)):
        record = EcgRecord(signals, ("II", "V7", "Resp x", "C1"), 500.0, acquired_at=at)
        back = read_ecg(write_aecg(record))
        assert (back.leads, back.acquired_at) == (record.leads, at)
        assert np.array_equal(np.isnan(back.signals_mv), np.isnan(signals))
        assert np.nanmax(np.abs(back.signals_mv - signals)) < 1e-9


@pytest.mark.parametrize("step_mv", [0.005, 0.00488, 0.00122, 0.001, 1 / 200, 1 / 1024, 0.0000625])
def test_samples_come_back_to_the_last_bit_of_their_step(step_mv: float) -> None:
    counts = np.random.default_rng(4).integers(-20_000, 20_000, (3, 400))
    record = EcgRecord(counts * step_mv + 0.0, ("I", "II", "V1"), 500.0)
    back = read_ecg(write_aecg(record))
    assert np.abs(back.signals_mv - record.signals_mv).max() < step_mv * 1e-3


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-50, 50), min_size=1, max_size=30), st.sampled_from([100.0, 257.3, 500.0, 1000.0]))
def test_any_samples_come_back_within_a_nanovolt(samples: list[float], fs_hz: float) -> None:
    record = EcgRecord(np.array([samples]), ("II",), fs_hz)
    back = read_ecg(write_aecg(record))
    assert back.fs_hz == pytest.approx(fs_hz, rel=1e-9)
    assert np.abs(back.signals_mv - record.signals_mv).max() <= 1e-6


def test_what_is_written_has_the_schemas_shape() -> None:
    root = ET.fromstring(write_aecg(full()))  # our own bytes
    ns = "{urn:hl7-org:v3}"
    order = [child.tag.removeprefix(ns) for child in root]
    assert order == ["id", "code", "effectiveTime", "componentOf", "controlVariable", "component"]
    series = root.find(f"{ns}component/{ns}series")
    assert series is not None
    assert [child.tag.removeprefix(ns) for child in series] == [
        "id", "code", "effectiveTime", "author", *["controlVariable"] * 3, "component", "subjectOf",
    ]  # fmt: skip
    codes = [one.get("code") or "" for one in root.iter(f"{ns}code")]
    assert all(code and " " not in code for code in codes)
    assert "derived" not in write_aecg(full()).decode()


def test_a_record_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        write_aecg(EcgRecord(np.array([[np.inf]]), ("II",), 500.0))
    with pytest.raises(ValueError, match="stored"):
        write_aecg(EcgRecord(np.zeros((1, 3)), ("III",), 500.0, derived_leads=("III",)))
    gaps = np.where(np.arange(20_000) % 2, 0.1, np.nan)[None]
    with pytest.raises(ValueError, match="gaps"):
        write_aecg(EcgRecord(gaps, ("II",), 500.0))


@pytest.mark.parametrize("build", [lambda: write_aecg(full()), lambda: one(EIGHT).encode()], ids=["written", "plain"])
def test_a_mutated_file_gives_a_record_or_a_coded_refusal(build: Callable[[], bytes]) -> None:
    original = build()
    for seed in range(300):
        try:
            record = read_ecg(mutate(original, seed))
        except InputRejected:
            continue
        assert len(set(record.leads)) == record.signals_mv.shape[0]


def test_real_files_are_read_as_their_keys_say(data_dir: Path) -> None:
    for path in sorted((data_dir / "ecg_files" / "hl7aecg").glob("*.xml")):
        record = read_ecg(path)
        key = json.loads(Path(f"{path}.gt.json").read_text(encoding="utf-8"))
        assert (sniff(path.read_bytes()), record.fs_hz) == ("aecg", key["fs"])
        with np.load(f"{path}.gt.npz") as truth:
            for lead in truth.files:
                row = record.lead(lead)
                assert row is not None
                assert np.abs(row - truth[lead]).max() < 1e-6


def test_every_real_xml_file_comes_back_from_aecg(data_dir: Path) -> None:
    for path in sorted((data_dir / "ecg_files").glob("*/*.xml")):
        record = read_ecg(path)
        back = read_ecg(write_aecg(record))
        assert facts_of(back) == facts_of(record)
        assert np.abs(back.signals_mv - record.signals_mv).max() < 1e-9


def test_a_moment_has_its_own_offset() -> None:
    text = one(EIGHT, xml.aecg_time('value="20240131120000.5-0500"'))
    assert read_ecg(text.encode()).acquired_at == datetime(2024, 1, 31, 17, 0, 0, 500_000, tzinfo=UTC)

"""Promises of the reader of FHIR sampled data."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pytest

from teleread.errors import InputRejected
from teleread.ingest.formats import kind_of, read_ecg, sniff
from teleread.signal.ecg import STANDARD_LEADS, Patient
from tests.prove.mutations import mutate
from tests.unit import xml_files as xml

ROWS = xml.stored()
PATIENT = {
    "resourceType": "Patient",
    "id": "p7",
    "identifier": [{"value": "H0007", "assigner": {"display": "镇卫生院"}}],
    "name": [{"family": "张", "given": ["三"]}],
    "gender": "female",
    "birthDate": "1962-02-03",
}
DEVICE = {
    "resourceType": "Device",
    "id": "d1",
    "manufacturer": "Maker",
    "modelNumber": "M1",
    "serialNumber": "9",
    "version": [{"value": "2.0"}],
}


def bundle(*resources: Any) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": one} for one in resources]}


def as_xml(resource: dict[str, Any]) -> str:
    """The resource in FHIR's XML form."""

    def fill(parent: ET.Element, members: dict[str, Any]) -> None:
        for name, value in members.items():
            for one in value if isinstance(value, list) else [value]:
                if name == "resourceType":
                    continue
                child = ET.SubElement(parent, name)
                if isinstance(one, dict) and "resourceType" in one:
                    child = ET.SubElement(child, one["resourceType"])
                if isinstance(one, dict):
                    fill(child, one)
                else:
                    child.set("value", str(one))

    root = ET.Element(resource["resourceType"], {"xmlns": "http://hl7.org/fhir"})
    fill(root, resource)
    return ET.tostring(root, "unicode")


def one_lead(data: str = "1 2 3", code: str = "MDC_ECG_LEAD_II", **changes: object) -> dict[str, Any]:
    return xml.observation({code: xml.sampled(data, **changes)})


def read(resource: dict[str, Any]) -> Any:
    return read_ecg(json.dumps(resource).encode())


def rejected(given: dict[str, Any] | bytes) -> str:
    with pytest.raises(InputRejected) as caught:
        read_ecg(given if isinstance(given, bytes) else json.dumps(given).encode())
    return caught.value.code


def without(resource: dict[str, Any], *names: str) -> dict[str, Any]:
    data = resource["component"][0]["valueSampledData"]
    for name in names:
        del data[name]
    return resource


@pytest.mark.parametrize("form", ["json", "xml", "json-utf-16", "xml-utf-16"])
def test_leads_are_read_from_either_form(form: str) -> None:
    text = xml.fhir(ROWS)
    if form.startswith("xml"):
        text = as_xml(json.loads(text))
    data = text.encode("utf-16" if form.endswith("utf-16") else "utf-8")
    assert (sniff(data), kind_of(data)) == ("fhir", "ecg")
    record = read_ecg(data)
    assert (record.source_format, record.leads, record.fs_hz) == ("fhir", STANDARD_LEADS, 500.0)
    for lead, row in zip(xml.EIGHT, ROWS, strict=True):
        assert np.allclose(record.signals_mv[record.leads.index(lead)], row * 0.005, atol=1e-12)
    assert record.acquired_at == datetime(2024, 1, 31, 4, tzinfo=UTC)


@pytest.mark.parametrize("form", [json.dumps, as_xml])
def test_patient_and_device_of_a_bundle_are_read(form: Any) -> None:
    rate = {"code": {"coding": [{"code": "8867-4"}]}, "valueQuantity": {"value": 72, "unit": "bpm", "code": "/min"}}
    qrs = {"code": {"coding": [{"code": "8633-0"}]}, "valueQuantity": {"value": 0.09, "code": "s"}}
    seen = json.loads(xml.fhir(ROWS, device={"reference": "Device/d1"}))
    seen["component"] += [rate, qrs]
    other = {**PATIENT, "id": "p8", "name": [{"text": "Somebody Else"}]}
    record = read_ecg(form(bundle(other, PATIENT, DEVICE, seen)).encode())
    assert record.patient == Patient("H0007", "镇卫生院", "张三", date(1962, 2, 3), "F")
    assert (record.device.manufacturer, record.device.model) == ("Maker", "M1")
    assert (record.device.serial, record.device.software) == ("9", "2.0")
    assert [(m.name, m.value, m.unit) for m in record.device_measurements] == [
        ("heart_rate", 72.0, "/min"),
        ("qrs_duration", 90.0, "ms"),
    ]


@pytest.mark.parametrize(
    ("code", "lead"),
    [("131329", "I"), ("131389", "III"), ("131390", "aVR"), ("131336", "V6"), ("MDC_ECG_ELEC_POTL_AVF", "aVF"),
     ("MDC_ECG_LEAD_V3R", "V3R"), ("Lead II", "II"), ("ECG lead V1", "V1"), ("something", "something")],
)  # fmt: skip
def test_leads_are_known_by_code_and_by_words(code: str, lead: str) -> None:
    assert read(one_lead(code=code)).leads == (lead,)


def test_values_are_factor_and_origin_in_their_unit() -> None:
    found = read(one_lead("1 -2", origin={"value": 0.5, "unit": "mV"}, factor=0.25))
    assert found.signals_mv[0].tolist() == [0.75, 0.0]
    assert read(without(one_lead("1 -2"), "factor")).signals_mv[0].tolist() == pytest.approx([0.001, -0.002])


def test_samples_that_could_not_be_measured_are_missing() -> None:
    row = read(one_lead("1 E 2 U L 1.5")).signals_mv[0]
    assert np.isnan(row).tolist() == [False, True, False, True, True, False]
    assert row[[0, 2, 5]] == pytest.approx([0.005, 0.01, 0.0075])


def test_dimensions_stand_side_by_side() -> None:
    found = read(one_lead("1 2 3 4 5 6", code="x", dimensions=2, period=None, interval=4, intervalUnit="ms"))
    assert (found.leads, found.fs_hz, found.signals_mv.shape) == (("channel 1", "channel 2"), 250.0, (2, 3))
    resource = one_lead("1 2 3 4", dimensions=2)
    resource["component"][0]["code"] = {"text": "I, aVR"}
    assert read(resource).leads == ("I", "aVR")
    resource["component"][0]["code"] = {"coding": [{"code": "131329"}, {"code": "131331"}]}
    assert read(resource).leads == ("I", "V1")


def test_a_value_of_the_observation_itself_is_read() -> None:
    resource = one_lead()
    resource["valueSampledData"] = resource.pop("component")[0]["valueSampledData"]
    resource["code"] = {"coding": [{"code": "131329"}]}
    assert read(resource).leads == ("I",)


def test_one_observation_for_each_lead_is_one_recording() -> None:
    found = read(bundle(one_lead(code="131329"), one_lead("3 4 5", code="131330")))
    assert found.leads == ("I", "II")
    later = one_lead(code="131330") | {"effectiveDateTime": "2024-01-31T12:01:00+08:00"}
    assert rejected(bundle(one_lead(code="131329"), later)) == "several_recordings"
    assert rejected(bundle(one_lead(), one_lead())) == "several_recordings"


def test_a_slower_or_other_channel_stands_aside() -> None:
    resource = xml.observation(
        {
            "I": xml.sampled("1 2 3 4"),
            "II": xml.sampled("1 2 3 4"),
            "V1": xml.sampled("1 2", period=4),
            "resp": xml.sampled("1 2 3 4", origin={"value": 0, "unit": "Ohm"}),
        }
    )
    found = read(resource)
    assert found.leads == ("I", "II")
    assert [(c.name, c.unit, c.fs_hz) for c in found.other_channels] == [("V1", "mV", 250.0), ("resp", "Ohm", 500.0)]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (without(one_lead(), "period"), "fhir_no_rate"),
        (one_lead(period=0), "fhir_no_rate"),
        (one_lead(period=None, interval=4), "fhir_no_rate"),
        (without(one_lead(), "origin"), "fhir_no_scale"),
        (one_lead(origin={"value": 2048}), "fhir_no_scale"),
        (one_lead(origin={"unit": "uV"}), "fhir_no_scale"),
        (one_lead(factor=0), "fhir_no_scale"),
        (one_lead(origin={"value": 0, "unit": "Ohm"}), "fhir_no_ecg_lead"),
        (one_lead(""), "fhir_no_ecg_lead"),
        (one_lead("1 x"), "fhir_broken"),
        (one_lead(dimensions=2), "fhir_truncated"),
        (one_lead(dimensions=1e9), "fhir_broken"),
        (one_lead("1 " * 4_100_000), "fhir_too_large"),
        (one_lead(offsets="0 1 7"), "fhir_unsupported"),
        (one_lead() | {"status": "entered-in-error"}, "fhir_unsupported"),
        (xml.observation({"I": xml.sampled("1 2 3"), "II": xml.sampled("1 2")}), "fhir_broken"),
        (xml.observation({}), "fhir_no_waveform"),
        (bundle(PATIENT), "fhir_no_waveform"),
        (xml.observation({f"c{k}": xml.sampled("1 2") for k in range(65)}), "fhir_too_large"),
        (json.dumps(one_lead()).encode()[:-9], "fhir_truncated"),
        (json.dumps(one_lead()).encode()[:200], "fhir_truncated"),
        (json.dumps(one_lead()).encode() + b"}", "fhir_broken"),
        (b'{"resourceType":"Observation","a":' + b"[" * 150_000, "fhir_too_deep"),
        (b'{"resourceType":"Observation","a":' + b"[" * 250_000, "fhir_too_many_elements"),
        (b'{"resourceType":"Observation","a":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001, "fhir_too_deep"),
        (b'{"resourceType":"Observation","a":[' + b"1," * 900_000 + b"1]}", "fhir_too_many_elements"),
        (b'{"resourceType":"Observation","a":NaN}', "fhir_broken"),
        (b'{"resourceType":"Observation","a":' + b"9" * 5000 + b"}", "fhir_no_waveform"),
    ],
    ids=range(28),
)
def test_what_cannot_be_read_is_refused(given: dict[str, Any] | bytes, code: str) -> None:
    assert rejected(given) == code


def test_other_json_is_no_ecg() -> None:
    for data in (b"{}", b'{"resourceType": "Patient"}', b"[1, 2]", b'{"a": "Observation"}'):
        assert sniff(data) is None


@pytest.mark.parametrize("form", ["json", "xml"])
def test_a_mutated_file_gives_a_record_or_a_coded_refusal(form: str) -> None:
    resource = bundle(PATIENT, DEVICE, json.loads(xml.fhir(ROWS[:, :100])))
    original = (json.dumps(resource) if form == "json" else as_xml(resource)).encode()
    for seed in range(300):
        try:
            record = read_ecg(mutate(original, seed))
        except InputRejected:
            continue
        assert len(set(record.leads)) == record.signals_mv.shape[0]

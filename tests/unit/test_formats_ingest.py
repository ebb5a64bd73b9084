"""Every format goes through the whole system: read in a bounded process, queued, shown, exported without identity."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from sqlalchemy import select

from teleread.ingest.formats import read_ecg, unbundle
from teleread.pipeline.derive import derive, pseudonymise
from teleread.pipeline.enqueue import enqueue
from teleread.pipeline.land import land
from teleread.pipeline.prepare import prepare
from teleread.pipeline.services import Services
from teleread.pipeline.verdict import verdict
from teleread.reading.worklist import get_case, list_items
from teleread.storage.catalogue import schema
from teleread.storage.catalogue.lookups import derived_key

OPTIONS: dict[str, Any] = {"issuer": "village", "utc_offset_minutes": 480}
EXPORT = {**OPTIONS, "pseudonym": "X0123", "shift_days": 3, "uid_key": "00" * 32}

# one file of each format, with what stands in it of a person and must not leave
FILES = {
    "aecg": ("hl7aecg/ecgtoolkit_Example.xml", b"SBJ-123"),
    "contec": ("contec/0000050.ECG", b"2020"),
    "edf": ("edf/contec_0000050.edf", b"2020"),
    "healforce": ("healforce_scp/62.SCP", b"62.SCP"),
    "muse": ("muse_xml/guangxi_teaching_sinus_rhythm.xml", b"00000000"),
    "scp": ("scp/ecgtoolkit_Example.scp", b"SBJ-123"),
    "sierra": ("sierra_xml/v103_129DYPRG.xml", b"1112010721168bdc"),
}

GBK_AECG = """<?xml version="1.0" encoding="GB18030"?>
<AnnotatedECG xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<effectiveTime><low value="20261101090000"/></effectiveTime>
<componentOf><timepointEvent><componentOf><subjectAssignment><subject><trialSubject>
<id root="1.2.3" extension="P77"/><subjectDemographicPerson><name>张三</name>
<administrativeGenderCode code="F"/></subjectDemographicPerson></trialSubject></subject>
</subjectAssignment></componentOf></timepointEvent></componentOf>
<component><series><code code="RHYTHM"/><component><sequenceSet>
<component><sequence><code code="TIME_ABSOLUTE"/><value xsi:type="GLIST_TS"><head value="20261101090000"/>
<increment value="0.002" unit="s"/></value></sequence></component>
<component><sequence><code code="MDC_ECG_LEAD_II"/><value xsi:type="SLIST_PQ"><origin value="0" unit="uV"/>
<scale value="5" unit="uV"/><digits>{digits}</digits></value></sequence></component>
</sequenceSet></component></series></component></AnnotatedECG>
"""


def arrive(services: Services, files: dict[str, bytes]) -> str:
    landed = land(services, site_id="village", source="web", files=files, clinic_priority="routine", actor="test")
    prepare(services, landed.arrival_id)
    enqueue(services, landed.arrival_id)
    return landed.arrival_id


def told(services: Services, arrival_id: str) -> Any:
    with services.catalogue.read() as conn:
        receipt = conn.scalar(select(schema.arrivals.c.receipt).where(schema.arrivals.c.id == arrival_id))
    return verdict(services, receipt=str(receipt), site_id="village")


def stored(services: Services, arrival_id: str, name: str) -> bytes | None:
    with services.catalogue.read() as conn:
        key = derived_key(conn, arrival_id, name)
    return None if key is None else services.store.get(key)


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_a_cart_is_read_queued_and_shown(services: Services, data_dir: Path, name: str) -> None:
    path = data_dir / "ecg_files" / FILES[name][0]
    arrival = arrive(services, {path.name: path.read_bytes()})
    found = told(services, arrival)
    assert (found.state, found.analysed, found.failure_code) == ("prepared", True, None)
    with services.catalogue.read() as conn:
        (item,) = list_items(conn)
    assert (item.case_id, item.modality, item.analysed) == (arrival, "ECG", True)
    display = json.loads(stored(services, arrival, "display.json") or b"")
    assert display["source_format"] == name
    assert display["n_samples"] == read_ecg(path).signals_mv.shape[1]


@pytest.mark.parametrize("name", FILES)
def test_the_copy_for_export_is_written_anew_without_identity(data_dir: Path, name: str) -> None:
    path, secret = data_dir / "ecg_files" / FILES[name][0], FILES[name][1]
    original = path.read_bytes()
    copy = pseudonymise(original, EXPORT).blobs["pseudonymised.zip"]
    files = unbundle(copy)
    assert all(file.startswith("X0123") for file in files)
    header = next(data for file, data in files.items() if file.endswith(".hea"))
    assert secret not in header
    assert original[:64] not in b"".join(files.values())
    plain, record = read_ecg(files), read_ecg(path)
    assert (plain.patient.id, plain.patient.name, plain.acquired_at, plain.age_years) == (None, None, None, None)
    assert plain.fs_hz == record.fs_hz
    assert set(record.leads) - set(record.derived_leads) <= set(plain.leads)


def test_a_name_in_gb18030_reaches_the_vault_and_nothing_else(services: Services) -> None:
    digits = " ".join(str((i * 37) % 200) for i in range(5000))
    data = GBK_AECG.format(digits=digits).encode("gb18030")
    arrival = arrive(services, {"a.xml": data})
    assert told(services, arrival).failure_code is None
    with services.catalogue.read() as conn:
        pseudonym = str(conn.scalar(select(schema.studies.c.patient_pseudonym)))
    identity = services.vault.join([pseudonym], who="t", why="test", case_ids=[arrival], at=services.clock())[pseudonym]
    assert (identity.name, identity.patient_id, identity.sex) == ("张三", "P77", "F")
    for name in ("display.json", "analysis.json", "pseudonymised.zip"):
        found = stored(services, arrival, name)
        assert found is not None
        assert "张三".encode() not in found
        assert b"P77" not in found


# -- pictures and PDFs --------------------------------------------------------------------------------------------

PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"


def picture(kind: str, size: tuple[int, int] = (640, 400), **more: Any) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (200, 220, 240)).save(out, kind, **more)
    return out.getvalue()


def encapsulated(document: bytes) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.104.1"
    meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", Dataset(), file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3.4"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.Modality = "1.2.3", "1.2.3.1", "ECG"
    dataset.PatientID, dataset.PatientName = "P1", "Li"
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    dataset.EncapsulatedDocument = document + b"\0" * (len(document) % 2)
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (PDF, "document.pdf"),
        (picture("PNG"), "picture.png"),
        (picture("JPEG"), "picture.png"),
        (encapsulated(PDF), "document.pdf"),
    ],
    ids=["pdf", "png", "jpeg", "encapsulated"],
)
def test_a_picture_is_shown_queued_to_be_read_by_eye_and_never_measured(
    services: Services, data: bytes, name: str
) -> None:
    arrival = arrive(services, {"ecg": data})
    found = told(services, arrival)
    assert (found.analysed, found.acceptable, found.heart_rate_bpm) == (False, None, None)
    assert found.failure_code == "picture_not_measured"
    with services.catalogue.read() as conn:
        (item,) = list_items(conn)
        case = get_case(conn, item.case_id)
    assert (item.modality, item.priority, item.reasons) == ("ECG", "high", ("not_analysed",))
    assert case is not None
    assert case.failure is not None
    shown = stored(services, arrival, name)
    assert shown is not None
    assert shown.startswith(b"%PDF-" if name.endswith("pdf") else b"\x89PNG")
    assert stored(services, arrival, "analysis.json") is None
    assert stored(services, arrival, "pseudonymised.zip") is None


def test_what_a_camera_writes_beside_the_pixels_is_not_kept() -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "secret maker", 6
    blobs = derive(picture("JPEG", exif=exif), OPTIONS).blobs
    assert b"secret" not in blobs["picture.png"]
    with Image.open(io.BytesIO(blobs["picture.png"])) as shown:
        assert shown.size == (400, 640)  # upright


def test_several_pages_are_all_shown() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("1.png", picture("PNG"))
        archive.writestr("2.jpg", picture("JPEG"))
        archive.writestr("3.pdf", PDF)
    assert sorted(derive(out.getvalue(), OPTIONS).blobs) == ["document.pdf", "picture-2.png", "picture.png"]


@pytest.mark.parametrize("cut", [0.3, 0.9])
def test_a_picture_that_is_cut_off_is_said_to_be(services: Services, cut: float) -> None:
    data = picture("PNG")
    arrival = arrive(services, {"ecg.png": data[: int(len(data) * cut)]})
    assert told(services, arrival).failure_code == "picture_broken"


def test_a_picture_of_too_many_pixels_is_refused(services: Services) -> None:
    arrival = arrive(services, {"ecg.png": picture("PNG", (8000, 8000))})
    assert told(services, arrival).failure_code == "picture_too_large"

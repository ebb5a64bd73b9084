"""A report goes home whole, once, and to the patient that it is about."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pydicom
import pytest

from teleread.alliance import Connection
from teleread.errors import Misconfigured, PeerError
from teleread.ingest import reports_out
from teleread.ingest.reports_out import Evidence, OutgoingReport, basic_text_sr, deliver, write_files
from teleread.sample.pacs import Pacs
from teleread.signal.ecg import Patient

REPORT = OutgoingReport(
    receipt="7K2M-QX9D-0RTB",
    version=1,
    text="窦性心律。\nII、III、aVF 导联 ST 段抬高。",
    critical=True,
    signed_by="李^医生",
    signed_at=datetime(2026, 3, 1, 23, 30, tzinfo=UTC),
    study_uid="1.2.840.99.7",
    patient=Patient("P1", "county", "张^示例", date(1960, 1, 2), "M"),
    evidence=(Evidence("1.2.840.99.7.1", "1.2.840.10008.5.1.4.1.1.9.1.1", "1.2.840.99.7.1.1"),),
)


def folder_connection(path: Path | None) -> Connection:
    return Connection("township", "folder", date(2026, 1, 1), report_back="folder", report_path=path)


def test_a_folder_gets_text_and_json_named_by_receipt_and_never_by_patient(tmp_path: Path) -> None:
    deliver(folder_connection(tmp_path / "reports"), REPORT)
    names = {path.name for path in (tmp_path / "reports").iterdir()}
    assert names == {"7K2M-QX9D-0RTB-v1.txt", "7K2M-QX9D-0RTB-v1.json"}
    document = json.loads((tmp_path / "reports" / "7K2M-QX9D-0RTB-v1.json").read_text())
    assert document["text"] == REPORT.text
    assert document["critical"] is True
    assert document["patient"]["name"] == "张^示例"
    text = (tmp_path / "reports" / "7K2M-QX9D-0RTB-v1.txt").read_text()
    assert "危急值" in text
    assert "2026-03-02 07:30:00 +0800" in text


def test_delivering_twice_changes_nothing_and_a_new_version_stands_beside(tmp_path: Path) -> None:
    write_files(tmp_path, REPORT)
    before = {path.name: path.stat() for path in tmp_path.iterdir()}
    write_files(tmp_path, REPORT)
    assert {path.name: path.stat() for path in tmp_path.iterdir()} == before
    write_files(tmp_path, replace(REPORT, version=2, text="更正"))
    assert len(list(tmp_path.iterdir())) == 4
    assert REPORT.text in (tmp_path / "7K2M-QX9D-0RTB-v1.txt").read_text()


def test_a_consultation_stands_beside_the_report_and_is_never_taken_for_it(tmp_path: Path) -> None:
    beside = replace(REPORT, text="会诊", consultation="0a1b2c3d")
    for one in (REPORT, beside):
        write_files(tmp_path, one)
    assert REPORT.text in (tmp_path / "7K2M-QX9D-0RTB-v1.txt").read_text()
    assert reports_out.CONSULTATION in (tmp_path / "7K2M-QX9D-0RTB-0a1b2c3d-v1.txt").read_text()
    first, second = basic_text_sr(REPORT), basic_text_sr(beside)
    assert first.StudyInstanceUID == second.StudyInstanceUID
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.SeriesInstanceUID != second.SeriesInstanceUID
    without = [basic_text_sr(replace(one, study_uid=None)).StudyInstanceUID for one in (REPORT, beside)]
    assert without[0] == without[1]
    with pytest.raises(ValueError, match="letters and digits"):
        replace(REPORT, consultation="../x")


def test_a_broken_disk_leaves_no_half_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(reports_out.os, "fsync", broken)
    with pytest.raises(PeerError) as caught:
        write_files(tmp_path, REPORT)
    assert caught.value.code == "folder_unwritable"
    assert list(tmp_path.iterdir()) == []


def test_a_link_laid_out_in_the_folder_is_replaced_and_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    reports = tmp_path / "reports"
    reports.mkdir()
    (reports / "7K2M-QX9D-0RTB-v1.json").symlink_to(victim)
    write_files(reports, REPORT)
    assert victim.read_text() == "precious"
    assert not (reports / "7K2M-QX9D-0RTB-v1.json").is_symlink()


def test_a_folder_that_is_not_there_is_an_error_to_be_tried_again(tmp_path: Path) -> None:
    with pytest.raises(PeerError) as caught:
        deliver(folder_connection(tmp_path / "unmounted" / "reports"), REPORT)
    assert caught.value.code == "folder_missing"
    with pytest.raises(Misconfigured):
        deliver(folder_connection(None), REPORT)


def test_for_the_web_there_is_nothing_to_send(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[object] = []
    for way in ("store_sr", "write_files"):
        monkeypatch.setattr(f"teleread.ingest.reports_out.{way}", lambda *args, **_: sent.append(args))
    deliver(Connection("village", "web", date(2026, 1, 1)), REPORT)
    assert sent == []
    deliver(folder_connection(tmp_path), REPORT)
    assert len(sent) == 1  # the twin: another way would have been noticed


@pytest.mark.parametrize("receipt", ["../x", "", "a/b", "a\nb", "张三"])
def test_a_receipt_that_is_none_is_refused(receipt: str) -> None:
    with pytest.raises(ValueError, match="receipt"):
        replace(REPORT, receipt=receipt)


def test_the_same_report_is_always_the_same_object(tmp_path: Path) -> None:
    for name in ("one", "two"):
        basic_text_sr(REPORT).save_as(tmp_path / name, enforce_file_format=True)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_an_sr_says_who_signed_what_about_whom() -> None:
    document = basic_text_sr(REPORT)
    assert (document.PatientName, document.PatientID) == ("张^示例", "P1")
    assert document.StudyInstanceUID == "1.2.840.99.7"
    assert (document.CompletionFlag, document.VerificationFlag) == ("COMPLETE", "VERIFIED")
    assert document.VerifyingObserverSequence[0].VerifyingObserverName == "李^医生"
    assert (document.ContentDate, document.ContentTime) == ("20260302", "073000")
    assert document.ContentSequence[-1].ContentSequence[0].TextValue == REPORT.text
    assert "危急值" in document.ContentSequence[2].ContentSequence[0].TextValue


def test_a_later_version_names_the_one_before_and_keeps_series_and_study() -> None:
    first, second = basic_text_sr(REPORT), basic_text_sr(replace(REPORT, version=2))
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.SeriesInstanceUID == second.SeriesInstanceUID
    before = second.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert before.ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert "PredecessorDocumentsSequence" not in first


def test_a_recording_without_a_study_gets_one_for_all_versions() -> None:
    loose = replace(REPORT, study_uid=None, patient=None, evidence=())
    one, two = basic_text_sr(loose), basic_text_sr(replace(loose, version=2))
    assert one.StudyInstanceUID == two.StudyInstanceUID
    assert one.PatientName == ""


def test_values_that_would_break_an_element_are_made_harmless(tmp_path: Path) -> None:
    odd = Patient("P\\1\n2", None, "张\\三" + "长" * 100, None, None)
    document = basic_text_sr(replace(REPORT, patient=odd, text="a\x00b\\c\r\nd"))
    document.save_as(tmp_path / "sr.dcm", enforce_file_format=True)
    came = pydicom.dcmread(tmp_path / "sr.dcm")
    assert came.PatientID == "P 1 2"
    assert came.ContentSequence[-1].ContentSequence[0].TextValue == "a b\\c\r\nd"


def test_a_pacs_gets_the_sr_once(tmp_path: Path) -> None:
    pacs = Pacs(tmp_path, "COUNTY")
    try:
        connection = Connection(
            "county",
            "dicom",
            date(2026, 1, 1),
            host="127.0.0.1",
            port=pacs.port,
            ae_title="COUNTY",
            report_back="dicom",
            answer_timeout_s=5.0,
        )
        deliver(connection, REPORT)
        deliver(connection, REPORT)
    finally:
        pacs.close()
    (stored,) = tmp_path.glob("*.dcm")
    assert pydicom.dcmread(stored).SOPInstanceUID == basic_text_sr(REPORT).SOPInstanceUID
    started = time.monotonic()
    with pytest.raises(PeerError) as caught:
        deliver(connection, REPORT)
    assert caught.value.code == "peer_refused"
    assert time.monotonic() - started < 3


@pytest.mark.peers
@pytest.mark.parametrize("version", [1, 2])
def test_an_sr_is_what_the_standard_asks_for(tmp_path: Path, version: int) -> None:
    judge = os.environ.get("DCIODVFY") or shutil.which("dciodvfy")
    if judge is None:
        pytest.skip("dicom3tools is not installed")
    basic_text_sr(replace(REPORT, version=version)).save_as(tmp_path / "sr.dcm", enforce_file_format=True)
    said = subprocess.run([judge, str(tmp_path / "sr.dcm")], capture_output=True, text=True, timeout=60)
    errors = [line for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")]
    assert errors == []

"""What a clinic sends is judged, told and kept, whatever it is and whatever fails behind it."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from teleread.errors import StorageError
from teleread.pipeline.prepare import prepare
from teleread.pipeline.services import Services
from teleread.pipeline.sweep import sweep_web
from teleread.storage.catalogue.schema import arrivals
from tests.conftest import Clock
from tests.ui.live import BROKEN_DICOM, HOSTILE, Web, case_paths, named_ecg, running, upload, wfdb


def test_an_uploaded_ecg_is_judged_and_stands_in_the_worklist(nurse: httpx.Client, reader: httpx.Client) -> None:
    sent = upload(nurse, {"a.dcm": named_ecg("Wang^XiaoDong=王^小东")}, urgent=True)
    assert sent.status_code == 201
    body = sent.json()
    assert re.fullmatch(r"\w{4}-\w{4}-\w{4}", body["receipt"])
    assert body["new"] is True
    assert body["verdict"]["state"] == "prepared"
    assert body["verdict"]["light"] in {"green", "amber", "red"}
    assert body["verdict"]["position"] == 1
    page = nurse.get(f"/receipts/{body['receipt']}").text
    assert body["receipt"] in page
    assert "王小东" in page
    assert "Is this the person on the couch?" in page
    listed = reader.get("/worklist").text
    assert "王小东" in listed
    assert "marked by the clinic" in listed
    assert 'class="prio urgent"' in listed
    assert len(case_paths(reader)) == 1


def test_a_real_wfdb_pair_is_one_recording(nurse: httpx.Client, reader: httpx.Client) -> None:
    assert upload(nurse, wfdb("lead_off")).json()["verdict"]["light"] == "red"
    assert len(case_paths(reader)) == 1


def test_a_real_recording_of_another_program_is_judged(nurse: httpx.Client, data_dir: Path) -> None:
    data = (data_dir / "ecg_files/dicom/ecgtoolkit_Example.dcm").read_bytes()
    assert upload(nurse, {"a": data}).json()["verdict"]["state"] == "prepared"


@pytest.mark.parametrize(("urgent", "raised"), [(False, True), (True, False)])
def test_the_clinic_is_told_that_the_program_flags_and_whom_to_telephone(
    nurse: httpx.Client, urgent: bool, raised: bool
) -> None:
    receipt = upload(nurse, wfdb("inferior_stemi"), urgent=urgent).json()["receipt"]
    text = nurse.get(f"/receipts/{receipt}/status").text
    assert ("The program raised this to Urgent (unconfirmed)." in text) is raised
    assert ("The program flags a possible critical value (unconfirmed)." in text) is not raised
    assert '<span class="tel">0571-0</span>' in text


def test_without_a_flag_the_program_raised_nothing(nurse: httpx.Client) -> None:
    receipt = upload(nurse, wfdb()).json()["receipt"]
    assert "The program" not in nurse.get(f"/receipts/{receipt}/status").text.replace("by the program", "")


def test_sent_twice_is_one_receipt_and_one_case(nurse: httpx.Client, reader: httpx.Client) -> None:
    first = upload(nurse, {"a.dcm": named_ecg("A")})
    second = upload(nurse, {"other-name.dcm": named_ecg("A")})
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json()["receipt"] == first.json()["receipt"]
    assert second.json()["new"] is False
    assert len(case_paths(reader)) == 1


def test_sending_again_as_urgent_raises_and_as_routine_never_lowers(nurse: httpx.Client) -> None:
    data = {"a.dcm": named_ecg("A")}
    assert upload(nurse, data).json()["verdict"]["priority"] != "urgent"
    assert upload(nurse, data, urgent=True).json()["verdict"]["priority"] == "urgent"
    assert upload(nurse, data).json()["verdict"]["priority"] == "urgent"


def test_another_sites_receipt_does_not_exist(web: Web, nurse: httpx.Client) -> None:
    receipt = upload(nurse, wfdb()).json()["receipt"]
    with web.signed_in("stranger") as stranger:
        for path in (f"/receipts/{receipt}", f"/receipts/{receipt}/status", f"/api/receipts/{receipt}"):
            assert nurse.get(path).status_code == 200
            assert stranger.get(path).status_code == 404
        assert receipt not in stranger.get("/upload").text
        # the same bytes of another site are another arrival with another receipt
        assert upload(stranger, wfdb()).json()["receipt"] != receipt


@pytest.mark.parametrize("language", ["zh-CN", "en"])
def test_hostile_names_are_text_on_every_page(web: Web, nurse: httpx.Client, language: str) -> None:
    receipt = upload(nurse, {"<script>alert(3)</script>.dcm": named_ecg(HOSTILE)}).json()["receipt"]
    pages = {}
    with web.signed_in("nurse", headers={"accept-language": language}) as client:
        pages |= {path: client.get(path).text for path in (f"/receipts/{receipt}", "/upload")}
    with web.signed_in("reader", headers={"accept-language": language}) as client:
        pages |= {path: client.get(path).text for path in ("/worklist", *case_paths(client))}
    with web.signed_in("engineer", headers={"accept-language": language}) as client:
        pages["/engineer"] = client.get("/engineer").text
    shown = [path for path, text in pages.items() if "&lt;img src&gt;" in text]
    assert len(shown) == 3  # receipt, worklist, case
    for path, text in pages.items():
        assert "<img src>" not in text, path
        assert "<script>alert" not in text, path


def test_without_escaping_the_hostile_name_would_run(web: Web, nurse: httpx.Client) -> None:
    for environment in web.app.state.renderer._environments.values():
        environment.autoescape = False
        environment.cache.clear()
    receipt = upload(nurse, {"a.dcm": named_ecg(HOSTILE)}).json()["receipt"]
    assert "<img src>" in nurse.get(f"/receipts/{receipt}").text


def test_what_cannot_be_read_is_told_kept_and_shown(web: Web, nurse: httpx.Client, reader: httpx.Client) -> None:
    sent = upload(nurse, {"a.dcm": BROKEN_DICOM}).json()
    assert sent["verdict"]["state"] == "quarantined"
    assert sent["verdict"]["light"] == "amber"
    code = sent["verdict"]["failure_code"]
    page = nurse.get(f"/receipts/{sent['receipt']}").text
    assert "AMBER: not analysed" in page
    assert "Nothing is lost" in page
    assert "0571-0" in page  # the alliance's telephone
    (path,) = case_paths(reader)
    case = reader.get(path).text
    assert "Not analysed" in case
    assert code in case
    raw = reader.get(f"{path}/raw")
    assert raw.content == BROKEN_DICOM
    assert raw.headers["content-type"] == "application/octet-stream"
    assert raw.headers["content-disposition"].startswith("attachment;")
    with web.signed_in("engineer") as engineer:
        listed = engineer.get("/engineer").text
        assert code in listed
        (retry,) = re.findall(r'action="(/engineer/quarantine/\w+/retry)"', listed)
        assert engineer.post(retry).status_code == 303
        assert code in engineer.get("/engineer").text
        unknown = engineer.post(f"/engineer/quarantine/{'0' * 32}/retry")
        assert unknown.status_code == 409


def test_too_large_an_upload_is_refused_before_it_is_taken(services: Services) -> None:
    with running(services, upload_limit_bytes=100_000) as web, web.signed_in("nurse") as nurse:
        assert upload(nurse, {"a": b"x" * 90_000}).status_code == 201
        refused = upload(nurse, {"a": b"y" * 200_000})
        assert refused.status_code == 413
        assert refused.json()["error"]["code"] == "upload_too_large"

        def unannounced() -> Iterator[bytes]:
            yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
            for _ in range(20):
                yield b"z" * 10_000
            yield b"\r\n--b--\r\n"

        headers = {"content-type": "multipart/form-data; boundary=b"}
        assert nurse.post("/api/upload", content=unannounced(), headers=headers).status_code == 413
        with web.services.catalogue.read() as conn:
            assert len(conn.execute(select(arrivals)).all()) == 1


@pytest.mark.parametrize("files", [{}, {"a.dcm": b""}])
def test_an_empty_upload_is_refused_in_words(nurse: httpx.Client, files: dict[str, bytes]) -> None:
    parts = [("file", (name, data)) for name, data in files.items()] or [("other", ("", b""))]
    refused = nurse.post("/api/upload", files=parts)
    assert refused.status_code == 422
    assert refused.json()["error"]["code"] == "empty_upload"


def test_bytes_are_acknowledged_even_when_nothing_after_them_works(
    web: Web, nurse: httpx.Client, reader: httpx.Client, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: object, **_more: object) -> str:
        raise StorageError("store_io", "The disk does not answer.")

    with monkeypatch.context() as patch:
        patch.setattr("teleread.pipeline.fast_lane.prepare", broken)
        sent = upload(nurse, {"a.dcm": named_ecg("A")}, urgent=True)
    assert sent.status_code == 201
    assert sent.json()["verdict"]["state"] == "landed"
    assert sent.json()["verdict"]["light"] == "none"
    assert "Received, being analysed" in nurse.get(f"/receipts/{sent.json()['receipt']}").text
    clock.advance(30)
    sweep_web(web.services)
    assert len(case_paths(reader)) == 1
    assert nurse.get(f"/api/receipts/{sent.json()['receipt']}").json()["verdict"]["state"] == "prepared"


def test_a_fault_in_the_analysis_never_takes_the_receipt_away(
    web: Web, nurse: httpx.Client, reader: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(*_args: object, **_more: object) -> str:
        raise RuntimeError("a programming error")

    monkeypatch.setattr("teleread.pipeline.fast_lane.prepare", faulty)
    sent = upload(nurse, {"a.dcm": named_ecg("A")}, urgent=True)
    assert sent.status_code == 201
    assert "not analysed" in reader.get("/worklist").text


def test_a_busy_analysis_keeps_nobody_waiting(
    web: Web, nurse: httpx.Client, reader: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, done = threading.Event(), threading.Event()

    def slow(services: Services, arrival_id: str, **more: Any) -> str:
        assert gate.wait(30)
        try:
            return prepare(services, arrival_id, **more)
        finally:
            done.set()

    monkeypatch.setattr("teleread.web.sending.ANALYSIS_WAIT_S", 0.05)
    monkeypatch.setattr("teleread.pipeline.fast_lane.prepare", slow)
    sent = upload(nurse, {"a.dcm": named_ecg("A")}, urgent=True)
    assert sent.status_code == 201
    assert sent.json()["verdict"]["state"] == "landed"
    assert sent.json()["verdict"]["position"] == 1  # a reader sees it, not analysed
    gate.set()
    assert done.wait(30)
    assert nurse.get(f"/api/receipts/{sent.json()['receipt']}").json()["verdict"]["state"] == "prepared"
    assert len(case_paths(reader)) == 1


def test_nothing_is_acknowledged_that_is_not_stored(
    web: Web, nurse: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: object, **_more: object) -> None:
        raise StorageError("store_full", "No room.")

    monkeypatch.setattr(type(web.services.store), "put_raw", full)
    refused = upload(nurse, {"a.dcm": named_ecg("A")})
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "store_full"
    assert "receipt" not in refused.json()

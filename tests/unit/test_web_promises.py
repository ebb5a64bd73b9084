"""What a nurse, a reader and an engineer are told when something is wrong: nothing less, and nothing untrue."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import httpx
import pytest
from pydicom.data import get_testdata_file
from sqlalchemy import Connection, insert, select, update

from teleread.alliance import Connection as Link
from teleread.alliance import Site
from teleread.errors import StorageError
from teleread.ingest.formats import write_wfdb
from teleread.pipeline.enqueue import enqueue
from teleread.pipeline.services import Services
from teleread.pipeline.sweep import sweep_web
from teleread.signal.ecg import simulate
from teleread.storage.catalogue.database import Database
from teleread.storage.catalogue.schema import arrivals, audit_events, site_messages, site_status, work_items
from teleread.storage.vault import Vault
from teleread.web import texts, viewing
from teleread.web.i18n import load_translations
from tests.conftest import Clock
from tests.signing import post_report, ready
from tests.ui.live import BROKEN_DICOM, Web, case_paths, named_ecg, running, upload, wfdb

TELEPHONE = '<span class="tel">0571-0</span>'  # the alliance's, large


def only_case(reader: httpx.Client) -> str:
    (path,) = case_paths(reader)
    return path


def stop_writing(monkeypatch: pytest.MonkeyPatch, code: str = "catalogue_full") -> None:
    @contextmanager
    def full(_self: Database) -> Iterator[Connection]:
        raise StorageError(code, "no space is left for the database")
        yield

    monkeypatch.setattr(Database, "write", full)


# --- the nurse


@pytest.mark.parametrize("flat", [True, False])
def test_a_red_receipt_shows_the_telephone_number_large(nurse: httpx.Client, flat: bool) -> None:
    record, _truth = simulate("normal", 5)
    files = write_wfdb(replace(record, signals_mv=record.signals_mv * 0), "flat") if flat else wfdb("lead_off")
    sent = upload(nurse, files).json()
    assert sent["verdict"]["light"] == "red"
    assert TELEPHONE in nurse.get(f"/receipts/{sent['receipt']}/status").text


def test_a_green_receipt_shouts_no_telephone_number(nurse: httpx.Client) -> None:
    sent = upload(nurse, wfdb()).json()
    assert sent["verdict"]["light"] == "green"
    assert TELEPHONE not in nurse.get(f"/receipts/{sent['receipt']}/status").text


def test_sent_lately_shows_the_priority_in_force_and_a_critical_report_once_it_is_given_back(
    web: Web, nurse: httpx.Client, reader: httpx.Client, clock: Clock
) -> None:
    receipt = upload(nurse, {"a": BROKEN_DICOM}).json()["receipt"]
    assert 'class="prio high"' in nurse.get("/upload").text  # raised, though the clinic's is routine
    post_report(reader, only_case(reader), {"text": "Call.", "critical": "1"})
    listed = nurse.get("/upload").text
    link = re.search(rf'<a href="/receipts/{receipt}#report-{receipt}">(.*?)</a>', listed, re.DOTALL)
    assert link is not None
    assert 'class="prio urgent"' in link.group(1)
    assert "<svg" in link.group(1)
    assert "CRITICAL report" in link.group(1)


def test_sent_lately_goes_by_the_newest_work_item(web: Web, nurse: httpx.Client) -> None:
    upload(nurse, {"a": named_ecg("A")})
    with web.services.catalogue.write() as conn:
        first = conn.execute(select(work_items)).one()
        conn.execute(update(work_items).values(state="CANCELED"))
        again = {**first._mapping, "id": "f" * 32, "seq": 2, "priority": "urgent", "rank": 0, "state": "SCHEDULED"}
        conn.execute(insert(work_items).values(**again))
    listed = nurse.get("/upload").text
    assert listed.count('class="mono" href="/receipts/') == 1
    assert 'class="prio urgent"' in listed
    assert "waiting for a reader" in listed


def test_a_critical_report_carries_the_red_mark_for_reader_and_clinic(
    web: Web, nurse: httpx.Client, reader: httpx.Client, clock: Clock
) -> None:
    receipt = upload(nurse, {"a": named_ecg("A")}).json()["receipt"]
    path = only_case(reader)
    post_report(reader, path, {"text": "Call.", "critical": "1"})
    mark = re.compile(r'<span class="prio urgent"><svg.*?</svg>\s*Critical result</span>', re.DOTALL)
    assert mark.search(reader.get(path).text)
    clock.advance(5)
    sweep_web(web.services)
    assert len(mark.findall(nurse.get(f"/receipts/{receipt}").text)) == 1  # with the report, over the verdict


def test_an_upload_after_the_session_says_that_nothing_was_sent(nurse: httpx.Client, clock: Clock) -> None:
    clock.advance(12 * 3600 + 1)
    for answer in (upload(nurse, wfdb()), nurse.post("/upload", files=[("file", ("a", b"x"))])):
        assert answer.status_code == 401
        assert "Nothing was sent or stored by this attempt." in answer.text
        assert "0571-0" in answer.text
    assert 'href="/sign-in"' in answer.text
    assert TELEPHONE in answer.text


def test_nobody_is_asked_whether_an_unnamed_person_lies_on_the_couch(nurse: httpx.Client) -> None:
    page = nurse.get(f"/receipts/{upload(nurse, wfdb()).json()['receipt']}").text
    assert "The file names nobody." in page
    assert "Is this the person on the couch?" not in page
    assert "Write the receipt number on the patient&#39;s sheet." in page


def test_a_lone_sample_file_leads_to_its_header(nurse: httpx.Client) -> None:
    (data,) = (data for name, data in wfdb().items() if name.endswith(".dat"))
    sent = upload(nurse, {"rec1.dat": data}).json()
    assert "choose the .hea and the .dat file together" in nurse.get(f"/receipts/{sent['receipt']}").text


# --- the reader


def test_a_report_that_came_too_late_is_given_back_to_its_reader(nurse: httpx.Client, reader: httpx.Client) -> None:
    upload(nurse, {"a": named_ecg("A")})
    path = only_case(reader)
    post_report(reader, path, {"text": "First.", "critical": "1"})
    late = post_report(reader, path, {"text": "\nSecond <b>line</b>\nthird", "critical": "1"})
    assert late.status_code == 409
    typed = re.search(r"<textarea[^>]* readonly>\n(.*?)</textarea>", late.text, re.DOTALL)
    assert typed is not None
    assert typed.group(1) == "\nSecond &lt;b&gt;line&lt;/b&gt;\nthird"
    assert f'href="{path}"' in late.text
    assert "reader has signed a report on this case" in late.text
    assert "Nothing is lost" not in late.text
    assert "case_not_open" in late.text
    assert "0571-0" in late.text


def test_signing_twice_with_one_text_is_signing_once(nurse: httpx.Client, reader: httpx.Client) -> None:
    upload(nurse, {"a": named_ecg("A")})
    path = only_case(reader)
    answers = [post_report(reader, path, {"text": "Sinus rhythm. "}) for _ in range(2)]
    assert [one.headers["location"].partition("?")[0] for one in answers] == [path, path]
    assert reader.get(path).text.count("Sinus rhythm.") == 1


def test_a_report_that_a_full_disk_refuses_is_given_back_and_logged(
    nurse: httpx.Client, reader: httpx.Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    upload(nurse, {"a": named_ecg("A")})
    path = only_case(reader)
    fields = ready(reader, path)
    stop_writing(monkeypatch)
    refused = reader.post(f"{path}/report", data=fields | {"text": "Typed."})
    assert refused.status_code == 503
    assert "Typed." in refused.text
    assert "The disk is full" in refused.text
    logged = [one.getMessage() for one in caplog.records if one.name == "teleread.web.errors"]
    assert logged == ["POST /cases/{case_id}/report: catalogue_full"]


@pytest.mark.parametrize("code", ["catalogue_full", "catalogue_readonly", "catalogue_io"])
def test_a_full_disk_keeps_no_case_from_its_reader(
    nurse: httpx.Client,
    reader: httpx.Client,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    code: str,
) -> None:
    receipt = upload(nurse, {"a": named_ecg("Wang^XiaoDong")}).json()["receipt"]
    path = only_case(reader)
    arrival = path.rpartition("/")[2]
    stop_writing(monkeypatch, code)
    for address in ("/worklist", path):
        page = reader.get(address)
        assert page.status_code == 200
        assert "This access could not be recorded." in page.text
        assert "0571-0" in page.text
        assert receipt in page.text  # the vault takes no writes either, so no name: receipt number, age and sex
        assert "Wang" not in page.text
        assert "male" in page.text
    assert reader.get(f"/api/recordings/{arrival}/wave").status_code == 200
    logged = [one for one in caplog.records if one.name == "teleread.web.viewing"]
    assert {one.levelno for one in logged} == {logging.ERROR}
    said = [one.getMessage() for one in logged]
    assert any(f"actor=reader action=view object=case/{arrival}" in one and code in one for one in said)
    assert len(said) == 3
    assert "Wang" not in caplog.text
    # acts and downloads are never without their event
    assert reader.get(f"{path}/raw").status_code == 503


def test_a_view_that_is_recorded_has_no_banner(web: Web, nurse: httpx.Client, reader: httpx.Client) -> None:
    upload(nurse, {"a": named_ecg("A")})
    assert "could not be recorded" not in reader.get(only_case(reader)).text
    with web.services.catalogue.read() as conn:
        assert "view" in set(conn.scalars(select(audit_events.c.action)))


def test_a_busy_catalogue_is_no_reason_to_look_unrecorded(
    nurse: httpx.Client, reader: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(nurse, {"a": named_ecg("A")})
    path = only_case(reader)
    stop_writing(monkeypatch, "catalogue_busy")
    assert reader.get(path).status_code == 503


def test_without_the_second_way_a_full_disk_would_close_the_case(
    nurse: httpx.Client, reader: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(nurse, {"a": named_ecg("A")})
    path = only_case(reader)
    monkeypatch.setattr(viewing, "_UNWRITABLE", ())
    stop_writing(monkeypatch)
    assert reader.get(path).status_code == 503


def test_a_vault_without_room_opens_the_case_by_receipt_number(
    nurse: httpx.Client, reader: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    receipt = upload(nurse, {"a": named_ecg("Wang^XiaoDong")}).json()["receipt"]
    path = only_case(reader)

    def full(*_args: object, **_more: object) -> None:
        raise StorageError("vault_full", "no space is left for the database")

    monkeypatch.setattr(Vault, "join", full)
    page = reader.get(path).text
    assert "The name cannot be shown just now." in page
    assert receipt in page
    assert "could not be recorded" not in page


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("code", ["catalogue_full", "store_full", "vault_full"])
def test_a_full_disk_is_named_with_who_must_act(code: str, language: str) -> None:
    words = texts.refusal(StorageError(code, "No room."), load_translations()[language].gettext)
    full, engineer = {"en": ("disk is full", "engineer on duty"), "zh": ("磁盘已满", "值班工程师")}[language]
    assert full in words.what
    assert engineer in words.todo
    assert "send" not in (words.todo + words.lost).lower()  # a reader has nothing to send again


def test_a_site_with_a_number_is_telephoned_there_and_others_through_the_alliance(
    services: Services, clock: Clock
) -> None:
    sites = dict(services.alliance.sites) | {"other": Site("other", "另一诊所", "Other Clinic", "member", "0571-77")}
    named = replace(services, alliance=replace(services.alliance, sites=sites))
    with running(named) as web, web.signed_in("reader") as reader:
        for name, shown in (("stranger", 'Other Clinic: <span class="tel">0571-77</span>'), ("nurse", TELEPHONE)):
            with web.signed_in(name) as client:
                upload(client, {"a": BROKEN_DICOM})
            path = only_case(reader)
            assert shown in reader.get(path).text
            post_report(reader, path, {"text": "Done."})


def test_what_nobody_could_read_has_no_modality_and_stands_among_the_ecgs(
    web: Web, nurse: httpx.Client, reader: httpx.Client
) -> None:
    upload(nurse, {"a": b"no format that anybody knows"})
    path = only_case(reader)
    for page in (reader.get("/worklist?modality=ECG").text, reader.get(path).text):
        assert "unknown type" in page
    assert path in reader.get("/worklist?modality=ECG").text
    assert path not in reader.get("/worklist?modality=CT").text
    changes = reader.get("/api/worklist/changes", params={"modality": "ECG"}).json()
    assert [one["case_id"] for one in changes["new"]] == [path.rpartition("/")[2]]
    with web.services.catalogue.write() as conn:
        conn.execute(update(work_items).values(analysed=True, study_id=None))  # a real "other" is no ECG
    assert path not in reader.get("/worklist?modality=ECG").text


def test_an_image_that_could_not_be_read_cannot_be_signed(web: Web, nurse: httpx.Client, reader: httpx.Client) -> None:
    source = get_testdata_file("CT_small.dcm")
    assert isinstance(source, str)
    upload(nurse, {"a": Path(source).read_bytes()[:3000]})
    with web.services.catalogue.read() as conn:
        assert conn.scalar(select(arrivals.c.kind)) == "image"
    path = only_case(reader)
    page = reader.get(path).text
    assert "Not analysed" in page
    assert "Reports on images cannot be signed here." in page
    assert f'action="{path}/report"' not in page
    assert post_report(reader, path, {"text": "Signed."}).status_code == 404


def test_the_page_says_which_priority_holds_and_why(web: Web, nurse: httpx.Client, reader: httpx.Client) -> None:
    upload(nurse, {"a": BROKEN_DICOM})
    page = reader.get(only_case(reader)).text
    assert "Its priority is High (not analysed); no finding does not mean normal." in page
    assert "clinic&#39;s priority" not in page


# --- the engineer


def test_the_engineer_sees_each_sites_address_its_code_and_an_unknown_number(
    services: Services, tmp_path: Path, clock: Clock
) -> None:
    since = date(2026, 1, 1)
    far = Link("other", "dicom", since, host="10.0.0.9", port=11112, ae_title="OTHERPACS")
    connections = (*(one for one in services.alliance.connections if one.site_id != "other"), far)
    linked = replace(services, alliance=replace(services.alliance, connections=connections))
    with services.catalogue.write() as conn:
        failing = {"failing_since": clock(), "failure_code": "peer_refused", "failure_message": "x", "failures": 1}
        conn.execute(insert(site_status).values(site_id="other", waiting=None, **failing))
        message = {"code": "peer_refused", "safe_message": "x", "opened_at": clock()}
        conn.execute(insert(site_messages).values(site_id="other", waiting=None, **message))
    with running(linked) as web, web.signed_in("engineer") as engineer:
        page = engineer.get("/engineer").text
    assert page.count("10.0.0.9:11112 OTHERPACS") == 2  # message and table
    assert str(tmp_path / "cart") in page
    assert page.count("peer_refused") == 2
    assert "Nothing listens at the site&#39;s address." in page
    assert "how many studies wait there is unknown" in page
    assert "studies waiting there: 0" not in page
    assert '<td class="num">unknown</td>' in page


@pytest.mark.parametrize(("one", "other"), [("peer_refused", "peer_rejected"), ("folder_missing", "folder_denied")])
def test_failures_with_different_causes_have_different_words(one: str, other: str) -> None:
    first, second = (texts.problem(code, str) for code in (one, other))
    assert first.what != second.what
    assert first.todo != second.todo


@pytest.mark.parametrize("kind", ["coded", "unforeseen"])
def test_a_failure_of_ours_is_logged_once_by_its_route_without_ids(
    web: Web, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    def broken(*_args: object, **_more: object) -> None:
        raise StorageError("store_corrupt", "x") if kind == "coded" else RuntimeError("王小东")

    monkeypatch.setattr("teleread.web.queries.raw_of", broken)
    with web.signed_in("reader") as client:
        assert client.get(f"/api/instances/{'a' * 32}/frames/0.png").status_code >= 500
        assert client.get("/cases/nothing").status_code == 404
    logged = [one for one in caplog.records if one.name == "teleread.web.errors"]
    said = "store_corrupt" if kind == "coded" else "unexpected RuntimeError"
    assert [one.getMessage() for one in logged] == [f"GET /api/instances/{{arrival_id}}/frames/{{n}}.png: {said}"]
    assert logged[0].levelno == logging.ERROR


def test_raised_work_is_not_called_the_clinics_choice(web: Web, nurse: httpx.Client, reader: httpx.Client) -> None:
    upload(nurse, {"a": BROKEN_DICOM}, urgent=True)
    with web.services.catalogue.read() as conn:
        enqueue_again = conn.scalar(select(arrivals.c.id))
    enqueue(web.services, str(enqueue_again))
    assert "Its priority is Urgent (marked by the clinic · not analysed)" in reader.get(only_case(reader)).text


def test_the_service_logs_with_times_and_in_one_form(monkeypatch: pytest.MonkeyPatch) -> None:
    import argparse

    import uvicorn

    from teleread.cli.operations import run_serve
    from teleread.web import serving

    said: dict[str, Any] = {}
    started: dict[str, object] = {}
    monkeypatch.setattr(logging, "basicConfig", lambda **options: said.update(options))

    def config(*_args: object, **options: object) -> MagicMock:
        started.update(options)
        return MagicMock(ssl=None)

    monkeypatch.setattr(uvicorn, "Config", config)
    monkeypatch.setattr(serving, "server", MagicMock())
    levels: list[str] = []
    monkeypatch.setattr(logging.getLogger("teleread"), "setLevel", levels.append)
    run_serve(argparse.Namespace())
    assert (levels, said["level"]) == (["INFO"], logging.WARNING)  # a library's lines may hold identities
    record = logging.LogRecord("teleread.web.errors", logging.ERROR, "", 0, "GET /worklist: store_io", None, None)
    line = logging.Formatter(said["format"], said["datefmt"]).format(record)
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} ERROR teleread\.web\.errors GET /worklist: store_io", line
    )
    assert started["proxy_headers"] is False  # where no proxy is meant, nobody says for another where he comes from
    assert started["log_config"] is None  # uvicorn's own lines take the same way

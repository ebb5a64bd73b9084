"""From the clinic to the reader and back, over HTTP and on real parts."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from pydicom.data import get_testdata_file
from sqlalchemy import select, update

from teleread.errors import StorageError
from teleread.ingest.formats import write_wfdb
from teleread.pipeline.services import Services
from teleread.pipeline.sweep import sweep_web
from teleread.reading import second, worklist
from teleread.reading.critical_rows import of_case
from teleread.reading_room import ReadingRoom
from teleread.signal.ecg import simulate
from teleread.storage import agents
from teleread.storage.catalogue.schema import audit_events, studies
from teleread.storage.vault import Vault
from teleread.web import certificates
from teleread.web.security import guards
from tests.conftest import Clock
from tests.criticals import CONTACTS
from tests.signing import claim as claim_case
from tests.signing import post_report, ready
from tests.ui.live import BROKEN_DICOM, PASSWORD, Web, case_paths, named_ecg, running, upload, wfdb
from tests.unit.test_web_access import routes


@pytest.fixture
def web(services: Services, tmp_path: Path) -> Iterator[Web]:
    authority = certificates.agents_authority(tmp_path / "tls", services.clock())
    room = ReadingRoom(contacts=CONTACTS)
    own = replace(services, alliance=replace(services.alliance, room=room))
    with running(own, agents_authority=authority) as started:
        yield started


def ask_and_read_again(web: Web, path: str) -> None:
    """A consultation is asked and withdrawn; the second reading of a critical case is signed, graded and told."""
    with web.services.catalogue.read() as conn:
        (again,) = second.open_children(conn, path.rpartition("/")[2], ["second_reading"])
    with web.signed_in("senior") as senior, web.signed_in("reader") as reader:
        senior.post(f"{path}/ask", data={"how": "consultation", "question": "Which?"})
        (asked,) = re.findall(r'action="(/cases/\w+/not-needed)"', senior.get(path).text)
        assert senior.post(asked).status_code == 303
        fields = ready(senior, f"/cases/{again.case_id}")
        signed = senior.post(f"/cases/{again.case_id}/report", data=fields | {"text": "Read again."})
        compared = signed.headers["location"].partition("?")[0]
        assert senior.get(compared).status_code == 200
        assert senior.post(f"{compared}/grade", data={"grade": "1"}).status_code == 303
        assert reader.post(f"{compared}/seen").status_code == 303


def test_cases_open_by_receipt_when_the_vault_is_down(
    nurse: httpx.Client, reader: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    receipt = upload(nurse, {"a.dcm": named_ecg("Wang^XiaoDong")}, urgent=True).json()["receipt"]

    def down(*_args: object, **_more: object) -> None:
        raise StorageError("vault_unreachable", "The vault does not answer.")

    monkeypatch.setattr(Vault, "join", down)
    listed = reader.get("/worklist").text
    assert "Names cannot be shown just now." in listed
    assert "Wang" not in listed
    assert receipt in listed
    assert "male" in listed
    (path,) = case_paths(reader)
    case = reader.get(path)
    assert case.status_code == 200
    assert "The name cannot be shown just now." in case.text
    assert nurse.get(f"/receipts/{receipt}").status_code == 200


def test_browsers_without_scripts_can_send(nurse: httpx.Client) -> None:
    answer = nurse.post("/upload", files=[("file", ("a.dcm", named_ecg("A")))], data={"urgent": "1"})
    assert answer.status_code == 303
    assert "GREEN" in (page := nurse.get(answer.headers["location"]).text) or "AMBER" in page or "RED" in page


def test_a_signed_report_comes_back_to_the_clinic_alone(web: Web, nurse: httpx.Client, reader: httpx.Client) -> None:
    receipt = upload(nurse, {"a.dcm": named_ecg("A")}).json()["receipt"]
    (path,) = case_paths(reader)
    assert post_report(reader, path, {"text": "  "}).status_code == 422
    assert post_report(reader, path, {"text": "Sinus <b>rhythm</b>.", "critical": "1"}).status_code == 303
    assert post_report(reader, path, {"text": "Again."}).status_code == 409
    assert "Sinus &lt;b&gt;rhythm" in reader.get(path).text
    assert case_paths(reader) == []
    page = nurse.get(f"/receipts/{receipt}/status").text
    assert "Sinus &lt;b&gt;rhythm" in page
    assert "Critical result" in page
    assert nurse.get(f"/api/receipts/{receipt}").json()["verdict"]["report"]["critical"] is True


def test_the_engineer_sees_no_identity(web: Web, nurse: httpx.Client) -> None:
    upload(nurse, {"a.dcm": named_ecg("Wang^XiaoDong", "ID110101")})
    upload(nurse, {"Wang.dcm": BROKEN_DICOM})
    with web.signed_in("engineer") as engineer:
        page = engineer.get("/engineer").text
    assert "Wang" not in page
    assert "ID110101" not in page


def decide_about_identities(nurse: httpx.Client, reader: httpx.Client, path: str) -> None:
    """Every act on the page of identities: answer and so link, unlink, correct, see a notice."""
    upload(nurse, {"c.dcm": named_ecg("A", seed=1)})
    upload(nurse, {"d.dcm": named_ecg("A", patient_id="2", seed=2)})
    for address in re.findall(r'action="(/identity/questions/\w+)"', reader.get("/identity").text):
        assert reader.post(address, data={"answer": "same", "reason": "x"}).status_code == 303
    one, other = re.findall(r'name="(?:one|other)" value="(\w+)"', reader.get("/identity").text)[:2]
    assert reader.post("/identity/unlink", data={"one": one, "other": other, "reason": "x"}).status_code == 303
    assert reader.post(f"{path}/identity", data={"act": "open", "reason": "x"}).status_code == 303
    (seen,) = re.findall(r'action="(/identity/notices/\d+/seen)"', nurse.get("/identity").text)
    assert nurse.post(seen).status_code == 303


def look_after_people(web: Web, path: str) -> None:
    """Every act on the pages of accounts, of the audit trail and of cases opened with a reason."""
    with web.signed_in("senior") as senior:
        senior.post(f"{path}/break-glass", data={"reason": "emergency"})
        senior.post("/account/sessions/end")
        senior.post("/account/keys", data={"letters": "off"})
        senior.post("/second-factor/begin")
        (secret,) = re.findall(r'class="secret mono">([A-Z2-7 ]+)<', senior.get("/second-factor").text)
        key, at = base64.b32decode(secret.replace(" ", "")), int(web.services.clock().timestamp())
        senior.post("/second-factor", data={"code": TOTP(key, 6, SHA1(), 30).generate(at).decode()})
    with web.signed_in("auditor") as auditor:
        auditor.get("/audit")
        (seen,) = re.findall(r'action="(/break-glass/\d+/seen)"', auditor.get("/break-glass").text)
        auditor.post(seen)
    with web.signed_in("administrator") as administrator:
        administrator.get("/people")
        administrator.post("/people", data={"name": "new", "role": "reader", "display_name": "N"})
        for act in ("password", "disable", "enable", "second-factor/reset", "name", "role"):
            administrator.post(f"/people/new/{act}", data={"role": "auditor"})


def reject_a_flag(web: Web, nurse: httpx.Client, reader: httpx.Client) -> None:
    sent = upload(nurse, wfdb("inferior_stemi", 6))
    assert sent.status_code == 201
    with web.services.catalogue.read() as conn:
        item = next(one for one in worklist.list_items(conn) if one.receipt == sent.json()["receipt"])
    claim = claim_case(web.services, item.case_id)
    said = {"verdict": "rejected", "item_id": claim.item_id, "fence": str(claim.fence)}
    answer = reader.post(f"/api/cases/{item.case_id}/flags/st_elevation_inferior", data=said)
    assert answer.status_code == 200, answer.text


def keep_and_fetch(nurse: httpx.Client, reader: httpx.Client, path: str, receipt: str) -> None:
    """What belongs to a signed report: its files for the clinic, its document, and the reader's PIN."""
    for address in (f"/api/receipts/{receipt}/report.pdf", f"/api/receipts/{receipt}/report.json"):
        nurse.get(address)
    reader.get(f"{path}/report.json")
    assert (
        reader.post("/account/pin", data={"pin": "314159", "again": "314159", "password": PASSWORD}).status_code == 303
    )


def tell_the_clinic(web: Web, reader: httpx.Client, path: str) -> None:
    """Raise something critical, take it, telephone; and test a contact."""
    case_id = path.rpartition("/")[2]
    claim_case(web.services, case_id)
    reader.post(f"{path}/critical")
    with web.services.catalogue.read() as conn:
        (found,) = of_case(conn, case_id)
    with web.signed_in("coordinator") as coordinator:
        coordinator.post(f"/criticals/{found.id}/own")
        coordinator.post(f"/criticals/{found.id}/call", data={"name": "Dr Li", "outcome": "read_back"})
        coordinator.post("/contacts/v1/test", data={"act": "reached"})


def test_every_declared_audit_event_is_written(
    web: Web, nurse: httpx.Client, reader: httpx.Client, clock: Clock
) -> None:
    upload(nurse, {"a.dcm": named_ecg("A")})
    receipt = upload(nurse, {"b.dcm": BROKEN_DICOM}).json()["receipt"]
    nurse.get(f"/receipts/{receipt}")
    path = case_paths(reader)[-1]
    arrival = path.rpartition("/")[2]
    reader.get(path)
    reader.get(f"{path}/raw")
    reader.get(f"/api/recordings/{arrival}/wave")
    reject_a_flag(web, nurse, reader)
    reader.get(f"/api/ahead/{arrival}/window")
    claim = reader.post(f"/api/cases/{arrival}/claim").json()
    reader.post(f"{path}/release", data={"fence": claim["fence"], "reason": "interrupted"})
    with web.signed_in("coordinator") as coordinator:
        coordinator.post("/coordinator/assign", data={"case": arrival, "to": "all", "reason": "balance"})
    nurse.post(f"/receipts/{receipt}/form", data={"chest_pain": "now"})
    nurse.post(f"/receipts/{receipt}/urgent")
    tell_the_clinic(web, reader, path)
    post_report(reader, path, {"text": "Read.", "critical": "1"})
    ask_and_read_again(web, path)
    sweep_web(web.services)
    keep_and_fetch(nurse, reader, path, receipt)
    for one in re.findall(r'href="(/receipts/[\w-]+)"', nurse.get("/upload").text):
        for report in re.findall(r'name="report" value="(\w+)"', nurse.get(one).text):
            nurse.post(f"{one}/read", data={"report": report})
    with web.signed_in("engineer") as engineer:
        assert engineer.get(f"{path}/explain").status_code == 200
        (retry,) = re.findall(r'action="(/engineer/quarantine/\w+/retry)"', engineer.get("/engineer").text)
        engineer.post(retry)
        engineer.post("/sign-out")
    decide_about_identities(nurse, reader, path)
    look_after_people(web, path)
    with web.services.catalogue.write() as conn:
        code = agents.invite(conn, "village", "PC", web.services.clock(), actor="engineer")
    with httpx.Client(base_url=web.address, trust_env=False) as agent:
        token = agent.post("/api/agents/enrol", json={"code": code}).json()["token"]
        clock.advance((agents.VALID_FOR - agents.RENEWED_BEFORE / 2).total_seconds())
        renewed = agent.post("/api/agents/renew", headers={"authorization": f"Bearer {token}"})
        assert renewed.status_code == 200
    declared = {guard.audit_action for route in routes(web.app) for guard in guards(route)} - {None}
    with web.services.catalogue.read() as conn:
        written = set(conn.scalars(select(audit_events.c.action).distinct()))
    assert declared <= written


def test_a_view_names_its_reader_and_case(web: Web, nurse: httpx.Client, reader: httpx.Client) -> None:
    upload(nurse, {"a.dcm": named_ecg("A")})
    (path,) = case_paths(reader)
    reader.get(path)
    with web.services.catalogue.read() as conn:
        views = conn.execute(select(audit_events).where(audit_events.c.action == "view")).all()
    assert [(view.actor, view.object_type, view.object_id) for view in views] == [
        ("reader", "case", path.rpartition("/")[2])
    ]


def test_samples_are_served_as_stored(nurse: httpx.Client, reader: httpx.Client) -> None:
    upload(nurse, wfdb())
    (path,) = case_paths(reader)
    arrival = path.rpartition("/")[2]
    display = reader.get(f"/api/recordings/{arrival}/display").json()
    wave = reader.get(f"/api/recordings/{arrival}/wave").content
    assert len(wave) == 2 * len(display["leads"]) * display["n_samples"]
    assert display["r_peaks"]
    assert all(0 <= peak < display["n_samples"] for peak in display["r_peaks"])


def test_all_leads_bad_says_to_look_at_the_patient_first(nurse: httpx.Client) -> None:
    record, _truth = simulate("normal", 5)
    flat = replace(record, signals_mv=record.signals_mv * 0)
    sent = upload(nurse, write_wfdb(flat, "flat")).json()
    page = nurse.get(f"/receipts/{sent['receipt']}").text
    assert "RED: look at the patient" in page
    assert "LOOK AT THE PATIENT FIRST" in page
    assert "Then check the electrodes." in page
    assert "attach the electrodes of these leads again" not in page  # one message, not a list behind it


def test_the_image_page_is_a_preview_without_signing(web: Web, nurse: httpx.Client, reader: httpx.Client) -> None:
    source = get_testdata_file("CT_small.dcm")
    assert isinstance(source, str)
    upload(nurse, {"a": Path(source).read_bytes()})
    (path,) = case_paths(reader)
    page = reader.get(path).text
    assert "Preview, not for primary diagnosis." in page
    assert f"{path}/report" not in page
    assert post_report(reader, path, {"text": "Signed."}).status_code == 404
    (thumbnail,) = re.findall(r'src="(/api/instances/\w+/thumbnail.png)"', page)
    (first,) = re.findall(r'src="(/api/instances/\w+/frames/0.png)"', page)
    for address in (thumbnail, first, f"{first}?window=lung"):
        answer = reader.get(address)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
        assert answer.content.startswith(b"\x89PNG")
    assert reader.get(first.replace("/0.png", "/7.png")).status_code in {404, 422}
    assert reader.get(f"{first}?window=nothing").status_code == 422
    assert nurse.get(first).status_code == 403


def test_unknown_age_is_said(web: Web, nurse: httpx.Client, reader: httpx.Client) -> None:
    receipt = upload(nurse, wfdb()).json()["receipt"]
    with web.services.catalogue.write() as conn:
        conn.execute(update(studies).values(patient_age_years=None))
    assert "age unknown" in nurse.get(f"/receipts/{receipt}").text
    assert "age unknown" in reader.get(case_paths(reader)[0]).text


def test_worklist_of_the_module_and_of_the_page_agree(web: Web, nurse: httpx.Client, reader: httpx.Client) -> None:
    for n in range(3):
        upload(nurse, {"a.dcm": named_ecg("A", seed=n)}, urgent=n == 2)
    with web.services.catalogue.read() as conn:
        expected = [f"/cases/{item.case_id}" for item in worklist.list_items(conn)]
    assert case_paths(reader) == expected

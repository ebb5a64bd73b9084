"""Signing over HTTP, drafts, what a clinic is given back, and the command that checks it offline."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from teleread.cli import report as report_cli
from teleread.ingest.formats.writers import write_ecg
from teleread.pipeline import report_files
from teleread.reading import report_sheet
from teleread.reading.documents import check_all, read_file
from teleread.signal.ecg import simulate
from teleread.signal.ecg.record import Filters
from teleread.storage import signing_keys
from teleread.storage.catalogue.schema import audit_events, sessions, work_items
from tests.conftest import Clock
from tests.signing import PIN, post_report, ready
from tests.ui.live import PASSWORD, Web, named_ecg, upload, wfdb


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing_keys, "_MEMORY_KIB", 64)


def sent(nurse: httpx.Client, reader: httpx.Client, files: dict[str, bytes] | None = None) -> tuple[str, str]:
    """Receipt and the path of its case."""
    receipt = upload(nurse, files or wfdb()).json()["receipt"]
    (path,) = re.findall(r'href="(/cases/\w+)"', reader.get("/worklist").text)[:1]
    return receipt, path


def test_a_signed_report_is_on_the_clinics_page_at_once_with_its_files(
    nurse: httpx.Client, reader: httpx.Client, web: Web
) -> None:
    receipt, path = sent(nurse, reader, {"a.dcm": named_ecg("Wang^XiaoDong=王^小东")})
    codes = {"statements": "sinus_rhythm,otherwise_normal_ecg", "text": "Sinus <b>rhythm</b>."}
    assert post_report(reader, path, codes).status_code == 303
    page = nurse.get(f"/receipts/{receipt}").text
    assert "Otherwise normal ECG" in page
    assert "Sinus &lt;b&gt;rhythm" in page
    assert "Not a qualified electronic signature." in page
    for ending, kind in (("pdf", "application/pdf"), ("json", "application/json")):
        assert f"/api/receipts/{receipt}/report.{ending}" in page
        answer = nurse.get(f"/api/receipts/{receipt}/report.{ending}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
        with web.signed_in("stranger") as stranger:
            assert stranger.get(f"/api/receipts/{receipt}/report.{ending}").status_code == 404
    assert nurse.get(f"/api/receipts/{receipt}/report.pdf").content.startswith(b"%PDF-")
    body = nurse.get(f"/api/receipts/{receipt}/report.json")
    assert body.json()["patient"]["name"] == "王小东"
    (found,) = check_all(read_file(body.content))
    assert (found.faults, found.receipt, found.signer) == ((), receipt, "reader")
    assert "小东" not in body.json()["versions"][0]["document"]
    with web.services.catalogue.read() as conn:
        downloads = conn.scalars(select(audit_events.c.actor).where(audit_events.c.action == "download")).all()
    assert downloads.count("nurse") == 4


def test_before_there_is_a_report_there_is_no_file(nurse: httpx.Client, reader: httpx.Client) -> None:
    receipt, _path = sent(nurse, reader)
    for ending in ("pdf", "json"):
        assert nurse.get(f"/api/receipts/{receipt}/report.{ending}").status_code == 404


def test_addenda_and_corrections_stand_beside_what_they_follow(nurse: httpx.Client, reader: httpx.Client) -> None:
    receipt, path = sent(nurse, reader)
    post_report(reader, path, {"text": "First words."})
    post_report(reader, path, {"text": "More words.", "kind": "addendum"})
    page = nurse.get(f"/receipts/{receipt}").text
    assert page.index("First words.") < page.index("More words.")
    post_report(reader, path, {"text": "Right words.", "kind": "corrected", "reason": "typing"})
    page = nurse.get(f"/receipts/{receipt}").text
    assert page.index("Right words.") < page.index("Earlier versions") < page.index("First words.")
    assert "Reason: typing" in page
    assert "CORRECTED REPORT" in reader.get(path).text
    assert [one.faults for one in check_all(read_file(reader.get(f"{path}/report.json").content))] == [()] * 3


def test_signing_asks_for_the_pin_once_in_ten_minutes(
    web: Web, nurse: httpx.Client, reader: httpx.Client, clock: Clock
) -> None:
    _receipt, path = sent(nurse, reader)
    fields = ready(reader, path)
    without = {name: value for name, value in fields.items() if name != "pin"} | {"kind": "preliminary"}
    address = f"/api{path}/report"

    def sign(**more: str) -> httpx.Response:
        return reader.post(address, data=without | {"text": "x"} | more)

    assert sign().json()["error"]["code"] == "pin_needed"
    assert sign(pin="000001").json()["error"]["code"] == "pin_wrong"
    first = sign(pin=PIN)
    assert first.status_code == 201
    second = sign(text="y", replaces=first.json()["id"])
    assert (second.status_code, second.json()["version"]) == (201, 2)
    with web.signed_in("reader") as other:
        assert other.post(address, data=without | {"text": "z"}).json()["error"]["code"] == "pin_needed"
    with web.services.catalogue.write() as conn:
        conn.execute(update(sessions).values(unlocked_until=clock()))
    assert sign(text="z", replaces=second.json()["id"]).json()["error"]["code"] == "pin_needed"


def test_a_pin_is_set_with_the_password_and_changed_with_the_pin(web: Web, reader: httpx.Client) -> None:
    fields = {"pin": "161803", "again": "161803", "next": "/worklist"}
    assert reader.post("/account/pin", data=fields | {"password": "wrong wrong"}).status_code == 422
    assert "The two PINs differ." in reader.post("/account/pin", data=fields | {"again": "161804"}).text
    assert reader.post("/account/pin", data=fields | {"password": PASSWORD}).headers["location"] == "/worklist"
    with web.services.catalogue.read() as conn:
        first = signing_keys.active(conn, "reader")
    changed = reader.post("/account/pin", data={"pin": PIN, "again": PIN, "old": "161803"})
    assert changed.status_code == 303
    with web.services.catalogue.read() as conn:
        assert signing_keys.active(conn, "reader") == first
    assert "signing key since" in reader.get("/account/pin").text
    elsewhere = reader.post("/account/pin", data=fields | {"password": PASSWORD, "next": "//evil.example"})
    assert elsewhere.headers["location"].startswith("/account/pin")


def test_a_draft_is_kept_by_revision_and_offered_to_the_next_reader_by_name(
    web: Web, nurse: httpx.Client, reader: httpx.Client, clock: Clock
) -> None:
    _receipt, path = sent(nurse, reader)
    fields = ready(reader, path)
    address = f"/api{path}/draft"
    body = {"item_id": fields["item_id"], "fence": int(fields["fence"]), "revision": 0, "body": {"text": "Irregular."}}
    assert reader.put(address, json=body).json() == {"revision": 1}
    assert reader.put(address, json=body).json()["error"]["code"] == "draft_changed"
    assert reader.get(address).json()["body"] == {"text": "Irregular."}
    assert "Irregular." in reader.get(path).text
    clock.advance(3600)
    late = reader.post(f"{path}/report", data=fields | {"text": "Too late."})
    assert late.status_code == 409
    assert "kept as a draft" in late.text
    with web.signed_in("senior") as senior:
        ready(senior, path)
        page = senior.get(path).text
        assert "Draft by reader" in page
        assert "Too late." in page
        assert reader.put(address, json=body | {"revision": 2}).json()["error"]["code"] == "claim_lost"


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"item_id":1,"fence":"x","revision":0,"body":{}}', b"\xff"])
def test_a_draft_that_cannot_be_understood_is_refused(reader: httpx.Client, body: bytes) -> None:
    assert reader.put(f"/api/cases/{'0' * 32}/draft", content=body).status_code in {400, 409, 422}


def test_measurements_are_the_programs_unless_the_page_moved_them(nurse: httpx.Client, reader: httpx.Client) -> None:
    _receipt, path = sent(nurse, reader)
    post_report(reader, path, {"text": "a"})
    first = json.loads(json.loads(reader.get(f"{path}/report.json").content)["versions"][0]["document"])
    program = {one["name"]: one for one in first["measurements"]}
    assert {one["source"] for one in program.values()} == {"program"}
    assert program["qtc_ms"]["formula"] == "Fridericia"
    said = {
        "qt_ms": {"value": 401.2, "unit": "ms", "by": "reader", "method": "marks"},
        "pr_ms": {"value": 999, "unit": "ms", "by": "program", "method": "median_beat"},
        "heart_rate_bpm": {"value": float(program["heart_rate_bpm"]["value"]), "unit": "bpm", "by": "program"},
    }
    fields = {"text": "b", "kind": "addendum", "measurements": json.dumps(said)}
    assert post_report(reader, path, fields).status_code == 303
    second = json.loads(json.loads(reader.get(f"{path}/report.json").content)["versions"][1]["document"])
    found = {one["name"]: (one["value"], one["source"]) for one in second["measurements"]}
    assert found["qt_ms"] == ("401", "reader")
    assert found["pr_ms"] == ("999", "reader")  # the program did not measure that, whatever the page says
    assert found["heart_rate_bpm"][1] == "program"
    bad = post_report(reader, path, fields | {"measurements": '{"qt_ms":{"value":"x","unit":"ms"}}'})
    assert bad.status_code == 400


def test_a_flag_that_nobody_answered_refuses_the_report(web: Web, nurse: httpx.Client, reader: httpx.Client) -> None:
    _receipt, path = sent(nurse, reader, wfdb("inferior_stemi"))
    refused = post_report(reader, path, {"text": "Nothing."})
    assert refused.status_code == 422
    assert "neither rejected nor answered by a statement" in refused.text
    assert post_report(reader, path, {"statements": "inferior_mi_acute"}).status_code == 303
    with web.services.catalogue.read() as conn:
        assert conn.scalar(select(work_items.c.state).order_by(work_items.c.seq.desc())) == "COMPLETED"


@pytest.mark.parametrize(
    "filters", [Filters(0.05, 150.0), Filters(), Filters(0.05, None)], ids=["known", "none", "half"]
)
def test_st_of_an_unknown_band_is_not_judged_and_nothing_is_suggested_of_it(
    nurse: httpx.Client, reader: httpx.Client, filters: Filters
) -> None:
    record = replace(simulate("inferior_stemi", 1)[0], filters=filters)
    _receipt, path = sent(nurse, reader, dict(write_ecg(record, "dicom", "ecg")))
    ready(reader, path)
    shown, known = reader.get(path).text, filters.low_pass_hz is not None
    assert "ST elevation, inferior" in shown, "what raises the priority is never hidden"
    assert ('data-code="inferior_mi_acute"' in shown) is known
    assert ("recorded band unknown: ST not judged" in shown) is not known
    assert ("the recorded band is unknown: ST not judged, limits reached all the same" in shown) is not known
    refused = post_report(reader, path, {"text": "Nothing."})
    assert refused.status_code == 422, "whoever suggested nothing still asks for an answer"


def test_the_statements_can_be_searched_and_name_what_they_exclude(reader: httpx.Client) -> None:
    body = reader.get("/api/statements").json()
    by_code = {one["code"]: one for one in body["statements"]}
    assert by_code["atrial_fibrillation"]["initials"] == "xfcd"
    assert "atrial_fibrillation" in by_code["normal_ecg"]["excludes"]
    assert by_code["inferior_mi_acute"]["critical"]


def test_verify_tells_a_sound_file_from_a_changed_one(
    nurse: httpx.Client, reader: httpx.Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from teleread.cli import main

    receipt, path = sent(nurse, reader)
    post_report(reader, path, {"text": "Sinus rhythm."})
    for data in (reader.get(f"{path}/report.json").content, nurse.get(f"/api/receipts/{receipt}/report.json").content):
        file = tmp_path / "report.json"
        file.write_bytes(data)
        assert main(["report", "verify", str(file)]) == 0
        assert "sound" in capsys.readouterr().out
        assert main(["report", "verify", str(file), "--json", "--key", "0" * 32]) == report_cli.MISMATCH
        assert json.loads(capsys.readouterr().out)["faults"] == ["key_not_named"]
        file.write_bytes(data.replace(b"Sinus rhythm.", b"Sinus rhythm!"))
        assert main(["report", "verify", str(file)]) == report_cli.MISMATCH
        assert "document_hash" in capsys.readouterr().out
    assert main(["report", "verify", str(tmp_path / "none.json")]) == 3
    with pytest.raises(SystemExit) as usage:
        main(["report", "verify"])
    assert usage.value.code == 2


def test_a_number_of_our_own_stands_on_no_report_as_the_patients(
    nurse: httpx.Client, reader: httpx.Client, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str | None] = []
    original = report_files.report_sheet.Person

    def seen(**values: Any) -> report_sheet.Person:
        drawn.append(values["patient_id"])
        return original(**values)

    monkeypatch.setattr(report_files.report_sheet, "Person", seen)
    for files, wanted in ((wfdb(), None), ({"a.dcm": named_ecg("Wang^A")}, "110101")):
        receipt, path = sent(nurse, reader, files)
        assert post_report(reader, path, {"text": "Words."}).status_code in {200, 303}
        assert nurse.get(f"/api/receipts/{receipt}/report.pdf").status_code == 200
        assert drawn[-1] == wanted

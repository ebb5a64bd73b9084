"""The pages for identities: who sees and does what, in which words, and what a clinic and a reader are shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom.data import get_testdata_file
from sqlalchemy import select

from teleread.pipeline.sweep import sweep_web
from teleread.reading.corrections import count_open
from teleread.storage.catalogue.schema import arrivals, audit_events, identity_questions, notices, studies
from tests.conftest import Clock
from tests.ecgs import ecg
from tests.signing import post_report
from tests.ui.live import Web, running, upload

NAMED = {
    "act": "correct",
    "issuer": "village",
    "patient_id": "2002",
    "name": "赵敏",
    "birth_date": "1990-05-06",
    "sex": "F",
}


@pytest.fixture
def web(services: object) -> Iterator[Web]:
    with running(services) as started:
        yield started


def send(web: Web, account: str = "nurse", **more: Any) -> tuple[str, str]:
    """An ECG sent by a clinic: its receipt number and its case."""
    with web.signed_in(account) as client:
        answer = upload(client, {"a.dcm": ecg(**({"patient_id": "1001"} | more))})
        assert answer.status_code == 201, answer.text
        receipt = str(answer.json()["receipt"])
    with web.services.catalogue.read() as conn:
        case_id = conn.scalar(select(arrivals.c.case_id).where(arrivals.c.receipt == receipt))
    return receipt, str(case_id)


def act(client: httpx.Client, address: str, **fields: str) -> httpx.Response:
    return client.post(address, data=fields)


@pytest.mark.parametrize(
    ("language", "mark", "held"),
    [("en", "Identity under correction", "A report is signed and held"), ("zh", "身份更正中", "报告已签发")],
)
def test_a_correction_from_the_clinic_to_the_end(web: Web, clock: Clock, language: str, mark: str, held: str) -> None:
    receipt, case_id = send(web)
    spoken = {"accept-language": language}
    with web.signed_in("nurse", headers=spoken) as nurse, web.signed_in("reader", headers=spoken) as reader:
        assert mark not in reader.get("/worklist").text
        address = f"/receipts/{receipt}/identity"
        assert act(nurse, address, act="open", reason="贴错标签").status_code == 303
        assert mark in nurse.get(f"/receipts/{receipt}").text
        assert mark in reader.get("/worklist").text
        shown = reader.get(f"/cases/{case_id}").text
        assert mark in shown
        assert "0571-0" in shown  # the telephone is never more than a look away
        assert f'action="/cases/{case_id}/claim"' in shown  # and may be read as usual
        signed = post_report(reader, f"/cases/{case_id}", {"text": "急性下壁心梗。", "critical": "1"})
        assert signed.status_code == 303
        sweep_web(web.services)
        told = nurse.get(f"/receipts/{receipt}/status").text
        assert held in told
        assert "急性下壁心梗" not in told
        assert nurse.post(address, data=NAMED).status_code == 303
        sweep_web(web.services)
        after = nurse.get(f"/receipts/{receipt}").text
        assert mark not in after
        assert "急性下壁心梗。" in after
        assert "赵敏" in after
        assert "赵敏" in reader.get(f"/cases/{case_id}").text
        assert "identity_corrected" in [row.code for row in rows(web, notices)]


def rows(web: Web, table: object) -> list[object]:
    with web.services.catalogue.read() as conn:
        return list(conn.execute(select(table)))  # type: ignore[call-overload]


def test_whoever_read_the_report_sees_the_notice_and_says_so(web: Web) -> None:
    receipt, case_id = send(web)
    with web.signed_in("reader") as reader, web.signed_in("nurse") as nurse, web.signed_in("stranger") as stranger:
        post_report(reader, f"/cases/{case_id}", {"text": "Sinus rhythm."})
        sweep_web(web.services)
        assert "Sinus rhythm." in nurse.get(f"/receipts/{receipt}").text
        act(reader, f"/cases/{case_id}/identity", act="open", reason="two patients in one bed")
        assert "Do not use the report below" in nurse.get(f"/receipts/{receipt}").text
        assert "What you must know" in nurse.get("/upload").text
        page = nurse.get("/identity").text
        assert receipt in page
        assert receipt not in stranger.get("/identity").text
        numbers = re.findall(r"/identity/notices/(\d+)/seen", page)
        assert len(numbers) == 1  # hers and her site's are one line
        assert "2 times" in page
        for number in numbers:
            assert stranger.post(f"/identity/notices/{number}/seen").status_code == 303
        assert nurse.get("/identity").text.count("/seen") == 1
        for number in numbers:
            assert nurse.post(f"/identity/notices/{number}/seen").status_code == 303
        assert "/seen" not in nurse.get("/identity").text
    seen = [row.detail for row in rows(web, audit_events) if row.action == "notice_seen"]  # type: ignore[attr-defined]
    assert [(str(one["notice"]), one["times"]) for one in seen] == [(numbers[0], 2)]


def test_a_clinic_cannot_touch_anothers_case(web: Web) -> None:
    receipt, case_id = send(web)
    with web.signed_in("stranger") as stranger:
        assert act(stranger, f"/receipts/{receipt}/identity", act="open", reason="x").status_code == 404
        assert act(stranger, f"/cases/{case_id}/identity", act="open", reason="x").status_code == 403
    with web.services.catalogue.read() as conn:
        assert count_open(conn) == 0


def test_questions_are_answered_on_the_page_with_names_joined_and_audited(web: Web) -> None:
    send(web, born="19620304", at="20261001100000")
    receipt, case_id = send(web, seed=1, born="19700101")
    with web.signed_in("reader") as reader, web.signed_in("nurse") as nurse:
        assert "Another birth date under a known patient number." in reader.get(f"/cases/{case_id}").text
        assert "Another birth date under a known patient number." in nurse.get(f"/receipts/{receipt}").text
        page = nurse.get("/identity").text
        assert "1962-03-04" in page
        assert "1970-01-01" in page
        (key,) = re.findall(r"/identity/questions/([0-9a-f]{32})", page)
        assert act(nurse, f"/identity/questions/{key}", answer="same", reason="").status_code == 422
        assert act(nurse, f"/identity/questions/{key}", answer="same", reason="身份证").status_code == 303
        assert act(nurse, f"/identity/questions/{key}", answer="same", reason="x").status_code == 409
        assert "1970-01-01" not in nurse.get("/identity").text
    (row,) = rows(web, identity_questions)
    assert (row.answer, row.answered_by, row.reason) == ("same", "nurse", "身份证")  # type: ignore[attr-defined]


def test_a_possible_prior_is_listed_apart_and_a_link_can_be_taken_back(web: Web) -> None:
    send(web, at="20251101100000")
    _receipt, case_id = send(web, "stranger", patient_id="77", seed=1)
    with web.signed_in("reader") as reader, web.signed_in("stranger") as stranger:
        shown = reader.get(f"/cases/{case_id}").text
        assert "Possible earlier studies" in shown
        assert "Earlier studies of this person" not in shown
        assert "Perhaps one person" not in stranger.get("/identity").text  # no site learns of another's patients
        (key,) = re.findall(r"/identity/questions/([0-9a-f]{32})", reader.get("/identity").text)
        assert act(stranger, f"/identity/questions/{key}", answer="same", reason="x").status_code == 404
        assert act(reader, f"/identity/questions/{key}", answer="same", reason="same telephone").status_code == 303
        shown = reader.get(f"/cases/{case_id}").text
        assert "Possible earlier studies" not in shown
        assert "Earlier studies of this person" in shown
        one, other = re.findall(r'name="(?:one|other)" value="(P[A-Z2-7]{12})"', reader.get("/identity").text)
        assert act(stranger, "/identity/unlink", one=one, other=other, reason="x").status_code == 403
        assert act(reader, "/identity/unlink", one=other, other=one, reason="wrong").status_code == 303
        assert "Earlier studies of this person" not in reader.get(f"/cases/{case_id}").text


def test_the_engineer_sees_counts_and_no_identity(web: Web) -> None:
    _receipt, case_id = send(web, at="20261101100000")
    send(web, seed=1, at="20261101100100")
    with web.signed_in("reader") as reader, web.signed_in("engineer") as engineer:
        act(reader, f"/cases/{case_id}/identity", act="open", reason="牌子")
        page = engineer.get("/engineer").text
        assert "Two recordings under one patient number within ten minutes." in page
        assert "under correction" in page
        for secret in ("李娜", "1001", "1962", "牌子"):
            assert secret not in page
        assert engineer.get("/identity").status_code == 403


def test_a_conflict_is_shown_to_the_engineer_and_on_the_case(web: Web) -> None:
    with web.signed_in("nurse") as nurse:
        receipts = []
        for name in ("MR_small.dcm", "MR_small_RLE.dcm"):
            path = get_testdata_file(name)
            assert isinstance(path, str)
            receipts.append(str(upload(nurse, {"a": Path(path).read_bytes()}).json()["receipt"]))
    with web.signed_in("engineer") as engineer, web.signed_in("reader") as reader:
        page = engineer.get("/engineer").text
        section = page[page.index('id="conflicts"') :]
        assert all(receipt in section for receipt in receipts)
        (case_id,) = set(re.findall(r'data-case="([0-9a-f]{32})"', reader.get("/worklist").text))
        shown = reader.get(f"/cases/{case_id}").text
        assert "The same instance came twice with different contents." in shown
        assert all(receipt in shown for receipt in receipts)


def test_a_clinic_neither_sees_nor_renames_anothers_patient_by_naming_it(web: Web) -> None:
    send(web, account="stranger", patient_id="777", name="Secret Person")
    receipt, _case_id = send(web, seed=1)
    before = rows(web, studies)
    forged = NAMED | {"issuer": "other", "patient_id": "777", "name": "FORGED"}
    with web.signed_in("nurse") as nurse, web.signed_in("reader") as reader:
        act(nurse, f"/receipts/{receipt}/identity", act="open", reason="x")
        for fields in (forged, forged | {"name": ""}):
            answer = nurse.post(f"/receipts/{receipt}/identity", data=fields)
            assert answer.status_code in {400, 422}
            assert "issuer_foreign" in answer.text
        assert "Secret Person" not in nurse.get(f"/receipts/{receipt}").text
        assert "FORGED" not in reader.get("/worklist").text
    assert rows(web, studies) == before


@pytest.mark.parametrize(
    ("language", "words"), [("en", "Identity corrected on {} by reader."), ("zh", "身份已于 {} 由 reader 更正。")]
)
def test_that_an_identity_was_corrected_stays_on_the_case_and_the_receipt(web: Web, language: str, words: str) -> None:
    receipt, case_id = send(web)
    line = re.compile(re.escape(words).replace(re.escape("{}"), r"2026-\d\d-\d\d \d\d:\d\d"))
    spoken = {"accept-language": language}
    with web.signed_in("nurse", headers=spoken) as nurse, web.signed_in("reader", headers=spoken) as reader:
        pages = ((nurse, f"/receipts/{receipt}"), (reader, f"/cases/{case_id}"))
        act(reader, f"/cases/{case_id}/identity", act="open", reason="x")
        act(reader, f"/cases/{case_id}/identity", act="confirm")
        for client, address in pages:  # confirmed: nothing was corrected
            assert not line.search(client.get(address).text)
        act(reader, f"/cases/{case_id}/identity", act="open", reason="x")
        act(reader, f"/cases/{case_id}/identity", **NAMED)
        for client, address in pages:
            assert line.search(client.get(address).text)
            assert line.search(client.get(address).text), "looked at once, it is still there"


def test_issuers_are_chosen_and_a_clinic_has_only_its_own_to_choose_from(web: Web) -> None:
    receipt, case_id = send(web)
    with web.signed_in("nurse") as nurse, web.signed_in("reader") as reader:
        act(nurse, f"/receipts/{receipt}/identity", act="open", reason="x")
        offered = {}
        for client, address in ((nurse, f"/receipts/{receipt}"), (reader, f"/cases/{case_id}")):
            form = client.get(address).text.partition('name="issuer"')[2].partition("</select>")[0]
            offered[address[1:2]] = re.findall(r'<option value="([^"]*)"', form)
    assert offered["r"] == ["village"]
    assert offered["c"][0] == "village"
    assert set(offered["c"]) == {"lead", "township", "village", "other"}


def test_a_typed_name_is_asked_about_on_the_readers_page_alone(web: Web) -> None:
    send(web, patient_id="2002", name="Wang Wei")
    receipt, _case_id = send(web, seed=1, at="20261001100000")
    with web.signed_in("nurse") as nurse, web.signed_in("reader") as reader:
        act(nurse, f"/receipts/{receipt}/identity", act="open", reason="x")
        assert nurse.post(f"/receipts/{receipt}/identity", data=NAMED).status_code == 303
        assert "赵敏" not in nurse.get(f"/receipts/{receipt}").text
        page = reader.get("/identity").text
    assert "Wang Wei" in page
    assert "赵敏" in page


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"patient_id": " "}, "patient_id_missing"),
        ({"issuer": "teleread"}, "identity_invalid"),
        ({"issuer": "Village"}, "issuer_unknown"),
        ({"name": "x" * 200}, "identity_invalid"),
        ({"name": "a\x1bb"}, "identity_invalid"),
        ({"birth_date": "1990-13-01"}, "birth_date_invalid"),
        ({"birth_date": "2990-01-01"}, "birth_date_invalid"),
        ({"sex": "X"}, "sex_invalid"),
        ({"act": "destroy"}, "request_invalid"),
    ],
)
def test_what_is_typed_wrong_changes_nothing_and_is_said(web: Web, change: dict[str, str], code: str) -> None:
    _receipt, case_id = send(web)
    before = rows(web, studies)
    with web.signed_in("reader") as reader:
        act(reader, f"/cases/{case_id}/identity", act="open", reason="x")
        answer = reader.post(f"/cases/{case_id}/identity", data=NAMED | change)
    assert answer.status_code in {400, 422}
    assert code in answer.text
    assert rows(web, studies) == before


def test_hostile_names_and_reasons_are_only_text(web: Web) -> None:
    _receipt, case_id = send(web, name="<script>alert(1)</script>")
    with web.signed_in("reader") as reader:
        act(reader, f"/cases/{case_id}/identity", act="open", reason="<img src=x onerror=alert(2)>")
        for address in ("/identity", f"/cases/{case_id}", "/worklist"):
            page = reader.get(address).text
            assert "<script>alert" not in page
            assert "<img src=x" not in page


def test_pages_open_without_the_vault(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    from teleread.errors import StorageError

    send(web, at="20261101100000")
    _receipt, case_id = send(web, seed=1, at="20261101100100")

    def away(*_args: object, **_more: object) -> None:
        raise StorageError("vault_unreachable", "away")

    monkeypatch.setattr(type(web.services.vault), "join", away)
    with web.signed_in("reader") as reader:
        act(reader, f"/cases/{case_id}/identity", act="open", reason="x")
        assert "Decide nothing until they can." in reader.get("/identity").text
        assert reader.get(f"/cases/{case_id}").status_code == 200

"""Whoever acknowledged or received what was said under the wrong name is told, and gets it again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from teleread.ingest.reports_out import OutgoingReport, basic_text_sr
from teleread.pipeline import give_back as give_back_module
from teleread.pipeline.enqueue import enqueue
from teleread.pipeline.give_back import give_back
from teleread.pipeline.identity_corrections import (
    confirm,
    correct,
    open_correction,
)
from teleread.pipeline.services import Services
from teleread.reading import notices
from teleread.storage import audit
from teleread.storage.catalogue.schema import notices as notices_table
from teleread.storage.catalogue.schema import reports
from tests.conftest import Clock
from tests.unit.correcting import NAMED, RIGHT, arrive, due, name_of, people, receipt_of, sign


def told(services: Services) -> list[tuple[str | None, str | None, str]]:
    columns = notices_table.c
    with services.catalogue.read() as conn:
        rows = conn.execute(select(columns.account, columns.site_id, columns.code).order_by(columns.id)).all()
    return sorted((tuple(row) for row in rows), key=str)  # type: ignore[arg-type]


def test_everyone_who_acknowledged_is_told_at_the_beginning_and_at_the_end(services: Services, clock: Clock) -> None:
    people(services, "nurse", "stranger", "reader", "opener", "looker")
    case_id = arrive(services).arrival_id
    view(services, "looker", case_id)  # before a report was given back: there was nothing to acknowledge
    clock.advance(60)
    report = sign(services, case_id)
    give_back(services, report.id)
    clock.advance(60)
    view(services, "nurse", case_id)
    open_correction(services, case_id, reason="wrong sticker", who="opener")
    expected = [(None, "village"), ("nurse", None), ("reader", None)]
    opened = [(account, site, "identity_under_correction") for account, site in expected]
    assert told(services) == sorted(opened, key=str)
    correct(services, case_id, identity=NAMED, who="nurse", site_id="village")
    closed = [(None, "village"), ("opener", None), ("reader", None)]
    assert told(services) == sorted(opened + [(a, s, "identity_corrected") for a, s in closed], key=str)
    with services.catalogue.write() as conn:
        assert notices.count_unseen(conn, "nurse", "village") == 2
        first = notices.unseen(conn, "nurse", "village")[0]
        assert not notices.mark_seen(conn, first.id, "stranger", "other", clock())
        assert notices.mark_seen(conn, first.id, "nurse", "village", clock())
        assert not notices.mark_seen(conn, first.id, "nurse", "village", clock())
        assert notices.count_unseen(conn, "nurse", "village") == 1


def test_what_is_said_twice_is_one_notice_until_it_is_seen(services: Services, clock: Clock) -> None:
    people(services, "nurse", "reader")
    case_id = arrive(services).arrival_id
    with services.catalogue.write() as conn:
        notices.tell(conn, case_id, "identity_under_correction", ["nurse"], "village", clock())
        clock.advance(60)
        notices.tell(conn, case_id, "identity_under_correction", ["nurse", "reader"], None, clock())
        notices.tell(conn, case_id, "identity_confirmed", ["nurse"], None, clock())
        listed = {one.code: one for one in notices.unseen(conn, "nurse", "village")}
        assert {code: one.times for code, one in listed.items()} == {
            "identity_under_correction": 3,
            "identity_confirmed": 1,
        }
        stacked = listed["identity_under_correction"]
        assert stacked.created_at == clock()
        notices.tell(conn, case_id, "identity_under_correction", ["nurse"], None, clock())  # after it was shown
        assert notices.mark_seen(conn, stacked.id, "nurse", "village", clock())
        (left,) = [one for one in notices.unseen(conn, "nurse", "village") if one.code == stacked.code]
        assert left.times == 1
        assert notices.count_unseen(conn, "reader") == 1


def view(services: Services, actor: str, arrival_id: str) -> None:
    with services.catalogue.write() as conn:
        audit.record(conn, at=services.clock(), actor=actor, action="view", object_type="arrival", object_id=arrival_id)


def test_telling_only_who_signed_would_be_caught(
    services: Services, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "viewers", lambda *_args: notices.Known(frozenset(), 0))
    with pytest.raises(AssertionError):
        test_everyone_who_acknowledged_is_told_at_the_beginning_and_at_the_end(services, clock)


def test_who_looks_while_it_is_being_opened_is_told(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    people(services, "nurse", "reader")
    case_id = arrive(services).arrival_id
    give_back(services, sign(services, case_id).id)
    honest = notices.viewers
    calls = []

    def overtaken(conn: Any, cases: list[str], before: Any = None) -> Any:
        found = honest(conn, cases, before)
        if not calls:
            calls.append(1)
            view(services, "nurse", case_id)
        return found

    monkeypatch.setattr(notices, "viewers", overtaken)
    open_correction(services, case_id, reason="x", who="reader")
    assert ("nurse", None, "identity_under_correction") in told(services)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_report_in_a_folder_is_given_back_again_under_the_right_name(
    services: Services, when: str, tmp_path: Path
) -> None:
    case_id = arrive(services, site="township").arrival_id
    report = sign(services, case_id, channel="folder")
    if when == "before":
        assert give_back(services, report.id)
    open_correction(services, case_id, reason="wrong sticker", who="reader")
    give_back(services, report.id)
    correct(services, case_id, identity=NAMED, who="reader")
    assert due(services) == [report.id]
    assert give_back(services, report.id)
    assert not give_back(services, report.id)
    receipt = receipt_of(services, case_id)
    again = json.loads((tmp_path / "reports" / f"{receipt}-v1-c1.json").read_text(encoding="utf-8"))
    assert (again["patient"]["id"], again["patient"]["name"]) == (RIGHT, "Zhao Min")
    assert (again["version"], again["text"], again["identity_corrections"]) == (1, report.text, 1)
    former = tmp_path / "reports" / f"{receipt}-v1.json"
    assert former.exists() == (when == "before")
    with services.catalogue.read() as conn:
        (kept,) = conn.execute(select(reports)).all()
    assert (kept.text, kept.version, kept.signed_at) == (report.text, 1, report.signed_at)


@pytest.mark.parametrize(("site", "recalled"), [("township", True), ("village", False)])
def test_a_report_that_lies_in_a_sites_system_under_the_wrong_name_is_to_be_recalled(
    services: Services, site: str, recalled: bool
) -> None:
    """The township's reports go into a folder, the village's stand on our page, which shows what holds now."""
    people(services, "reader", "opener")
    case_id = arrive(services, site=site).arrival_id
    give_back(services, sign(services, case_id).id)
    open_correction(services, case_id, reason="x", who="opener")
    confirm(services, case_id, who="opener")
    assert not [one for one in told(services) if one[2] == "report_to_recall"]
    open_correction(services, case_id, reason="y", who="opener")
    correct(services, case_id, identity=replace(NAMED, issuer=site), who="opener")
    found = [one for one in told(services) if one[2] == "report_to_recall"]
    to_recall = [("reader", None, "report_to_recall"), (None, "township", "report_to_recall")]
    assert found == (to_recall if recalled else [])
    with services.catalogue.read() as conn:
        listed = notices.unseen(conn, "anybody", site)
    assert [one.receipt for one in listed if one.code == "report_to_recall"] == (
        [receipt_of(services, case_id)] if recalled else []
    )


def test_a_report_on_its_way_when_a_correction_begins_is_not_taken_for_the_right_one(
    services: Services, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Opened and closed while the old name was on the wire: the report is due again, under the new one."""
    case_id = arrive(services, site="township").arrival_id
    report = sign(services, case_id, channel="folder")
    honest = give_back_module.deliver

    def slow(*args: Any) -> None:
        honest(*args)
        monkeypatch.undo()
        open_correction(services, case_id, reason="x", who="reader")
        correct(services, case_id, identity=NAMED, who="reader")

    monkeypatch.setattr(give_back_module, "deliver", slow)
    assert not give_back(services, report.id)
    assert due(services) == [report.id]
    assert (None, "township", "report_to_recall") in told(services)
    assert give_back(services, report.id)
    written = (tmp_path / "reports" / f"{receipt_of(services, case_id)}-v1-c1.txt").read_text(encoding="utf-8")
    assert "Zhao Min" in written
    assert "IDENTITY CORRECTED" in written


def test_a_report_that_left_meanwhile_is_told_to_its_site(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    case_id = arrive(services, site="township").arrival_id
    report = sign(services, case_id, channel="folder")
    honest = give_back_module.deliver

    def slow(*args: Any) -> None:
        honest(*args)
        open_correction(services, case_id, reason="x", who="nurse", site_id="township")

    monkeypatch.setattr(give_back_module, "deliver", slow)
    assert give_back(services, report.id)
    assert (None, "township", "identity_under_correction") in told(services)
    monkeypatch.undo()
    correct(services, case_id, identity=NAMED, who="reader")
    assert due(services) == [report.id]


def test_a_corrected_report_is_no_part_of_the_other_patients_study(services: Services) -> None:
    common: dict[str, Any] = {
        "receipt": "AAAA-BBBB-CCCC",
        "version": 2,
        "text": "Sinus rhythm.",
        "critical": False,
        "signed_by": "reader",
        "signed_at": services.clock(),
    }
    first = basic_text_sr(OutgoingReport(**common, study_uid="1.2.3"))
    again = basic_text_sr(OutgoingReport(**common, corrected=1))
    twice = basic_text_sr(OutgoingReport(**common, corrected=2))
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        assert len({getattr(one, keyword) for one in (first, again, twice)}) == 3
    assert "PredecessorDocumentsSequence" in first
    assert "PredecessorDocumentsSequence" not in again
    assert "IDENTITY CORRECTED" in again.to_json()
    assert "IDENTITY CORRECTED" not in first.to_json()


def test_another_case_of_the_same_study_stays_whose_it_was(services: Services) -> None:
    first = arrive(services, seed=0).arrival_id
    second = arrive(services, seed=1, study_seed=0).arrival_id
    open_correction(services, first, reason="x", who="reader")
    correct(services, first, identity=NAMED, who="reader")
    assert name_of(services, first) == "Zhao Min"
    assert name_of(services, second) == "李娜"
    for case_id in (first, second):  # what runs again changes neither
        enqueue(services, case_id)
    assert (name_of(services, first), name_of(services, second)) == ("Zhao Min", "李娜")
    report = sign(services, first)
    with services.catalogue.read() as conn:
        loaded = give_back_module._load(conn, report.id)
    assert loaded is not None
    assert (
        services.vault.join([loaded.patient_pseudonym], who="t", why="t", case_ids=["c"], at=services.clock())[
            loaded.patient_pseudonym
        ].patient_id
        == RIGHT
    )

"""Correcting whose a case is: it keeps its place, and holds only what is given back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydicom.data import get_testdata_file
from sqlalchemy import select

from teleread.errors import AccessDenied, Conflict, InputRejected, StorageError
from teleread.pipeline import give_back as give_back_module
from teleread.pipeline import identity_corrections
from teleread.pipeline.batches import retry_quarantined
from teleread.pipeline.enqueue import enqueue
from teleread.pipeline.give_back import give_back
from teleread.pipeline.identity_corrections import (
    confirm,
    correct,
    open_correction,
)
from teleread.pipeline.identity_questions import answer
from teleread.pipeline.land import Landed, land
from teleread.pipeline.prepare import prepare
from teleread.pipeline.services import Services
from teleread.pipeline.verdict import verdict
from teleread.reading import corrections, persons, queue
from teleread.reading.questions import open_questions
from teleread.reading.worklist import list_items
from teleread.storage.catalogue.schema import arrivals, audit_events, deliveries, derived, studies, work_items
from teleread.storage.catalogue.schema import identity_corrections as corrections_table
from tests.conftest import Clock
from tests.unit.correcting import NAMED, RIGHT, WRONG, arrive, due, name_of, receipt_of, sha256_of, sign


def order(services: Services) -> list[tuple[str, str, int]]:
    with services.catalogue.read() as conn:
        return [(item.case_id, item.priority, item.rank) for item in list_items(conn)]


def test_a_case_under_correction_keeps_its_place_and_is_read_and_signed(services: Services, clock: Clock) -> None:
    cases = []
    for seed, urgent in ((0, False), (1, True), (2, False)):
        cases.append(arrive(services, seed=seed, urgent=urgent).arrival_id)
        clock.advance(700)
    before = order(services)
    for case_id in cases:
        open_correction(services, case_id, reason="wrong sticker", who="reader")
    assert order(services) == before
    with services.catalogue.read() as conn:
        assert all(item.under_correction for item in list_items(conn))
        assert [queue.position(conn, case_id) for case_id in cases] == [2, 1, 3]
    report = sign(services, cases[1], critical=True)
    assert report.version == 1


def test_a_correction_that_takes_the_case_out_would_be_caught(
    services: Services, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = corrections.write_down

    def suspending(conn: Any, case_id: str, **more: Any) -> str:
        queue.cancel_item(conn, case_id, more["at"])
        return honest(conn, case_id, **more)

    monkeypatch.setattr(corrections, "write_down", suspending)
    with pytest.raises(AssertionError):
        test_a_case_under_correction_keeps_its_place_and_is_read_and_signed(services, clock)


def test_what_is_signed_is_held_until_the_correction_is_closed(services: Services) -> None:
    case_id = arrive(services).arrival_id
    open_correction(services, case_id, reason="wrong sticker", who="nurse", site_id="village")
    report = sign(services, case_id, critical=True)
    assert due(services) == []
    assert give_back(services, report.id) is False
    receipt = receipt_of(services, case_id)
    shown = verdict(services, receipt=receipt, site_id="village")
    assert shown is not None
    assert (shown.report, shown.under_correction, shown.held_critical) == (None, True, True)
    with services.catalogue.read() as conn:
        row = conn.execute(select(deliveries)).one()
    assert (row.delivered_at, row.error_code, row.attempts) == (None, "identity_under_correction", 0)
    confirm(services, case_id, who="nurse", site_id="village")
    assert due(services) == [report.id]
    assert give_back(services, report.id)
    shown = verdict(services, receipt=receipt, site_id="village")
    assert shown is not None
    assert shown.report is not None
    assert (shown.report.id, shown.under_correction, shown.held_critical) == (report.id, False, None)


def test_giving_back_all_the_same_would_be_caught(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(give_back_module, "correction_of", lambda conn, case_id: None)
    with pytest.raises(AssertionError):
        test_what_is_signed_is_held_until_the_correction_is_closed(services)


def test_naming_the_right_patient_moves_the_case_and_leaves_the_analysis(services: Services) -> None:
    case_id = arrive(services).arrival_id
    with services.catalogue.read() as conn:
        before = conn.execute(select(derived).order_by(derived.c.name)).all()
        wrong = conn.scalar(select(studies.c.patient_pseudonym))
    open_correction(services, case_id, reason="wrong sticker", who="reader")
    pseudonym = correct(services, case_id, identity=NAMED, who="reader")
    assert pseudonym != wrong
    assert name_of(services, case_id) == "Zhao Min"
    with services.catalogue.read() as conn:
        study, item = conn.execute(select(studies)).one(), conn.execute(select(work_items)).one()
        after = conn.execute(select(derived).order_by(derived.c.name)).all()
        done = conn.execute(select(corrections_table)).one()
        acts = conn.execute(
            select(audit_events.c.action, audit_events.c.actor, audit_events.c.detail).where(
                audit_events.c.action.like("correction%")
            )
        ).all()
    assert study.patient_pseudonym == item.patient_pseudonym == pseudonym
    assert (study.patient_sex, item.patient_sex) == ("F", "F")
    assert study.patient_age_years == item.patient_age_years == 36.5
    assert (item.state, item.analysed) == ("SCHEDULED", True)
    assert after == [row for row in before if not row.name.startswith("pseudonymised.")] != before
    assert (done.pseudonym, done.new_pseudonym, done.outcome) == (wrong, pseudonym, "corrected")
    assert [(act.action, act.actor) for act in acts] == [("correction_open", "reader"), ("correction_close", "reader")]
    # the bytes are the right patient's now, and die with that entry
    held = services.vault.held([services.store.data_key(sha256_of(services, case_id)).root_sha256])
    assert held
    # what runs again does not bring the wrong patient back
    enqueue(services, case_id)
    assert name_of(services, case_id) == "Zhao Min"


def test_opening_twice_is_one_correction_and_a_closed_one_cannot_be_closed(services: Services) -> None:
    case_id = arrive(services).arrival_id
    first = open_correction(services, case_id, reason="x", who="reader")
    assert open_correction(services, case_id, reason="y", who="nurse", site_id="village") == first
    confirm(services, case_id, who="reader")
    for act in (
        lambda: confirm(services, case_id, who="reader"),
        lambda: correct(services, case_id, identity=NAMED, who="r"),
    ):
        with pytest.raises(Conflict, match="no_open_correction"):
            act()


def test_a_clinic_corrects_its_own_cases_alone(services: Services) -> None:
    case_id = arrive(services).arrival_id
    with pytest.raises(AccessDenied, match="not_found"):
        open_correction(services, case_id, reason="x", who="stranger", site_id="other")
    with pytest.raises(InputRejected, match="reason_missing"):
        open_correction(services, case_id, reason=" ", who="nurse", site_id="village")
    with pytest.raises(AccessDenied, match="not_found"):
        open_correction(services, "0" * 32, reason="x", who="reader")
    open_correction(services, case_id, reason="x", who="nurse", site_id="village")
    for act in (
        lambda: confirm(services, case_id, who="stranger", site_id="other"),
        lambda: correct(services, case_id, identity=NAMED, who="stranger", site_id="other"),
    ):
        with pytest.raises(AccessDenied, match="not_found"):
            act()
    with services.catalogue.read() as conn:
        assert corrections.open_correction(conn, case_id) is not None


def test_nothing_is_corrected_when_the_vault_does_not_answer(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    case_id = arrive(services).arrival_id
    open_correction(services, case_id, reason="x", who="reader")

    def away(*_args: Any, **_more: Any) -> None:
        raise StorageError("vault_unreachable", "away")

    monkeypatch.setattr(type(services.vault), "enroll", away)
    with pytest.raises(StorageError, match="vault_unreachable"):
        correct(services, case_id, identity=NAMED, who="reader")
    monkeypatch.undo()
    with services.catalogue.read() as conn:
        assert corrections.open_correction(conn, case_id) is not None
    correct(services, case_id, identity=NAMED, who="reader")
    assert name_of(services, case_id) == "Zhao Min"


def test_an_unreadable_case_can_be_corrected_when_it_could_be_read(services: Services) -> None:
    landed = land(
        services, site_id="village", source="web", files={"a": b"not an ECG"}, clinic_priority="urgent", actor="nurse"
    )
    prepare(services, landed.arrival_id)
    enqueue(services, landed.arrival_id)
    open_correction(services, landed.arrival_id, reason="wrong cart", who="nurse", site_id="village")
    with pytest.raises(Conflict, match="case_without_study"):
        correct(services, landed.arrival_id, identity=NAMED, who="reader")
    confirm(services, landed.arrival_id, who="reader")


def test_a_case_under_correction_is_no_prior(services: Services, clock: Clock) -> None:
    case_id = arrive(services).arrival_id
    clock.advance(86_400)
    with services.catalogue.read() as conn:
        name = str(conn.scalar(select(studies.c.patient_pseudonym)))
        assert [one.case_id for one in persons.priors(conn, name, clock())] == [case_id]
    open_correction(services, case_id, reason="x", who="reader")
    with services.catalogue.read() as conn:
        assert persons.priors(conn, name, clock()) == []
    correct(services, case_id, identity=NAMED, who="reader")
    with services.catalogue.read() as conn:
        assert persons.priors(conn, name, clock()) == []
        right = str(conn.scalar(select(studies.c.patient_pseudonym)))
        assert [one.case_id for one in persons.priors(conn, right, clock())] == [case_id]


def test_saying_different_puts_the_newer_case_under_correction(services: Services) -> None:
    arrive(services, at="20261101100000")
    newer = arrive(services, seed=1, at="20261101100300").arrival_id
    with services.catalogue.read() as conn:
        (one,) = open_questions(conn)
    assert answer(services, one.id, answer="different", reason="two beds", who="nurse", site_id="village") == newer
    with services.catalogue.read() as conn:
        opened = corrections.open_correction(conn, newer)
    assert opened is not None
    assert (opened.opened_by, opened.reason) == ("nurse", "two beds")


def test_a_closed_correction_settles_what_was_asked_about_the_case(services: Services) -> None:
    arrive(services, at="20261101100000")
    newer = arrive(services, seed=1, at="20261101100300", born="19700101").arrival_id
    with services.catalogue.read() as conn:
        assert sorted(one.code for one in open_questions(conn)) == ["other_birth_date", "same_id_soon"]
    open_correction(services, newer, reason="x", who="reader")
    correct(services, newer, identity=NAMED, who="reader")
    with services.catalogue.read() as conn:
        assert open_questions(conn) == []


@pytest.mark.parametrize("corrected", [True, False])
def test_a_question_about_the_old_number_is_closed_when_the_earlier_case_left_it(
    services: Services, corrected: bool
) -> None:
    older = arrive(services, at="20261101100000").arrival_id
    arrive(services, seed=1, at="20261101100300")
    with services.catalogue.read() as conn:
        assert [one.code for one in open_questions(conn)] == ["same_id_soon"]
    open_correction(services, older, reason="x", who="reader")
    if corrected:
        correct(services, older, identity=NAMED, who="reader")
    else:
        confirm(services, older, who="reader")
    with services.catalogue.read() as conn:
        assert [one.code for one in open_questions(conn)] == ([] if corrected else ["same_id_soon"])


def land_image(services: Services, name: str) -> Landed:
    path = get_testdata_file(name)
    assert isinstance(path, str)
    files = {"a": Path(path).read_bytes()}
    return land(services, site_id="village", source="web", files=files, clinic_priority="routine", actor="nurse")


def test_the_later_instances_of_a_corrected_study_follow_it(services: Services) -> None:
    def image(name: str) -> str:
        landed = land_image(services, name)
        prepare(services, landed.arrival_id)
        return enqueue(services, landed.arrival_id)

    case_id = image("MR_small.dcm")
    open_correction(services, case_id, reason="x", who="reader")
    correct(services, case_id, identity=NAMED, who="reader")
    assert image("MR_small_RLE.dcm") == case_id
    assert name_of(services, case_id) == "Zhao Min"
    with services.catalogue.read() as conn:
        assert [one.code for one in open_questions(conn)] == []


def test_a_correction_goes_along_when_what_could_not_be_read_joins_its_study(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    landed = land_image(services, "MR_small.dcm")

    def reject(*_args: Any, **_more: Any) -> None:
        raise InputRejected("analysis_timeout", "It took too long.")

    monkeypatch.setattr(services.pool, "run", reject)
    assert prepare(services, landed.arrival_id) == "quarantined"
    alone = enqueue(services, landed.arrival_id)
    open_correction(services, alone, reason="x", who="reader")
    monkeypatch.undo()
    retry_quarantined(services, landed.arrival_id, "test")
    with services.catalogue.read() as conn:
        joined = str(conn.scalar(select(arrivals.c.case_id).where(arrivals.c.id == landed.arrival_id)))
        assert joined != alone
        assert corrections.open_correction(conn, joined) is not None
    confirm(services, joined, who="reader")
    with services.catalogue.read() as conn:
        assert corrections.count_open(conn) == 0


def test_the_module_names_no_identity_in_the_catalogue(services: Services) -> None:
    case_id = arrive(services).arrival_id
    open_correction(services, case_id, reason="wrong sticker", who="reader")
    correct(services, case_id, identity=NAMED, who="reader")
    with services.catalogue.read() as conn:
        dump = "".join(str(row) for table in studies.metadata.sorted_tables for row in conn.execute(select(table)))
    for secret in ("Zhao", RIGHT + "'", "1990-05-06", "Li^Na", WRONG + "'"):
        assert secret not in dump
    assert identity_corrections.CORRECTED in dump

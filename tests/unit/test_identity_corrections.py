"""Correcting whose a case is: it keeps its place, holds only what is given back, and tells who acknowledged."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from teleread.errors import AccessDenied, Conflict, InputRejected, StorageError
from teleread.ingest.reports_out import OutgoingReport, basic_text_sr
from teleread.pipeline import give_back as give_back_module
from teleread.pipeline import identity_corrections, products
from teleread.pipeline.correction_notes import correction_notes
from teleread.pipeline.enqueue import enqueue
from teleread.pipeline.give_back import give_back, undelivered
from teleread.pipeline.identity_corrections import (
    confirm,
    correct,
    disown_left,
    open_correction,
    reopen_lost_corrections,
)
from teleread.pipeline.identity_questions import answer
from teleread.pipeline.intake_keys import retire_intake_keys
from teleread.pipeline.key_holders import placeholder, settle_keys
from teleread.pipeline.land import Landed, land
from teleread.pipeline.prepare import prepare
from teleread.pipeline.products import EXPORT_PROJECT
from teleread.pipeline.reconcile import reconcile
from teleread.pipeline.services import Services
from teleread.pipeline.verdict import verdict
from teleread.reading import corrections, notices, persons, queue
from teleread.reading.questions import open_questions
from teleread.reading.reports import Report
from teleread.reading.worklist import get_case, list_items
from teleread.storage import accounts, audit
from teleread.storage.catalogue.schema import (
    arrivals,
    audit_events,
    deliveries,
    derived,
    reports,
    studies,
    work_items,
)
from teleread.storage.catalogue.schema import (
    identity_corrections as corrections_table,
)
from teleread.storage.catalogue.schema import (
    notices as notices_table,
)
from teleread.storage.vault import Identity
from tests.conftest import Clock
from tests.ecgs import ecg
from tests.signing import sign_report

WRONG, RIGHT = "1001", "2002"
NAMED = Identity(issuer="village", patient_id=RIGHT, name="Zhao Min", birth_date=date(1990, 5, 6), sex="F")
CHANNELS = ("web", "folder", "dicom")


def arrive(services: Services, *, site: str = "village", urgent: bool = False, **more: Any) -> Landed:
    landed = land(
        services,
        site_id=site,
        source="web",
        files={"a": ecg(**({"patient_id": WRONG} | more))},
        clinic_priority="urgent" if urgent else "routine",
        actor="nurse",
    )
    assert prepare(services, landed.arrival_id) == "prepared"
    assert enqueue(services, landed.arrival_id) == landed.arrival_id
    return landed


def people(services: Services, *names: str) -> None:
    roles = {"nurse": ("uploader", "village"), "stranger": ("uploader", "other")}
    with services.catalogue.write() as conn:
        for name in names:
            role, site = roles.get(name, ("reader", None))
            accounts.create_account(conn, name, "correct horse", role, site, services.clock())


def sign(services: Services, case_id: str, *, channel: str = "web", critical: bool = False) -> Report:
    with services.catalogue.write() as conn:
        return sign_report(
            conn,
            case_id,
            text="Sinus rhythm.",
            critical=critical,
            signed_by="reader",
            channel=channel,
            at=services.clock(),
        )


def due(services: Services) -> list[str]:
    with services.catalogue.read() as conn:
        return [report_id for report_id, _site in undelivered(conn, services.clock(), CHANNELS)]


def order(services: Services) -> list[tuple[str, str, int]]:
    with services.catalogue.read() as conn:
        return [(item.case_id, item.priority, item.rank) for item in list_items(conn)]


def told(services: Services) -> list[tuple[str | None, str | None, str]]:
    columns = notices_table.c
    with services.catalogue.read() as conn:
        rows = conn.execute(select(columns.account, columns.site_id, columns.code).order_by(columns.id)).all()
    return sorted((tuple(row) for row in rows), key=str)  # type: ignore[arg-type]


def name_of(services: Services, case_id: str) -> str | None:
    with services.catalogue.read() as conn:
        case = get_case(conn, case_id)
    assert case is not None
    pseudonym = str(case.item.patient_pseudonym)
    return services.vault.join([pseudonym], who="t", why="t", case_ids=["c"], at=services.clock())[pseudonym].name


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


def receipt_of(services: Services, arrival_id: str) -> str:
    with services.catalogue.read() as conn:
        return str(conn.scalar(select(arrivals.c.receipt).where(arrivals.c.id == arrival_id)))


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


def test_the_former_patient_keeps_neither_the_name_nor_the_keys(services: Services) -> None:
    """Another name under a known number stays beside it, until it turns out to be somebody else's."""
    own = arrive(services, at="20261001100000", name="Wang Wei")
    case_id = arrive(services, seed=1, name="Zhao Min", born="19900506").arrival_id
    assert name_of(services, own.arrival_id) == "Wang Wei"
    open_correction(services, case_id, reason="wrong sticker", who="reader")
    correct(services, case_id, identity=NAMED, who="reader")
    assert name_of(services, own.arrival_id) == "Wang Wei"
    former = pseudonym_of(services, own.arrival_id)
    (identity,) = services.vault.join([former], who="t", why="t", case_ids=["c"], at=services.clock()).values()
    assert (identity.disputed, identity.stated) == ((), ())
    services.vault.forget(former, services.clock(), who="t", reason="asked for")
    root = sha256_of(services, case_id)
    key = services.store.data_key(root)
    assert services.vault.keys.recover(root, key.id) == key.key
    services.vault.forget(pseudonym_of(services, case_id), services.clock(), who="t", reason="asked for")
    assert services.vault.keys.recover(root, key.id) is None


def test_keys_left_with_the_former_patient_would_be_caught(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity_corrections, "settle_keys", lambda *_, who: None)
    with pytest.raises(AssertionError):
        test_the_former_patient_keeps_neither_the_name_nor_the_keys(services)


def pseudonym_of(services: Services, case_id: str) -> str:
    with services.catalogue.read() as conn:
        case = get_case(conn, case_id)
    assert case is not None
    return str(case.item.patient_pseudonym)


def sha256_of(services: Services, arrival_id: str) -> str:
    with services.catalogue.read() as conn:
        return str(conn.scalar(select(arrivals.c.sha256).where(arrivals.c.id == arrival_id)))


def holders(services: Services, arrival_id: str) -> set[str]:
    root = sha256_of(services, arrival_id)
    return services.vault.holders([root]).get(root, set())


def lose_analysis(services: Services, arrival_id: str) -> None:
    """A derived object rots away, and reconcile has the arrival prepared again."""
    with services.catalogue.read() as conn:
        query = select(derived.c.object_key).where(
            derived.c.arrival_id == arrival_id, derived.c.name == "analysis.json"
        )
        services.store.delete(str(conn.scalar(query)))
    reconcile(services, repair=True)
    with services.catalogue.read() as conn:
        assert conn.scalar(select(arrivals.c.state).where(arrivals.c.id == arrival_id)) == "landed"


def copies_name(services: Services, pseudonym: str, arrival_id: str) -> bool:
    name = services.vault.project_pseudonym(EXPORT_PROJECT, pseudonym).encode()
    with services.catalogue.read() as conn:
        keys = conn.scalars(
            select(derived.c.object_key).where(
                derived.c.arrival_id == arrival_id, derived.c.name.startswith("pseudonymised.")
            )
        ).all()
    assert keys
    return any(name in services.store.get(key) for key in keys)


def test_what_is_prepared_again_after_a_correction_stays_the_right_patients(services: Services) -> None:
    case_id = arrive(services).arrival_id
    wrong = pseudonym_of(services, case_id)
    assert copies_name(services, wrong, case_id)
    open_correction(services, case_id, reason="mix-up", who="reader")
    right = correct(services, case_id, identity=NAMED, who="reader")
    lose_analysis(services, case_id)
    assert prepare(services, case_id) == "prepared"
    assert holders(services, case_id) == {right}
    assert copies_name(services, right, case_id)
    assert not copies_name(services, wrong, case_id)
    assert pseudonym_of(services, case_id) == right
    # corrected once more, nobody but the last one counts
    open_correction(services, case_id, reason="again", who="reader")
    last = correct(services, case_id, identity=Identity("village", "3003", "Sun Li"), who="reader")
    lose_analysis(services, case_id)
    assert prepare(services, case_id) == "prepared"
    assert holders(services, case_id) == {last}
    assert copies_name(services, last, case_id)


def test_a_later_instance_of_a_corrected_study_is_the_right_patients_too(services: Services) -> None:
    case_id = arrive(services, study_seed=7, name="Zhao Min").arrival_id
    wrong = pseudonym_of(services, case_id)
    open_correction(services, case_id, reason="mix-up", who="reader")
    right = correct(services, case_id, identity=NAMED, who="reader")
    later = land(
        services,
        site_id="village",
        source="web",
        files={"a": ecg(patient_id=WRONG, seed=1, study_seed=7, name="Other Name")},
        clinic_priority="routine",
        actor="nurse",
    ).arrival_id
    assert prepare(services, later) == "prepared"
    assert holders(services, later) == {right}
    assert copies_name(services, right, later)
    assert not copies_name(services, wrong, later)


def test_a_correction_while_an_arrival_is_prepared_makes_it_be_prepared_anew(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    case_id = arrive(services).arrival_id
    open_correction(services, case_id, reason="mix-up", who="reader")
    lose_analysis(services, case_id)
    honest = products.pseudonymise

    def overtaken(*args: Any, **more: Any) -> Any:
        monkeypatch.setattr(products, "pseudonymise", honest)
        correct(services, case_id, identity=NAMED, who="reader")
        return honest(*args, **more)

    monkeypatch.setattr(products, "pseudonymise", overtaken)
    with pytest.raises(StorageError, match="identity_changed"):
        prepare(services, case_id)
    assert prepare(services, case_id) == "prepared"
    assert holders(services, case_id) == {pseudonym_of(services, case_id)}
    assert copies_name(services, pseudonym_of(services, case_id), case_id)


def test_a_correction_that_comes_too_late_leaves_nothing_with_whom_it_named(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    case_id = arrive(services).arrival_id
    own = pseudonym_of(services, case_id)
    open_correction(services, case_id, reason="mix-up", who="reader")
    honest = identity_corrections._enroll

    def overtaken(*args: Any) -> Any:
        named = honest(*args)
        confirm(services, case_id, who="another reader")
        return named

    monkeypatch.setattr(identity_corrections, "_enroll", overtaken)
    with pytest.raises(Conflict, match="no_open_correction"):
        correct(services, case_id, identity=NAMED, who="reader")
    assert holders(services, case_id) == {own}


def test_what_the_vault_did_not_let_go_of_is_let_go_of_the_next_day(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    case_id = arrive(services).arrival_id
    wrong = pseudonym_of(services, case_id)
    open_correction(services, case_id, reason="mix-up", who="reader")

    def busy(*_args: Any, **_more: Any) -> None:
        raise StorageError("vault_busy", "busy")

    with monkeypatch.context() as failing:
        failing.setattr(services.vault, "disown", busy)
        right = correct(services, case_id, identity=NAMED, who="reader")
    assert holders(services, case_id) == {right, wrong}
    assert disown_left(services) == 1
    assert holders(services, case_id) == {right}
    assert disown_left(services) == 0


def test_what_stood_for_an_arrival_is_forgotten_once_it_names_somebody(services: Services) -> None:
    landed = land(
        services,
        site_id="village",
        source="web",
        files={"a": ecg(patient_id=WRONG)},
        clinic_priority="routine",
        actor="nurse",
    )
    key = services.store.data_key(sha256_of(services, landed.arrival_id))
    nobody = services.vault.enroll(placeholder(landed.arrival_id), services.clock(), data_keys=[key]).pseudonym
    settle_keys(services, [key.root_sha256], who="teleread")
    assert holders(services, landed.arrival_id) == {nobody}  # nobody else holds it yet
    assert prepare(services, landed.arrival_id) == "prepared"
    with services.catalogue.read() as conn:
        whose = conn.scalar(select(studies.c.patient_pseudonym))
    assert holders(services, landed.arrival_id) == {whose}
    assert nobody in services.vault.forgotten()


def forget_corrections(services: Services, case_id: str, wrong: str) -> None:
    """The catalogue as a backup from before the correction holds it."""
    with services.catalogue.write() as conn:
        conn.execute(corrections_table.delete())
        conn.execute(studies.update().values(patient_pseudonym=wrong))
        conn.execute(work_items.update().values(patient_pseudonym=wrong))


def test_a_case_corrected_after_a_backup_is_under_correction_when_that_is_restored(
    services: Services, clock: Clock
) -> None:
    case_id = arrive(services).arrival_id
    wrong = pseudonym_of(services, case_id)
    for named in (NAMED, Identity("village", "3003", "Sun Li")):
        open_correction(services, case_id, reason="mix-up", who="reader")
        correct(services, case_id, identity=named, who="reader")
        clock.advance(60)
    assert reopen_lost_corrections(services) == 0
    reconciled = reconcile(services, repair=True)
    assert not reconciled.left
    forget_corrections(services, case_id, wrong)
    clock.advance(60)
    assert reopen_lost_corrections(services) == 1
    report = sign(services, case_id, channel="folder")
    assert not give_back(services, report.id)
    assert reopen_lost_corrections(services) == 0
    clock.advance(60)
    right = correct(services, case_id, identity=NAMED, who="reader")
    assert reopen_lost_corrections(services) == 0
    assert pseudonym_of(services, case_id) == right


def test_a_note_of_a_correction_names_nobody_and_dies_with_the_patient(services: Services) -> None:
    case_id = arrive(services).arrival_id
    wrong = pseudonym_of(services, case_id)
    open_correction(services, case_id, reason="mix-up", who="reader")
    right = correct(services, case_id, identity=NAMED, who="reader")
    (note,) = correction_notes(services.store)
    assert set(json.loads(services.store.get(note.key))) == {"at", "case_id", "version"}
    header = services.store.header(note.key)
    assert header.root_sha256 == sha256_of(services, case_id)
    # an intake key that is retired gives its key to nobody else
    services.ring.new_intake()
    services.clock.advance(8 * 86400)  # type: ignore[attr-defined]
    retire_intake_keys(services, older_than=timedelta(days=7))
    assert holders(services, case_id) == {right}
    forget_corrections(services, case_id, wrong)
    retire_intake_keys(services, older_than=timedelta(days=7))
    assert holders(services, case_id) <= {right, wrong}


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


def test_confirming_changes_nobody(services: Services) -> None:
    case_id = arrive(services).arrival_id
    report = sign(services, case_id)
    give_back(services, report.id)
    with services.catalogue.read() as conn:
        before = conn.execute(select(studies)).all()
    open_correction(services, case_id, reason="not sure", who="reader")
    confirm(services, case_id, who="reader")
    with services.catalogue.read() as conn:
        assert conn.execute(select(studies)).all() == before
        assert conn.scalar(select(corrections_table.c.outcome)) == "confirmed"
        assert conn.scalar(select(deliveries.c.delivered_at)) is not None
    open_correction(services, case_id, reason="still not sure", who="reader")
    with services.catalogue.read() as conn:
        assert len(conn.execute(select(corrections_table)).all()) == 2


def test_naming_the_patient_it_was_confirms(services: Services) -> None:
    case_id = arrive(services).arrival_id
    open_correction(services, case_id, reason="x", who="reader")
    same = Identity("village", WRONG, "李娜", date(1962, 3, 4), "M")
    correct(services, case_id, identity=same, who="reader")
    with services.catalogue.read() as conn:
        assert conn.scalar(select(corrections_table.c.outcome)) == "confirmed"
        assert open_questions(conn) == []


def test_a_clinic_names_nobody_elses_patient(services: Services) -> None:
    theirs = arrive(services, site="lead", patient_id="777")
    case_id = arrive(services, seed=1, name="Wang Wei").arrival_id
    open_correction(services, case_id, reason="mix-up", who="nurse", site_id="village")
    own = pseudonym_of(services, case_id)
    for number in ("777", "778"):  # nor is told whether there is one
        with pytest.raises(InputRejected, match="issuer_foreign"):
            correct(services, case_id, identity=Identity("lead", number, "Forged"), who="nurse", site_id="village")
    assert pseudonym_of(services, case_id) == own
    assert name_of(services, case_id) == "Wang Wei"
    assert name_of(services, theirs.arrival_id) == "李娜"
    with services.catalogue.read() as conn:
        assert corrections.open_correction(conn, case_id) is not None


def test_a_clinic_names_patients_of_the_issuer_that_the_case_has(services: Services) -> None:
    case_id = arrive(services, issuer="region").arrival_id
    open_correction(services, case_id, reason="mix-up", who="nurse", site_id="village")
    correct(services, case_id, identity=Identity("region", "2", "Zhao Min"), who="nurse", site_id="village")
    assert name_of(services, case_id) == "Zhao Min"


def test_a_reader_names_only_issuers_that_the_alliance_knows(services: Services) -> None:
    case_id = arrive(services).arrival_id
    open_correction(services, case_id, reason="mix-up", who="reader")
    for mistyped in ("Village", "vilage", "region"):
        with pytest.raises(InputRejected, match="issuer_unknown"):
            correct(services, case_id, identity=Identity(mistyped, RIGHT, "Zhao Min"), who="reader")
    shared = replace(services, alliance=replace(services.alliance, issuers=("region",)))
    assert identity_corrections.issuers(shared, [None, "village"])[0] == "village"
    correct(shared, case_id, identity=Identity("region", RIGHT, "Zhao Min"), who="reader")
    assert name_of(services, case_id) == "Zhao Min"


@pytest.mark.parametrize("issuer", ["lead", "LEAD", " lead "])
def test_a_header_that_names_another_member_shows_nobody_that_member_s_patient(services: Services, issuer: str) -> None:
    theirs = arrive(services, site="lead", patient_id="777", name="Zhao Min")
    made_up = arrive(services, seed=1, patient_id="777", name="X", issuer=issuer)
    assert pseudonym_of(services, made_up.arrival_id) != pseudonym_of(services, theirs.arrival_id)
    assert name_of(services, made_up.arrival_id) == "X"
    assert name_of(services, theirs.arrival_id) == "Zhao Min"


def test_an_issuer_that_several_members_share_makes_one_patient(services: Services) -> None:
    one = arrive(services, site="lead", patient_id="777", issuer="region")
    other = arrive(services, seed=1, patient_id="777", issuer="region")
    assert pseudonym_of(services, one.arrival_id) == pseudonym_of(services, other.arrival_id)


@pytest.mark.parametrize(("said", "then"), [("same", "Zhao Min"), ("noted", "Wang Wei")])
def test_a_typed_name_replaces_no_known_one_until_a_reader_accepts_it(
    services: Services, clock: Clock, said: str, then: str
) -> None:
    known = arrive(services, patient_id=RIGHT, name="Wang Wei").arrival_id
    clock.advance(700)
    case_id = arrive(services, seed=1, at="20261001100000").arrival_id
    open_correction(services, case_id, reason="mix-up", who="nurse", site_id="village")
    typed = Identity("village", RIGHT, "Zhao Min")
    correct(services, case_id, identity=typed, who="nurse", site_id="village")
    assert name_of(services, known) == name_of(services, case_id) == "Wang Wei"
    with services.catalogue.read() as conn:
        (question,) = open_questions(conn)
        assert open_questions(conn, site_id="village") == []
    assert (question.code, question.case_id) == ("other_name", case_id)
    with pytest.raises(AccessDenied, match="not_found"):
        answer(services, question.id, answer=said, reason="mine", who="nurse", site_id="village")
    answer(services, question.id, answer=said, reason="telephoned", who="reader")
    assert name_of(services, known) == name_of(services, case_id) == then


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


def test_the_later_instances_of_a_corrected_study_follow_it(services: Services) -> None:
    from pydicom.data import get_testdata_file

    def image(name: str) -> Landed:
        path = get_testdata_file(name)
        assert isinstance(path, str)
        landed = land(
            services,
            site_id="village",
            source="web",
            files={"a": Path(path).read_bytes()},
            clinic_priority="routine",
            actor="nurse",
        )
        prepare(services, landed.arrival_id)
        return landed

    case_id = enqueue(services, image("MR_small.dcm").arrival_id)
    open_correction(services, case_id, reason="x", who="reader")
    correct(services, case_id, identity=NAMED, who="reader")
    assert enqueue(services, image("MR_small_RLE.dcm").arrival_id) == case_id
    assert name_of(services, case_id) == "Zhao Min"
    with services.catalogue.read() as conn:
        assert [one.code for one in open_questions(conn)] == []


def test_a_correction_goes_along_when_what_could_not_be_read_joins_its_study(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pydicom.data import get_testdata_file

    from teleread.pipeline.batches import retry_quarantined

    path = get_testdata_file("MR_small.dcm")
    assert isinstance(path, str)
    landed = land(
        services,
        site_id="village",
        source="web",
        files={"a": Path(path).read_bytes()},
        clinic_priority="routine",
        actor="nurse",
    )

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

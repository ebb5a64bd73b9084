"""A report's life: from version to version by a table, signed text that never changes, drafts that are never lost."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import delete, func, insert, select, text, update

from teleread.errors import AccessDenied, Conflict, InputRejected, StorageError
from teleread.pipeline.enqueue import enqueue
from teleread.pipeline.prepare import prepare
from teleread.pipeline.services import Services
from teleread.reading import claims, drafts, flag_verdicts, reports, signing
from teleread.reading.claims import Reach
from teleread.reading.documents import check_all
from teleread.reading.reports import KINDS, LIFE, Report
from teleread.reading.signing import Act, Author, Said
from teleread.reading_room import ALL
from teleread.storage.catalogue.schema import audit_events, work_items
from teleread.storage.catalogue.schema import reports as table
from tests.conftest import Clock
from tests.signing import pen_of, sign_report, store_key
from tests.ui.live import wfdb
from tests.unit.test_pipeline_steps import arrive


@pytest.fixture
def case(services: Services) -> str:
    """An ECG that waits for its reader."""
    landed = arrive(services, wfdb())
    prepare(services, landed.arrival_id)
    return enqueue(services, landed.arrival_id)


Sign = Callable[..., Report]


@pytest.fixture
def sign(services: Services, case: str) -> Sign:
    pens = {who: pen_of(who) for who in ("reader", "other", "second")}
    with services.catalogue.write() as conn:
        for pen in pens.values():
            store_key(conn, pen, services.clock())

    def act(**more: Any) -> Report:
        with services.catalogue.write() as conn:
            pen = pens[more.get("signed_by", "reader")]
            return sign_report(conn, case, at=services.clock(), pen=pen, **more)

    return act


def versions(services: Services, case: str) -> list[Report]:
    with services.catalogue.read() as conn:
        return reports.reports_of(conn, case)


def state(services: Services, case: str) -> tuple[str, int]:
    with services.catalogue.read() as conn:
        item = claims.newest(conn, [case])[case]
    return item.state, item.seq


def test_every_step_that_is_not_in_the_table_is_refused() -> None:
    for stage, kind in itertools.product((None, "preliminary", "final", "withdrawn"), KINDS):
        if (stage, kind) in LIFE:  # type: ignore[comparison-overlap]
            assert reports.after(stage, kind)  # type: ignore[arg-type]
        else:
            with pytest.raises(Conflict, match=r"report_already_final|report_not_final"):
                reports.after(stage, kind)  # type: ignore[arg-type]


def test_a_preliminary_report_leaves_the_claim_and_the_final_one_ends_it(
    services: Services, case: str, sign: Sign
) -> None:
    first = sign(kind="preliminary")
    assert state(services, case) == ("IN PROGRESS", 1)
    assert "PRELIMINARY REPORT" in first.text
    second = sign(text="Sinus rhythm, normal.")
    assert state(services, case) == ("COMPLETED", 1)
    assert (second.version, second.replaces, second.item_id) == (2, first.id, first.item_id)


def test_a_chain_of_every_kind_is_sound_and_every_version_stays_readable(
    services: Services, case: str, sign: Sign
) -> None:
    steps: list[dict[str, Any]] = [
        {"kind": "preliminary", "text": "1"},
        {"kind": "final", "text": "2"},
        {"kind": "addendum", "text": "3", "signed_by": "other"},
        {"kind": "corrected", "text": "4", "reason": "typing"},
        {"kind": "withdrawn", "text": "", "reason": "wrong patient"},
    ]
    for step in steps:
        sign(**step)
    found = versions(services, case)
    assert [one.kind for one in found] == [step["kind"] for step in steps]
    assert [one.text.splitlines()[1] for one in found[:4]] == ["1", "2", "3", "4"]
    holding, addenda = reports.in_force(found[:3])
    assert holding is not None
    assert (holding.version, [one.version for one in addenda]) == (2, [3])
    with services.catalogue.read() as conn:
        bundles = [one for _report, one in reports.bundles_of(conn, case) if one is not None]
    assert [one.faults for one in check_all(bundles)] == [()] * 5
    assert [one.content["report"]["version"] for one in found] == [1, 2, 3, 4, 5]  # type: ignore[index]


def test_after_a_withdrawal_the_case_waits_again(services: Services, case: str, sign: Sign) -> None:
    sign()
    sign(kind="withdrawn", reason="wrong patient")
    assert state(services, case) == ("SCHEDULED", 2)
    assert sign(text="Read anew.").version == 3
    assert state(services, case) == ("COMPLETED", 2)


@pytest.mark.parametrize("kind", ["corrected", "withdrawn"])
def test_only_the_signer_or_a_senior_reader_corrects_and_says_why(sign: Sign, kind: str) -> None:
    sign()
    with pytest.raises(AccessDenied, match="not_your_report"):
        sign(kind=kind, reason="x", signed_by="other")
    with pytest.raises(InputRejected, match="report_reason_missing"):
        sign(kind=kind, reason="  ")
    assert sign(kind=kind, reason="x", signed_by="other", role="senior_reader").version == 2


def test_who_has_not_seen_the_newest_version_does_not_follow_it(sign: Sign) -> None:
    first = sign()
    sign(kind="addendum", text="more")
    with pytest.raises(Conflict, match="report_changed"):
        sign(kind="corrected", reason="x", replaces=first.id)


def test_a_final_report_needs_the_claim_and_its_token(services: Services, case: str, clock: Clock) -> None:
    author, pen = Author("reader", "reader", "reader", "en"), pen_of("reader")

    def act(claim: tuple[str, int] | None) -> Report:
        with services.catalogue.write() as conn:
            return signing.sign_report(conn, case, Said(text="x"), Act(claim=claim), author, pen, at=clock())

    with pytest.raises(Conflict, match="claim_needed"):
        act(None)
    with services.catalogue.write() as conn:
        held = claims.claim_case(conn, case, Reach("reader", (ALL,)), clock())
    with pytest.raises(Conflict, match="claim_lost"):
        act((held.item_id, held.fence - 1))
    clock.advance(3600)
    with pytest.raises(Conflict, match="claim_lost"):
        act((held.item_id, held.fence))
    assert versions(services, case) == []


def test_what_is_said_stands_in_the_document_and_no_identity(services: Services, case: str, sign: Sign) -> None:
    report = sign(statements=("sinus_rhythm", "inferior_mi_acute"), text="Call.\nNow.", language="zh")
    assert report.critical
    assert report.critical_codes == ("inferior_mi_acute",)
    content = report.content
    assert content is not None
    assert [one["aha"] for one in content["content"]["statements"]] == [[20], [161, 330]]
    assert content["recording"]["analysis"]["sha256"]
    assert "急性下壁心肌梗死" in report.text
    assert report.text.endswith("不是合格的电子签名。")
    assert json.dumps(content).count('"name"') == 2  # the signer's and the software's
    with services.catalogue.read() as conn:
        detail = conn.scalar(select(audit_events.c.detail).where(audit_events.c.action == "sign"))
    assert detail["sha256"] == report.sha256


def test_an_empty_report_and_a_contradiction_are_refused(sign: Sign) -> None:
    with pytest.raises(InputRejected, match="report_empty"):
        sign(text=" \n")
    with pytest.raises(InputRejected, match="statements_contradict"):
        sign(statements=("normal_ecg", "atrial_fibrillation"))
    assert sign(text="", statements=("normal_ecg",)).version == 1


FLAG = {"code": "st_elevation_inferior", "rule_id": "udmi.inferior", "version": "1", "lead": "III", "kind": "order"}


def test_a_flag_is_rejected_or_answered_before_a_final_report(services: Services, case: str, clock: Clock) -> None:
    author, pen = Author("reader", "reader", "reader", "en"), pen_of("reader")
    with services.catalogue.write() as conn:
        held = claims.claim_case(conn, case, Reach("reader", (ALL,)), clock())

    def act(kind: str, *codes: str) -> Report:
        said, doing = Said(statements=codes), Act(kind, (held.item_id, held.fence))  # type: ignore[arg-type]
        with services.catalogue.write() as conn:
            known = reports.reports_of(conn, case)
            doing = Act(doing.kind, doing.claim, known[-1].id if known else None)
            return signing.sign_report(conn, case, said, doing, author, pen, at=clock(), flags=[FLAG])

    with pytest.raises(InputRejected, match="flags_unanswered"):
        act("final", "sinus_rhythm", "normal_ecg")
    assert act("preliminary", "sinus_rhythm").kind == "preliminary"
    content = act("final", "sinus_rhythm", "early_repolarization").content
    assert content is not None
    assert content["flags"][0]["verdict"] == "confirmed"


def test_a_critical_report_waits_for_no_flag_which_stays_open(services: Services, case: str, clock: Clock) -> None:
    author, pen = Author("reader", "reader", "reader", "en"), pen_of("reader")
    with services.catalogue.write() as conn:
        held = claims.claim_case(conn, case, Reach("reader", (ALL,)), clock())
        said = Said(text="Acute infarction.", critical=True)
        act = Act("final", (held.item_id, held.fence))
        signed = signing.sign_report(conn, case, said, act, author, pen, at=clock(), flags=[FLAG])
        assert flag_verdicts.of_case(conn, case) == {}
    assert signed.content is not None
    assert signed.content["flags"][0]["verdict"] == ""


def test_the_normal_of_two_keys_is_not_for_an_urgent_case(services: Services, case: str, sign: Sign) -> None:
    with services.catalogue.write() as conn:
        conn.execute(update(work_items).values(priority="urgent", rank=0, band=0))
    codes = ("sinus_rhythm", "normal_ecg")
    with pytest.raises(InputRejected, match="normal_urgent"):
        sign(statements=codes, by_template=True)
    assert sign(statements=codes).version == 1  # chosen one by one it is


@pytest.mark.parametrize(
    "act",
    [
        update(table).values(text="other"),
        update(table).values(signed_by="other"),
        update(table).values(signature=None),
        delete(table),
        text("INSERT OR REPLACE INTO reports SELECT * FROM reports"),
    ],
)
def test_a_signed_report_is_neither_changed_nor_removed_nor_replaced(services: Services, sign: Sign, act: Any) -> None:
    sign()
    with pytest.raises(StorageError, match="catalogue_append_only"), services.catalogue.write() as conn:
        conn.execute(act)


def test_without_the_triggers_it_would_be(services: Services, case: str, sign: Sign) -> None:
    """The broken twin; and then the signature shows it."""
    sign()
    with services.catalogue.write() as conn:
        conn.execute(text("DROP TRIGGER reports_kept"))
        conn.execute(update(table).values(document=func.replace(table.c.document, "Sinus", "Pinus")))
    with services.catalogue.read() as conn:
        ((_report, bundle),) = reports.bundles_of(conn, case)
    assert bundle is not None
    assert {"document_hash", "signature_wrong"} <= set(check_all([bundle])[0].faults)


def test_drafts_are_saved_by_who_has_the_case_offered_to_the_next_and_gone_when_signed(
    services: Services, case: str, clock: Clock, sign: Sign
) -> None:
    with services.catalogue.write() as conn:
        held = claims.claim_case(conn, case, Reach("first", (ALL,)), clock())
        revision = drafts.save(conn, case, held.item_id, held.fence, "first", {"text": "Sin"}, 0, clock())
        assert drafts.save(conn, case, held.item_id, held.fence, "first", {"text": "Sinus"}, revision, clock()) == 2
    with pytest.raises(Conflict, match="draft_changed"), services.catalogue.write() as conn:
        drafts.save(conn, case, held.item_id, held.fence, "first", {"text": "other window"}, 1, clock())
    with pytest.raises(Conflict, match="claim_lost"), services.catalogue.write() as conn:
        drafts.save(conn, case, held.item_id, held.fence, "second", {"text": "thief"}, 2, clock())
    clock.advance(3600)
    with pytest.raises(Conflict, match="claim_lost"), services.catalogue.write() as conn:
        drafts.save(conn, case, held.item_id, held.fence, "first", {"text": "late"}, 2, clock())
    with services.catalogue.write() as conn:
        taken = claims.claim_case(conn, case, Reach("second", (ALL,)), clock())
        found = drafts.draft_of(conn, case)
        assert found is not None
        assert (found.saved_by, found.body, found.revision) == ("first", {"text": "Sinus"}, 2)
        drafts.save(conn, case, taken.item_id, taken.fence, "second", {"text": "Sinus."}, 2, clock())
        # what the first typed too late does not go over what the second has
        assert not drafts.keep_typed(conn, case, held.item_id, held.fence, "first", {"text": "late"}, clock())
    sign(signed_by="second")
    with services.catalogue.read() as conn:
        assert drafts.draft_of(conn, case) is None


def test_what_was_typed_too_late_is_kept_where_nobody_else_has_the_case(
    services: Services, case: str, clock: Clock
) -> None:
    with services.catalogue.write() as conn:
        held = claims.claim_case(conn, case, Reach("first", (ALL,)), clock())
    clock.advance(3600)
    with services.catalogue.write() as conn:
        assert drafts.keep_typed(conn, case, held.item_id, held.fence, "first", {"text": "late"}, clock())
        found = drafts.draft_of(conn, case)
    assert found is not None
    assert found.body == {"text": "late"}


@pytest.mark.parametrize("body", [{"text": 1}, {"unknown": "x"}, {"statements": [1]}, {"text": "x" * 200_000}])
def test_what_is_no_draft_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(InputRejected, match="draft_invalid"):
        drafts.checked(body)


def test_an_old_report_without_a_document_can_be_followed(services: Services, case: str, sign: Sign) -> None:
    with services.catalogue.write() as conn:
        values = {"id": "a" * 32, "case_id": case, "version": 1, "text": "Old.", "critical": False}
        conn.execute(insert(table).values(**values, signed_by="reader", signed_at=services.clock()))
    assert sign(kind="addendum", text="New.").version == 2
    assert next(iter(versions(services, case))).text == "Old."

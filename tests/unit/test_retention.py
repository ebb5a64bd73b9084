"""Records are kept as long as the law says, and nobody's are deleted while anything stands against it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert, select, update

from teleread.errors import Conflict, Misconfigured
from teleread.pipeline.enqueue import enqueue
from teleread.pipeline.keeping import (
    amend_encounter,
    encounters_of,
    end_encounter,
    holds,
    lift_hold,
    place_hold,
    record_encounter,
    withdraw_encounter,
)
from teleread.pipeline.prepare import prepare
from teleread.pipeline.retention import Encounter, Facts, decide, due, facts_of, law, parse_policy
from teleread.pipeline.services import Services
from teleread.reading.persons import link
from teleread.storage.catalogue import schema
from tests.conftest import Clock
from tests.signing import sign_report
from tests.unit.test_pipeline_steps import arrive, sample

VISIT = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
LAW = law()


def facts(
    *studies: datetime, encounters: tuple[Encounter, ...] = (), held: bool = False, blocks: tuple[str, ...] = ()
) -> Facts:
    return Facts(("P1",), studies, encounters, held, blocks)


def after(years: int, at: datetime = VISIT) -> datetime:
    return at.replace(year=at.year + years)


@pytest.mark.parametrize(
    ("known", "due_at", "basis"),
    [
        (facts(VISIT, encounters=(Encounter("outpatient", VISIT),)), after(15), "outpatient"),
        (facts(VISIT, encounters=(Encounter("inpatient", VISIT + timedelta(days=9)),)),
         after(30, VISIT + timedelta(days=9)), "inpatient"),
        # nobody said what kind it was: the longer
        (facts(VISIT), after(30), "unknown"),
        # a later visit prolongs everything
        (facts(VISIT, after(1), encounters=(Encounter("outpatient", VISIT), Encounter("outpatient", after(1)))),
         after(16), "outpatient"),
        # an old stay outlasts a young visit
        (facts(encounters=(Encounter("inpatient", VISIT), Encounter("outpatient", after(10)))), after(30), "inpatient"),
        # a study of no recorded visit
        (facts(VISIT, after(2), encounters=(Encounter("outpatient", VISIT),)), after(32), "unknown"),
        # 29 February
        (facts(encounters=(Encounter("outpatient", datetime(2024, 2, 29, tzinfo=UTC)),)),
         datetime(2039, 3, 1, tzinfo=UTC), "outpatient"),
    ],
)  # fmt: skip
def test_each_kind_is_kept_by_its_rule_to_the_second(known: Facts, due_at: datetime, basis: str) -> None:
    before = decide(known, LAW, due_at - timedelta(seconds=1))
    assert (before.due, before.due_at, before.basis, before.reasons) == (False, due_at, basis, ("not_yet",))
    assert decide(known, LAW, due_at).due


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        (facts(VISIT, held=True), "legal_hold"),
        (facts(VISIT, encounters=(Encounter("inpatient", None),)), "stay_not_ended"),
        (facts(), "nothing_dated"),
        (facts(VISIT, blocks=("open_work_item",)), "open_work_item"),
    ],
)
def test_what_stands_against_a_deletion_does_so_for_ever(known: Facts, reason: str) -> None:
    decision = decide(known, LAW, after(900))
    assert not decision.due
    assert reason in decision.reasons


times = st.datetimes(min_value=datetime(1995, 1, 1), max_value=datetime(2060, 1, 1), timezones=st.just(UTC))
stays = st.builds(Encounter, st.sampled_from(["outpatient", "inpatient"]), st.none() | times)


@given(st.lists(times, max_size=4), st.lists(stays, max_size=4), st.booleans(), times, times)
def test_more_facts_never_make_anything_due_earlier(
    studies: list[datetime], known: list[Encounter], held: bool, study: datetime, now: datetime
) -> None:
    fewer = decide(facts(*studies, encounters=tuple(known)), LAW, now)
    more = decide(facts(*studies, encounters=(*known, Encounter("inpatient", study)), held=held), LAW, now)
    if fewer.reasons != ("nothing_dated",) and more.due and not any(study_of(one, study) for one in studies):
        assert fewer.due
    everything = decide(facts(*studies, study, encounters=tuple(known)), LAW, now)
    if everything.due and studies:
        assert fewer.due
    if everything.due:
        assert all(now >= after(15, at.replace(day=min(at.day, 28))) for at in [*studies, study])


def study_of(at: datetime, ended: datetime) -> bool:
    return at <= ended + timedelta(days=1)


def test_the_law_cites_its_sources_and_has_a_version() -> None:
    assert LAW.version
    assert all("rticle" in rule.source for rule in LAW.rules)
    assert (LAW.years("outpatient", date(2026, 1, 1)), LAW.years("inpatient", date(2026, 1, 1))) == (15, 30)
    assert LAW.years("inpatient", date(1990, 1, 1)) is None


OWN = """
id = "own"
version = "1"
[[rule]]
kind = "outpatient"
years = {years}
valid_from = 2027-01-01
source = "decision of the alliance"
"""


def test_an_alliance_adds_longer_periods_from_a_day_on() -> None:
    policy = parse_policy(OWN.format(years=20), LAW)
    assert (policy.id, policy.version) == ("cn-medical-records+own", f"{LAW.version}+1")
    assert policy.years("outpatient", date(2026, 12, 31)) == 15
    assert policy.years("outpatient", date(2027, 1, 1)) == 20


def test_a_period_shorter_than_the_law_is_refused() -> None:
    with pytest.raises(Misconfigured) as refused:
        parse_policy(OWN.format(years=14), LAW)
    assert refused.value.code == "retention_too_short"


@pytest.mark.parametrize(
    "spoilt", ["[[rule]", OWN.format(years="true"), OWN.format(years=0), OWN.format(years=20).replace("out", "x"), ""]
)
def test_a_wrong_policy_file_says_so(spoilt: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        parse_policy(spoilt, LAW)
    assert refused.value.code == "retention_invalid"


def one_patient(services: Services, *, site: str = "village") -> str:
    """A prepared, read and delivered study; returns whose."""
    landed = arrive(services, {"a": sample("CT_small.dcm")}, site=site)
    prepare(services, landed.arrival_id)
    case = enqueue(services, landed.arrival_id)
    with services.catalogue.write() as conn:
        sign_report(conn, case, text="normal", critical=False, signed_by="reader", channel="web", at=services.clock())
        conn.execute(update(schema.deliveries).values(delivered_at=services.clock()))
        conn.execute(update(schema.identity_questions).values(answered_at=services.clock(), answer="noted"))
        return str(conn.scalar(schema.studies.select().with_only_columns(schema.studies.c.patient_pseudonym)
                               .where(schema.studies.c.site_id == site)))  # fmt: skip


def _later(clock: Clock, years: float) -> None:
    clock.advance(years * 365.25 * 86400)


def test_nobody_is_due_before_the_time_and_the_list_names_them_after(services: Services, clock: Clock) -> None:
    patient = one_patient(services)
    _later(clock, 29.9)
    with services.catalogue.read() as conn:
        assert list(due(conn, LAW, clock())) == []
    _later(clock, 0.2)
    with services.catalogue.read() as conn:
        (decision,) = due(conn, LAW, clock())
    assert decision.pseudonyms == (patient,)


@pytest.mark.parametrize("blocker", ["hold", "stay", "item", "delivery", "question", "correction"])
def test_what_is_open_keeps_a_patient_off_the_list(services: Services, clock: Clock, blocker: str) -> None:
    patient = one_patient(services)
    _later(clock, 31)
    with services.catalogue.write() as conn:
        now = clock()
        if blocker == "hold":
            number = place_hold(conn, patient, who="chief", reason="dispute", at=now)
        elif blocker == "stay":
            number = record_encounter(conn, patient, "inpatient", None, who="ward", at=now)
        elif blocker == "item":
            conn.execute(update(schema.work_items).values(state="IN PROGRESS"))
        elif blocker == "delivery":
            conn.execute(update(schema.deliveries).values(delivered_at=None))
        elif blocker == "question":
            row = {"id": "q", "code": "other_sex", "site_id": "village", "pseudonym": patient, "asked_at": now}
            conn.execute(insert(schema.identity_questions).values(**row))
        else:
            row = {"id": "c", "case_id": "x", "pseudonym": patient, "reason": "r", "opened_by": "n", "opened_at": now}
            conn.execute(insert(schema.identity_corrections).values(**row))
    with services.catalogue.read() as conn:
        assert list(due(conn, LAW, clock())) == []
        assert len(decide(facts_of(conn, patient), LAW, clock()).reasons) == 1
    if blocker == "hold":
        with services.catalogue.write() as conn:
            lift_hold(conn, number, who="chief", at=clock())
            with pytest.raises(Conflict):
                lift_hold(conn, number, who="chief", at=clock())
        with services.catalogue.read() as conn:
            assert len(list(due(conn, LAW, clock()))) == 1
    if blocker == "stay":
        with services.catalogue.write() as conn:
            end_encounter(conn, number, clock() - timedelta(days=365 * 30 + 200), who="ward", at=clock())
        with services.catalogue.read() as conn:
            assert len(list(due(conn, LAW, clock()))) == 1


def test_a_linked_patient_s_last_visit_counts_for_the_whole_person(services: Services, clock: Clock) -> None:
    old = one_patient(services)
    _later(clock, 16)
    young = one_patient(services, site="other")
    assert young != old
    with services.catalogue.write() as conn:
        link(conn, old, young, reason="the same person", who="nurse", at=clock())
        conn.execute(update(schema.identity_questions).values(answered_at=clock()))
    _later(clock, 15)
    with services.catalogue.read() as conn:
        assert list(due(conn, LAW, clock())) == []
        assert decide(facts_of(conn, old), LAW, clock()).reasons == ("not_yet",)
    _later(clock, 16)
    with services.catalogue.read() as conn:
        (decision,) = due(conn, LAW, clock())
    assert decision.pseudonyms == tuple(sorted((old, young)))


def test_a_mistyped_discharge_can_be_corrected_and_the_audit_says_what_it_was(services: Services, clock: Clock) -> None:
    patient = one_patient(services)
    _later(clock, 31)
    typed, right = clock() - timedelta(days=9), clock() - timedelta(days=9 + 365 * 30)
    with services.catalogue.write() as conn:
        number = record_encounter(conn, patient, "inpatient", typed, who="ward", at=clock())
        with pytest.raises(Conflict) as refused:
            end_encounter(conn, number, right, who="ward", at=clock())
        assert refused.value.code == "encounter_ended"
        assert not decide(facts_of(conn, patient), LAW, clock()).due
        amend_encounter(conn, number, kind="inpatient", ended_at=None, who="ward", at=clock())
        assert decide(facts_of(conn, patient), LAW, clock()).reasons == ("stay_not_ended",)
        amend_encounter(conn, number, kind="outpatient", ended_at=right, who="ward", at=clock())
        assert [(one.kind, one.ended_at) for one in encounters_of(conn, patient)] == [("outpatient", right)]
        withdraw_encounter(conn, number, who="ward", at=clock())
        assert encounters_of(conn, patient) == []
        for act in (
            lambda: withdraw_encounter(conn, number, who="ward", at=clock()),
            lambda: amend_encounter(conn, number, kind="inpatient", ended_at=None, who="ward", at=clock()),
        ):
            with pytest.raises(Conflict) as refused:
                act()
            assert refused.value.code == "no_such_encounter"
        events = conn.execute(
            select(schema.audit_events.c.action, schema.audit_events.c.actor, schema.audit_events.c.detail)
            .where(schema.audit_events.c.action.like("encounter_%"))
            .order_by(schema.audit_events.c.id)
        ).all()
    assert [(row.action, row.actor) for row in events] == [
        ("encounter_amended", "ward"),
        ("encounter_amended", "ward"),
        ("encounter_withdrawn", "ward"),
    ]
    assert events[0].detail["was"] == {"kind": "inpatient", "ended_at": typed.isoformat()}
    assert events[2].detail["was"] == {"kind": "outpatient", "ended_at": right.isoformat()}


def test_holds_are_listed_for_the_whole_person(services: Services, clock: Clock) -> None:
    one, other = one_patient(services), one_patient(services, site="other")
    with services.catalogue.write() as conn:
        first = place_hold(conn, one, who="chief", reason="dispute", at=clock())
        second = place_hold(conn, other, who="court", reason="inquiry", at=clock())
        assert [hold.id for hold in holds(conn)] == [first, second]
        assert [hold.id for hold in holds(conn, one)] == [first]
        link(conn, one, other, reason="the same person", who="nurse", at=clock())
        lift_hold(conn, first, who="chief", at=clock())
        assert [(hold.id, hold.reason, hold.placed_by) for hold in holds(conn, one)] == [(second, "inquiry", "court")]
        assert [hold.lifted_by for hold in holds(conn, one, lifted=True)] == ["chief", None]

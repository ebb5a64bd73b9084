"""Patients and persons: links, questions and what a comparison may use."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, insert, select, update

from teleread.errors import Conflict, InputRejected
from teleread.pipeline import patients as pipeline_patients
from teleread.pipeline.identity_questions import answer, link
from teleread.pipeline.land import Landed, land
from teleread.pipeline.patients import note_patient
from teleread.pipeline.prepare import prepare
from teleread.pipeline.services import Services
from teleread.reading import persons, questions
from teleread.reading.persons import LARGEST_PERSON, person_of
from teleread.reading.questions import open_questions
from teleread.storage.catalogue.schema import (
    arrivals,
    audit_events,
    identity_questions,
    patient_links,
    patients,
    studies,
)
from teleread.storage.vault import Enrolled
from teleread.storage.vault.matching import resident_id
from tests.conftest import Clock
from tests.ecgs import ecg

AT = datetime(2026, 11, 1, 2, 0, tzinfo=UTC)


def know(conn: Connection, *names: str) -> None:
    rows = [{"pseudonym": name, "site_id": "lead", "first_seen_at": AT, "identified": True} for name in names]
    persons.know_patients(conn, rows)


def study(conn: Connection, name: str, study_id: str, acquired_at: datetime | None, site: str = "lead") -> None:
    conn.execute(
        insert(studies).values(
            id=study_id,
            site_id=site,
            study_uid=f"1.2.{study_id}",
            modality="ECG",
            patient_pseudonym=name,
            acquired_at=acquired_at,
            created_at=AT,
        )
    )


def arrive(services: Services, data: bytes, site: str = "village") -> Landed:
    landed = land(services, site_id=site, source="web", files={"a": data}, clinic_priority="routine", actor="nurse")
    assert prepare(services, landed.arrival_id) == "prepared"
    return landed


def asked(services: Services) -> list[str]:
    with services.catalogue.read() as conn:
        return sorted(one.code for one in open_questions(conn))


def pseudonym_of(services: Services, landed: Landed) -> str:
    query = select(studies.c.patient_pseudonym).join(arrivals, arrivals.c.study_id == studies.c.id)
    with services.catalogue.read() as conn:
        return str(conn.scalar(query.where(arrivals.c.id == landed.arrival_id)))


# --- links ---------------------------------------------------------------------------------------------------------


def partition(conn: Connection, names: Iterable[str]) -> set[frozenset[str]]:
    return {person_of(conn, name) for name in names}


def expected(names: Iterable[str], edges: Iterable[tuple[str, str]]) -> set[frozenset[str]]:
    """The classes that a list of edges forms, found in another way: by merging."""
    groups = {name: frozenset({name}) for name in names}
    for one, other in edges:
        merged = groups[one] | groups[other]
        groups.update(dict.fromkeys(merged, merged))
    return set(groups.values())


@pytest.mark.parametrize("seed", range(12))
def test_links_form_classes_and_unlinking_restores_exactly(services: Services, seed: int) -> None:
    chance = random.Random(seed)
    names = [f"P{n:012d}" for n in range(10)]
    pairs = list(itertools.combinations(names, 2))
    standing: list[tuple[str, str]] = []
    with services.catalogue.write() as conn:
        know(conn, *names)
        for _ in range(40):
            before = partition(conn, names)
            pair = chance.choice(pairs)
            turned = pair if chance.random() < 0.5 else pair[::-1]
            if pair in standing:
                persons.unlink(conn, *turned, reason="no", who="reader", at=AT)
                standing.remove(pair)
            else:
                assert persons.link(conn, *turned, reason="yes", who="reader", at=AT)
                standing.append(pair)
                if chance.random() < 0.3:  # a link made and taken back leaves what was before
                    persons.unlink(conn, *pair, reason="no", who="reader", at=AT)
                    standing.remove(pair)
                    assert partition(conn, names) == before
            found = partition(conn, names)
            assert found == expected(names, standing)
            assert all(name in person_of(conn, name) for name in names)


def test_a_walk_of_one_step_would_be_caught(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    def one_step(conn: Connection, name: str) -> frozenset[str]:
        return frozenset({name}) | {
            other for one in persons.standing_links(conn, [name]) for other in (one.pseudonym, one.other_pseudonym)
        }

    names = ["PA", "PB", "PC"]
    with services.catalogue.write() as conn:
        know(conn, *names)
        persons.link(conn, "PA", "PB", reason="x", who="reader", at=AT)
        persons.link(conn, "PB", "PC", reason="x", who="reader", at=AT)
        assert partition(conn, names) == expected(names, [("PA", "PB"), ("PB", "PC")])
        monkeypatch.setitem(globals(), "person_of", one_step)
        assert partition(conn, names) != expected(names, [("PA", "PB"), ("PB", "PC")])


def test_a_link_is_made_once_by_name_and_reason_and_audited(services: Services) -> None:
    with services.catalogue.write() as conn:
        know(conn, "PA", "PB")
        assert persons.link(conn, "PB", "PA", reason="  same  card ", who="reader", at=AT)
        assert not persons.link(conn, "PA", "PB", reason="again", who="reader", at=AT)
        (row,) = conn.execute(select(patient_links)).all()
        assert (row.pseudonym, row.other_pseudonym, row.linked_by, row.reason) == ("PA", "PB", "reader", "same card")
        persons.unlink(conn, "PA", "PB", reason="wrong", who="other", at=AT)
        events = conn.execute(select(audit_events.c.actor, audit_events.c.action, audit_events.c.object_id)).all()
        assert events == [("reader", "link", "PA"), ("other", "unlink", "PA")]
        with pytest.raises(Conflict, match="no_such_link"):
            persons.unlink(conn, "PA", "PB", reason="wrong", who="other", at=AT)
        with pytest.raises(Conflict, match="no_such_patient"):
            persons.link(conn, "PA", "PX", reason="x", who="reader", at=AT)
        with pytest.raises(Conflict, match="same_patient"):
            persons.link(conn, "PA", "PA", reason="x", who="reader", at=AT)
        with pytest.raises(InputRejected, match="reason_missing"):
            persons.link(conn, "PA", "PB", reason=" \n", who="reader", at=AT)


def test_one_national_id_links_by_itself_and_never_against_a_person(services: Services) -> None:
    with services.catalogue.write() as conn:
        know(conn, "PA", "PB", "PC")
        assert persons.link_by_national_id(conn, "PA", "PB", at=AT)
        assert persons.link_by_national_id(conn, "PA", "PB", at=AT)
        assert person_of(conn, "PB") == {"PA", "PB"}
        persons.unlink(conn, "PA", "PB", reason="two people use one card", who="reader", at=AT)
        assert not persons.link_by_national_id(conn, "PB", "PA", at=AT)
        # nor by way of a third
        assert persons.link_by_national_id(conn, "PC", "PA", at=AT)
        assert not persons.link_by_national_id(conn, "PC", "PB", at=AT)
        assert person_of(conn, "PA") == {"PA", "PC"}
        assert persons.link(conn, "PA", "PB", reason="it was one after all", who="reader", at=AT)
        assert person_of(conn, "PC") == {"PA", "PB", "PC"}


def test_linking_again_against_a_person_would_be_caught(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(persons, "_said_different", lambda *_: False)
    with pytest.raises(AssertionError):
        test_one_national_id_links_by_itself_and_never_against_a_person(services)


def test_a_placeholder_joins_no_crowd(services: Services) -> None:
    names = [f"P{n:012d}" for n in range(LARGEST_PERSON + 1)]
    with services.catalogue.write() as conn:
        know(conn, *names)
        made = [persons.link_by_national_id(conn, names[0], other, at=AT) for other in names[1:]]
        assert made == [True] * (LARGEST_PERSON - 1) + [False]
        with pytest.raises(Conflict, match="person_too_large"):
            persons.link(conn, names[3], names[-1], reason="x", who="reader", at=AT)
        assert len(person_of(conn, names[5])) == LARGEST_PERSON


# --- questions -----------------------------------------------------------------------------------------------------


def enrolled(name: str, **more: tuple[str, ...]) -> Enrolled:
    return Enrolled(name, True, **more)


def note(conn: Connection, found: Enrolled, landed: Landed, study_id: str, acquired_at: datetime | None = AT) -> None:
    note_patient(
        conn,
        enrolled=found,
        identified=True,
        arrival_id=landed.arrival_id,
        site_id="village",
        study_id=study_id,
        acquired_at=acquired_at,
        at=AT,
    )


def everything(conn: Connection) -> list[list[tuple[object, ...]]]:
    return [
        sorted(tuple(row) for row in conn.execute(select(table)))
        for table in (patients, patient_links, identity_questions)
    ]


def test_noting_twice_changes_nothing(services: Services) -> None:
    landed = arrive(services, ecg(patient_id="1"))
    found = enrolled("PA", changed=("birth_date", "name"), same_national_id=("PB",), same_name_and_birth=("PB", "PC"))
    with services.catalogue.write() as conn:
        study(conn, "PA", "s1", AT)
        note(conn, found, landed, "s1")
        once = everything(conn)
        note(conn, found, landed, "s1")
        assert everything(conn) == once
        assert person_of(conn, "PA") == {"PA", "PB"}
        codes = [(one.code, one.other_pseudonym) for one in open_questions(conn)]
        assert sorted(codes) == [("other_birth_date", None), ("other_name", None), ("possible_prior", "PC")]


def test_the_other_side_of_a_link_may_be_written_later(services: Services) -> None:
    landed = arrive(services, ecg(patient_id="1"))
    with services.catalogue.write() as conn:
        study(conn, "PA", "s1", AT)
        note(conn, enrolled("PA", same_national_id=("PB",)), landed, "s1")
        study(conn, "PB", "s2", AT, "other")
        note(conn, enrolled("PB", same_national_id=("PA",)), landed, "s2")
        rows = dict(conn.execute(select(patients.c.pseudonym, patients.c.site_id)).all())
        assert (rows["PA"], rows["PB"]) == ("village", "village")
        assert person_of(conn, "PB") == {"PA", "PB"}


def test_a_newborn_under_its_mothers_card_is_asked_about_and_not_linked(services: Services) -> None:
    card = "330106196203040027"
    assert resident_id(card, AT.date()) == card
    mother = arrive(services, ecg(patient_id=card, sex="F"))
    baby = arrive(services, ecg(patient_id=card, name="Baby Of Li", born="20261020", seed=1), "other")
    again = arrive(services, ecg(patient_id=card, sex="F", seed=2), "lead")
    with services.catalogue.read() as conn:
        assert person_of(conn, pseudonym_of(services, baby)) == {pseudonym_of(services, baby)}
        assert person_of(conn, pseudonym_of(services, mother)) == {
            pseudonym_of(services, mother),
            pseudonym_of(services, again),
        }
    assert asked(services).count("possible_prior") == 2


def test_same_name_and_birth_date_is_asked_once_per_pair(services: Services) -> None:
    first, second = arrive(services, ecg(patient_id="1")), arrive(services, ecg(patient_id="2", seed=1))
    with services.catalogue.write() as conn:
        study(conn, "PA", "s1", AT)
        study(conn, "PB", "s2", AT)
        note(conn, enrolled("PA", same_name_and_birth=("PB",)), first, "s1")
        note(conn, enrolled("PB", same_name_and_birth=("PA",)), second, "s2")
        (one,) = [one for one in open_questions(conn) if one.code == "possible_prior" and one.pseudonym in {"PA", "PB"}]
    assert answer(services, one.id, answer="different", reason="asked both", who="reader") is None
    with services.catalogue.write() as conn:
        note(conn, enrolled("PB", same_name_and_birth=("PA",)), second, "s2")
        assert not [one for one in open_questions(conn) if one.pseudonym in {"PA", "PB"}]
        # and a national id does not overrule what a person said
        note(conn, enrolled("PB", same_national_id=("PA",)), second, "s2")
        assert person_of(conn, "PA") == {"PA"}


def test_an_answer_stands_once_with_name_and_reason(services: Services) -> None:
    landed = arrive(services, ecg(patient_id="1"))
    with services.catalogue.write() as conn:
        study(conn, "PA", "s1", AT)
        note(conn, enrolled("PA", same_name_and_birth=("PB",)), landed, "s1")
        (one,) = open_questions(conn)
    with pytest.raises(InputRejected, match="reason_missing"):
        answer(services, one.id, answer="same", reason="", who="reader")
    with pytest.raises(InputRejected, match="answer_unknown"):
        answer(services, one.id, answer="noted", reason="x", who="reader")
    answer(services, one.id, answer="same", reason="same address", who="reader")
    with pytest.raises(Conflict, match="question_answered"):
        answer(services, one.id, answer="different", reason="no", who="reader")
    with services.catalogue.read() as conn:
        row = conn.execute(select(identity_questions)).one()
        assert (row.answer, row.answered_by, row.reason) == ("same", "reader", "same address")
        assert person_of(conn, "PA") == {"PA", "PB"}
        (made,) = persons.standing_links(conn)
        assert (made.ground, made.linked_by) == ("person", "reader")


def test_a_link_by_hand_answers_its_question(services: Services) -> None:
    landed = arrive(services, ecg(patient_id="1"))
    with services.catalogue.write() as conn:
        study(conn, "PA", "s1", AT)
        note(conn, enrolled("PA", same_name_and_birth=("PB",)), landed, "s1")
    assert link(services, "PA", "PB", reason="same address", who="reader")
    assert asked(services) == []


def test_the_same_id_within_ten_minutes_is_asked_and_nothing_waits(services: Services) -> None:
    first = arrive(services, ecg(patient_id="1", at="20261101100000"))
    second = arrive(services, ecg(patient_id="1", at="20261101100900", seed=1))
    arrive(services, ecg(patient_id="1", at="20261101103000", seed=2))
    arrive(services, ecg(patient_id="2", name="Wu^A", at="20261101100001", seed=3))
    with services.catalogue.read() as conn:
        (one,) = open_questions(conn)
    assert (one.code, one.arrival_id, one.other_arrival_id) == ("same_id_soon", second.arrival_id, first.arrival_id)


def test_instances_of_one_study_are_not_asked_about(services: Services) -> None:
    arrive(services, ecg(patient_id="1", at="20261101100000"))
    arrive(services, ecg(patient_id="1", at="20261101100100", seed=1, study_seed=0))
    assert asked(services) == []


def test_asking_about_one_studys_instances_would_be_caught(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = pipeline_patients._ask_if_soon
    monkeypatch.setattr(pipeline_patients, "_ask_if_soon", lambda conn, _study, *rest: honest(conn, "none", *rest))
    with pytest.raises(AssertionError):
        test_instances_of_one_study_are_not_asked_about(services)


def test_recordings_without_a_time_are_compared_by_arrival(services: Services, clock: Clock) -> None:
    arrive(services, ecg(patient_id="1", at=None))
    clock.advance(599)
    arrive(services, ecg(patient_id="1", at=None, seed=1))
    assert asked(services) == ["same_id_soon"]
    clock.advance(601)
    arrive(services, ecg(patient_id="1", at=None, seed=2))
    assert asked(services) == ["same_id_soon"]


@pytest.mark.parametrize(("change", "code"), [({"born": "19700101"}, "other_birth_date"), ({"sex": "F"}, "other_sex")])
@pytest.mark.parametrize("reply", ["same", "noted"])
def test_another_birth_date_or_sex_is_asked_and_settled_by_a_person(
    services: Services, change: dict[str, str], code: str, reply: str
) -> None:
    first = arrive(services, ecg(patient_id="1", at="20261001100000"))
    arrive(services, ecg(patient_id="1", seed=1, **change))
    with services.catalogue.read() as conn:
        (one,) = open_questions(conn)
    assert one.code == code
    name = pseudonym_of(services, first)

    def known() -> str:
        (identity,) = services.vault.join([name], who="t", why="t", case_ids=["c"], at=AT).values()
        return f"{identity.birth_date:%Y%m%d}" if code == "other_birth_date" else str(identity.sex)

    before = known()
    answer(services, one.id, answer=reply, reason="asked", who="nurse", site_id="village")
    assert known() == (next(iter(change.values())) if reply == "same" else before)
    assert asked(services) == []
    # the same again is no news now
    arrive(services, ecg(patient_id="1", seed=2, at="20261002100000", **change))
    assert asked(services) == ([] if reply == "same" else [code])


def test_two_patients_in_one_study_are_shown(services: Services) -> None:
    arrive(services, ecg(patient_id="1"))
    arrive(services, ecg(patient_id="2", name="Wu^A", seed=1, study_seed=0))
    assert asked(services) == ["other_patient_in_study"]


def test_a_site_decides_about_its_own_patients_alone(services: Services) -> None:
    from teleread.errors import AccessDenied

    arrive(services, ecg(patient_id="1"))
    arrive(services, ecg(patient_id="1", seed=1))
    arrive(services, ecg(patient_id="9", name="Wu^A", seed=5), site="village")
    arrive(services, ecg(patient_id="9", name="Wu^A", seed=7), site="other")  # another issuer, so perhaps one person
    assert asked(services).count("possible_prior") == 1
    with services.catalogue.read() as conn:
        everyones = open_questions(conn)
        assert {one.code for one in open_questions(conn, site_id="village")} == {"same_id_soon"}
        assert open_questions(conn, site_id="other") == []
    for one in everyones:
        with pytest.raises(AccessDenied, match="not_found"):
            answer(services, one.id, answer="same", reason="x", who="stranger", site_id="other")


# --- earlier studies -----------------------------------------------------------------------------------------------


def test_a_possible_prior_is_no_prior_until_a_person_says_so(services: Services) -> None:
    year = timedelta(days=365)
    with services.catalogue.write() as conn:
        know(conn, "PA", "PB", "PC")
        study(conn, "PA", "own", AT - year)
        study(conn, "PA", "later", AT + year)
        study(conn, "PA", "timeless", None)
        study(conn, "PB", "theirs", AT - 2 * year)
        study(conn, "PC", "linked to theirs", AT - 3 * year)
        persons.link(conn, "PB", "PC", reason="x", who="reader", at=AT)
        questions.ask(conn, "possible_prior", ["PA", "PB"], site_id="lead", pseudonym="PA", other_pseudonym="PB", at=AT)
        assert [one.study_id for one in persons.priors(conn, "PA", AT)] == ["own"]
        assert [one.study_id for one in persons.possible_priors(conn, "PA", AT)] == ["theirs", "linked to theirs"]
        assert [one.study_id for one in persons.possible_priors(conn, "PB", AT)] == ["own"]
        (one,) = open_questions(conn)
    answer(services, one.id, answer="same", reason="same address", who="reader")
    with services.catalogue.write() as conn:
        assert [one.study_id for one in persons.priors(conn, "PA", AT)] == ["own", "theirs", "linked to theirs"]
        assert persons.possible_priors(conn, "PA", AT) == []
        persons.unlink(conn, "PA", "PB", reason="no", who="reader", at=AT)
        assert [one.study_id for one in persons.priors(conn, "PA", AT)] == ["own"]
        assert persons.possible_priors(conn, "PA", AT) == []


def test_counting_a_possible_prior_as_one_would_be_caught(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = persons.priors
    monkeypatch.setattr(persons, "priors", lambda *args: [*honest(*args), *persons.possible_priors(*args)])
    with pytest.raises(AssertionError):
        test_a_possible_prior_is_no_prior_until_a_person_says_so(services)


def test_a_question_that_nobody_asked_is_not_found(services: Services) -> None:
    from teleread.errors import AccessDenied

    with pytest.raises(AccessDenied, match="not_found"):
        answer(services, "0" * 32, answer="same", reason="x", who="reader")


def test_a_patient_of_before_the_links_can_be_linked(services: Services) -> None:
    """What an older version prepared has its patients' rows by the migration; a row that is missing comes later."""
    landed = arrive(services, ecg(patient_id="1"))
    with services.catalogue.write() as conn:
        conn.execute(update(patients).values(site_id=""))
        study(conn, "PA", "s1", AT)
        note(conn, enrolled("PA", same_national_id=(pseudonym_of_conn(conn, landed),)), landed, "s1")
        assert len(person_of(conn, "PA")) == 2


def pseudonym_of_conn(conn: Connection, landed: Landed) -> str:
    query = select(studies.c.patient_pseudonym).join(arrivals, arrivals.c.study_id == studies.c.id)
    return str(conn.scalar(query.where(arrivals.c.id == landed.arrival_id)))

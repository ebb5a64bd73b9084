"""Whom a correction may name, and what a typed name changes."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from sqlalchemy import select

from teleread.errors import AccessDenied, InputRejected
from teleread.pipeline import identity_corrections
from teleread.pipeline.give_back import give_back
from teleread.pipeline.identity_corrections import (
    confirm,
    correct,
    open_correction,
)
from teleread.pipeline.identity_questions import answer
from teleread.pipeline.services import Services
from teleread.reading import corrections
from teleread.reading.questions import open_questions
from teleread.storage.catalogue.schema import deliveries, studies
from teleread.storage.catalogue.schema import identity_corrections as corrections_table
from teleread.storage.vault import Identity
from tests.conftest import Clock
from tests.unit.correcting import RIGHT, WRONG, arrive, name_of, pseudonym_of, sign


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

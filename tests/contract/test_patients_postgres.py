"""Patients, questions and corrections on PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from teleread.alliance import Alliance
from teleread.ingest.bounded import BoundedPool
from teleread.pipeline.identity_corrections import correct, open_correction
from teleread.pipeline.patients import note_patient
from teleread.pipeline.services import Services
from teleread.reading.persons import person_of
from teleread.storage.catalogue import schema as tables
from teleread.storage.vault import Enrolled
from tests.conftest import Clock, services_on
from tests.unit import correcting
from tests.unit import test_patients as unit_patients
from tests.unit.test_identity_corrections import *  # noqa: F403
from tests.unit.test_identity_corrections_keys import *  # noqa: F403
from tests.unit.test_identity_corrections_names import *  # noqa: F403
from tests.unit.test_identity_corrections_told import *  # noqa: F403
from tests.unit.test_patients import *  # noqa: F403

pytestmark = pytest.mark.peers


@pytest.fixture
def services(
    new_url: Callable[[], str], alliance: Alliance, clock: Clock, pool: BoundedPool, tmp_path: Path
) -> Iterator[Services]:
    with services_on((new_url(), new_url()), tmp_path, alliance, clock, pool) as opened:
        yield opened


def together(*acts: Callable[[], object]) -> list[BaseException]:
    """Run acts at the same moment and return what they raised."""
    ready = threading.Barrier(len(acts))
    raised: list[BaseException] = []

    def run(act: Callable[[], object]) -> None:
        ready.wait(20)
        try:
            act()
        except Exception as error:  # noqa: BLE001 - whatever it is, the test names it
            raised.append(error)

    threads = [threading.Thread(target=run, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return raised


def test_two_first_studies_of_one_person_at_the_same_moment_are_linked(services: Services) -> None:
    """Each knows of the other from the vault before either has written its rows."""
    landed = unit_patients.arrive(services, unit_patients.ecg(patient_id="1"))

    def prepared(own: str, other: str) -> Callable[[], None]:
        def act() -> None:
            with services.catalogue.write() as conn:
                unit_patients.study(conn, own, f"study of {own}", unit_patients.AT)
                note_patient(
                    conn,
                    enrolled=Enrolled(own, True, same_national_id=(other,)),
                    identified=True,
                    arrival_id=landed.arrival_id,
                    site_id="village",
                    study_id=f"study of {own}",
                    acquired_at=None,
                    at=unit_patients.AT,
                )

        return act

    for n in range(8):
        one, other = f"PA{n}", f"PB{n}"
        assert together(prepared(one, other), prepared(other, one)) == []
        with services.catalogue.read() as conn:
            assert person_of(conn, one) == {one, other}


def test_two_who_open_and_two_who_close_make_one_correction(services: Services) -> None:
    correcting.people(services, "reader", "nurse")
    case_id = correcting.arrive(services).arrival_id
    opened = [
        lambda who=who: open_correction(services, case_id, reason="x", who=who) for who in ("one", "two", "three")
    ]
    assert together(*opened) == []
    with services.catalogue.read() as conn:
        assert len(conn.execute(select(tables.identity_corrections)).all()) == 1
        assert len(conn.execute(select(tables.notices)).all()) == 1  # to the site, once
    named = [lambda: correct(services, case_id, identity=correcting.NAMED, who="reader") for _ in range(3)]
    raised = together(*named)
    assert [getattr(error, "code", error) for error in raised] == ["no_open_correction"] * 2
    assert correcting.name_of(services, case_id) == "Zhao Min"

"""Who refuses is read like everybody else, and leaves in no export: whichever form says so, and whenever."""

from __future__ import annotations

from datetime import date
from io import BytesIO
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file
from sqlalchemy import select

from teleread.pipeline import clinic_word, export_copies, prepare, products
from teleread.pipeline.enqueue import enqueue
from teleread.pipeline.export_copies import remake_copies, withdraw_refused
from teleread.pipeline.identity_corrections import correct, open_correction
from teleread.pipeline.land import Landed, land
from teleread.pipeline.services import Services
from teleread.pipeline.sweep import sweep_all
from teleread.pipeline.verdict import verdict
from teleread.reading import consent
from teleread.reading.symptoms import Form
from teleread.storage.catalogue import schema
from teleread.storage.vault import Identity
from tests.conftest import Clock
from tests.ecgs import ecg


def image(number: int) -> bytes:
    """One slice of a study."""
    path = get_testdata_file("MR_small.dcm")
    assert isinstance(path, str)
    dataset = pydicom.dcmread(path)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{dataset.SOPInstanceUID}.{number}"
    buffer = BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def sent_once_more() -> bytes:
    """The samples of :func:`arrive`'s own recording in a file and a study of another name."""
    return ecg(patient_id="1001", study_seed=9)


def arrive(services: Services, data: bytes | None = None) -> Landed:
    files = {"a.dcm": data or ecg(patient_id="1001")}
    return land(services, site_id="village", source="web", files=files, clinic_priority="routine", actor="nurse")


def read_in(services: Services, landed: Landed) -> Landed:
    assert prepare.prepare(services, landed.arrival_id) == "prepared"
    enqueue(services, landed.arrival_id)
    return landed


def says(services: Services, landed: Landed, answer: str | None, **more: Any) -> None:
    form = Form(consent=answer, **more)
    clinic_word.save_form(services, receipt=landed.receipt, site_id="village", form=form, actor="nurse")


def copies(services: Services) -> set[str]:
    """Arrivals with a copy that could leave."""
    with services.catalogue.read() as conn:
        query = select(schema.derived.c.arrival_id).where(schema.derived.c.name.startswith("pseudonymised."))
        return set(conn.scalars(query))


def copies_in_store(services: Services) -> list[str]:
    return [one.key for one in services.store.list("derived/") if "pseudonymised." in one.key]


def told(services: Services, action: str) -> list[tuple[str, str, Any]]:
    events = schema.audit_events
    with services.catalogue.read() as conn:
        query = select(events.c.actor, events.c.object_id, events.c.detail).where(events.c.action == action)
        return [(row.actor, row.object_id, row.detail) for row in conn.execute(query)]


def test_a_refusal_said_before_the_recording_was_read_in_leaves_no_copy(services: Services) -> None:
    landed = arrive(services)
    says(services, landed, "no")
    read_in(services, landed)
    assert copies(services) == set()
    assert copies_in_store(services) == []
    assert told(services, "prepare") == [("teleread", landed.arrival_id, {"copy": "consent_refused"})]
    # it is read like every other one
    found = verdict(services, receipt=landed.receipt, site_id="village")
    assert found is not None
    assert (found.state, found.case_id) == ("prepared", landed.arrival_id)


def test_a_refusal_said_later_takes_the_copy_away_and_its_object(services: Services, clock: Clock) -> None:
    landed = read_in(services, arrive(services))
    assert copies(services) == {landed.arrival_id}
    says(services, landed, "no")
    assert copies(services) == set()
    detail = {"copies": ["pseudonymised.dcm"], "because": "consent_refused"}
    assert told(services, "withdraw_copy") == [("nurse", landed.arrival_id, detail)]
    clock.advance(180)
    sweep_all(services)
    assert copies_in_store(services) == []
    # said once more it changes nothing
    says(services, landed, "no")
    assert len(told(services, "withdraw_copy")) == 1


def test_without_the_condemning_the_object_would_lie_there(
    services: Services, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_copies.sweeping, "condemn", lambda *_: [])
    landed = read_in(services, arrive(services))
    says(services, landed, "no")
    clock.advance(180)
    sweep_all(services)
    assert copies_in_store(services) != []


def test_a_yes_after_a_no_makes_the_copies_again(services: Services, clock: Clock) -> None:
    landed = read_in(services, arrive(services))
    says(services, landed, "no")
    says(services, landed, "yes")
    # the object that was condemned goes first, then the same one is made again
    clock.advance(180)
    sweep_all(services)
    sweep_all(services)
    assert copies(services) == {landed.arrival_id}
    assert len(copies_in_store(services)) == 1
    assert [object_id for _, object_id, _ in told(services, "remake_copy")] == [landed.arrival_id]


def test_silence_takes_no_refusal_back(services: Services) -> None:
    landed = read_in(services, arrive(services))
    says(services, landed, "no")
    says(services, landed, None, chest_pain="gone")
    assert remake_copies(services) == 0
    with services.catalogue.read() as conn:
        assert consent.refuses(conn, landed.arrival_id)


def test_the_refusal_of_one_arrival_holds_for_the_whole_study_until_that_same_form_says_otherwise(
    services: Services, clock: Clock
) -> None:
    first = read_in(services, arrive(services, image(1)))
    second = read_in(services, arrive(services, image(2)))
    assert copies(services) == {first.arrival_id, second.arrival_id}
    says(services, first, "yes")
    says(services, second, "no")
    assert copies(services) == set()
    says(services, first, "yes")
    third = read_in(services, arrive(services, image(3)))
    clock.advance(180)
    sweep_all(services)
    sweep_all(services)
    assert copies(services) == set()
    says(services, second, "later")
    sweep_all(services)
    sweep_all(services)
    assert copies(services) == {first.arrival_id, second.arrival_id, third.arrival_id}


def test_the_same_recording_in_another_file_is_under_the_same_refusal(services: Services) -> None:
    first = read_in(services, arrive(services))
    says(services, first, "no")
    again = read_in(services, arrive(services, sent_once_more()))
    assert first.arrival_id != again.arrival_id
    assert copies(services) == set()
    assert copies_in_store(services) == [one for one in copies_in_store(services) if first.arrival_id in one]


def test_a_refusal_of_the_second_file_reaches_the_first(services: Services) -> None:
    first = read_in(services, arrive(services))
    again = read_in(services, arrive(services, sent_once_more()))
    assert copies(services) == {first.arrival_id, again.arrival_id}
    says(services, again, "no")
    assert copies(services) == set()


def test_a_refusal_touches_nobody_else(services: Services) -> None:
    one = read_in(services, arrive(services, ecg(patient_id="1001")))
    other = read_in(services, arrive(services, ecg(patient_id="1002", seed=2)))
    says(services, one, "no")
    assert copies(services) == {other.arrival_id}


def said_while_the_copy_is_made(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    landed = arrive(services)
    real = products.pseudonymise

    def slow(*args: Any, **more: Any) -> Any:
        says(services, landed, "no")
        return real(*args, **more)

    monkeypatch.setattr(products, "pseudonymise", slow)
    read_in(services, landed)


def test_a_refusal_said_while_the_copy_is_made_is_heard(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    said_while_the_copy_is_made(services, monkeypatch)
    assert copies(services) == set()


def test_asking_only_before_the_copy_is_made_would_be_caught(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare.consent, "refuses", lambda *_args, **_more: False)
    said_while_the_copy_is_made(services, monkeypatch)
    assert copies(services) != set()
    # and what came under a refusal by any other way is found by the next round
    monkeypatch.undo()
    assert withdraw_refused(services) == 1
    assert copies(services) == set()
    assert [actor for actor, _, _ in told(services, "withdraw_copy")] == ["teleread"]


def test_a_correction_makes_no_copy_of_who_refuses(services: Services) -> None:
    landed = read_in(services, arrive(services, ecg(patient_id="1001")))
    says(services, landed, "no")
    open_correction(services, landed.arrival_id, reason="mix-up", who="reader")
    right = Identity("village", "2001", "Zhao", date(1990, 5, 6), "F")
    correct(services, landed.arrival_id, identity=right, who="reader")
    assert remake_copies(services) == 0
    assert copies(services) == set()

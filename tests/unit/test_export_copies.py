"""Copies for export are made again after a correction; what cannot be made keeps nothing else waiting."""

from __future__ import annotations

from datetime import date

import pytest
from sqlalchemy import select

from teleread.errors import StorageError
from teleread.pipeline import export_copies, sweep
from teleread.pipeline.enqueue import enqueue
from teleread.pipeline.export_copies import remake_copies
from teleread.pipeline.identity_corrections import correct, open_correction
from teleread.pipeline.land import land
from teleread.pipeline.prepare import prepare
from teleread.pipeline.services import Services
from teleread.storage.catalogue.schema import audit_events, derived
from teleread.storage.objects.raw import raw_key
from teleread.storage.vault import Identity
from tests.conftest import Clock
from tests.ecgs import ecg


def corrected(services: Services, number: int) -> tuple[str, str]:
    """An arrival whose patient was another, and the key of its raw object."""
    files = {"a.dcm": ecg(patient_id=f"100{number}")}
    landed = land(services, site_id="village", source="web", files=files, clinic_priority="urgent", actor="nurse")
    prepare(services, landed.arrival_id)
    enqueue(services, landed.arrival_id)
    open_correction(services, landed.arrival_id, reason="mix-up", who="reader")
    right = Identity("village", f"200{number}", "Zhao", date(1990, 5, 6), "F")
    correct(services, landed.arrival_id, identity=right, who="reader")
    return landed.arrival_id, raw_key(landed.sha256)


def makes(services: Services) -> bool:
    try:
        return remake_copies(services) > 0
    except StorageError as error:
        return error.code != "object_missing"


def test_a_copy_that_cannot_be_made_keeps_no_other_waiting(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = sorted(corrected(services, number) for number in range(2))
    services.store.delete(ids[0][1])  # the one that came first, were they taken in order
    monkeypatch.setattr(export_copies, "_AT_ONCE", 1)
    made = False
    for _ in range(200):
        made = made or makes(services)
    assert made
    with services.catalogue.read() as conn:
        copied = select(derived.c.arrival_id).where(derived.c.name.startswith("pseudonymised."))
        assert set(conn.scalars(copied)) == {ids[1][0]}
        told = select(audit_events.c.object_id).where(audit_events.c.action == "remake_copy")
        assert conn.scalars(told).all() == [ids[1][0]]


def test_one_lost_object_does_not_stop_the_scrub(
    services: Services, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, key = corrected(services, 1)
    services.store.delete(key)
    scrubbed: list[Services] = []
    monkeypatch.setattr(sweep, "scrub_slice", scrubbed.append)
    clock.advance(60)
    sweep.sweep_all(services)
    assert scrubbed == [services]

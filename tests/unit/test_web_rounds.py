"""The web service's own rounds go on whatever happens, and leafing through images holds nobody up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom.data import get_testdata_file

from teleread.pipeline.enqueue import enqueue
from teleread.pipeline.land import land
from teleread.pipeline.prepare import prepare
from teleread.pipeline.services import Services
from teleread.reading.worklist import list_items
from tests.conftest import Clock
from tests.ui.live import running, upload, wfdb

QUICK = timedelta(milliseconds=20)


def wait_for(true: Callable[[], bool], patience_s: float = 20) -> None:
    ends = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.01)


def land_ecg(services: Services) -> str:
    landed = land(
        services,
        site_id="township",
        source="folder",
        files=wfdb(),
        clinic_priority="urgent",
        actor="test",
    )
    return landed.arrival_id


def waiting(services: Services) -> list[str]:
    with services.catalogue.read() as conn:
        return [item.arrival_id for item in list_items(conn)]


def test_an_ecg_that_nobody_prepares_is_queued_by_the_running_service(services: Services, clock: Clock) -> None:
    with running(services, sweep_every=QUICK):
        arrival_id = land_ecg(services)
        clock.advance(50)
        wait_for(lambda: waiting(services) == [arrival_id])


def test_a_round_that_meets_a_surprise_is_not_the_last(
    services: Services, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    surprises = iter([OSError(24, "Too many open files"), RuntimeError("unforeseen")])
    met = threading.Event()

    def surprising(*args: Any) -> int:
        for error in surprises:
            met.set()
            raise error
        monkeypatch.undo()
        return 0

    monkeypatch.setattr("teleread.web.rounds.queue_unseen", surprising)
    with running(services, sweep_every=QUICK):
        assert met.wait(20)
        arrival_id = land_ecg(services)
        clock.advance(50)
        wait_for(lambda: waiting(services) == [arrival_id])


def test_readiness_fails_when_the_rounds_have_stopped(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(services, sweep_every=timedelta(hours=1)) as web, web.client() as client:
        assert client.get("/readyz").status_code == 200
        monkeypatch.setattr("teleread.web.rounds.STALE_AFTER_S", -1.0)
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["failing"]) == (503, ["rounds"])


def test_leafing_through_images_does_not_hold_an_urgent_upload_up(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = Path(str(get_testdata_file("CT_small.dcm"))).read_bytes()
    landed = land(
        services, site_id="village", source="dicom", files={"x": image}, clinic_priority="routine", actor="test"
    )
    prepare(services, landed.arrival_id)
    enqueue(services, landed.arrival_id)
    release, busy = threading.Event(), threading.Event()
    run = services.pool.run

    def slow(function: str, *more: Any, **named: Any) -> Any:
        if function.endswith(":render"):
            busy.set()
            assert release.wait(60)
        return run(function, *more, **named)

    monkeypatch.setattr(services.pool, "run", slow)
    with running(services) as web, web.signed_in("reader") as reader, web.signed_in("nurse") as nurse:
        path = f"/api/instances/{landed.arrival_id}/frames/0.png"
        leafing = [threading.Thread(target=reader.get, args=(path,)) for _ in range(60)]
        for thread in leafing:
            thread.start()
        try:
            assert busy.wait(20)
            begun = time.monotonic()
            assert upload(nurse, wfdb(seed=9), urgent=True).status_code == 201
            assert time.monotonic() - begun < 15
        finally:
            release.set()
            for thread in leafing:
                thread.join(60)

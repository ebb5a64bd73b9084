"""A reader sees what she is licensed for; in an emergency all else, with a reason, told and looked at."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import select, update

from teleread.pipeline.services import Services
from teleread.reading import access, break_glass
from teleread.reading_room import Licence, Pool, ReadingRoom
from teleread.storage.catalogue.schema import alarms, audit_events, work_items
from tests.conftest import Clock
from tests.ui.live import Web, named_ecg, running, upload


@pytest.fixture
def web(services: Services, clock: Clock) -> Iterator[Web]:
    day = clock().date() - timedelta(days=30)
    room = ReadingRoom(
        pools=(Pool("ecg", "心电", "ECG", day), Pool("children", "儿科", "Children", day)),
        licences=(Licence("reader", day, pool=("ecg",)), Licence("senior", day)),
    )
    with running(replace(services, alliance=replace(services.alliance, room=room))) as started:
        yield started


@pytest.fixture
def case(web: Web) -> str:
    """The path of a case of the children's pool."""
    with web.signed_in("nurse") as nurse:
        upload(nurse, {"a.dcm": named_ecg("A")})
    with web.signed_in("senior") as senior:
        (path,) = re.findall(r"/cases/\w+", senior.get("/worklist").text)[:1]
    with web.services.catalogue.write() as conn:
        conn.execute(update(work_items).values(pool="children"))
    return path


def statuses(client: httpx.Client, path: str) -> set[int]:
    arrival = path.rpartition("/")[2]
    places = (f"{path}/raw", f"/api/recordings/{arrival}/display", f"/api/recordings/{arrival}/wave")
    return {client.get(one).status_code for one in places}


def test_a_case_of_another_licence_opens_with_a_reason_alone(web: Web, case: str, clock: Clock) -> None:
    with web.signed_in("senior") as senior, web.signed_in("reader") as reader:
        assert senior.get(case).status_code == 200
        asked = reader.get(case)
        assert (asked.status_code, asked.headers["location"]) == (303, f"{case}/break-glass")
        assert statuses(reader, case) == {403}
        assert "emergency" in reader.get(f"{case}/break-glass").text
        assert reader.post(f"{case}/break-glass", data={"reason": "curious"}).status_code == 422
        assert reader.get(case).status_code == 303
        assert reader.post(f"{case}/break-glass", data={"reason": "emergency"}).status_code == 303
        assert reader.get(case).status_code == 200
        assert statuses(reader, case) == {200}
        clock.advance(break_glass.LASTS.total_seconds() + 1)
        assert reader.get(case).status_code == 303


def test_it_is_told_at_once_and_looked_at_by_somebody_else(web: Web, case: str) -> None:
    with web.signed_in("reader") as reader:
        reader.post(f"{case}/break-glass", data={"reason": "emergency"})
    with web.services.catalogue.read() as conn:
        assert conn.execute(select(alarms.c.kind, alarms.c.cleared_at)).all() == [("break_glass", None)]
        taken = conn.execute(select(audit_events.c.actor).where(audit_events.c.action == "break_glass")).all()
        assert taken == [("reader",)]
    with web.signed_in("auditor") as auditor:
        (seen,) = re.findall(r'action="(/break-glass/\d+/seen)"', auditor.get("/break-glass").text)
        assert auditor.post(seen).status_code == 303
        assert auditor.post(seen).status_code == 409
    with web.services.catalogue.read() as conn:
        assert conn.execute(select(alarms.c.cleared_by)).scalar_one() == "auditor"


def test_what_is_not_routed_yet_is_every_readers(web: Web, case: str) -> None:
    with web.services.catalogue.write() as conn:
        conn.execute(update(work_items).values(pool=None))
    with web.signed_in("reader") as reader:
        assert reader.get(case).status_code == 200


def test_what_overflows_into_ones_pool_opens(web: Web, case: str) -> None:
    with web.services.catalogue.write() as conn:
        conn.execute(update(work_items).values(overflow_pool="ecg"))
    with web.signed_in("reader") as reader:
        assert reader.get(case).status_code == 200


def test_only_readers_see_cases(web: Web, case: str, clock: Clock) -> None:
    services = web.services
    with services.catalogue.read() as conn:
        for role in ("uploader", "coordinator", "engineer", "auditor", "administrator"):
            assert not access.may_see(conn, services.room, "senior", role, case.rpartition("/")[2], clock())

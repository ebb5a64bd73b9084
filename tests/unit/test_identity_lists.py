"""The lists of identities: whoever may see a row finds it, however many before it are others'; page by page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta

import httpx
import pytest
from sqlalchemy import insert, literal_column, select, update

from teleread.pipeline.services import Services
from teleread.reading import access, break_glass, claims, corrections, persons, questions
from teleread.reading.claims import Reach
from teleread.reading_room import ALL, Licence, Pool, ReadingRoom, Route
from teleread.storage.catalogue import schema
from tests.conftest import Clock
from tests.queueing import AT, put
from tests.signing import sign_report
from tests.ui.live import Web, running

SINCE = date(2026, 1, 1)
POOLS = (Pool("ecg", "心电", "ECG", SINCE), Pool("children", "儿科", "Children", SINCE))
ROOMS = {
    "no licence at all": ReadingRoom(),
    "by pool": ReadingRoom(pools=POOLS, licences=(Licence("reader", SINCE, pool=("ecg",)), Licence("senior", SINCE))),
    "by modality": ReadingRoom(
        pools=POOLS,
        routes=(Route("c", "children", SINCE, modality=("CT",)), Route("e", "ecg", SINCE, modality=("ECG",))),
        licences=(Licence("reader", SINCE, modality=("ECG",)), Licence("other", SINCE, pool=("gone",))),
    ),
}
WHO = ("reader", "senior", "other", "nobody")


@pytest.mark.parametrize("room", ROOMS.values(), ids=ROOMS)
def test_a_query_sees_exactly_the_cases_that_a_reader_may_see(services: Services, room: ReadingRoom) -> None:
    with services.catalogue.write() as conn:
        keys = [put(conn, f"{pool} {n}", pool=pool) for n in range(4) for pool in ("ecg", "children", "gone", ALL)]
        keys.append("0" * 32)  # which nobody has queued
        items = schema.work_items
        conn.execute(update(items).where(items.c.case_id == keys[0]).values(pool=None))
        conn.execute(update(items).where(items.c.case_id == keys[1]).values(overflow_pool="ecg"))
        conn.execute(update(items).where(items.c.case_id == keys[2]).values(overflow_pool="nowhere else"))
        claims.claim_case(conn, keys[5], Reach("other", ("children",)), AT)
        sign_report(conn, keys[9], signed_by="nobody", at=AT)
        break_glass.take(conn, "nobody", keys[13], "emergency", AT)
        break_glass.take(conn, "reader", keys[6], "emergency", AT - timedelta(hours=2))
        table = schema.arrivals
        conn.execute(update(table).where(table.c.id == keys[4]).values(case_id=keys[-1]))
        for who in WHO:
            seen = access.visible(room, who, AT)
            found = set(conn.scalars(select(table.c.case_id).where(seen(table.c.case_id))))
            asked = {key for key in (*keys[:4], *keys[5:]) if access.may_see(conn, room, who, "reader", key, AT)}
            assert found == asked, who


@pytest.fixture
def web(services: Services) -> Iterator[Web]:
    with running(replace(services, alliance=replace(services.alliance, room=ROOMS["by pool"]))) as started:
        yield started


def fill(web: Web, n: int) -> None:
    """Of each list as many rows as are asked for of the reader's, behind and between twice as many of others'."""
    with web.services.catalogue.write() as conn:
        for number in range(3 * n):
            pool = "ecg" if number % 3 == 2 else "children"
            key, at = put(conn, f"case {number}", pool=pool), AT + timedelta(seconds=number // 4)
            names = f"p{number:05}", f"q{number:05}"
            rows = [{"pseudonym": one, "site_id": "village", "first_seen_at": at, "identified": True} for one in names]
            conn.execute(insert(schema.patients), rows)
            conn.execute(
                update(schema.work_items).where(schema.work_items.c.case_id == key).values(patient_pseudonym=names[0])
            )
            questions.ask(conn, "other_name", [key], site_id="village", pseudonym=names[0], arrival_id=key, at=at)
            corrections.write_down(conn, key, pseudonym=None, reason=f"why {number}", opened_by="x", at=at)
            persons._link(conn, *names, "person", f"as said {number}", "x", at)
            conn.execute(
                insert(schema.notices).values(case_id=key, code="identity_corrected", account="reader", created_at=at)
            )


NUMBERS = {
    "questions": r'id="q-(\w+)"',
    "corrections": r"why (\d+)",
    "links": r"as said (\d+)",
    "notices": r"/identity/notices/(\d+)/seen",
}


def walk(client: httpx.Client, name: str) -> list[str]:
    """All rows of a list, by its links from page to page."""
    address, found = "/identity", []
    for _ in range(9):
        page = client.get(address)
        assert page.status_code == 200
        found += re.findall(NUMBERS[name], page.text)
        further = re.search(rf'href="(/identity\?{name}=[\w.]+)#{name}"', page.text)
        if further is None:
            return found
        address = further[1]
    raise AssertionError("it never ends")


def test_what_others_may_see_alone_keeps_nobodys_own_off_the_page(web: Web, clock: Clock) -> None:
    fill(web, 60)
    mine = {str(number) for number in range(180) if number % 3 == 2}
    with web.signed_in("reader") as reader:
        first = reader.get("/identity").text
        for name in ("questions", "corrections", "links"):
            assert len(re.findall(NUMBERS[name], first)) == 50, name
            rows = walk(reader, name)
            assert len(rows) == len(set(rows)) == 60, name
            assert name == "questions" or set(rows) == mine
        assert len(set(walk(reader, "notices"))) == 180  # hers by name, whatever she is licensed for
    with web.signed_in("senior") as senior:
        assert len(walk(senior, "links")) == 180
        assert walk(senior, "notices") == []


def test_a_page_that_is_none_is_refused(web: Web) -> None:
    with web.signed_in("reader") as reader:
        for name in NUMBERS:
            for place in ("x", "1", "1.", "-1.a", "9" * 30 + ".1", "²."):
                assert reader.get("/identity", params={name: place}).status_code == 400, (name, place)


def test_the_condition_asks_each_case_of_a_column_for_itself(services: Services) -> None:
    """A twin: a condition that did not depend on the column would let all rows through, or none."""
    with services.catalogue.write() as conn:
        hers, others = put(conn, "a", pool="ecg"), put(conn, "b", pool="children")
        seen = access.visible(ROOMS["by pool"], "reader", AT)
        assert [bool(conn.scalar(select(seen(literal_column(f"'{key}'"))))) for key in (hers, others)] == [True, False]

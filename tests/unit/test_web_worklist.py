"""The worklist: order, pages by key, filters, and what is told between two loads."""

from __future__ import annotations

import re

import httpx
import pytest

from teleread.pipeline.enqueue import enqueue
from teleread.pipeline.land import land
from teleread.web.pages.worklist import parse_cursor, write_cursor
from tests.conftest import Clock
from tests.ui.live import Web


def queue(web: Web, clock: Clock, n: int, priority: str = "routine", site: str = "village") -> list[str]:
    """Cases that nobody has prepared, one second apart; urgent ones are what the clinic says."""
    ids = []
    for k in range(n):
        clock.advance(1)
        data = {"a": f"{priority} {site} {clock.now} {k}".encode()}
        landed = land(
            web.services,
            site_id=site,
            source="web",
            files=data,
            clinic_priority=priority,  # type: ignore[arg-type]
            actor="test",
        )
        ids.append(enqueue(web.services, landed.arrival_id))
    return ids


def listed(text: str) -> list[str]:
    return re.findall(r'<tr class="is-\w+" data-case="(\w+)"', text)


def test_urgent_stands_first_then_the_longest_waiting(web: Web, reader: httpx.Client, clock: Clock) -> None:
    later = queue(web, clock, 2, "high")
    urgent = queue(web, clock, 2, "urgent")
    assert listed(reader.get("/worklist").text) == urgent + later


def test_pages_go_by_key_and_miss_and_repeat_nothing(web: Web, reader: httpx.Client, clock: Clock) -> None:
    ids = queue(web, clock, 120, "high")
    seen, path = [], "/worklist"
    while path:
        text = reader.get(path).text
        seen += listed(text)
        if len(seen) == 50:
            queue(web, clock, 1, "urgent")  # a newcomer before the place does not shift the pages after it
        further = re.search(r'href="([^"]+)" rel="next"', text)
        path = further.group(1).replace("&amp;", "&") if further else ""
    assert seen == ids


def test_filters_stand_in_the_address(web: Web, reader: httpx.Client, clock: Clock) -> None:
    here, there = queue(web, clock, 2), queue(web, clock, 3, site="other")
    assert listed(reader.get("/worklist?site=village").text) == here
    assert listed(reader.get("/worklist?site=other").text) == there
    assert listed(reader.get("/worklist?modality=CT").text) == []


def test_an_empty_list_says_so(reader: httpx.Client) -> None:
    assert "Nobody is waiting." in reader.get("/worklist").text


def test_changes_name_newcomers_and_those_who_wait_no_more(web: Web, reader: httpx.Client, clock: Clock) -> None:
    (old,) = queue(web, clock, 1)
    shown = re.search(r'data-event="(\d+)"', reader.get("/worklist").text)
    assert shown is not None
    clock.advance(300)
    (new,) = queue(web, clock, 1)
    arguments = {"since": shown[1], "shown": f"{old},{'0' * 32}"}
    changes = reader.get("/api/worklist/changes", params=arguments).json()
    # what came shortly before is told again: it may have been on its way; the page knows what it shows
    assert {one["case_id"] for one in changes["new"]} == {old, new}
    assert changes["shown"] == {"0" * 32: {"state": "", "by": "", "mine": False}}
    assert changes["counts"] == {"urgent": "0", "high": "2", "routine": "0"}
    assert reader.get("/api/worklist/changes", params=arguments | {"site": "other"}).json()["new"] == []


def test_an_unclaimed_urgent_case_is_told_after_a_minute_and_not_before(
    web: Web, reader: httpx.Client, clock: Clock
) -> None:
    (urgent,) = queue(web, clock, 1, "urgent")
    queue(web, clock, 1, "high")
    clock.advance(50)
    assert reader.get("/api/worklist/changes").json()["unclaimed_urgent"] == []
    clock.advance(20)
    told = reader.get("/api/worklist/changes").json()["unclaimed_urgent"]
    assert [one["case_id"] for one in told] == [urgent]
    assert told[0]["site"] == "Village Clinic"
    assert set(told[0]) == {"case_id", "receipt", "site", "since"}


@pytest.mark.parametrize(
    "address",
    [
        "/worklist?after=9.1.x",
        "/worklist?after=0.-1.x",
        "/worklist?after=%00",
        "/worklist?after=0.99999999999999999999.x",
        "/api/worklist/changes?since=-1",
        "/api/worklist/changes?since=99999999999999999999",
        "/api/worklist/changes?since=x",
    ],
)
def test_nonsense_in_the_address_is_refused_in_words(reader: httpx.Client, address: str) -> None:
    answer = reader.get(address)
    assert answer.status_code in {400, 422}
    assert "cannot be" in answer.text or "request_invalid" in answer.text


def test_cursor_survives_the_address(clock: Clock) -> None:
    key = (1, clock.now.replace(microsecond=123_457), "ab" * 16)
    assert parse_cursor(write_cursor(key)) == key

"""The worklist and claims in Chromium: every key, two readers at once, and a list that never moves under the cursor."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from sqlalchemy import select

from teleread.pipeline.enqueue import enqueue
from teleread.pipeline.land import land
from teleread.reading import claims
from teleread.storage.catalogue.schema import audit_events, work_items
from teleread.web import live
from tests.conftest import Clock
from tests.signing import PIN, give_pin
from tests.ui import axe
from tests.ui.chromium import Watched, check, opened, picture, watched
from tests.ui.live import Web, named_ecg, upload

pytestmark = pytest.mark.peers

PLACES = "rows => rows.map(r => [r.dataset.case, r.getBoundingClientRect().x, r.getBoundingClientRect().y])"


def arrive(web: Web, clock: Clock, priority: str = "routine", n: int = 1) -> list[str]:
    """Cases that wait, one second apart; what the clinic calls urgent stands first."""
    found = []
    for k in range(n):
        clock.advance(1)
        files = {"a": f"{priority} {clock.now} {k}".encode()}
        landed = land(
            web.services,
            site_id="village",
            source="web",
            files=files,
            clinic_priority=priority,  # type: ignore[arg-type]
            actor="test",
        )
        found.append(enqueue(web.services, landed.arrival_id))
    return found


def quiet(seen: Watched) -> None:
    """Forget what a browser logs of requests that were meant to fail."""
    seen.page.goto("about:blank")
    seen.complaints.clear()


def on_list(seen: Watched, name: str = "reader") -> None:
    """Sign in, and wait until the list answers to keys."""
    seen.sign_in(name)
    expect(seen.page.locator("a.open").first).to_be_focused()


@pytest.fixture
def two(chromium: Browser, web: Web) -> Iterator[tuple[Watched, Watched]]:
    """Two readers with a browser each."""
    with watched(chromium, web, "en") as one, watched(chromium, web, "en") as other:
        yield one, other


def test_every_key_does_what_the_help_says(english: Watched, clock: Clock) -> None:
    page = english.page
    first, second, third = arrive(english.web, clock, n=3)
    on_list(english)
    links = page.locator("a.open")
    expect(links.nth(0)).to_be_focused()
    for key, n in (("j", 1), ("ArrowDown", 2), ("k", 1), ("ArrowUp", 0)):
        page.keyboard.press(key)
        expect(links.nth(n)).to_be_focused()
        expect(page.locator("a.open[tabindex='0']")).to_have_count(1)  # roving: one stop for Tab
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("nothing like it")
    expect(page.locator("#none-found")).to_be_visible()
    page.keyboard.press("Escape")
    expect(links.nth(0)).to_be_focused()
    page.keyboard.press("p")
    expect(page.locator("#paused")).to_be_visible()
    page.keyboard.press("p")
    expect(page.locator("#paused")).to_be_hidden()
    page.keyboard.press("j")
    page.keyboard.press("c")  # takes the second and stays
    expect(page.locator(f"tr[data-case='{second}']")).to_have_class(re.compile("is-mine"))
    expect(page.locator("#count-mine")).to_have_text("1")
    arrive(english.web, clock, n=1)
    expect(page.locator("#new")).to_have_text("1 new – show")
    page.keyboard.press(".")
    expect(page.locator("tr[data-case]")).to_have_count(3)  # without the one that was taken
    page.keyboard.press("r")
    page.keyboard.press("n")  # back to what is hers
    opened(page, "#claim")
    assert page.url.endswith(f"/cases/{second}?told=still_yours")
    page.keyboard.press("Escape")
    page.locator("#release").wait_for()
    page.keyboard.press("5")
    expect(page.locator("input[value=shift_end]")).to_be_checked()
    page.keyboard.press("Enter")
    opened(page, "#worklist")
    expect(page.locator("#told")).to_contain_text("Handed over")
    expect(page.locator(f"tr[data-case='{second}'] a.open")).to_be_focused()  # where she was
    page.keyboard.press("k")
    page.keyboard.press("Enter")  # takes and opens
    opened(page, "#claim")
    assert page.url.endswith(f"/cases/{first}")
    assert third


def test_two_who_claim_together_get_two_cases(two: tuple[Watched, Watched], clock: Clock) -> None:
    one, other = two
    first, second = arrive(one.web, clock, n=2)
    on_list(one)
    on_list(other, "senior")
    other.context.route("**/api/worklist/**", lambda route: route.abort())  # her list does not know yet
    one.page.keyboard.press("Enter")
    opened(one.page, "#claim")
    other.page.keyboard.press("Enter")
    opened(other.page, "#claim")
    assert one.page.url.endswith(f"/cases/{first}")
    assert other.page.url.endswith(f"/cases/{second}?told=taken")
    expect(other.page.locator("#told")).to_contain_text("Somebody else was a moment faster")
    quiet(other)


def test_who_comes_too_late_for_the_last_case_is_told_so_on_the_list(
    two: tuple[Watched, Watched], clock: Clock
) -> None:
    one, other = two
    arrive(one.web, clock)
    on_list(other, "senior")
    with one.web.signed_in("reader") as reader:
        reader.post("/claims/next")
    other.context.route("**/api/worklist/**", lambda route: route.abort())
    other.page.keyboard.press("Enter")
    expect(other.page.locator("#told")).to_contain_text("Nothing else waits for you.")
    quiet(other)


def test_nothing_that_happens_moves_a_row_under_the_cursor(english: Watched, clock: Clock) -> None:
    page = english.page
    cases = arrive(english.web, clock, n=5)
    on_list(english)
    page.keyboard.press("j")
    before = page.locator("tr[data-case]").evaluate_all(PLACES)
    arrive(english.web, clock, "urgent")
    arrive(english.web, clock, n=2)
    expect(page.locator("#new")).to_have_text("3 new, 1 urgent – show")
    with english.web.signed_in("senior") as senior:
        assert senior.post(f"/api/cases/{cases[0]}/claim").status_code == 200
    expect(page.locator(f"tr[data-case='{cases[0]}']")).to_have_class(re.compile("is-gone"))
    expect(page.locator(f"tr[data-case='{cases[0]}'] .holder")).to_have_text("taken by senior")
    assert page.locator("tr[data-case]").evaluate_all(PLACES) == before
    expect(page.locator("a.open").nth(1)).to_be_focused()
    place = page.locator(f"tr[data-case='{cases[1]}']").bounding_box()
    page.keyboard.press(".")
    expect(page.locator("tr[data-case]")).to_have_count(7)
    expect(page.locator("tr.is-urgent")).to_have_count(1)
    expect(page.locator(f"tr[data-case='{cases[1]}'] a.open")).to_be_focused()  # also where she asked
    assert place is not None


def test_the_row_under_the_mouse_does_not_move_either(english: Watched, clock: Clock) -> None:
    page = english.page
    arrive(english.web, clock, n=3)
    on_list(english)
    page.locator("tr[data-case]").nth(1).hover()
    page.keyboard.press("Escape")
    before = page.locator("tr[data-case]").evaluate_all(PLACES)
    arrive(english.web, clock, "urgent")
    expect(page.locator("#new")).to_have_text("1 new, 1 urgent – show")
    assert page.locator("tr[data-case]").evaluate_all(PLACES) == before
    page.mouse.move(5, 5)
    expect(page.locator("tr.is-urgent")).to_have_count(1)  # nobody is on a row: it comes in by itself
    expect(page.locator("#new")).to_be_hidden()


def test_a_list_that_renews_itself_under_the_cursor_would_be_caught(english: Watched, clock: Clock) -> None:
    """The broken twin of the two before: whoever believes that nobody is on a row moves the rows."""
    page = english.page
    source = Path(live.__file__).parent / "static" / "js" / "worklist-live.js"
    broken = source.read_text(encoding="utf-8").replace("const onRow = () =>", "const onRow = () => false &&")
    assert "false &&" in broken
    page.route("**/js/worklist-live.js", lambda route: route.fulfill(body=broken, content_type="text/javascript"))
    arrive(english.web, clock, n=3)
    on_list(english)
    before = page.locator("tr[data-case]").evaluate_all(PLACES)
    arrive(english.web, clock, "urgent")
    expect(page.locator("tr.is-urgent")).to_have_count(1)
    after = page.locator("tr[data-case]").evaluate_all(PLACES)
    assert [one for one in after if one in before] != before


def test_a_cut_stream_leaves_the_list_asking_and_a_dead_line_is_told(english: Watched, clock: Clock) -> None:
    page = english.page
    page.route("**/api/worklist/live", lambda route: route.abort())
    arrive(english.web, clock)
    on_list(english)
    arrive(english.web, clock)
    expect(page.locator("#new")).to_have_text("1 new – show")  # by asking
    page.route("**/api/worklist/changes**", lambda route: route.abort())
    expect(page.locator("#alarm-text")).to_contain_text("does not hear of new cases", timeout=40_000)
    quiet(english)


def test_the_stream_is_what_makes_it_quick(english: Watched, clock: Clock) -> None:
    page = english.page
    arrive(english.web, clock)
    on_list(english)
    expect(page.locator("#list[data-live='1']")).to_have_count(1)
    page.keyboard.press("Escape")
    (urgent,) = arrive(english.web, clock, "urgent")
    expect(page.locator("tr[data-case]").first).to_have_attribute("data-case", urgent, timeout=4000)  # asks each 5 s


def test_a_claim_that_is_taken_away_is_said_at_once_and_typed_text_stays(english: Watched, clock: Clock) -> None:
    page = english.page
    (case,) = arrive(english.web, clock)
    on_list(english)
    page.keyboard.press("n")
    opened(page, "#claim")
    page.locator("#text").fill("Half a report")
    with english.web.signed_in("coordinator") as coordinator:
        answer = coordinator.post(f"/cases/{case}/break", data={"reason": "no_answer"})
        assert answer.status_code == 303
    expect(page.locator("#claim-lost")).to_be_visible()
    expect(page.locator("#text")).to_have_value("Half a report")
    quiet(english)


def test_heartbeats_carry_a_claim_over_its_lease_and_end_with_the_page(english: Watched, clock: Clock) -> None:
    page = english.page
    (case,) = arrive(english.web, clock, "urgent")
    on_list(english)
    page.clock.install()
    page.keyboard.press("n")
    opened(page, "#claim")
    clock.advance(100)
    with page.expect_response(re.compile("heartbeat")) as beat:
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    assert beat.value.status == 200
    clock.advance(100)  # beyond the first lease, within the second
    with english.web.services.catalogue.read() as conn:
        assert claims.current(conn, case, "reader", clock.now) is not None
    page.goto("about:blank")
    clock.advance(120)
    with english.web.services.catalogue.read() as conn:
        assert claims.current(conn, case, "reader", clock.now) is None


def test_after_signing_the_next_case_is_hers_unless_she_rests(english: Watched, clock: Clock) -> None:
    page = english.page
    _first, second, _third = arrive(english.web, clock, n=3)
    give_pin(english.web.services)
    on_list(english)
    page.keyboard.press("n")
    opened(page, "#claim")
    page.wait_for_load_state("load")
    page.locator("#text").fill("Read.")
    page.locator("#sign").press("Enter")
    page.locator("#pin").fill(PIN)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/cases/{second}?told=signed")
    page.keyboard.press("p")
    expect(page.locator("#paused")).to_be_visible()
    page.locator("#text").fill("Read too.")
    page.locator("#sign").press("Enter")  # the PIN holds for ten minutes
    expect(page.locator("#told")).to_contain_text("You rest")
    expect(page.locator("#claim")).to_have_count(0)


def test_the_next_case_is_fetched_ahead_without_a_name_and_without_a_claim(english: Watched, clock: Clock) -> None:
    page = english.page
    with english.web.signed_in("nurse") as nurse:
        for n in (1, 2):
            upload(nurse, {"a": named_ecg(f"Name{n}^A", str(n), seed=n)})
            clock.advance(1)
    give_pin(english.web.services)
    on_list(english)
    page.keyboard.press("n")
    with english.context.expect_event("response", lambda one: "/api/ahead/" in one.url and one.url.endswith("window")):
        opened(page, "canvas[data-drawn]")
    first, second = (one for one in cases_in_order(english.web))
    assert page.url.endswith(f"/cases/{first}")
    with english.web.services.catalogue.read() as conn:
        assert claims.current(conn, second, "reader", clock.now) is None
        views = select(audit_events.c.object_id).where(audit_events.c.action == "view")
        assert second not in set(conn.scalars(views))
    page.locator("#text").fill("Read.")
    page.locator("#sign").press("Enter")
    page.locator("#pin").fill(PIN)
    with page.expect_response(re.compile(f"/api/recordings/{second}/window")) as window:
        page.keyboard.press("Enter")
    assert window.value.from_service_worker
    opened(page, "canvas[data-drawn]")
    with english.web.services.catalogue.read() as conn:
        assert second in set(conn.scalars(views))  # now it is seen


def cases_in_order(web: Web) -> list[str]:
    with web.services.catalogue.read() as conn:
        return list(conn.scalars(select(work_items.c.case_id).order_by(work_items.c.arrived_at)))


def test_the_list_in_both_languages(seen: Watched, clock: Clock) -> None:
    page = seen.page
    with seen.web.signed_in("nurse") as nurse:
        upload(nurse, {"a": named_ecg("Wang^XiaoDong=王^小东", seed=1)}, urgent=True)
        clock.advance(400)
        upload(nurse, {"a": named_ecg("Wang^XiaoDong=王^小东", seed=2)})
    clock.advance(50)
    on_list(seen)
    check(page)
    expect(page.locator(".due.late")).to_have_count(1)
    picture(page, "worklist")
    assert axe.violations(page) == []
    page.keyboard.press("n")
    opened(page, "#claim")
    check(page)
    page.keyboard.press("Escape")
    page.locator("#release").wait_for()
    picture(page, "release")
    assert axe.violations(page) == []

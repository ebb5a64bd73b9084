"""What a tired reader must not stumble over: nothing covers signing, no flag stands unseen, no own case slips away."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from teleread.reading import claims, flag_verdicts, worklist
from tests.conftest import Clock
from tests.signing import PIN, claim, give_pin
from tests.ui.chromium import Watched, opened
from tests.ui.live import upload, wfdb

pytestmark = pytest.mark.peers

COVERED = """() => { const r = document.getElementById('sign').getBoundingClientRect();
  const at = document.elementFromPoint(r.x + r.width / 2, r.bottom - 2); return !at || at.id !== 'sign'; }"""


def sent(seen: Watched, n: int = 1, *, urgent: bool = True) -> list[str]:
    with seen.web.signed_in("nurse") as nurse:
        for seed in range(3, 3 + n):
            upload(nurse, wfdb("inferior_stemi", seed), urgent=urgent)
    with seen.web.services.catalogue.read() as conn:
        return [one.case_id for one in worklist.list_items(conn)]


def open_own(seen: Watched, case: str) -> None:
    seen.page.goto(f"{seen.web.address}/cases/{case}")
    opened(seen.page, "canvas[data-drawn]")


def test_the_alarm_of_another_case_covers_no_part_of_signing(seen: Watched, clock: Clock) -> None:
    page = seen.page
    first, _other = sent(seen, 2)
    seen.sign_in("reader")
    clock.advance(61)
    claim(seen.web.services, first)
    open_own(seen, first)
    expect(page.locator("#alarm")).to_be_visible(timeout=15_000)
    page.evaluate("scrollTo(0, 0)")
    assert not page.evaluate(COVERED)
    page.evaluate("document.getElementById('report').style.bottom = 0")
    assert page.evaluate(COVERED)  # as it would be without the room for the alarm


def test_whoever_opens_her_case_again_shortly_before_its_end_keeps_it(english: Watched, clock: Clock) -> None:
    services = english.web.services
    (case,) = sent(english)
    english.sign_in("reader")
    held = claim(services, case)
    clock.advance((claims.LEASES["urgent"].total_seconds()) - 5)
    with english.page.expect_response(re.compile("/heartbeat$")) as beaten:
        open_own(english, case)
    assert beaten.value.ok
    with services.catalogue.read() as conn:
        now = claims.current(conn, case, "reader", clock())
    assert now is not None
    assert now.fence == held.fence
    assert (now.lease_until - clock()).total_seconds() > 100


def test_with_its_reason_said_a_flag_is_done_with_and_the_key_goes_on_to_the_next(english: Watched) -> None:
    (case,) = sent(english)
    claim(english.web.services, case)
    english.sign_in("reader")
    open_own(english, case)
    flags = english.page.locator("li[data-flag]")
    n = flags.count()
    assert n > 1
    for at in range(n):
        english.page.keyboard.type("x2")
        expect(flags.nth(at).locator(".verdict")).to_have_text("rejected · measured wrongly")
    english.page.keyboard.press("x")  # there is none left, and none comes back
    with english.web.services.catalogue.read() as conn:
        said = flag_verdicts.of_case(conn, case).values()
    assert {one.verdict for one in said} == {"rejected"}


def test_a_refused_signature_names_the_flags_that_stand(english: Watched) -> None:
    page = english.page
    (case,) = sent(english)
    give_pin(english.web.services)
    claim(english.web.services, case)
    english.sign_in("reader")
    open_own(english, case)
    page.locator("#text").fill("Words.")
    page.locator("#sign").click()
    page.locator("#pin").fill(PIN)
    page.keyboard.press("Enter")
    expect(page.locator("#report-problem")).to_contain_text("Not rejected: ST elevation, inferior;")
    english.complaints[:] = [one for one in english.complaints if "422" not in one]

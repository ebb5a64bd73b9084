"""The clinic's page without a line: it opens, shows what is kept and the telephone number, and goes on by itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from teleread.testing.line import BadLine, Faults
from teleread.web.pages import offline
from tests.ui.chromium import ARGUMENTS, LANGUAGES, Watched, check, find_chromium, picture, watched
from tests.ui.clinic import BROKEN, choose, count, runs, sound
from tests.ui.live import Web, named_ecg

pytestmark = pytest.mark.peers

KEPT = """async () => { const found = {};
  for (const key of await caches.keys()) {
    const cache = await caches.open(key);
    for (const request of await cache.keys()) {
      const answer = await cache.match(request, {ignoreVary: true});
      found[new URL(request.url).pathname] = await answer.text();
    } }
  return found; }"""
WORKERS = "async () => (await navigator.serviceWorker.getRegistrations()).map(one => new URL(one.scope).pathname)"
CONTROLLED = """async () => { const {active} = await navigator.serviceWorker.ready;
  if (active.state !== 'activated') await new Promise(done => active.addEventListener('statechange', done)); }"""


@pytest.fixture(params=list(LANGUAGES))
def village(request: pytest.FixtureRequest, chromium: Browser, web: Web, line: BadLine) -> Iterator[Watched]:
    """A page in each language, over a line that the test may break."""
    with watched(chromium, replace(web, address=f"http://127.0.0.1:{line.port}"), request.param) as found:
        yield found
        found.complaints[:] = [one for one in found.complaints if not BROKEN.search(one)]


def signed_in(village: Watched, name: str = "nurse") -> Page:
    """On the page, once its worker keeps it."""
    village.sign_in(name)
    village.page.evaluate(CONTROLLED)
    return village.page


def kept(page: Page) -> dict[str, Any]:
    found: dict[str, Any] = page.evaluate(KEPT)
    return found


def test_a_reload_without_a_line_opens_the_page_and_goes_on_by_itself(
    village: Watched,
    line: BadLine,
    ecg: Path,
    tmp_path: Path,
) -> None:
    page, services = signed_in(village), village.web.services
    first = choose(page, ecg, urgent=True)
    expect(first.locator(".receipt-no")).to_be_visible()
    receipt = first.locator(".receipt-no").inner_text()
    first.locator("input[name=chest_pain][value=gone]").check()
    expect(first.locator(".kept")).to_have_text(re.compile("Saved; the reader|已保存，"))
    line.close()
    later = tmp_path / "later.dcm"
    later.write_bytes(named_ecg("B", "2", seed=2))
    choose(page, later)
    expect(page.locator(".card")).to_have_count(2)
    page.once("dialog", lambda dialog: dialog.accept())
    page.reload()
    runs(page)
    expect(page.locator("#line .tel")).to_have_text("0571-0")
    expect(page.locator(".card")).to_have_count(2)
    expect(page.locator(".card .receipt-no")).to_have_text(receipt)
    expect(page.locator(".card").first.locator(".card-title")).to_have_text("later.dcm")
    assert page.url.endswith("/upload")
    expect(page.locator("input[name=chest_pain][value=gone]:checked")).to_have_count(1)
    sound(page)
    picture(page, "clinic-shell")
    # also something new is kept, and shown with the number when its time is over
    fresh = tmp_path / "fresh.dcm"
    fresh.write_bytes(named_ecg("C", "3", seed=3))
    card = choose(page, fresh, urgent=True)
    page.evaluate("() => { for (const one of document.querySelectorAll('.card-call')) one.dataset.after = '0'; }")
    expect(card.locator(".card-call .number")).to_be_visible()
    picture(page, "clinic-shell-urgent")
    line.open()
    expect(page.locator(".card .receipt-no")).to_have_count(3, timeout=40_000)
    expect(page.locator("#line")).to_be_hidden()
    assert count(services) == 3
    page.locator("main a[href='/upload'].button").click()
    expect(page.locator("caption")).to_be_visible()
    expect(page.locator(".who")).to_contain_text("nurse")


def test_without_the_worker_a_reload_without_a_line_opens_nothing(village: Watched, line: BadLine) -> None:
    page = signed_in(village)
    page.evaluate("async () => { for (const key of await caches.keys()) await caches.delete(key); }")
    line.close()
    with pytest.raises(Exception, match="net::ERR_"):
        page.reload()


def test_a_line_that_is_dead_without_a_word_opens_the_page_as_well(village: Watched, line: BadLine) -> None:
    page = signed_in(village)
    line.faults = Faults(bytes_per_s=1.0)
    line.cut()
    page.reload()
    runs(page)
    expect(page.locator("#line .tel")).to_be_visible()
    line.faults = Faults()
    line.cut()
    expect(page.locator("#line")).to_be_hidden(timeout=60_000)


def test_only_static_files_and_a_shell_without_a_name_are_kept(village: Watched, ecg: Path) -> None:
    page = signed_in(village)
    card = choose(page, ecg)
    expect(card.locator(".couch .name")).to_be_visible()
    receipt = card.locator(".receipt-no").inner_text()
    page.reload()
    expect(page.locator("caption")).to_be_visible()
    found = kept(page)
    assert set(found) == {*offline.FILES, "/upload/shell"}
    shell = found["/upload/shell"]
    for named in ("nurse", "王小东", "Wang", receipt, "<table", "sign-out"):
        assert named not in shell
    assert page.evaluate(WORKERS) == ["/upload"]


def test_signing_out_takes_along_what_is_kept_and_leaves_what_is_not_sent(
    village: Watched,
    line: BadLine,
    ecg: Path,
) -> None:
    page = signed_in(village)
    line.close()  # it would be sent before anybody could stop it
    choose(page, ecg).locator(".card-pause").click()
    line.open()
    page.on("dialog", lambda dialog: dialog.accept())
    page.locator("form[action='/sign-out'] button").click()
    expect(page).to_have_url(re.compile("/sign-in"))
    assert page.evaluate(WORKERS) == []
    assert kept(page) == {}
    village.sign_in("nurse")
    expect(page.locator(".card")).to_have_count(1)


def test_the_next_nurse_of_another_clinic_sees_nothing_of_the_first(
    village: Watched,
    line: BadLine,
    ecg: Path,
) -> None:
    page = signed_in(village)
    assert 'data-site="village"' in kept(page)["/upload/shell"]
    line.close()
    choose(page, ecg)
    line.open()
    page.on("dialog", lambda dialog: dialog.accept())
    # the first one went without signing out
    village.context.clear_cookies()
    village.sign_in("stranger")
    with page.expect_response("**/upload"):
        page.reload()
    page.evaluate(CONTROLLED)
    expect(page.locator(".card")).to_have_count(0)
    line.close()
    page.reload()
    runs(page)
    assert page.locator("#clinic").get_attribute("data-site") == "other"
    expect(page.locator(".card")).to_have_count(0)


def test_a_new_version_of_any_file_takes_over(village: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    page = signed_in(village)
    (before,) = page.evaluate("caches.keys()")
    monkeypatch.setattr(offline, "version", lambda: "f" * 16)
    page.reload()
    expect(page.locator("#clinic")).to_be_visible()
    page.evaluate(
        """async name => { while (!(await caches.has(name)) || (await caches.keys()).length > 1)
          await new Promise(done => setTimeout(done, 50)); }""",
        f"teleread-{'f' * 16}",
    )
    assert before != f"teleread-{'f' * 16}"
    assert set(kept(page)) == {*offline.FILES, "/upload/shell"}


def test_where_no_worker_can_be_all_is_as_without_one(chromium: Browser, web: Web, ecg: Path) -> None:
    port = web.address.rpartition(":")[2]
    place = f"http://clinic.test:{port}"  # plain HTTP, and not this machine by its name
    rules = [*ARGUMENTS, "--host-resolver-rules=MAP clinic.test 127.0.0.1"]
    elsewhere = chromium.browser_type.launch(executable_path=find_chromium(), args=rules)
    try:
        with watched(elsewhere, replace(web, address=place), "en") as found:
            page = found.page
            found.sign_in("nurse")
            assert not page.evaluate("isSecureContext || 'serviceWorker' in navigator")
            expect(choose(page, ecg, urgent=True).locator(".receipt-no")).to_be_visible()
            page.locator("form[action='/sign-out'] button").click()
            expect(page).to_have_url(re.compile("/sign-in"))
            # Chromium says on its own that it ignores a header outside of secure contexts
            found.complaints[:] = [one for one in found.complaints if "Cross-Origin-Opener-Policy" not in one]
    finally:
        elsewhere.close()


def test_other_pages_and_answers_pass_by_the_worker(village: Watched, line: BadLine) -> None:
    page = signed_in(village)
    page.goto(f"{village.web.address}/identity")
    check(page)
    line.close()
    with pytest.raises(Exception, match="net::ERR_"):
        page.goto(f"{village.web.address}/identity")

""" "Urgent after all" reaches the centre, whatever the page and the line do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect

from teleread.testing.line import BadLine, Faults
from tests.system import wait_for
from tests.ui.chromium import Watched, picture
from tests.ui.clinic import PATIENCE_S, choose, priorities, slow, sound
from tests.ui.live import named_ecg, upload

pytestmark = pytest.mark.peers


def test_urgent_after_all_overtakes_and_raises(village: Watched, line: BadLine, tmp_path: Path, ecg: Path) -> None:
    page = village.page
    big = tmp_path / "ct.bin"
    big.write_bytes(np.random.default_rng(2).bytes(3_000_000))
    village.sign_in("nurse")
    slow(line, 512)
    choose(page, big)
    small = choose(page, ecg)
    small.locator(".card-urgent").click()
    expect(small.locator(".receipt-no")).to_be_visible(timeout=20_000)
    expect(page.locator(".card").nth(1).locator(".receipt-no")).to_have_count(0)
    line.faults = Faults()
    line.cut()
    expect(page.locator(".card").nth(1).locator(".receipt-no")).to_be_visible(timeout=30_000)
    # pressed while the last bytes were on their way, it is raised behind its receipt: as soon as the line lets it
    wait_for(lambda: priorities(village.web.services) == ["routine", "urgent"], PATIENCE_S, "the small one is urgent")
    expect(small.locator(".card-owed")).to_be_hidden()
    page.locator(".card").nth(1).locator(".card-urgent").click()
    expect(page.locator(".card").nth(1).locator(".where .prio.urgent")).to_be_visible()


def test_urgent_that_is_owed_survives_that_the_page_is_closed(village: Watched, line: BadLine, ecg: Path) -> None:
    page, services = village.page, village.web.services
    village.sign_in("nurse")
    card = choose(page, ecg)
    expect(card.locator(".where .prio.routine")).to_be_visible()
    line.close()
    card.locator(".card-urgent").click()
    expect(card.locator(".card-owed")).to_contain_text("It will be raised to URGENT")
    expect(card.locator(".card-done")).to_be_hidden()
    sound(page)
    picture(page, "clinic-owed")
    page.close(run_before_unload=False)
    assert priorities(services) == ["routine"]
    line.open()
    again = village.context.new_page()
    again.goto(f"{village.web.address}/upload")
    expect(again.locator(".card .where .prio.urgent")).to_be_visible()
    expect(again.locator(".card-owed")).to_be_hidden()
    assert priorities(services) == ["urgent"]
    again.reload()
    expect(again.locator(".card .where .prio.urgent")).to_be_visible()
    expect(again.locator(".card-owed")).to_be_hidden()


@pytest.mark.parametrize("where", ["the same page", "the sender's page"])
def test_urgent_that_is_owed_on_a_receipts_own_page_survives_as_well(
    village: Watched, line: BadLine, where: str
) -> None:
    page, services = village.page, village.web.services
    with village.web.signed_in("nurse") as nurse:
        receipt = upload(nurse, {"a.dcm": named_ecg("A")}).json()["receipt"]
    village.sign_in("nurse")
    page.goto(f"{village.web.address}/receipts/{receipt}")
    expect(page.locator(".verdict .light")).to_be_visible()
    line.close()
    page.locator("form[data-act=urgent] button").click()
    expect(page.locator(".card-owed")).to_contain_text("It will be raised to URGENT")
    sound(page)
    picture(page, "clinic-owed-receipt")
    page.close(run_before_unload=False)
    assert priorities(services) == ["routine"]
    line.open()
    again = village.context.new_page()
    again.goto(f"{village.web.address}/upload" if "sender" in where else f"{village.web.address}/receipts/{receipt}")
    expect(again.locator(".where .prio.urgent")).to_be_visible()
    assert priorities(services) == ["urgent"]


def test_urgent_pressed_in_another_window_reaches_what_was_received_meanwhile(
    village: Watched, line: BadLine, tmp_path: Path
) -> None:
    page, services = village.page, village.web.services
    path = tmp_path / "ct.bin"
    path.write_bytes(np.random.default_rng(3).bytes(3_000_000))
    village.sign_in("nurse")
    # the other window's files are there already: it must not wait for the line that the first one fills
    page.evaluate("() => navigator.serviceWorker.ready.then(() => true)")
    slow(line, 400)
    card = choose(page, path)
    expect(card.locator("progress")).not_to_have_attribute("value", "0")
    line.faults = Faults()  # for the other window's connections; those that are open stay as they are
    other = village.context.new_page()
    other.goto(f"{village.web.address}/upload")
    other.locator(".card-urgent").click()
    line.cut()
    expect(card.locator(".receipt-no")).to_be_visible(timeout=30_000)
    wait_for(lambda: priorities(services) == ["urgent"], PATIENCE_S, "it is urgent")
    expect(card.locator(".card-priority")).to_be_visible()


def test_urgent_that_is_refused_is_told_with_the_telephone_number(village: Watched, ecg: Path) -> None:
    page = village.page
    village.sign_in("nurse")
    card = choose(page, ecg)
    expect(card.locator(".where .prio.routine")).to_be_visible()
    # another clinic's account has signed in on this PC: what it asks for is not there
    second = village.context.new_page()
    village.context.clear_cookies()
    replace(village, page=second).sign_in("stranger")
    card.locator(".card-urgent").click()
    expect(card.locator(".card-unraised")).to_contain_text("It could not be raised to URGENT.")
    expect(card.locator(".card-unraised .tel")).to_have_text("0571-0")
    expect(card.locator(".unraised-code")).to_have_text("no_such_arrival")
    expect(card.locator(".card-owed")).to_be_hidden()
    sound(page)
    picture(page, "clinic-unraised")
    assert priorities(village.web.services) == ["routine"]

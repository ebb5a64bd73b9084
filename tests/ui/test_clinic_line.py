"""What is on its way from the clinic goes on by itself: broken lines, closed pages, pauses, two windows."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect
from sqlalchemy import select

from teleread.storage.catalogue.schema import clinic_forms
from teleread.testing.line import BadLine, Faults
from tests.system import wait_for
from tests.ui.chromium import Watched, picture
from tests.ui.clinic import PATIENCE_S, choose, count, runs, slow, sound
from tests.ui.live import named_ecg

pytestmark = pytest.mark.peers


def test_a_broken_line_is_said_and_the_file_goes_on_by_itself(village: Watched, line: BadLine, ecg: Path) -> None:
    page, services = village.page, village.web.services
    village.sign_in("nurse")
    runs(page)
    line.close()
    card = choose(page, ecg, urgent=True)
    expect(card.locator(".card-said")).to_contain_text("Saved, will send. Do not repeat the ECG.")
    expect(page.locator("#line")).to_be_visible()
    page.evaluate("() => { for (const one of document.querySelectorAll('.card-call')) one.dataset.after = '0'; }")
    expect(card.locator(".card-call .number")).to_be_visible()
    card.locator("input[name=chest_pain][value=now]").check()
    expect(card.locator(".kept")).to_contain_text("Kept on this computer")
    sound(page)
    picture(page, "clinic-offline")
    line.open()
    expect(card.locator(".receipt-no")).to_be_visible(timeout=20_000)
    expect(card.locator(".kept")).to_contain_text("Saved; the reader sees it.")
    expect(page.locator("#line")).to_be_hidden()
    assert count(services) == count(services, clinic_forms) == 1


def test_a_file_on_its_way_survives_that_the_page_is_closed(village: Watched, line: BadLine, tmp_path: Path) -> None:
    page = village.page
    path = tmp_path / "big.bin"
    path.write_bytes(np.random.default_rng(1).bytes(1_500_000))
    village.sign_in("nurse")
    slow(line, 2000)
    begun = line.up_bytes
    card = choose(page, path)
    expect(card.locator("progress")).not_to_have_attribute("value", "0")
    # what the browser has handed to its own machine has not left it yet
    wait_for(lambda: line.up_bytes - begun > 600_000, PATIENCE_S, "some of it has left")
    picture(page, "clinic-sending")
    line.close()
    page.close(run_before_unload=False)
    line.open()
    line.faults = Faults()
    before = line.up_bytes
    again = village.context.new_page()
    again.goto(f"{village.web.address}/upload")
    expect(again.locator(".card .receipt-no")).to_be_visible(timeout=20_000)
    assert count(village.web.services) == 1
    assert line.up_bytes - before < 1_500_000
    # what was received stays on the page, and its name is forgotten
    again.reload()
    expect(again.locator(".card .receipt-no")).to_be_visible()
    assert "big.bin" not in again.locator("#cards").inner_text()
    again.locator(".card-done").click()
    again.reload()
    expect(again.locator("caption")).to_be_visible()
    expect(again.locator(".card")).to_have_count(0)


def test_a_pause_holds_until_it_is_ended_also_over_a_reload(village: Watched, line: BadLine, tmp_path: Path) -> None:
    page, services = village.page, village.web.services
    path = tmp_path / "big.bin"
    path.write_bytes(np.random.default_rng(5).bytes(1_500_000))
    village.sign_in("nurse")
    slow(line, 2000)
    begun = line.up_bytes
    card = choose(page, path)
    wait_for(lambda: line.up_bytes - begun > 500_000, PATIENCE_S, "some of it has left")
    card.locator(".card-pause").click()
    expect(card.locator(".card-said")).to_contain_text("Paused at")
    expect(card.locator(".card-pause")).to_be_hidden()
    sound(page)
    picture(page, "clinic-paused")
    line.faults = Faults()
    line.cut()
    # what is not paused goes its way beside it
    other = tmp_path / "other.dcm"
    other.write_bytes(named_ecg("B", "2", seed=2))
    expect(choose(page, other).locator(".receipt-no")).to_be_visible()
    page.once("dialog", lambda dialog: dialog.accept())
    page.reload()
    runs(page)
    expect(page.locator(".card-said", has_text="Paused at")).to_have_count(1)
    assert count(services) == 1
    before = line.up_bytes
    page.locator(".card-resume:visible").click()
    expect(page.locator(".card .receipt-no")).to_have_count(2)
    assert count(services) == 2
    assert line.up_bytes - before < 1_400_000  # what had come was not sent again


def test_leaving_with_something_unsent_is_asked_about(village: Watched, line: BadLine, ecg: Path) -> None:
    page = village.page
    village.sign_in("nurse")
    runs(page)
    line.close()
    choose(page, ecg)
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    page.locator("h1").click()  # a page that nobody touched may not ask
    page.close(run_before_unload=True)
    expect(page.locator(".card")).to_be_visible()
    page.wait_for_event("dialog") if not asked else None
    assert asked == ["beforeunload"]


def test_a_press_before_the_scripts_are_there_sends_nothing(english: Watched) -> None:
    page = english.page
    page.route("**/upload.js", lambda route: None)  # never answered
    page.goto(f"{english.web.address}/sign-in")
    page.locator("#name").fill("nurse")
    page.locator("#password").fill("correct horse")
    page.keyboard.press("Enter")
    page.locator(".zone.urgent button").click(no_wait_after=True)
    expect(page).to_have_url(re.compile("/upload$"))
    assert page.locator("#file").evaluate("field => field.validity.valueMissing")
    expect(page.locator(".zone.urgent")).to_be_visible()


def test_what_was_answered_is_shown_again_and_not_wiped_by_a_later_answer(english: Watched, ecg: Path) -> None:
    page, services = english.page, english.web.services
    english.sign_in("nurse")
    card = choose(page, ecg)
    expect(card.locator(".where .prio")).to_be_visible()
    card.locator("input[name=chest_pain][value=gone]").check()
    card.locator("input[name=consent][value=no]").check()
    card.locator("input[name=drug_aspirin]").check()
    expect(card.locator(".kept")).to_contain_text("Saved; the reader sees it.")
    page.reload()
    expect(page.locator("input[name=chest_pain][value=gone]")).to_be_checked()
    expect(page.locator("input[name=drug_aspirin]")).to_be_checked()
    page.locator("input[name=pressure][value=to179]").check()
    expect(page.locator(".kept")).to_contain_text("Saved; the reader sees it.")
    with services.catalogue.read() as conn:
        (form,) = conn.execute(select(clinic_forms)).all()
    assert (form.chest_pain, form.pressure, form.consent, form.drugs) == ("gone", "to179", "no", ["aspirin"])


def test_two_windows_with_one_file_end_in_one_receipt(english: Watched, ecg: Path) -> None:
    english.sign_in("nurse")
    other = english.context.new_page()
    other.goto(f"{english.web.address}/upload")
    cards = [choose(page, ecg) for page in (english.page, other)]
    receipts = set()
    for card in cards:
        expect(card.locator(".receipt-no")).to_be_visible(timeout=20_000)
        receipts.add(card.locator(".receipt-no").inner_text())
    assert len(receipts) == count(english.web.services) == 1

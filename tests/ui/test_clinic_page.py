"""The clinic's page in Chromium: on its way at once, over reloads and broken lines, and what becomes of it."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from sqlalchemy import func, select

from teleread.ingest.formats import write_wfdb
from teleread.pipeline.services import Services
from teleread.pipeline.sweep import sweep_web
from teleread.signal.ecg import simulate
from teleread.storage.catalogue.schema import arrivals, clinic_forms
from teleread.testing.line import BadLine, Faults
from tests.conftest import Clock
from tests.signing import post_report
from tests.system import wait_for
from tests.ui.axe import violations
from tests.ui.chromium import Watched, check, picture, watched
from tests.ui.live import Web, named_ecg, upload, wfdb

pytestmark = pytest.mark.peers

KBIT = 1000 / 8
PATIENCE_S = 60
BROKEN = re.compile("ERR_|Failed to load")


def sound(page: Page) -> None:
    """What holds on every page, with the rules of WCAG A and AA."""
    check(page)
    assert violations(page) == []


def choose(page: Page, *paths: Path, urgent: bool = False) -> Locator:
    """One press and the file's choice; gives the newest card."""
    runs(page)
    cards = page.locator(".card")
    before = cards.count()
    with page.expect_file_chooser() as chooser:
        page.locator(".zone.urgent button" if urgent else ".zone:not(.urgent) button").click()
    chooser.value.set_files(list(paths))
    if len(paths) <= 4:
        expect(cards).to_have_count(before + 1)
    return cards.first


def runs(page: Page) -> None:
    """Wait for the page's scripts."""
    page.locator("#plain").wait_for(state="hidden")


def loose(electrode_leads: tuple[str, ...], seed: int = 3) -> bytes:
    """A recording with these leads flat, as a ZIP of its two files."""
    record, _truth = simulate("normal", seed)
    signals = np.array(record.signals_mv)
    for lead in electrode_leads:
        signals[record.leads.index(lead)] = 0.0
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in write_wfdb(replace(record, signals_mv=signals), "rec").items():
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.fixture
def ecg(tmp_path: Path) -> Path:
    path = tmp_path / "ecg.dcm"
    path.write_bytes(named_ecg("Wang^XiaoDong=王^小东"))
    return path


@pytest.fixture
def line(web: Web) -> Iterator[BadLine]:
    with BadLine(int(web.address.rpartition(":")[2]), Faults()) as bad:
        yield bad


@pytest.fixture
def village(chromium: Browser, web: Web, line: BadLine) -> Iterator[Watched]:
    """A page that reaches the centre over a line that the test may break."""
    with watched(chromium, replace(web, address=f"http://127.0.0.1:{line.port}"), "en") as found:
        yield found
        found.complaints[:] = [one for one in found.complaints if not BROKEN.search(one)]


def count(services: Services, table=arrivals) -> int:  # type: ignore[no-untyped-def]
    with services.catalogue.read() as conn:
        return int(conn.scalar(select(func.count()).select_from(table)) or 0)


def slow(line: BadLine, kbit_per_s: float) -> None:
    """A slower line from now on: also for connections that the browser has open."""
    line.faults = Faults(bytes_per_s=kbit_per_s * KBIT)
    line.cut()


def priorities(services: Services) -> list[str]:
    with services.catalogue.read() as conn:
        return sorted(conn.scalars(select(arrivals.c.clinic_priority)))


def test_an_urgent_ecg_from_the_nurse_to_the_reader_and_back(seen: Watched, ecg: Path, clock: Clock) -> None:
    page, web = seen.page, seen.web
    seen.sign_in("nurse")
    sound(page)
    picture(page, "clinic-1-start")
    card = choose(page, ecg, urgent=True)
    expect(card.locator(".receipt-no")).to_be_visible()
    expect(card.locator(".couch .name")).to_contain_text("王小东")
    expect(card.locator(".verdict .light")).to_be_visible()
    expect(card.locator(".card-priority")).to_be_visible()
    receipt = card.locator(".receipt-no").inner_text()
    sound(page)
    picture(page, "clinic-2-received")

    card.locator("[data-act=patient] button").click()
    expect(card.locator(".couch .state")).to_be_visible()
    for name, value in (("chest_pain", "now"), ("onset", "m30"), ("pressure", "to179"), ("consent", "yes")):
        card.locator(f"input[name={name}][value={value}]").check()
    card.locator("input[name=drug_aspirin]").check()
    expect(card.locator(".kept")).to_have_text(re.compile("Saved; the reader|已保存，"))
    picture(page, "clinic-3-answered")

    clock.advance(61)
    expect(card.locator(".live .fallback")).to_be_visible(timeout=15_000)
    expect(card.locator(".live .number")).to_have_text("0571-0")
    sound(page)
    picture(page, "clinic-4-not-opened")

    with web.signed_in("reader") as reader:
        case = re.findall(r'href="(/cases/\w+)"', reader.get("/worklist").text)[0]
        opened = reader.get(case).text
        assert "nurse" in opened
    expect(card.locator(".state-now")).to_contain_text("reader", timeout=15_000)
    expect(card.locator(".fallback:visible")).to_have_count(0)
    picture(page, "clinic-5-being-read")

    with web.signed_in("reader") as reader:
        text = "Inferior STEMI. Call 0571-1 now."
        assert post_report(reader, case, {"text": text, "critical": "1"}).status_code == 303
    sweep_web(web.services)
    expect(card.locator(".report.critical")).to_contain_text("Inferior STEMI", timeout=15_000)
    sound(page)
    picture(page, "clinic-6-critical")
    card.locator("[data-act=read] button").click()
    expect(card.locator(".report .state.good")).to_contain_text("nurse")
    sound(page)
    picture(page, "clinic-7-acknowledged")

    page.goto(f"{web.address}/receipts/{receipt}")
    expect(page.locator("input[name=chest_pain][value=now]")).to_be_checked()
    sound(page)
    picture(page, "clinic-8-receipt")
    seen.context.clear_cookies()
    seen.sign_in("reader")
    expect(page.locator(".critical-list summary .state.good")).to_be_visible()
    page.locator(".critical-list summary").click()
    sound(page)
    picture(page, "reader-1-worklist")
    page.goto(f"{web.address}{case}")
    expect(page.locator(".clinic-says")).to_be_visible()
    expect(page.locator("article .state.good")).to_contain_text("nurse")
    sound(page)
    picture(page, "reader-2-case")


@pytest.mark.parametrize(("name", "leads"), [("chest", ("V2",)), ("limb", ("II", "III", "aVF"))])
def test_a_loose_electrode_is_named_and_shown(seen: Watched, tmp_path: Path, name: str, leads: tuple[str, ...]) -> None:
    path = tmp_path / "ecg.zip"
    path.write_bytes(loose(leads))
    seen.sign_in("nurse")
    card = choose(seen.page, path)
    expect(card.locator(".verdict .torso .there").first).to_be_visible()
    sound(seen.page)
    picture(seen.page, f"clinic-loose-{name}")


def test_no_lead_at_all_says_to_look_at_the_patient_and_shows_no_electrode(english: Watched, tmp_path: Path) -> None:
    path = tmp_path / "ecg.zip"
    path.write_bytes(loose(("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")))
    english.sign_in("nurse")
    card = choose(english.page, path)
    expect(card.locator(".verdict .light")).to_contain_text("look at the patient")
    expect(card.locator(".torso")).to_have_count(0)
    picture(english.page, "clinic-all-bad")


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


def test_a_zip_of_several_recordings_has_a_receipt_for_each(english: Watched, tmp_path: Path) -> None:
    page, services = english.page, english.web.services
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for n in range(3):
            archive.writestr(f"study/{n}.dcm", named_ecg(f"N{n}", str(n), seed=n))
        archive.writestr("study/readme.txt", "text")
    path = tmp_path / "study.zip"
    path.write_bytes(buffer.getvalue())
    english.sign_in("nurse")
    card = choose(page, path)
    expect(card.locator(".card-said")).to_have_text("3 recordings in one file; each has a receipt number:")
    links = card.locator(".card-receipts a")
    expect(links).to_have_count(3)
    with services.catalogue.read() as conn:
        assert set(links.all_inner_texts()) == set(conn.scalars(select(arrivals.c.receipt)))
    sound(page)
    picture(page, "clinic-several")
    # urgent after all: each of them
    card.locator(".card-urgent").click()
    wait_for(lambda: priorities(services) == ["urgent"] * 3, PATIENCE_S, "all are urgent")
    expect(card.locator(".card-owed")).to_be_hidden()
    page.reload()
    expect(page.locator(".card-receipts a")).to_have_count(3)
    page.locator(".card-receipts a").first.click()
    expect(page.locator("#receipt .where .prio.urgent")).to_be_visible()


def test_a_zip_without_a_recording_says_so(seen: Watched, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("study/readme.txt", "text")
    path = tmp_path / "study.zip"
    path.write_bytes(buffer.getvalue())
    seen.sign_in("nurse")
    card = choose(seen.page, path)
    expect(card.locator(".verdict")).to_contain_text(re.compile("No file in the ZIP|ZIP 文件中没有"))
    sound(seen.page)
    picture(seen.page, "clinic-zip-without")


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


def test_header_and_samples_are_one_recording_and_many_files_are_lines(english: Watched, tmp_path: Path) -> None:
    page = english.page
    english.sign_in("nurse")
    paths = []
    for name, data in wfdb("normal").items():
        paths.append(tmp_path / name)
        paths[-1].write_bytes(data)
    card = choose(page, *paths)
    expect(card.locator(".verdict.green")).to_be_visible()
    assert count(english.web.services) == 1
    many = []
    for n in range(6):
        many.append(tmp_path / f"{n}.dcm")
        many[-1].write_bytes(named_ecg(f"N{n}", str(n), seed=n))
    choose(page, *many)
    expect(page.locator(".batch-title")).to_have_text("6 of 6 recordings received", timeout=20_000)
    expect(page.locator(".batch-lines a")).to_have_count(6)
    sound(page)
    picture(page, "clinic-many")
    page.locator(".batch-done").click()
    expect(page.locator(".batch")).to_have_count(0)
    assert count(english.web.services) == 7


def test_an_empty_file_is_refused_in_words_and_can_be_taken_away(english: Watched, tmp_path: Path) -> None:
    path = tmp_path / "empty.dcm"
    path.write_bytes(b"")
    english.sign_in("nurse")
    card = choose(english.page, path)
    expect(card.locator(".card-refused")).to_contain_text("Nothing was sent")
    sound(english.page)
    picture(english.page, "clinic-refused")
    card.locator(".card-remove").click()
    expect(english.page.locator(".card")).to_have_count(0)
    english.complaints.clear()


def test_without_scripts_the_plain_form_sends(chromium: Browser, web: Web, ecg: Path) -> None:
    context = chromium.new_context(java_script_enabled=False, locale="en-GB")
    try:
        page = context.new_page()
        page.goto(f"{web.address}/sign-in")
        page.locator("#name").fill("nurse")
        page.locator("#password").fill("correct horse")
        page.keyboard.press("Enter")
        page.locator("#file").set_input_files(ecg)
        page.locator(".zone.urgent button").click()
        expect(page.locator("#receipt-no")).to_be_visible()
        page.locator("input[name=chest_pain][value=now]").check()
        page.locator("button.save").click()
        expect(page.locator("input[name=chest_pain][value=now]")).to_be_checked()
        page.locator("[data-act=patient] button").click()
        expect(page.locator(".couch .state")).to_be_visible()
    finally:
        context.close()


def test_the_clinics_pages_carry_no_identity_into_the_store_of_the_browser(english: Watched, ecg: Path) -> None:
    page = english.page
    english.sign_in("nurse")
    card = choose(page, ecg)
    expect(card.locator(".couch .name")).to_be_visible()
    kept = page.evaluate(
        """() => new Promise(done => { const r = indexedDB.open('teleread', 1); r.onsuccess = () => {
        const t = r.result.transaction(['items', 'bytes']); const i = t.objectStore('items').getAll();
        const b = t.objectStore('bytes').count();
        t.oncomplete = () => done([JSON.stringify(i.result), b.result]); } })"""
    )
    assert "ecg.dcm" not in kept[0]
    assert kept[1] == 0


def test_a_session_that_ended_keeps_what_was_chosen(english: Watched, ecg: Path) -> None:
    page = english.page
    english.sign_in("nurse")
    english.context.clear_cookies()
    card = choose(page, ecg, urgent=True)
    expect(page.locator("#session")).to_be_visible()
    expect(card.locator(".card-said")).to_contain_text("Saved, will send")
    picture(page, "clinic-session")
    with english.context.expect_page() as opened:
        page.locator("#session a").click()
    second = opened.value
    second.locator("#name").fill("nurse")
    second.locator("#password").fill("correct horse")
    second.keyboard.press("Enter")
    second.locator("#file").wait_for(state="attached")
    second.close()
    expect(card.locator(".receipt-no")).to_be_visible(timeout=20_000)
    english.complaints[:] = [one for one in english.complaints if "401" not in one]


def test_what_was_sent_is_shown_by_its_report_in_the_list(english: Watched) -> None:
    with english.web.signed_in("nurse") as nurse:
        receipt = upload(nurse, wfdb()).json()["receipt"]
    english.sign_in("nurse")
    expect(english.page.locator("table a.mono")).to_have_text(receipt)


def test_a_folder_is_sent_whole_and_dropped_files_go_by_the_half_they_fall_on(english: Watched, tmp_path: Path) -> None:
    page = english.page
    english.sign_in("nurse")
    folder = tmp_path / "study"
    (folder / "series").mkdir(parents=True)
    for name, data in wfdb("normal").items():
        (folder / "series" / name).write_bytes(data)
    (folder / "a.dcm").write_bytes(named_ecg("A"))
    (folder / "Thumbs.db").write_bytes(b"noise")
    runs(page)
    page.locator("#folder").set_input_files(folder)
    expect(page.locator(".card .receipt-no")).to_have_count(2, timeout=20_000)
    for selector in (".zone.urgent", "h1"):
        page.evaluate(
            """selector => { const dropped = new DataTransfer();
            dropped.items.add(new File([`urgent? ${selector}`], 'x.bin'));
            document.querySelector(selector).dispatchEvent(
              new DragEvent('drop', {dataTransfer: dropped, bubbles: true, cancelable: true})); }""",
            selector,
        )
    expect(page.locator(".card .receipt-no")).to_have_count(4, timeout=20_000)
    expect(page.locator(".card.is-urgent")).to_have_count(1)
    assert count(english.web.services) == 4


def test_folders_are_walked_to_their_end_and_the_own_hash_is_right(english: Watched) -> None:
    english.sign_in("nurse")
    paths = english.page.evaluate(
        """async () => {
          const { droppedFiles, recordings } = await import('/static/js/clinic-files.js');
          const leaf = (path, text) => ({ isFile: true, fullPath: path,
            file: done => done(new File([text], path.split('/').pop())) });
          const folder = (path, some) => { let left = [some.slice(0, 2), some.slice(2), []];
            const reader = { readEntries: done => done(left.shift()) };
            return { isFile: false, fullPath: path, createReader: () => reader }; };
          const root = folder('/d', [leaf('/d/r.hea', 'r 1 500 10\\nr.dat 16'), leaf('/d/r.dat', 'x'),
            folder('/d/e', [leaf('/d/e/r.dat', 'y'), leaf('/d/e/.DS_Store', '')])]);
          const found = await droppedFiles({ items: [{ webkitGetAsEntry: () => root }], files: [] });
          return (await recordings(found)).map(one => one.map(file => file.name)); }"""
    )
    assert paths == [["r.hea", "r.dat"], ["r.dat"]]
    equal = english.page.evaluate(
        """async () => {
          const { Sha256, sha256 } = await import('/static/js/clinic-sha256.js');
          const hex = bytes => [...bytes].map(b => b.toString(16).padStart(2, '0')).join('');
          const wrong = [];
          for (const n of [0, 1, 55, 56, 63, 64, 65, 119, 120, 1000, 70001]) {
            const bytes = crypto.getRandomValues(new Uint8Array(Math.min(n, 65536))), own = new Sha256();
            for (let at = 0; at < bytes.length; at += 777) own.update(bytes.subarray(at, at + 777));
            if (hex(own.digest()) !== await sha256(new Blob([bytes]))) wrong.push(n); }
          return wrong; }"""
    )
    assert equal == []

"""The clinic's page in Chromium: on its way at once, over reloads and broken lines, and what becomes of it."""

from __future__ import annotations

import io
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, expect
from sqlalchemy import select

from teleread.ingest.formats import write_wfdb
from teleread.pipeline.sweep import sweep_web
from teleread.signal.ecg import simulate
from teleread.storage.catalogue.schema import arrivals
from tests.conftest import Clock
from tests.signing import post_report
from tests.system import wait_for
from tests.ui.chromium import Watched, picture
from tests.ui.clinic import PATIENCE_S, choose, count, priorities, runs, sound
from tests.ui.live import Web, named_ecg, upload, wfdb

pytestmark = pytest.mark.peers


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

"""The agent's page in Chromium: what was sent becomes urgent by one press, reports are there, faults are said."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from teleread.agent import carried
from teleread.agent.home import Identity
from teleread.agent.page import Desk, serving
from teleread.agent.reports import Reports
from teleread.agent.sound import News
from teleread.agent.spool import Item, Spool
from tests.ui.axe import violations
from tests.ui.chromium import LANGUAGES, WIDER_THAN_SCREEN, picture, watched
from tests.ui.live import Web

pytestmark = pytest.mark.peers


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "agent")


@pytest.fixture
def sent(spool: Spool) -> Item:
    item = spool.add({"ecg-0412.dcm": b"1"}, urgent=False, seen_at=time.time())
    spool.acknowledged(item, ["RX3F-7K2M"], time.time())
    spool.update(item.id, verdict={"light": "green", "findings": []})
    return item


@pytest.fixture
def reports(spool: Spool) -> Reports:
    return Reports(spool.folder, spool.folder / "reports")


@pytest.fixture
def address(spool: Spool, reports: Reports, tmp_path: Path) -> Iterator[str]:
    place = tmp_path / "agent.pem"
    identity = Identity("https://lead.example:8422", "a", "village", "0571-1", "", place, None, "", 8420)
    desk = Desk(spool, None, identity, "C:\\ECG", judge_failure=lambda: carried.NOT_CARRIED, reports=reports)
    with serving(desk, 0) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("language", list(LANGUAGES))
def test_what_was_sent_becomes_urgent_by_one_press(
    chromium: Browser, spool: Spool, sent: Item, address: str, language: str
) -> None:
    words = {"zh": ("改为紧急", "正在通知中心医院", "已于"), "en": ("Urgent after all", "is being told", "was told at")}
    button, telling, told = words[language]
    with watched(chromium, Web(None, None, address), language) as seen:  # type: ignore[arg-type]
        page = seen.page
        page.goto(address)
        expect(page.locator("#not-judged")).not_to_be_empty()
        expect(page.locator("#lead")).to_have_attribute("href", "https://lead.example:8420/upload")
        page.get_by_role("button", name=button).click()
        expect(page.locator("#items")).to_contain_text(telling)
        assert Spool(spool.folder, owner=False).to_tell()
        assert not page.evaluate(WIDER_THAN_SCREEN)
        assert violations(page) == []
        picture(page, "agent-raising")
        found = spool.find(sent.id)
        assert found is not None
        spool.told(found, time.time())
        expect(page.locator("#items")).to_contain_text(told)
        expect(page.get_by_role("button", name=button)).to_have_count(0)
        assert violations(page) == []
        picture(page, "agent-raised")


def test_a_word_that_is_not_heard_for_a_minute_is_for_the_telephone(
    chromium: Browser, spool: Spool, sent: Item, address: str
) -> None:
    spool.make_urgent(sent.id, time.time() - 61)
    with watched(chromium, Web(None, None, address), "en") as seen:  # type: ignore[arg-type]
        seen.page.goto(address)
        expect(seen.page.locator("#alarm")).to_be_visible()
        expect(seen.page.locator("#alarm")).to_contain_text("0571-1")
        assert violations(seen.page) == []
        picture(seen.page, "agent-telephone")


PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\n%%EOF\n"
FACTS = {
    "7K2M-QX9D-0RTB": ("final", 1, True, False, ""),
    "8M3N-QX9D-0RTB": ("corrected", 2, False, False, ""),
    "9N4P-QX9D-0RTB": ("withdrawn", 3, False, False, ""),
    "AP5R-QX9D-0RTB": ("final", 1, False, True, ""),
    "BR6S-QX9D-0RTB": ("final", 1, False, False, "report_signature_wrong"),
    "CS7T-QX9D-0RTB": ("final", 1, False, False, ""),
}


def given(spool: Spool, reports: Reports) -> None:
    """A report of each kind, the newest recording last; one that is not fetched yet."""
    for number, (receipt, (kind, version, critical, held, failure)) in enumerate(FACTS.items()):
        item = spool.add({f"ecg-{number}.dcm": receipt.encode()}, urgent=critical, seen_at=time.time() + number)
        spool.acknowledged(item, [receipt], time.time())
        report = {"critical": critical, "state": "a"}
        said = {"light": "green", "findings": [], "case_state": "COMPLETED", "report": report}
        spool.update(item.id, verdict=said)
        news = News("a", version, kind, critical, "", held)
        reports.learn(receipt, news, time.time(), item=item.id, name=item.files[0].name, urgent=critical)
        if failure:
            reports.failed(receipt, failure)
        else:
            reports.keep(receipt, news, {"pdf": PDF, "json": b"{}"}, "good")


@pytest.mark.parametrize("language", list(LANGUAGES))
def test_reports_are_there_without_a_line_and_the_critical_one_is_said_first(
    chromium: Browser, spool: Spool, reports: Reports, address: str, language: str
) -> None:
    given(spool, reports)
    words = {
        "zh": ("危急报告：请立即阅读", "已撤回", "更正报告", "请勿将此报告用于该患者", "签名有误", "打印报告"),
        "en": ("CRITICAL report", "WITHDRAWN", "CORRECTED", "do not use the report", "signature is wrong", "print"),
    }
    with watched(chromium, Web(None, None, address), language) as seen:  # type: ignore[arg-type]
        page = seen.page
        page.goto(address)
        section = page.locator("#reports")
        expect(section).to_be_visible()
        for word in words[language][:-1]:
            expect(section).to_contain_text(word)
        expect(section.locator("li").first).to_contain_text(words[language][0])
        expect(section.locator("li").first.locator("a").first).to_contain_text(words[language][-1])
        expect(section).not_to_contain_text("CS7T")  # plain, and listed below
        sheet = page.locator("#items a[href='/reports/CS7T-QX9D-0RTB.pdf']")
        expect(sheet).to_have_count(1)
        assert page.locator("#items a[href='/reports/BR6S-QX9D-0RTB.pdf']").count() == 0
        given_back = page.request.get(f"{address}/reports/CS7T-QX9D-0RTB.pdf")
        assert (given_back.status, given_back.body()) == (200, PDF)
        confirm = section.locator("li").first.locator("a").last
        expect(confirm).to_have_attribute("href", "https://lead.example:8420/receipts/7K2M-QX9D-0RTB")
        assert not page.evaluate(WIDER_THAN_SCREEN)
        assert violations(page) == []
        picture(page, "agent-reports")

"""The agent's page in Chromium: what was sent becomes urgent by one press, and what is not judged here is said."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from teleread.agent import carried
from teleread.agent.home import Identity
from teleread.agent.page import Desk, serving
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
def address(spool: Spool, tmp_path: Path) -> Iterator[str]:
    place = tmp_path / "agent.pem"
    identity = Identity("https://lead.example:8422", "a", "village", "0571-1", "", place, None, "", 8420)
    desk = Desk(spool, None, identity, "C:\\ECG", judge_failure=lambda: carried.NOT_CARRIED)
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

"""Accounts, the audit trail, cases opened with a reason and the indicators, as people use their pages."""

from __future__ import annotations

import base64
import re

import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from playwright.sync_api import expect

from teleread.pipeline.counting import count_events
from tests.ui.axe import violations
from tests.ui.chromium import Watched, check
from tests.ui.live import PASSWORD, named_ecg, upload

pytestmark = pytest.mark.peers

CUT_OFF = "() => [...document.querySelectorAll('.table-wrap')].filter(e => e.scrollWidth > e.clientWidth).length"


def give_second_factor(seen: Watched) -> None:
    """Sign in as the administrator, who is asked for a second factor first."""
    page = seen.page
    page.goto(f"{seen.web.address}/sign-in")
    page.locator("#name").fill("administrator")
    page.locator("#password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/second-factor$"))
    assert violations(page) == []
    page.locator("main button").click()
    secret = page.locator(".secret").inner_text().replace(" ", "")
    assert violations(page) == []
    at = int(seen.web.services.clock().timestamp())
    page.locator("#code").fill(TOTP(base64.b32decode(secret), 6, SHA1(), 30).generate(at).decode())
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/people$"))


def test_an_administrator_makes_an_account_with_keys_alone(seen: Watched) -> None:
    give_second_factor(seen)
    page = seen.page
    assert violations(page) == []
    page.locator("details.panel summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("li")
    page.keyboard.press("Tab")
    page.keyboard.type("李医生")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")  # the next role after the clinic's: a reader
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("p .secret")).to_be_visible()
    assert violations(page) == []


def test_the_other_pages_break_no_rule(seen: Watched) -> None:
    page = seen.page
    with seen.web.signed_in("nurse") as nurse:
        upload(nurse, {"a.dcm": named_ecg("A")})
    count_events(seen.web.services)
    with seen.web.signed_in("senior") as senior:
        (path,) = re.findall(r"/cases/\w+", senior.get("/worklist").text)[:1]
        senior.post(f"{path}/break-glass", data={"reason": "emergency"})
    seen.sign_in("auditor")
    for place in ("/audit", "/break-glass", "/account"):
        page.goto(f"{seen.web.address}{place}")
        expect(page.locator("h1")).to_be_visible()
        check(page)
        assert violations(page) == []
    page.locator("header form[action='/sign-out'] button").click()
    seen.sign_in("senior")
    for place in (f"{path}/break-glass", "/indicators"):
        page.goto(f"{seen.web.address}{place}")
        expect(page.locator("h1")).to_be_visible()
        check(page)
        assert page.evaluate(CUT_OFF) == 0
        assert violations(page) == []

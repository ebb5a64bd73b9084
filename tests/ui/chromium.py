"""Debian's Chromium under Playwright, watched: what a page logs, and where it asks for anything."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.ui.live import PASSWORD, Web

LANGUAGES = {"zh": "zh-CN", "en": "en-GB"}
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

UNLABELLED = """() => [...document.querySelectorAll('input, select, textarea')]
  .filter(e => e.type !== 'hidden' && !(e.labels && e.labels.length) && !e.getAttribute('aria-label'))
  .map(e => e.outerHTML)"""
SMALL = """() => [...document.querySelectorAll('a, button, select, input, textarea, label.seg')]
  .filter(e => e.offsetParent && !e.closest('.sr, .skip') && !e.matches('.sr, .skip, .seg input'))
  .map(e => [e.outerHTML.slice(0, 80), e.getBoundingClientRect()])
  .filter(([_, r]) => r.width < 24 || r.height < 24).map(([h, r]) => `${h} ${r.width}×${r.height}`)"""
# inline links in a table's or a sentence's text are exempt (2.5.8), but ours are large anyway
HUGE = """() => [...document.querySelectorAll('main svg[aria-hidden]:not(.trace)')]
  .map(e => [e.parentElement.outerHTML.slice(0, 80), e.getBoundingClientRect()])
  .filter(([_, r]) => r.width > 96).map(([h, r]) => `${h} ${r.width}`)"""
"""Marks beside words whose style sheet is not there."""
WITHOUT_CAPTION = "() => [...document.querySelectorAll('table')].filter(t => !t.caption).map(t => t.outerHTML)"
WIDER_THAN_SCREEN = "() => document.documentElement.scrollWidth > document.documentElement.clientWidth"


def find_chromium() -> str:
    """Where Chromium lies; the test is skipped where there is none."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium: apt-get install chromium")
    return path


@contextmanager
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    path = find_chromium()
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            yield started
        finally:
            started.close()


@dataclass(slots=True)
class Watched:
    """A context with one page, and everything that it should not do."""

    web: Web
    context: BrowserContext
    page: Page
    complaints: list[str] = field(default_factory=list)

    def sign_in(self, name: str) -> None:
        """By keyboard, as a person does."""
        self.page.goto(f"{self.web.address}/sign-in")
        self.page.locator("#name").focus()
        self.page.keyboard.type(name)
        self.page.keyboard.press("Tab")
        self.page.keyboard.type(PASSWORD)
        self.page.keyboard.press("Enter")
        self.page.locator("nav a[aria-current=page]").wait_for()


@contextmanager
def watched(started: Browser, web: Web, language: str = "zh", *, scheme: str = "light") -> Iterator[Watched]:
    """A page at 1366 × 768 in a language; at the end it must have logged no error and asked nobody else."""
    context = started.new_context(
        viewport={"width": 1366, "height": 768},
        locale=LANGUAGES[language],
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    page = context.new_page()
    found = Watched(web, context, page)
    page.on("console", lambda message: found.complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: found.complaints.append(str(error)))
    context.on(
        "request",
        lambda request: (
            None if request.url.startswith(web.address) else found.complaints.append(f"asked {request.url}")
        ),
    )
    try:
        yield found
    finally:
        context.close()
    assert found.complaints == [], found.complaints


def opened(page: Page, selector: str) -> None:
    """Wait until a page shows something, and its scripts hear what is pressed."""
    page.locator(selector).first.wait_for()
    page.wait_for_load_state("load")


def check(page: Page) -> None:
    """What holds on every page."""
    page.wait_for_load_state("load")  # a form's answer is there before its styles are
    assert page.evaluate(UNLABELLED) == []
    small = page.evaluate(SMALL)
    assert small == [], small
    assert page.evaluate(HUGE) == []
    assert page.evaluate(WITHOUT_CAPTION) == []
    assert not page.evaluate(WIDER_THAN_SCREEN)
    assert page.locator("h1").count() == 1
    assert page.locator("html").get_attribute("lang") in LANGUAGES.values() or page.locator("html[lang=en]").count()


def picture(page: Page, name: str) -> None:
    """Keep what the page looks like where somebody wants to see it."""
    folder = os.environ.get("PICTURES")
    if folder:
        language = page.locator("html").get_attribute("lang")
        page.screenshot(path=str(Path(folder) / f"{name}-{language}.png"), full_page=True)

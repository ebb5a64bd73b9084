"""One Chromium for each module, the application for each test, and a page in each language."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from teleread.pipeline.services import Services
from tests.ui.chromium import LANGUAGES, Watched, browser, watched
from tests.ui.live import Web, running

expect.set_options(timeout=20_000)  # a promise is what is shown, not how soon a busy machine shows it


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


@pytest.fixture
def web(services: Services) -> Iterator[Web]:
    with running(services) as started:
        yield started


@pytest.fixture(params=list(LANGUAGES))
def seen(request: pytest.FixtureRequest, chromium: Browser, web: Web) -> Iterator[Watched]:
    with watched(chromium, web, request.param) as found:
        yield found


@pytest.fixture
def english(chromium: Browser, web: Web) -> Iterator[Watched]:
    with watched(chromium, web, "en") as found:
        yield found

"""One Chromium for each module, the application for each test, and a page in each language."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from teleread.pipeline.services import Services
from teleread.testing.line import BadLine, Faults
from tests.ui.chromium import LANGUAGES, Watched, browser, watched
from tests.ui.clinic import BROKEN
from tests.ui.live import Web, named_ecg, running

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

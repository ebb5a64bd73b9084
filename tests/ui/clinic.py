"""What a person does on the clinic's page, and what has arrived."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Locator, Page, expect
from sqlalchemy import func, select

from teleread.pipeline.services import Services
from teleread.storage.catalogue.schema import arrivals
from teleread.testing.line import BadLine, Faults
from tests.ui.axe import violations
from tests.ui.chromium import check

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

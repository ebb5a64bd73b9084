"""axe-core, which knows the rules of WCAG by machine: fetched for tests alone, and only as the file known here."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.conftest import ROOT

VERSION = "4.14.1"
SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"  # of axe.min.js
PLACE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa"]

_RUN = """async (rules) => (await axe.run(document, {runOnly: rules})).violations.map(
  one => one.id + ': ' + one.nodes.map(node => node.html.slice(0, 160)).join(' | '))"""


def source() -> str:
    """axe-core's text; the test is skipped where it is not there and cannot be had."""
    if not PLACE.exists():
        _fetch(PLACE)
    data = PLACE.read_bytes()
    assert hashlib.sha256(data).hexdigest() == SHA256, "another axe-core than the one that is known here"
    return data.decode("utf-8")


def _fetch(place: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no axe-core: needs npm")
    place.parent.mkdir(parents=True, exist_ok=True)
    command = [npm, "pack", "--silent", f"axe-core@{VERSION}"]
    done = subprocess.run(command, cwd=place.parent, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        pytest.skip("no axe-core: npm cannot fetch it")
    with tarfile.open(place.parent / done.stdout.split()[-1]) as archive:
        member: Any = archive.extractfile("package/axe.min.js")
        place.write_bytes(member.read())


def violations(page: Page) -> list[str]:
    """What breaks a rule of WCAG A or AA on the page as it stands."""
    page.evaluate(source())
    found: list[str] = page.evaluate(_RUN, RULES)
    return found

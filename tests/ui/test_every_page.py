"""Every page of the application, made from its routes: open to everybody, in both languages, asking nobody else."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute
from playwright.sync_api import Browser
from pydicom.data import get_testdata_file
from starlette.responses import HTMLResponse

from teleread.pipeline.services import Services
from teleread.web.security import guards, public
from tests.two_tenants import ALLIANCE_WIDE, READERS, SENIORS, World, client_of, routes_of, two_tenants, values
from tests.ui.axe import violations
from tests.ui.chromium import LANGUAGES, Watched, check, picture, watched
from tests.ui.live import upload

pytestmark = pytest.mark.peers

PEOPLE = {"": None, "uploader": "nurse", "reader": READERS["a"], "senior_reader": SENIORS["a"]}
PEOPLE |= {name: name for name in ALLIANCE_WIDE}
"""Who opens a role's pages; "" is nobody."""
ENGLISH = re.compile(r"[A-Za-z][a-z]{2,}(?:[ ,.'’-]+[A-Za-z]{2,}){2,}")
"""Three words of letters in a row: a sentence that nobody has translated."""
WORDS = """() => { const found = []; const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) { const at = walk.currentNode.parentElement;
    if (at && !at.closest('script, style, template, textarea, code, .mono, [lang]:not(html)'))
      found.push(walk.currentNode.textContent.trim()); }
  for (const one of document.querySelectorAll('[title], [aria-label], [placeholder], [alt]'))
    for (const name of ['title', 'aria-label', 'placeholder', 'alt']) found.push(one.getAttribute(name) || '');
  found.push(document.title); return found.filter(one => one); }"""
SAID_BY_PEOPLE = (
    *("wrong label", "Contact a", "Contact b", "reader-b", "senior-b"),
    *("Village Clinic", "Township Clinic", "Lead Hospital", "Other Clinic", "Mortara Instrument, Inc."),
)
"""What people wrote and what is called so: it stands as it is in every language."""


@pytest.fixture
def world(services: Services, tmp_path: Path) -> Iterator[World]:
    with two_tenants(services, tmp_path) as built:
        source = get_testdata_file("CT_small.dcm")
        assert isinstance(source, str)
        with client_of(built, "nurse") as nurse:
            sent = upload(nurse, {"ct.dcm": Path(source).read_bytes()})
            assert sent.status_code == 201
            side = built.sides["a"]
            side.ids["receipt"].append(sent.json()["receipt"])
        with client_of(built, READERS["a"]) as reader:
            listed = re.findall(r'class="open" href="/cases/(\w+)"', reader.get("/worklist").text)
            side.ids["case_id"] += [one for one in listed if one not in side.ids["case_id"]]
        yield built


def pages(world: World, role: str) -> list[str]:
    """The addresses of a role's pages: every route that a browser reads and that answers with a whole page."""
    found = []
    name = PEOPLE[role]
    with world.web.client() if name is None else client_of(world, name) as client:
        for route in routes_of(world.web.app):
            roles = _roles(route)
            if "GET" not in route.methods or route.path.startswith("/api/") or (roles and role not in roles):
                continue
            for chosen in values(route, world.sides["a"]):
                path = route.path.format(**chosen)
                answer = client.get(path)
                kind = answer.headers.get("content-type", "")
                if (
                    answer.status_code == 200
                    and kind.startswith("text/html")
                    and "<!doctype" in answer.text[:99].lower()
                ):
                    found.append(path)
    return found


def _roles(route: APIRoute) -> tuple[str, ...]:
    return guards(route)[0].roles


def untranslated(seen: Watched, people: list[str]) -> list[str]:
    """Texts of a Chinese page that are English sentences."""
    found = []
    for text in seen.page.evaluate(WORDS):
        if any(one in text for side in ("a", "b") for one in (f"Signed words of {side}", f"Typed words of {side}")):
            continue  # a signed document in the language of whoever signed it
        plain = text
        for known in (*SAID_BY_PEOPLE, *people):
            plain = plain.replace(known, "·")
        if ENGLISH.search(plain):
            found.append(text[:120])
    return found


def look(seen: Watched, path: str, language: str, people: list[str]) -> list[str]:
    """Open one page; what is wrong with it."""
    before = len(seen.complaints)
    answer = seen.page.goto(f"{seen.web.address}{path}")
    assert answer is not None
    assert answer.status == 200, path
    seen.page.wait_for_load_state("load")
    if seen.page.locator("canvas#trace").count():
        seen.page.locator("canvas#trace[data-drawn]").wait_for(timeout=120_000)
    found = [f"{path}: {one}" for one in violations(seen.page)]
    try:
        check(seen.page)
    except AssertionError as error:  # told with the others
        at = list(traceback.walk_tb(error.__traceback__))[-1]
        found.append(f"{path}: line {at[1]} of check: {error}")
    if language == "zh":
        found += [f"{path}: in English: {one}" for one in untranslated(seen, people)]
    picture(seen.page, f"page-{path.strip('/').replace('/', '-')[:40]}")
    # taken out of the list: they are told here with the page that they came from
    found += [f"{path}: {one}" for one in seen.complaints[before:]]
    del seen.complaints[before:]
    return found


@pytest.mark.timeout(900)
@pytest.mark.parametrize("language", list(LANGUAGES))
def test_every_page_of_every_role_is_fit_for_everybody(chromium: Browser, world: World, language: str) -> None:
    people = [one for side in world.sides.values() for one in side.people]
    found, opened = [], set()
    for role, name in PEOPLE.items():
        with watched(chromium, world.web, language) as seen:
            if name is not None:
                with client_of(world, name) as client:
                    token = client.cookies["teleread_session"]
                cookie = {"name": "teleread_session", "value": token, "url": world.web.address}
                seen.context.add_cookies([cookie])  # type: ignore[list-item]
            for path in pages(world, role):
                found += look(seen, path, language, people)
                opened.add(path)
    assert not found, "\n".join(found)
    assert len(opened) > 20, sorted(opened)


def test_a_page_that_is_not_fit_is_caught(chromium: Browser, world: World) -> None:
    careless = APIRouter()

    @careless.get("/careless")
    def page(seat: object = public(audit=None)) -> HTMLResponse:
        return HTMLResponse(
            '<!doctype html><html lang="zh-CN"><head><title>页</title></head><body><main><h1>页</h1>'
            '<p style="color:#999">Nobody has translated this sentence.</p><img src="/static/img/none.png">'
            '<img alt="" src="http://elsewhere.invalid/x.png"></main></body></html>'
        )

    world.web.app.include_router(careless)
    assert "/careless" in pages(world, "")
    with watched(chromium, world.web, "zh") as seen:
        found = look(seen, "/careless", "zh", [])
    assert any("image-alt" in one for one in found)
    assert any("in English: Nobody has translated" in one for one in found)
    assert any("404" in one for one in found)

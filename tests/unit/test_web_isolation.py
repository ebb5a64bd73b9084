"""Role × site × route, generated from the application: nobody learns of or touches what is not theirs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute
from sqlalchemy import select, update
from starlette.responses import JSONResponse

from teleread.pipeline.services import Services
from teleread.storage.catalogue.schema import arrivals, reports
from teleread.web.app import create_app
from teleread.web.security import Seat, allow, guards
from tests.two_tenants import (
    ALLIANCE_WIDE,
    NURSES,
    READERS,
    SENIORS,
    Side,
    World,
    ask,
    changed,
    client_of,
    routes_of,
    rows,
    two_tenants,
    values,
)

OWN_ACCOUNT = {
    *("/sign-out", "/account/password", "/account/pin", "/account/sessions/end"),
    *("/second-factor", "/second-factor/begin"),
}
"""Acts on the session or account of whoever asks; there is nobody else's to name in them."""
FOR_ALL_ON_DUTY = {
    "/criticals/{critical_id}/call": "whoever is on duty telephones, and sees no identity",
    "/criticals/{critical_id}/own": "whoever is on duty takes it",
}
WAY_IN = "/cases/{case_id}/break-glass"
"""How another pool's case is opened with a reason, which is recorded and told: tests/unit/test_web_break_glass.py."""
SAID_TO_ALL = {
    ("POST", "/identity/notices/{n}/seen"): "the same for a number that is nobody's; it changes nothing",
    ("POST", "/cases/{case_id}/claim"): "back to the list with a sentence",
    ("GET", "/cases/{case_id}"): "to the page that asks for a reason",
    ("GET", WAY_IN): "that page: a receipt number and no identity",
    ("GET", "/cases/{case_id}/explain"): "why a case is where it is, without identities; for senior readers",
}
"""What a reader of another pool is answered with other than a refusal."""


@pytest.fixture
def world(services: Services, tmp_path: Path) -> Iterator[World]:
    with two_tenants(services, tmp_path) as built:
        yield built


def leaks(world: World, who: str, role: str, side: str, routes: list[APIRoute]) -> list[str]:
    """What somebody of one side learns of the other, or does to it, by these routes."""
    other, found = world.other(side), []
    secrets = [*other.people, *other.words, *(other.numbers if role == "uploader" else ())]
    before = rows(world.web.services)
    with client_of(world, who) as client:
        for route in routes:
            if role not in guards(route)[0].roles or route.path in OWN_ACCOUNT | FOR_ALL_ON_DUTY.keys():
                continue
            for method in sorted(route.methods):
                if (method, route.path) == ("POST", WAY_IN):
                    continue
                for chosen in values(route, other):
                    path = route.path.format(**chosen)
                    status, said = ask(client, route, method, path, other)
                    where = f"{who}: {method} {path}"
                    if chosen and not _refused(role, method, route.path, status):
                        found.append(f"{where} answers {status}")
                    hidden = [one for one in secrets if one not in path]  # a page names its own address
                    found += [f"{where} shows {one}" for one in hidden if one in said]
                after = rows(world.web.services)
                if method not in {"GET", "HEAD", "OPTIONS"}:
                    where = f"{who}: {method} {route.path}"
                    found += [f"{where} changes {one}" for one in _touched(before, after, route, other)]
                before = after
    return found


def _refused(role: str, method: str, path: str, status: int) -> bool:
    if role == "uploader":
        return status == 404 or (method, path) == ("POST", "/identity/notices/{n}/seen")
    return status in {403, 404, 409} or ((method, path) in SAID_TO_ALL and status in {200, 303})


def _touched(
    before: dict[str, frozenset[str]], after: dict[str, frozenset[str]], route: APIRoute, other: Side
) -> list[str]:
    """The tables that an act has changed: at all where its address names the other's things, else the other's rows."""
    if "{" in route.path:
        return changed(before, after)
    theirs = [*other.numbers, *other.ids["item_id"], other.fields["one"], other.fields["other"]]

    def rows_of(found: dict[str, frozenset[str]]) -> dict[str, frozenset[str]]:
        return {
            name: frozenset(one for one in known if any(key in one for key in theirs)) for name, known in found.items()
        }

    return changed(rows_of(before), rows_of(after))


@pytest.mark.parametrize("role", ["uploader", "agent", "reader", "senior_reader"])
def test_nobody_sees_or_touches_what_is_another_sites_or_pools(world: World, role: str) -> None:
    names = {"uploader": NURSES, "reader": READERS, "senior_reader": SENIORS}
    found = []
    for side in world.sides:
        who = f"agent-{side}" if role == "agent" else names[role][side]
        routes = routes_of(world.web.app)
        if role == "agent":  # the rest is a person's: 403, whosever it is
            routes = [one for one in routes if one.path.startswith(("/api/tus", "/api/receipts/", "/api/agents/"))]
        found += leaks(world, who, "uploader" if role == "agent" else role, side, routes)
    assert not found, "\n".join(found)


def test_those_who_look_after_the_whole_see_no_patient(world: World) -> None:
    people = [one for side in world.sides.values() for one in side.people]
    found = []
    for who in ALLIANCE_WIDE:
        with client_of(world, who) as client:
            for route in routes_of(world.web.app):
                if who not in guards(route)[0].roles or "GET" not in route.methods:
                    continue
                for side in world.sides.values():
                    for chosen in values(route, side):
                        path = route.path.format(**chosen)
                        _status, said = ask(client, route, "GET", path, side)
                        found += [f"{who}: {path} shows {one}" for one in people if one in said]
    assert not found, "\n".join(found)


careless = APIRouter()


@careless.get("/api/careless/{receipt}")
def forgets_the_site(seat: Annotated[Seat, allow("uploader", audit=None)], receipt: str) -> JSONResponse:
    with seat.services.catalogue.read() as conn:
        row = conn.execute(select(arrivals).where(arrivals.c.receipt == receipt)).one()
    return JSONResponse({"case": row.case_id})


@careless.post("/api/careless/{receipt}/urgent")
def acts_on_anothers(seat: Annotated[Seat, allow("uploader", audit=None)], receipt: str) -> JSONResponse:
    with seat.services.catalogue.write() as conn:
        conn.execute(update(arrivals).where(arrivals.c.receipt == receipt).values(clinic_priority="high"))
    return JSONResponse({}, 404)


@careless.get("/api/careless/cases/{case_id}")
def forgets_the_pool(seat: Annotated[Seat, allow("reader", audit=None)], case_id: str) -> JSONResponse:
    with seat.services.catalogue.read() as conn:
        found = conn.scalars(select(reports.c.text).where(reports.c.case_id == case_id)).all()
    return JSONResponse({"texts": list(found)}, 403)


@careless.get("/api/careless/things/{thing}")
def has_a_new_parameter(seat: Annotated[Seat, allow("uploader", audit=None)], thing: str) -> JSONResponse:
    return JSONResponse({}, 404)


def test_a_route_that_forgets_whose_it_is_is_caught(world: World) -> None:
    first, act, of_pool, unknown = (route for route in careless.routes if isinstance(route, APIRoute))
    world.web.app.include_router(careless)
    assert any("answers 200" in one for one in leaks(world, "nurse", "uploader", "a", [first]))
    assert leaks(world, "nurse", "uploader", "a", [act]) == [
        "nurse: POST /api/careless/{receipt}/urgent changes arrivals"
    ]
    told = leaks(world, "reader", "reader", "a", [of_pool])
    assert [one.partition(" shows ")[2] for one in told] == ["Signed words of b.", "Signed words of b, again."]
    with pytest.raises(KeyError, match="thing"):
        leaks(world, "nurse", "uploader", "a", [unknown])


def test_every_way_that_is_said_to_be_for_all_is_there(services: Services) -> None:
    """No exception outlives the route that it was made for."""
    known = {(method, route.path) for route in routes_of(create_app(services)) for method in route.methods}
    paths = {path for _method, path in known}
    assert paths >= OWN_ACCOUNT | FOR_ALL_ON_DUTY.keys() | {WAY_IN}
    assert known >= SAID_TO_ALL.keys()

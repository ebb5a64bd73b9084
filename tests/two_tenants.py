"""Two sites and two pools that must know nothing of each other, and what every route can be asked about them."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from fastapi.routing import APIRoute
from sqlalchemy import Connection, select, update

from teleread.pipeline.route import Rerouting
from teleread.pipeline.services import Services
from teleread.pipeline.sweep import sweep_web
from teleread.reading import claims, critical_rows, criticals, drafts, second
from teleread.reading.claims import Reach
from teleread.reading_room import Contact, Licence, Pool, ReadingRoom, Route
from teleread.storage import accounts, agents
from teleread.storage.catalogue import schema
from teleread.web import certificates
from tests.criticals import SINCE
from tests.ecgs import ecg
from tests.signing import give_pin, sign_report
from tests.ui.live import BROKEN_DICOM, PASSWORD, Page, Web, running, upload

SITES = {"a": "village", "b": "other"}
NURSES = {"a": "nurse", "b": "stranger"}
READERS = {"a": "reader", "b": "reader-b"}
SENIORS = {"a": "senior", "b": "senior-b"}
ALLIANCE_WIDE = ("coordinator", "engineer", "auditor", "administrator")
"""They belong to no site and no pool, and see no patient's name."""
NAMES = {
    "a": ("Aardvark^Anna=甲^安娜", "Applewood^Arthur=甲^亚瑟", "Ashgrove^Alice=甲^爱丽"),
    "b": ("Birchtree^Bella=乙^贝拉", "Blackwell^Boris=乙^伯里", "Brookside^Betty=乙^贝蒂"),
}


@dataclass
class Side:
    """All that one site and its pool have.

    Args:
        ids: by the name of a path's parameter, what can stand there.
        people: names and numbers of patients: for nobody without a licence for the pool, and for no other site.
        words: what was written: reports and drafts.
        numbers: receipts and ids, which another site does not learn.
        fields: what a form or a body would name to act on this side.
    """

    name: str
    ids: dict[str, list[str]] = field(default_factory=dict)
    people: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    numbers: list[str] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)


@dataclass
class World:
    """The application with both sides in it."""

    web: Web
    sides: dict[str, Side]
    tokens: dict[str, str]  # of the agents, by side

    def other(self, side: str) -> Side:
        return self.sides["b" if side == "a" else "a"]


CONSTANT = {"name": ["picture.png"], "flag": ["st_elevation_inferior"], "part": ["display", "wave"]}
"""Parameters that name no thing of anybody's."""
BY_ROUTE = {"/identity/notices/{n}/seen": {"n": "notice"}, "/api/instances/{arrival_id}/frames/{n}.png": {"n": "frame"}}
"""Where a parameter's name means something else from route to route."""


def values(route: APIRoute, side: Side) -> Iterator[dict[str, str]]:
    """What can stand in a route's path for a side's things.

    Raises:
        KeyError: a parameter that nobody has said anything about: say in ``Side.ids`` or ``CONSTANT`` how it is filled.
    """
    names = re.findall(r"{(\w+)(?::\w+)?}", route.path)
    kinds = [BY_ROUTE.get(route.path, {}).get(name, name) for name in names]
    known = [CONSTANT[kind] if kind in CONSTANT else side.ids[kind] for kind in kinds]
    for chosen in product(*known):
        yield dict(zip(names, chosen, strict=True))


def routes_of(app: FastAPI) -> list[APIRoute]:
    return [route for route in app.routes if isinstance(route, APIRoute)]


def room(services: Services) -> ReadingRoom:
    """A pool for each site, a reader and a senior reader for each pool."""
    return ReadingRoom(
        pools=(Pool("pool-a", "甲", "A", SINCE), Pool("pool-b", "乙", "B", SINCE)),
        routes=tuple(Route(f"to-{side}", f"pool-{side}", SINCE, site=(site,)) for side, site in SITES.items()),
        licences=tuple(
            Licence(who[side], SINCE, pool=(f"pool-{side}",)) for who in (READERS, SENIORS) for side in SITES
        ),
        contacts=tuple(
            Contact(f"contact-{side}", site, f"Contact {side}", SINCE, email=f"{side}@clinic.invalid", telephone="1")
            for side, site in SITES.items()
        ),
    )


@contextmanager
def two_tenants(services: Services, folder: Path, **options: Any) -> Iterator[World]:
    """Serve an alliance in which both sides have something of everything."""
    own = replace(services, alliance=replace(services.alliance, room=room(services)))
    authority = certificates.agents_authority(folder / "tls", own.clock())
    with running(own, agents_authority=authority, **options) as web:
        with own.catalogue.write() as conn:
            for name, role in ((READERS["b"], "reader"), (SENIORS["b"], "senior_reader")):
                accounts.create_account(conn, name, PASSWORD, role, None, own.clock())
        world = World(web, {name: Side(name) for name in SITES}, {})
        for side in world.sides.values():
            _send(world, side)
            world.tokens[side.name] = _enrol(world, side)
        for side in world.sides.values():
            _break_glass(world, side)
        with own.catalogue.write() as conn:  # by the clock, an urgent case would open to all readers meanwhile
            conn.execute(update(schema.break_glass).values(ends_at=own.clock()))
        for side in world.sides.values():
            _read(world, side)
        sweep_web(own)
        Rerouting(own)()
        for side in world.sides.values():
            _know(world, side)
        yield world


@contextmanager
def client_of(world: World, name: str) -> Iterator[Page]:
    """Somebody of the world with a session; ``agent-a`` with a token."""
    web = world.web
    with web.client() as client:
        if name.startswith("agent-"):
            client.headers["authorization"] = f"Bearer {world.tokens[name[-1]]}"
            yield client
            return
        answer = client.post("/sign-in", data={"name": name, "password": PASSWORD})
        assert answer.status_code == 303, answer.text
        web.pass_second_factor(name)
        client.who = name
        yield client


def _send(world: World, side: Side) -> None:
    """Three ECGs, one thing that nobody can read, one question about who is who, and an upload that is on its way."""
    first = {"a": 1, "b": 21}[side.name]
    with client_of(world, NURSES[side.name]) as nurse:
        for number, name in enumerate(NAMES[side.name]):
            patient_id = f"{side.name}{side.name}7700{number}"
            data = ecg(patient_id=patient_id, name=name, seed=first + number)
            assert upload(nurse, {"ecg.dcm": data}, urgent=number == 2).status_code == 201
            latin, _, chinese = name.partition("=")
            side.people += [patient_id, latin.partition("^")[0], chinese.replace("^", "")]
        again = ecg(patient_id=f"{side.name}{side.name}88001", name=NAMES[side.name][0], seed=first + 9)
        assert upload(nurse, {"ecg.dcm": again}).status_code == 201
        side.people.append(f"{side.name}{side.name}88001")
        assert upload(nurse, {"broken.dcm": BROKEN_DICOM + side.name.encode()}).status_code == 201
        said = base64.b64encode(f"way-{side.name}.dcm".encode()).decode()
        headers = {"Tus-Resumable": "1.0.0", "Upload-Length": "9000", "Upload-Metadata": f"filename {said}"}
        begun = nurse.post("/api/tus", headers=headers)
        assert begun.status_code == 201, begun.text
        side.ids["identifier"] = [begun.headers["location"].rpartition("/")[2]]


def _enrol(world: World, side: Side) -> str:
    services = world.web.services
    with services.catalogue.write() as conn:
        code = agents.invite(conn, SITES[side.name], f"PC {side.name}", services.clock(), actor="engineer")
    with httpx.Client(base_url=world.web.address, trust_env=False) as agent:
        return str(agent.post("/api/agents/enrol", json={"code": code}).json()["token"])


def _read(world: World, side: Side) -> None:
    """One case is signed as critical, one is being read with a draft and something critical, one is corrected."""
    services, who = world.web.services, READERS[side.name]
    give_pin(services, who)
    give_pin(services, SENIORS[side.name])
    now, site = services.clock(), SITES[side.name]
    with services.catalogue.write() as conn:
        cases = list(
            conn.scalars(
                select(schema.work_items.c.case_id)
                .where(schema.work_items.c.site_id == site, schema.work_items.c.modality == "ECG")
                .order_by(schema.work_items.c.created_at, schema.work_items.c.rank)
                .distinct()
            )
        )
        signed, open_one, corrected = cases[:3]
        text, draft = f"Signed words of {side.name}.", f"Typed words of {side.name}."
        side.words += [text, draft]
        report = sign_report(conn, signed, text=text, critical=True, signed_by=who, at=now)
        held = claims.claim_case(conn, open_one, Reach(who, (f"pool-{side.name}",)), now)
        body = {"statements": [], "text": draft, "comparison": "", "technical": "", "critical": False}
        drafts.save(conn, open_one, held.item_id, held.fence, who, body, 0, now)
        criticals.raise_critical(conn, open_one, ["st_elevation_inferior"], who, now)
        beside, item = _read_again(conn, side, signed, now)
        asked = second.ask_opinion(
            conn, held.item_id, who, held.fence, now, waits=False, question=f"Typed words of {side.name}, asked."
        )
        side.words.append(f"Typed words of {side.name}, asked.")
        side.ids["beside"] = [beside, asked]
        side.ids["critical_id"] = [one.id for case in cases for one in critical_rows.of_case(conn, case)]
    side.ids["item_id"] = [held.item_id, item]
    side.fields = {
        "item_id": held.item_id,
        "fence": str(held.fence),
        "report": report.id,
        "replaces": report.id,
        "case": signed,
        "back": "/upload",
    }
    with client_of(world, who) as reader:
        for case in (signed, corrected):
            done = reader.post(f"/cases/{case}/identity", data={"act": "open", "reason": "wrong label"})
            assert done.status_code == 303, done.text
            if case == signed:
                assert reader.post(f"/cases/{case}/identity", data={"act": "confirm"}).status_code == 303


def _read_again(conn: Connection, side: Side, signed: str, now: datetime) -> tuple[str, str]:
    """The critical case is read a second time, which waits to be graded; its case and work item."""
    (reading,) = second.open_children(conn, signed, ["second_reading"])
    text = f"Signed words of {side.name}, again."
    side.words.append(text)
    report = sign_report(conn, reading.case_id, text=text, signed_by=SENIORS[side.name], at=now)
    return reading.case_id, str(report.item_id)


def _break_glass(world: World, side: Side) -> None:
    """The other side's reader has opened a case with a reason, and the hour is over."""
    other = next(one for one in SITES if one != side.name)
    with world.web.services.catalogue.read() as conn:
        query = select(schema.work_items.c.case_id).where(schema.work_items.c.site_id == SITES[side.name])
        case = conn.scalar(query.limit(1))
    with client_of(world, READERS[other]) as stranger:
        taken = stranger.post(f"/cases/{case}/break-glass", data={"reason": "emergency"})
        assert taken.status_code == 303, taken.text


def _know(world: World, side: Side) -> None:
    """Every id that a side's things have."""
    services, site = world.web.services, SITES[side.name]
    with services.catalogue.read() as conn:
        sent = conn.execute(select(schema.arrivals).where(schema.arrivals.c.site_id == site)).all()
        questions = conn.execute(
            select(schema.identity_questions).where(schema.identity_questions.c.site_id == site)
        ).all()
        cases = [one.case_id or one.id for one in sent]
        told = select(schema.notices.c.id).where(schema.notices.c.case_id.in_(cases))
        side.ids |= {
            "case_id": [*dict.fromkeys(cases), *side.ids.pop("beside")],
            "arrival_id": [one.id for one in sent],
            "receipt": [one.receipt for one in sent],
            "question_id": [one.id for one in questions],
            "notice": [str(one) for one in conn.scalars(told)],
            "number": [
                str(one)
                for one in conn.scalars(select(schema.break_glass.c.id).where(schema.break_glass.c.case_id.in_(cases)))
            ],
        }
        names = conn.scalars(
            select(schema.work_items.c.patient_pseudonym).where(schema.work_items.c.site_id == site).distinct()
        )
        known = [one for one in names if one]
    side.ids |= {
        "frame": ["0"],
        "account": [NURSES[side.name], READERS[side.name]],
        "contact_id": [f"contact-{side.name}"],
    }
    side.fields |= {"one": known[0], "other": known[1]}
    side.numbers = [*side.ids["receipt"], *side.ids["case_id"], *side.ids["critical_id"]]
    empty = [kind for kind, found in side.ids.items() if not found]
    assert not empty, f"nothing of {empty} on side {side.name}: what is not there cannot leak"


WORDS: Mapping[str, str] = {
    "act": "open",
    "answer": "same",
    "name": "Dr Nobody",
    "outcome": "read_back",
    "verdict": "rejected",
    "text": "Foreign words.",
    "kind": "addendum",
    "pin": "271828",
    "how": "consultation",
    "question": "Foreign question?",
    "grade": "3",
    "note": "Foreign note.",
    "chest_pain": "now",
    "code_st_elevation_inferior": "1",
    "to": "all",
    "role": "auditor",
    "display_name": "Nobody",
}
REASONS = {
    "/cases/{case_id}/break-glass": "emergency",
    "/cases/{case_id}/release": "interrupted",
}


def ask(client: httpx.Client, route: APIRoute, method: str, path: str, side: Side) -> tuple[int, str]:
    """One request with everything in it that would act on a side's things; status, and all that it answers."""
    fields = {**WORDS, **side.fields, "reason": REASONS.get(route.path, "balance")}
    more: dict[str, Any] = {"headers": {"Tus-Resumable": "1.0.0"}}
    if method == "GET" and route.path.startswith("/api/"):  # a page says its own address again
        more["params"] = {"shown": ",".join(side.ids["case_id"]), "of": side.fields["case"], "since": "0"}
    elif route.path == "/api/cases/{case_id}/draft":
        more["json"] = {
            **{name: fields[name] for name in ("item_id", "fence")},
            "revision": 0,
            "body": {"statements": [], "text": "x", "comparison": "", "technical": "", "critical": False},
        }
    elif route.body_field is not None:
        more["json"] = {"fence": int(fields["fence"]), "on": False}
    elif method == "PATCH":
        more["content"] = b"x"
        more["headers"] |= {"Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
    elif method not in {"HEAD", "DELETE", "OPTIONS"}:
        more["data"] = fields
    with client.stream(method, path, **more) as answer:
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            return answer.status_code, ""  # it never ends; what it says is a number
        body = answer.read().decode("utf-8", "replace")
    return answer.status_code, f"{body}\n{answer.headers}"


Rows = dict[str, frozenset[str]]

OF_ITS_OWN = {
    "audit_events",  # what was tried may stand there
    "sessions",
    "sign_in_attempts",
    "readers",
    "catalogue_readers",
}


def rows(services: Services) -> Rows:
    """Every row of the catalogue as text, but for those that any request may write."""
    found: Rows = {}
    with services.catalogue.read() as conn:
        for table in schema.metadata.sorted_tables:
            if table.name not in OF_ITS_OWN and not table.name.startswith("audit"):
                found[table.name] = frozenset(repr(tuple(row)) for row in conn.execute(select(table)))
    return found


def changed(before: Rows, after: Rows) -> list[str]:
    """The tables in which something is otherwise."""
    return [name for name in before if before[name] != after[name]]

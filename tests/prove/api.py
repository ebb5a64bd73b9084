"""Calls that Schemathesis makes from the application's own OpenAPI description: no 5xx, and each error has its code.

Schemathesis is no dependency of ours: ``pip install schemathesis`` beside the development tools, else it is skipped.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from fastapi.routing import APIRoute
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from teleread.alliance import Alliance, Connection, Site
from teleread.ingest.bounded import BoundedPool
from teleread.pipeline.services import Services
from teleread.storage import accounts
from teleread.storage.catalogue.database import Database
from teleread.storage.objects import FileBlobs, SealedStore
from teleread.storage.vault import KeyRing, Vault
from teleread.web.security import guards
from tests.conftest import Clock
from tests.criticals import SINCE
from tests.two_tenants import (
    ALLIANCE_WIDE,
    NURSES,
    READERS,
    SENIORS,
    SITES,
    WORDS,
    World,
    client_of,
    routes_of,
    two_tenants,
    values,
)
from tests.ui.live import PASSWORD

CALLS_EACH, ROUNDS = 10, 10
"""Calls of an operation at a time, and how often it is its turn: with a hundred operations 10,000 calls."""
NEVER_ENDS = "/api/worklist/live"
MISSING = "schemathesis is not installed"
_NAMES = ("reason", "code", "password", "new", "again", "old", "next", "language", "pool", "n", "priority", "text", "x")
_ODD = st.text(max_size=40) | st.sampled_from(["", "0", "-1", "9" * 30, "1e309", "\0", "\ud7ff", "{}", "null", "%00"])


def is_there() -> bool:
    return importlib.util.find_spec("schemathesis") is not None


@dataclass
class Callers:
    """Somebody signed in for each role and side, signed in again where a call has ended the session."""

    world: World
    clients: dict[str, httpx.Client] = field(default_factory=dict)
    stack: ExitStack = field(default_factory=ExitStack)
    n_calls: int = 0
    statuses: dict[int, int] = field(default_factory=dict)

    def of(self, roles: tuple[str, ...]) -> list[str]:
        """Who may use a route; of a public one everybody, and nobody."""
        known = {"uploader": NURSES, "reader": READERS, "senior_reader": SENIORS}
        people = [who for role, both in known.items() if not roles or role in roles for who in both.values()]
        people += [who for who in ALLIANCE_WIDE if not roles or who in roles]
        return [*people, "agent-a"] if "uploader" in roles else people or [""]

    def client(self, who: str) -> httpx.Client:
        if who not in self.clients:
            self.world.web.services.clock.advance(61)  # type: ignore[attr-defined]
            self.clients[who] = self.stack.enter_context(client_of(self.world, who))
        return self.clients[who]

    def call(self, who: str, method: str, path: str, **more: Any) -> httpx.Response:
        answer = self.client(who).request(method, path, **more)
        if answer.status_code == 401:
            del self.clients[who]
            answer = self.client(who).request(method, path, **more)
        self.n_calls += 1
        self.statuses[answer.status_code] = self.statuses.get(answer.status_code, 0) + 1
        return answer


def check(answer: httpx.Response) -> None:
    """No fault of ours, and an error that a program can tell by its code."""
    where = f"{answer.request.method} {answer.request.url} → {answer.status_code}: {answer.text[:300]}"
    assert answer.status_code < 500, where
    is_json = answer.headers.get("content-type", "").startswith("application/json")
    if answer.status_code >= 400 and is_json and answer.request.method != "HEAD":
        assert answer.json()["error"]["code"], where


def operations(world: World) -> list[tuple[APIRoute, Any]]:
    """Every route with what Schemathesis makes of its description."""
    import schemathesis

    schema = schemathesis.openapi.from_dict(world.web.app.openapi())
    by_path = {(method, route.path): route for route in routes_of(world.web.app) for method in route.methods}
    found = []
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path != NEVER_ENDS:
            found.append((by_path[operation.method.upper(), operation.path], operation))
    return found


def try_operation(callers: Callers, route: APIRoute, operation: Any, number: int, calls: int) -> None:
    """So many calls of one operation, by whoever may use it: half of them with ids that are there."""
    sides = list(callers.world.sides.values())
    real = [chosen for side in sides for chosen in values(route, side)]
    known = sorted({one for side in sides for one in (*side.fields.values(), *WORDS.values())})
    names = sorted({*sides[0].fields, *WORDS, *_NAMES})
    forms = st.dictionaries(st.sampled_from(names), st.sampled_from(known) | _ODD, max_size=8)
    headers = st.sampled_from([{}, {"Tus-Resumable": "1.0.0", "Upload-Length": "10", "Upload-Offset": "0"}])

    @seed(number)
    @settings(
        max_examples=calls,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        case=operation.as_strategy(),
        who=st.sampled_from(callers.of(guards(route)[0].roles)),
        chosen=st.none() | st.sampled_from(real),
        form=st.none() | forms,
        more=headers,
    )
    def one(case: Any, who: str, chosen: dict[str, str] | None, form: dict[str, str] | None, more: Any) -> None:
        if chosen:
            case.path_parameters = {**(case.path_parameters or {}), **chosen}
        sent = case.as_transport_kwargs(base_url=callers.world.web.address)
        body = {name: sent[name] for name in ("json", "data") if sent.get(name) is not None}
        if not body and form is not None and case.method.upper() not in {"GET", "HEAD", "OPTIONS"}:
            body = {"data": form}
        check(callers.call(who, case.method.upper(), sent["url"], params=sent.get("params"), headers=more, **body))

    one()


@contextmanager
def called(services: Services, folder: Path) -> Iterator[Callers]:
    """The world and who calls it; a person is there whom administrators may do everything to."""
    with two_tenants(services, folder) as world, ExitStack() as stack:
        with services.catalogue.write() as conn:
            accounts.create_account(conn, "victim", PASSWORD, "reader", None, services.clock())
        for side in world.sides.values():
            side.ids["account"] = ["victim"]
        yield Callers(world, stack=stack)


class _Proof:
    """One operation's turn for each number."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers
        self._known = operations(callers.world)
        self.count = ROUNDS * len(self._known)

    def __call__(self, number: int) -> None:
        route, operation = self._known[number % len(self._known)]
        try_operation(self._callers, route, operation, number, CALLS_EACH)
        print(f"{self._callers.n_calls} calls, {dict(sorted(self._callers.statuses.items()))}", flush=True)


@contextmanager
def api_calls() -> Iterator[Callable[[int], None]]:
    """Every operation called at random; nothing where Schemathesis is not installed."""
    if not is_there():
        print(f"{MISSING}: skipped", flush=True)
        nothing: Any = lambda number: None  # noqa: E731
        nothing.__dict__["count"] = 0
        yield nothing
        return
    with tempfile.TemporaryDirectory() as name, BoundedPool(workers=1) as pool:
        folder = Path(name)
        with called(_services(folder, pool), folder) as callers:
            yield _Proof(callers)


def _services(folder: Path, pool: BoundedPool) -> Services:
    clock = Clock()
    sites = {one: Site(one, one, one, "member") for one in SITES.values()}
    connections = tuple(Connection(one, "web", SINCE) for one in sites)
    alliance = Alliance("医联体", "Alliance", "0571-0", 480, sites, (), connections)
    catalogue = Database(f"sqlite:///{folder / 'catalogue.db'}")
    catalogue.migrate()
    ring = KeyRing.open(folder / "keys.json", clock=clock)
    vault = Vault(f"sqlite:///{folder / 'vault.db'}", ring)
    vault.migrate()
    return Services(
        alliance=alliance,
        catalogue=catalogue,
        store=SealedStore(FileBlobs(folder / "objects"), vault.keys),
        ring=ring,
        vault=vault,
        make_pool=lambda: pool,
        clock=clock,
        spool_folder=folder / "spool",
    )

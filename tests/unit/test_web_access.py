"""Who may do what: sessions, roles, origins, and headers on every answer."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from sqlalchemy import select

from teleread.errors import Misconfigured
from teleread.pipeline.services import Services
from teleread.storage import accounts
from teleread.storage.catalogue.schema import audit_events
from teleread.web import app as web_app
from teleread.web import security
from teleread.web.app import create_app
from teleread.web.pages import offline
from teleread.web.security import ROLES, SESSION_COOKIE, Seat, allow, guards
from tests.conftest import Clock
from tests.ui.live import ACCOUNTS, PASSWORD, Web, upload, wfdb

NAME_OF_ROLE = {
    "uploader": "nurse",
    "reader": "reader",
    "senior_reader": "senior",
    "coordinator": "coordinator",
    "engineer": "engineer",
    "auditor": "auditor",
    "administrator": "administrator",
}
NOBODYS_ID = "0" * 32


@pytest.mark.parametrize(("name", "home"), [("nurse", "/upload"), ("reader", "/worklist"), ("engineer", "/engineer")])
def test_sign_in_leads_to_ones_own_page_with_a_guarded_cookie(web: Web, name: str, home: str) -> None:
    with web.client() as client:
        answer = client.post("/sign-in", data={"name": name.upper(), "password": PASSWORD})
        assert (answer.status_code, answer.headers["location"]) == (303, home)
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert client.get(home).status_code == 200
        assert client.get("/sign-in").headers["location"] == home


def test_cookie_is_secure_where_the_page_is(web: Web) -> None:
    with web.client(headers={"x-forwarded-proto": "https"}) as client:
        answer = client.post("/sign-in", data={"name": "nurse", "password": PASSWORD})
        assert "secure" in answer.headers["set-cookie"].lower()


def test_the_worker_is_for_the_clinics_page_alone_and_its_shell_names_nobody(web: Web) -> None:
    with web.client() as client:
        worker = client.get("/clinic-worker.js")
        assert worker.headers["content-type"].startswith("text/javascript")
        assert worker.headers["service-worker-allowed"] == "/upload"
        assert worker.headers["cache-control"] == "no-store"
        assert offline.version() in worker.text
        assert client.get("/upload/shell").status_code == 303
    with web.signed_in("nurse") as nurse:
        page, shell = nurse.get("/upload"), nurse.get("/upload/shell")
        for name in ("teleread-shell", "teleread-static", "content-security-policy"):
            assert page.headers[name] == shell.headers[name]
        assert "nurse" in page.text
        assert "nurse" not in shell.text
    for role in ("reader", "engineer"):
        with web.signed_in(role) as other:
            assert other.get("/upload/shell").status_code == 403


@pytest.mark.parametrize("name", ["nurse", "nobody", "' OR 1=1 --", ""])
def test_wrong_password_opens_nothing_and_names_no_account(web: Web, name: str) -> None:
    with web.client() as client:
        answer = client.post("/sign-in", data={"name": name, "password": "wrong"})
        assert answer.status_code == 401
        assert "Name or password is wrong." in answer.text
        assert SESSION_COOKIE not in client.cookies


def test_sixth_attempt_in_a_minute_is_refused_even_with_the_right_password(web: Web, clock: Clock) -> None:
    with web.client() as client:
        for _ in range(5):
            assert client.post("/sign-in", data={"name": "nurse", "password": "wrong"}).status_code == 401
        refused = client.post("/sign-in", data={"name": "nurse", "password": PASSWORD})
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "60"
        clock.advance(61)
        assert client.post("/sign-in", data={"name": "nurse", "password": PASSWORD}).status_code == 303


def test_one_address_cannot_try_many_names(web: Web) -> None:
    with web.client() as client:
        tries = [{"name": f"n{n}", "password": "x" * 9} for n in range(31)]
        codes = [client.post("/api/sign-in", data=one).status_code for one in tries]
    assert codes == [401] * 30 + [429]


def test_signing_out_ends_the_session_everywhere(web: Web) -> None:
    with web.signed_in("reader") as client:
        token = client.cookies[SESSION_COOKIE]
        assert client.post("/sign-out").status_code == 303
        again = httpx.get(f"{web.address}/worklist", cookies={SESSION_COOKIE: token})
        assert again.status_code == 303
        assert again.headers["location"] == "/sign-in?next=/worklist"


def test_session_ends_after_a_shift(web: Web, clock: Clock) -> None:
    with web.signed_in("reader") as client:
        clock.advance(12 * 3600 + 1)
        assert client.get("/api/worklist/changes").status_code == 401


@pytest.mark.parametrize(
    ("wanted", "led_to"),
    [
        ("/cases/abc", "/cases/abc"),
        ("//evil.example", "/worklist"),
        ("https://evil.example", "/worklist"),
        ("/\\evil.example", "/worklist"),
        ("/a\r\nset-cookie: x=y", "/worklist"),
    ],
)
def test_sign_in_leads_nowhere_else(web: Web, wanted: str, led_to: str) -> None:
    with web.client() as client:
        answer = client.post("/sign-in", data={"name": "reader", "password": PASSWORD, "next": wanted})
        assert answer.headers["location"] == led_to


def routes(app: FastAPI) -> list[APIRoute]:
    return [route for route in app.routes if isinstance(route, APIRoute)]


def test_matrix_of_roles_and_routes(web: Web) -> None:
    """Every route, every role: whoever is not named is refused, nobody at all is sent to sign in."""
    wrong = []
    with ExitStack() as stack:
        clients = {role: stack.enter_context(web.signed_in(name)) for role, name in NAME_OF_ROLE.items()}
        nobody = stack.enter_context(web.client())
        for route in routes(web.app):
            allowed = guards(route)[0].roles
            path = route.path.format(
                case_id=NOBODYS_ID,
                arrival_id=NOBODYS_ID,
                receipt="NONE-NONE-NONE",
                n=0,
                question_id=NOBODYS_ID,
                identifier=NOBODYS_ID,
                item_id=NOBODYS_ID,
                part="wave",
                name="picture.png",
                account="nobody",
                number=0,
                flag="asystole",
                critical_id=NOBODYS_ID,
                contact_id="nobody",
            )
            if path in {"/sign-out", "/account/sessions/end", "/second-factor", "/second-factor/begin"} or not allowed:
                continue
            for method in route.methods or ():
                for role in ROLES:
                    with clients[role].stream(method, path) as answer:  # one of them never ends by itself
                        status = answer.status_code
                    if (status == 403) == (role in allowed) or status in {401, 500}:
                        wrong.append((method, path, role, status))
                answer = nobody.request(method, path)
                leads_in = answer.status_code == 303 and answer.headers["location"].startswith("/sign-in")
                if not (answer.status_code == 401 or leads_in):
                    wrong.append((method, path, "nobody", answer.status_code))
    assert wrong == []


def test_a_route_without_declaration_stops_the_start(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    careless = APIRouter()

    @careless.get("/everything")
    def everything() -> dict[str, str]:
        return {}

    monkeypatch.setattr(web_app.health, "router", careless)
    with pytest.raises(Misconfigured, match="route_without_guard"):
        create_app(services)


def test_a_route_declares_once(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    careless = APIRouter()

    @careless.get("/twice")
    def twice(
        one: Annotated[Seat, allow("reader", audit=None)], two: Annotated[Seat, allow("engineer", audit=None)]
    ) -> dict[str, str]:
        return {}

    monkeypatch.setattr(web_app.health, "router", careless)
    with pytest.raises(Misconfigured, match="route_without_guard"):
        create_app(services)


def test_roles_are_those_of_the_accounts() -> None:
    assert set(ROLES) == set(accounts.ROLES)


CROSS_SITE = [
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"origin": "https://evil.example", "sec-fetch-site": "cross-site"},
    {},
]


@pytest.mark.parametrize("headers", CROSS_SITE, ids=str)
def test_another_sites_page_cannot_act_for_a_signed_in_nurse(web: Web, headers: dict[str, str]) -> None:
    with web.signed_in("nurse") as client:
        cookies = dict(client.cookies)
    with httpx.Client(base_url=web.address, headers=headers, cookies=cookies) as client:
        refused = upload(client, wfdb())
        assert refused.status_code == 403
        assert refused.json()["error"]["code"] == "cross_site_request"


def test_without_the_origin_check_another_site_could_act(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "check_origin", lambda request, needed: None)
    with web.signed_in("nurse") as client:
        cookies = dict(client.cookies)
    with httpx.Client(base_url=web.address, headers=CROSS_SITE[0], cookies=cookies) as client:
        assert upload(client, wfdb()).status_code == 201


def test_agent_signs_in_with_a_token_and_needs_no_origin(web: Web) -> None:
    with httpx.Client(base_url=web.address) as agent:
        token = agent.post("/api/sign-in", data={"name": "nurse", "password": PASSWORD}).json()["token"]
        agent.headers["authorization"] = f"Bearer {token}"
        assert upload(agent, wfdb()).status_code == 201
        agent.headers["authorization"] = "Bearer wrong"
        assert upload(agent, wfdb()).status_code == 401


EVERYWHERE = [
    "/sign-in",
    "/worklist",
    "/upload",
    "/engineer",
    "/healthz",
    "/readyz",
    "/static/css/base.css",
    "/static/nothing",
    "/nothing",
    "/api/nothing",
    f"/cases/{NOBODYS_ID}",
]


@pytest.mark.parametrize("name", [None, *ACCOUNTS])
def test_every_answer_carries_the_security_headers(web: Web, name: str | None) -> None:
    with web.client() if name is None else web.signed_in(name) as client:
        for path in EVERYWHERE:
            headers = client.get(path).headers
            assert "default-src 'self'" in headers["content-security-policy"], path
            assert "frame-ancestors 'none'" in headers["content-security-policy"], path
            assert "unsafe" not in headers["content-security-policy"], path
            assert headers["x-content-type-options"] == "nosniff", path
            assert headers["referrer-policy"] == "same-origin", path
            assert headers["cache-control"] == ("no-cache" if path.startswith("/static/") else "no-store"), path


def test_a_fault_of_ours_is_answered_in_plain_words_with_the_headers(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object, **_more: object) -> None:
        raise RuntimeError("王小东")

    monkeypatch.setattr("teleread.web.queries.totals", broken)
    with web.signed_in("engineer") as client:
        answer = client.get("/engineer")
    assert answer.status_code == 500
    assert "Something went wrong on our side." in answer.text
    assert "王小东" not in answer.text
    assert "content-security-policy" in answer.headers
    assert answer.headers["cache-control"] == "no-store"


def test_errors_say_what_happened_what_is_lost_and_what_to_do(web: Web) -> None:
    with web.client() as client:
        error = client.get("/api/worklist/changes").json()["error"]
    assert error["code"] == "sign_in_needed"
    assert all(error[part] for part in ("what", "lost", "todo", "telephone"))


def test_oversized_forms_are_refused(web: Web) -> None:
    with web.client() as client:
        answer = client.post("/sign-in", data={"name": "n", "password": "x" * 70_000})
    assert answer.status_code == 413


def test_language_is_remembered_and_stands_on_the_page(web: Web) -> None:
    with web.client(headers={"accept-language": "zh-CN"}) as client:
        assert '<html lang="zh-CN">' in client.get("/sign-in").text
        answer = client.post("/language", data={"language": "en", "back": "/sign-in?next=/worklist"})
        assert answer.headers["location"] == "/sign-in?next=/worklist"
        assert '<html lang="en">' in client.get("/sign-in").text
        assert client.post("/language", data={"language": "xx", "back": "//evil"}).headers["location"] == "/"


def test_signing_in_and_out_is_audited(web: Web) -> None:
    with web.client() as client:
        client.post("/sign-in", data={"name": "reader", "password": "wrong"})
    with web.signed_in("reader") as client:
        client.post("/sign-out")
    with web.services.catalogue.read() as conn:
        events = conn.execute(select(audit_events.c.actor, audit_events.c.action)).all()
    assert ("anonymous", "sign_in_failed") in events
    assert ("reader", "sign_in") in events
    assert ("reader", "sign_out") in events


def test_alive_and_ready(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    from teleread.errors import StorageError

    with web.client() as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get("/readyz").status_code == 200

        def full(*_args: object, **_more: object) -> None:
            raise StorageError("store_full", "No room.")

        monkeypatch.setattr(type(web.services.store), "put", full)
        failing = client.get("/readyz")
        assert (failing.status_code, failing.json()["failing"]) == (503, ["store"])
        assert client.get("/healthz").status_code == 200

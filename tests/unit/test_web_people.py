"""Accounts, second factors and the audit trail over the web."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import httpx
import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from sqlalchemy import select

from teleread.errors import Conflict
from teleread.storage import accounts, people
from teleread.storage.catalogue import schema
from tests.ui.live import PASSWORD, Web


def code_of(secret: str, at: float) -> str:
    key = base64.b32decode(secret.replace(" ", ""))
    return TOTP(key, 6, SHA1(), 30).generate(int(at)).decode()


def enrol(client: httpx.Client, now: float) -> str:
    """Make a second factor and give its first code; returns the secret."""
    client.post("/second-factor/begin")
    found = re.search(r'class="secret mono">([A-Z2-7 ]+)<', client.get("/second-factor").text)
    assert found is not None
    secret = found.group(1)
    assert client.post("/second-factor", data={"code": code_of(secret, now)}).status_code == 303
    return secret


@contextmanager
def sign_in(web: Web, name: str, password: str = PASSWORD) -> Iterator[httpx.Client]:
    with web.client() as client:
        answer = client.post("/sign-in", data={"name": name, "password": password})
        assert answer.status_code == 303, answer.text
        yield client


def test_an_administrator_does_nothing_without_a_second_factor(web: Web) -> None:
    now = web.services.clock().timestamp()
    with sign_in(web, "administrator") as client:
        answer = client.get("/people")
        assert (answer.status_code, answer.headers["location"]) == (303, "/second-factor")
        assert client.post("/people", data={"name": "x", "role": "reader"}).status_code == 401
        enrol(client, now)
        assert client.get("/people").status_code == 200


def test_a_code_is_good_once_and_a_wrong_one_never(web: Web) -> None:
    now = web.services.clock().timestamp()
    with sign_in(web, "administrator") as client:
        secret = enrol(client, now)
    with sign_in(web, "administrator") as client:
        assert client.post("/second-factor", data={"code": code_of(secret, now)}).status_code == 401
        assert client.post("/second-factor", data={"code": "000000"}).status_code == 401
        assert client.get("/people").status_code == 303
        assert client.post("/second-factor", data={"code": code_of(secret, now + 30)}).status_code == 303
        assert client.get("/people").status_code == 200


def test_codes_cannot_be_guessed_at_speed(web: Web) -> None:
    with sign_in(web, "administrator") as client:
        client.post("/second-factor/begin")
        answers = [client.post("/second-factor", data={"code": f"{n:06}"}).status_code for n in range(8)]
    assert answers[-1] == 403 or answers[-1] == 429


def test_a_secret_is_shown_only_until_it_is_confirmed(web: Web) -> None:
    now = web.services.clock().timestamp()
    with sign_in(web, "reader") as client:
        secret = enrol(client, now)
        assert secret not in client.get("/second-factor").text
        assert client.post("/second-factor/begin").status_code == 409
    with web.services.catalogue.read() as conn:
        sealed = conn.scalar(select(schema.accounts.c.second_factor).where(schema.accounts.c.name == "reader"))
    assert secret.replace(" ", "") not in sealed


@pytest.fixture
def administrator(web: Web) -> Iterator[httpx.Client]:
    with sign_in(web, "administrator") as client:
        enrol(client, web.services.clock().timestamp())
        yield client


def test_an_account_is_made_used_and_closed(web: Web, administrator: httpx.Client) -> None:
    fields = {"name": "li", "role": "reader", "display_name": "李医生"}
    made = administrator.post("/people", data=fields)
    assert "李医生" in made.text
    found = re.search(r'class="mono secret">([^<]+)<', made.text)
    assert found is not None
    with sign_in(web, "li", found.group(1)) as li:
        assert li.get("/worklist").status_code == 200
        assert administrator.post("/people/li/disable").status_code == 303
        assert li.get("/worklist").status_code == 303
        assert li.post("/sign-in", data={"name": "li", "password": found.group(1)}).status_code == 401
    administrator.post("/people/li/enable")
    with sign_in(web, "li", found.group(1)):
        pass
    assert found.group(1) not in administrator.get("/people").text


def test_a_new_role_holds_at_once(web: Web, administrator: httpx.Client) -> None:
    with sign_in(web, "stranger") as client:
        assert client.get("/upload").status_code == 200
        administrator.post("/people/stranger/role", data={"role": "reader"})
        assert client.get("/upload").status_code == 303
    with sign_in(web, "stranger") as client:
        assert client.get("/upload").status_code == 403


def test_nobody_shuts_themselves_out_and_one_administrator_is_left(web: Web, administrator: httpx.Client) -> None:
    assert administrator.post("/people/administrator/disable").status_code == 409
    assert administrator.post("/people/administrator/role", data={"role": "reader"}).status_code == 409
    with web.services.catalogue.write() as conn, pytest.raises(Conflict, match="last_administrator"):
        people.disable(conn, "administrator", "another", web.services.clock())


def test_a_changed_password_ends_the_other_sessions_alone(web: Web) -> None:
    with sign_in(web, "reader") as here, sign_in(web, "reader") as there:
        wrong = {"password": "no", "new": "new password", "again": "new password"}
        assert here.post("/account/password", data=wrong).status_code == 422
        assert here.post("/account/password", data=wrong | {"password": PASSWORD, "again": "x"}).status_code == 422
        assert here.post("/account/password", data=wrong | {"password": PASSWORD}).status_code == 303
        assert here.get("/worklist").status_code == 200
        assert there.get("/worklist").status_code == 303
    with sign_in(web, "reader", "new password"):
        pass


def test_a_session_that_nobody_uses_ends_and_a_page_that_asks_by_itself_does_not_keep_it(
    web: Web,
) -> None:
    start, services = web.services.clock(), web.services
    with services.catalogue.write() as conn:
        who = accounts.Account("reader", "reader", None)
        token = accounts.open_session(conn, who, start, timedelta(hours=12))
    idle = accounts.IDLE["reader"]
    with services.catalogue.write() as conn:
        assert accounts.session_of(conn, token, start + idle - timedelta(seconds=1)) is not None
        accounts.touch_session(conn, token, start + idle - timedelta(seconds=1))
        session = accounts.session_of(conn, token, start + idle + timedelta(seconds=1))
        assert session is not None
        assert session.account == who
        assert accounts.session_of(conn, token, start + 2 * idle) is None


def test_twenty_wrong_passwords_lock_an_account_for_a_while(web: Web) -> None:
    services, at = web.services, web.services.clock()
    for n in range(accounts.LOCKED_AFTER):
        assert accounts.sign_in(services.catalogue, "reader", "wrong", at + timedelta(minutes=n)) is None
    last = at + timedelta(minutes=accounts.LOCKED_AFTER)
    assert accounts.sign_in(services.catalogue, "reader", PASSWORD, last) is None
    assert accounts.sign_in(services.catalogue, "reader", PASSWORD, last + accounts.LOCKED_FOR) is not None


def test_the_auditor_sees_who_did_what_and_is_seen(web: Web, administrator: httpx.Client) -> None:
    with sign_in(web, "auditor") as client:
        shown = client.get("/audit?action=sign_in").text
        assert "administrator" in shown
        assert "auditor" in client.get("/audit?action=read_audit").text
        assert client.get("/audit?since=never").status_code == 400
        assert client.get("/audit?trail=vault").status_code == 200
        assert client.get("/people").status_code == client.get("/worklist").status_code == 403


def test_the_auditor_sees_a_chained_trail_and_how_far_it_is_chained(web: Web) -> None:
    assert web.services.sealer.seal_all()
    with sign_in(web, "auditor") as client:
        answer = client.get("/audit")
        assert answer.status_code == 200
        assert re.search(r"chained up to number \d+, 2026-11-01 10:00", answer.text)

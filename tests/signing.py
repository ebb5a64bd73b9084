"""Signing in tests: claim, open a key, sign, as the page does it, or over HTTP through the page's own routes."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import httpx
from sqlalchemy import Connection, insert

from teleread.pipeline.services import Services
from teleread.reading import claims, desk, signing
from teleread.reading.claims import Reach
from teleread.reading.reports import Report, reports_of
from teleread.reading.signing import Act, Author, Said
from teleread.storage import accounts, signers, signing_keys
from teleread.storage.catalogue.schema import signing_keys as signing_keys_table
from teleread.storage.signing_keys import Pen
from tests.ui.live import Page

PIN = "271828"


def pen_of(who: str) -> Pen:
    """A reader's opened key that is stored nowhere: its signatures are real, and nobody can look its key up."""
    return signing_keys.new_pen(who)


def _reach(conn: Connection, case_id: str, who: str) -> Reach:
    """A reader of whichever pool the case has come to."""
    return Reach(who, desk.pools_of(conn, case_id))


def store_key(conn: Connection, pen: Pen, at: datetime) -> None:
    """An account and the public part of its key, as if its PIN had been set; no PIN opens it."""
    accounts.create_account(conn, pen.account, "correct horse", "reader", None, at)
    public = signers.signer(pen.algorithm).public_of(pen.private)
    row = {"id": pen.key_id, "account": pen.account, "algorithm": pen.algorithm, "sealed_private": "-", "made_at": at}
    conn.execute(insert(signing_keys_table).values(**row, public_key=signing_keys.encoded(public)))


def sign_report(
    conn: Connection,
    case_id: str,
    *,
    text: str = "Sinus rhythm.",
    critical: bool = False,
    signed_by: str = "reader",
    channel: str = "web",
    at: Any,
    pen: Pen | None = None,
    **more: Any,
) -> Report:
    """Claim a case, unless it is this reader's already, and sign a final report on it.

    Args:
        more: of ``Said`` (statements …) and of ``Act`` (kind, reason).
    """
    act = {name: more.pop(name) for name in ("kind", "reason", "replaces") if name in more}
    author = Author(signed_by, more.pop("name", signed_by), more.pop("role", "reader"), more.pop("language", "en"))
    claim = None
    if act.get("kind", "final") in {"preliminary", "final"}:
        held = claims.claim_case(conn, case_id, _reach(conn, case_id, signed_by), at)
        claim = (held.item_id, held.fence)
    versions = reports_of(conn, case_id)
    act.setdefault("replaces", versions[-1].id if versions else None)
    return signing.sign_report(
        conn,
        case_id,
        Said(text=text, critical=critical, **more),
        Act(claim=claim, channel=channel, **act),
        author,
        pen or pen_of(signed_by),
        at=at,
    )


def give_pin(services: Services, who: str = "reader", pin: str = PIN) -> str:
    """Give a reader a key, unless they have one; returns its id."""
    with services.catalogue.read() as conn:
        known = signing_keys.active(conn, who)
    return known.id if known else signing_keys.set_pin(services.catalogue, services.ring, who, pin, services.clock())


def claim(services: Services, case_id: str, who: str = "reader") -> claims.Claim:
    """Claim a case for a reader."""
    with services.catalogue.write() as conn:
        return claims.claim_case(conn, case_id, _reach(conn, case_id, who), services.clock())


def ready(client: httpx.Client, path: str) -> dict[str, str]:
    """Claim the case, unless it is read, and give its reader a PIN: the fields of the page's form that say so."""
    assert isinstance(client, Page)
    services, case_id = client.services, path.rpartition("/")[2]
    give_pin(services, client.who)
    with services.catalogue.read() as conn:
        newest = claims.newest(conn, [case_id]).get(case_id)
        versions = reports_of(conn, case_id)
    fields = {"pin": PIN, "replaces": versions[-1].id if versions else ""}
    if newest is not None and newest.state in {"SCHEDULED", "IN PROGRESS"}:
        held = claim(services, case_id, client.who)
        fields |= {"item_id": held.item_id, "fence": str(held.fence)}
    return fields


def post_report(client: httpx.Client, path: str, data: dict[str, str]) -> httpx.Response:
    """Claim the case, unless it is read, and post the page's form with the PIN."""
    return client.post(f"{path}/report", data=ready(client, path) | data)


def claim_over_http(client: httpx.Client, path: str) -> dict[str, str]:
    """Claim a case by the page's own button; the fields of its form that name the claim."""
    client.post(f"{path}/claim")
    page = client.get(path).text
    return dict(re.findall(r'name="(item_id|fence|replaces)" value="(\w*)"', page))

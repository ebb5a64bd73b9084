"""What an administrator does with accounts. Nothing here shows or takes a clinical fact."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, select, update

from teleread.errors import Conflict, InputRejected
from teleread.storage import audit
from teleread.storage.accounts import ROLES
from teleread.storage.catalogue.schema import accounts, sessions

NAME_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Person:
    """An account as an administrator sees it."""

    name: str
    role: str
    site_id: str | None
    display_name: str | None
    created_at: datetime
    disabled_at: datetime | None
    locked_until: datetime | None
    has_second_factor: bool
    seen_at: datetime | None  # the latest use of a session that has not ended


def people(conn: Connection) -> list[Person]:
    """All accounts, by name."""
    seen = (
        select(sessions.c.account, func.max(func.coalesce(sessions.c.seen_at, sessions.c.created_at)).label("seen_at"))
        .group_by(sessions.c.account)
        .subquery()
    )
    query = (
        select(accounts, seen.c.seen_at).outerjoin(seen, seen.c.account == accounts.c.name).order_by(accounts.c.name)
    )
    return [
        Person(
            row.name,
            row.role,
            row.site_id,
            row.display_name,
            row.created_at,
            row.disabled_at,
            row.locked_until,
            (row.second_factor or "").startswith("totp:"),
            row.seen_at,
        )
        for row in conn.execute(query)
    ]


def require(conn: Connection, name: str) -> None:
    """Go on only with an account that exists.

    Raises:
        InputRejected: ``account_unknown``.
    """
    if conn.execute(select(accounts.c.name).where(accounts.c.name == name)).first() is None:
        raise InputRejected("account_unknown", "there is no account of this name")


def set_role(conn: Connection, name: str, role: str, site_id: str | None, actor: str, at: datetime) -> None:
    """Give an account another role; its sessions end.

    Raises:
        InputRejected: ``account_unknown``, ``bad_role``, ``uploader_without_site``.
        Conflict: ``last_administrator``, ``own_account``.
    """
    if role not in ROLES:
        raise InputRejected("bad_role", f"a role is one of {', '.join(sorted(ROLES))}")
    if role == "uploader" and not site_id:
        raise InputRejected("uploader_without_site", "an uploader belongs to a site")
    _guard(conn, name, actor, leaves=role != "administrator")
    values = {"role": role, "site_id": site_id if role == "uploader" else None}
    _change(conn, name, values, "set_role", actor, at, {"role": role})
    _end_sessions(conn, name)


def set_display_name(conn: Connection, name: str, display_name: str, actor: str, at: datetime) -> None:
    """What pages and reports call the person.

    Raises:
        InputRejected: ``account_unknown``, ``bad_display_name``.
    """
    said = display_name.strip()
    if len(said) > NAME_CHARACTERS or not said.isprintable():
        raise InputRejected("bad_display_name", f"a name has at most {NAME_CHARACTERS} printable characters")
    _change(conn, name, {"display_name": said or None}, "set_display_name", actor, at)


def disable(conn: Connection, name: str, actor: str, at: datetime) -> None:
    """Close an account: it signs in no more and its sessions end; what it did stays its own.

    Raises:
        InputRejected: ``account_unknown``.
        Conflict: ``last_administrator``, ``own_account``.
    """
    _guard(conn, name, actor, leaves=True)
    _change(conn, name, {"disabled_at": at}, "disable_account", actor, at)
    _end_sessions(conn, name)


def enable(conn: Connection, name: str, actor: str, at: datetime) -> None:
    """Open a closed or locked account again.

    Raises:
        InputRejected: ``account_unknown``.
    """
    values = {"disabled_at": None, "locked_until": None, "failures": 0}
    _change(conn, name, values, "enable_account", actor, at)


def _change(
    conn: Connection,
    name: str,
    values: dict[str, Any],
    action: str,
    actor: str,
    at: datetime,
    detail: dict[str, Any] | None = None,
) -> None:
    if conn.execute(update(accounts).where(accounts.c.name == name).values(**values)).rowcount != 1:
        raise InputRejected("account_unknown", "there is no account of this name")
    audit.record(conn, at=at, actor=actor, action=action, object_type="account", object_id=name, detail=detail)


def _guard(conn: Connection, name: str, actor: str, *, leaves: bool) -> None:
    """Nobody shuts themselves out, and one administrator is always left."""
    if name == actor:
        raise Conflict("own_account", "Another administrator must do this with your account.")
    if not leaves:
        return
    administrators = select(accounts.c.name).where(accounts.c.role == "administrator", accounts.c.disabled_at.is_(None))
    # locked in one order, so that two who close each other at once do not both succeed
    left = list(conn.scalars(administrators.order_by(accounts.c.name).with_for_update()))
    if left == [name]:
        raise Conflict("last_administrator", "This is the last administrator.")


def _end_sessions(conn: Connection, name: str) -> None:
    conn.execute(delete(sessions).where(sessions.c.account == name))

"""Clinics' agents: invited with a one-time code, known by a certificate, shut out with one word.

Codes and tokens are kept as SHA-256, certificates as the SHA-256 of their DER bytes. An agent sends for its site and
may do nothing else.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, insert, or_, select, update

from teleread.errors import AccessDenied, InputRejected
from teleread.storage import audit
from teleread.storage.accounts import Account
from teleread.storage.catalogue.schema import agents, invitations

VALID_FOR = timedelta(days=730)
"""How long an agent's certificate is good."""
RENEWED_BEFORE = timedelta(days=90)
"""An agent that has less time left gets another certificate when it asks, and is shown to the engineer until then."""
INVITED_FOR = timedelta(hours=24)
LONGEST_INVITED = timedelta(days=7)
_KEPT_AFTER = timedelta(days=30)  # an invitation that nobody used
_SEEN_EVERY = timedelta(minutes=1)
# no letter that is read as a digit over the telephone
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_CODE_LETTERS = 16
_LABEL = 64
_PREFIX = "agent:"  # no name of a person holds a colon


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent, as an operator sees it."""

    id: str
    site_id: str
    label: str
    enrolled_at: datetime
    expires_at: datetime
    last_seen_at: datetime | None
    revoked_at: datetime | None

    def state(self, at: datetime) -> str:
        """``shut_out``, ``expired``, ``ends_soon`` or ``good``."""
        if self.revoked_at is not None:
            return "shut_out"
        if self.expires_at <= at:
            return "expired"
        return "ends_soon" if self.expires_at - at < RENEWED_BEFORE else "good"


def invite(
    conn: Connection,
    site_id: str,
    label: str,
    at: datetime,
    *,
    actor: str,
    valid_for: timedelta = INVITED_FOR,
    choose: Callable[[str], str] = secrets.choice,
) -> str:
    """A code with which one agent of the site enrols itself, ``ABCD-EFGH-JKMN-PQRS``; shown once.

    Raises:
        InputRejected: ``bad_label``: none, or more than 64 characters; ``bad_hours``: past before it is read, or
            good for more than :data:`LONGEST_INVITED`.
    """
    if not timedelta(0) < valid_for <= LONGEST_INVITED:
        raise InputRejected("bad_hours", "An invitation is good for 1 to 168 hours.")
    if not label.strip() or len(label) > _LABEL or not label.isprintable():
        raise InputRejected("bad_label", "Name the PC in 1 to 64 printable characters.")
    letters = "".join(choose(_ALPHABET) for _ in range(_CODE_LETTERS))
    code = "-".join(letters[start : start + 4] for start in range(0, _CODE_LETTERS, 4))
    conn.execute(
        delete(invitations).where(invitations.c.agent_id.is_(None), invitations.c.expires_at < at - _KEPT_AFTER)
    )
    conn.execute(
        insert(invitations).values(
            code_sha256=_sha256(_plain(code)),
            site_id=site_id,
            label=label,
            made_by=actor,
            made_at=at,
            expires_at=at + valid_for,
        )
    )
    audit.record(conn, at=at, actor=actor, action="invite_agent", object_type="site", object_id=site_id)
    return code


def invited_to(conn: Connection, code: str, at: datetime) -> str:
    """The site that a code enrols for.

    Raises:
        AccessDenied: ``invitation_unknown``: there is none, it was used, or its time is over.
    """
    row = conn.execute(select(invitations).where(invitations.c.code_sha256 == _sha256(_plain(code)))).one_or_none()
    if row is None or row.agent_id is not None or row.expires_at <= at:
        raise AccessDenied("invitation_unknown", "This code is wrong, was used before, or is too old.")
    return str(row.site_id)


def enrol(
    conn: Connection, code: str, agent_id: str, certificate_sha256: str, expires_at: datetime, at: datetime
) -> tuple[Agent, str]:
    """Use the code up for this agent; returns it and a token, which is kept as its hash.

    Raises:
        AccessDenied: ``invitation_unknown``.
    """
    site_id = invited_to(conn, code, at)
    hashed = _sha256(_plain(code))
    label = conn.execute(select(invitations.c.label).where(invitations.c.code_sha256 == hashed)).scalar_one()
    token = secrets.token_urlsafe(32)
    row = {
        "id": agent_id,
        "site_id": site_id,
        "label": label,
        "certificate_sha256": certificate_sha256,
        "token_sha256": _sha256(token),
        "enrolled_at": at,
        "expires_at": expires_at,
    }
    conn.execute(insert(agents).values(**row))
    used = conn.execute(
        update(invitations)
        .where(invitations.c.code_sha256 == hashed, invitations.c.agent_id.is_(None))
        .values(agent_id=agent_id)
    )
    if used.rowcount != 1:
        raise AccessDenied("invitation_unknown", "This code is wrong, was used before, or is too old.")
    audit.record(conn, at=at, actor=_name(agent_id), action="enrol_agent", object_type="agent", object_id=agent_id)
    return Agent(agent_id, site_id, label, at, expires_at, None, None), token


def refused(conn: Connection, failures: int, at: datetime) -> None:
    """Note that codes were tried which are wrong, used or too old; the codes themselves are nobody's business."""
    audit.record(
        conn,
        at=at,
        actor="anonymous",
        action="enrol_agent_failed",
        object_type="agent",
        object_id="unknown",
        detail={"failures": failures},
    )


def by_certificate(conn: Connection, certificate_sha256: str, at: datetime) -> Account | None:
    """For whom a certificate speaks; None when its agent is unknown, shut out or past its time."""
    given = (agents.c.certificate_sha256 == certificate_sha256) & (agents.c.expires_at > at)
    renewed = (agents.c.next_certificate_sha256 == certificate_sha256) & (agents.c.next_expires_at > at)
    return _account(conn, or_(given, renewed))


def by_token(conn: Connection, token: str, at: datetime) -> Account | None:
    """For whom a token speaks; as :func:`by_certificate`."""
    return _account(conn, (agents.c.token_sha256 == _sha256(token)) & (agents.c.expires_at > at))


def why_not(
    conn: Connection, at: datetime, *, certificate_sha256: str | None = None, token: str | None = None
) -> str | None:
    """Why an agent that is known may send no longer: ``agent_shut_out``, ``agent_expired``, or None."""
    shown = certificate_sha256 or ""  # None would be found wherever there is no next one
    which = or_(
        agents.c.certificate_sha256 == shown,
        agents.c.next_certificate_sha256 == shown,
        agents.c.token_sha256 == _sha256(token or ""),
    )
    row = conn.execute(select(agents.c.revoked_at, agents.c.expires_at).where(which)).first()
    if row is None:
        return None
    return "agent_shut_out" if row.revoked_at is not None else "agent_expired"


def renew(conn: Connection, account: Account, certificate_sha256: str, expires_at: datetime, at: datetime) -> None:
    """Another certificate for an agent that is good. The one it has stays good until the other is used: the line may
    break before the answer arrives.
    """
    agent_id = account.name.removeprefix(_PREFIX)
    changed = conn.execute(
        update(agents)
        .where(agents.c.id == agent_id, agents.c.revoked_at.is_(None))
        .values(next_certificate_sha256=certificate_sha256, next_expires_at=expires_at)
    )
    if changed.rowcount != 1:
        raise AccessDenied("agent_shut_out", "This PC may send no longer.")
    audit.record(conn, at=at, actor=account.name, action="renew_agent", object_type="agent", object_id=agent_id)


def settle(conn: Connection, account: Account, certificate_sha256: str | None) -> None:
    """The agent has shown its new certificate: from now on the old one is nobody's. One known by its token has no
    use for certificates; its time goes on.
    """
    mine = (agents.c.id == account.name.removeprefix(_PREFIX)) & agents.c.next_certificate_sha256.is_not(None)
    if certificate_sha256 is not None:
        mine &= agents.c.next_certificate_sha256 == certificate_sha256
    conn.execute(
        update(agents)
        .where(mine)
        .values(
            certificate_sha256=agents.c.next_certificate_sha256,
            expires_at=agents.c.next_expires_at,
            next_certificate_sha256=None,
            next_expires_at=None,
        )
    )


def agent_of(conn: Connection, account: Account) -> Agent:
    """The agent behind an account."""
    row = conn.execute(select(agents).where(agents.c.id == account.name.removeprefix(_PREFIX))).one()
    return _agent(row)


def is_agent(account: Account) -> bool:
    """Whether it is an agent's and no person's."""
    return account.name.startswith(_PREFIX)


def seen(conn: Connection, account: Account, at: datetime) -> None:
    """Note that an agent was heard of, once a minute at the most."""
    before = agents.c.last_seen_at.is_(None) | (agents.c.last_seen_at < at - _SEEN_EVERY)
    conn.execute(
        update(agents).where(agents.c.id == account.name.removeprefix(_PREFIX), before).values(last_seen_at=at)
    )


def revoke(conn: Connection, agent_id: str, at: datetime, *, actor: str) -> Agent:
    """Shut an agent out, from its next request on.

    Raises:
        InputRejected: ``agent_unknown``.
    """
    row = conn.execute(select(agents).where(agents.c.id == agent_id).with_for_update()).one_or_none()
    if row is None:
        raise InputRejected("agent_unknown", "There is no such agent.")
    if row.revoked_at is None:
        conn.execute(update(agents).where(agents.c.id == agent_id).values(revoked_at=at, revoked_by=actor))
        audit.record(conn, at=at, actor=actor, action="revoke_agent", object_type="agent", object_id=agent_id)
    return replace(_agent(row), revoked_at=row.revoked_at or at)


def listed(conn: Connection, site_id: str | None = None) -> Sequence[Agent]:
    """All agents, or those of a site, newest first."""
    query = select(agents).order_by(agents.c.enrolled_at.desc(), agents.c.id)
    if site_id is not None:
        query = query.where(agents.c.site_id == site_id)
    return [_agent(row) for row in conn.execute(query)]


def needing_care(conn: Connection, at: datetime) -> Sequence[Agent]:
    """Agents that may send and whose time is over or will soon be, the first to end first."""
    late = [one for one in listed(conn) if one.state(at) in {"expired", "ends_soon"}]
    return sorted(late, key=lambda one: one.expires_at)


def _agent(row: Row[Any]) -> Agent:
    return Agent(row.id, row.site_id, row.label, row.enrolled_at, row.expires_at, row.last_seen_at, row.revoked_at)


def _account(conn: Connection, which: ColumnElement[bool]) -> Account | None:
    row = conn.execute(select(agents.c.id, agents.c.site_id).where(which, agents.c.revoked_at.is_(None))).one_or_none()
    return None if row is None else Account(_name(row.id), "uploader", row.site_id)


def _name(agent_id: str) -> str:
    return _PREFIX + agent_id


def _plain(code: str) -> str:
    """The code as it is hashed: how it is grouped, and letters that are read as digits, do not matter."""
    letters = "".join(letter for letter in code.upper() if letter.isalnum())
    return letters.translate(str.maketrans("OIL", "011"))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

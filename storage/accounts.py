"""Local accounts: names, passwords, sessions.

Passwords are kept as Argon2id hashes, session tokens as SHA-256. Five attempts a minute are taken for one name,
known or not; they are counted before the password is looked at, so that attempts made at once count too.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError
from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from teleread.errors import AccessDenied, Conflict, InputRejected, StorageError
from teleread.storage import audit
from teleread.storage.catalogue import schema
from teleread.storage.catalogue.database import Database, insert_missing

ROLES = frozenset({"uploader", "reader", "senior_reader", "coordinator", "engineer", "auditor", "administrator"})
ATTEMPTS = 5
ATTEMPTS_WITHIN = timedelta(minutes=1)
PASSWORD_CHARACTERS = (8, 256)

_NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
_TOKEN_BYTES = 32
# 32 MiB and two passes take about 50 ms here; two at a time bound what a flood of sign-ins can take
_hasher = PasswordHasher(time_cost=2, memory_cost=32 * 1024, parallelism=1)
_hashing = threading.BoundedSemaphore(2)


@dataclass(frozen=True, slots=True)
class Account:
    """Who is signed in: ``role`` is one of :data:`ROLES`, ``site_id`` the site an uploader belongs to."""

    name: str
    role: str
    site_id: str | None


@dataclass(frozen=True, slots=True)
class _Stored:
    account: Account
    password_hash: str


def create_account(
    conn: Connection, name: str, password: str, role: str, site_id: str | None, at: datetime, *, actor: str = "system"
) -> Account:
    """Add an account.

    Raises:
        InputRejected: ``bad_account_name`` (lower-case letters, digits and ``._@-``, at most 64), ``bad_role``,
            ``uploader_without_site``, ``bad_password`` (8 to 256 characters).
        Conflict: ``account_exists``.
    """
    if not _NAME.fullmatch(name):
        raise InputRejected("bad_account_name", "an account name has 1 to 64 lower-case letters, digits and ._@-")
    if role not in ROLES:
        raise InputRejected("bad_role", f"a role is one of {', '.join(sorted(ROLES))}")
    if role == "uploader" and site_id is None:
        raise InputRejected("uploader_without_site", "an uploader belongs to a site")
    row = {"name": name, "password_hash": _hash(password), "role": role, "site_id": site_id, "created_at": at}
    if not insert_missing(conn, schema.accounts, [row], ["name"]):
        raise Conflict("account_exists", "there is an account of this name")
    audit.record(conn, at=at, actor=actor, action="create_account", object_type="account", object_id=name)
    return Account(name, role, site_id)


def set_password(conn: Connection, name: str, password: str, at: datetime, *, actor: str = "system") -> None:
    """Give the account another password and end all its sessions.

    Raises:
        InputRejected: ``account_unknown``, ``bad_password``.
    """
    changed = conn.execute(
        update(schema.accounts).where(schema.accounts.c.name == name).values(password_hash=_hash(password))
    )
    if changed.rowcount != 1:
        raise InputRejected("account_unknown", "there is no account of this name")
    conn.execute(delete(schema.sessions).where(schema.sessions.c.account == name))
    audit.record(conn, at=at, actor=actor, action="set_password", object_type="account", object_id=name)


def sign_in(database: Database, name: str, password: str, at: datetime) -> Account | None:
    """The account, or None when the name or the password is wrong; audited either way.

    Hashes outside of any transaction, so that a flood of sign-ins never makes an arriving ECG wait.

    Raises:
        AccessDenied: ``too_many_attempts``.
    """
    with database.write() as conn:
        _count_attempt(conn, name, at)
        stored = _stored(conn, name)
    matches = _matches(stored, password)
    with database.write() as conn:
        return _settle(conn, stored, matches, password, at)


def verify(conn: Connection, name: str, password: str, at: datetime) -> Account | None:
    """As :func:`sign_in`, inside one transaction of :meth:`Database.write`, which then lasts 50 ms.

    It writes: let the transaction commit also when the answer is None.

    Raises:
        AccessDenied: ``too_many_attempts``.
    """
    _count_attempt(conn, name, at)
    stored = _stored(conn, name)
    return _settle(conn, stored, _matches(stored, password), password, at)


def open_session(
    conn: Connection,
    account: Account,
    at: datetime,
    lifetime: timedelta,
    *,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> str:
    """A new session's token; only its hash is kept. Sessions that have ended are removed."""
    conn.execute(delete(schema.sessions).where(schema.sessions.c.expires_at <= at))
    token = base64.urlsafe_b64encode(random_bytes(_TOKEN_BYTES)).decode().rstrip("=")
    conn.execute(
        insert(schema.sessions).values(
            token_sha256=_sha256(token),
            account=account.name,
            created_at=at,
            expires_at=at + lifetime,
        )
    )
    return token


def session_account(conn: Connection, token: str, at: datetime) -> Account | None:
    """Whose session this is; None when it is unknown or has ended."""
    sessions, accounts = schema.sessions, schema.accounts
    row = conn.execute(
        select(accounts.c.name, accounts.c.role, accounts.c.site_id)
        .join(sessions, sessions.c.account == accounts.c.name)
        .where(sessions.c.token_sha256 == _sha256(token), sessions.c.expires_at > at)
    ).one_or_none()
    return None if row is None else Account(row.name, row.role, row.site_id)


def close_session(conn: Connection, token: str) -> None:
    """End the session; nothing happens when there is none."""
    conn.execute(delete(schema.sessions).where(schema.sessions.c.token_sha256 == _sha256(token)))


def _count_attempt(conn: Connection, name: str, at: datetime) -> None:
    table = schema.sign_in_attempts
    conn.execute(delete(table).where(table.c.started_at <= at - ATTEMPTS_WITHIN))
    build = sqlite.insert if conn.dialect.name == "sqlite" else postgresql.insert
    first = build(table).values(name_sha256=_sha256(name), started_at=at, attempts=1)
    counted = first.on_conflict_do_update(
        index_elements=["name_sha256"], set_={"attempts": table.c.attempts + 1}
    ).returning(table.c.attempts)
    if conn.execute(counted).scalar_one() > ATTEMPTS:
        raise AccessDenied("too_many_attempts", "too many attempts to sign in; wait a minute")


def _stored(conn: Connection, name: str) -> _Stored | None:
    accounts = schema.accounts
    if not _NAME.fullmatch(name):
        return None
    row = conn.execute(
        select(accounts.c.name, accounts.c.role, accounts.c.site_id, accounts.c.password_hash).where(
            accounts.c.name == name
        )
    ).one_or_none()
    return None if row is None else _Stored(Account(row.name, row.role, row.site_id), row.password_hash)


def _matches(stored: _Stored | None, password: str) -> bool:
    """Whether the password is the account's; takes as long for a name that does not exist."""
    hashed = _nobodys_hash() if stored is None else stored.password_hash
    candidate = _encoded(password)
    if candidate is None:
        return False
    with _hashing:
        try:
            return _hasher.verify(hashed, candidate) and stored is not None
        except VerifyMismatchError:
            return False
        except (VerificationError, InvalidHashError) as error:
            raise StorageError("catalogue_corrupt", "the account's password hash is damaged") from error


def _settle(conn: Connection, stored: _Stored | None, matches: bool, password: str, at: datetime) -> Account | None:
    if stored is None or not matches:
        # an unknown name is not repeated: it may be a password typed into the wrong field
        audit.record(
            conn,
            at=at,
            actor="anonymous",
            action="sign_in_failed",
            object_type="account",
            object_id="unknown" if stored is None else stored.account.name,
        )
        return None
    attempts, accounts = schema.sign_in_attempts, schema.accounts
    conn.execute(delete(attempts).where(attempts.c.name_sha256 == _sha256(stored.account.name)))
    if _hasher.check_needs_rehash(stored.password_hash):
        conn.execute(
            update(accounts)
            .where(accounts.c.password_hash == stored.password_hash)
            .values(password_hash=_hash(password))
        )
    name = stored.account.name
    audit.record(conn, at=at, actor=name, action="sign_in", object_type="account", object_id=name)
    return stored.account


def _hash(password: str) -> str:
    encoded = _encoded(password)
    shortest, longest = PASSWORD_CHARACTERS
    if encoded is None or not shortest <= len(password) <= longest:
        raise InputRejected("bad_password", f"a password has {shortest} to {longest} characters")
    with _hashing:
        return _hasher.hash(encoded)


def _encoded(password: str) -> bytes | None:
    """The bytes to hash; None for a password that no account can have."""
    if len(password) > PASSWORD_CHARACTERS[1]:
        return None
    try:
        return password.encode()
    except UnicodeEncodeError:
        return None


@functools.cache
def _nobodys_hash() -> str:
    return _hasher.hash(secrets.token_bytes(_TOKEN_BYTES))


def _sha256(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()

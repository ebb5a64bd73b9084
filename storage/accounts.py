"""Local accounts: names, passwords, sessions.

Passwords are kept as Argon2id hashes, session tokens as SHA-256. Five attempts a minute are taken for one name,
known or not; they are counted before the password is looked at, so that attempts made at once count too. Twenty wrong
ones in a row lock an account for a quarter of an hour. A session ends when its account is closed, when it has not been
used for as long as its role may be away, and after a shift.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

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
LOCKED_AFTER = 20
LOCKED_FOR = timedelta(minutes=15)
PASSWORD_CHARACTERS = (8, 256)
SECOND_FACTOR_ROLES = frozenset({"administrator"})
"""Who works only with a second factor; others may have one."""
IDLE: Mapping[str, timedelta] = MappingProxyType(
    {
        "uploader": timedelta(hours=12),  # a nurse with a patient on the couch is never asked again within her shift
        "reader": timedelta(hours=2),
        "senior_reader": timedelta(hours=2),
        "coordinator": timedelta(hours=4),
        "engineer": timedelta(minutes=30),
        "auditor": timedelta(minutes=30),
        "administrator": timedelta(minutes=15),
    }
)
"""How long a session may lie unused."""
TOUCH_EVERY = timedelta(minutes=1)

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
    factor_owed: bool = False  # the session still lacks its second factor, and is good for giving it alone
    letter_keys: bool = True  # whether pages act on keys of one letter


@dataclass(frozen=True, slots=True)
class Session:
    """A session that is good now."""

    account: Account
    seen_at: datetime  # when it was last written down as used


@dataclass(frozen=True, slots=True)
class _Stored:
    account: Account
    password_hash: str
    failures: int
    closed: bool  # disabled, or locked for a while


def create_account(
    conn: Connection, name: str, password: str, role: str, site_id: str | None, at: datetime, *, actor: str = "system"
) -> Account:
    """Add an account.

    Raises:
        InputRejected: ``bad_account_name`` (lower-case letters, digits and ``._@-``, at most 64), ``bad_role``,
            ``uploader_without_site``, ``bad_password`` (8 to 256 characters).
        Conflict: ``account_exists``.
    """
    return add_account(conn, name, _hash(password), role, site_id, at, actor)


def add_account(
    conn: Connection, name: str, password_hash: str, role: str, site_id: str | None, at: datetime, actor: str
) -> Account:
    """As :func:`create_account`, with a password that :func:`hash_password` has hashed outside of the transaction.

    Raises:
        InputRejected, Conflict: as there, but for ``bad_password``.
    """
    if not _NAME.fullmatch(name):
        raise InputRejected("bad_account_name", "an account name has 1 to 64 lower-case letters, digits and ._@-")
    if role not in ROLES:
        raise InputRejected("bad_role", f"a role is one of {', '.join(sorted(ROLES))}")
    if role == "uploader" and site_id is None:
        raise InputRejected("uploader_without_site", "an uploader belongs to a site")
    row = {"name": name, "password_hash": password_hash, "role": role, "site_id": site_id, "created_at": at}
    if not insert_missing(conn, schema.accounts, [row], ["name"]):
        raise Conflict("account_exists", "there is an account of this name")
    audit.record(conn, at=at, actor=actor, action="create_account", object_type="account", object_id=name)
    return Account(name, role, site_id)


def set_hash(
    conn: Connection, name: str, password_hash: str, at: datetime, *, actor: str, keep: str | None = None
) -> None:
    """Give the account another password, hashed outside of the transaction, and end its sessions.

    Args:
        keep: token of the session that goes on, of who changes the own password.

    Raises:
        InputRejected: ``account_unknown``.
    """
    changed = conn.execute(
        update(schema.accounts).where(schema.accounts.c.name == name).values(password_hash=password_hash)
    )
    if changed.rowcount != 1:
        raise InputRejected("account_unknown", "there is no account of this name")
    close_other_sessions(conn, name, keep)
    audit.record(conn, at=at, actor=actor, action="set_password", object_type="account", object_id=name)


def hash_password(password: str) -> str:
    """The Argon2id hash of a new password; takes about 50 ms, so do it outside of transactions.

    Raises:
        InputRejected: ``bad_password``.
    """
    return _hash(password)


def sign_in(database: Database, name: str, password: str, at: datetime) -> Account | None:
    """The account, or None when the name or the password is wrong; audited either way.

    Hashes outside of any transaction, so that a flood of sign-ins never makes an arriving ECG wait.

    Raises:
        AccessDenied: ``too_many_attempts``.
    """
    with database.write() as conn:
        _count_attempt(conn, name, at)
        stored = _stored(conn, name, at)
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
    stored = _stored(conn, name, at)
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


def session_of(conn: Connection, token: str, at: datetime) -> Session | None:
    """The session of a token; None when it is unknown or has ended."""
    accounts, sessions = schema.accounts, schema.sessions
    row = conn.execute(
        select(
            accounts.c.name,
            accounts.c.role,
            accounts.c.site_id,
            accounts.c.second_factor,
            accounts.c.letter_keys_off,
            sessions.c.created_at,
            sessions.c.seen_at,
            sessions.c.second_factor_at,
        )
        .join(sessions, sessions.c.account == accounts.c.name)
        .where(sessions.c.token_sha256 == _sha256(token), sessions.c.expires_at > at, accounts.c.disabled_at.is_(None))
    ).one_or_none()
    if row is None:
        return None
    seen_at = row.seen_at or row.created_at
    if seen_at + IDLE.get(row.role, min(IDLE.values())) <= at:
        return None
    needs = row.second_factor is not None or row.role in SECOND_FACTOR_ROLES
    owed = needs and row.second_factor_at is None
    return Session(Account(row.name, row.role, row.site_id, owed, not row.letter_keys_off), seen_at)


def touch_session(conn: Connection, token: str, at: datetime) -> None:
    """The session is in use."""
    sessions = schema.sessions
    conn.execute(update(sessions).where(sessions.c.token_sha256 == _sha256(token)).values(seen_at=at))


def close_other_sessions(conn: Connection, name: str, token: str | None) -> int:
    """End all sessions of an account but the one of ``token``; returns how many."""
    sessions = schema.sessions
    others = sessions.c.account == name
    if token is not None:
        others &= sessions.c.token_sha256 != _sha256(token)
    return int(conn.execute(delete(sessions).where(others)).rowcount)


def session_key(token: str) -> str:
    """What a session is found by in the catalogue: the hash of its token."""
    return _sha256(token)


def set_letter_keys(conn: Connection, name: str, *, on: bool) -> None:
    """Whether pages act on keys of one letter for an account, from its next page on."""
    accounts = schema.accounts
    conn.execute(update(accounts).where(accounts.c.name == name).values(letter_keys_off=not on))


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


def _stored(conn: Connection, name: str, at: datetime) -> _Stored | None:
    accounts = schema.accounts
    if not _NAME.fullmatch(name):
        return None
    row = conn.execute(select(accounts).where(accounts.c.name == name)).one_or_none()
    if row is None:
        return None
    locked = row.locked_until is not None and row.locked_until > at
    account = Account(row.name, row.role, row.site_id)
    return _Stored(account, row.password_hash, row.failures, locked or row.disabled_at is not None)


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
    if stored is None or stored.closed or not matches:
        _refuse(conn, stored, at)
        return None
    attempts, accounts = schema.sign_in_attempts, schema.accounts
    name = stored.account.name
    conn.execute(delete(attempts).where(attempts.c.name_sha256 == _sha256(name)))
    if stored.failures:
        conn.execute(update(accounts).where(accounts.c.name == name).values(failures=0, locked_until=None))
    if _hasher.check_needs_rehash(stored.password_hash):
        conn.execute(
            update(accounts)
            .where(accounts.c.password_hash == stored.password_hash)
            .values(password_hash=_hash(password))
        )
    audit.record(conn, at=at, actor=name, action="sign_in", object_type="account", object_id=name)
    return stored.account


def _refuse(conn: Connection, stored: _Stored | None, at: datetime) -> None:
    # an unknown name is not repeated: it may be a password typed into the wrong field
    name = "unknown" if stored is None else stored.account.name
    audit.record(conn, at=at, actor="anonymous", action="sign_in_failed", object_type="account", object_id=name)
    if stored is not None and not stored.closed:
        count_failure(conn, name, at)


def count_failure(conn: Connection, name: str, at: datetime) -> None:
    """One wrong password or code more; the twentieth in a row locks the account for a while."""
    accounts = schema.accounts
    counted = update(accounts).where(accounts.c.name == name).values(failures=accounts.c.failures + 1)
    failures = conn.execute(counted.returning(accounts.c.failures)).scalar_one_or_none()
    if failures is None or failures < LOCKED_AFTER:
        return
    locked = {"failures": 0, "locked_until": at + LOCKED_FOR}
    conn.execute(update(accounts).where(accounts.c.name == name).values(**locked))
    audit.record(conn, at=at, actor="teleread", action="lock_account", object_type="account", object_id=name)


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

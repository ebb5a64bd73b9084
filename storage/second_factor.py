"""The second factor of an account: codes of six digits that change every half minute (TOTP, RFC 6238).

The secret lies sealed under a key of the ring. It counts only once its owner has shown a code of it; a code is good
once, and one step early or late, because telephones' clocks differ.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor import InvalidToken
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from sqlalchemy import Connection, delete, select, update

from teleread.errors import Conflict, StorageError
from teleread.storage import audit
from teleread.storage.accounts import count_failure, session_key
from teleread.storage.catalogue.schema import accounts, sessions

PURPOSE = "second-factor"
"""What the key is derived for (``KeyRing.derive``)."""
STEP_S = 30
DIGITS = 6
_SECRET_BYTES = 20
_NONCE_BYTES = 12
_GOOD, _NEW = "totp:", "new:"


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What an authenticator is told once.

    Args:
        secret: base32, in groups of four for typing.
        address: ``otpauth:`` address of the same.
    """

    secret: str
    address: str


def state(conn: Connection, name: str) -> str:
    """``none``, ``new`` (not yet confirmed) or ``good``."""
    stored = _stored(conn, name)
    return "none" if stored is None else "good" if stored.startswith(_GOOD) else "new"


def begin(
    conn: Connection,
    name: str,
    key: bytes,
    *,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> None:
    """Give an account a new secret, to be confirmed by a code of it; one that waits for that stays.

    Raises:
        Conflict: ``second_factor_exists``.
    """
    stored = _stored(conn, name)
    if stored is not None and stored.startswith(_GOOD):
        raise Conflict("second_factor_exists", "This account has a second factor.")
    if stored is None:
        sealed = _NEW + _seal(random_bytes(_SECRET_BYTES), name, key, random_bytes(_NONCE_BYTES))
        conn.execute(update(accounts).where(accounts.c.name == name).values(second_factor=sealed))


def enrolment(conn: Connection, name: str, issuer: str, key: bytes) -> Enrolment | None:
    """What the authenticator must be told; None unless a secret waits to be confirmed.

    Raises:
        StorageError: ``catalogue_corrupt``.
    """
    stored = _stored(conn, name)
    if stored is None or not stored.startswith(_NEW):
        return None
    text = base64.b32encode(_open(stored.removeprefix(_NEW), name, key)).decode()
    label = quote(f"{issuer}:{name}")
    address = f"otpauth://totp/{label}?secret={text}&issuer={quote(issuer)}&digits={DIGITS}&period={STEP_S}"
    return Enrolment(" ".join(text[n : n + 4] for n in range(0, len(text), 4)), address)


def give(conn: Connection, name: str, token: str, code: str, key: bytes, at: datetime) -> bool:
    """Take a code for the session of ``token``; the first right one confirms a new secret.

    Writes either way: let the transaction commit.

    Raises:
        Conflict: ``second_factor_missing``: the account has none.
        StorageError: ``catalogue_corrupt``.
    """
    row = conn.execute(
        select(accounts.c.second_factor, accounts.c.second_factor_step).where(accounts.c.name == name).with_for_update()
    ).one_or_none()
    if row is None or row.second_factor is None:
        raise Conflict("second_factor_missing", "This account has no second factor.")
    secret = _open(row.second_factor.partition(":")[2], name, key)
    step = _step_of(secret, code, at)
    if step is None or (row.second_factor_step is not None and step <= row.second_factor_step):
        audit.record(conn, at=at, actor=name, action="second_factor_failed", object_type="account", object_id=name)
        count_failure(conn, name, at)
        return False
    good = _GOOD + row.second_factor.partition(":")[2]
    conn.execute(
        update(accounts).where(accounts.c.name == name).values(second_factor=good, second_factor_step=step, failures=0)
    )
    conn.execute(
        update(sessions)
        .where(sessions.c.token_sha256 == session_key(token), sessions.c.account == name)
        .values(second_factor_at=at)
    )
    audit.record(conn, at=at, actor=name, action="second_factor", object_type="account", object_id=name)
    return True


def remove(conn: Connection, name: str, actor: str, at: datetime) -> None:
    """Take an account's second factor away, because its owner has lost it; its sessions end."""
    conn.execute(update(accounts).where(accounts.c.name == name).values(second_factor=None, second_factor_step=None))
    conn.execute(delete(sessions).where(sessions.c.account == name))
    audit.record(conn, at=at, actor=actor, action="reset_second_factor", object_type="account", object_id=name)


def _stored(conn: Connection, name: str) -> str | None:
    return conn.scalar(select(accounts.c.second_factor).where(accounts.c.name == name))


def _step_of(secret: bytes, code: str, at: datetime) -> int | None:
    digits = code.replace(" ", "")
    if len(digits) != DIGITS or not digits.isascii() or not digits.isdigit():
        return None
    totp = TOTP(secret, DIGITS, SHA1(), STEP_S)
    now = int(at.timestamp()) // STEP_S
    for step in (now, now - 1, now + 1):
        try:
            totp.verify(digits.encode(), step * STEP_S)
        except InvalidToken:
            continue
        return step
    return None


def _seal(secret: bytes, name: str, key: bytes, nonce: bytes) -> str:
    return base64.b64encode(nonce + AESGCM(key).encrypt(nonce, secret, name.encode())).decode()


def _open(sealed: str, name: str, key: bytes) -> bytes:
    try:
        raw = base64.b64decode(sealed, validate=True)
        return AESGCM(key).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], name.encode())
    except (ValueError, InvalidTag) as error:
        raise StorageError("catalogue_corrupt", "the account's second factor is damaged") from error

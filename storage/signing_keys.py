"""The keys that reports are signed with: one pair for each reader, whose private part only her PIN opens.

The private key is sealed twice. Inside by a key that Argon2id makes of the PIN (RFC 9106 4, second recommended option:
3 passes, 64 MiB, 4 lanes), outside by a key derived from the key ring. A copy of the database alone is therefore worth
nothing; who has the database and the ring must still try PINs, at that price each. A PIN of six digits holds such an
attacker for hours, not for years: a longer one is better, and the ring belongs elsewhere than the database's backups.

A right PIN opens the key for ten minutes of one session: it is then kept sealed by a key derived from the session's
own token, which the server does not have between requests (it keeps the token's hash). So the server alone never signs.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import Connection, insert, select, update

from teleread.errors import AccessDenied, InputRejected, StorageError
from teleread.storage import audit, signers
from teleread.storage.catalogue.database import Database
from teleread.storage.catalogue.schema import sessions, signing_keys
from teleread.storage.vault import KeyRing

PIN_CHARACTERS = (6, 64)
WRONG_PINS = 5
LOCKED_FOR = timedelta(minutes=15)
STEP_UP = timedelta(minutes=10)

_PURPOSE = "report signing keys"
_NONCE, _SALT, _KEY = 12, 16, 32
_FORM = "1"
_PASSES, _MEMORY_KIB, _LANES = 3, 64 * 1024, 4
_hashing = threading.BoundedSemaphore(2)  # bounds the memory that many signatures at once take
Random = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The public part of a reader's key."""

    id: str
    account: str
    algorithm: str
    public: bytes
    made_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Pen:
    """A reader's opened key. It lives for the time of one request and is never shown or logged."""

    key_id: str
    account: str
    algorithm: str
    private: bytes

    def __repr__(self) -> str:
        return f"Pen(key_id={self.key_id!r}, account={self.account!r})"

    def sign(self, message: bytes) -> bytes:
        """The detached signature of a message."""
        return signers.signer(self.algorithm).sign(self.private, message)


def new_pen(account: str, algorithm: str = signers.DEFAULT, random_bytes: Random = secrets.token_bytes) -> Pen:
    """A new pair that is stored nowhere yet."""
    scheme = signers.signer(algorithm)
    private = scheme.new_private(random_bytes)
    return Pen(signers.key_id(algorithm, scheme.public_of(private)), account, algorithm, private)


def check_pin(pin: str) -> None:
    """Refuse what is no PIN.

    Raises:
        InputRejected: ``bad_pin``: not 6 to 64 characters, or digits that everybody tries first.
    """
    shortest, longest = PIN_CHARACTERS
    if not shortest <= len(pin) <= longest:
        raise InputRejected("bad_pin", f"A PIN has {shortest} to {longest} characters.")
    steps = {ord(after) - ord(before) for before, after in itertools.pairwise(pin)}
    if steps in ({0}, {1}, {-1}):
        raise InputRejected("bad_pin", "This PIN is one of those that everybody tries first.")


def random_pin(below: Callable[[int], int] = secrets.randbelow) -> str:
    """Six random digits that :func:`check_pin` takes."""
    while True:
        pin = f"{below(1_000_000):06}"
        try:
            check_pin(pin)
        except InputRejected:
            continue
        return pin


def set_pin(
    database: Database,
    ring: KeyRing,
    account: str,
    pin: str,
    at: datetime,
    *,
    random_bytes: Random = secrets.token_bytes,
) -> str:
    """Make a reader's key, sealed by a new PIN; the key before signs no longer, what it has signed stays good.

    The caller has checked the password.

    Returns:
        The new key's id.

    Raises:
        InputRejected: ``bad_pin``.
    """
    check_pin(pin)
    pen = new_pen(account, random_bytes=random_bytes)
    sealed = _seal(ring, pen, pin, random_bytes)
    public = signers.signer(pen.algorithm).public_of(pen.private)
    with database.write() as conn:
        ours = signing_keys.c.account == account, signing_keys.c.ended_at.is_(None)
        conn.execute(update(signing_keys).where(*ours).values(ended_at=at))
        conn.execute(
            insert(signing_keys).values(
                id=pen.key_id,
                account=account,
                algorithm=pen.algorithm,
                public_key=base64.b64encode(public).decode(),
                sealed_private=sealed,
                made_at=at,
            )
        )
        close_all(conn, account)
        _record(conn, account, "make_signing_key", pen.key_id, at)
    return pen.key_id


def change_pin(
    database: Database,
    ring: KeyRing,
    account: str,
    old: str,
    new: str,
    at: datetime,
    *,
    random_bytes: Random = secrets.token_bytes,
) -> str:
    """Seal the same key by another PIN.

    Raises:
        InputRejected: ``bad_pin``.
        AccessDenied: as :func:`open_pen`.
    """
    check_pin(new)
    pen = open_pen(database, ring, account, old, at)
    sealed = _seal(ring, pen, new, random_bytes)
    with database.write() as conn:
        conn.execute(update(signing_keys).where(signing_keys.c.id == pen.key_id).values(sealed_private=sealed))
        close_all(conn, account)
        _record(conn, account, "change_pin", pen.key_id, at)
    return pen.key_id


def open_pen(database: Database, ring: KeyRing, account: str, pin: str, at: datetime) -> Pen:
    """Open a reader's key by the PIN. A try is counted before it is looked at, so that tries made at once count too.

    Raises:
        AccessDenied: ``no_signing_key``; ``pin_wrong``; ``pin_locked``: five wrong ones, for fifteen minutes.
        StorageError: ``signing_key_corrupt``: it was not sealed with this key ring.
    """
    with database.write() as conn:
        row = _count_try(conn, account, at)
    if row is None:
        raise AccessDenied("no_signing_key", "Set a PIN first.")
    if row.locked_until is not None and row.locked_until > at:
        raise AccessDenied("pin_locked", "Too many wrong PINs; signing is locked for some minutes.")
    private = _open(ring, row.id, row.algorithm, row.sealed_private, pin)
    with database.write() as conn:
        if private is None:
            _note_wrong(conn, row.id, account, row.wrong_pins, at)
        else:
            conn.execute(
                update(signing_keys).where(signing_keys.c.id == row.id).values(wrong_pins=0, locked_until=None)
            )
    if private is None:
        raise AccessDenied("pin_wrong", "The PIN is wrong.")
    return Pen(row.id, account, row.algorithm, private)


def active(conn: Connection, account: str) -> PublicKey | None:
    """The key that an account signs with now."""
    row = conn.execute(
        select(signing_keys)
        .where(signing_keys.c.account == account, signing_keys.c.ended_at.is_(None))
        .order_by(signing_keys.c.made_at.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else _public(row)


def by_id(conn: Connection, key: str) -> PublicKey | None:
    """A key by its id, also one that signs no longer."""
    row = conn.execute(select(signing_keys).where(signing_keys.c.id == key)).one_or_none()
    return None if row is None else _public(row)


def keep_open(
    conn: Connection, ring: KeyRing, token: str, pen: Pen, at: datetime, *, random_bytes: Random = secrets.token_bytes
) -> datetime:
    """Let one session sign without a PIN for :data:`STEP_UP`; returns until when.

    Args:
        token: the session's own, which is stored nowhere.
    """
    until = at + STEP_UP
    nonce = random_bytes(_NONCE)
    sealed = AESGCM(_session_key(ring, token)).encrypt(nonce, pen.private, _bound("session", pen.key_id, pen.account))
    text = f"{pen.key_id}.{pen.algorithm}.{_text(nonce + sealed)}"
    conn.execute(
        update(sessions)
        .where(sessions.c.token_sha256 == _token_sha256(token), sessions.c.account == pen.account)
        .values(unlocked_until=until, unlocked_key=text)
    )
    return until


def kept_open(conn: Connection, ring: KeyRing, token: str, account: str, at: datetime) -> Pen | None:
    """The key that a session may sign with without a PIN; None when the PIN is needed."""
    row = conn.execute(
        select(sessions.c.unlocked_key, signing_keys.c.ended_at, signing_keys.c.id)
        .join(signing_keys, signing_keys.c.account == sessions.c.account)
        .where(
            sessions.c.token_sha256 == _token_sha256(token),
            sessions.c.account == account,
            sessions.c.unlocked_until > at,
            sessions.c.expires_at > at,
            signing_keys.c.ended_at.is_(None),
        )
    ).first()
    if row is None or row.unlocked_key is None:
        return None
    key, algorithm, sealed = row.unlocked_key.split(".", 2)
    if key != row.id:
        return None
    data = base64.b64decode(sealed)
    try:
        private = AESGCM(_session_key(ring, token)).decrypt(
            data[:_NONCE], data[_NONCE:], _bound("session", key, account)
        )
    except InvalidTag:
        return None
    return Pen(key, account, algorithm, private)


def open_until(conn: Connection, token: str, at: datetime) -> datetime | None:
    """Until when a session signs without a PIN; None when the next signature needs it."""
    query = select(sessions.c.unlocked_until).where(
        sessions.c.token_sha256 == _token_sha256(token), sessions.c.unlocked_until > at
    )
    return conn.scalar(query)


def close_all(conn: Connection, account: str) -> None:
    """Every session of the account needs the PIN again."""
    conn.execute(update(sessions).where(sessions.c.account == account).values(unlocked_until=None, unlocked_key=None))


def _count_try(conn: Connection, account: str, at: datetime) -> _Try | None:
    row = conn.execute(
        select(signing_keys)
        .where(signing_keys.c.account == account, signing_keys.c.ended_at.is_(None))
        .order_by(signing_keys.c.made_at.desc())
        .limit(1)
        .with_for_update()
    ).one_or_none()
    if row is None:
        return None
    if row.locked_until is not None and row.locked_until > at:
        return _Try(row.id, row.algorithm, row.sealed_private, row.wrong_pins, row.locked_until)
    tries = 1 if row.locked_until is not None else row.wrong_pins + 1
    # one try too many at the same moment is refused before it is looked at
    locked = at + LOCKED_FOR if tries > WRONG_PINS else None
    conn.execute(update(signing_keys).where(signing_keys.c.id == row.id).values(wrong_pins=tries, locked_until=locked))
    return _Try(row.id, row.algorithm, row.sealed_private, tries, locked)


@dataclass(frozen=True, slots=True)
class _Try:
    id: str
    algorithm: str
    sealed_private: str
    wrong_pins: int
    locked_until: datetime | None


def _note_wrong(conn: Connection, key: str, account: str, tries: int, at: datetime) -> None:
    _record(conn, account, "pin_wrong", key, at)
    if tries >= WRONG_PINS:
        conn.execute(update(signing_keys).where(signing_keys.c.id == key).values(locked_until=at + LOCKED_FOR))
        _record(conn, account, "pin_locked", key, at)


def _record(conn: Connection, account: str, action: str, key: str, at: datetime) -> None:
    audit.record(conn, at=at, actor=account, action=action, object_type="signing_key", object_id=key)


def _seal(ring: KeyRing, pen: Pen, pin: str, random_bytes: Random) -> str:
    salt, inner_nonce, outer_nonce = random_bytes(_SALT), random_bytes(_NONCE), random_bytes(_NONCE)
    bound = _bound("key", pen.key_id, pen.algorithm)
    inner = AESGCM(_pin_key(pin, salt, _PASSES, _MEMORY_KIB, _LANES)).encrypt(inner_nonce, pen.private, bound)
    outer = AESGCM(ring.derive(_PURPOSE)).encrypt(outer_nonce, salt + inner_nonce + inner, bound)
    return f"{_FORM}.{_PASSES}.{_MEMORY_KIB}.{_LANES}.{_text(outer_nonce + outer)}"


def _open(ring: KeyRing, key: str, algorithm: str, sealed: str, pin: str) -> bytes | None:
    """The private key; None when the PIN is wrong."""
    bound = _bound("key", key, algorithm)
    try:
        form, passes, memory, lanes, text = sealed.split(".", 4)
        data = base64.b64decode(text)
        if form != _FORM:
            raise ValueError(form)
        inner = AESGCM(ring.derive(_PURPOSE)).decrypt(data[:_NONCE], data[_NONCE:], bound)
    except (ValueError, InvalidTag) as error:
        raise StorageError("signing_key_corrupt", "The signing key was not sealed with this key ring.") from error
    salt, nonce, rest = inner[:_SALT], inner[_SALT : _SALT + _NONCE], inner[_SALT + _NONCE :]
    if len(pin) > PIN_CHARACTERS[1]:
        return None
    try:
        return AESGCM(_pin_key(pin, salt, int(passes), int(memory), int(lanes))).decrypt(nonce, rest, bound)
    except InvalidTag:
        return None


def _pin_key(pin: str, salt: bytes, passes: int, memory_kib: int, lanes: int) -> bytes:
    with _hashing:
        return hash_secret_raw(
            pin.encode("utf-8", "surrogatepass"), salt, passes, memory_kib, lanes, hash_len=_KEY, type=Type.ID
        )


def _session_key(ring: KeyRing, token: str) -> bytes:
    info = b"teleread unlocked signing key 1"
    return HKDF(algorithm=SHA256(), length=_KEY, salt=ring.derive(_PURPOSE), info=info).derive(token.encode())


def _bound(*words: str) -> bytes:
    return "\0".join(words).encode()


def _token_sha256(token: str) -> str:
    # as storage/accounts.py keeps it
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def decoded(text: str) -> bytes:
    """The bytes of a signature or a key as a row holds it."""
    return base64.b64decode(text)


def encoded(data: bytes) -> str:
    """A signature or a key as a row holds it."""
    return base64.b64encode(data).decode()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _public(row: object) -> PublicKey:
    values = {name: getattr(row, name) for name in ("id", "account", "algorithm", "made_at", "ended_at")}
    return PublicKey(public=base64.b64decode(getattr(row, "public_key")), **values)  # noqa: B009

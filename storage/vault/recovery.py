"""What is sealed to a key that no machine keeps: two people hold a half each, and only both together open it.

A half is the exclusive or of the private key and a random number of its length, or that number: alone it is noise.
On paper it is 16 groups of four letters of Crockford's base32 (https://www.crockford.com/base32.html), read without
regard to case, dashes and spaces, ``O`` as ``0``, ``I`` and ``L`` as ``1``: version and number of the half (1 byte),
the first bytes of the public key's SHA-256, which says which key it is a half of (4), the half (32), and the first
bytes of the SHA-256 of all that (3).

Sealing is X25519 with a fresh key, HKDF-SHA256 and AES-256-GCM in chunks of 1 MiB, whose nonces count and mark the
last chunk, so that chunks can be neither cut off, added nor exchanged.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from teleread.errors import InputRejected

KEY_BYTES = 32
_LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_READ_AS = str.maketrans("OIL", "011", " -\t\r\n\u2010\u2011\u2012\u2013\u2014\u00a0\u3000")
_HEADING = re.compile(r"(teleread )?(recovery key )?[^:：\n]*half [12] of 2[^:：\n]*[:：\n]", re.IGNORECASE)
_VERSION = 1
_TAG_BYTES = 4
_CHECK_BYTES = 3
_HALF_BYTES = 1 + _TAG_BYTES + KEY_BYTES + _CHECK_BYTES
_HALF_LETTERS = _HALF_BYTES * 8 // 5
_MAGIC = b"TRR1"
_RECIPIENT_BYTES = 8
_HEADER_BYTES = len(_MAGIC) + _RECIPIENT_BYTES + KEY_BYTES
_CHUNK = 1 << 20
_MARK = 16

Random = Callable[[int], bytes]


def new_pair(random_bytes: Random = secrets.token_bytes) -> tuple[bytes, bytes]:
    """A private key and its public one, 32 bytes each."""
    private = random_bytes(KEY_BYTES)
    return private, public_of(private)


def public_of(private: bytes) -> bytes:
    """The public key of a private one."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def fingerprint(public: bytes) -> str:
    """By what people tell recovery keys apart: 8 hexadecimal digits, nothing secret."""
    return _tag(public, _TAG_BYTES).hex()


def split(private: bytes, random_bytes: Random = secrets.token_bytes) -> tuple[str, str]:
    """Two halves of the key as text, each to be kept by another person."""
    first = random_bytes(KEY_BYTES)
    tag = _tag(public_of(private), _TAG_BYTES)
    return _written(1, tag, first), _written(2, tag, _xor(first, private))


def join(one: str, other: str) -> bytes:
    """The private key of two halves, in whichever order.

    Raises:
        InputRejected: ``recovery_half_unreadable`` (a letter that there is not, or too few or many),
            ``recovery_half_mistyped`` (its check fails), ``recovery_half_twice`` (one half given twice) and
            ``recovery_halves_mixed`` (halves of two keys).
    """
    halves = dict([_read(one), _read(other)])
    if len(halves) < 2:
        raise InputRejected("recovery_half_twice", "This is the same half twice; the other person's is needed too.")
    (tag, first), (other_tag, second) = halves[1], halves[2]
    private = _xor(first, second)
    if tag != other_tag or _tag(public_of(private), _TAG_BYTES) != tag:
        raise InputRejected("recovery_halves_mixed", "These are halves of two different keys.")
    return private


def seal_to(public: bytes, data: bytes, *, random_bytes: Random = secrets.token_bytes) -> bytes:
    """Seal bytes so that only the private key opens them. All of them stand in memory, twice."""
    fresh = X25519PrivateKey.from_private_bytes(random_bytes(KEY_BYTES))
    header = _MAGIC + _tag(public, _RECIPIENT_BYTES) + fresh.public_key().public_bytes_raw()
    cipher = _cipher(fresh.exchange(X25519PublicKey.from_public_bytes(public)), header, public)
    starts = range(0, len(data), _CHUNK) or range(1)
    whole = memoryview(data)
    sealed = [
        cipher.encrypt(_nonce(number, start == starts[-1]), whole[start : start + _CHUNK], header)
        for number, start in enumerate(starts)
    ]
    return b"".join([header, *sealed])


def open_sealed(private: bytes, blob: bytes) -> bytes:
    """The bytes that were sealed.

    Raises:
        InputRejected: ``recovery_wrong_key`` (sealed to another key) or ``recovery_damaged``.
    """
    header = blob[:_HEADER_BYTES]
    damaged = InputRejected("recovery_damaged", "What was sealed for recovery is damaged or not whole.")
    if len(blob) < _HEADER_BYTES + _MARK or not header.startswith(_MAGIC):
        raise damaged
    public = public_of(private)
    if header[len(_MAGIC) : len(_MAGIC) + _RECIPIENT_BYTES] != _tag(public, _RECIPIENT_BYTES):
        raise InputRejected("recovery_wrong_key", "This was sealed to another recovery key.")
    starts = range(_HEADER_BYTES, len(blob), _CHUNK + _MARK)
    whole = memoryview(blob)
    try:
        sender = X25519PublicKey.from_public_bytes(header[-KEY_BYTES:])
        cipher = _cipher(X25519PrivateKey.from_private_bytes(private).exchange(sender), header, public)
        return b"".join(
            cipher.decrypt(_nonce(number, start == starts[-1]), whole[start : start + _CHUNK + _MARK], header)
            for number, start in enumerate(starts)
        )
    except (InvalidTag, ValueError):
        raise damaged from None


def _cipher(shared: bytes, header: bytes, public: bytes) -> AESGCM:
    kdf = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=header + public, info=b"teleread recovery 1")
    return AESGCM(kdf.derive(shared))


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


def _tag(public: bytes, length: int) -> bytes:
    return hashlib.sha256(b"teleread recovery key\0" + public).digest()[:length]


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def _written(number: int, tag: bytes, half: bytes) -> str:
    body = bytes([_VERSION << 4 | number]) + tag + half
    value = int.from_bytes(body + _check(body), "big")
    letters = "".join(_LETTERS[value >> shift & 31] for shift in range(5 * (_HALF_LETTERS - 1), -1, -5))
    groups = [letters[start : start + 4] for start in range(0, _HALF_LETTERS, 4)]
    return f"half {number} of 2: {'-'.join(groups)}"


def _read(text: str) -> tuple[int, tuple[bytes, bytes]]:
    letters = _HEADING.sub("", text.strip(), count=1).upper().translate(_READ_AS)
    if len(letters) != _HALF_LETTERS or set(letters) - set(_LETTERS):
        raise InputRejected(
            "recovery_half_unreadable",
            f"A half has {_HALF_LETTERS} letters and digits, in groups of four, and no U.",
        )
    value = 0
    for letter in letters:
        value = value << 5 | _LETTERS.index(letter)
    whole = value.to_bytes(_HALF_BYTES, "big")
    body, check = whole[:-_CHECK_BYTES], whole[-_CHECK_BYTES:]
    number = body[0] & 15
    if check != _check(body) or body[0] >> 4 != _VERSION or number not in (1, 2):
        raise InputRejected("recovery_half_mistyped", "The half is mistyped: its check does not fit.")
    return number, (body[1 : 1 + _TAG_BYTES], body[1 + _TAG_BYTES :])


def _check(body: bytes) -> bytes:
    return hashlib.sha256(b"teleread recovery half\0" + body).digest()[:_CHECK_BYTES]

"""How an object is sealed: pure functions over bytes, without store, clock or randomness of their own.

Every stored object is a header of 128 bytes and its plaintext in chunks of 64 KiB, each sealed by itself:

    TRS1 | root 32 | intake key id 8 | data key id 8 | wrap nonce 12 | wrapped data key 48 | salt 16 | chunk | chunk ...

- The data key (32 random bytes for each raw object, shared by what is derived from it) is wrapped by an intake key
  with AES-256-GCM (NIST SP 800-38D); magic, root and both ids are authenticated with it. Its nonce is random, so one
  intake key may wrap 2^32 data keys (SP 800-38D, 8.3) and is rotated long before.
- The content key is HKDF-SHA256 (RFC 5869) of the data key, with the header's salt and the object's key, so that no
  two objects share one and no object can stand in for another.
- The chunks are sealed with AES-256-GCM in the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizar: "Online
  Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", CRYPTO 2015): the nonce is the chunk's number in 11
  bytes and one byte that says whether it is the last, so that chunks taken out, moved, repeated or appended are
  found. Deviation: AES-GCM within, as each content key is used for one object only. An empty object has one empty
  last chunk; otherwise no chunk is empty.
- The salt is 12 random bytes and the CRC-32 of the 124 bytes before it: damage to a header is told from a key that
  was retired without any key. Against malice stands GCM.
"""

from __future__ import annotations

import hmac
import struct
import zlib
from collections.abc import Callable, Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from teleread.storage.objects.protocol import DataKey, Header, corrupt
from teleread.storage.objects.raw import raw_root

MAGIC = b"TRS1"
HEADER_BYTES = 128
CHUNK_BYTES = 1 << 16
TAG_BYTES = 16
SEALED_CHUNK_BYTES = CHUNK_BYTES + TAG_BYTES
RANDOM_FOR_KEY = 32 + 8
RANDOM_FOR_SALT = 12
RANDOM_FOR_HEADER = 12 + RANDOM_FOR_SALT  # the wrap's nonce, the salt

RAW_SCOPE = "raw/sha256/"  # no object's key: it ends like a folder

_LAYOUT = struct.Struct(">4s32s8s8s12s48s12sI")
_INFO = b"teleread object 1\0"


def new_data_key(root_sha256: str, random: bytes) -> DataKey:
    """A data key of 40 random bytes."""
    return DataKey(root_sha256, random[32:40], random[:32])


def make_header(data_key: DataKey, intake: tuple[bytes, bytes], random: bytes) -> bytes:
    """A new header, 128 bytes, with the data key in it.

    Args:
        intake: id and key of the intake key that wraps it.
        random: 24 random bytes, used for nothing else: a second header from the same ones would betray the keys.
    """
    intake_id, intake_key = intake
    nonce, salt = random[:12], random[12:RANDOM_FOR_HEADER]
    start = _authenticated(data_key.root_sha256, intake_id, data_key.id)
    packed = b"".join((start, nonce, AESGCM(intake_key).encrypt(nonce, data_key.key, start), salt))
    return packed + zlib.crc32(packed).to_bytes(4, "big")


def unpack_header(stored: bytes, key: str) -> Header:
    """Read the header off the start of an object's sealed bytes.

    Raises:
        StorageError: ``object_corrupt`` when it is none, is damaged, or belongs to another raw object.
    """
    packed = bytes(stored[:HEADER_BYTES])
    if len(packed) != HEADER_BYTES:
        raise corrupt(key)
    magic, root, intake_id, data_key_id, nonce, wrapped, _, check = _LAYOUT.unpack(packed)
    if magic != MAGIC or check != zlib.crc32(packed[:-4]) or raw_root(key) not in (None, root.hex()):
        raise corrupt(key)
    return Header(root.hex(), intake_id, data_key_id, nonce, wrapped, packed[-16:])


def unwrap(header: Header, intake_key: bytes, key: str) -> DataKey:
    """The data key of an object's header.

    Raises:
        StorageError: ``object_corrupt`` when the intake key did not wrap this.
    """
    start = _authenticated(header.root_sha256, header.intake_id, header.data_key_id)
    try:
        data_key = AESGCM(intake_key).decrypt(header.wrap_nonce, header.wrapped, start)
    except InvalidTag as error:
        raise corrupt(key) from error
    return DataKey(header.root_sha256, header.data_key_id, data_key)


def _authenticated(root_sha256: str, intake_id: bytes, data_key_id: bytes) -> bytes:
    return b"".join((MAGIC, bytes.fromhex(root_sha256), intake_id, data_key_id))


def content_key(data_key: bytes, salt: bytes, key: str) -> bytes:
    """The key of one object's chunks, 32 bytes: HKDF-SHA256, RFC 5869, one block.

    Args:
        data_key: 32 bytes.
        salt: of the header; only its 12 random bytes count.
        key: of the object.

    A raw object is bound to its place by its root, because its key is known only when all its bytes have passed;
    so its scope is the folder of them all, which is no object's key.
    """
    scope = key if raw_root(key) is None else RAW_SCOPE
    extracted = hmac.digest(salt[:RANDOM_FOR_SALT], data_key, "sha256")
    return hmac.digest(extracted, _INFO + scope.encode() + b"\1", "sha256")


def seal_chunks(plaintext: bytes | memoryview, content: bytes, *, first: int, ends: bool) -> Iterator[bytes]:
    """Seal plaintext in chunks of 64 KiB.

    Args:
        plaintext: a whole number of chunks, unless it ends the object. Empty only where the object is.
        content: the content key.
        first: number of its first chunk.
        ends: whether its last chunk is the object's.
    """
    seal: Callable[[bytes, memoryview, None], bytes] = AESGCM(content).encrypt
    view = memoryview(plaintext)
    last = max(0, (len(view) - 1) // CHUNK_BYTES)
    for i in range(last + 1):
        piece = view[i * CHUNK_BYTES : (i + 1) * CHUNK_BYTES]
        yield seal(_nonce(first + i, ends and i == last), piece, None)


def open_chunks(sealed: bytes | memoryview, content: bytes, key: str, *, first: int, ends: bool) -> Iterator[bytes]:
    """Open sealed chunks; each is given out only when it is authentic.

    Args:
        sealed: whole sealed chunks, the last of them shorter only where the object ends.
        content: the content key.
        key: of the object, for the error.
        first: number of the first chunk here.
        ends: whether nothing follows.

    Raises:
        StorageError: ``object_corrupt``.
    """
    unseal: Callable[[bytes, memoryview, None], bytes] = AESGCM(content).decrypt
    view = memoryview(sealed)
    last = max(0, (len(view) - 1) // SEALED_CHUNK_BYTES)
    for i in range(last + 1):
        piece = view[i * SEALED_CHUNK_BYTES : (i + 1) * SEALED_CHUNK_BYTES]
        number = first + i
        if len(piece) < TAG_BYTES or (len(piece) == TAG_BYTES and number > 0):
            raise corrupt(key)
        try:
            yield unseal(_nonce(number, ends and i == last), piece, None)
        except InvalidTag as error:
            raise corrupt(key) from error


def _nonce(number: int, is_last: bool) -> bytes:
    return (number << 8 | is_last).to_bytes(12, "big")


def sealed_size(size_bytes: int) -> int:
    """How many bytes are stored for a plaintext of so many."""
    return HEADER_BYTES + size_bytes + TAG_BYTES * max(1, -(-size_bytes // CHUNK_BYTES))


def plain_size(stored_bytes: int) -> int | None:
    """How many bytes of plaintext so many stored ones hold; None where no object has that size."""
    full, rest = divmod(stored_bytes - HEADER_BYTES, SEALED_CHUNK_BYTES)
    if full < 0 or (rest == 0 and full == 0):
        return None
    if rest == 0:
        return full * CHUNK_BYTES
    if rest < TAG_BYTES or (rest == TAG_BYTES and full > 0):
        return None
    return full * CHUNK_BYTES + rest - TAG_BYTES

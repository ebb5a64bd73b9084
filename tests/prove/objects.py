"""Proofs about sealed objects on the file store."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from teleread.storage.objects import FileBlobs, SealedStore
from teleread.storage.objects.sealing import CHUNK_BYTES, HEADER_BYTES, SEALED_CHUNK_BYTES
from tests.contract import storage_child
from tests.contract.keys import TestKeys
from tests.contract.stored_objects import forge, says

SIZES = (0, 1, 100, CHUNK_BYTES, CHUNK_BYTES + 1, *(n * CHUNK_BYTES for n in (2, 3, 4, 5)))
TWO_GIGABYTES = 2 << 30


@contextmanager
def damaged_objects() -> Iterator[Callable[[int], None]]:
    """Whatever happens to the sealed bytes of an object, no way of reading it gives anything out as its bytes."""
    with tempfile.TemporaryDirectory() as folder:
        store = SealedStore(FileBlobs(Path(folder)), TestKeys())

        def prove(number: int) -> None:
            chance = random.Random(number)
            data = chance.randbytes(chance.choice((*SIZES, chance.randrange(4 * CHUNK_BYTES))))
            raw = store.put_raw(data)
            key = raw.key if chance.random() < 0.5 else store.put("derived", data, root=raw.sha256).key
            whole = store.blobs.get(key)
            damaged = whole
            while damaged == whole:
                damaged = damage(whole, chance)
            forge(store.blobs, key, damaged)
            try:
                says(store, key, "object_corrupt", number)
            finally:
                for one in (key, raw.key):
                    store.delete(one)

        yield prove


def damage(stored: bytes, chance: random.Random) -> bytes:
    """A few bits turned over, bytes replaced, a part taken out, doubled or moved, or something added."""
    aligned = chance.random() < 0.5
    start, end = sorted((_place(stored, chance, aligned), _place(stored, chance, aligned)))
    part = stored[start:end]
    kind = chance.randrange(7)
    if kind == 0:
        rotten = bytearray(stored)
        for _ in range(chance.choice((1, 1, 1, 2, 8))):
            rotten[chance.randrange(len(rotten))] ^= 1 << chance.randrange(8)
        return bytes(rotten)
    if kind == 1:
        return stored[:start]
    if kind == 2:
        return stored[:start] + stored[end:]
    if kind == 3:
        return stored[:end] + part + stored[end:]
    if kind == 4:
        rest = stored[:start] + stored[end:]
        place = _place(rest, chance, aligned)
        return rest[:place] + part + rest[place:]
    if kind == 5:
        return stored[:start] + chance.randbytes(len(part)) + stored[end:]
    return stored + chance.randbytes(chance.choice((1, 16, 1000)))


def _place(stored: bytes, chance: random.Random, aligned: bool) -> int:
    """The border of a chunk, or anywhere."""
    if aligned:
        return min(len(stored), HEADER_BYTES + SEALED_CHUNK_BYTES * chance.randrange(5))
    return chance.randrange(len(stored) + 1)


@contextmanager
def two_gigabytes() -> Iterator[Callable[[int], None]]:
    """An object of 2 GiB goes in and comes out in the memory that one of 1 MiB takes, within 8 MiB."""
    with tempfile.TemporaryDirectory(dir=".") as folder:

        def prove(number: int) -> None:
            status, said = storage_child.run("big", folder, str(TWO_GIGABYTES))
            assert status == 0
            before, after = map(int, said)
            assert after - before < 8 * 1024, (before, after)

        yield prove

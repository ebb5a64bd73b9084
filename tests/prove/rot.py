"""Flipped bits anywhere in what is stored: each is found, and nothing else is named."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sqlalchemy import insert

from teleread.pipeline.scrub import Fault, scrub
from teleread.storage.catalogue.database import Database
from teleread.storage.catalogue.schema import objects
from teleread.storage.objects import FileBlobs, SealedStore
from tests.contract.keys import TestKeys

_AT = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
_EACH = 10  # flips that stand when everything is read


@contextmanager
def flipped_bits() -> Iterator[Callable[[int], None]]:
    """The numbers are single flips; every ten of them stand together and are looked for in one reading."""
    with tempfile.TemporaryDirectory() as folder:
        services = filled(Path(folder))
        store: SealedStore = services.store
        sizes = {info.key: info.size_bytes for info in store.blobs.list()}

        def prove(number: int) -> None:
            if number % _EACH:
                return
            chance = random.Random(number)
            flips = {key: chance.randrange(8 * sizes[key]) for key in chance.sample(sorted(sizes), _EACH)}
            for key, bit in flips.items():
                flip(Path(folder) / "objects" / key, bit)
            found: set[Fault] = set()
            scrub(services, fresh=True, tell=found.add)
            for key, bit in flips.items():
                flip(Path(folder) / "objects" / key, bit)
            assert found == {Fault(key, "object_corrupt") for key in flips}, (number, flips)

        yield prove
        services.catalogue.close()


def filled(home: Path) -> Any:
    """A store with objects of every kind and of sizes around those of the chunks, and their rows."""
    catalogue = Database(f"sqlite:///{home / 'catalogue.db'}")
    catalogue.migrate()
    store = SealedStore(FileBlobs(home / "objects"), TestKeys())
    chance = random.Random(1)
    rows = []
    for number, size in enumerate([1, 100, 4_000, 65_535, 65_536, 65_537, 131_072, 200_000] * 3):
        raw = store.put_raw(chance.randbytes(size))
        derived = store.put(f"derived/1/{number:032x}/wave", chance.randbytes(size // 2 + 1), root=raw.sha256)
        note = store.put(f"corrections/{number:032x}", chance.randbytes(300), root=raw.sha256)
        rows += [(one.key, one.sha256, one.size_bytes) for one in (raw, derived, note)]
    with catalogue.write() as conn:
        for key, sha256, size in rows:
            conn.execute(insert(objects).values(key=key, sha256=sha256, size_bytes=size, created_at=_AT))
    return SimpleNamespace(catalogue=catalogue, store=store, clock=lambda: _AT)


def flip(path: Path, bit: int) -> None:
    """Change one bit of a file in its place."""
    with path.open("r+b") as file:
        file.seek(bit // 8)
        old = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([old ^ 1 << bit % 8]))

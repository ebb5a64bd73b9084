"""Store and catalogue side by side: both in ascending order, merged in one pass, in constant memory.

The unit is a *group*: a raw object by itself, all derived objects of one arrival and version, any other object by
itself. Groups come in the store's order, which is that of the bytes of the keys. A database may sort by other rules,
that of a language for example, but within these keys, which differ only in digits and the letters a to f up to the
end of the group, all such rules agree; an order that does not is noticed and refused.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from sqlalchemy import Row, select

from teleread.errors import StorageError
from teleread.storage.catalogue.database import Database
from teleread.storage.catalogue.schema import derived, objects
from teleread.storage.objects.protocol import ObjectInfo, ObjectStore

RAW = "raw/sha256/"
DERIVED = "derived/"
PLAIN = ("keyring/", "certificates/")  # no object key seals these: they outlive every key, and check themselves
_PAGE = 1000


@dataclass(slots=True)
class Pair:
    """One group: what the store has, what the catalogue has."""

    group: str
    stored: dict[str, ObjectInfo] = field(default_factory=dict)
    rows: dict[str, Row[Any]] = field(default_factory=dict)


def group_of(key: str) -> str:
    """What the key is compared with together."""
    if key.startswith(DERIVED):
        return "/".join(key.split("/", 3)[:3]) + "/"
    return key


def pairs(
    database: Database,
    store: ObjectStore,
    prefix: str = "",
    *,
    after: str = "",
    versions: Collection[str] | None = None,
) -> Iterator[Pair]:
    """All groups that begin with the prefix and come after the group of a key, in ascending order.

    What is stored or removed meanwhile may be seen on one side alone: look again before acting on a difference.

    Args:
        database, store: what is compared.
        prefix: of the keys.
        after: a key.
        versions: of derived objects; None asks the catalogue for all, which reads a whole table through.

    Raises:
        StorageError: ``catalogue_order`` when the database's order is none that this can follow.
    """
    start = group_of(after)
    sealed = (info for info in store.list(prefix, after=after) if not info.key.startswith(PLAIN))
    listed = groupby(sealed, key=lambda info: group_of(info.key))
    left = ((group, {info.key: info for info in infos}) for group, infos in listed if group > start)
    # groupby's inner iterator ends with the next group, so it is read at once
    right = _grouped_rows(database, _versions(database) if versions is None else versions, prefix, start)
    stored, rows = next(left, None), next(right, None)
    while stored is not None or rows is not None:
        group = min(side[0] for side in (stored, rows) if side is not None)
        pair = Pair(group)
        if stored is not None and stored[0] == group:
            pair.stored = stored[1]
            stored = next(left, None)
        if rows is not None and rows[0] == group:
            pair.rows = rows[1]
            rows = next(right, None)
        yield pair


def stored_versions(store: ObjectStore) -> set[str]:
    """Versions of which derived objects are stored, found without listing them all."""
    found: set[str] = set()
    after = ""
    while (info := next(store.list(DERIVED, after=after), None)) is not None:
        found.add(version := info.key.split("/")[1])
        after = f"{DERIVED}{version}/{'z' * 40}"  # behind all of them, since arrival ids are hexadecimal
    return found


def _versions(database: Database) -> Collection[str]:
    with database.read() as conn:
        return conn.scalars(select(derived.c.code_version).distinct()).all()


def _grouped_rows(
    database: Database, versions: Collection[str], prefix: str, start: str
) -> Iterator[tuple[str, dict[str, Row[Any]]]]:
    last = ""
    for section, low, high in _sections(versions):
        if not (section.startswith(prefix) or prefix.startswith(section)):
            continue
        if start.startswith(section):
            low = start
        within = max(section, prefix, key=len)  # one begins with the other
        rows = (row for row in _rows(database, low, high) if row.key.startswith(within))
        for group, members in groupby(rows, key=lambda row: group_of(row.key)):
            if group <= start:
                continue
            if group <= last:
                raise StorageError("catalogue_order", "the catalogue's order of keys cannot be followed")
            last = group
            yield group, {row.key: row for row in members}


def _sections(versions: Collection[str]) -> Sequence[tuple[str, str, str]]:
    """Prefix, lowest and highest key of each part of the catalogue's objects, in ascending order."""
    derived_parts = sorted(f"{DERIVED}{version}/" for version in versions)
    return [(part, f"{part}0", f"{part}g") for part in derived_parts] + [(RAW, f"{RAW}00/", f"{RAW}fg")]


def _rows(database: Database, low: str, high: str) -> Iterator[Row[Any]]:
    while True:
        page = select(objects).where(objects.c.key > low, objects.c.key < high).order_by(objects.c.key).limit(_PAGE)
        with database.read() as conn:
            found = conn.execute(page).all()
        yield from found
        if len(found) < _PAGE:
            return
        low = found[-1].key

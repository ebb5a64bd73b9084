"""Store and catalogue side by side: both in ascending order, merged in one pass, in constant memory.

The unit is a *group*: a raw object by itself, all derived objects of one arrival and version, any other object by
itself. Groups come in the store's order, which is that of the bytes of the keys. A database may sort by other rules,
that of a language for example, but within these keys, which differ only in digits and the letters a to f up to the
end of the group, all such rules agree; an order that does not is noticed and refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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


def pairs(database: Database, store: ObjectStore, prefix: str = "", *, after: str = "") -> Iterator[Pair]:
    """All groups that begin with the prefix and come after the group of a key, in ascending order.

    What is stored or removed meanwhile may be seen on one side alone: look again before acting on a difference.

    Raises:
        StorageError: ``catalogue_order`` when the database's order is none that this can follow.
    """
    start = group_of(after)
    listed = groupby(store.list(prefix, after=after), key=lambda info: group_of(info.key))
    left = ((group, {info.key: info for info in infos}) for group, infos in listed if group > start)
    # groupby's inner iterator ends with the next group, so it is read at once
    right = _grouped_rows(database, prefix, start)
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


def _grouped_rows(database: Database, prefix: str, start: str) -> Iterator[tuple[str, dict[str, Row[Any]]]]:
    last = ""
    for section, low, high in _sections(database):
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


def _sections(database: Database) -> Sequence[tuple[str, str, str]]:
    """Prefix, lowest and highest key of each part of the catalogue's objects, in ascending order."""
    with database.read() as conn:
        versions = conn.scalars(select(derived.c.code_version).distinct()).all()
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

"""Small questions that several parts ask the catalogue."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from teleread.storage.catalogue.schema import derived


def derived_key(conn: Connection, arrival_id: str, name: str) -> str | None:
    """Where a derived object lies: the one of the newest code version that has made one.

    What an older version found stays in view until a newer one has looked.
    """
    version = derived.c.code_version
    query = (
        select(derived.c.object_key)
        .where(derived.c.arrival_id == arrival_id, derived.c.name == name)
        .order_by(func.length(version).desc(), version.desc())
        .limit(1)
    )
    return conn.scalar(query)

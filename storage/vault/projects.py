"""What patients are called in exports: by project, from secrets that stand in their entries alone."""

from __future__ import annotations

import hmac
import re
from typing import Any

from sqlalchemy import Connection, select, update

from teleread.errors import InputRejected
from teleread.storage.catalogue.database import insert_missing
from teleread.storage.vault.database import VaultDatabase
from teleread.storage.vault.entries import Entries, again
from teleread.storage.vault.schema import project_keys

_PROJECT = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_MOST_DAYS = 365


class Projects:
    """Project keys, wrapped by a master key, and what follows from them."""

    def __init__(self, database: VaultDatabase, entries: Entries) -> None:
        self._database = database
        self._entries = entries

    def key(self, name: str) -> bytes:
        """The project's key, made at the first call. Raises ``InputRejected("bad_project_name")``."""
        if not _PROJECT.fullmatch(name):
            raise InputRejected("bad_project_name", "a project name has 1 to 64 lower-case letters, digits and ._-")

        def look() -> bytes | None:
            with self._database.read() as conn:
                return self._find(conn, name)

        def make() -> bytes | None:
            with self._database.write() as conn:
                self._database.keep_masters(conn)
                master_id, wrapped = self._entries.envelopes.wrap("project", name, self._entries.envelopes.new_key())
                insert_missing(
                    conn, project_keys, [{"name": name, "master_id": master_id, "wrapped": wrapped}], ["name"]
                )
                return self._find(conn, name)

        key = again(look) or again(make)
        assert key is not None
        return key

    def pseudonym(self, project: str, pseudonym: str) -> str:
        """``X`` and 20 hexadecimal digits."""
        return "X" + self._derived(project, pseudonym, b"pseudonym").hex()[:20]

    def date_shift_days(self, project: str, pseudonym: str) -> int:
        """-365 to -1. Taken from 256 bits, so that no number of days is likelier than another by more than 2^-247."""
        return -1 - int.from_bytes(self._derived(project, pseudonym, b"days"), "big") % _MOST_DAYS

    def seal_plain(self, conn: Connection) -> int:
        """Wrap the keys that the older version wrote plain, and empty their column; how many that was."""
        rows = conn.execute(select(project_keys).where(project_keys.c.key.is_not(None)).with_for_update()).all()
        for row in rows:
            values: dict[str, Any] = {"key": None}
            if row.wrapped is None:
                master_id, wrapped = self._entries.envelopes.wrap("project", row.name, bytes(row.key))
                values |= {"master_id": master_id, "wrapped": wrapped}
            conn.execute(update(project_keys).where(project_keys.c.name == row.name).values(**values))
        return len(rows)

    def _find(self, conn: Connection, name: str) -> bytes | None:
        row = conn.execute(select(project_keys).where(project_keys.c.name == name)).one_or_none()
        if row is None:
            return None
        if row.wrapped is None:
            return bytes(row.key)  # of the older version, since the vault was opened
        return self._entries.envelopes.unwrap("project", name, row.master_id, row.wrapped)

    def _derived(self, project: str, pseudonym: str, what: bytes) -> bytes:
        key = self.key(project)

        def look() -> bytes:
            with self._database.read() as conn:
                return self._entries.get(conn, pseudonym).entry.export_secret

        return hmac.digest(key, b"teleread export 1\0" + what + b"\0" + again(look), "sha256")

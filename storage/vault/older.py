"""What the version before wrote in plain columns: sealed and emptied whenever the vault is opened."""

from __future__ import annotations

import contextlib

from sqlalchemy import select

from teleread.errors import StorageError
from teleread.storage.vault.database import VaultDatabase
from teleread.storage.vault.entries import Entries, record
from teleread.storage.vault.projects import Projects
from teleread.storage.vault.schema import identities, project_keys

_AT_ONCE = 500


def seal(database: VaultDatabase, entries: Entries, projects: Projects) -> int:
    """Seal every plain row, 500 in a transaction; how many there were.

    A patient whom old and new code enrolled side by side has two pseudonyms afterwards. Both can be joined, the
    sealed one is given from then on, and an event says so.
    """
    sealed = 0
    while some := _seal_some(database, entries):
        sealed += some
    with database.read() as conn:
        plain = conn.execute(select(project_keys.c.name).where(project_keys.c.key.is_not(None))).first()
    if plain is not None:
        with database.write() as conn:
            database.keep_masters(conn)
            sealed += projects.seal_plain(conn)
    if sealed:
        # what stood in the rows waits in free pages; a busy database keeps it until somebody compacts it
        with contextlib.suppress(StorageError):
            database.compact()
    return sealed


def _seal_some(database: VaultDatabase, entries: Entries) -> int:
    plain = select(identities).where(identities.c.master_id.is_(None)).order_by(identities.c.pseudonym).limit(_AT_ONCE)
    with database.read() as conn:  # as a rule there is nothing, and readers wait for nobody
        if conn.execute(plain).first() is None:
            return 0
    with database.write() as conn:
        database.keep_masters(conn)
        rows = conn.execute(plain.with_for_update()).all()
        for row in rows:
            doubled = entries.seal_plain(conn, row)
            if doubled is not None:
                record(conn, row.changed_at, "vault", "enrolled_twice", row.pseudonym, {"other": doubled})
    return len(rows)

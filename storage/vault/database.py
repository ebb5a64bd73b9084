"""The vault's connections: what is removed leaves no bytes behind, and a rotation waits for whoever still wraps."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from sqlalchemy import Connection, text

from teleread.errors import StorageError
from teleread.storage.catalogue.database import Database
from teleread.storage.catalogue.failures import translated
from teleread.storage.vault.schema import VAULT, identities, project_keys

_MASTERS_LOCK = 0x7E1E5EA1


class VaultDatabase(Database):
    """The vault's database.

    Args:
        url: as for ``Database``; never the catalogue's.
        wait_s: how long a writer waits for another.
        before_use: called before each transaction, with this database.
    """

    def __init__(
        self, url: str, *, wait_s: float = 30.0, before_use: Callable[[VaultDatabase], None] = lambda _self: None
    ) -> None:
        super().__init__(url, wait_s=wait_s, migrations=VAULT, secure_delete=True)
        self._before_use = before_use

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """See :meth:`Database.read`."""
        self._before_use(self)
        with super().read() as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """See :meth:`Database.snapshot`."""
        self._before_use(self)
        with super().snapshot() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """See :meth:`Database.write`."""
        self._before_use(self)
        with super().write() as connection:
            yield connection

    def keep_masters(self, conn: Connection) -> None:
        """No master key is dropped until this transaction ends. To be called before one is chosen to wrap with."""
        if not self.is_sqlite:  # there a writer is alone anyway
            conn.execute(text("SELECT pg_advisory_xact_lock_shared(:key)"), {"key": _MASTERS_LOCK})

    def hold_writers(self, conn: Connection) -> None:
        """Until this transaction ends nobody wraps anything; whoever did so has committed."""
        if not self.is_sqlite:
            conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MASTERS_LOCK})

    def checkpoint(self) -> None:
        """On SQLite, bring the write-ahead log into the file and empty it: it holds pages as they were before.

        Raises:
            StorageError: ``vault_busy`` where a reader did not end in time.
        """
        if self._path is not None and self._on_sqlite("PRAGMA wal_checkpoint(TRUNCATE)")[0]:
            raise StorageError("vault_busy", "a reader kept the write-ahead log from being emptied; try again")

    def compact(self) -> None:
        """Write the tables anew, so that nothing of what they held before stays in free pages.

        Raises:
            StorageError: ``vault_busy``, ``vault_full`` and so on.
        """
        if self._path is not None:
            self._on_sqlite("VACUUM")
            self.checkpoint()
            return
        with translated(self._migrations.name), self._engine.connect() as connection:
            alone = connection.execution_options(isolation_level="AUTOCOMMIT")
            for table in (identities, project_keys):
                alone.execute(text(f"VACUUM FULL {table.name}"))

    def _on_sqlite(self, command: str) -> Any:
        """What cannot run inside a transaction, on a connection that begins none."""
        try:
            with closing(sqlite3.connect(str(self._path), timeout=self._wait_s, isolation_level=None)) as connection:
                return connection.execute(command).fetchone()
        except sqlite3.Error as error:
            name = getattr(error, "sqlite_errorname", "SQLITE_ERROR")
            code = "vault_busy" if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")) else "vault_io"
            raise StorageError(code, f"the vault's file could not be cleaned ({name})") from None

"""Catalogue, accounts and vault on SQLite."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from sqlalchemy import insert, text

from teleread.errors import Misconfigured, StorageError
from teleread.storage.catalogue import autogenerate, schema
from teleread.storage.catalogue.database import Database
from teleread.storage.catalogue.migrate import CATALOGUE
from teleread.storage.vault import KeyRing, Vault
from tests.conftest import Clock
from tests.contract.accounts_contract import AccountsContract
from tests.contract.catalogue_contract import CatalogueContract, add_object, an_object, object_keys
from tests.contract.vault_contract import VaultContract


class TestCatalogueOnSqlite(CatalogueContract):
    def test_a_writer_holds_its_lock_from_its_first_moment(self, database: Database, url: str) -> None:
        """A deferred transaction would take it at its first statement, and could then fail half-way."""
        impatient = Database(url, wait_s=0)
        with database.write(), pytest.raises(StorageError) as failed:
            add_object(impatient, "a")
        impatient.close()
        assert failed.value.code == "catalogue_busy"

    def test_what_is_committed_is_on_the_disk(self, database: Database) -> None:
        with database.write() as conn:
            settings = [
                conn.execute(text(f"PRAGMA {name}")).scalar_one()
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            ]
        assert settings == ["wal", 2, 1, 30_000]

    def test_a_full_disk_is_said_and_leaves_the_rows_as_they_were(self, database: Database) -> None:
        add_object(database, "a")

        def fill() -> None:
            with database.write() as conn:
                conn.execute(text("PRAGMA max_page_count = 1"))
                conn.execute(insert(schema.objects), [an_object(f"{i:0200}") for i in range(1000)])

        with pytest.raises(StorageError) as failed:
            fill()
        assert failed.value.code == "catalogue_full"
        assert object_keys(database) == ["a"]

    def test_a_damaged_file_is_said_to_be_one(self, tmp_path: Path) -> None:
        path = tmp_path / "catalogue.sqlite"
        path.write_bytes(b"not a database" * 1000)
        database = Database(f"sqlite:///{path}")
        with pytest.raises(StorageError) as failed:
            object_keys(database)
        assert failed.value.code == "catalogue_corrupt"
        database.close()

    def test_an_unusable_folder_is_said_to_be_one(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(StorageError) as failed:
            Database(f"sqlite:///{tmp_path}/file/catalogue.sqlite")
        assert failed.value.code == "catalogue_unreachable"

    @pytest.mark.parametrize("kind", [Database, Vault])
    def test_files_are_readable_by_their_owner_alone(
        self, tmp_path: Path, clock: Clock, kind: type[Database] | type[Vault]
    ) -> None:
        before = os.umask(0)
        try:
            url = f"sqlite:///{tmp_path}/private/db.sqlite"
            database = Database(url) if kind is Database else Vault(url, KeyRing.open(tmp_path / "ring", clock=clock))
            database.migrate()
            if isinstance(database, Vault):
                database.project_key("any")
            else:
                add_object(database, "a")
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "private").iterdir()}
            database.close()
        finally:
            os.umask(before)
        assert modes == dict.fromkeys(("db.sqlite", "db.sqlite-wal", "db.sqlite-shm", "db.sqlite.lock"), 0o600)
        assert stat.S_IMODE((tmp_path / "private").stat().st_mode) == 0o700

    def test_an_open_file_is_made_private_too(self, tmp_path: Path) -> None:
        path = tmp_path / "catalogue.sqlite"
        path.touch(mode=0o644)
        Database(f"sqlite:///{path}").close()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    @pytest.mark.parametrize(
        "url",
        [
            "",
            "sqlite://",
            "sqlite:///:memory:",
            "sqlite:///file:x?mode=ro",
            "mysql://h/x",
            "sqlite:///x?timeout=1",
            "postgresql+psycopg2://h/x",
            "postgresql://h:port/x",
        ],
    )
    def test_a_url_that_promises_less_is_refused(self, url: str) -> None:
        with pytest.raises(Misconfigured) as refused:
            Database(url)
        assert refused.value.code == "bad_database_url"

    def test_a_schema_that_its_revisions_reach_needs_no_new_one(self) -> None:
        with pytest.raises(SystemExit, match="already"):
            autogenerate.write_revision(CATALOGUE, "nothing")


class TestAccountsOnSqlite(AccountsContract):
    pass


class TestVaultOnSqlite(VaultContract):
    pass

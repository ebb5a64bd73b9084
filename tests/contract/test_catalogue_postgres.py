"""Catalogue, accounts and vault on PostgreSQL."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Connection, text

from teleread.errors import StorageError
from teleread.storage.catalogue.database import Database
from teleread.storage.vault import KeyRing, Vault
from teleread.storage.vault.database import VaultDatabase
from teleread.storage.vault.entries import Entries
from tests.contract.accounts_contract import AccountsContract
from tests.contract.catalogue_contract import AT, CatalogueContract, add_object, object_keys
from tests.contract.vault_contract import VaultContract

pytestmark = pytest.mark.peers


class TestCatalogueOnPostgres(CatalogueContract):
    def test_a_connection_that_was_cut_is_said_and_replaced(self, database: Database, url: str) -> None:
        other = Database(url)

        def be_cut() -> None:
            with database.write() as conn:
                number = conn.execute(text("SELECT pg_backend_pid()")).scalar_one()
                with other.write() as rival:
                    rival.execute(text("SELECT pg_terminate_backend(:number, 5000)"), {"number": number})
                conn.execute(text("SELECT 1"))

        with pytest.raises(StorageError) as failed:
            be_cut()
        assert failed.value.code == "catalogue_unreachable"
        add_object(database, "a")
        assert object_keys(database) == ["a"]
        other.close()

    def test_connections_cut_while_they_lay_idle_are_replaced_unnoticed(self, database: Database, url: str) -> None:
        add_object(database, "a")
        other = Database(url)
        with other.write() as conn:
            conn.execute(
                text(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        add_object(database, "b")
        assert object_keys(database) == ["a", "b"]
        other.close()

    def test_a_server_that_is_gone_is_said_to_be(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        database = Database(f"postgresql+psycopg://teleread:s3cret@127.0.0.1:{port}/nothing")
        with pytest.raises(StorageError) as failed:
            object_keys(database)
        assert failed.value.code == "catalogue_unreachable"
        assert "s3cret" not in str(failed.value)

    def test_a_value_that_does_not_fit_is_said_without_the_value(self, database: Database) -> None:
        for value in ("x" * 201, "a\x00b"):
            with pytest.raises(StorageError) as failed:
                add_object(database, value)
            assert failed.value.code == "catalogue_bad_value"
            assert value not in str(failed.value)


class TestAccountsOnPostgres(AccountsContract):
    pass


class TestVaultOnPostgres(VaultContract):
    @pytest.mark.parametrize("rightly", [True, False])
    def test_a_rotation_waits_for_whoever_has_wrapped_and_not_committed(
        self, vault: Vault, ring: KeyRing, monkeypatch: pytest.MonkeyPatch, rightly: bool
    ) -> None:
        """The broken twin does not wait, and destroys the key that an entry is being written with."""
        wrapped, holding = threading.Event(), threading.Event()
        real_wrap, real_hold = Entries._wrapped, VaultDatabase.hold_writers

        def wrap(self: Entries, pseudonym: str, key: bytes) -> Any:
            values = real_wrap(self, pseudonym, key)
            wrapped.set()
            assert holding.wait(60)
            return values

        def hold(self: VaultDatabase, conn: Connection) -> None:
            if rightly:
                holding.set()
                real_hold(self, conn)

        monkeypatch.setattr(Entries, "_wrapped", wrap)
        monkeypatch.setattr(VaultDatabase, "hold_writers", hold)
        with ThreadPoolExecutor(1) as threads:
            enrolled = threads.submit(vault.enroll, self.zhang, AT)
            assert wrapped.wait(60)
            vault.rotate()
            holding.set()
            pseudonym = enrolled.result(60).pseudonym
        if rightly:
            assert self.who_is(vault, pseudonym) == self.zhang
        else:
            with pytest.raises(StorageError) as lost:
                self.who_is(vault, pseudonym)
            assert lost.value.code == "vault_key_missing"
        assert len([one for one in ring.masters() if one.retired_at is None]) == 1

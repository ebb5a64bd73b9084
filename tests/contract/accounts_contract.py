"""Promises of the accounts and of the vault, the same on SQLite and on PostgreSQL."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, text

from teleread.errors import AccessDenied, Conflict, InputRejected, StorageError
from teleread.storage import accounts
from teleread.storage.catalogue import schema
from teleread.storage.catalogue.database import Database
from teleread.storage.vault import Identity, Vault
from teleread.storage.vault import schema as vault_schema
from tests.contract.catalogue_contract import (
    AT,
    DatabaseFixtures,
    at_once,
)
from tests.contract.storage_child import answer, child, tell


class AccountsContract(DatabaseFixtures):
    """Sign-in and sessions."""

    @pytest.fixture
    def reader(self, database: Database) -> accounts.Account:
        with database.write() as conn:
            return accounts.create_account(conn, "reader1", "correct horse", "reader", None, AT)

    def actions(self, database: Database) -> list[tuple[str, str, str]]:
        events = schema.audit_events.c
        with database.read() as conn:
            rows = conn.execute(select(events.actor, events.action, events.object_id).order_by(events.id)).all()
            return [tuple(row) for row in rows]

    def test_the_right_password_signs_in_and_each_try_is_an_event(
        self, database: Database, reader: accounts.Account
    ) -> None:
        assert accounts.sign_in(database, "reader1", "correct horse", AT) == reader
        assert accounts.sign_in(database, "reader1", "correct horsf", AT) is None
        assert accounts.sign_in(database, "my password", "reader1", AT) is None
        assert self.actions(database) == [
            ("system", "create_account", "reader1"),
            ("reader1", "sign_in", "reader1"),
            ("anonymous", "sign_in_failed", "reader1"),
            ("anonymous", "sign_in_failed", "unknown"),
        ]

    def test_verify_does_the_same_inside_a_transaction(self, database: Database, reader: accounts.Account) -> None:
        with database.write() as conn:
            assert accounts.verify(conn, "reader1", "correct horse", AT) == reader
            assert accounts.verify(conn, "reader1", "wrong", AT) is None
            assert accounts.verify(conn, "nobody", "wrong", AT) is None

    @pytest.mark.parametrize("name", ["nobody", "", "READER1", "reader1 ", "x" * 1000, "a\x00b", "\ud800", "张三"])
    def test_strange_input_is_only_wrong(self, database: Database, reader: accounts.Account, name: str) -> None:
        for password in ("correct horse", "\ud800", "a\x00", "x" * 100_000):
            assert accounts.sign_in(database, name, password, AT) is None

    def test_an_unknown_name_takes_a_hash_too(
        self, database: Database, reader: accounts.Account, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hashed: list[str] = []
        real = accounts._hasher.verify

        class Counting:
            check_needs_rehash = staticmethod(accounts._hasher.check_needs_rehash)
            hash = staticmethod(accounts._hasher.hash)

            def verify(self, stored: str, password: bytes) -> bool:
                hashed.append(stored)
                return real(stored, password)

        monkeypatch.setattr(accounts, "_hasher", Counting())
        accounts.sign_in(database, "nobody", "whatever it is", AT)
        accounts.sign_in(database, "reader1", "whatever it is", AT)
        nobody, somebody = (stored.rsplit("$", 2)[0] for stored in hashed)
        assert nobody == somebody  # algorithm and cost

    @pytest.mark.parametrize("name", ["reader1", "nobody"])
    def test_a_sixth_try_within_a_minute_is_refused(
        self, database: Database, reader: accounts.Account, name: str
    ) -> None:
        for second in range(5):
            assert accounts.sign_in(database, name, "wrong guess", AT + timedelta(seconds=second)) is None
        for second in (5, 59):
            with pytest.raises(AccessDenied) as refused:
                accounts.sign_in(database, name, "correct horse", AT + timedelta(seconds=second))
            assert refused.value.code == "too_many_attempts"
        assert accounts.sign_in(database, "another", "wrong guess", AT) is None
        later = accounts.sign_in(database, name, "correct horse", AT + timedelta(seconds=60))
        assert later == (reader if name == "reader1" else None)

    def test_success_starts_the_count_anew(self, database: Database, reader: accounts.Account) -> None:
        for _ in range(3):
            for _ in range(4):
                assert accounts.sign_in(database, "reader1", "wrong guess", AT) is None
            assert accounts.sign_in(database, "reader1", "correct horse", AT) == reader

    @pytest.mark.parametrize("counted", [True, False])
    def test_tries_made_at_once_count_too(
        self, database: Database, reader: accounts.Account, monkeypatch: pytest.MonkeyPatch, counted: bool
    ) -> None:
        """The twin counts a failure when it is known, as many limiters do."""
        if not counted:
            monkeypatch.setattr(accounts, "_count_attempt", lambda conn, name, at: None)

        def guess(_: int) -> bool:
            try:
                accounts.sign_in(database, "reader1", "wrong guess", AT)
            except AccessDenied:
                return False
            return True

        assert sum(at_once(12, guess)) == (5 if counted else 12)

    @pytest.mark.parametrize(
        ("name", "password", "role", "site", "code"),
        [
            ("Reader", "correct horse", "reader", None, "bad_account_name"),
            ("", "correct horse", "reader", None, "bad_account_name"),
            ("x" * 65, "correct horse", "reader", None, "bad_account_name"),
            ("reader2", "short", "reader", None, "bad_password"),
            ("reader2", "x" * 257, "reader", None, "bad_password"),
            ("reader2", "correct \ud800", "reader", None, "bad_password"),
            ("reader2", "correct horse", "admin", None, "bad_role"),
            ("nurse1", "correct horse", "uploader", None, "uploader_without_site"),
        ],
    )
    def test_a_bad_account_is_refused(
        self, database: Database, name: str, password: str, role: str, site: str | None, code: str
    ) -> None:
        with pytest.raises(InputRejected) as refused, database.write() as conn:
            accounts.create_account(conn, name, password, role, site, AT)
        assert refused.value.code == code

    def test_a_second_account_of_one_name_is_refused(self, database: Database, reader: accounts.Account) -> None:
        with pytest.raises(Conflict) as refused, database.write() as conn:
            accounts.create_account(conn, "reader1", "another horse", "engineer", None, AT)
        assert refused.value.code == "account_exists"
        assert accounts.sign_in(database, "reader1", "correct horse", AT) == reader

    def test_a_new_password_ends_the_old_one_and_its_sessions(
        self, database: Database, reader: accounts.Account
    ) -> None:
        with database.write() as conn:
            token = accounts.open_session(conn, reader, AT, timedelta(hours=8))
        with database.write() as conn:
            accounts.set_password(conn, "reader1", "battery staple", AT)
        with database.read() as conn:
            assert accounts.session_account(conn, token, AT) is None
        assert accounts.sign_in(database, "reader1", "correct horse", AT) is None
        assert accounts.sign_in(database, "reader1", "battery staple", AT) == reader
        with pytest.raises(InputRejected) as refused, database.write() as conn:
            accounts.set_password(conn, "nobody", "battery staple", AT)
        assert refused.value.code == "account_unknown"

    def test_a_session_lasts_as_long_as_said(self, database: Database) -> None:
        with database.write() as conn:
            nurse = accounts.create_account(conn, "nurse1", "correct horse", "uploader", "H1", AT)
            tokens = [accounts.open_session(conn, nurse, AT, timedelta(hours=hours)) for hours in (8, 8, 9)]
        assert len({*tokens}) == 3
        with database.write() as conn:
            accounts.close_session(conn, tokens[1])
            accounts.close_session(conn, "unknown")
        almost = AT + timedelta(hours=8, microseconds=-1)
        with database.read() as conn:
            assert accounts.session_account(conn, tokens[0], almost) == accounts.Account("nurse1", "uploader", "H1")
            assert accounts.session_account(conn, tokens[1], AT) is None
            assert accounts.session_account(conn, tokens[0], AT + timedelta(hours=8)) is None
            assert accounts.session_account(conn, "\ud800", AT) is None
        with database.write() as conn:
            accounts.open_session(conn, nurse, AT + timedelta(hours=8, minutes=30), timedelta(hours=1))
        with database.read() as conn:
            assert conn.execute(select(func.count()).select_from(schema.sessions)).scalar_one() == 2

    def test_neither_password_nor_token_is_kept(self, database: Database, reader: accounts.Account) -> None:
        with database.write() as conn:
            token = accounts.open_session(conn, reader, AT, timedelta(hours=8))
        accounts.sign_in(database, "correct horse", "correct horse", AT)
        kept = ""
        with database.read() as conn:
            for table in schema.metadata.sorted_tables:
                kept += repr(conn.execute(select(table)).all())
        assert "correct horse" not in kept
        assert token not in kept


class VaultContract(DatabaseFixtures):
    """Pseudonyms and the one way back."""

    zhang = Identity("H1", "0007", "张三", date(1950, 1, 31), "M")

    def events(self, inside: Database) -> list[tuple[str, str, str, dict[str, Any]]]:
        table = vault_schema.vault_events.c
        with inside.read() as conn:
            rows = conn.execute(
                select(table.actor, table.action, table.object_id, table.detail).order_by(table.id)
            ).all()
            return [tuple(row) for row in rows]

    def joined(self, inside: Database, pseudonym: str) -> int:
        with inside.read() as conn:
            table = vault_schema.joined
            return conn.execute(
                select(func.count()).select_from(table).where(table.c.pseudonym == pseudonym)
            ).scalar_one()

    def test_one_patient_has_one_pseudonym_that_says_nothing(self, vault: Vault, inside: Database) -> None:
        pseudonym = vault.enroll(self.zhang, AT)
        assert vault.enroll(self.zhang, AT) == pseudonym
        assert len(pseudonym) == 13
        assert pseudonym[0] == "P"
        assert self.events(inside) == [("intake", "enroll", pseudonym, {})]

    def test_equal_ids_of_two_issuers_are_two_patients(self, vault: Vault) -> None:
        pairs = [
            ("H1", "7"),
            ("H17", ""),
            ("H", "17"),
            ("H1", "07"),
            ("H1", "7 "),
            ("", "H17"),
            ("H1", "7\x00"),
            ("H1", "7\ufffd"),
            ("H1", "7\ud800"),
            ("h1", "7"),
            ("H1", "7" * 5000),
            ("H1", "7" * 5001),
        ]
        assert len({vault.enroll(Identity(*pair), AT) for pair in pairs}) == len(pairs)

    def test_all_threads_and_processes_get_one_pseudonym(self, vault: Vault, vault_url: str, inside: Database) -> None:
        with ExitStack() as stack:
            rivals = [stack.enter_context(child("enroll", vault_url, "10")) for _ in range(2)]
            for rival in rivals:
                assert answer(rival) == "ready"
            for rival in rivals:
                tell(rival)
            outcomes = at_once(4, lambda _: [vault.enroll(Identity("H1", str(i), "张三"), AT) for i in range(10)])
            outcomes += [[answer(rival) for _ in range(10)] for rival in rivals]
        assert all(outcome == outcomes[0] for outcome in outcomes)
        assert len(set(outcomes[0])) == 10
        assert [action for _, action, _, _ in self.events(inside)] == ["enroll"] * 10

    def test_what_changes_is_kept_and_said_without_its_values(self, vault: Vault, inside: Database) -> None:
        pseudonym = vault.enroll(self.zhang, AT)
        now = Identity("H1", "0007", "张叁", date(1951, 1, 31), None)
        assert vault.enroll(now, AT) == pseudonym
        found = vault.join([pseudonym], who="r1", why="read", case_ids=["c1"], at=AT)
        assert found == {pseudonym: Identity("H1", "0007", "张叁", date(1951, 1, 31), "M")}
        assert self.events(inside)[1] == ("intake", "identity_changed", pseudonym, {"fields": ["name", "birth_date"]})

    def test_every_join_says_who_and_why(self, vault: Vault, inside: Database) -> None:
        one, two = vault.enroll(self.zhang, AT), vault.enroll(Identity("H1", "8"), AT)
        found = vault.join(
            [one, two, one, "P" + "A" * 12, "nonsense", "x" * 100], who="r1", why="read", case_ids=["c2", "c1"], at=AT
        )
        assert found == {one: self.zhang, two: Identity("H1", "8")}
        assert self.events(inside)[-1] == ("r1", "join", "2 cases", {"why": "read", "cases": ["c1", "c2"]})
        assert [self.joined(inside, pseudonym) for pseudonym in (one, two, "P" + "A" * 12)] == [1, 1, 1]
        vault.join([one], who="r1", why="read", case_ids=["c1"], at=AT)
        assert self.events(inside)[-1][2] == "c1"
        assert vault.join([], who="r1", why="read", case_ids=[], at=AT) == {}
        assert len(self.events(inside)) == 4

    def test_nobody_reads_what_cannot_be_audited(self, vault: Vault, inside: Database) -> None:
        pseudonym = vault.enroll(self.zhang, AT)
        with inside.write() as conn:
            conn.execute(text("DROP TABLE joined"))
        with pytest.raises(StorageError):
            vault.join([pseudonym], who="r1", why="read", case_ids=["c1"], at=AT)

    def test_join_is_the_only_way_to_an_identity(self) -> None:
        ways = {name for name in vars(Vault) if not name.startswith("_")}
        assert ways == {"close", "enroll", "join", "migrate", "project_key"}

    def test_what_no_database_can_hold_is_replaced(self, vault: Vault) -> None:
        hostile = Identity("H\x00", "\ud800" * 3, "张\x00三\udfff" + "长" * 5000, None, "M" * 100)
        pseudonym = vault.enroll(hostile, AT)
        assert vault.enroll(hostile, AT) == pseudonym
        found = vault.join([pseudonym], who="r1", why="read", case_ids=["c1"], at=AT)[pseudonym]
        assert (found.issuer, found.patient_id, found.sex) == ("H\ufffd", "\ufffd" * 3, "M" * 16)
        assert found.name == "张\ufffd三\ufffd" + "长" * 1020

    def test_a_repeating_source_of_numbers_never_merges_patients(self, vault_url: str) -> None:
        vault = Vault(vault_url, random_bytes=lambda n: b"\x00" * n)
        vault.migrate()
        vault.enroll(self.zhang, AT)
        with pytest.raises(StorageError) as failed:
            vault.enroll(Identity("H1", "8"), AT)
        vault.close()
        assert failed.value.code == "vault_no_pseudonym"

    def test_a_project_key_is_made_once(self, vault: Vault, vault_url: str) -> None:
        other = Vault(vault_url)
        keys = set(at_once(6, lambda i: (vault, other)[i % 2].project_key("export-2026")))
        other.close()
        assert len(keys) == 1
        assert len(keys.pop()) == 32
        assert vault.project_key("another") != vault.project_key("export-2026")
        with pytest.raises(InputRejected):
            vault.project_key("no spaces")

    def test_its_errors_name_the_vault(self, vault_url: str) -> None:
        vault = Vault(vault_url)
        with pytest.raises(StorageError) as failed:
            vault.enroll(self.zhang, AT)
        vault.close()
        assert failed.value.code == "vault_unmigrated"

"""Promises of the accounts, the same on SQLite and on PostgreSQL."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from teleread.errors import AccessDenied, Conflict, InputRejected
from teleread.storage import accounts
from teleread.storage.catalogue import schema
from teleread.storage.catalogue.database import Database
from tests.contract.catalogue_contract import (
    AT,
    DatabaseFixtures,
    at_once,
)


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
            accounts.set_hash(conn, "reader1", accounts.hash_password("battery staple"), AT, actor="system")
        with database.read() as conn:
            assert accounts.session_of(conn, token, AT) is None
        assert accounts.sign_in(database, "reader1", "correct horse", AT) is None
        assert accounts.sign_in(database, "reader1", "battery staple", AT) == reader
        with pytest.raises(InputRejected) as refused, database.write() as conn:
            accounts.set_hash(conn, "nobody", accounts.hash_password("battery staple"), AT, actor="system")
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
            session = accounts.session_of(conn, tokens[0], almost)
            assert session is not None
            assert session.account == accounts.Account("nurse1", "uploader", "H1")
            assert accounts.session_of(conn, tokens[1], AT) is None
            assert accounts.session_of(conn, tokens[0], AT + timedelta(hours=8)) is None
            assert accounts.session_of(conn, "\ud800", AT) is None
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

"""What catalogue, accounts and vault must do on every database.

A test module inherits the classes and provides a fixture ``new_url``: a function that makes an empty database and
returns its URL.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import MetaData, func, insert, select, text
from sqlalchemy.exc import DBAPIError

from teleread.errors import AccessDenied, Conflict, InputRejected, Misconfigured, StorageError
from teleread.storage import accounts, audit
from teleread.storage.catalogue import schema
from teleread.storage.catalogue.database import Database, insert_missing
from teleread.storage.catalogue.migrate import CATALOGUE, Migrations
from teleread.storage.vault import Identity, Vault
from teleread.storage.vault import schema as vault_schema
from tests.contract import storage_child
from tests.contract.storage_child import answer, child, tell

NewUrl = Callable[[], str]
AT = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)


def an_object(key: str) -> dict[str, Any]:
    """A row of ``objects``."""
    return {"key": key, "sha256": "0" * 64, "size_bytes": 0, "created_at": AT}


def add_object(database: Database, key: str) -> None:
    """One row in a transaction of its own."""
    with database.write() as conn:
        conn.execute(insert(schema.objects), [an_object(key)])


def object_keys(database: Database) -> list[str]:
    """All that were committed."""
    with database.read() as conn:
        return list(conn.execute(select(schema.objects.c.key).order_by(schema.objects.c.key)).scalars())


def definitions(database: Database) -> set[str]:
    """The text of every index, with its condition."""
    queries = {
        True: "SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND name NOT LIKE '%version%'",
        False: "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename NOT LIKE '%_version'",
    }
    with database.read() as conn:
        found = conn.execute(text(queries[database.is_sqlite])).scalars()
        return {" ".join(str(definition).split()) for definition in found}


def differences(database: Database, migrations: Migrations) -> list[Any]:
    """Between the database and the tables as the code has them."""
    with database.read() as conn:
        options = {"version_table": migrations.version_table, "compare_type": True, "compare_server_default": True}
        return list(compare_metadata(MigrationContext.configure(conn, opts=options), migrations.metadata))


def at_once(n: int, act: Callable[[int], Any]) -> list[Any]:
    """Outcomes of n threads that begin together."""
    together = threading.Barrier(n)

    def one(i: int) -> Any:
        together.wait(30)
        return act(i)

    with ThreadPoolExecutor(n) as threads:
        return list(threads.map(one, range(n)))


class DatabaseFixtures:
    """Fixtures on top of ``new_url``."""

    @pytest.fixture
    def url(self, new_url: NewUrl) -> str:
        return new_url()

    @pytest.fixture
    def database(self, url: str) -> Iterator[Database]:
        database = Database(url)
        database.migrate()
        yield database
        database.close()

    @pytest.fixture
    def vault_url(self, new_url: NewUrl) -> str:
        return new_url()

    @pytest.fixture
    def vault(self, vault_url: str) -> Iterator[Vault]:
        vault = Vault(vault_url)
        vault.migrate()
        yield vault
        vault.close()

    @pytest.fixture
    def inside(self, vault: Vault, vault_url: str) -> Iterator[Database]:
        """The vault's database, as only its keeper sees it."""
        database = Database(vault_url, migrations=vault_schema.VAULT)
        yield database
        database.close()


class CatalogueContract(DatabaseFixtures):
    """Transactions, waiting and migrations."""

    @pytest.mark.parametrize("migrations", [CATALOGUE, vault_schema.VAULT], ids=lambda one: one.name)
    def test_revisions_lead_to_the_tables_of_the_code(self, new_url: NewUrl, migrations: Migrations) -> None:
        migrated, made = Database(new_url(), migrations=migrations), Database(new_url(), migrations=migrations)
        migrated.migrate()
        with made.write() as conn:
            migrations.metadata.create_all(conn)
        assert differences(migrated, migrations) == []
        assert definitions(migrated) == definitions(made)
        for database in (migrated, made):
            database.close()

    def test_the_revision_test_catches_a_forgotten_column_and_a_lost_condition(self, database: Database) -> None:
        other = MetaData(naming_convention=schema.metadata.naming_convention)
        for table in schema.metadata.tables.values():
            table.to_metadata(other)
        with database.write() as conn:
            conn.execute(text("ALTER TABLE sessions ADD COLUMN extra INTEGER"))
        assert differences(database, CATALOGUE)
        whole = definitions(database)
        with database.write() as conn:
            conn.execute(text("DROP INDEX ix_work_items_list"))
            conn.execute(text("CREATE INDEX ix_work_items_list ON work_items (rank, arrived_at, id)"))
        assert definitions(database) != whole

    def test_migrating_again_changes_nothing(self, database: Database) -> None:
        add_object(database, "a")
        database.migrate()
        assert object_keys(database) == ["a"]

    def test_processes_that_start_together_all_find_the_schema(self, new_url: NewUrl) -> None:
        url, other = new_url(), new_url()
        with ExitStack() as stack:
            starting = [stack.enter_context(child("migrate", url, other)) for _ in range(3)]
            for process in starting:
                assert answer(process) == "ready"
            for process in starting:
                tell(process)
            assert [process.wait(60) for process in starting] == [0, 0, 0]
        for one in (url, other):
            database = Database(one)
            assert differences(database, CATALOGUE) == []
            database.close()

    def test_a_migration_that_fails_leaves_nothing(self, url: str, tmp_path_factory: pytest.TempPathFactory) -> None:
        scripts = tmp_path_factory.mktemp("revisions")
        (scripts / "versions").mkdir()
        (scripts / "env.py").write_text((CATALOGUE.scripts / "env.py").read_text())
        (scripts / "versions" / "0001_bad.py").write_text(
            "from alembic import op\nimport sqlalchemy as sa\nrevision = '0001'\ndown_revision = None\n"
            "def upgrade():\n    op.create_table('half', sa.Column('id', sa.Integer, primary_key=True))\n"
            "    op.execute('not a statement')\n"
        )
        broken = Database(url, migrations=Migrations("catalogue", scripts, "catalogue_version", MetaData()))
        with pytest.raises(DBAPIError):
            broken.migrate()
        broken.close()
        database = Database(url)
        database.migrate()
        assert differences(database, CATALOGUE) == []
        database.close()

    def test_a_database_of_a_newer_version_is_refused(self, database: Database) -> None:
        with database.write() as conn:
            conn.execute(text("UPDATE catalogue_version SET version_num = '9999'"))
        with pytest.raises(Misconfigured) as refused:
            database.migrate()
        assert refused.value.code == "database_newer"

    def test_a_database_without_tables_is_said_to_be_one(self, url: str) -> None:
        database = Database(url)
        with pytest.raises(StorageError) as failed:
            object_keys(database)
        assert failed.value.code == "catalogue_unmigrated"
        database.close()

    def test_a_write_is_kept_whole_or_not_at_all(self, database: Database) -> None:
        def fail() -> None:
            with database.write() as conn:
                conn.execute(insert(schema.objects), [an_object("a")])
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        assert object_keys(database) == []
        add_object(database, "a")
        assert object_keys(database) == ["a"]

    def test_a_writer_waits_for_another_process(self, database: Database, url: str) -> None:
        impatient = Database(url, wait_s=0.01)  # the twin: it shows that the other really is in the way
        with child("hold", url, "real") as holder:
            assert answer(holder) == "holding"
            with pytest.raises(StorageError) as failed:
                add_object(impatient, "first")
            assert failed.value.code == "catalogue_busy"
            began = threading.Event()

            def write() -> int:
                began.set()
                with database.write() as conn:
                    return insert_missing(conn, schema.objects, [an_object("first"), an_object("third")], ["key"])

            with ThreadPoolExecutor(1) as threads:
                outcome = threads.submit(write)
                began.wait(10)
                tell(holder)
                assert outcome.result(60) == 1
        assert object_keys(database) == ["first", "second", "third"]
        impatient.close()

    def test_a_reader_waits_for_nobody_and_sees_only_what_was_committed(self, database: Database, url: str) -> None:
        add_object(database, "before")
        with child("hold", url, "real") as holder:
            assert answer(holder) == "holding"
            assert object_keys(database) == ["before"]

    @pytest.mark.parametrize(("kind", "left"), [("real", []), ("naive", ["first"])])
    def test_a_killed_writer_leaves_nothing(self, database: Database, url: str, kind: str, left: list[str]) -> None:
        """The naive twin, with a transaction for each row, leaves one of two rows."""
        with child("hold", url, kind) as holder:
            assert answer(holder) == "holding"
            holder.kill()
            holder.wait()
        assert object_keys(database) == left
        add_object(database, "second")

    def test_no_change_of_two_processes_is_lost(self, database: Database, url: str) -> None:
        with database.write() as conn:
            conn.execute(insert(schema.site_status), [{"site_id": "H1"}])
        with ExitStack() as stack:
            counters = [stack.enter_context(child("count", url, "50")) for _ in range(2)]
            for counter in counters:
                assert answer(counter) == "ready"
            for counter in counters:
                tell(counter)
            assert [counter.wait(60) for counter in counters] == [0, 0]
        with database.read() as conn:
            assert conn.execute(select(schema.site_status.c.failures)).scalar_one() == 100

    def test_threads_share_one_database(self, database: Database) -> None:
        def act(i: int) -> None:
            for j in range(5):
                add_object(database, f"{i}-{j}")

        at_once(16, act)
        assert len(object_keys(database)) == 80

    def test_a_forked_child_and_its_parent_both_go_on(self, database: Database, url: str) -> None:
        assert storage_child.run("fork", url) == (0, ["41"])
        assert len(object_keys(database)) == 42

    def test_a_write_inside_a_write_is_refused_at_once(self, database: Database) -> None:
        def nest() -> None:
            with database.write() as conn:
                conn.execute(insert(schema.objects), [an_object("outer")])
                add_object(database, "inner")

        with pytest.raises(StorageError) as refused:
            nest()
        assert refused.value.code == "nested_write"
        assert object_keys(database) == []
        add_object(database, "later")

    def test_a_read_cannot_write(self, database: Database) -> None:
        with pytest.raises(StorageError) as refused, database.read() as conn:
            conn.execute(insert(schema.objects), [an_object("a")])
        assert refused.value.code == "catalogue_readonly"
        add_object(database, "a")

    def test_only_missing_rows_are_inserted_and_counted(self, database: Database) -> None:
        rows = [an_object(f"k{i:04}") for i in range(2500)]
        with database.write() as conn:
            assert insert_missing(conn, schema.objects, [], ["key"]) == 0
            assert insert_missing(conn, schema.objects, rows[:2000], ["key"]) == 2000
            changed = [{**row, "sha256": "f" * 64} for row in rows]
            assert insert_missing(conn, schema.objects, changed, ["key"]) == 500
            assert insert_missing(conn, schema.objects, changed, ()) == 0
            assert conn.execute(select(func.count()).where(schema.objects.c.sha256 == "0" * 64)).scalar_one() == 2000

    def test_of_many_inserters_of_one_row_exactly_one_inserts(self, database: Database) -> None:
        rows = [an_object(f"k{i:02}") for i in range(20)]

        def act(_: int) -> int:
            with database.write() as conn:
                return insert_missing(conn, schema.objects, rows, ["key"])

        assert sorted(at_once(6, act)) == [0, 0, 0, 0, 0, 20]

    def test_missing_is_judged_by_the_named_key_alone(self, database: Database) -> None:
        add_object(database, "a")
        base = {
            "site_id": "H1",
            "sha256": "0",
            "size_bytes": 1,
            "object_key": "a",
            "source": "cli",
            "kind": "ecg",
            "clinic_priority": "high",
            "state": "landed",
            "arrived_at": AT,
        }
        with database.write() as conn:
            assert insert_missing(conn, schema.arrivals, [{**base, "id": "1", "receipt": "R"}], ["id"]) == 1
        with pytest.raises(StorageError) as failed, database.write() as conn:
            insert_missing(conn, schema.arrivals, [{**base, "id": "2", "receipt": "R", "site_id": "H2"}], ["id"])
        assert failed.value.code == "catalogue_integrity"

    def test_an_error_never_repeats_a_value(self, database: Database) -> None:
        name, born = bytes.fromhex("e5bca0e4b889").decode(), str(19500000 + 101)  # not to stand in this very line
        add_object(database, f"{name}-{born}")
        with pytest.raises(StorageError) as failed:
            add_object(database, f"{name}-{born}")
        assert failed.value.code == "catalogue_integrity"
        shown = "".join(traceback.format_exception(failed.value))
        assert name not in shown
        assert born not in shown

    def test_a_row_names_only_rows_that_exist(self, database: Database) -> None:
        session = {"token_sha256": "0", "account": "nobody", "created_at": AT, "expires_at": AT}
        with pytest.raises(StorageError) as refused, database.write() as conn:
            conn.execute(insert(schema.sessions), [session])
        assert refused.value.code == "catalogue_integrity"

    def test_times_come_back_aware_and_equal(self, database: Database) -> None:
        shanghai = timezone(timedelta(hours=8))
        times = [datetime(2026, 3, 1, 23, 59, 59, 123456, tzinfo=shanghai), datetime(2026, 3, 1, 16, 0, tzinfo=UTC)]
        with database.write() as conn:
            rows = [{**an_object(str(i)), "created_at": at} for i, at in enumerate(times)]
            conn.execute(insert(schema.objects), rows)
        with database.read() as conn:
            column = schema.objects.c.created_at
            assert list(conn.execute(select(column).order_by(column)).scalars()) == times
            assert conn.execute(select(schema.objects.c.key).where(column >= times[1])).scalars().all() == ["1"]

    def test_a_naive_time_is_refused(self, database: Database) -> None:
        with pytest.raises(Exception, match="naive datetime"), database.write() as conn:
            conn.execute(insert(schema.objects), [{**an_object("a"), "created_at": datetime(2026, 1, 1)}])

    def test_an_event_stands_or_falls_with_its_act(self, database: Database) -> None:
        def act(fails: bool) -> int:
            with database.write() as conn:
                conn.execute(insert(schema.objects), [an_object("a")])
                number = audit.record(
                    conn, at=AT, actor="r1", action="land", object_type="object", object_id="a", detail={"bytes": 1}
                )
                if fails:
                    raise ZeroDivisionError
                return number

        with pytest.raises(ZeroDivisionError):
            act(fails=True)
        with database.read() as conn:
            assert conn.execute(select(schema.audit_events)).all() == []
        number = act(fails=False)
        with database.read() as conn:
            rows = conn.execute(select(schema.audit_events)).all()
        assert [tuple(row) for row in rows] == [(number, AT, "r1", "land", "object", "a", {"bytes": 1})]

    @pytest.mark.parametrize("field", ["actor", "action", "object_type", "object_id"])
    def test_an_event_that_one_database_would_refuse_is_refused_by_all(self, database: Database, field: str) -> None:
        words: dict[str, Any] = {"actor": "a", "action": "b", "object_type": "c", "object_id": "d", field: "x" * 65}
        with pytest.raises(ValueError, match=field), database.write() as conn:
            audit.record(conn, at=AT, **words)


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

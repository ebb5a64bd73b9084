"""What the catalogue must do on every database; accounts and vault are in ``accounts_contract``.

A test module inherits the classes and provides a fixture ``new_url``: a function that makes an empty database and
returns its URL.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import MetaData, func, insert, select, text
from sqlalchemy.exc import DBAPIError

from teleread.errors import Misconfigured, StorageError
from teleread.storage import audit
from teleread.storage.catalogue import schema
from teleread.storage.catalogue.database import Database, insert_missing
from teleread.storage.catalogue.migrate import CATALOGUE, Migrations
from teleread.storage.vault import KeyRing, Vault
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
    def ring(self, tmp_path: Path) -> KeyRing:
        return KeyRing.open(tmp_path / "keys" / "ring.json", clock=lambda: AT)

    @pytest.fixture
    def vault(self, vault_url: str, ring: KeyRing) -> Iterator[Vault]:
        vault = Vault(vault_url, ring)
        vault.migrate()
        yield vault
        vault.close()

    @pytest.fixture
    def inside(self, vault: Vault, vault_url: str) -> Iterator[Database]:
        """The vault's database, as only its keeper sees it."""
        database = Database(vault_url, migrations=vault_schema.VAULT)
        yield database
        database.close()


A_REPORT = {
    "id": "a" * 32,
    "case_id": "c" * 32,
    "version": 1,
    "text": "Sinus rhythm.",
    "critical": False,
    "signed_by": "reader",
    "signed_at": AT,
}
A_DELETION = {
    "id": "d" * 32,
    "pseudonym": "P",
    "policy_id": "p",
    "policy_version": "1",
    "reason": "r",
    "decided_by": "w",
    "decided_at": AT,
    "state": "begun",
    "facts": {},
}
CHANGES_OF_A_REPORT = (
    "UPDATE reports SET text = 'other'",
    "UPDATE reports SET signature = NULL",
    "DELETE FROM reports",
)


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
            conn.execute(text("DROP INDEX ix_work_items_queue"))
            conn.execute(text("CREATE INDEX ix_work_items_queue ON work_items (band, order_at, id)"))
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
            conn.execute(text("UPDATE catalogue_readers SET oldest = '9998'"))
        with pytest.raises(Misconfigured) as refused:
            database.migrate()
        assert refused.value.code == "database_newer"

    def test_code_may_be_started_on_a_newer_schema_that_only_added(self, database: Database) -> None:
        with database.write() as connection:
            connection.execute(text("UPDATE catalogue_version SET version_num = '9999'"))
            connection.execute(text("UPDATE catalogue_readers SET oldest = '0002'"))
        database.migrate()
        with database.read() as connection:  # and what the newer version made stays as it is
            assert connection.execute(text("SELECT version_num FROM catalogue_version")).scalar_one() == "9999"

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

    @pytest.mark.parametrize("change", CHANGES_OF_A_REPORT)
    def test_a_signed_report_is_neither_changed_nor_removed(self, database: Database, change: str) -> None:
        with database.write() as conn:
            conn.execute(insert(schema.reports).values(**A_REPORT))
        with pytest.raises(StorageError) as refused, database.write() as conn:
            conn.execute(text(change))
        assert refused.value.code == "catalogue_append_only"
        with database.read() as conn:
            assert conn.scalar(select(schema.reports.c.text)) == "Sinus rhythm."

    def test_a_signed_report_goes_while_a_deletion_is_under_way_and_then_no_more(self, database: Database) -> None:
        other = A_REPORT | {"id": "b" * 32, "version": 2}
        with database.write() as conn:
            conn.execute(insert(schema.reports), [A_REPORT, other])
            conn.execute(insert(schema.deletions).values(**A_DELETION))
            conn.execute(schema.reports.delete().where(schema.reports.c.version == 1))
            conn.execute(schema.deletions.update().values(state="final"))
        with pytest.raises(StorageError, match="catalogue_append_only"), database.write() as conn:
            conn.execute(schema.reports.delete())

"""What an audit trail must do on every database. A test module provides ``new_url``, see ``catalogue_contract``."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, delete, event, func, insert, select, text, update

from teleread.errors import Conflict, StorageError
from teleread.storage import audit
from teleread.storage.audit import Trail, encoding
from teleread.storage.catalogue import schema
from teleread.storage.catalogue.database import Database
from teleread.storage.catalogue.migrate import CATALOGUE, Migrations
from teleread.storage.vault import schema as vault_schema
from tests.contract.catalogue_contract import AT, DatabaseFixtures, NewUrl
from tests.prove.attacks import KEY

events, chain, unsealed, head = (
    schema.audit.events,
    schema.audit.chain,
    schema.audit.unsealed,
    schema.audit.head,
)
DETAIL = {
    "优先": "urgent",
    "ratio": 0.1 + 0.2,
    "tiny": 5e-324,
    "n": 10**18,
    "none": None,
    "list": [1, 1.0, True, "\0\n"],
}


def act(database: Database, name: str = "a", **words: Any) -> int:
    """One event in a transaction of its own."""
    with database.write() as conn:
        values = {"actor": "r1", "action": "view", "object_type": "case", "object_id": name, **words}
        return audit.record(conn, at=values.pop("at", AT), **values)


def links(database: Database) -> list[tuple[int, int, bytes]]:
    """All of the chain."""
    with database.read() as conn:
        return [(seq, number, bytes(end)) for seq, number, end in conn.execute(select(chain).order_by(chain.c.seq))]


def waiting(database: Database) -> list[int]:
    with database.read() as conn:
        return list(conn.execute(select(unsealed.c.event_id).order_by(unsealed.c.event_id)).scalars())


def seal(database: Database) -> int:
    return audit.seal(database, schema.audit, KEY, AT)


def verdict(database: Database) -> audit.Verdict:
    return audit.verify(database, schema.audit, KEY, AT)


def to_first_revision(conn: Connection, migrations: Migrations) -> None:
    """The schema of the version before the chain."""
    config = Config()
    config.set_main_option("script_location", str(migrations.scripts))
    config.attributes.update(connection=conn, migrations=migrations)
    command.upgrade(config, "0001")


class AuditContract(DatabaseFixtures):
    def test_an_event_is_noted_as_unsealed_by_the_database_itself(self, database: Database) -> None:
        """Also one that older code inserts, which knows of no chain."""
        with database.write() as conn:
            conn.execute(
                text(
                    "INSERT INTO audit_events (at, actor, action, object_type, object_id, detail) "
                    "VALUES ('2026-03-01 08:00:00.000000', 'old', 'view', 'case', 'c', '{}')"
                )
            )
        assert len(waiting(database)) == 1
        assert seal(database) == 1
        assert waiting(database) == []
        assert verdict(database).broken is None

    @pytest.mark.parametrize("migrations", [CATALOGUE, vault_schema.VAULT], ids=["catalogue", "vault"])
    def test_events_from_before_the_chain_are_sealed_too(self, new_url: NewUrl, migrations: Migrations) -> None:
        tables = schema.audit if migrations is CATALOGUE else vault_schema.audit
        database = Database(new_url(), migrations=migrations)
        with database.write() as conn:
            to_first_revision(conn, migrations)
            row = {"at": AT, "actor": "a", "action": "view", "object_type": "case", "object_id": "c", "detail": {}}
            conn.execute(insert(tables.events), [row, row])
        database.migrate()
        assert audit.seal(database, tables, KEY, AT) == 2
        found = audit.verify(database, tables, KEY, AT)
        database.close()
        assert (found.links, found.broken) == (2, None)

    @pytest.mark.parametrize(
        "statement",
        [
            update(events).values(actor="nobody"),
            delete(events),
            update(chain).values(hash=b"0" * 32),
            delete(chain),
            update(unsealed).values(event_id=1),
            delete(head),
            update(head).values(seq=0),
        ],
        ids=str,
    )
    def test_what_stands_in_the_audit_can_only_be_added_to(self, database: Database, statement: Any) -> None:
        act(database)
        seal(database)
        act(database)
        with pytest.raises(StorageError) as refused, database.write() as conn:
            conn.execute(statement)
        assert refused.value.code == "catalogue_append_only"
        assert verdict(database).broken is None

    def test_links_are_numbered_without_a_gap_from_one(self, database: Database) -> None:
        with suppress(ZeroDivisionError), database.write() as conn:
            # on PostgreSQL its number is gone for good
            audit.record(conn, at=AT, actor="a", action="b", object_type="c", object_id="d")
            raise ZeroDivisionError
        numbers = [act(database, str(i)) for i in range(5)]
        assert [audit.seal(database, schema.audit, KEY, AT, limit=2) for _ in range(4)] == [2, 2, 1, 0]
        assert [(seq, number) for seq, number, _ in links(database)] == list(enumerate(numbers, 1))

    def test_the_hash_of_an_event_never_changes(self, database: Database) -> None:
        """The documented bytes of format 1, made by hand."""
        number = act(database, "名", detail={"a": 0.1, "b": "é"})
        seal(database)
        fields = [str(number), "2026-03-01 08:00:00.000000", "r1", "view", "case", "名", '{"a": 0.1, "b": "\\u00e9"}']
        event = b"".join(b"%d:%b," % (len(field.encode()), field.encode()) for field in fields)
        assert links(database) == [(1, number, encoding.link(encoding.genesis("audit_events"), event))]

    def test_sealers_and_writers_at_once_chain_each_event_once(self, database: Database, url: str) -> None:
        with ThreadPoolExecutor(6) as threads:
            writers = [threads.submit(lambda w=w: [act(database, f"{w}-{i}") for i in range(15)]) for w in range(3)]

            def keep_sealing() -> None:
                with closing(Database(url)) as own:
                    while not all(writer.done() for writer in writers):
                        seal(own)

            for sealer in [threads.submit(keep_sealing) for _ in range(3)]:
                sealer.result(120)
        while waiting(database):
            seal(database)
        found = verdict(database)
        assert (found.links, found.broken) == (45, None)
        assert sorted(number for _, number, _ in links(database)) == sorted(
            number for writer in writers for number in writer.result()
        )

    def test_an_end_that_another_sealer_moves_meanwhile_is_not_called_broken(
        self, database: Database, url: str, tmp_path: Path
    ) -> None:
        """At the worst moment: between the reading of the end's check and of the last link."""
        act(database)
        seal(database)
        act(database)
        act(database)
        moved: list[int] = []

        def move(_conn: object, _cursor: object, statement: str, *_rest: object) -> None:
            if schema.audit.head.name in statement and not moved:
                moved.append(0)
                with closing(Database(url)) as other:
                    moved.append(audit.seal(other, schema.audit, KEY, AT, limit=1))

        event.listen(database._engine, "after_cursor_execute", move)
        assert seal(database) == 0  # outrun: the other did the work
        event.remove(database._engine, "after_cursor_execute", move)
        assert (moved, seal(database), verdict(database).broken) == ([0, 1], 1, None)
        moved.clear()
        act(database)
        event.listen(database._engine, "after_cursor_execute", move)
        anchor = audit.write_anchor(Trail("catalogue", database, schema.audit), KEY, tmp_path, AT, "1")
        event.remove(database._engine, "after_cursor_execute", move)
        assert (anchor is not None, moved, verdict(database).broken) == (True, [0, 1], None)

    def test_nothing_is_sealed_onto_an_end_that_somebody_else_made(self, database: Database) -> None:
        act(database)
        seal(database)
        with database.write() as conn:
            # allowed by the triggers, but nobody without the key makes a check that fits
            conn.execute(update(head).values(seq=2, mac=b"0" * 32))
        act(database)
        with pytest.raises(StorageError) as refused:
            seal(database)
        assert refused.value.code == "audit_broken"
        broken = verdict(database).broken
        assert broken is not None
        assert broken.kind == "head_mismatch"

    def test_sealing_goes_on_behind_a_break_that_is_put_on_record(self, database: Database) -> None:
        act(database)
        seal(database)
        with database.write() as conn:
            conn.execute(update(head).values(seq=2, mac=b"0" * 32))
        waits = act(database, "名字", actor="读者")
        trail = Trail("catalogue", database, schema.audit)
        section = audit.begin_section(trail, KEY, AT, who="王医生", reason="电源故障后更换磁盘")
        assert (section.seq, section.kind, section.links) == (3, "head_mismatch", 1)
        assert waiting(database) == [waits]
        assert seal(database) == 1
        found = verdict(database)
        assert (found.broken, found.links) == (None, 4)
        assert found.sections == (section,)
        with pytest.raises(Conflict) as refused:
            audit.begin_section(trail, KEY, AT, who="王医生", reason="x")
        assert refused.value.code == "audit_not_broken"

    def test_another_key_does_not_fit(self, database: Database) -> None:
        act(database)
        seal(database)
        broken = audit.verify(database, schema.audit, b"x" * 32, AT).broken
        assert broken is not None
        assert broken.kind == "head_mismatch"

    def test_an_event_may_wait_for_its_link_for_ten_seconds(self, database: Database) -> None:
        number = act(database)
        soon, late = AT + timedelta(seconds=9), AT + timedelta(seconds=11)
        assert audit.verify(database, schema.audit, KEY, soon).broken is None
        broken = audit.verify(database, schema.audit, KEY, late).broken
        assert broken is not None
        assert (broken.kind, broken.event_id) == ("unchained_event", number)

    def test_an_event_is_sealed_within_a_second(self, database: Database) -> None:
        """By a loop as the web service has it."""
        sealer = audit.Sealer([Trail("catalogue", database, schema.audit)], KEY, lambda: AT)
        ended, sealed = threading.Event(), threading.Event()

        def loop() -> None:
            while not ended.wait(0.25):
                if sealer.seal_all():
                    sealed.set()

        with ThreadPoolExecutor(1) as thread:
            running = thread.submit(loop)
            for name in "abc":
                sealed.clear()
                act(database, name)
                in_time = sealed.wait(1.0)
                if not in_time:
                    break
            ended.set()
            running.result(30)
        assert in_time
        assert verdict(database).links == 3

    def test_a_verdict_sees_one_state_while_others_write_and_seal(self, database: Database, url: str) -> None:
        ended = threading.Event()

        def keep_acting() -> None:
            own = Database(url)
            while not ended.is_set():
                act(own)
                seal(own)
            own.close()

        with ThreadPoolExecutor(1) as thread:
            running = thread.submit(keep_acting)
            found = [verdict(database) for _ in range(20)]
            ended.set()
            running.result(60)
        assert [one.broken for one in found] == [None] * 20

    def test_a_chain_that_was_set_back_while_it_grew_is_noticed(self, new_url: NewUrl) -> None:
        """Together with its check, from a copy: nothing in the database shows it, but the sealer remembers."""
        now_there, older = Database(new_url()), Database(new_url())
        for database, names in ((now_there, "abcd"), (older, "xy")):
            database.migrate()
            for name in names:
                act(database, name)
        seal(older)
        trail = Trail("catalogue", now_there, schema.audit)
        sealer = audit.Sealer([trail], KEY, lambda: AT)
        assert sealer.seal_all() == 4
        object.__setattr__(trail, "database", older)
        act(older)
        with pytest.raises(StorageError) as noticed:
            sealer.seal_all()
        assert noticed.value.code == "audit_broken"
        for database in (now_there, older):
            database.close()

    def test_one_database_that_cannot_be_sealed_leaves_the_others_sealed(
        self, database: Database, new_url: NewUrl
    ) -> None:
        empty = Database(new_url())  # never migrated
        now = AT
        trails = [Trail("vault", empty, vault_schema.audit), Trail("catalogue", database, schema.audit)]
        sealer = audit.Sealer(trails, KEY, lambda: now)
        act(database)
        with pytest.raises(StorageError):
            sealer.seal_all()
        assert len(links(database)) == 1
        act(database)
        assert sealer.seal_all() == 1  # the failing one is left alone for a second
        now += timedelta(seconds=1)
        with pytest.raises(StorageError):
            sealer.seal_all()
        empty.close()

    def test_both_databases_of_one_server_have_chains_of_their_own(self, database: Database) -> None:
        """A chain moved to the other database's tables does not fit there."""
        assert encoding.genesis("audit_events") != encoding.genesis("vault_events")
        act(database)
        seal(database)
        with database.read() as conn:
            assert conn.execute(select(func.count()).select_from(head)).scalar_one() == 1
        assert encoding.head_mac(KEY, "audit_events", 1, b"0" * 32, "t") != encoding.head_mac(
            KEY, "vault_events", 1, b"0" * 32, "t"
        )

    def test_an_anchor_shows_what_was_cut_off_after_it_was_written(self, database: Database, tmp_path: Path) -> None:
        for name in "abc":
            act(database, name)
        seal(database)
        trail = Trail("catalogue", database, schema.audit)
        assert audit.write_anchor(trail, KEY, tmp_path, AT, "1.0") == tmp_path / "2026-03-01-catalogue.json"
        anchors = list(audit.read_anchors(tmp_path))
        found = audit.verify(database, schema.audit, KEY, AT, anchors)
        assert (found.anchored, found.broken) == (3, None)

"""The audit trail on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url, text

from teleread.errors import StorageError
from teleread.storage.catalogue.database import Database
from tests.contract.audit_contract import DETAIL, AuditContract, act, links, seal, verdict
from tests.prove.attacks import ATTACKS, World
from tests.prove.audit import examine, make_world, real_verdict

pytestmark = pytest.mark.peers


class TestAuditOnPostgres(AuditContract):
    @pytest.mark.parametrize("table", ["audit_events", "audit_chain", "audit_head"])
    def test_nothing_is_emptied_at_a_stroke(self, database: Database, table: str) -> None:
        act(database)
        seal(database)
        with pytest.raises(StorageError) as refused, database.write() as conn:
            conn.execute(text(f"TRUNCATE {table} CASCADE"))
        assert refused.value.code == "catalogue_append_only"
        assert verdict(database).links == 1

    def test_the_same_events_have_the_same_hashes_on_both_databases(self, database: Database, tmp_path: Path) -> None:
        other = Database(f"sqlite:///{tmp_path}/catalogue.db")
        other.migrate()
        for one in (database, other):
            for name in ("a", "名字", "🫀"):
                act(one, name, actor="读者", detail=DETAIL | {"name": name})
            seal(one)
        assert links(database) == links(other)
        assert len(links(other)) == 3
        other.close()

    def test_a_late_commit_is_chained_when_it_comes(self, database: Database, url: str) -> None:
        """Numbers are given out before the commit: the smaller one may come later."""
        other = Database(url)
        with database.write() as slow:
            slow.execute(
                text(
                    "INSERT INTO audit_events (at, actor, action, object_type, object_id, detail) "
                    "VALUES (now(), 'slow', 'view', 'case', 'c', '{}')"
                )
            )
            quick = act(other)
            assert seal(other) == 1
        assert seal(other) == 1
        assert [number for _, number, _ in links(other)] == [quick, quick - 1]
        assert verdict(other).broken is None
        other.close()


def test_every_kind_of_attack_is_found(new_url: Callable[[], str], tmp_path: Path) -> None:
    base = new_url()
    numbers = count(1)

    def copy() -> str:
        name = f"copy_{next(numbers)}"
        address = make_url(base)
        with psycopg.connect(
            host=address.host, port=address.port, user=address.username, dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {address.database}")
        return base.rsplit("/", 1)[0] + f"/{name}"

    world: World = make_world(base, tmp_path, copy)
    sound = Database(copy())
    assert real_verdict(sound, world.anchors).broken is None
    sound.close()
    assert [missed for n in range(len(ATTACKS)) if (missed := examine(world, n, real_verdict))] == []

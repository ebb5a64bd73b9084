"""The audit trail on SQLite: what it refuses, what the verifier finds, and what its twins miss."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from teleread.errors import Conflict, InputRejected, StorageError
from teleread.storage import audit
from teleread.storage.audit import Trail, encoding, verifying
from teleread.storage.audit.anchors import parse_anchor, read_anchor
from teleread.storage.catalogue import schema
from teleread.storage.catalogue.database import Database
from tests.contract.audit_contract import AuditContract, act, links, seal
from tests.contract.catalogue_contract import AT
from tests.prove.attacks import ATTACKS, BY_ANCHOR, KEY, NOW, World
from tests.prove.audit import examine, real_verdict, sqlite_world

COUNT = 2 * len(ATTACKS)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with sqlite_world() as made:
        yield made


class TestAuditOnSqlite(AuditContract):
    @pytest.mark.parametrize("table", ["audit_events", "audit_chain", "audit_head"])
    def test_nothing_is_replaced(self, database: Database, table: str) -> None:
        """REPLACE removes without asking the triggers for removal."""
        act(database)
        seal(database)
        with pytest.raises(StorageError) as refused, database.write() as conn:
            conn.execute(text(f"REPLACE INTO {table} SELECT * FROM {table}"))
        assert refused.value.code == "catalogue_append_only"
        assert len(links(database)) == 1

    def test_a_look_that_finds_nothing_writes_nothing(self, database: Database, url: str) -> None:
        act(database)
        seal(database)
        impatient = Database(url, wait_s=0)
        with database.write():  # somebody else writes, and the look does not wait
            assert seal(impatient) == 0
        impatient.close()


class TestAttacks:
    def test_a_sound_trail_is_called_sound(self, world: World) -> None:
        database = Database(world.copy())
        found = real_verdict(database, world.anchors)
        database.close()
        assert (found.links, found.anchored, found.broken) == (30, 30, None)

    def test_every_attack_is_found_and_the_first_broken_link_named(self, world: World) -> None:
        assert [missed for n in range(COUNT) if (missed := examine(world, n, real_verdict))] == []

    @pytest.mark.parametrize("forgotten", ["_head_break", "_late_anchor_break", "_unchained_break", "_unsealed_break"])
    def test_a_verifier_that_forgets_a_check_misses_some(
        self, world: World, forgotten: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(verifying, forgotten, lambda *_: None)
        assert [missed for n in range(COUNT) if (missed := examine(world, n, real_verdict))]

    @pytest.mark.parametrize(
        ("name", "broken"),
        [
            ("same", lambda _left, _right: True),  # forgets the key
            ("link", lambda _previous, event: b"x" * 31 + event[-3:-2]),  # forgets the link before
        ],
    )
    def test_a_chain_without_its_key_or_its_links_misses_some(
        self, name: str, broken: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(encoding, name, broken)
        with sqlite_world() as twin:
            assert [missed for n in range(COUNT) if (missed := examine(twin, n, real_verdict))]

    def test_what_is_set_back_whole_is_seen_by_an_anchor_alone(self, world: World) -> None:
        """As the documentation says: without one, nothing in the database tells."""

        def without_anchors(database: Database, _anchors: object) -> audit.Verdict:
            return audit.verify(database, schema.audit, KEY, NOW)

        for attack in BY_ANCHOR:
            number = ATTACKS.index(attack)
            assert examine(world, number, real_verdict) is None
            assert "not found" in str(examine(world, number, without_anchors))

    @pytest.mark.parametrize(
        ("statement", "kind"),
        [
            ("UPDATE audit_events SET actor = 'x' WHERE id = 7", "event_changed"),
            ("DELETE FROM audit_events WHERE id = 7", "event_missing"),
            ("UPDATE audit_chain SET hash = zeroblob(32) WHERE seq = 7", "link_changed"),
            ("UPDATE audit_chain SET hash = zeroblob(32) WHERE seq = 30", "link_changed"),
            ("DELETE FROM audit_chain WHERE seq = 7", "link_missing"),
            ("UPDATE audit_chain SET seq = 7 - seq WHERE seq IN (3, 4)", "order"),
            ("DELETE FROM audit_chain WHERE seq > 20", "head_mismatch"),
            ("UPDATE audit_head SET mac = zeroblob(32)", "head_mismatch"),
            ("DELETE FROM audit_unsealed", "unchained_event"),
            ("INSERT INTO audit_unsealed VALUES (3)", "unsealed_changed"),
            ("UPDATE audit_events SET actor = CAST(x'ff' AS TEXT) WHERE id = 7", "event_changed"),
            ("UPDATE audit_chain SET hash = CAST(x'ff' AS TEXT) WHERE seq = 7", "link_changed"),
            ("UPDATE audit_head SET sealed_at = CAST(x'ff' AS TEXT)", "head_mismatch"),
            ("UPDATE audit_head SET seq = 'many'", "head_mismatch"),
        ],
    )
    def test_a_verdict_says_what_it_looks_like(self, world: World, statement: str, kind: str) -> None:
        database = Database(world.copy())
        with database.write() as conn:
            for name in conn.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars().all():
                conn.execute(text(f"DROP TRIGGER {name}"))
        with database._engine.connect() as conn:
            raw = conn.connection.dbapi_connection
            assert raw is not None
            raw.execute("PRAGMA query_only = 0")  # type: ignore[attr-defined]
            raw.execute("PRAGMA foreign_keys = 0")  # type: ignore[attr-defined]
            if "7 - seq" in statement:
                raw.execute("UPDATE audit_chain SET seq = -3 WHERE seq = 3")  # type: ignore[attr-defined]
                raw.execute("UPDATE audit_chain SET seq = 3 WHERE seq = 4")  # type: ignore[attr-defined]
                statement = "UPDATE audit_chain SET seq = 4 WHERE seq = -3"
            raw.execute(statement)  # type: ignore[attr-defined]
        broken = real_verdict(database, ()).broken
        database.close()
        assert broken is not None
        assert broken.kind == kind


class TestAnchors:
    @pytest.fixture
    def trail(self, new_url: Callable[[], str]) -> Iterator[Trail]:
        database = Database(new_url())
        database.migrate()
        yield Trail("catalogue", database, schema.audit)
        database.close()

    def test_the_day_s_first_anchor_stays(self, trail: Trail, tmp_path: Path) -> None:
        act(trail.database)
        seal(trail.database)
        path = audit.write_anchor(trail, KEY, tmp_path / "new" / "folder", AT, "1.0")
        assert path is not None
        before = path.read_bytes()
        act(trail.database)
        seal(trail.database)
        assert audit.write_anchor(trail, KEY, path.parent, AT + timedelta(hours=2), "1.0") == path
        assert path.read_bytes() == before
        assert [file.name for file in path.parent.iterdir()] == ["2026-03-01-catalogue.json"]
        assert path.stat().st_mode & 0o777 == 0o600

    def test_an_empty_chain_has_no_anchor(self, trail: Trail, tmp_path: Path) -> None:
        assert audit.write_anchor(trail, KEY, tmp_path / "a", AT, "1.0") is None
        assert list(audit.read_anchors(tmp_path / "a")) == []

    def test_a_folder_that_takes_nothing_is_said_to_be_one(self, trail: Trail, tmp_path: Path) -> None:
        act(trail.database)
        seal(trail.database)
        (tmp_path / "file").touch()
        with pytest.raises(StorageError) as failed:
            audit.write_anchor(trail, KEY, tmp_path / "file", AT, "1.0")
        assert failed.value.code == "anchor_unwritable"

    @pytest.mark.parametrize("field", ["database", "seq", "hash", "sealed_at", "anchored_at", "version", "mac"])
    def test_a_changed_anchor_is_not_taken_for_ours(self, trail: Trail, tmp_path: Path, field: str) -> None:
        act(trail.database)
        seal(trail.database)
        path = audit.write_anchor(trail, KEY, tmp_path, AT, "1.0")
        assert path is not None
        content = json.loads(path.read_text())
        content[field] = 2 if field == "seq" else "00" * 32
        path.write_text(json.dumps(content))
        anchor = read_anchor(path)
        assert not anchor.is_ours(KEY)
        broken = audit.verify(trail.database, schema.audit, KEY, AT, [anchor]).broken
        assert broken is not None
        assert broken.kind == "anchor_mismatch"

    @pytest.mark.parametrize(
        "content",
        [b"", b"[]", b"{}", b'{"format": 2}', b'{"format": 1, "database": "a", "seq": true, "hash": "", "mac": ""}'],
    )
    def test_a_file_that_is_no_anchor_is_named(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "2026-03-01-catalogue.json").write_bytes(content)
        with pytest.raises(InputRejected, match="2026-03-01-catalogue") as refused:
            list(audit.read_anchors(tmp_path))
        assert refused.value.code == "bad_anchor"

    def test_number_and_hash_on_paper_are_enough(self, world: World) -> None:
        last = world.anchors[-1]
        paper = parse_anchor(f" catalogue:{last.seq}:{last.hash.upper()}\n")
        database = Database(world.copy())
        assert real_verdict(database, (paper,)).anchored == 30
        wrong = parse_anchor(f"catalogue:29:{last.hash}")
        broken = real_verdict(database, (wrong,)).broken
        database.close()
        assert broken is not None
        assert (broken.kind, broken.seq) == ("anchor_mismatch", 29)
        with pytest.raises(InputRejected):
            parse_anchor("catalogue:1:abc")


BREAKS = [
    ("UPDATE audit_events SET actor = 'x' WHERE id = 7", "event_changed"),
    ("DELETE FROM audit_events WHERE id = 7", "event_missing"),
    ("DELETE FROM audit_events WHERE id = 30", "event_missing"),
    ("UPDATE audit_chain SET hash = zeroblob(32) WHERE seq = 30", "link_changed"),
    ("DELETE FROM audit_chain WHERE seq = 7", "link_missing"),
    ("DELETE FROM audit_chain WHERE seq > 20", "head_mismatch"),
    ("DELETE FROM audit_chain", "head_mismatch"),
    ("UPDATE audit_head SET mac = zeroblob(32)", "head_mismatch"),
    ("DELETE FROM audit_head", "head_mismatch"),
    ("UPDATE audit_chain SET seq = seq + 100 WHERE seq > 25", "link_missing"),
    ("DELETE FROM audit_unsealed", "unchained_event"),
    ("INSERT INTO audit_unsealed VALUES (3)", "unsealed_changed"),
]


def tamper(database: Database, statement: str) -> None:
    """What somebody with all rights in the database does; the triggers are there again afterwards."""
    with database._engine.connect() as conn:
        raw: Any = conn.connection.dbapi_connection
        raw.execute("PRAGMA query_only = 0")
        raw.execute("PRAGMA foreign_keys = 0")
        made = raw.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _sql in made:
            raw.execute(f"DROP TRIGGER {name}")
        raw.execute(statement)
        for _name, sql in made:
            raw.execute(sql)
        raw.execute("PRAGMA foreign_keys = 1")
        raw.commit()


def renew(database: Database, anchors: Any = ()) -> audit.Section:
    trail = Trail("catalogue", database, schema.audit)
    return audit.begin_section(trail, KEY, NOW, who="Dr Wang", reason="looked into", anchors=anchors)


class TestSections:
    @pytest.fixture
    def broken(self, world: World) -> Iterator[Database]:
        database = Database(world.copy())
        yield database
        database.close()

    def test_none_is_begun_where_nothing_is_broken(self, broken: Database) -> None:
        with pytest.raises(Conflict) as refused:
            renew(broken)
        assert refused.value.code == "audit_not_broken"

    @pytest.mark.parametrize(("statement", "kind"), BREAKS)
    def test_sealing_goes_on_and_the_old_break_is_named_ever_after(
        self, broken: Database, statement: str, kind: str
    ) -> None:
        tamper(broken, statement)
        found = real_verdict(broken, ()).broken
        assert found is not None
        assert found.kind == kind
        renew(broken)
        act(broken, "after")
        assert audit.seal(broken, schema.audit, KEY, NOW)
        verdict = real_verdict(broken, ())
        assert verdict.broken is None
        (section,) = verdict.sections
        assert (section.kind, section.message) == (kind, found.message)
        assert (section.begun_by, section.reason) == ("Dr Wang", "looked into")
        with broken.read() as conn:
            assert conn.scalar(text("SELECT count(*) FROM audit_unsealed")) == 0
            last = conn.scalar(text("SELECT max(seq) FROM audit_chain"))
        assert verdict.links == last

    def test_a_second_break_makes_a_second_section(self, broken: Database) -> None:
        tamper(broken, BREAKS[0][0])
        first = renew(broken)
        act(broken, "after")
        audit.seal(broken, schema.audit, KEY, NOW)
        tamper(broken, f"DELETE FROM audit_chain WHERE seq > {first.seq}")
        assert real_verdict(broken, ()).broken is not None
        renew(broken)
        audit.seal(broken, schema.audit, KEY, NOW)
        verdict = real_verdict(broken, ())
        assert verdict.broken is None
        assert [one.kind for one in verdict.sections] == ["event_changed", "head_mismatch"]

    @pytest.mark.parametrize(
        ("statement", "kind"),
        [
            ("UPDATE audit_events SET actor = 'y' WHERE id = 3", "section_changed"),
            ("UPDATE audit_events SET actor = 'y' WHERE id = 7", "section_changed"),
            ("UPDATE audit_events SET actor = 'y' WHERE id = 20", "section_changed"),
            ("DELETE FROM audit_chain WHERE seq = 29", "section_changed"),
            (
                "UPDATE audit_events SET detail = replace(detail, 'looked', 'liked') WHERE action = 'audit_section'",
                None,
            ),
            ("DELETE FROM audit_events WHERE action = 'audit_section'", None),
            ("UPDATE audit_events SET actor = 'y' WHERE object_id = 'after'", None),
        ],
    )
    def test_what_is_changed_after_a_section_began_is_found(
        self, broken: Database, statement: str, kind: str | None
    ) -> None:
        tamper(broken, BREAKS[0][0])
        renew(broken)
        act(broken, "after")
        audit.seal(broken, schema.audit, KEY, NOW)
        tamper(broken, statement)
        found = real_verdict(broken, ()).broken
        assert found is not None
        assert kind is None or found.kind == kind

    def test_a_verifier_that_forgets_the_closed_part_misses_changes_there(
        self, broken: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tamper(broken, BREAKS[0][0])
        renew(broken)
        tamper(broken, "UPDATE audit_events SET actor = 'y' WHERE id = 3")
        assert real_verdict(broken, ()).broken is not None
        monkeypatch.setattr(verifying, "_closed_break", lambda *_: None)
        assert real_verdict(broken, ()).broken is None

    def test_without_the_key_no_break_is_put_on_record(self, broken: Database) -> None:
        tamper(broken, BREAKS[0][0])
        audit.begin_section(
            Trail("catalogue", broken, schema.audit), b"z" * 32, NOW, who="Mallory", reason="all is well"
        )
        found = real_verdict(broken, ()).broken
        assert found is not None
        act(broken, "after")
        with pytest.raises(StorageError) as refused:
            audit.seal(broken, schema.audit, KEY, NOW)
        assert refused.value.code == "audit_broken"

    def test_a_running_sealer_goes_on_by_itself(self, broken: Database) -> None:
        clock = iter(NOW + timedelta(minutes=2 * n) for n in range(1000))
        sealer = audit.Sealer([Trail("catalogue", broken, schema.audit)], KEY, lambda: next(clock))
        act(broken, "before")
        sealer.seal_all()
        tamper(broken, "DELETE FROM audit_chain WHERE seq > 20")
        act(broken, "meanwhile")
        with pytest.raises(StorageError):
            sealer.seal_all()
        renew(broken)
        sealer.seal_all()
        act(broken, "after")
        assert sealer.seal_all() == 1
        assert real_verdict(broken, ()).broken is None

    def test_anchors_of_the_old_part_still_count_where_it_fitted(self, broken: Database, world: World) -> None:
        tamper(broken, "UPDATE audit_events SET actor = 'x' WHERE id = 25")
        renew(broken, world.anchors)
        good = real_verdict(broken, world.anchors)
        assert good.broken is None
        fitted = [anchor for anchor in world.anchors if 0 < anchor.seq < 25]
        assert fitted
        wrong = [audit.Anchor(one.database, one.seq, "0" * 64) for one in fitted]
        found = real_verdict(broken, wrong).broken
        assert found is not None
        assert found.kind == "anchor_mismatch"

    def test_a_chain_that_was_set_back_goes_on_behind_every_anchor(self, broken: Database, world: World) -> None:
        late = audit.Anchor("catalogue", 40, "a" * 64)
        assert audit.verify(broken, schema.audit, KEY, NOW, [late]).broken is not None
        assert renew(broken, [late]).seq == 41
        assert audit.verify(broken, schema.audit, KEY, NOW, [late]).broken is None

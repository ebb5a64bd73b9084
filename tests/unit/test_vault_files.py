"""What stands in the vault's file on the disk, and who may open an entry at all."""

from __future__ import annotations

import ast
import base64
import secrets
import sqlite3
import stat
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

from teleread.errors import StorageError
from teleread.storage.catalogue.database import Database
from teleread.storage.objects.protocol import DataKey
from teleread.storage.vault import Enrolled, Identity, KeyRing, Vault
from teleread.storage.vault.database import VaultDatabase
from teleread.storage.vault.entries import plain_key
from teleread.storage.vault.schema import VAULT
from tests.conftest import ROOT, Clock
from tests.prove.vault import Crowd, export_key_attack, hurry, patient

PEOPLE = [
    Identity("医院-ALPHA", "MRN-4471-0093", "欧阳^修远", date(1957, 8, 9), "M"),
    Identity("BETA-CLINIC", "ZX99812407", "Wilhelmina^Oberndorfer", date(1963, 11, 24), "F"),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vault" / "vault.db"


@pytest.fixture
def vault(path: Path, tmp_path: Path, clock: Clock) -> Iterator[Vault]:
    opened = Vault(f"sqlite:///{path}", KeyRing.open(tmp_path / "keys" / "ring", clock=clock))
    opened.migrate()
    yield opened
    opened.close()


def on_disk(path: Path) -> bytes:
    return b"".join(one.read_bytes() for one in sorted(path.parent.iterdir()) if one.name.startswith(path.name))


def traces(identity: Identity) -> set[bytes]:
    """An identity's parts in every encoding that bytes on a disk may have."""
    assert identity.name is not None
    assert identity.birth_date is not None
    born = identity.birth_date
    words = {identity.issuer, identity.patient_id, identity.name, *identity.name.split("^")}
    words |= {born.isoformat(), born.strftime("%Y%m%d"), born.strftime("%d.%m.%Y"), plain_key(identity)}
    found = set()
    for word in words:
        for encoding in ("utf-8", "gb18030", "utf-16-le", "utf-16-be"):
            plain = word.encode(encoding)
            found |= {plain, plain.hex().encode(), plain.hex().upper().encode(), base64.b64encode(plain).rstrip(b"=")}
        found.add(word.encode("ascii", "backslashreplace"))
        found.add(word.lower().encode())
    found.add(bytes.fromhex(plain_key(identity)))
    return {trace for trace in found if len(trace) >= 4}


def test_the_file_alone_says_who_nobody_is(vault: Vault, path: Path, clock: Clock) -> None:
    for number, person in enumerate(PEOPLE):
        pseudonym = vault.enroll(person, clock(), arrival_id=f"a{number}").pseudonym
        other = Identity(person.issuer, person.patient_id, person.name, date(1999, 9, 19), "O")
        vault.enroll(other, clock(), arrival_id=f"b{number}")
        vault.join([pseudonym], who="r1", why="read", case_ids=["c1"], at=clock())
        vault.project_pseudonym("a", pseudonym)
    written = on_disk(path)
    for person in PEOPLE:
        assert [trace for trace in traces(person) if trace in written] == []
    for secret in (vault.ring.master()[1], vault.project_key("a")):
        assert secret not in written
        assert secret.hex().encode() not in written


def test_the_search_finds_what_is_written_plain(vault: Vault, path: Path, clock: Clock) -> None:
    """The broken twin: the columns of the version before."""
    write_old(path, PEOPLE[0], "P" + "A" * 12)
    assert any(trace in on_disk(path) for trace in traces(PEOPLE[0]))


def write_old(path: Path, person: Identity, pseudonym: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(
            "INSERT INTO identities (pseudonym, patient_key, issuer, patient_id, name, birth_date, sex, enrolled_at, "
            "changed_at) VALUES (?, ?, ?, ?, ?, ?, ?, '2026-01-01 00:00:00', '2026-01-01 00:00:00')",
            (
                pseudonym,
                plain_key(person),
                person.issuer,
                person.patient_id,
                person.name,
                str(person.birth_date),
                person.sex,
            ),
        )
    connection.close()


def test_nothing_plain_stays_after_an_upgrade(vault: Vault, path: Path, clock: Clock) -> None:
    for number, person in enumerate(PEOPLE):
        write_old(path, person, "P" + "AB"[number] * 12)
    vault.migrate()
    written = on_disk(path)
    for person in PEOPLE:
        assert [trace for trace in traces(person) if trace in written] == []
    found = vault.join(["P" + "A" * 12, "P" + "B" * 12], who="r1", why="read", case_ids=["c1"], at=clock())
    assert list(found.values()) == PEOPLE


def test_a_database_of_the_version_before_is_upgraded_without_a_trace(path: Path, tmp_path: Path, clock: Clock) -> None:
    database = VaultDatabase(f"sqlite:///{path}")
    with database.write() as conn:
        config = Config()
        config.set_main_option("script_location", str(VAULT.scripts))
        config.attributes.update(connection=conn, migrations=VAULT)
        command.upgrade(config, "0001")
    database.close()
    write_old(path, PEOPLE[0], "P" + "A" * 12)
    assert any(trace in on_disk(path) for trace in traces(PEOPLE[0]))
    vault = Vault(f"sqlite:///{path}", KeyRing.open(tmp_path / "ring", clock=clock))
    vault.migrate()
    assert [trace for trace in traces(PEOPLE[0]) if trace in on_disk(path)] == []
    assert vault.enroll(PEOPLE[0], clock()) == Enrolled("P" + "A" * 12, False)
    vault.close()


def sealed_of(path: Path, pseudonym: str) -> list[bytes]:
    with sqlite3.connect(path) as connection:
        row = connection.execute(
            "SELECT sealed, entry_key FROM identities WHERE pseudonym = ?", (pseudonym,)
        ).fetchone()
        keys = connection.execute("SELECT wrapped FROM object_keys WHERE pseudonym = ?", (pseudonym,)).fetchall()
    connection.close()
    return [*row, *(key for (key,) in keys)]


def pieces(sealed: list[bytes]) -> list[bytes]:
    return [one[start : start + 16] for one in sealed for start in range(0, len(one) - 15, 16)]


def forget_by_row(vault: Vault, pseudonym: str) -> None:
    """The broken twin: only the rows go, through a connection that does not clean up."""
    database = Database(str(vault._database._address))
    with database.write() as conn:
        conn.execute(text("PRAGMA secure_delete = OFF"))
        conn.execute(text("DELETE FROM object_keys WHERE pseudonym = :it"), {"it": pseudonym})
        conn.execute(text("DELETE FROM identities WHERE pseudonym = :it"), {"it": pseudonym})
    database.close()


@pytest.mark.parametrize("rightly", [True, False])
def test_a_forgotten_entry_leaves_no_byte_in_the_file(vault: Vault, path: Path, clock: Clock, rightly: bool) -> None:
    people = [vault.enroll(Identity("H", str(i), "长" * (i * 40)), clock()).pseudonym for i in range(30)]
    gone = people[20]
    vault.adopt(gone, [DataKey("ab" * 32, secrets.token_bytes(8), secrets.token_bytes(32))], clock())
    remains = pieces(sealed_of(path, gone))
    assert all(piece in on_disk(path) for piece in remains)
    if rightly:
        vault.forget(gone, clock(), who="admin", reason="retention")
    else:
        forget_by_row(vault, gone)
    left = [piece for piece in remains if piece in on_disk(path)]
    assert (left == []) is rightly
    found = vault.join(people, who="r1", why="read", case_ids=["c1"], at=clock())
    assert len(found) == 29


def test_forgetting_says_when_a_reader_keeps_the_log_and_can_be_done_again(
    path: Path, tmp_path: Path, clock: Clock
) -> None:
    vault = Vault(f"sqlite:///{path}", KeyRing.open(tmp_path / "ring", clock=clock), wait_s=0.05)
    vault.migrate()
    pseudonym = vault.enroll(PEOPLE[0], clock()).pseudonym
    remains = pieces(sealed_of(path, pseudonym))
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM identities").fetchone()
    with pytest.raises(StorageError) as failed:
        vault.forget(pseudonym, clock(), who="admin", reason="retention")
    assert failed.value.code == "vault_busy"
    assert vault.join([pseudonym], who="r1", why="read", case_ids=["c1"], at=clock()) == {}
    reader.close()
    vault.forget(pseudonym, clock(), who="admin", reason="retention")
    assert not [piece for piece in remains if piece in on_disk(path)]
    vault.close()


def test_a_copy_of_the_file_from_before_is_useless_once_the_master_key_was_rotated(
    vault: Vault, path: Path, tmp_path: Path, clock: Clock
) -> None:
    pseudonym = vault.enroll(PEOPLE[0], clock()).pseudonym
    vault._database.checkpoint()
    copy = tmp_path / "copy.db"
    copy.write_bytes(path.read_bytes())
    vault.forget(pseudonym, clock(), who="admin", reason="retention")
    old = Vault(f"sqlite:///{copy}", vault.ring)
    assert old.join([pseudonym], who="r1", why="read", case_ids=["c1"], at=clock()) == {pseudonym: PEOPLE[0]}
    vault.rotate()
    with pytest.raises(StorageError) as failed:
        old.join([pseudonym], who="r1", why="read", case_ids=["c1"], at=clock())
    assert failed.value.code == "vault_key_missing"
    old.close()


def test_the_vault_is_its_owner_s_alone(vault: Vault, path: Path) -> None:
    assert {stat.S_IMODE(one.stat().st_mode) & 0o077 for one in (path.parent, *path.parent.iterdir())} == {0}


# who may open an entry


def openers(folder: Path) -> set[str]:
    """Modules under the folder that import what opens entries."""
    inside = {"envelope", "entries", "older", "projects", "rotation", "database"}
    found = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names: set[str] = set()
            if isinstance(node, ast.ImportFrom) and node.module:
                names = {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
            elif isinstance(node, ast.Import):
                names = {alias.name for alias in node.names}
            if any(name.startswith(f"teleread.storage.vault.{part}") for name in names for part in inside):
                found.add(str(file.relative_to(folder)))
    return found


def test_nobody_outside_the_vault_imports_what_opens_entries(tmp_path: Path) -> None:
    for name in ("ingest", "pipeline", "reading", "web", "dags", "signal", "teleread/cli", "teleread/up"):
        assert openers(ROOT / name) == set()
    assert {name for name in openers(ROOT / "storage") if not name.startswith("vault/")} == set()
    (tmp_path / "sly.py").write_text("from teleread.storage.vault.envelope import Envelopes\n")
    assert openers(tmp_path) == {"sly.py"}


def test_join_is_the_only_public_way_to_an_identity(vault: Vault, clock: Clock) -> None:
    ways = {name for name in vars(Vault) if not name.startswith("_")}
    assert ways == {
        "accept",
        "adopt",
        "close",
        "database",
        "date_shift_days",
        "disown",
        "enroll",
        "forget",
        "forgotten",
        "held",
        "holders",
        "join",
        "keys",
        "migrate",
        "migrate_when_it_answers",
        "new_intake_key",
        "project_key",
        "project_pseudonym",
        "replay_forgotten",
        "retire_intake_key",
        "rotate",
        "set_recovery_key",
        "status",
    }
    for name in sorted(ways - {"join"}):
        annotations = getattr(getattr(Vault, name), "__annotations__", {})
        assert "Identity" not in str(annotations.get("return", ""))
    person = PEOPLE[0]
    enrolled = vault.enroll(person, clock())
    assert isinstance(enrolled, Enrolled)
    told = repr((enrolled, vault.status(), vault.held([]), vault.forgotten(), vault, vault.keys))
    assert not [word for word in (person.name, person.patient_id, "1957") if word in told]


def test_events_name_no_values(vault: Vault, clock: Clock) -> None:
    person = PEOPLE[0]
    pseudonym = vault.enroll(person, clock(), arrival_id="a1").pseudonym
    vault.enroll(
        Identity(person.issuer, person.patient_id, "别的名字", date(1999, 9, 19), "O"), clock(), arrival_id="a2"
    )
    vault.accept(pseudonym, "a2", who="doctor", why="seen_card", at=clock())
    vault.rotate()
    vault.forget(pseudonym, clock(), who="admin", reason="retention")
    database: VaultDatabase = vault._database
    with database.read() as conn:
        told = repr(conn.execute(text("SELECT * FROM vault_events")).all())
    assert "identity_disputed" in told
    for word in ("欧阳", "别的名字", "1999", "1957", person.patient_id, person.issuer):
        assert word not in told


# at size; the long counts are in tests/prove


def test_of_two_thousand_patients_nobody_is_joined_to_another(vault: Vault) -> None:
    hurry(vault)
    crowd = Crowd(vault)
    for start in (0, 1_000):
        crowd.enroll(range(start, start + 1_000))
    assert len({patient(number).patient_id for number in range(2_000)}) == 200
    assert crowd.wrong_joins(range(2_000)) == 0
    one, other = crowd.pseudonyms[3], crowd.pseudonyms[1_203]
    crowd.pseudonyms[3], crowd.pseudonyms[1_203] = other, one  # the broken twin: two that are exchanged
    assert crowd.wrong_joins(range(2_000)) >= 2


@pytest.mark.parametrize("naive", [False, True])
def test_the_export_key_alone_recovers_nobody(vault: Vault, clock: Clock, naive: bool) -> None:
    recovered, tried = export_key_attack(vault, clock(), patients=40, naive=naive)
    assert tried == 40
    assert recovered == (40 if naive else 0)

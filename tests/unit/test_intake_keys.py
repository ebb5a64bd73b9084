"""Retiring intake keys: not before everything under them is kept, and then for good."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import insert, select, update

from teleread.alliance import Alliance
from teleread.errors import StorageError
from teleread.pipeline import rotten
from teleread.pipeline.intake_keys import Retirement, retirable, retire_intake_keys, unkept
from teleread.pipeline.land import land
from teleread.pipeline.services import Services
from teleread.storage.catalogue import sweeping
from teleread.storage.catalogue.database import Database
from teleread.storage.catalogue.schema import arrivals, backups, objects, studies, swept_objects
from teleread.storage.objects import FileBlobs, SealedStore, StoredObject, raw_key
from teleread.storage.objects.raw import get_raw
from teleread.storage.vault import Identity, KeyRing, Vault
from tests.conftest import Clock
from tests.ecgs import ecg

WEEK = timedelta(days=7)


class House:
    """Services over a sealed store, and shortcuts to fill them."""

    def __init__(self, folder: Path, alliance: Alliance, clock: Clock) -> None:
        self.clock = clock
        self.ring = KeyRing.open(folder / "keys" / "ring", clock=clock)
        self.vault = Vault(f"sqlite:///{folder / 'vault.db'}", self.ring)
        self.vault.migrate()
        self.store = SealedStore(FileBlobs(folder / "objects"), self.vault.keys)
        catalogue = Database(f"sqlite:///{folder / 'catalogue.db'}")
        catalogue.migrate()
        self.services = Services(alliance, catalogue, self.store, self.vault.ring, self.vault, cast(Any, None), clock)

    def land(self, data: bytes, site: str = "township") -> tuple[str, StoredObject]:
        stored = self.store.put_raw(data)
        arrival_id = hashlib.sha256(f"{site}{stored.sha256}".encode()).hexdigest()[:32]
        with self.services.catalogue.write() as conn:
            self._object(conn, stored)
            conn.execute(
                insert(arrivals).values(
                    id=arrival_id,
                    receipt=arrival_id[:16],
                    site_id=site,
                    sha256=stored.sha256,
                    size_bytes=stored.size_bytes,
                    object_key=stored.key,
                    source="web",
                    kind="ecg",
                    clinic_priority="routine",
                    state="landed",
                    arrived_at=self.clock(),
                )
            )
        return arrival_id, stored

    def prepare(self, arrival_id: str, stored: StoredObject, patient: str, *, adopt: bool = True) -> str:
        keys = [self.store.data_key(stored.sha256)] if adopt else []
        pseudonym = self.vault.enroll(Identity("H1", patient), self.clock(), data_keys=keys).pseudonym
        derived = self.store.put(f"derived/1/{arrival_id}/x", b"derived from it", root=stored.sha256)
        with self.services.catalogue.write() as conn:
            self._object(conn, derived)
            conn.execute(
                insert(studies).values(
                    id=arrival_id,
                    site_id="township",
                    study_uid=arrival_id,
                    modality="ECG",
                    patient_pseudonym=pseudonym,
                    created_at=self.clock(),
                )
            )
            done = update(arrivals).where(arrivals.c.id == arrival_id)
            conn.execute(done.values(state="prepared", study_id=arrival_id, prepared_at=self.clock()))
        return pseudonym

    def _object(self, conn: Any, stored: StoredObject) -> None:
        columns = ("key", "sha256", "size_bytes", "root_sha256", "intake_key")
        values = {name: getattr(stored, name) for name in columns} | {"created_at": self.clock()}
        conn.execute(insert(objects).prefix_with("OR IGNORE").values(**values))

    def back_up(self, *, whole: bool = True) -> None:
        self.clock.advance(60)
        with self.services.catalogue.write() as conn:
            conn.execute(
                insert(backups).values(
                    id=self.clock().isoformat()[:32],
                    begun_at=self.clock(),
                    made_at=self.clock() if whole else None,
                    facts={},
                )
            )
        self.clock.advance(60)

    def replace_key(self) -> bytes:
        """Another intake key, long ago."""
        old = self.ring.intake()[0]
        self.ring.new_intake()
        self.clock.advance(WEEK.total_seconds() + 1)
        return old

    def retire(self) -> tuple[Retirement, ...]:
        return retire_intake_keys(self.services, older_than=WEEK)


@pytest.fixture
def house(tmp_path: Path, alliance: Alliance, clock: Clock) -> Iterator[House]:
    house = House(tmp_path, alliance, clock)
    yield house
    house.services.close()
    house.store.close()


def test_only_what_was_replaced_long_ago_is_considered(house: House) -> None:
    assert house.retire() == ()
    first = house.ring.intake()[0]
    house.ring.new_intake()
    house.clock.advance(60)
    assert retirable(house.ring, WEEK, house.clock()) == ()
    house.clock.advance(WEEK.total_seconds())
    assert retirable(house.ring, WEEK, house.clock()) == (first,)


def test_a_key_waits_for_a_whole_backup_begun_since_and_then_goes(house: House) -> None:
    arrival, stored = house.land(b"an ecg")
    house.prepare(arrival, stored, "7")
    old = house.replace_key()
    assert [(one.retired, one.waits_for, one.adopted) for one in house.retire()] == [(False, "backup", 0)]
    house.back_up(whole=False)
    assert not house.retire()[0].retired
    house.back_up()
    assert house.retire() == (Retirement(old.hex(), True, None, 1, 0),)
    assert house.ring.intake_key(old) is None
    assert house.store.get(stored.key) == b"an ecg"  # by the vault now
    assert house.store.get(f"derived/1/{arrival}/x") == b"derived from it"
    assert house.retire() == ()


def test_a_backup_that_was_dropped_does_not_count(house: House) -> None:
    arrival, stored = house.land(b"an ecg")
    house.prepare(arrival, stored, "7")
    house.replace_key()
    house.back_up()
    with house.services.catalogue.write() as conn:
        conn.execute(update(backups).values(facts={"dropped_at": house.clock().isoformat()}))
    assert house.retire()[0].waits_for == "backup"


@pytest.mark.parametrize("said", ["another", None])
def test_the_header_and_not_the_row_says_under_which_key_an_object_stands(house: House, said: str | None) -> None:
    _, stored = house.land(b"an ecg")
    house.replace_key()
    row = update(objects).where(objects.c.key == stored.key)
    with house.services.catalogue.write() as conn:
        conn.execute(row.values(intake_key=said and house.ring.intake()[0].hex()))
    house.back_up()
    assert [(one.waits_for, one.adopted) for one in house.retire()] == [("backup", 1)]
    house.back_up()
    assert house.retire()[0].retired
    assert house.store.get(stored.key) == b"an ecg"


def test_an_object_of_which_nobody_knows_the_key_keeps_every_key(house: House) -> None:
    _, stored = house.land(b"an ecg")
    house.replace_key()
    house.store.delete(stored.key)
    with house.services.catalogue.write() as conn:
        conn.execute(update(objects).values(intake_key=None))
    house.back_up()
    assert house.retire()[0].waits_for == "reconcile"


def test_who_dies_while_he_replaces_rotten_bytes_leaves_no_wrong_row(
    services: Services, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    def arrive() -> str:
        files = {"a.dcm": ecg(patient_id="1001")}
        landed = land(services, site_id="village", source="web", files=files, clinic_priority="urgent", actor="nurse")
        return landed.sha256

    sha256 = arrive()
    first = services.ring.intake()[0]
    services.ring.new_intake()
    path = cast(FileBlobs, services.store.blobs).root / raw_key(sha256)
    rotten_bytes = path.read_bytes()[:-1]
    path.chmod(0o600)
    path.write_bytes(rotten_bytes)
    with services.catalogue.read() as conn:
        before = sweeping.mark(conn)
    monkeypatch.setattr(rotten, "release", die)
    with pytest.raises(Killed):
        arrive()
    monkeypatch.undo()
    with services.catalogue.read() as conn:
        assert conn.scalar(select(objects.c.intake_key).where(objects.c.key == raw_key(sha256))) != first.hex()
        assert conn.scalars(select(swept_objects.c.key).where(swept_objects.c.id > before)).all() == [raw_key(sha256)]
    assert arrive() == sha256
    services.ring.new_intake()
    clock.advance(2 * WEEK.total_seconds())
    for number in range(2):
        retire_intake_keys(services, older_than=WEEK)
        clock.advance(60)
        with services.catalogue.write() as conn:
            conn.execute(insert(backups).values(id=f"b{number}", begun_at=clock(), made_at=clock(), facts={}))
        clock.advance(60)
    assert all(one.retired for one in retire_intake_keys(services, older_than=WEEK))
    assert get_raw(services.store, sha256)


def test_bytes_that_cannot_be_replaced_now_are_to_be_sent_again(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotten, "_PATIENCE_S", 0.0)
    with sweeping.sole_remover(services.catalogue) as sole:
        assert sole
        with pytest.raises(StorageError) as failed:
            rotten.replace_rotten(services, b"bytes", hashlib.sha256(b"bytes").hexdigest(), actor="nurse")
    assert failed.value.code == "catalogue_busy"


def test_after_retirement_a_forgotten_patient_s_bytes_are_useless(house: House) -> None:
    arrival, stored = house.land(b"an ecg")
    pseudonym = house.prepare(arrival, stored, "7")
    other_arrival, other = house.land(b"another ecg")
    house.prepare(other_arrival, other, "8")
    house.replace_key()
    house.vault.forget(pseudonym, house.clock(), who="admin", reason="retention")
    assert house.store.get(stored.key) == b"an ecg"  # the broken twin: the intake key is still there
    house.back_up()
    assert house.retire()[0].retired
    fresh = SealedStore(house.store.blobs, house.vault.keys)
    for key in (stored.key, f"derived/1/{arrival}/x"):
        with pytest.raises(StorageError) as failed:
            fresh.get(key)
        assert failed.value.code == "object_key_missing"
    assert fresh.get(other.key) == b"another ecg"


def test_what_nobody_prepared_is_kept_under_its_arrival(house: House) -> None:
    arrival, stored = house.land(b"unreadable")
    other, _ = house.land(b"unreadable", site="village")
    house.replace_key()
    house.back_up()
    assert [(one.waits_for, one.adopted) for one in house.retire()] == [("backup", 1)]
    house.back_up()
    assert house.retire()[0].retired
    assert house.store.get(stored.key) == b"unreadable"
    for one in (arrival, other):
        known = house.vault.enroll(Identity("teleread", f"unidentified-{one}"), house.clock())
        assert not known.new


def test_a_key_that_prepare_did_not_adopt_is_adopted_for_its_patient(house: House) -> None:
    arrival, stored = house.land(b"an ecg")
    pseudonym = house.prepare(arrival, stored, "7", adopt=False)
    assert unkept(house.services.catalogue, house.vault) == {house.ring.intake()[0].hex(): (1, 1)}
    house.replace_key()
    assert house.retire()[0].adopted == 1
    house.back_up()
    assert house.retire()[0].retired
    house.vault.forget(pseudonym, house.clock(), who="admin", reason="retention")
    with pytest.raises(StorageError):
        SealedStore(house.store.blobs, house.vault.keys).get(stored.key)


def test_bytes_that_the_catalogue_does_not_know_yet_keep_their_key(house: House) -> None:
    house.store.put_raw(b"acknowledged, and the catalogue is from an older backup")
    house.replace_key()
    house.back_up()
    assert [(one.retired, one.waits_for) for one in house.retire()] == [(False, "reconcile")]


def test_a_note_beside_its_arrival_and_an_object_of_no_patient_are_no_hindrance(house: House) -> None:
    arrival, stored = house.land(b"an ecg")
    house.prepare(arrival, stored, "7")
    house.store.put(f"arrivals/{arrival[:2]}/{arrival}/routine", b"{}", root=stored.sha256)
    certificate = house.store.put("certificates/1", b"deleted on such a day")
    house.replace_key()
    assert [(one.waits_for, one.adopted) for one in house.retire()] == [("backup", 1)]
    house.back_up()
    assert house.retire()[0].retired
    assert house.store.get(certificate.key) == b"deleted on such a day"


def test_missing_bytes_hold_the_key_until_somebody_has_looked(house: House) -> None:
    arrival, stored = house.land(b"an ecg")
    house.prepare(arrival, stored, "7")
    house.replace_key()
    house.back_up()
    fresh = SealedStore(house.store.blobs, house.vault.keys)
    fresh.delete(raw_key(stored.sha256))
    services = Services(
        house.services.alliance,
        house.services.catalogue,
        fresh,
        house.vault.ring,
        house.vault,
        cast(Any, None),
        house.clock,
    )
    assert retire_intake_keys(services, older_than=WEEK)[0].waits_for == "reconcile"


def test_a_vault_that_does_not_answer_retires_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    arrival, stored = house.land(b"an ecg")
    house.prepare(arrival, stored, "7")
    old = house.replace_key()
    house.back_up()

    def fail(_roots: object) -> object:
        raise StorageError("vault_unreachable", "the database does not answer")

    monkeypatch.setattr(house.vault, "held", fail)
    with pytest.raises(StorageError):
        house.retire()
    assert house.ring.intake_key(old) is not None

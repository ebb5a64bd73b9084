"""Keys behind a PIN: counted tries, a lock, ten minutes for one session, and nothing that the database alone opens."""

from __future__ import annotations

import base64
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from teleread.errors import AccessDenied, InputRejected, StorageError
from teleread.pipeline.services import Services
from teleread.storage import accounts, signers, signing_keys
from teleread.storage.catalogue.schema import audit_events, sessions
from teleread.storage.catalogue.schema import signing_keys as table
from teleread.storage.vault import KeyRing
from tests.conftest import Clock

PIN = "271828"
pytestmark = pytest.mark.usefixtures("_cheap")


@pytest.fixture
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real function at a small price: what it costs is written beside each sealed key."""
    monkeypatch.setattr(signing_keys, "_MEMORY_KIB", 64)
    monkeypatch.setattr(signing_keys, "_PASSES", 1)


@pytest.fixture
def token(services: Services) -> str:
    """A session of the reader with a PIN."""
    now = services.clock()
    with services.catalogue.write() as conn:
        account = accounts.create_account(conn, "reader", "correct horse", "reader", None, now)
        token = accounts.open_session(conn, account, now, timedelta(hours=12))
    signing_keys.set_pin(services.catalogue, services.ring, "reader", PIN, now)
    return token


def opened(services: Services, pin: str = PIN) -> signing_keys.Pen:
    return signing_keys.open_pen(services.catalogue, services.ring, "reader", pin, services.clock())


def actions(services: Services) -> list[str]:
    with services.catalogue.read() as conn:
        return list(conn.scalars(select(audit_events.c.action).order_by(audit_events.c.id)))


@pytest.mark.usefixtures("token")
def test_a_right_pin_signs_and_the_public_key_says_so(services: Services) -> None:
    pen = opened(services)
    with services.catalogue.read() as conn:
        key = signing_keys.active(conn, "reader")
    assert key is not None
    assert key.id == pen.key_id == signers.key_id("ed25519", key.public)
    signature = pen.sign(b"report")
    assert signers.signer("ed25519").verify(key.public, b"report", signature)
    # the twins: another text, another key
    assert not signers.signer("ed25519").verify(key.public, b"reporT", signature)
    other = signing_keys.new_pen("reader")
    assert not signers.signer("ed25519").verify(key.public, b"report", other.sign(b"report"))


@pytest.mark.parametrize("pin", ["", "12345", "111111", "123456", "987654", "x" * 65])
def test_what_is_no_pin_is_refused(services: Services, pin: str) -> None:
    with pytest.raises(InputRejected, match="bad_pin"):
        signing_keys.set_pin(services.catalogue, services.ring, "reader", pin, services.clock())


@pytest.mark.usefixtures("token")
def test_five_wrong_pins_lock_for_fifteen_minutes_and_are_on_record(services: Services, clock: Clock) -> None:
    for _ in range(5):
        with pytest.raises(AccessDenied, match="pin_wrong"):
            opened(services, "314159")
    with pytest.raises(AccessDenied, match="pin_locked"):
        opened(services)
    clock.advance(15 * 60 - 1)
    with pytest.raises(AccessDenied, match="pin_locked"):
        opened(services)
    clock.advance(2)
    assert opened(services).account == "reader"
    assert actions(services).count("pin_wrong") == 5
    assert actions(services).count("pin_locked") == 1


@pytest.mark.usefixtures("token")
def test_a_right_pin_forgets_the_wrong_ones_before_it(services: Services) -> None:
    for _ in range(3):
        for _ in range(4):
            with pytest.raises(AccessDenied, match="pin_wrong"):
                opened(services, "314159")
        assert opened(services)


def test_step_up_lasts_ten_minutes_of_one_session(services: Services, clock: Clock, token: str) -> None:
    pen = opened(services)
    with services.catalogue.write() as conn:
        account = accounts.Account("reader", "reader", None)
        other = accounts.open_session(conn, account, services.clock(), timedelta(hours=12))
        signing_keys.keep_open(conn, services.ring, token, pen, services.clock())

    def kept(who: str) -> signing_keys.Pen | None:
        with services.catalogue.read() as conn:
            return signing_keys.kept_open(conn, services.ring, who, "reader", services.clock())

    assert kept(token) == pen
    assert kept(other) is None
    clock.advance(599)
    assert kept(token) == pen
    clock.advance(2)
    assert kept(token) is None


def test_the_servers_own_memory_opens_nothing_without_the_sessions_token(services: Services, token: str) -> None:
    """What lies in the database and the ring, moved to another session's row, opens nothing there."""
    pen = opened(services)
    now = services.clock()
    with services.catalogue.write() as conn:
        signing_keys.keep_open(conn, services.ring, token, pen, now)
        forged = accounts.open_session(conn, accounts.Account("reader", "reader", None), now, timedelta(hours=12))
        row = conn.execute(select(sessions).where(sessions.c.unlocked_key.is_not(None))).one()
        conn.execute(update(sessions).values(unlocked_key=row.unlocked_key, unlocked_until=row.unlocked_until))
    with services.catalogue.read() as conn:
        assert signing_keys.kept_open(conn, services.ring, forged, "reader", now) is None
        assert signing_keys.kept_open(conn, services.ring, token, "reader", now) == pen


def test_a_new_pin_ends_step_up_and_the_old_key_stays_for_what_it_signed(services: Services, token: str) -> None:
    pen = opened(services)
    with services.catalogue.write() as conn:
        signing_keys.keep_open(conn, services.ring, token, pen, services.clock())
    fresh = signing_keys.set_pin(services.catalogue, services.ring, "reader", "161803", services.clock())
    with services.catalogue.read() as conn:
        assert signing_keys.kept_open(conn, services.ring, token, "reader", services.clock()) is None
        old, active = signing_keys.by_id(conn, pen.key_id), signing_keys.active(conn, "reader")
    assert old is not None
    assert old.ended_at is not None
    assert active is not None
    assert active.id == fresh != pen.key_id
    with pytest.raises(AccessDenied, match="pin_wrong"):
        opened(services)


@pytest.mark.usefixtures("token")
def test_another_pin_keeps_the_key(services: Services) -> None:
    before = opened(services).key_id
    signing_keys.change_pin(services.catalogue, services.ring, "reader", PIN, "161803", services.clock())
    assert opened(services, "161803").key_id == before


@pytest.mark.usefixtures("token")
def test_a_copy_of_the_database_with_another_ring_opens_nothing(services: Services, tmp_path: Path) -> None:
    other = KeyRing.open(tmp_path / "other.json", clock=services.clock)
    with pytest.raises(StorageError, match="signing_key_corrupt"):
        signing_keys.open_pen(services.catalogue, other, "reader", PIN, services.clock())
    private = opened(services).private
    with sqlite3.connect(tmp_path / "catalogue.db") as raw:
        held = "\n".join(raw.iterdump())
    raw.close()
    assert base64.b64encode(private).decode() not in held
    assert private.hex() not in held


def test_a_sealed_key_moved_to_another_account_does_not_open(services: Services, token: str) -> None:
    assert token
    now = services.clock()
    with services.catalogue.write() as conn:
        accounts.create_account(conn, "other", "correct horse", "reader", None, now)
    signing_keys.set_pin(services.catalogue, services.ring, "other", "161803", now)
    with services.catalogue.write() as conn:
        sealed = conn.scalar(select(table.c.sealed_private).where(table.c.account == "reader"))
        conn.execute(update(table).where(table.c.account == "other").values(sealed_private=sealed))
    with pytest.raises(StorageError, match="signing_key_corrupt"):
        signing_keys.open_pen(services.catalogue, services.ring, "other", PIN, now)

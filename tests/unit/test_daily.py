"""The day's round: anchors, keys renewed and retired, deletions ended; one failing part leaves the others alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from teleread.errors import StorageError
from teleread.ingest.formats import write_wfdb
from teleread.pipeline import daily
from teleread.pipeline.daily import INTAKE_KEY_LASTS, RETIRED_AFTER, keep_records
from teleread.pipeline.land import land
from teleread.pipeline.prepare import prepare
from teleread.pipeline.services import Services
from teleread.signal.ecg import simulate
from teleread.storage.vault import recovery
from teleread.storage.vault.schema import vault_events
from tests.conftest import Clock


@pytest.fixture
def kept(services: Services, tmp_path: Path) -> Services:
    return replace(services, anchors=tmp_path / "anchors")


def arrive(services: Services, seed: int) -> str:
    files = write_wfdb(simulate("normal", seed)[0], "rec")
    arrival = land(
        services, site_id="village", source="web", files=files, clinic_priority="routine", actor="nurse"
    ).arrival_id
    assert prepare(services, arrival) == "prepared"
    return arrival


def anchors(services: Services) -> dict[str, bytes]:
    assert services.anchors is not None
    return {path.name: path.read_bytes() for path in services.anchors.iterdir()}


def test_both_chains_are_anchored_once_a_day(kept: Services, clock: Clock) -> None:
    arrive(kept, 1)
    for _ in range(2):
        keep_records(kept)
        assert len(anchors(kept)) == 2
    first = anchors(kept)
    clock.advance(86_400)
    arrive(kept, 2)
    keep_records(kept)
    assert len(anchors(kept)) == 4
    assert first.items() <= anchors(kept).items()


def test_the_intake_key_is_renewed_and_what_it_opened_stays_readable(kept: Services, clock: Clock) -> None:
    arrival = arrive(kept, 1)
    before = kept.ring.intake()
    assert keep_records(kept)["intake_keys_made"] == 0
    clock.advance(INTAKE_KEY_LASTS.total_seconds())
    assert keep_records(kept)["intake_keys_made"] == 1
    assert kept.ring.intake() != before
    assert keep_records(kept)["intake_keys_made"] == 0
    clock.advance(INTAKE_KEY_LASTS.total_seconds() / 2)
    # without a backup the old key is never destroyed
    assert keep_records(kept)["intake_keys_retired"] == 0
    assert kept.ring.intake_key(before[0]) == before[1]
    assert any(arrival in info.key for info in kept.store.list("derived/"))


def test_what_is_done_to_keys_stands_in_the_vault_s_audit(kept: Services, clock: Clock) -> None:
    old = kept.ring.intake()[0]
    clock.advance(INTAKE_KEY_LASTS.total_seconds())
    keep_records(kept)
    clock.advance(RETIRED_AFTER.total_seconds())
    assert keep_records(kept)["intake_keys_retired"] == 1
    kept.vault.set_recovery_key(bytes(32), who="cli:operator")
    with kept.vault.database.read() as conn:
        told = conn.execute(select(vault_events).where(vault_events.c.object_type == "key").order_by(vault_events.c.id))
        rows = [(row.actor, row.action, row.object_id) for row in told]
    assert rows == [
        ("teleread", "new_intake_key", kept.ring.intake()[0].hex()),
        ("teleread", "retire_intake_key", old.hex()),
        ("cli:operator", "set_recovery_key", recovery.fingerprint(bytes(32))),
    ]


def test_a_part_that_fails_leaves_the_others_alone(kept: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(services: Services) -> tuple[str, int]:
        raise StorageError("vault_unreachable", "the database does not answer")

    broken.__name__ = "_retire_intake_keys"
    monkeypatch.setattr(daily, "_retire_intake_keys", broken)
    arrive(kept, 1)
    counts = keep_records(kept)
    assert counts["failures"] == 1
    assert counts["anchors"] == 2

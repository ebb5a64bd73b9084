"""Certificates and copies of the key ring are looked at by the scrub too, by their own checks."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from teleread.pipeline import certificates
from teleread.pipeline.restored import store_ring
from teleread.pipeline.scrub import Fault, scrub
from teleread.pipeline.services import Services
from teleread.storage.vault import recovery
from tests.conftest import Clock


@pytest.fixture
def keys(services: Services, clock: Clock) -> list[str]:
    services.ring.set_recovery(recovery.new_pair()[1])
    store_ring(services)
    row = SimpleNamespace(
        id="0" * 32,
        pseudonym="P" + "A" * 12,
        policy_id="cn",
        policy_version="1",
        reason="due",
        decided_by="archivist",
        decided_at=clock(),
        facts={"data_keys": [], "intake_keys": [], "objects": []},
    )
    key = certificates.certificate_key(row.id, "decision")
    certificates.keep(services.store.blobs, key, certificates.certificate(row, "decision", clock(), services.ring))
    return [info.key for info in services.store.blobs.list()]


def test_whole_ones_are_no_fault(services: Services, keys: list[str]) -> None:
    assert len(keys) == 2
    assert scrub(services).faults == 0


def test_every_flipped_bit_is_found(services: Services, keys: list[str], tmp_path: Path) -> None:
    for key in keys:
        path = tmp_path / "objects" / key
        whole = path.read_bytes()
        for at in range(0, len(whole), max(1, len(whole) // 12)):
            damaged = bytearray(whole)
            damaged[at] ^= 4
            path.write_bytes(bytes(damaged))
            told: list[Fault] = []
            scrub(services, fresh=True, tell=told.append)
            assert told == [Fault(key, "object_corrupt")], (key, at)
        path.write_bytes(whole)

"""The S3 store on a server that keeps what S3 promises."""

from __future__ import annotations

import io
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pytest

import teleread.storage.objects.wire as wires
from teleread.errors import Misconfigured
from teleread.storage.objects import SealedStore, StoredObject, open_store
from teleread.storage.objects.creating import CREATE_ONLY_PARTS, ETAG_MD5
from teleread.storage.objects.listing import uploads
from teleread.storage.objects.probe import NEEDED, probe, require
from teleread.storage.objects.s3 import S3Blobs
from tests.contract.ceph import ACCESS_KEY, SECRET_KEY, CephServer
from tests.contract.keys import TestKeys
from tests.contract.s3_contract import S3Contract, new_blobs, publish
from tests.contract.stored_objects import MIB, Trickle, at_once, peak_bytes

pytestmark = pytest.mark.peers


@pytest.fixture(scope="module")
def enforced(ceph: CephServer) -> frozenset[str]:
    """As the probe found it."""
    blobs = new_blobs(ceph.endpoint, ACCESS_KEY, SECRET_KEY)
    found = probe(blobs)
    blobs.close()
    return found.enforced


def _publish(rivals: list[S3Blobs], key: str, bodies: list[bytes], i: int) -> bool:
    return publish(rivals[i], key, bodies[i])


class TestS3OnCeph(S3Contract):
    @pytest.fixture
    def new(self, ceph: CephServer) -> Callable[[], S3Blobs]:
        return lambda: new_blobs(ceph.endpoint, ACCESS_KEY, SECRET_KEY)

    @pytest.fixture
    def enforced(self, enforced: frozenset[str]) -> frozenset[str]:
        return enforced

    def test_the_probe_finds_all_that_is_needed_and_leaves_nothing(self, blobs: S3Blobs) -> None:
        found = probe(blobs)
        assert found.missing() == ()
        require(found)
        # what it has beyond: the parts of an object are put together over another, so large ones are sent whole
        assert found.enforced == {*NEEDED, ETAG_MD5}
        assert CREATE_ONLY_PARTS not in found.enforced
        assert list(blobs.list()) == []
        assert list(uploads(blobs.wire)) == []

    def test_of_processes_that_race_exactly_one_wins(self, new: Callable[[], S3Blobs], blobs: S3Blobs) -> None:
        """Stores without a common lock, as processes are."""
        rivals = [S3Blobs(blobs.wire.endpoint, blobs.bucket, ACCESS_KEY, SECRET_KEY, secure=False) for _ in range(8)]
        for size in (60_000, 17 * MIB):
            for rival in rivals:
                rival.rely_on(NEEDED)
            count = 8 if size < MIB else 3
            bodies = [bytes([i]) * size for i in range(count)]
            found = at_once(count, partial(_publish, rivals, f"race/{size}", bodies))
            assert sorted(found) == [False] * (count - 1) + [True]
            assert blobs.get(f"race/{size}") == bytes([found.index(True)]) * size
        for rival in rivals:  # the twin: looks before it writes
            rival.rely_on(())
        winners = 0
        while winners < 2:
            blobs.delete("race/twin")
            bodies = [bytes([i]) * 60_000 for i in range(8)]
            winners = sum(at_once(8, partial(_publish, rivals, "race/twin", bodies)))
        for rival in rivals:
            rival.close()

    def test_two_gigabytes_take_little_memory(self, blobs: S3Blobs) -> None:
        store, size = SealedStore(blobs, TestKeys()), (2 << 30) + 17
        stored: list[StoredObject] = []
        peak = peak_bytes(lambda: stored.append(store.put_raw(io.BufferedReader(Trickle(size)))))
        assert stored[0].size_bytes == size
        assert peak < self.memory_bound_bytes
        found: list[tuple[str, int]] = []
        peak = peak_bytes(lambda: found.append(store.measure(stored[0].key)))
        assert found == [(stored[0].sha256, size)]
        assert peak < self.memory_bound_bytes
        store.delete(stored[0].key)

    def test_no_answer_waits_for_a_delayed_acknowledgement(
        self, blobs: S3Blobs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert publish(blobs, "a", bytes(60_000))

        def median_ms() -> float:
            found = []
            for _ in range(21):
                begun = time.perf_counter()
                blobs.get("a")
                found.append(1000 * (time.perf_counter() - begun))
            return statistics.median(found)

        assert median_ms() < 25
        monkeypatch.setattr(wires, "_QUICK_ACK", None)  # the twin
        assert median_ms() > 35


def test_one_url_opens_it(ceph: CephServer, tmp_path: Path) -> None:
    url = f"s3://{ACCESS_KEY}:{quote(SECRET_KEY, safe='')}@{ceph.endpoint}/by-url-{os.getpid()}?secure=0"
    store = open_store(url, TestKeys(), remember=tmp_path / "stores.json")
    raw = store.put_raw(b"one")
    assert [info.key for info in store.list()] == [raw.key]
    assert (tmp_path / "stores.json").stat().st_mode & 0o777 == 0o600
    store.close()
    with pytest.raises(Misconfigured) as refused:
        open_store(url + "&accept=credentials", TestKeys())
    assert refused.value.code == "bad_store_url"

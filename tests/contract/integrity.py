"""Store and catalogue, damaged and compared."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydicom.data import get_testdata_file
from sqlalchemy import select

from teleread.ingest.formats import write_wfdb
from teleread.pipeline.enqueue import enqueue
from teleread.pipeline.land import Landed, land
from teleread.pipeline.prepare import prepare
from teleread.pipeline.reconcile import Finding, Report, reconcile
from teleread.pipeline.scrub import Fault, ScrubReport, scrub
from teleread.pipeline.services import Services
from teleread.signal.ecg import simulate
from teleread.storage.catalogue import schema
from teleread.storage.objects.protocol import ObjectStore
from tests.conftest import Clock

TABLES = {
    schema.arrivals: ("attempts", "prepared_at", "sent_by"),  # who sent it stands in no note
    schema.objects: ("created_at",),
    schema.derived: ("made_at",),
    schema.studies: ("created_at",),
    schema.work_items: ("created_at",),
    schema.quarantine: ("quarantined_at",),
    schema.swept_objects: ("id", "condemned_at"),
}


class Killed(Exception):
    """Stands for the end of the process: nothing behind it runs."""


class Fuse:
    """Ends the process at its nth step."""

    def __init__(self, n: int) -> None:
        self.left = n

    def __call__(self, _name: str) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed


def files(seed: int) -> dict[str, bytes]:
    record, _truth = simulate("normal", seed)
    return write_wfdb(record, "rec")


def ct() -> dict[str, bytes]:
    return {"a": Path(str(get_testdata_file("CT_small.dcm"))).read_bytes()}


def arrive(services: Services, given: dict[str, bytes], *, priority: Any = "routine", site: str = "village") -> Landed:
    return land(services, site_id=site, source="web", files=given, clinic_priority=priority, actor="test")


def through(services: Services, given: dict[str, bytes], **more: Any) -> Landed:
    landed = arrive(services, given, **more)
    prepare(services, landed.arrival_id)
    enqueue(services, landed.arrival_id)
    return landed


def later(services: Services, hours: float = 2.0) -> None:
    """The store's clock is the real one; ours is put so much ahead of it."""
    clock = services.clock
    assert isinstance(clock, Clock)
    clock.now = max(clock.now, datetime.now(UTC)) + timedelta(hours=hours)


def state(services: Services) -> dict[str, Any]:
    """All that matters of the catalogue, and every object with its bytes' hash."""
    rows: dict[str, Any] = {}
    with services.catalogue.read() as conn:
        for table, beside in TABLES.items():
            wanted = [column for column in table.c if column.name not in beside]
            rows[table.name] = sorted(map(repr, conn.execute(select(*wanted)).all()))
    rows["stored"] = {info.key: services.store.measure(info.key) for info in services.store.list()}
    return rows


def mend(services: Services, **more: Any) -> tuple[Report, list[Finding]]:
    findings: list[Finding] = []
    return reconcile(services, repair=True, tell=findings.append, **more), findings


def read_all(services: Services, **more: Any) -> tuple[ScrubReport, set[Fault]]:
    faults: set[Fault] = set()
    return scrub(services, tell=faults.add, **more), faults


def rewrite(store: ObjectStore, key: str, sealed: bytes) -> None:
    """Put other sealed bytes in an object's place, as a rotting disk does."""
    store.blobs.delete(key)
    with store.blobs.draft(len(sealed)) as draft:
        draft.write(sealed)
        assert draft.publish(key)


def flip(store: ObjectStore, key: str, bit: int) -> None:
    sealed = bytearray(store.blobs.get(key))
    sealed[bit // 8] ^= 1 << bit % 8
    rewrite(store, key, bytes(sealed))


def keys(services: Services, prefix: str = "") -> list[str]:
    return [info.key for info in services.store.list(prefix)]


def kill_at_every_step(
    services: Services, before: Callable[[], None], act: Callable[[Callable[[str], None]], None]
) -> tuple[list[dict[str, Any]], int]:
    """Run, killed at its first step, at its second and so on; after each, run to the end. The states reached."""
    states = []
    for n in range(1, 200):
        before()
        try:
            act(Fuse(n))
        except Killed:
            later(services, 0.1)
            act(lambda _name: None)
            states.append(state(services))
        else:
            return states, n - 1
    raise AssertionError("the steps do not come to an end")

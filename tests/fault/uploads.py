"""Uploads by a process that dies: announced, brought in pieces and landed, as the routes do it.

What is sent: one file, a recording of two files, and a ZIP of two recordings. Each answer that would carry receipts is
said; a second run is the sender that asks again, and the rounds that land what was whole.
"""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import select

from teleread.errors import TelereadError
from teleread.ingest.formats import bundle, write_wfdb
from teleread.pipeline import uploads
from teleread.pipeline.services import Services
from teleread.pipeline.spool import Spool, Upload
from teleread.pipeline.uploads import finish, finish_left
from teleread.signal.ecg import simulate
from teleread.storage.accounts import Account
from teleread.storage.catalogue.schema import arrivals
from teleread.storage.objects.raw import get_raw
from teleread.web.api import tus
from teleread.web.security import Seat
from tests.fault.steps import Steps, number_databases
from tests.fault.world import Clock, Step, World, open_services

SITE = "village"
_PIECES = 3


@cache
def files() -> dict[str, tuple[bytes, str | None, int]]:
    """What is sent: (bytes, group, size of the group) by name."""
    one, two = (write_wfdb(simulate("normal", seed, duration_s=2.0)[0], f"rec{seed}") for seed in (1, 2))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in two.items():
            out.writestr(f"a/{name}", data)
        out.writestr("b/pdf", b"%PDF-1.4 of somebody " * 40)
        out.writestr("c/ecg.hea", one["rec1.hea"])
    sent: dict[str, tuple[bytes, str | None, int]] = {
        "single": (b"a single recording " * 3000, None, 1),
        "study.zip": (archive.getvalue(), None, 1),
    }
    return sent | {name: (data, "group-of-two", len(one)) for name, data in one.items()}


def expected() -> dict[str, str]:
    """Priority by hash of all that must have landed in the end, each once."""
    one, two = (write_wfdb(simulate("normal", seed, duration_s=2.0)[0], f"rec{seed}") for seed in (1, 2))
    routine = [bundle(one), bundle(two), one["rec1.hea"]]
    found = {hashlib.sha256(data).hexdigest(): "routine" for data in routine}
    return found | {hashlib.sha256(files()["single"][0]).hexdigest(): "urgent"}


def upload_run(request: dict[str, Any], say: Callable[[dict[str, Any]], None], pool: Any) -> None:
    """Send everything; dies at step ``die_at`` of the disk or the databases."""
    world = World(**request["world"])
    step = Steps(request.get("die_at", 0))
    services = _opened(world, pool)
    _break(request.get("twin", ""))
    if request.get("numbered"):
        number_databases(step)
        number_disk(step)
    spool = Spool(Path(world.home) / "spool")
    if not request.get("numbered"):
        # the rounds of the process that was started again
        finish_left(services, spool)
    for name in files():
        for receipt in _bring(services, spool, name):
            say({"receipt": [name, receipt]})
    say({"steps": list(step.names)})
    if not request.get("numbered"):
        say({"state": _look(services, spool)})
    services.close()


def number_disk(step: Step) -> None:
    """From now on every fsync, renaming and removal of this process has a step before and after."""
    for module, name in ((os, "fsync"), (os, "replace"), (os, "unlink"), (os, "rename"), (os, "mkdir"), (os, "rmdir")):
        setattr(module, name, _stepping(getattr(module, name), name, step))
    path = Path
    for name in ("replace", "unlink", "mkdir"):
        setattr(path, name, _stepping(getattr(path, name), f"path.{name}", step))


def _stepping(call: Callable[..., Any], name: str, step: Step) -> Callable[..., Any]:
    def stepped(*arguments: Any, **named: Any) -> Any:
        step(f"before {name}")
        value = call(*arguments, **named)
        step(f"after {name}")
        return value

    return stepped


def _opened(world: World, pool: Any) -> Services:
    return open_services(world, make_pool=lambda: pool, clock=Clock())


def _bring(services: Services, spool: Spool, name: str) -> tuple[str, ...]:
    data, group, size = files()[name]
    seat = Seat(services, "en", Account("nurse", "uploader", SITE), "land")
    said = tus._Announced(name, hashlib.sha256(data).hexdigest(), name == "single", group, size)
    upload = tus._begin(spool, seat, len(data), said)
    piece = len(data) // _PIECES + 1
    while not upload.settled and (offset := spool.offset(upload)) < len(data):
        with spool.append(upload, offset) as appender:
            appender.write(data[offset : offset + piece])
    return finish(services, spool, upload).receipts


def _look(services: Services, spool: Spool) -> dict[str, Any]:
    with services.catalogue.read() as conn:
        rows = conn.execute(select(arrivals)).all()
    wrong = []
    for row in rows:
        try:
            get_raw(services.store, row.sha256)
        except TelereadError as error:
            wrong.append(error.code)
    left = [str(path) for path in spool.folder.rglob("bytes")]
    return {
        "arrivals": sorted((row.sha256, row.clinic_priority) for row in rows),
        "receipts": sorted(row.receipt for row in rows),
        "wrong": wrong,
        "left": len(left),
    }


def _break(twin: str) -> None:
    """Broken twins: each must be caught by some of the deaths."""
    if twin == "a receipt before landing":

        def promise(services: Services, spool: Spool, upload: Upload) -> Upload:
            if upload.settled or not spool.is_whole(upload):
                return upload
            return spool.settle(upload, receipts=(f"PROMISED-{upload.id[:8]}",))

        globals()["finish"] = promise
    elif twin == "another hash for each try":

        def doubled(services: Services, upload: Upload, sent: dict[str, bytes]) -> Any:
            salted = {name: data + os.urandom(4) for name, data in sent.items()}
            return uploads.land(
                services,
                site_id=upload.site_id,
                source="web",
                files=salted,
                clinic_priority=upload.priority,
                actor=upload.actor,
            )

        uploads._land_files = doubled

"""Uploads to a web service whose disk fills up in the middle of one, and is emptied again.

python -m tests.fault.small_spool HOME    in a mount namespace of its own; says what happened as JSON
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import random
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select

from teleread.agent.lead import Lead, LineBroken
from teleread.agent.sender import Sender
from teleread.agent.sender import running as sending
from teleread.agent.spool import Spool
from teleread.ingest.bounded import BoundedPool
from teleread.storage.catalogue.schema import arrivals
from tests.fault.forge import ROOT
from tests.fault.small_disk import _alliance, _fill
from tests.fault.world import World, bring_up_to_date, open_services
from tests.ui.live import Web, running

SIZE = "160m"
_LARGE = 12 << 20
_PATIENCE_S = 60.0


def tell_story(home: Path, elsewhere: Path) -> dict[str, Any]:
    """Run this module on a small file system at ``home``; the agent's own folder is ``elsewhere``."""
    home.mkdir(exist_ok=True)
    inside = f"{sys.executable} -m tests.fault.small_spool {home} {elsewhere}"
    user = [] if os.geteuid() == 0 else ["-Ur"]
    mount = f"mount -t tmpfs -o size={SIZE} tmpfs {home} && exec {inside}"
    command = ["unshare", *user, "-m", "sh", "-c", mount]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main(home: Path, elsewhere: Path) -> None:
    logging.disable(logging.CRITICAL)
    world = World(str(home), f"file://{home}/objects", f"sqlite:///{home}/catalogue.db", f"sqlite:///{home}/vault.db")
    bring_up_to_date(world)
    with BoundedPool(workers=1) as pool:
        services = open_services(world, make_pool=lambda: pool, clock=lambda: datetime.now(UTC))
        object.__setattr__(services, "alliance", _alliance())
        object.__setattr__(services, "spool_folder", home / "spool")
        with running(services) as web:
            story = _story(web, home, elsewhere)
        with services.catalogue.read() as conn:
            story["landed"] = {row.sha256: row.receipt for row in conn.execute(select(arrivals))}
        services.close()
    print(json.dumps(story))


def _story(web: Web, home: Path, elsewhere: Path) -> dict[str, Any]:
    story: dict[str, Any] = {}
    with web.signed_in("nurse") as nurse:
        token = nurse.cookies["teleread_session"]
    spool = Spool(elsewhere)
    files = {"ct": random.Random(1).randbytes(_LARGE), "ecg": b"2" * 20_000}
    story["wanted"] = sorted(hashlib.sha256(data).hexdigest() for data in files.values())
    spool.add({"ct": files["ct"]}, urgent=False, seen_at=1.0)
    lead = Lead(web.address, token=token, cap_bytes_s=3e6)
    sender = Sender(spool, lead, first_pause_s=0.05, longest_pause_s=0.3)
    with sending(sender):
        _until(lambda: sender.progress.sent > 1 << 20)
        _fill(home / "rest")
        _until(lambda: sender.progress.failure == "disk_full")
        spool.add({"ecg": files["ecg"]}, urgent=True, seen_at=2.0)
        story["asked while full"] = _code(web, token)
        story["waiting while full"] = len(spool.queued())
        (home / "rest").unlink()
        _until(lambda: not spool.queued())
    lead.close()
    story["sent again"] = lead.sent_bytes - sum(map(len, files.values()))
    story["receipts"] = sorted(one.receipts[0] for one in spool.items())
    return story


def _code(web: Web, token: str) -> str:
    lead = Lead(web.address, token=token)
    try:
        lead.announce(1000, {"filename": "other"})
    except LineBroken as error:
        return error.code
    finally:
        lead.close()
    return "taken"


def _until(true: Any) -> None:
    ends = time.monotonic() + _PATIENCE_S
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.005)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

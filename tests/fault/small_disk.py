"""The web service on a file system of a few megabytes that fills up and is emptied again.

python -m tests.fault.small_disk HOME    in a mount namespace of its own; says what happened as JSON
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import httpx

from teleread.alliance import Alliance, Connection, Lead, Site
from teleread.ingest.bounded import BoundedPool
from tests.fault.forge import ROOT
from tests.fault.state import look
from tests.fault.world import World, bring_up_to_date, open_services
from tests.ui.live import Web, named_ecg, running, upload

SIZE = "8m"
_BALLAST = 3 << 20
_MOST_UPLOADS = 60


def why_not() -> str:
    """Why no small file system can be mounted here; empty when one can."""
    if shutil.which("unshare") is None:
        return "unshare is missing"
    tried = subprocess.run(_command("true", "/mnt"), capture_output=True, text=True, check=False)
    return "" if tried.returncode == 0 else f"no small file system can be mounted here: {tried.stderr.strip()[-80:]}"


def tell_story(home: Path) -> dict[str, Any]:
    """Run this module on a small file system at ``home``."""
    home.mkdir(exist_ok=True)
    command = f"{sys.executable} -m tests.fault.small_disk {home}"
    done = subprocess.run(
        _command(command, str(home)), capture_output=True, text=True, check=False, cwd=ROOT, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _command(inside: str, folder: str) -> list[str]:
    user = [] if os.geteuid() == 0 else ["-Ur"]
    return ["unshare", *user, "-m", "sh", "-c", f"mount -t tmpfs -o size={SIZE} tmpfs {folder} && exec {inside}"]


def main(home: Path) -> None:
    logging.disable(logging.CRITICAL)
    world = World(str(home), f"file://{home}/objects", f"sqlite:///{home}/catalogue.db", f"sqlite:///{home}/vault.db")
    bring_up_to_date(world)
    ballast = home / "ballast"
    ballast.write_bytes(bytes(_BALLAST))
    with BoundedPool(workers=1) as pool:
        services = open_services(world, make_pool=lambda: pool, clock=lambda: datetime.now(UTC))
        object.__setattr__(services, "alliance", _alliance())
        with running(services) as web:
            story = _story(web, ballast)
        found = look(services, story["acknowledged"])
        story["problems"] = found.problems
        services.close()
    print(json.dumps(story))


def _story(web: Web, ballast: Path) -> dict[str, Any]:
    acknowledged: dict[str, str] = {}
    story: dict[str, Any] = {"acknowledged": acknowledged}
    with web.signed_in("nurse") as nurse:
        story["ready at first"] = _health(nurse)
        for number in range(_MOST_UPLOADS):
            answer = upload(nurse, {"a.dcm": named_ecg("Full^Disk", seed=number)})
            if answer.status_code not in (200, 201):
                break
            acknowledged[str(number)] = _arrival(web, answer.json()["receipt"])
        story["refused"] = [answer.status_code, answer.json()]
        page = nurse.post(
            "/upload", files=[("file", ("a.dcm", named_ecg("Full^Disk", seed=number)))], data={"urgent": "1"}
        )
        story["page"] = [page.status_code, page.text]
        _fill(ballast.with_name("rest"))
        story["ready when full"] = _health(nurse)
        story["receipts when full"] = [
            nurse.get(f"/api/receipts/{receipt}").status_code for receipt in _receipts(web, acknowledged)
        ]
        ballast.unlink()
        ballast.with_name("rest").unlink()
        answer = upload(nurse, {"a.dcm": named_ecg("Full^Disk", seed=number)})
        story["taken"] = answer.status_code
        if answer.status_code in (200, 201):
            acknowledged[str(number)] = _arrival(web, answer.json()["receipt"])
        story["ready again"] = _health(nurse)
    return story


def _fill(path: Path) -> None:
    """To the last byte, as a log of somebody else's would."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 12))


def _health(client: httpx.Client) -> list[Any]:
    answer = client.get("/readyz")
    return [answer.status_code, answer.json()["failing"]]


def _arrival(web: Web, receipt: str) -> str:
    return str(_column(web, "id", receipt=receipt))


def _receipts(web: Web, acknowledged: dict[str, str]) -> list[str]:
    return [str(_column(web, "receipt", id=arrival)) for arrival in acknowledged.values()]


def _column(web: Web, name: str, **where: str) -> object:
    from sqlalchemy import select

    from teleread.storage.catalogue.schema import arrivals

    with web.services.catalogue.read() as conn:
        return conn.execute(select(arrivals.c[name]).filter_by(**where)).scalar_one()


def _alliance() -> Alliance:
    since = date(2026, 1, 1)
    return Alliance(
        "医联体",
        "Alliance",
        "0571-0",
        480,
        {
            site.id: site
            for site in (
                Site("lead", "中心医院", "Lead Hospital", "lead", "0571-1"),
                Site("village", "村卫生室", "Village Clinic", "member"),
                Site("other", "另一诊所", "Other Clinic", "member"),
            )
        },
        (Lead("ecg", "lead", since), Lead("imaging", "lead", since)),
        (Connection("village", "web", since), Connection("other", "web", since)),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))

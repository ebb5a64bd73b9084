"""One web process of the proof on critical values: ``python -m tests.prove.criticals_web WORLD PORT``."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import uvicorn

from teleread.alliance import Alliance, Site
from teleread.ingest.bounded import BoundedPool
from teleread.pipeline.services import Services
from teleread.pipeline.tell import Telling
from teleread.reading.critical_ladder import standard_ladders
from teleread.reading_room import Contact, ReadingRoom
from teleread.storage.catalogue.database import Database
from teleread.storage.objects import FileBlobs, SealedStore
from teleread.storage.vault import KeyRing, Vault
from teleread.web.app import create_app

SINCE = date(2026, 1, 1)


def open_world(world: Mapping[str, Any]) -> Services:
    """The services of a world that was written down as JSON."""
    home = Path(world["home"])
    ring = KeyRing.open(home / "keys.json", clock=now)
    vault = Vault(world["vault"], ring)
    vault.migrate()
    sites = {name: Site(name, name, name, "member", "0571-3") for name in world["sites"]}
    contacts = tuple(Contact(valid_from=SINCE, **one) for one in world["contacts"])
    alliance = Alliance("医联体", "Alliance", "0571-0", 480, sites, (), (), room=ReadingRoom(contacts=contacts))
    return Services(
        alliance=alliance,
        catalogue=Database(world["catalogue"]),
        store=SealedStore(FileBlobs(home / "objects"), vault.keys),
        ring=ring,
        vault=vault,
        make_pool=lambda: BoundedPool(workers=1),
        clock=now,
        telling=Telling(
            smtp_host="127.0.0.1", smtp_port=world["mail_port"], sender="teleread@alliance.example", loopback=True
        ),
        ladders=tuple(one.faster(world["faster"]) for one in standard_ladders()),
    )


def now() -> datetime:
    return datetime.now(UTC)


def main() -> None:
    logging.basicConfig(level=logging.ERROR)
    services = open_world(json.loads(Path(sys.argv[1]).read_text()))
    app = create_app(services, sweep_every=timedelta(seconds=5))
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="error", ws="none", server_header=False)


if __name__ == "__main__":
    main()

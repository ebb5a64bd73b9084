"""A day of the version before, run with that version's own code: land, prepare, enqueue, list, sign.

python old_day.py < day.json    its imports come from PYTHONPATH, so this file itself must import nothing newer

Says as JSON what it acknowledged and what it found, or ends with the error that the old code met.
"""

from __future__ import annotations

import base64
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Connection

import teleread.pipeline.land as pipeline
from teleread.alliance import Alliance
from teleread.ingest.bounded import BoundedPool
from teleread.pipeline.enqueue import enqueue
from teleread.pipeline.land import land
from teleread.pipeline.prepare import prepare
from teleread.pipeline.services import Services
from teleread.reading import claims, desk
from teleread.reading.claims import Reach
from teleread.reading.reports import Report
from teleread.reading.signing import Act, Author, Said, sign_report
from teleread.reading.worklist import list_items
from teleread.storage import signing_keys
from teleread.storage.catalogue.database import Database
from teleread.storage.objects.filesystem import FileBlobs
from teleread.storage.objects.sealed import SealedStore
from teleread.storage.vault import KeyRing, Vault


def main() -> None:
    day: dict[str, Any] = json.load(sys.stdin)
    ring = KeyRing.open(Path(day["keys"]), clock=_clock)
    catalogue, vault = Database(day["catalogue_url"]), Vault(day["vault_url"], ring)
    if day["migrate"]:
        catalogue.migrate()
        vault.migrate()
    with BoundedPool(workers=1) as pool:
        services = Services(
            alliance=Alliance("", "", "", 480, {}, (), ()),
            catalogue=catalogue,
            store=SealedStore(FileBlobs(Path(day["store"])), vault.keys),
            ring=ring,
            vault=vault,
            make_pool=lambda: pool,
            clock=_clock,
        )
        arrivals = {each["name"]: _bring(services, each) for each in day["deliveries"]}
        with catalogue.write() as conn:
            signed = _sign(conn, arrivals[day["sign"]], services.clock())
        with catalogue.read() as conn:
            listed = [item.case_id for item in list_items(conn)]
        services.close()
    print(json.dumps({"arrivals": arrivals, "listed": listed, "report": signed.id, "code": pipeline.__file__}))


def _clock() -> datetime:
    return datetime(2026, 11, 1, tzinfo=UTC)


def _sign(conn: Connection, case_id: str, at: datetime) -> Report:
    held = claims.claim_case(conn, case_id, Reach("reader", desk.pools_of(conn, case_id)), at)
    act = Act(claim=(held.item_id, held.fence), channel="web")
    author = Author("reader", "reader", "reader", "en")
    pen = signing_keys.new_pen("reader")
    return sign_report(conn, case_id, Said(text="Sinus rhythm.", critical=False), act, author, pen, at=at)


def _bring(services: Services, each: dict[str, Any]) -> str:
    landed = land(
        services,
        site_id=each["site_id"],
        source=cast(Any, each["source"]),
        files={name: base64.b64decode(data) for name, data in each["files"].items()},
        clinic_priority=cast(Any, each["priority"]),
        actor="test",
    )
    prepare(services, landed.arrival_id)
    enqueue(services, landed.arrival_id)
    return landed.arrival_id


if __name__ == "__main__":
    main()

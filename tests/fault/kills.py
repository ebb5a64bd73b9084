"""Kill a landing process again and again, and look whether what it acknowledged is there.

python -m tests.fault.kills HOME SEED    the process that is killed: lands arrival after arrival, prints receipts
"""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, cast

from sqlalchemy import select

from teleread.alliance import Alliance
from teleread.pipeline.land import land
from teleread.pipeline.services import Services
from teleread.storage.catalogue.database import Database
from teleread.storage.catalogue.schema import arrivals
from teleread.storage.objects import FileBlobs, SealedStore
from teleread.storage.objects.raw import get_raw
from tests.contract.keys import shared_keys

SITE = "village"


def content(number: int) -> bytes:
    """The bytes of one arrival: about 4 KB that follow from its number."""
    return hashlib.sha256(str(number).encode()).digest() * 128


def open_home(home: Path) -> Services:
    """Landing needs neither vault nor parsers."""
    catalogue = Database(f"sqlite:///{home / 'catalogue.db'}")
    catalogue.migrate()
    return Services(
        alliance=Alliance("", "", "", 0, {}, (), ()),
        catalogue=catalogue,
        store=SealedStore(FileBlobs(home / "objects"), shared_keys()),
        vault=cast(Any, None),
        make_pool=cast(Any, None),
        clock=lambda: datetime.now(UTC),
    )


def land_forever(home: Path, start: int, *, acknowledge_first: bool = False) -> None:
    """Land from ``start`` on; ``acknowledge_first`` is the broken twin that promises before it has stored."""
    services = open_home(home)
    for number in range(start, start + 1_000_000):
        if acknowledge_first:
            print(number, flush=True)
        land(
            services, site_id=SITE, source="cli", files={"x": content(number)}, clinic_priority="routine", actor="test"
        )
        if not acknowledge_first:
            print(number, flush=True)


@dataclass
class Tally:
    """What many kills gave."""

    kills: int = 0
    acknowledged: int = 0
    lost: int = 0
    doubled: int = 0
    torn: int = 0


def kill_once(home: Path, seed: int, tally: Tally, *, broken: bool = False) -> None:
    """Start a landing process, kill it at a random moment, and count what is wrong afterwards."""
    start = seed * 1_000_000
    command = [sys.executable, "-m", "tests.fault.kills", str(home), str(start), *(["broken"] if broken else [])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    output = cast(IO[str], process.stdout)
    told = [int(output.readline())]
    time.sleep(random.Random(seed).uniform(0, 0.1))  # the moment of the kill, not a wait for something
    process.kill()
    told += [int(line) for line in output.read().splitlines(keepends=True) if line.endswith("\n")]
    process.wait()
    output.close()
    tally.kills += 1
    tally.acknowledged += len(told)
    services = open_home(home)
    with services.catalogue.read() as conn:
        rows = conn.execute(select(arrivals.c.sha256)).scalars().all()
    tally.doubled += len(rows) - len(set(rows))
    held = set(rows)
    for number in told:
        digest = hashlib.sha256(content(number)).hexdigest()
        tally.lost += digest not in held
    for digest in rows[-3:]:  # the ones nearest to the kill
        tally.torn += hashlib.sha256(get_raw(services.store, digest)).hexdigest() != digest
    services.catalogue.close()


if __name__ == "__main__":
    land_forever(Path(sys.argv[1]), int(sys.argv[2]), acknowledge_first=len(sys.argv) > 3)

"""The worklist's page over a long queue, and how soon an urgent ECG that was stored stands first on an open list.

    .venv/bin/python -m benchmarks.worklist_page [--items 1000000] [--requests 200] [--url POSTGRESQL] [--ecgs 20]

A real uvicorn in a process of its own, on SQLite in a temporary folder unless a URL names an empty PostgreSQL database
(``--postgres`` starts Debian's own). The page is asked for as a reader asks: first page, any depth, narrowed, with
fifty names joined in the vault and both audits written. The second part takes the fast lane: a recording goes up by
tus, and Chromium looks at its list, which lies open.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import multiprocessing
import random
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import httpx
import psutil
import uvicorn
from sqlalchemy import insert, text

from teleread.alliance import Alliance, Connection, Lead, Site
from teleread.ingest.bounded import BoundedPool
from teleread.pipeline.identifiers import arrival_id
from teleread.pipeline.services import Services
from teleread.reading.order import Cursor
from teleread.storage import accounts
from teleread.storage.catalogue import schema
from teleread.storage.catalogue.database import Database
from teleread.storage.objects import FileBlobs, SealedStore
from teleread.storage.vault import Identity, KeyRing, Vault
from teleread.web.app import create_app
from teleread.web.worklist_view import write_cursor
from tests.contract.postgres import postgres_server
from tests.ui.chromium import browser
from tests.ui.live import named_ecg

SITES = 92
PATIENTS = 500
PASSWORD = "a bench of oak"
SEED = 7
LIMITS = {name: timedelta(minutes=n) for name, n in (("urgent", 5), ("high", 15), ("routine", 60))}
_BATCH = 5_000


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server's parts lie."""

    folder: Path
    url: str
    port: int

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def open_services(place: Place) -> Services:
    ring = KeyRing.open(place.folder / "keys.json", clock=utc_now)
    vault = Vault(f"sqlite:///{place.folder / 'vault.db'}", ring)
    since = date(2026, 1, 1)
    sites = [Site("lead", "中心医院", "Lead Hospital", "lead", "0571-1")]
    sites += [Site(f"s{n}", f"卫生院{n}", f"Clinic {n}", "member") for n in range(SITES)]
    alliance = Alliance(
        "医联体",
        "Alliance",
        "0571-0",
        480,
        {site.id: site for site in sites},
        (Lead("ecg", "lead", since), Lead("imaging", "lead", since)),
        tuple(Connection(site.id, "web", since) for site in sites[1:]),
    )
    return Services(
        alliance=alliance,
        catalogue=Database(place.url),
        store=SealedStore(FileBlobs(place.folder / "objects"), vault.keys),
        ring=ring,
        vault=vault,
        make_pool=lambda: BoundedPool(workers=1),
        clock=utc_now,
        spool_folder=place.folder / "spool",
    )


def fill(services: Services, items: int, rng: random.Random) -> list[Cursor]:
    """Waiting cases as a queue of a million would have them, all in the pool of all; returns places in it."""
    now = utc_now()
    with services.catalogue.write() as conn:
        accounts.create_account(conn, "bench-reader", PASSWORD, "reader", None, now)
        accounts.create_account(conn, "bench-other", PASSWORD, "reader", None, now)
        accounts.create_account(conn, "bench-nurse", PASSWORD, "uploader", "s0", now)
        conn.execute(insert(schema.objects).values(key="bench", sha256="0" * 64, size_bytes=1, created_at=now))
    people = [
        services.vault.enroll(Identity(f"s{n % SITES}", f"{n:07}", f"张^{n}", date(1950, 1, 1 + n % 28), "M"), now)
        for n in range(PATIENTS)
    ]
    places: list[Cursor] = []
    for first in range(0, items, _BATCH):
        rows = [_item(n, items, now, people[n % PATIENTS].pseudonym) for n in range(first, min(items, first + _BATCH))]
        with services.catalogue.write() as conn:
            conn.execute(insert(schema.arrivals), [arrival for arrival, _ in rows])
            conn.execute(insert(schema.work_items), [item for _, item in rows])
        _, item = rng.choice(rows)
        places.append((item["band"], item["order_at"], item["id"]))
    return places


def _item(n: int, items: int, now: datetime, pseudonym: str) -> tuple[dict[str, Any], dict[str, Any]]:
    name = hashlib.sha256(f"bench {n}".encode()).hexdigest()
    priority = "urgent" if n % 5000 == 17 and n % SITES else "high" if n % 20 == 3 else "routine"
    arrived = now - timedelta(seconds=30) - timedelta(seconds=(items - n) * 0.05)
    arrival = {"id": name[:32], "receipt": f"{name[:4]}-{name[4:8]}-{name[8:12]}".upper(), "site_id": f"s{n % SITES}"}
    arrival |= {"sha256": name, "size_bytes": 1, "object_key": "bench", "source": "web", "kind": "ecg"}
    arrival |= {"clinic_priority": priority, "state": "prepared", "arrived_at": arrived, "case_id": name[:32]}
    item = {"id": name[32:], "case_id": name[:32], "seq": 1, "state": "SCHEDULED", "priority": priority}
    item |= {"rank": ("urgent", "high", "routine").index(priority), "reasons": ["clinic"], "site_id": f"s{n % SITES}"}
    item |= {"modality": "CT" if n % 50_000 == 9 else "ECG", "arrival_id": name[:32], "patient_pseudonym": pseudonym}
    item |= {"patient_sex": "MF"[n % 2], "patient_age_years": 20.0 + n % 70, "analysed": True}
    item |= {"quality_acceptable": True, "arrived_at": arrived, "created_at": arrived, "pool": "all"}
    item |= {"band": 0 if priority == "urgent" else 1, "due_at": arrived + LIMITS[priority]}
    item["order_at"] = arrived + timedelta(minutes=240 if priority == "routine" else 0)
    return arrival, item


def serve(place: Place, ready: Event) -> None:
    """The server's own process."""
    services = open_services(place)
    app = create_app(services, sweep_every=timedelta(seconds=5))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=place.port, log_level="error", ws="none"))
    ready.set()
    server.run()


@contextmanager
def running(place: Place) -> Iterator[psutil.Process]:
    """A server in a process of its own; yields that process."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=serve, args=(place, ready), daemon=False)
    process.start()
    try:
        ends = time.monotonic() + 60
        while True:
            try:
                httpx.get(f"{place.address}/healthz", timeout=2)
                break
            except httpx.TransportError:
                if time.monotonic() > ends or not process.is_alive():
                    raise
                time.sleep(0.1)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.join(15)
        if process.is_alive():
            process.kill()


def pages(place: Place, server: psutil.Process, places: list[Cursor], requests: int, rng: random.Random) -> None:
    """Times of the page, as a browser has them until the last byte; and what it costs the server's processor, which
    a busy machine does not change.
    """
    kinds: dict[str, Callable[[], str]] = {
        "first page": lambda: "/worklist",
        "any depth": lambda: f"/worklist?after={write_cursor(rng.choice(places))}",
        "backwards": lambda: f"/worklist?before={write_cursor(rng.choice(places))}",
        "one site": lambda: f"/worklist?site=s{rng.randrange(SITES)}",
        "a rare modality": lambda: "/worklist?modality=CT",
        "one priority": lambda: "/worklist?priority=high",
        "being read as well": lambda: "/worklist?show=all",
        "what changed (asked each 5 s)": lambda: "/api/worklist/changes?since=0",
    }
    with signed_in(place, "bench-reader") as client:
        for kind, address in kinds.items():
            times: list[float] = []
            spent = 0.0
            for n in range(requests + 3):
                path = address()
                if n == 3:
                    spent = cpu_s(server)
                begun = time.perf_counter()
                answer = client.get(path)
                took = time.perf_counter() - begun
                assert answer.status_code == 200, answer.text
                if n >= 3:
                    times.append(took)
            print(
                f"{kind:32} median {_ms(statistics.median(times))}  p95 {_ms(percentile(times, 95))}  "
                f"processor {_ms((cpu_s(server) - spent) / requests)}",
                flush=True,
            )


def cpu_s(process: psutil.Process) -> float:
    spent = process.cpu_times()
    return float(spent.user + spent.system)


@contextmanager
def signed_in(place: Place, name: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=place.address, headers={"origin": place.address}, timeout=60) as client:
        assert client.post("/sign-in", data={"name": name, "password": PASSWORD}).status_code == 303
        yield client


def percentile(times: list[float], of: int) -> float:
    return sorted(times)[max(0, -(-of * len(times) // 100) - 1)]


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:7.1f} ms"


def urgent(place: Place, ecgs: int) -> None:
    """From the receipt of an urgent ECG to its standing first on a list that lies open."""
    times = []
    with browser() as chromium, signed_in(place, "bench-nurse") as nurse, signed_in(place, "bench-other") as other:
        page = chromium.new_context(viewport={"width": 1366, "height": 768}, locale="en-GB").new_page()
        page.goto(f"{place.address}/sign-in")
        page.locator("#name").fill("bench-reader")
        page.locator("#password").fill(PASSWORD)
        page.keyboard.press("Enter")
        page.locator("#list").wait_for()
        page.goto(f"{place.address}/worklist?site=s0")  # whose urgent cases nobody has to wait for
        page.locator("#list[data-live='1']").wait_for()
        for n in range(ecgs):
            page.keyboard.press("Escape")  # her cursor is on no row
            stored, case_id = _send(nurse, named_ecg(f"Bench^{n}", str(n), seed=n))
            page.locator(f"tr[data-case]:first-child[data-case='{case_id}']").wait_for(timeout=30_000)
            times.append(time.monotonic() - stored)
            assert other.post(f"/api/cases/{case_id}/claim").status_code == 200  # the next is first again
    print(
        f"urgent ECG stored -> on the open list, {ecgs} ECGs: median {_ms(statistics.median(times))}  "
        f"p95 {_ms(percentile(times, 95))}  longest {_ms(max(times))}",
        flush=True,
    )


def _send(nurse: httpx.Client, data: bytes) -> tuple[float, str]:
    """Send by tus; when its last byte was acknowledged, and its case."""
    digest = hashlib.sha256(data).hexdigest()
    meta = {"sha256": digest, "urgent": "1", "filename": "rec.dcm"}
    said = ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in meta.items())
    headers = {"tus-resumable": "1.0.0", "upload-length": str(len(data)), "upload-metadata": said}
    made = nurse.post("/api/tus", headers=headers)
    assert made.status_code == 201, made.text
    headers = {"tus-resumable": "1.0.0", "upload-offset": "0", "content-type": "application/offset+octet-stream"}
    sent = nurse.patch(made.headers["location"], headers=headers, content=data)
    stored = time.monotonic()
    assert sent.status_code == 204, sent.text
    return stored, arrival_id("s0", digest)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000, help="how many cases wait (default: 1000000)")
    parser.add_argument("--requests", type=int, default=200, help="of each kind of page (default: 200)")
    parser.add_argument("--ecgs", type=int, default=20, help="urgent ones that are sent (default: 20; 0: none)")
    parser.add_argument("--url", help="of an empty PostgreSQL database")
    parser.add_argument("--postgres", action="store_true", help="start Debian's PostgreSQL for this")
    options = parser.parse_args()
    rng = random.Random(SEED)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="teleread-list-")))
        url = options.url or f"sqlite:///{folder / 'catalogue.db'}"
        if options.postgres:
            url = stack.enter_context(postgres_server())()
        place = Place(folder, url, free_port())
        services = open_services(place)
        services.catalogue.migrate()
        services.vault.migrate()
        places = fill(services, options.items, rng)
        if not services.catalogue.is_sqlite:
            with services.catalogue.write() as conn:
                conn.execute(text("ANALYZE"))
        services.close()
        print(f"{options.items} waiting cases on {'PostgreSQL' if url[0] == 'p' else 'SQLite'}", flush=True)
        with running(place) as server:
            pages(place, server, places, options.requests, rng)
            if options.ecgs:
                urgent(place, options.ecgs)
    return 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    raise SystemExit(main())

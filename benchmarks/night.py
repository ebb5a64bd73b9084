"""A night of an alliance, pressed into some minutes: what the software adds to it.

    python -m benchmarks.night [--ecgs 600] [--studies 60] [--sites 92] [--minutes 20] [--database URL] [--out FOLDER]

Real processes and real time: ``teleread serve`` with its rounds, clinics that upload, six readers with shifts who take
the most urgent case, read for some seconds and sign, three critical values with their acknowledgements, and one
``kill -9`` of the web service in the middle. Only the night is shorter than a night, so that the load is higher.

Shown are, of the urgent cases: from stored to queued, from a reader's key to the drawn page, from the press on Sign to
the answer, from signed to the clinic's page (their sum is what the software adds), and from stored to opened. The page
of the night's indicators is kept in ``--out``.
"""

from __future__ import annotations

import argparse
import random
import re
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from sqlalchemy import select

from benchmarks.night_world import ACCOUNTS, CRITICAL, PIN, READERS, Case, make_cases, open_session, write_rules
from teleread.reading.statements import lexicon
from teleread.settings import load_settings
from teleread.storage.catalogue.schema import arrivals, case_openings, criticals, deliveries, reports, work_items
from tests.lead_hospital import LeadHospital

READ_FOR_S = 6.0
LOOK_AGAIN_S = 1.0
UNSEEN_S = 180.0


@dataclass
class Log:
    """What the clients saw, by case."""

    opening_s: dict[str, float] = field(default_factory=dict)
    signing_s: dict[str, float] = field(default_factory=dict)
    receipts: dict[str, str] = field(default_factory=dict)
    retries: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Night:
    """The clients of one night; each on a thread of its own."""

    def __init__(self, hospital: LeadHospital, tokens: dict[str, str], minutes: float, seed: int) -> None:
        self.hospital = hospital
        self.tokens = tokens
        self.ends = time.monotonic() + minutes * 60
        self.random = random.Random(seed)
        self.log = Log()
        self.all_sent = threading.Event()
        self.over = threading.Event()
        self.failures: list[str] = []
        self.critical = {f"ecg{n}" for n in range(len(CRITICAL))}

    def client(self, name: str) -> httpx.Client:
        address = f"http://127.0.0.1:{self.hospital.port}"
        cookies = {"teleread_session": self.tokens[name]}
        headers = {"origin": address, "accept-language": "zh-CN"}
        return httpx.Client(base_url=address, cookies=cookies, headers=headers, timeout=60, trust_env=False)

    def patiently(self, ask: Callable[[], httpx.Response]) -> httpx.Response:
        """As every client of ours does: while nobody answers, again."""
        while True:
            try:
                answer = ask()
                if answer.status_code not in {429, 502, 503}:
                    return answer
            except httpx.TransportError:
                pass
            with self.log.lock:
                self.log.retries += 1
            time.sleep(LOOK_AGAIN_S)

    def send(self, cases: list[Case]) -> None:
        """The clinics: each case at its time."""
        begun = time.monotonic()
        clients = {case.nurse: self.client(case.nurse) for case in cases}
        try:
            for case in cases:
                self.over.wait(max(0.0, begun + case.at_s - time.monotonic()))
                threading.Thread(target=self.send_one, args=(clients[case.nurse], case), daemon=True).start()
            self.over.wait(5)
        finally:
            self.all_sent.set()

    def send_one(self, client: httpx.Client, case: Case) -> None:
        parts = [("file", (name, data)) for name, data in case.files.items()]
        fields = {"urgent": "1" if case.urgent else "0"}
        answer = self.patiently(lambda: client.post("/api/upload", files=parts, data=fields))
        if answer.status_code >= 400:
            self.failures.append(f"upload {answer.status_code}")
            return
        with self.log.lock:
            self.log.receipts[case.name] = answer.json()["receipt"]

    def read(self, name: str, until: float) -> None:
        """One reader until the end of her shift: the most urgent case, some seconds, signed."""
        with self.client(name) as client:
            while time.monotonic() < until and not self.over.is_set():
                pressed = time.monotonic()
                answer = self.patiently(lambda: client.post("/claims/next"))
                place = answer.headers.get("location", "")
                found = re.fullmatch(r"/cases/(\w+)(?:\?.*)?", place)
                if found is None:
                    self.over.wait(LOOK_AGAIN_S)
                    continue
                self.read_one(client, found[1], pressed)

    def read_one(self, client: httpx.Client, case_id: str, pressed: float) -> None:
        page = self.patiently(lambda: client.get(f"/cases/{case_id}"))
        claim = dict(re.findall(r'name="(item_id|fence|replaces)" value="(\w*)"', page.text))
        part = re.search(r'data-arrival="(\w+)"', page.text)
        total = re.search(r'data-total="(\d+)"', page.text)
        if part is not None and total is not None:
            place = f"/api/recordings/{part[1]}/window?start=0&n={total[1]}&view=diagnostic"
            self.patiently(lambda: client.get(place))
        opened = time.monotonic()
        with self.log.lock:
            is_critical = any(
                receipt in page.text for name, receipt in self.log.receipts.items() if name in self.critical
            )
        self.over.wait(READ_FOR_S * self.random.uniform(0.5, 1.5))
        flags = list(dict.fromkeys(re.findall(r'data-flag="(\w+)"', page.text)))
        said: tuple[str, ...] = ()
        if is_critical:
            said = tuple(one.code for one in (lexicon().statements[code] for code in lexicon().suggested(flags, ())))
            codes = re.findall(r'name="(code_\w+)"', page.text)[:1]
            self.patiently(lambda: client.post(f"/cases/{case_id}/critical", data=dict.fromkeys(codes, "1")))
        for flag in flags:
            if not lexicon().answers(flag, said):
                self.patiently(
                    partial(client.post, f"/api/cases/{case_id}/flags/{flag}", data=claim | {"verdict": "rejected"})
                )
        fields = claim | {"pin": PIN, "text": "心电图已阅。", "statements": ",".join(said)}
        fields |= {"critical": "1" if is_critical else "0"}
        began = time.monotonic()
        answer = self.patiently(lambda: client.post(f"/api/cases/{case_id}/report", data=fields))
        if answer.status_code == 422 and (late := self.flags_since(client, case_id, flags)):
            for flag in late:  # the program spoke after the page was opened
                place = f"/api/cases/{case_id}/flags/{flag}"
                self.patiently(partial(client.post, place, data=claim | {"verdict": "rejected"}))
            answer = self.patiently(lambda: client.post(f"/api/cases/{case_id}/report", data=fields))
        if answer.status_code not in {201, 409}:
            self.failures.append(f"report {answer.status_code} {answer.text[:200]}")
        with self.log.lock:
            self.log.opening_s[case_id] = opened - pressed
            self.log.signing_s[case_id] = time.monotonic() - began

    def flags_since(self, client: httpx.Client, case_id: str, known: list[str]) -> list[str]:
        page = self.patiently(lambda: client.get(f"/cases/{case_id}"))
        return [flag for flag in dict.fromkeys(re.findall(r'data-flag="(\w+)"', page.text)) if flag not in known]

    def acknowledge(self, nurses: list[str]) -> None:
        """The clinics' people press "I have read this" some seconds after they see a critical value."""
        clients = [self.client(name) for name in nurses]
        services = self.hospital.open()
        by_site = {ACCOUNTS.site_of(name): client for name, client in zip(nurses, clients, strict=True)}
        try:
            while not self.over.wait(LOOK_AGAIN_S):
                with services.catalogue.read() as conn:
                    found = conn.execute(
                        select(criticals.c.id, criticals.c.site_id).where(criticals.c.ended_at.is_(None))
                    ).all()
                for row in found:
                    client = by_site[row.site_id]
                    self.over.wait(3)
                    self.patiently(partial(client.post, f"/criticals/{row.id}/acknowledge"))
        finally:
            services.close()
            for client in clients:
                client.close()


def figures(night: Night, cases: list[Case]) -> Iterator[str]:
    """What the night was like, out of the catalogue and of what the clients saw."""
    services = night.hospital.open()
    try:
        with services.catalogue.read() as conn:
            rows = conn.execute(
                select(
                    arrivals.c.case_id,
                    arrivals.c.arrived_at,
                    arrivals.c.receipt,
                    arrivals.c.clinic_priority,
                    work_items.c.created_at,
                    work_items.c.priority,
                    work_items.c.state,
                )
                .join(work_items, work_items.c.case_id == arrivals.c.case_id)
                .where(work_items.c.modality == "ECG", work_items.c.seq == 1)
            ).all()
            opened: dict[str, datetime] = {}
            for row in conn.execute(select(case_openings)):
                opened[row.case_id] = min(opened.get(row.case_id, row.opened_at), row.opened_at)
            signed = {
                row.case_id: row for row in conn.execute(select(reports.c.case_id, reports.c.signed_at, reports.c.id))
            }
            given_back = conn.execute(select(deliveries.c.report_id, deliveries.c.delivered_at))
            back = {row.report_id: row.delivered_at for row in given_back}
            told = conn.execute(select(criticals)).all()
    finally:
        services.close()
    urgent = [row for row in rows if row.priority == "urgent" or row.clinic_priority == "urgent"]
    read = [row for row in urgent if row.case_id in signed]
    added = []
    for row in read:
        parts = [
            (row.created_at - row.arrived_at).total_seconds(),
            night.log.opening_s.get(row.case_id, 0.0),
            night.log.signing_s.get(row.case_id, 0.0),
        ]
        given = back.get(signed[row.case_id].id)
        parts.append((given - signed[row.case_id].signed_at).total_seconds() if given else float("nan"))
        added.append(sum(parts))
    waits = sorted((opened[row.case_id] - row.arrived_at).total_seconds() for row in urgent if row.case_id in opened)
    unseen = [row for row in urgent if row.case_id not in opened]
    late = [wait for wait in waits if wait > UNSEEN_S]
    turnaround = [(signed[row.case_id].signed_at - row.arrived_at).total_seconds() for row in read]
    sent = len(night.log.receipts)
    yield f"sent {sent} of {len(cases)}, ECG cases {len(rows)}, signed {len(signed)}, retries {night.log.retries}"
    middle = statistics.median(turnaround)
    yield f"urgent {len(urgent)}: stored to signed, median {middle:.1f} s (of it reading {READ_FOR_S:g} s)"
    yield f"the software adds, median {statistics.median(added):.2f} s, most {max(added):.2f} s (bar 5 s)"
    yield f"urgent stored to opened: median {statistics.median(waits):.1f} s, p99 {_p99(waits):.1f} s (bar 60 s)"
    yield f"unseen: {len(unseen)}, opened later than 3 min: {len(late)} (bar 0)"
    ended = [(end - one.found_at).total_seconds() for one in told if (end := one.told_at or one.owned_at) is not None]
    slowest = max(ended, default=0.0)
    yield f"critical values: {len(told)}, acknowledged or owned {len(ended)}, the slowest after {slowest:.1f} s"
    lost = len(cases) - len(night.log.receipts)
    yield f"lost {lost}, failures {night.failures[:3]}"


def _p99(values: list[float]) -> float:
    return values[min(len(values) - 1, int(0.99 * len(values)))]


def keep_page(night: Night, out: Path) -> None:
    """The page of the night's indicators, as the senior reader sees it."""
    out.mkdir(parents=True, exist_ok=True)
    with night.client("senior") as client:
        (out / "indicators.html").write_text(client.get("/indicators").text, encoding="utf-8")
        (out / "indicators.csv").write_bytes(client.get("/indicators.csv").content)


def run(options: argparse.Namespace, folder: Path) -> None:
    """One night."""
    more = {} if options.database is None else {"catalogue_url": options.database}
    settings = load_settings({"TELEREAD_HOME": str(folder)})
    seconds = options.minutes * 60
    start = datetime.now(UTC) + timedelta(seconds=20)
    write_rules(settings.alliance_file, options.sites, start, seconds)
    hospital = LeadHospital(folder, **more)
    services = hospital.open()
    names = ACCOUNTS.make(services, options.sites)
    tokens = {name: open_session(services, name) for name in names}
    services.close()
    cases = make_cases(options.ecgs, options.studies, options.sites, seconds, options.seed)
    with hospital:
        night = Night(hospital, tokens, options.minutes, options.seed)
        begun = time.monotonic()
        half = begun + seconds / 2
        patience = seconds + max(120.0, seconds)
        until = {READERS[4]: half, **dict.fromkeys((*READERS[:4], READERS[5]), begun + patience)}
        threads = [threading.Thread(target=night.send, args=(cases,))]
        threads += [threading.Thread(target=night.read, args=(name, until[name])) for name in READERS[:5]]
        nurses = [name for name in names if name.startswith("nurse")]
        threads.append(threading.Thread(target=night.acknowledge, args=(nurses,)))
        for thread in threads:
            thread.start()
        night.over.wait(max(0.0, half - time.monotonic()))
        hospital.end(signal.SIGKILL)
        hospital.start()
        late = threading.Thread(target=night.read, args=(READERS[5], until[READERS[5]]))
        late.start()
        wait_for_the_last(night, begun + patience, len([case for case in cases if case.kind == "ecg"]))
        night.over.set()
        for thread in [*threads, late]:
            thread.join()
        time.sleep(6)  # the last events are counted
        keep_page(night, options.out)
        for line in figures(night, cases):
            print(line)


def wait_for_the_last(night: Night, until: float, n_ecgs: int) -> None:
    """Until every ECG has been signed, or patience ends."""
    services = night.hospital.open()
    try:
        while time.monotonic() < until:
            with services.catalogue.read() as conn:
                signed = len(conn.execute(select(reports.c.case_id).distinct()).all())
                open_ones = len(conn.execute(select(criticals.c.id).where(criticals.c.ended_at.is_(None))).all())
            if sys.stderr.isatty():
                sys.stderr.write(f"\r{signed} of {n_ecgs} signed ")
            if night.all_sent.is_set() and signed >= n_ecgs and not open_ones:
                return
            time.sleep(LOOK_AGAIN_S)
    finally:
        services.close()


def main() -> None:
    """Run a night and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.night", description=__doc__.partition("\n")[0])
    parser.add_argument("--ecgs", type=int, default=600)
    parser.add_argument("--studies", type=int, default=60)
    parser.add_argument("--sites", type=int, default=92)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", metavar="URL", help="of PostgreSQL; SQLite unless said")
    parser.add_argument("--out", type=Path, default=Path("var/night"), metavar="FOLDER")
    options = parser.parse_args()
    with TemporaryDirectory(prefix="teleread-night-") as folder:
        run(options, Path(folder))


if __name__ == "__main__":
    main()

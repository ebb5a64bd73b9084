"""Critical values of many sites while contacts are dead, nurses log off and web processes are killed.

Web processes are real, contacts are servers on loopback, a third of a hundred of which refuse, hang or fail; nurses
and coordinators are clients that look every few seconds and now and then go away. The ladder's times are divided, as
data; the 5 s within which a step must come are not.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import httpx

from teleread.reading.critical_rows import of_case, told
from teleread.reading.critical_state import Critical, Told
from teleread.storage import accounts
from teleread.storage.catalogue.database import Database
from tests.criticals import add_case, add_people
from tests.outside import mail_server, webhook
from tests.prove.criticals_check import faults, first_alert
from tests.prove.criticals_web import open_world
from tests.prove.lines_server import Counted

SITES = 24
DEAD = 0.3
FASTER = 20.0
"""900 s of ladder are 45 s here."""
PACE_S = 0.4
READER = "reader"
HERE = ("coordinator", "second-coordinator")
_WEB = 2
_READY_S = 120.0


@dataclass
class Night:
    """A run: its world, its web processes, and what came of it."""

    world: dict[str, Any]
    folder: Path
    random: Random
    tokens: dict[str, str] = field(default_factory=dict)
    processes: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    raised: list[str] = field(default_factory=list)  # case ids whose raising was answered
    ended: threading.Event = field(default_factory=threading.Event)
    kills: int = 0
    began: tuple[float, float] = field(default_factory=lambda: (time.monotonic(), _waited_s()))
    busy: float = 0.0  # share of the time in which something waited for a processor
    stood_still_s: float = 0.0  # the longest time for which nothing here was run
    catalogue: Database | None = None
    client: httpx.Client = field(
        default_factory=lambda: httpx.Client(
            timeout=8, trust_env=False, verify=False, limits=httpx.Limits(max_keepalive_connections=0)
        )
    )

    def web(self) -> str:
        """The address of one of the processes; it may be dead."""
        return f"http://127.0.0.1:{self.random.choice(list(self.processes))}"

    def ask(self, method: str, path: str, who: str, **more: Any) -> httpx.Response | None:
        """A request by an account to any process; None when that one does not answer."""
        headers = {"authorization": f"Bearer {self.tokens[who]}", "sec-fetch-site": "same-origin"}
        try:
            return self.client.request(method, self.web() + path, headers=headers, **more)
        except httpx.HTTPError:
            return None

    def start(self, port: int) -> None:
        """One web process; it is ready when it answers."""
        command = [sys.executable, "-m", "tests.prove.criticals_web", str(self.folder / "world.json"), str(port)]
        log = (self.folder / f"web-{port}.log").open("ab")
        self.processes[port] = subprocess.Popen(command, stdout=log, stderr=log)
        log.close()
        ends = time.monotonic() + _READY_S
        while time.monotonic() < ends and not self.ended.is_set():
            try:
                if self.client.get(f"http://127.0.0.1:{port}/healthz", timeout=2).status_code == 200:
                    return
            except httpx.HTTPError:
                self.ended.wait(0.3)
        log_text = (self.folder / f"web-{port}.log").read_text()[-2000:]
        assert self.ended.is_set(), f"a web process does not come up: {log_text}"

    def kill(self, port: int) -> None:
        process = self.processes[port]
        os.kill(process.pid, signal.SIGKILL)
        process.wait(30)
        self.kills += 1


@contextmanager
def night(
    count: int, seed: int = 1, *, new_url: Callable[[], str] | None = None, kills: bool = True
) -> Iterator[Night]:
    """``count`` critical values, from the first one raised to the end of the last one's ladder.

    Args:
        new_url: makes an empty database; without, they are SQLite files.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="teleread-criticals-")))
        random = Random(seed)
        made = Night(_world(folder, random, stack, new_url), folder, random)
        (folder / "world.json").write_text(json.dumps(made.world))
        cases = _fill(made, count)
        stack.callback(_end, made)
        for port in [_free_port() for _ in range(_WEB)]:
            made.start(port)
        acting = [threading.Thread(target=_nurse, args=(made, site, seed), daemon=True) for site in made.world["sites"]]
        acting.append(threading.Thread(target=_coordinator, args=(made, seed), daemon=True))
        acting.append(threading.Thread(target=_machine, args=(made,), daemon=True))
        if kills:
            acting.append(threading.Thread(target=_killer, args=(made, seed), daemon=True))
        for thread in acting:
            thread.start()
        _raise_all(made, cases)
        made.ended.wait(900 / FASTER + 8)
        made.busy = (_waited_s() - made.began[1]) / (time.monotonic() - made.began[0])
        made.ended.set()
        for thread in acting:
            thread.join(60)
        yield made


def rows_of(made: Night, case_id: str) -> tuple[Critical, list[Told]]:
    """What stands of a case's critical value."""
    assert made.catalogue is not None
    with made.catalogue.read() as conn:
        found = of_case(conn, case_id)
        assert len(found) == 1, f"{case_id}: raised and confirmed, and {len(found)} are known"
        return found[0], told(conn, [found[0].id])[found[0].id]


def faults_of(made: Night, case_id: str) -> list[str]:
    """What is wrong with a case's critical value."""
    one, rows = rows_of(made, case_id)
    ladder = open_ladder(made.world)
    people = {*HERE, READER, *(contact["id"] for contact in made.world["contacts"])}
    site_people = {site: {f"nurse.{site}"} for site in made.world["sites"]}
    return faults(one, rows, ladder, datetime.now(UTC), people, site_people)


def open_ladder(world: Mapping[str, Any]) -> Any:
    from teleread.reading.critical_ladder import standard_ladders

    return standard_ladders()[0].faster(world["faster"])


def summary(made: Night) -> dict[str, Any]:
    """Figures of a run."""
    states: dict[str, int] = {}
    alerts: list[float] = []
    late: list[float] = []
    outcomes: dict[str, int] = {}
    worst: dict[str, float] = {}
    for case_id in made.raised:
        one, rows = rows_of(made, case_id)
        states[one.state] = states.get(one.state, 0) + 1
        alert = first_alert(rows)
        if alert is not None:
            alerts.append((alert - one.found_at).total_seconds())
        for row in rows:
            outcomes[f"{row.channel} {row.outcome}"] = outcomes.get(f"{row.channel} {row.outcome}", 0) + 1
            if row.tried_at is not None and row.step < 100:
                late.append((row.tried_at - row.due_at).total_seconds())
                worst[row.channel] = max(worst.get(row.channel, 0.0), late[-1])
    alerts.sort()
    late.sort()
    return {
        "criticals": len(made.raised),
        "states": states,
        "kills": made.kills,
        "machine": {"busy": round(made.busy, 2), "stood_still_s": round(made.stood_still_s, 1)},
        "first_alert_s": {
            "median": alerts[len(alerts) // 2],
            "max": alerts[-1],
            "over_5_s": sum(1 for one in alerts if one > 5),
        },
        "step_after_its_time_s": {
            "median": late[len(late) // 2],
            "p99": late[int(len(late) * 0.99)],
            "max": late[-1],
            "max_by_channel": worst,
            "over_5_s": sum(1 for one in late if one > 5),
            "steps": len(late),
        },
        "outcomes": dict(sorted(outcomes.items())),
    }


@contextmanager
def nobody_silent(count: int = 500, *, new_url: Callable[[], str] | None = None) -> Iterator[Counted]:
    """Every one acknowledged by a named person or owned by one, the first alert and each step within 5 s."""
    with night(count, new_url=new_url) as made:
        print(json.dumps(summary(made), indent=1), flush=True)

        def prove(number: int) -> None:
            wrong = faults_of(made, made.raised[number])
            # what was late because nothing at all was run says nothing of the product: then it is to be proved again
            assert wrong == [], (wrong, f"the machine stood still for up to {made.stood_still_s:.1f} s")

        yield Counted(len(made.raised), prove)


@contextmanager
def nobody_silent_on_postgres(count: int = 500) -> Iterator[Counted]:
    """The same on PostgreSQL, with all on its disk that it has committed."""
    from tests.contract.postgres import postgres_server

    with postgres_server(durable=True) as new_url, nobody_silent(count, new_url=new_url) as proof:
        yield proof


def _world(folder: Path, random: Random, stack: ExitStack, new_url: Callable[[], str] | None) -> dict[str, Any]:
    hooks = {kind: stack.enter_context(webhook(kind)) for kind in ("ok", "refuses", "hangs", "fails", "trickles")}
    mail = stack.enter_context(mail_server("ok"))
    sites = [f"site-{number}" for number in range(SITES)]
    contacts: list[dict[str, Any]] = []
    for site in sites:
        for order in (1, 2):
            one = {"id": f"{site}.{order}", "site": site, "name": f"Contact {order}", "order": order, "telephone": "1"}
            dead = random.choice(("refuses", "hangs", "fails", "trickles")) if random.random() < DEAD else None
            way = {"email": f"{site}@x.example"} if dead is None and random.random() < 0.4 else None
            contacts.append(one | (way or {"webhook": hooks[dead or "ok"].url}))
    duty = {"id": "duty", "site": "*", "name": "Duty Officer", "role": "duty_officer", "webhook": hooks["hangs"].url}
    return {
        "home": str(folder),
        "catalogue": new_url() if new_url else f"sqlite:///{folder / 'catalogue.db'}",
        "vault": new_url() if new_url else f"sqlite:///{folder / 'vault.db'}",
        "sites": sites,
        "contacts": [*contacts, duty],
        "mail_port": mail.port,
        "faster": FASTER,
    }


def _fill(made: Night, count: int) -> list[str]:
    made.catalogue = database = Database(made.world["catalogue"])
    database.migrate()
    now = datetime.now(UTC)
    people: dict[str, tuple[str, str | None]] = dict.fromkeys(HERE, ("coordinator", None))
    people |= {READER: ("reader", None)} | {f"nurse.{site}": ("uploader", site) for site in made.world["sites"]}
    with database.write() as conn:
        add_people(conn, people)
        for name, (role, site) in people.items():
            account = accounts.Account(name, role, site)
            made.tokens[name] = accounts.open_session(conn, account, now, timedelta(hours=8))
        cases = [
            add_case(conn, number + 1, site=made.random.choice(made.world["sites"]), reader=READER, at=now)
            for number in range(count)
        ]
    open_world(made.world).close()  # makes keys and vault once
    return cases


def _raise_all(made: Night, cases: list[str]) -> None:
    for case_id in cases:
        began = time.monotonic()
        while True:
            answer = made.ask("POST", f"/cases/{case_id}/critical", READER, data={"code_qtc_long": "1"})
            if answer is not None and answer.status_code == 303:
                made.raised.append(case_id)
                break
            assert answer is None or answer.status_code >= 500, answer.text
            made.ended.wait(0.1)
        made.ended.wait(max(0.0, PACE_S - (time.monotonic() - began)))


def _nurse(made: Night, site: str, seed: int) -> None:
    """Looks every three seconds, answers two in three, and is away for a third of the night; some never come."""
    random = Random(f"{seed} {site}")
    who = f"nurse.{site}"
    if random.random() < DEAD:
        return
    ignored: set[str] = set()
    while not made.ended.is_set():
        if random.random() < 0.05:
            made.ended.wait(random.uniform(5, 30))  # logged off
        answer = made.ask("GET", "/api/criticals/live", who)
        if answer is not None and answer.status_code == 200:
            for part in answer.text.split('data-critical-act="')[1:]:
                critical = part.partition('"')[0]
                if critical in ignored:
                    continue
                if random.random() < 0.35:
                    ignored.add(critical)
                elif random.random() < 0.4:
                    made.ask("POST", f"/api/criticals/{critical}/acknowledge", who)
        made.ended.wait(3)


def _coordinator(made: Night, seed: int) -> None:
    """Telephones now and then: one in three is read back, the others do not answer."""
    random = Random(f"{seed} coordinator")
    while not made.ended.is_set():
        answer = made.ask("GET", "/criticals", HERE[0])
        if answer is not None and answer.status_code == 200:
            for part in answer.text.split('action="/criticals/')[1:6]:
                critical, _, act = part.partition("/")
                if act.startswith("call") and random.random() < 0.5:
                    outcome = random.choice(("read_back", "no_answer", "not_read_back"))
                    data = {"name": "Dr Li", "outcome": outcome}
                    made.ask("POST", f"/criticals/{critical}/call", HERE[0], data=data)
        made.ended.wait(4)


def _machine(made: Night) -> None:
    """Looks how much longer than asked it sleeps."""
    while not made.ended.is_set():
        began = time.monotonic()
        made.ended.wait(0.05)
        made.stood_still_s = max(made.stood_still_s, time.monotonic() - began - 0.05)


def _killer(made: Night, seed: int) -> None:
    """Kills one web process after another; the next one only when the last is back."""
    random = Random(f"{seed} killer")
    while not made.ended.wait(random.uniform(2, 6)):
        port = random.choice(list(made.processes))
        made.kill(port)
        if not made.ended.wait(random.uniform(0, 2)):
            made.start(port)


def _end(made: Night) -> None:
    made.ended.set()
    for process in made.processes.values():
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(20)
    made.client.close()
    if made.catalogue is not None:
        made.catalogue.close()


def _waited_s() -> float:
    """For how long something waited for a processor, since the machine began; 0 where the kernel does not say."""
    with suppress(OSError):
        return int(Path("/proc/pressure/cpu").read_text().partition("total=")[2].split()[0]) / 1e6
    return 0.0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.prove.criticals", description=__doc__)
    parser.add_argument("count", nargs="?", type=int, default=60, help="how many critical values")
    parser.add_argument("--postgres", action="store_true", help="on PostgreSQL")
    chosen = parser.parse_args()
    with (nobody_silent_on_postgres if chosen.postgres else nobody_silent)(chosen.count) as proof:
        for one in range(proof.count):
            proof(one)
        print(f"{proof.count} of {proof.count} hold")

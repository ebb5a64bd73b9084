"""The clinic's agent dies at every fsync, renaming, removal and network call: nothing is lost, nothing is doubled.

python -m tests.prove.lines_agent HOME WATCHED URL TOKEN DIE_AT TWIN    one life of an agent; says its steps as JSON
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from teleread.agent.lead import Lead, LineBroken
from teleread.agent.sender import Sender
from teleread.agent.spool import Item, Spool
from teleread.agent.watch import STILL_S, Watcher

ROOT = Path(__file__).resolve().parents[2]
TWINS = ("remembered before it is kept", "written down before its bytes", "bytes dropped before it is written down")
_TRIES = 100


def live(home: Path, watched: Path, url: str, token: str, die_at: int, twin: str) -> None:
    """Look into the watched folder until it is still, send what was found, and end."""
    names: list[str] = []

    def step(name: str) -> None:
        names.append(name)
        if len(names) == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    _break(twin)
    _number(step)
    spool = Spool(home)
    moment = [0.0]
    watcher = Watcher(watched, spool, home / "taken.json", clock=lambda: moment[0])
    for _ in range(3):
        watcher.look()
        moment[0] += STILL_S + 1
    lead = Lead(url, token=token)
    sender = Sender(spool, lead)
    for _ in range(_TRIES):
        queued = spool.queued()
        if not queued:
            break
        try:
            sender.send(queued[0])
        except LineBroken:
            time.sleep(0.05)
    lead.close()
    sent = {one.id: one.receipts for one in spool.items() if one.state == "sent"}
    left = [str(path) for path in (home / "items").rglob("*") if path.name.isdigit() or path.name.endswith(".part")]
    print(json.dumps({"steps": names, "sent": sent, "waiting": len(spool.queued()), "left": left}))


def _number(step: Callable[[str], None]) -> None:
    for module, name in ((os, "fsync"), (os, "replace"), (os, "unlink"), (os, "mkdir"), (os, "rmdir")):
        setattr(module, name, _stepping(getattr(module, name), name, step))
    for name in ("connect", "request", "getresponse", "send"):
        whole: Any = http.client.HTTPConnection
        setattr(whole, name, _stepping(getattr(whole, name), name, step))


def _stepping(call: Callable[..., Any], name: str, step: Callable[[str], None]) -> Callable[..., Any]:
    def stepped(*arguments: Any, **named: Any) -> Any:
        step(f"before {name}")
        value = call(*arguments, **named)
        step(f"after {name}")
        return value

    return stepped


def _break(twin: str) -> None:
    if twin == TWINS[0]:
        take = Watcher._take

        def remember_first(self: Any, names: list[str], still: Any) -> int:
            from teleread.agent.disk import write_json

            self._taken |= {name: still[name] for name in names}
            write_json(self._memory, self._taken)
            return take(self, names, still)

        Watcher._take = remember_first  # type: ignore[method-assign]
    elif twin == TWINS[1]:
        add = Spool._add

        def written_first(self: Any, parts: Any, urgent: bool, seen_at: float, copy: Any) -> Item:
            from teleread.agent import spool as module

            item = Item(module._identify(parts), parts, urgent, seen_at)
            with self.changed:
                if item.id not in self._items:
                    (self.folder / "items" / item.id).mkdir(exist_ok=True)
                    self._keep(item)
                    del self._items[item.id]
            return add(self, parts, urgent, seen_at, copy)

        Spool._add = written_first  # type: ignore[method-assign]
    elif twin == TWINS[2]:
        acknowledged = Spool.acknowledged

        def dropped_first(self: Any, item: Item, receipts: Any, at: float) -> None:
            self._drop_bytes(item)
            acknowledged(self, item, receipts, at)

        Spool.acknowledged = dropped_first  # type: ignore[method-assign]


class AgentDeaths:
    """Deaths of agents that send to one lead hospital.

    Args:
        landed: gives (hash, priority, receipt) of everything that has landed there.
        twin: a broken twin's name, instead of the product.
    """

    def __init__(self, url: str, token: str, landed: Callable[[], list[tuple[str, str, str]]], twin: str = "") -> None:
        self._url, self._token, self._landed, self._twin = url, token, landed, twin
        with tempfile.TemporaryDirectory() as place:
            fill(Path(place), 0)
            self.steps: list[str] = self._live(Path(place), 0)["steps"]

    def die_at(self, step: int, seed: int) -> None:
        """Die at a step (from 1), live again, and look.

        Raises:
            AssertionError: something is lost, doubled, or not as urgent as it was.
        """
        about = f"step {step}, {self.steps[min(step, len(self.steps)) - 1]}"
        before = {sha256 for sha256, *_ in self._landed()}
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            wanted = fill(place, seed)
            died = self._live(place, step)
            end = died or self._live(place, 0)
            rows = [row for row in self._landed() if row[0] not in before]
            assert end, f"{about}: the second life ended badly"
            assert end["waiting"] == 0, f"{about}: {end['waiting']} wait still"
            assert sorted((sha256, priority) for sha256, priority, _ in rows) == sorted(wanted.items()), (
                f"{about}: lost or doubled"
            )
            receipts = {receipt for row in end["sent"].values() for receipt in row}
            assert receipts == {receipt for *_, receipt in rows}, f"{about}: receipts"
            assert end["left"] == [], f"{about}: left behind"

    def _live(self, place: Path, die_at: int) -> dict[str, Any]:
        command = [sys.executable, "-m", "tests.prove.lines_agent", str(place / "home"), str(place / "watched")]
        command += [self._url, self._token, str(die_at), self._twin]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=120)
        if done.returncode == -signal.SIGKILL:
            return {}
        assert done.returncode == 0, done.stderr[-2000:]
        return dict(json.loads(done.stdout.splitlines()[-1]))


def fill(place: Path, seed: int) -> dict[str, str]:
    """A watched folder: a file, the same again as urgent, another urgent one, and a recording of two files; returns
    the priority by hash of what must land.
    """
    from teleread.ingest.formats import bundle

    chance = random.Random(seed)
    routine, urgent, both = (chance.randbytes(size) for size in (70_000, 20_000, 30_000))
    samples = chance.randbytes(3000)
    header = f"r 1 500 1500\nr.dat 16 200 16 0 0 0 0 I\n# {seed}\n".encode()
    watched = place / "watched"
    for name, data in {
        "a.bin": routine,
        "both.bin": both,
        "urgent/both.bin": both,
        "urgent/b.bin": urgent,
        "r.hea": header,
        "r.dat": samples,
    }.items():
        (watched / name).parent.mkdir(parents=True, exist_ok=True)
        (watched / name).write_bytes(data)
    pair = bundle({"r.hea": header, "r.dat": samples})
    wanted = {routine: "routine", pair: "routine", urgent: "urgent", both: "urgent"}
    return {hashlib.sha256(data).hexdigest(): priority for data, priority in wanted.items()}


@contextmanager
def agent_deaths() -> Iterator[Any]:
    """Every numbered step of an agent, against a real lead hospital."""
    from sqlalchemy import select

    from teleread.storage.catalogue.schema import arrivals
    from tests.lead_hospital import LeadHospital
    from tests.prove.lines_server import Counted

    with tempfile.TemporaryDirectory() as folder, LeadHospital(Path(folder) / "lead") as lead:
        identity = lead.agent(Path(folder) / "agent")
        services = lead.open()

        def landed() -> list[tuple[str, str, str]]:
            with services.catalogue.read() as conn:
                columns = (arrivals.c.sha256, arrivals.c.clinic_priority, arrivals.c.receipt)
                return [(row.sha256, row.clinic_priority, row.receipt) for row in conn.execute(select(*columns))]

        deaths = AgentDeaths(identity.url, identity.token, landed)
        yield Counted(len(deaths.steps), lambda number: deaths.die_at(number + 1, number + 1))
        services.close()


if __name__ == "__main__":
    live(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5]), sys.argv[6])

"""A day without a line, told in short pauses: the processes of agent and lead hospital, killed on the way."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select

from teleread.agent.disk import read_json
from teleread.storage.catalogue.schema import arrivals
from teleread.testing.line import BadLine, Faults
from tests.lead_hospital import LeadHospital
from tests.system import free_ports, wait_for

ROOT = Path(__file__).resolve().parents[2]
_PATIENCE_S = 900.0


@dataclass(frozen=True, slots=True)
class Day:
    """What happens.

    Args:
        kills: of both, half of them while there is no line.
        study_bytes: of each study.
        bytes_per_s: of the line when it is there again.
    """

    ecgs: int = 500
    studies: int = 20
    kills: int = 100
    study_bytes: int = 3 << 20
    bytes_per_s: float = 400e3


class Agent:
    """``teleread send --watch`` in a process, which can be killed."""

    def __init__(self, home: Path, watched: Path) -> None:
        self._home, self._watched = home, watched
        (self._page,) = free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin a life."""
        command = [sys.executable, "-m", "teleread.agent", "--watch", str(self._watched), "--home", str(self._home)]
        with (self._home / "agent.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--page", str(self._page)], cwd=ROOT, stdout=log, stderr=log, env={**os.environ}
            )

    def end(self, number: int = signal.SIGKILL) -> None:
        """End it as a power cut does."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait(60)

    def items(self) -> list[dict[str, Any]]:
        """What is in its spool, as it stands on the disk."""
        places = (self._home / "items").glob("*/item.json")
        return [row for place in places if (row := read_json(place)) is not None]

    @property
    def left(self) -> int:
        """How many files of recordings are in its spool."""
        return sum(path.is_file() and path.name != "item.json" for path in (self._home / "items").rglob("*"))

    @property
    def waiting(self) -> int:
        """How many recordings are not acknowledged."""
        return sum(row["state"] != "sent" for row in self.items())


def put(watched: Path, day: Day, chance: random.Random, only: range) -> dict[str, str]:
    """Write recordings as a cart does; returns the priority of each by its hash."""
    wanted = {}
    for number in only:
        is_study = number >= day.ecgs
        urgent = not is_study and number % 5 == 0
        data = chance.randbytes(day.study_bytes if is_study else 20_000)
        name = f"{'urgent/' if urgent else ''}{number:04}.bin"
        (watched / name).parent.mkdir(parents=True, exist_ok=True)
        (watched / name).write_bytes(data)
        wanted[hashlib.sha256(data).hexdigest()] = "urgent" if urgent else "routine"
    return wanted


def live_through(day: Day, folder: Path, seed: int, say: Callable[[str], object] = lambda _: None) -> dict[str, Any]:
    """The whole story; returns what happened, after it was compared with what should have.

    Raises:
        AssertionError: something was lost or doubled, a receipt names nothing, or an urgent one came late.
    """
    chance = random.Random(seed)
    watched = folder / "watched"
    watched.mkdir(parents=True)
    with LeadHospital(folder / "lead") as lead, BadLine(lead.port, Faults(bytes_per_s=day.bytes_per_s)) as line:
        home = folder / "agent"
        lead.agent(home, line.port)
        line.close()
        agent = Agent(home, watched)
        wanted, kills = _without_line(day, agent, watched, chance)
        say(f"{len(wanted)} recordings are held after {kills} kills")
        line.open()
        on_the_way = _with_line(day, agent, lead, chance, day.kills - kills)
        say(f"{on_the_way} kills while it drained")
        agent.start()
        wait_for(lambda: agent.waiting == 0, _PATIENCE_S, "drained")
        # the bytes go after the acknowledgement is written down
        wait_for(lambda: agent.left == 0, _PATIENCE_S, "bytes let go")
        agent.end()
        rows = _arrivals(lead)
        items = agent.items()
    compare(wanted, rows, {one for item in items for one in item["receipts"]})
    return {"recordings": len(rows), "kills": kills + on_the_way, "while draining": on_the_way}


def _without_line(day: Day, agent: Agent, watched: Path, chance: random.Random) -> tuple[dict[str, str], int]:
    wanted: dict[str, str] = {}
    total, lives = day.ecgs + day.studies, day.kills // 2
    for life in range(lives):
        agent.start()
        wanted |= put(watched, day, chance, range(total * life // lives, total * (life + 1) // lives))
        time.sleep(chance.uniform(0.3, 4.0))
        agent.end()
    agent.start()
    wait_for(lambda: len(agent.items()) == total, _PATIENCE_S, "all taken")
    agent.end()
    return wanted, lives


def _with_line(day: Day, agent: Agent, lead: LeadHospital, chance: random.Random, kills: int) -> int:
    done = 0
    while done < kills and agent.waiting:
        agent.start()
        time.sleep(chance.uniform(0.3, 5.0))
        if chance.random() < 0.4:
            lead.end(signal.SIGKILL)
            lead.start()
        else:
            agent.end()
        agent.end()
        done += 1
    return done


def compare(wanted: dict[str, str], rows: list[tuple[str, str, str]], receipts: set[str]) -> None:
    """Whether what landed, (hash, priority, receipt) in order of arrival, is what was put into the folder.

    Raises:
        AssertionError: it is not.
    """
    found = [(row[0], row[1]) for row in rows]
    assert Counter(found) == Counter(wanted.items()), f"lost or doubled: {len(found)} of {len(wanted)}"
    assert receipts == {row[2] for row in rows}, "a receipt that names nothing"
    priorities = [priority for _, priority in found]
    first_routine = next((n for n, one in enumerate(priorities) if one != "urgent"), len(priorities))
    late = priorities[first_routine:].count("urgent")
    assert late == 0, f"{late} urgent ones behind a routine one"


def _arrivals(lead: LeadHospital) -> list[tuple[str, str, str]]:
    services = lead.open()
    try:
        with services.catalogue.read() as conn:
            columns = (arrivals.c.sha256, arrivals.c.clinic_priority, arrivals.c.receipt)
            rows = conn.execute(select(*columns).order_by(arrivals.c.arrived_at))
            return [(row.sha256, row.clinic_priority, row.receipt) for row in rows]
    finally:
        services.close()


@contextmanager
def outage() -> Iterator[Callable[[int], None]]:
    """500 ECGs and 20 studies, 100 kills."""

    def prove(number: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            told = live_through(Day(), Path(folder), number, lambda words: print(words, flush=True))
            print(json.dumps(told), flush=True)

    with contextlib.nullcontext():
        yield prove

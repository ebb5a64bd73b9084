"""The word that something is urgent after all survives a death at every write, renaming and removal on its way.

``python -m tests.unit.test_agent_after_all_deaths HOME DIE_AT TWIN``: one life, from the word on the command line to
the lead hospital's ear; says how many steps it had.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from teleread.agent import after_all
from teleread.agent.lead import Lead
from teleread.agent.sender import Sender
from teleread.agent.spool import Spool

ROOT = Path(__file__).resolve().parents[2]


class Ear(Lead):
    """Writes down what it was told, durable as the lead hospital's catalogue is."""

    def __init__(self, log: Path) -> None:
        super().__init__("http://127.0.0.1:9")
        self._log = log

    def make_urgent(self, receipt: str) -> None:
        with self._log.open("a") as file:
            file.write(f"{receipt}\n")
            file.flush()
            os.fsync(file.fileno())


def live(home: Path, die_at: int, twin: str) -> None:
    steps = [0]

    def counted(call: Any) -> Any:
        def stepped(*arguments: Any, **named: Any) -> Any:
            for moment in ("before", "after"):
                steps[0] += 1
                if steps[0] == die_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                if moment == "before":
                    value = call(*arguments, **named)
            return value

        return stepped

    for name in ("fsync", "replace", "unlink"):
        setattr(os, name, counted(getattr(os, name)))
    spool = Spool(home)
    (item,) = spool.items()
    if not (home / "said").exists():
        after_all.say(home, item, 5.0)
        (home / "said").touch()  # the person saw that it was saved, and presses no more
    if twin == "removed before it is kept":
        for path in (home / "raise").glob("*.json"):
            os.unlink(path)
            spool.make_urgent(path.stem, 5.0)
    else:
        after_all.take_over(home, spool)
    sender = Sender(spool, Ear(home / "heard"))
    for one in spool.to_tell():
        if twin == "told after it is forgotten":
            spool.told(one, 6.0)
        sender.tell(one)
    sys.stdout.write(str(steps[0]))


def lives(home: Path, twin: str, *deaths: int) -> int:
    """Lives that end at those steps, 0 for none, with something that was sent; how many steps the last one had."""
    spool = Spool(home)
    spool.acknowledged(spool.add({"a": b"1"}, urgent=False, seen_at=0.0), ["R"], 1.0)
    steps = 0
    for die_at in deaths:
        command = [sys.executable, "-m", "tests.unit.test_agent_after_all_deaths", str(home), str(die_at), twin]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == (-signal.SIGKILL if die_at else 0), done.stderr
        steps = int(done.stdout) if done.stdout else 0
    return steps


def is_heard(home: Path) -> bool:
    """Whether the lead hospital has heard it, and nothing is left to tell."""
    heard = (home / "heard").read_text().split() if (home / "heard").exists() else []
    (item,) = Spool(home).items()
    return set(heard) == {"R"} and item.urgent and not item.raising_since


def unheard(folder: Path, twin: str) -> list[int]:
    """Steps at which a death costs the word."""
    steps = lives(folder / "whole", twin, 0)
    assert steps > 10
    for n in range(1, steps + 1):
        lives(folder / str(n), twin, n, 0)
    return [n for n in range(1, steps + 1) if not is_heard(folder / str(n))]


def test_a_death_at_any_step_costs_no_word(tmp_path: Path) -> None:
    assert unheard(tmp_path, "") == []


@pytest.mark.parametrize("twin", ["removed before it is kept", "told after it is forgotten"])
def test_the_twin_in_the_wrong_order_is_caught(tmp_path: Path, twin: str) -> None:
    assert unheard(tmp_path, twin)


if __name__ == "__main__":
    live(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])

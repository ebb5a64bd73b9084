"""Faults from outside: the kernel's view of the landing process, by strace.

``strace -e inject=CALL:...:when=N`` acts on the N-th CALL. Measured with strace 6.1: it counts each system call by
itself, and never adds up the calls of several threads. The product's child here has one thread, which
:meth:`Outside.calls` asserts, so that N counts the whole process. A signal is delivered when the call is entered,
so a killed process dies before its N-th call has done anything; an injected error likewise replaces the call.

strace attaches to the forged child alone, when it has forked and waits: neither the forge nor the parsers are seen.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import Any

from tests.fault.forge import Ended, Forge
from tests.fault.sweep import Caught, Sweep
from tests.fault.world import Ground, World

DEADLY = ("write", "pwrite64", "fsync", "fdatasync", "linkat", "link", "rename", "renameat", "sendto", "sendmsg")
FAILING = ("write", "pwrite64", "fsync", "fdatasync", "linkat", "openat", "mkdir", "ftruncate", "read", "pread64")
_CALL = re.compile(r"^(\d+) +(\w+)\(")


@cache
def why_not() -> str:
    """Why processes cannot be traced here; empty when they can."""
    if shutil.which("strace") is None:
        return "strace is missing"
    with subprocess.Popen(["sleep", "30"]) as sleeper:
        tried = subprocess.run(
            ["timeout", "2", "strace", "-p", str(sleeper.pid)], capture_output=True, text=True, check=False
        )
        sleeper.kill()
    return "" if "attached" in tried.stderr else f"tracing is not permitted here: {tried.stderr.strip()[-80:]}"


class Outside:
    """Runs jobs of the forge under strace.

    Args:
        twin: a broken twin's name, instead of the product.
    """

    def __init__(self, forge: Forge, ground: Ground, twin: str = "") -> None:
        self.forge, self.ground, self.twin = forge, ground, twin
        self.sweep = Sweep(forge, ground, twin)

    def calls(self, names: tuple[str, ...], job: str = "first_run") -> Counter[str]:
        """How often a run that nobody disturbs makes each of the calls."""
        with self.ground.world() as world:
            trace = f"{world.home}/trace"
            ended = self._traced(["-e", f"trace={','.join(names)}", "-o", trace], job, world)
            assert ended.exit == 0, ended.lines
            with open(trace, encoding="utf-8", errors="replace") as file:
                seen = [match for line in file if (match := _CALL.match(line))]
        assert len({match[1] for match in seen}) == 1, "more than one thread: the numbers would not be unique"
        return Counter(match[2] for match in seen)

    def trace(self, names: tuple[str, ...]) -> list[str]:
        """These calls of a run that nobody disturbs, in order, with the path of each file handle."""
        with self.ground.world() as world:
            path = f"{world.home}/trace"
            ended = self._traced(["-y", "-s", "400", "-e", f"trace={','.join(names)}", "-o", path], "first_run", world)
            assert ended.exit == 0, ended.lines
            with open(path, encoding="utf-8", errors="replace") as file:
                return [line.replace(world.home, "") for line in file]

    def die_at(self, call: str, number: int) -> int:
        """Die before the n-th of these calls, go on, and compare; returns the number of receipts.

        Raises:
            Caught: as :meth:`Sweep.die_at`.
        """
        with self.ground.world() as world:
            first = self._injected(call, f"signal=SIGKILL:when={number}", "first_run", world)
            if not first.killed:
                raise Caught("not_killed", f"{call} {number}: {first.lines[-1:]}")
            self.sweep.compare(self.sweep.go_on(world, first), f"{call} {number}")
            return len(first.acknowledged)

    def fail_at(self, call: str, number: int, error: str, *, often: bool = False) -> list[str]:
        """Let the n-th of these calls fail (``often``: and the 20 that follow), in a process that tries again.

        Returns:
            the codes that came out.

        Raises:
            Caught: also ``bare_exception``, and ``gave_up`` when the process does not recover by itself.
        """
        with self.ground.world() as world:
            when = f"{number}..{number + 20}" if often else str(number)
            first = self._injected(call, f"error={error}:when={when}", "stubborn_run", world)
            about = f"{call} {number} {error}"
            judge(first, about)
            self.sweep.compare(self.sweep.go_on(world, first), about)
            return [str(code) for code in (*first.said("error"), *first.said("logged"))]

    def caught_by_deaths(self, call: str, numbers: Iterable[int]) -> Counter[str]:
        """Which checks saw something after a death at each of these."""
        caught: Counter[str] = Counter()
        for number in numbers:
            try:
                self.die_at(call, number)
            except Caught as found:
                caught[found.kind] += 1
        return caught

    def _injected(self, call: str, what: str, job: str, world: World) -> Ended:
        return self._traced(["-e", f"trace={call}", "-e", f"inject={call}:{what}", "-o", os.devnull], job, world)

    def _traced(self, options: list[str], job: str, world: World) -> Ended:
        request: dict[str, Any] = {"world": world.as_json(), "numbered": False, "twin": self.twin}
        pid = self.forge.begin(job, **request)
        tracer = subprocess.Popen(
            ["strace", "-f", *options, "-p", str(pid)], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        assert tracer.stderr is not None
        with tracer.stderr:
            said = tracer.stderr.readline()
            ended = self.forge.finish()
            tracer.wait(30)
        assert "attached" in said, said
        return ended


def judge(ended: Ended, about: str) -> None:
    """A process that met faults: it said what was wrong by a code, never hung, and finished when it could.

    Raises:
        Caught: ``bare_exception``, ``hang`` or ``gave_up``.
    """
    if ended.hung:
        raise Caught("hang", about)
    if ended.said("bare"):
        raise Caught("bare_exception", f"{about}: {ended.said('bare')} {ended.said('traceback')}")
    if ended.exit or ended.signal or not ended.said("done"):
        raise Caught("gave_up", f"{about}: {ended.signal} {ended.lines[-2:]}")

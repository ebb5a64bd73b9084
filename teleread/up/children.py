"""Child processes that end with us: each in a process group of its own, none left behind. Linux only."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from teleread.errors import PeerError

_PR_SET_CHILD_SUBREAPER = 36
_RESTARTS = 5
_STEADY_S = 300
_MARK = "TELEREAD_RUN"


@dataclass(slots=True)
class Child:
    """One started program."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes]
    restarts: int = 0
    started: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class Children:
    """All programs of one run.

    We adopt orphans (``PR_SET_CHILD_SUBREAPER``), so that whatever a child leaves behind when it ends, as Airflow
    does with its scheduler and API server, is still a descendant of ours and ends with us. Every process works in
    a folder that is nobody else's: after our own sudden death the next run finds and ends what is left by it.
    """

    home: Path
    _children: list[Child] = field(default_factory=list)

    def __post_init__(self) -> None:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> Child:
        """Start a program with its output going to ``log``."""
        folder = working_folder(self.home)
        folder.mkdir(parents=True, exist_ok=True)
        marked = {**environment, _MARK: str(folder)}
        child = Child(name, tuple(command), marked, log, _spawn(command, marked, log))
        self._children.append(child)
        return child

    def restart_ended(self, say: Callable[[str], None]) -> None:
        """Start again what has ended by itself.

        Raises:
            PeerError: ``child_keeps_ending``.
        """
        for child in self._children:
            code = child.process.poll()
            if code is None:
                continue
            # one that has run for a while is not one that cannot start
            child.restarts = 1 if time.monotonic() - child.started > _STEADY_S else child.restarts + 1
            if child.restarts > _RESTARTS:
                raise PeerError("child_keeps_ending", f"{child.name} has ended {_RESTARTS} times; see {child.log}.")
            say(f"{child.name} ended with code {code} and is started again; see {child.log}")
            _end_group(child.process.pid, signal.SIGKILL)
            child.process = _spawn(child.command, child.environment, child.log)
            child.started = time.monotonic()

    def end_all(self, patience_s: float = 6.0) -> bool:
        """End every program and every descendant: politely first, for certain after ``patience_s``.

        Returns:
            Whether anything had been started.
        """
        for child in reversed(self._children):
            _end_group(child.process.pid, signal.SIGTERM)
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline and (left := _descendants(os.getpid())):
            _reap()
            if time.monotonic() > deadline - patience_s / 2:
                # Airflow's main process does not pass the signal on to all of its own
                for pid in left:
                    _send(pid, signal.SIGTERM)
            time.sleep(0.05)
        while left := _descendants(os.getpid()):
            for pid in left:
                _send(pid, signal.SIGKILL)
            _reap()
            time.sleep(0.02)
        return bool(self._children)


def working_folder(home: Path) -> Path:
    """Where all programs of a run work; their descendants inherit it."""
    return home / "run"


def is_ours(pid: int, home: Path) -> bool:
    """Whether a process was started, at whatever remove, by a run with this home.

    It works in the run's folder and carries the run's mark. A process that has written its title over its
    environment, as Airflow's do, has lost the mark with all else; a shell that somebody opened there has not.
    """
    folder = str(working_folder(home).resolve())
    try:
        if os.readlink(f"/proc/{pid}/cwd") != folder:
            return False
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    intact = any(variable.startswith(b"PATH=") for variable in variables)
    return f"{_MARK}={working_folder(home)}".encode() in variables or not intact


def end_leftovers(home: Path) -> int:
    """End what an earlier run with this home left when it died without ending it. The caller holds the home's lock.

    Returns:
        How many processes were ended.
    """
    left = [pid for pid in _processes() if pid != os.getpid() and is_ours(pid, home)]
    for pid in left:
        _send(pid, signal.SIGKILL)
    while set(left) & set(_processes()):  # killed for certain; their ports are free only when they are gone
        time.sleep(0.02)
    return len(left)


def _spawn(command: Sequence[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            list(command),
            env=dict(environment),
            cwd=environment[_MARK],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _end_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _reap() -> None:
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return


def _processes() -> dict[int, int]:
    """Every process that is not a zombie, and its parent."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            text = (entry / "stat").read_text()
        except OSError:
            continue
        state, parent = text.rpartition(")")[2].split()[:2]
        if state != "Z":
            found[int(entry.name)] = int(parent)
    return found


def _descendants(root: int) -> list[int]:
    processes = _processes()
    found: list[int] = []
    level = {root}
    while level:
        level = {pid for pid, parent in processes.items() if parent in level and pid not in found}
        found.extend(level)
    return found

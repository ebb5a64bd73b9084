"""The verdict on a recording without a line: the same judgement as the lead hospital's, made on this PC.

It needs numpy and the readers. The one-file agent carries them for the systems that it was built for
(:mod:`teleread.agent.carried`); elsewhere they count where they are installed. Where they are not there is no verdict
here, and that is said. The bytes come from a cart and not from strangers, and are judged in a process of their own all
the same: what it does not answer in time costs the verdict and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from teleread.agent import carried

TIMEOUT_S = 10.0
START_TIMEOUT_S = 900.0
"""How long unpacking and importing may take, on the slowest disk."""
LARGEST_BYTES = 32 << 20
AGAIN_AFTER_S = 600.0
"""How long a PC that could not judge (its disk was full) waits before it tries again."""
_NONE = {"light": "none"}
_NO_WINDOW = getattr(subprocess, "CREATE_NO_WINDOW", 0)  # Windows would open one


class Judge:
    """One child process that judges, started when it is first needed and again when it had to be ended.

    Args:
        home: the agent's folder; what its file carries is unpacked there. None to use what is installed.
        archive: the agent's file, where it runs as one.
    """

    def __init__(
        self,
        timeout_s: float = TIMEOUT_S,
        *,
        home: Path | None = None,
        archive: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        package = Path(__file__).resolve().parents[2]
        self._archive = archive or (package if package.is_file() else None)
        self._home = home
        self._timeout_s = timeout_s
        self._clock = clock
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._stopped = False
        self._unable_since: float | None = None
        self.failure = ""
        """Why nothing is judged here: ``verdict_not_carried``, ``verdict_unusable``; empty while it is or may be."""
        self.ready = False
        """Whether recordings are judged here."""

    def judge(self, files: Mapping[str, Path]) -> dict[str, Any]:
        """``light`` (``green``, ``amber``, ``red``, or ``none`` where nothing can be judged), ``findings``,
        ``heart_rate_bpm``, and ``failure`` where the file cannot be read.
        """
        if sum(path.stat().st_size for path in files.values()) > LARGEST_BYTES:
            return dict(_NONE)
        with self._lock:
            child = self._started()
            if child is None:
                return dict(_NONE)
            answer = _answered(child, {name: str(path) for name, path in files.items()}, self._timeout_s)
            if answer is None:
                self._end()
            return dict(_NONE) if answer is None else answer

    def warm_up(self) -> None:
        """Start the child, so that the first recording does not wait for its imports, or for the unpacking."""
        with self._lock, contextlib.suppress(OSError):
            self._started()

    def stop(self) -> None:
        """Judge no more; from another thread, whatever is being judged or unpacked."""
        self._stopped = True
        child = self._child
        if child is not None:
            child.kill()

    def close(self) -> None:
        """End the child."""
        with self._lock:
            self._end()

    def _started(self) -> subprocess.Popen[bytes] | None:
        """The child that is ready to judge; None where nothing can be judged here."""
        if self._child is not None and self._child.poll() is None:
            return self._child
        self._end()
        if self._stopped or (self._unable_since is not None and self._clock() - self._unable_since < AGAIN_AFTER_S):
            return None
        folder, code = self._unpacked()
        if code != carried.UNUSABLE:
            child = self._open(_command(folder))
            if (_answered(child, None, START_TIMEOUT_S) or {}).get("able") is True:
                self.failure, self.ready, self._unable_since = "", True, None
                return child
            self._end()
        if not self._stopped:
            self.failure, self.ready = code or carried.UNUSABLE, False
            self._unable_since = self._clock()
        return None

    def _unpacked(self) -> tuple[Path | None, str]:
        """Where what the agent's file carries lies, or why it does not."""
        if self._archive is None or self._home is None:
            return None, carried.NOT_CARRIED
        answer = _answered(self._open(_unpacking(self._archive, self._home)), None, START_TIMEOUT_S) or {}
        self._end()
        folder = answer.get("folder")
        return (Path(folder), "") if isinstance(folder, str) else (None, answer.get("code", carried.UNUSABLE))

    def _open(self, command: list[str]) -> subprocess.Popen[bytes]:
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            creationflags=_NO_WINDOW,
        )
        if self._stopped:
            self._child.kill()
        return self._child

    def _end(self) -> None:
        if self._child is not None:
            for end in (self._child.stdin, self._child.stdout):
                if end is not None:
                    with contextlib.suppress(OSError):
                        end.close()
            self._child.kill()
            self._child.wait()
            self._child = None


def _answered(child: subprocess.Popen[bytes], question: Any, limit_s: float) -> dict[str, Any] | None:
    """The next line that a child says, to a question if there is one; None where it ends, or says nothing in time."""
    assert child.stdin is not None
    assert child.stdout is not None
    timer = threading.Timer(limit_s, child.kill)
    timer.start()
    try:
        if question is not None:
            child.stdin.write(json.dumps(question).encode() + b"\n")
            child.stdin.flush()
        answer = json.loads(child.stdout.readline())
    except (OSError, ValueError):
        return None
    finally:
        timer.cancel()
    return answer if isinstance(answer, dict) else None


def _command(folder: Path | None) -> list[str]:
    """This Python on this module: with what lies in ``folder`` and nothing else, or with what is installed."""
    run = f"runpy.run_module({__name__!r}, run_name='__main__')"
    if folder is not None:
        return [sys.executable, "-I", "-S", "-c", f"import runpy, sys; sys.path.insert(0, {str(folder)!r}); {run}"]
    package = str(Path(__file__).resolve().parents[2])
    # behind what is installed: the agent's file holds a part of the package alone
    return [sys.executable, "-P", "-c", f"import runpy, sys; sys.path.append({package!r}); {run}"]


def _unpacking(archive: Path, home: Path) -> list[str]:
    run = f"runpy.run_module({carried.__name__!r}, run_name='__main__')"
    start = f"import runpy, sys; sys.path.insert(0, {str(archive)!r}); {run}"
    return [sys.executable, "-I", "-S", "-c", start, str(archive), str(home)]


def _judge(paths: Mapping[str, str]) -> dict[str, Any]:
    from teleread.errors import InputRejected
    from teleread.ingest.formats import read_ecg
    from teleread.signal.ecg import assess_quality

    try:
        record = read_ecg({name: Path(path).read_bytes() for name, path in paths.items()})
    except InputRejected as error:
        return {"light": "amber", "failure": error.code}
    quality = assess_quality(record.signals_mv, record.fs_hz, record.leads)
    findings = [
        {"lead": one.lead, "fault": one.fault, "remedy": one.remedy, "electrode": getattr(one, "electrode", None)}
        for one in quality.findings
    ]
    light = "red" if not quality.acceptable else "amber" if findings else "green"
    return {"light": light, "findings": findings}


def main() -> int:
    """Say whether anything can be judged, then answer one line of JSON with another until there are no more."""
    try:
        import teleread.ingest.formats
        import teleread.signal.ecg  # noqa: F401
    except ImportError:
        _say({"able": False})
        return 0
    _say({"able": True})
    for line in sys.stdin.buffer:
        try:
            answer = _judge(json.loads(line))
        except (ArithmeticError, ValueError, IndexError, OSError, MemoryError, ImportError):
            answer = dict(_NONE)
        _say(answer)
    return 0


def _say(answer: Mapping[str, Any]) -> None:
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())

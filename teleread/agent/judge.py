"""The verdict on a recording without a line: the same judgement as the lead hospital's, made on this PC.

It needs numpy and the readers, which a PC with only Python does not have: then there is no verdict here, and that is
said. The bytes come from a cart and not from strangers, and are judged in a process of their own all the same: what it
does not answer in time costs the verdict and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TIMEOUT_S = 10.0
LARGEST_BYTES = 32 << 20
_NONE = {"light": "none"}
_NO_WINDOW = getattr(subprocess, "CREATE_NO_WINDOW", 0)  # Windows would open one


class Judge:
    """One child process that judges, started when it is first needed and again when it had to be ended."""

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None

    def judge(self, files: Mapping[str, Path]) -> dict[str, Any]:
        """``light`` (``green``, ``amber``, ``red``, or ``none`` where nothing can be judged), ``findings``,
        ``heart_rate_bpm``, and ``failure`` where the file cannot be read.
        """
        if sum(path.stat().st_size for path in files.values()) > LARGEST_BYTES:
            return dict(_NONE)
        with self._lock:
            child = self._started()
            timer = threading.Timer(self._timeout_s, child.kill)
            timer.start()
            try:
                assert child.stdin is not None
                assert child.stdout is not None
                child.stdin.write(json.dumps({name: str(path) for name, path in files.items()}).encode() + b"\n")
                child.stdin.flush()
                answer = json.loads(child.stdout.readline())
            except (OSError, ValueError):
                self._end()
                return dict(_NONE)
            finally:
                timer.cancel()
            return answer if isinstance(answer, dict) else dict(_NONE)

    def warm_up(self) -> None:
        """Start the child, so that the first recording does not wait for its imports."""
        with self._lock, contextlib.suppress(OSError):
            self._started()

    def close(self) -> None:
        """End the child."""
        with self._lock:
            self._end()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._child is None or self._child.poll() is not None:
            self._end()
            self._child = subprocess.Popen(
                _command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                creationflags=_NO_WINDOW,
            )
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


def _command() -> list[str]:
    """This Python on this module, also where the package lies inside one file."""
    package = str(Path(__file__).resolve().parents[2])
    start = f"import runpy, sys; sys.path.insert(0, {package!r}); runpy.run_module({__name__!r}, run_name='__main__')"
    return [sys.executable, "-c", start]


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
    """Answer one line of JSON with another until there are no more."""
    try:
        import teleread.ingest.formats
        import teleread.signal.ecg  # noqa: F401
    except ImportError:
        able = False
    else:
        able = True
    for line in sys.stdin.buffer:
        try:
            answer = _judge(json.loads(line)) if able else dict(_NONE)
        except (ArithmeticError, ValueError, IndexError, OSError, MemoryError):
            answer = dict(_NONE)
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())

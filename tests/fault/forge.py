"""A process that has imported everything and opened nothing, and forks a child for each job.

python -m tests.fault.forge    reads one job a line, answers with one line

A child costs a few milliseconds instead of the seconds of a Python start. Its parser processes are real ones, forked
by the forge's own zygote, so that a child that dies takes only its own parser with it.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

ROOT = Path(__file__).resolve().parents[2]
HANG_S = 30
"""Nothing that the product does may take longer than this, whatever fails."""

Job = Callable[[dict[str, Any], Callable[[dict[str, Any]], None], Any], None]


@dataclass
class Ended:
    """What became of a child."""

    signal: int  # that ended it, 0 for none
    exit: int
    lines: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def killed(self) -> bool:
        return self.signal == signal.SIGKILL

    @property
    def hung(self) -> bool:
        return self.signal == signal.SIGALRM

    @property
    def acknowledged(self) -> dict[str, str]:
        """Arrival by delivery, for each receipt that came out."""
        return dict(cast("tuple[str, str]", line["ack"]) for line in self.lines if "ack" in line)

    def said(self, what: str) -> list[Any]:
        """The values of all lines that say this."""
        return [line[what] for line in self.lines if what in line]


class Forge:
    """The client of a running forge."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fault.forge"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._read() == {"ready": True}

    def run(self, job: str, **options: Any) -> Ended:
        """Run a job of ``tests.fault.jobs`` in a child, to its end or its death."""
        self.begin(job, **options)
        return self.finish()

    def begin(self, job: str, **options: Any) -> int:
        """Fork the child, which waits for :meth:`finish`; returns its pid."""
        self._tell({"job": job, **options})
        return int(self._read()["pid"])

    def finish(self, *, kill_after_s: float | None = None) -> Ended:
        """Let the child go and wait for its end; it may be killed so long after that."""
        self._tell({"kill_after_s": kill_after_s})
        return Ended(**self._read())

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def _tell(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the forge has ended"
        return cast("dict[str, Any]", json.loads(line))


@contextmanager
def forge() -> Iterator[Forge]:
    """A running forge, ended with the block."""
    running = Forge()
    try:
        yield running
    finally:
        running.close()


def serve() -> None:
    """Fork a child for every job until the input ends."""
    from teleread.ingest.bounded import BoundedPool
    from tests.fault import jobs

    with BoundedPool(workers=1, recycle_after=1000) as pool:
        jobs.warm_up()
        gc.collect()
        gc.freeze()
        _say({"ready": True})
        while line := sys.stdin.buffer.readline():
            _one(json.loads(line), pool, jobs)


def _one(request: dict[str, Any], pool: Any, jobs: Any) -> None:
    out, inside = os.pipe()
    begins, go = os.pipe()
    begun = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(out)
        os.close(go)
        _live(request, pool, jobs, inside, begins)
    os.close(inside)
    os.close(begins)
    _say({"pid": child})
    order = json.loads(sys.stdin.buffer.readline())
    os.write(go, b"g")
    os.close(go)
    data = _collect(out, child, order["kill_after_s"])
    os.close(out)
    _, status = os.waitpid(child, 0)
    # a line that was cut was not said
    lines = [json.loads(line) for line in data.split(b"\n")[:-1]]
    _say(
        {
            "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
            "exit": os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1,
            "lines": lines,
            "seconds": time.monotonic() - begun,
        }
    )


def _collect(out: int, child: int, kill_after_s: float | None) -> bytes:
    data = b""
    kill_at = None if kill_after_s is None else time.monotonic() + kill_after_s
    while True:
        left = None if kill_at is None else max(0.0, kill_at - time.monotonic())
        ready, _, _ = select.select([out], [], [], left)
        if ready:
            piece = os.read(out, 1 << 16)
            if not piece:
                return data
            data += piece
        elif kill_at is not None:
            os.kill(child, signal.SIGKILL)
            kill_at = None


def _live(request: dict[str, Any], pool: Any, jobs: Any, inside: int, begins: int) -> None:
    """A child's life; ends the process."""
    status = 1
    try:
        signal.alarm(HANG_S * int(request.pop("patience", 1)))
        _adopt(pool)
        os.readv(begins, [bytearray(1)])  # as for ``say`` below: no call of those that are counted
        job = getattr(jobs, request.pop("job"))

        def say(line: dict[str, Any]) -> None:
            # a call that no other part makes, so that injected faults of "write" do not meet it
            data = memoryview(json.dumps(line, ensure_ascii=False).encode() + b"\n")
            while data:
                data = data[os.writev(inside, [data]) :]

        logging.getLogger("teleread").addHandler(_Heard(say))
        try:
            job(request, say, pool)
            status = 0
        except Exception as error:  # noqa: BLE001 -- what came out of the job is the result
            say({"bare": type(error).__name__, "traceback": traceback.format_exc()[-2000:]})
    finally:
        os._exit(status)


class _Heard(logging.Handler):
    """What the product says to its log of a failure that stops nothing."""

    def __init__(self, say: Callable[[dict[str, Any]], None]) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        self._say({"logged": record.getMessage()})


class _Elsewhere:
    """The zygote as a child of its owner sees it: alive, and not to be waited for."""

    returncode = None

    def poll(self) -> None:
        return None

    def wait(self, timeout: float | None = None) -> int:
        raise subprocess.TimeoutExpired("zygote", timeout or 0.0)


def _adopt(pool: Any) -> None:
    """Make the inherited pool this child's own: its zygote is shared, its idle parsers are not."""
    while pool._idle:
        pool._idle.popleft().close()
    pool._idle = deque()
    pool._owner = os.getpid()
    pool._zygote = _Elsewhere()
    pool._turn, pool._lock = threading.BoundedSemaphore(1), threading.RLock()
    pool.close = lambda: None


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    serve()

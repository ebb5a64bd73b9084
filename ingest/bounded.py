"""Run parsers of untrusted bytes in child processes with limits of memory, time and output.

A pool starts one *zygote* (``python -m teleread.ingest.worker``), which imports the heavy modules once and then forks
a child for each connection. The parent hands connections over a socket pair (``SCM_RIGHTS``), so nothing has a name
in the file system and the multi-threaded parent never forks. A child does up to ``recycle_after`` jobs. When the
parent ends, however it ends, the zygote reads the end of its control socket and goes, and the kernel kills its
children with it.

They talk in the frames of :mod:`teleread.ingest.frames`, never in pickles: a child that was taken over by hostile
bytes can lie in its answers and no more.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import teleread
from teleread.errors import (
    AccessDenied,
    Conflict,
    InputRejected,
    Misconfigured,
    PeerError,
    StorageError,
    TelereadError,
)
from teleread.ingest.frames import FrameError, Product, TooLarge, receive_frame, send_frame

__all__ = ["BoundedPool", "Product"]

START_TIMEOUT_S = 120.0
"""How long the zygote may take to import its modules."""

_ERRORS: dict[str, type[TelereadError]] = {
    kind.__name__: kind for kind in (InputRejected, PeerError, StorageError, Conflict, AccessDenied, Misconfigured)
}
_CRASHED = ("worker_crashed", "The analysis of these bytes crashed its process.")
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class _Child:
    """One connection to one forked child."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.jobs = 0
        self.pid: int | None = None
        self._pidfd: int | None = None

    def greet(self, deadline: float) -> None:
        """Learn the child's pid, and hold on to the process so that a reused pid is never hit."""
        if self.pid is None:
            header, _ = receive_frame(self.sock, 4096, deadline)
            pid = header.get("pid")
            if not isinstance(pid, int) or pid <= 1:
                raise FrameError
            self.pid = pid
            if hasattr(os, "pidfd_open"):
                try:
                    self._pidfd = os.pidfd_open(pid)
                except ProcessLookupError:
                    raise FrameError from None

    @property
    def gone(self) -> bool:
        """Whether an idle child has closed the connection, or written where it has nothing to say."""
        if self.pid is None:
            return False
        try:
            self.sock.setblocking(False)
            self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True

    def kill(self) -> None:
        """End the child for certain and forget it."""
        try:
            if self._pidfd is not None:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            elif self.pid is not None and not hasattr(os, "pidfd_open"):
                os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.close()

    def close(self) -> None:
        """Close the connection; an idle child ends by itself."""
        self.sock.close()
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None


class BoundedPool:
    """A few children that run ``module:name`` callables ``f(payload: bytes, options: dict) -> Product``.

    Args:
        workers: jobs at a time; further calls wait their turn, which does not count against their time.
        memory_bytes: address space that a child may take beyond what it was forked with.
        timeout_s: wall-clock time of one job.
        max_output_bytes: facts and blobs of one job together.
        recycle_after: jobs that one child does before a fresh one takes its place.
        preload: modules that the zygote imports, so that children share their pages.

    Raises:
        Misconfigured: ``pool_preload_failed`` when a module cannot be imported, ``pool_unavailable`` when the zygote
            does not start.
    """

    def __init__(
        self,
        workers: int = 2,
        memory_bytes: int = 1 << 30,
        timeout_s: float = 20.0,
        max_output_bytes: int = 256 << 20,
        recycle_after: int = 100,
        preload: tuple[str, ...] = ("teleread.pipeline.derive",),
    ) -> None:
        self._workers = workers
        self._timeout_s = timeout_s
        self._max_output_bytes = max_output_bytes
        self._recycle_after = recycle_after
        self._setup = {"memory_bytes": memory_bytes, "max_output_bytes": max_output_bytes, "preload": list(preload)}
        self._turn = threading.BoundedSemaphore(workers)
        self._lock = threading.RLock()
        self._idle: deque[_Child] = deque()
        self._owner = os.getpid()
        self._closed = False
        self._zygote, self._control = self._start()
        with self._lock:
            self._refill()

    def run(
        self,
        function: str,
        payload: bytes,
        options: dict[str, Any],
        timeout_s: float | None = None,
        max_output_bytes: int | None = None,
    ) -> Product:
        """Run one job in a child.

        Args:
            function: ``"module:name"`` of a callable that the child can import.
            payload: the untrusted bytes.
            options: JSON values.
            timeout_s: instead of the pool's.
            max_output_bytes: less than the pool's: more is not taken into memory here.

        Raises:
            InputRejected: ``analysis_timeout``, ``too_much_memory``, ``too_much_output`` or ``worker_crashed``.
            TelereadError: whatever the function raised of this family, with its class, code and message.
            Misconfigured: ``unknown_function``, ``pool_closed``, ``pool_after_fork`` or ``pool_unavailable``.
        """
        if os.getpid() != self._owner:
            raise Misconfigured("pool_after_fork", "A pool of workers cannot be used in a fork of its process.")
        deadline: float | None = None
        most = min(self._max_output_bytes, max_output_bytes or self._max_output_bytes)
        with self._turn:
            while True:
                child = self._take()
                deadline = deadline or time.monotonic() + (timeout_s or self._timeout_s)
                fresh, reusable = child.jobs == 0, False
                try:
                    header, blobs = self._exchange(child, function, payload, options, deadline, most)
                    reusable = _is_answer(header) and "spent" not in header
                    break
                except FrameError:
                    # A child may die of an earlier job after having answered it, or with its zygote: only a fresh
                    # one that dies alone convicts.
                    if fresh and not self._zygote_gone():
                        raise InputRejected(*_CRASHED) from None
                finally:
                    self._give_back(child, reusable)
        return _answer(header, blobs)

    def close(self) -> None:
        """End zygote and children; calls that are running end with ``worker_crashed``."""
        with self._lock:
            if self._closed or os.getpid() != self._owner:
                return
            self._closed = True
            while self._idle:
                self._idle.popleft().close()
            self._stop_zygote()

    def __enter__(self) -> BoundedPool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _exchange(
        self, child: _Child, function: str, payload: bytes, options: dict[str, Any], deadline: float, most: int
    ) -> tuple[dict[str, Any], dict[str, bytes]]:
        """Send a job and receive its answer; FrameError when the child dies over it."""
        child.jobs += 1
        request = {
            "function": function,
            "options": options,
            "timeout_s": max(deadline - time.monotonic(), 0.0),
            "last": child.jobs >= self._recycle_after,
        }
        try:
            send_frame(child.sock, request, {"payload": payload}, deadline)
            return receive_frame(child.sock, most, deadline)
        except TimeoutError:
            raise InputRejected("analysis_timeout", "The analysis took too long and was stopped.") from None
        except TooLarge:
            raise InputRejected("too_much_output", "The analysis gave more output than is allowed.") from None
        except OSError:
            raise FrameError from None

    def _take(self) -> _Child:
        """An idle child that is alive; starts a new zygote once when the old one was killed."""
        deadline = time.monotonic() + START_TIMEOUT_S
        for attempt in range(self._workers + 3):
            with self._lock:
                if self._closed:
                    raise Misconfigured("pool_closed", "The pool of workers is closed.")
                try:
                    if self._zygote.poll() is not None or attempt == self._workers + 1:
                        self._restart()
                    self._refill()
                except OSError as error:
                    raise Misconfigured("pool_unavailable", "There are no file handles for a child.") from error
                child = self._idle.popleft()
            try:
                if not child.gone:
                    child.greet(deadline)
                    return child
            except (FrameError, TooLarge, OSError):
                pass
            child.kill()
        raise Misconfigured("pool_unavailable", "The pool of workers does not start a child.")

    def _give_back(self, child: _Child, kept: bool) -> None:
        with self._lock:
            if kept and child.jobs < self._recycle_after and not self._closed:
                self._idle.appendleft(child)
                return
        if kept:
            child.close()
        else:
            child.kill()
        with self._lock, suppress(OSError):  # without file handles the next call says so
            if not self._closed:
                self._refill()

    def _zygote_gone(self) -> bool:
        """Whether the zygote has ended; its children are told just before it can be waited for."""
        with suppress(subprocess.TimeoutExpired):
            self._zygote.wait(0.1)
        return self._zygote.poll() is not None

    def _refill(self) -> None:
        """Have as many children waiting as there are workers; a fork takes its time beside the caller's."""
        while len(self._idle) < self._workers:
            ours, theirs = socket.socketpair()
            try:
                socket.send_fds(self._control, [b"f"], [theirs.fileno()])
            except OSError:
                pass  # the zygote is gone: the greeting fails and _take starts another
            finally:
                theirs.close()
            self._idle.append(_Child(ours))

    def _restart(self) -> None:
        while self._idle:
            self._idle.popleft().kill()
        self._stop_zygote()
        self._zygote, self._control = self._start()

    def _start(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        ours, theirs = socket.socketpair()
        roots = [str(Path(teleread.__file__).resolve().parent.parent), os.environ.get("PYTHONPATH", "")]
        environment = {
            **os.environ,
            **dict.fromkeys(_ONE_THREAD, "1"),
            "PYTHONPATH": os.pathsep.join(root for root in roots if root),
        }
        command = [sys.executable, "-P", "-m", "teleread.ingest.worker", str(theirs.fileno()), str(os.getpid())]
        with theirs:
            zygote = subprocess.Popen(
                command,
                pass_fds=(theirs.fileno(),),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        try:
            send_frame(ours, self._setup, {})
            header, _ = receive_frame(ours, 4096, time.monotonic() + START_TIMEOUT_S)
            _answer(header, {})
        except (FrameError, TooLarge, OSError) as error:
            zygote.kill()
            zygote.wait()
            ours.close()
            raise Misconfigured("pool_unavailable", "The zygote of the workers does not start.") from error
        except TelereadError:
            zygote.wait()
            ours.close()
            raise
        ours.settimeout(None)
        return zygote, ours

    def _stop_zygote(self) -> None:
        self._control.close()
        try:
            self._zygote.wait(5)
        except subprocess.TimeoutExpired:
            self._zygote.kill()
            self._zygote.wait()


def _is_answer(header: dict[str, Any]) -> bool:
    return header.get("error") in _ERRORS or ("error" not in header and isinstance(header.get("facts"), dict))


def _answer(header: dict[str, Any], blobs: dict[str, bytes]) -> Product:
    """The product, or the error that the child reports."""
    if not _is_answer(header):
        raise InputRejected(*_CRASHED)
    if "error" in header:
        raise _ERRORS[header["error"]](str(header.get("code"))[:64], str(header.get("message"))[:500])
    return Product(header["facts"], blobs)

"""The zygote and its children; started by :class:`teleread.ingest.bounded.BoundedPool`, never by hand.

Usage: ``python -P -m teleread.ingest.worker CONTROL_FD PARENT_PID``
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import logging
import math
import os
import resource
import select
import signal
import socket
import sys
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any

from teleread.errors import InputRejected, Misconfigured, TelereadError
from teleread.ingest.frames import FrameError, Product, TooLarge, receive_frame, send_frame

MAX_OPEN_FILES = 64
_PR_SET_PDEATHSIG = 1
_PARENT_CHECK_MS = 1000
_UNLIMITED = 1 << 62

Job = Callable[[bytes, dict[str, Any]], Product]


def main(arguments: list[str]) -> int:
    """Import what is asked for, then fork a child for every connection until the parent is gone."""
    control = socket.socket(fileno=int(arguments[0]))
    control.set_inheritable(False)
    parent = int(arguments[1])
    # Ctrl-C and an end of the whole service are the parent's business: it may still need an answer, and when it goes
    # we go. Ended children are not waited for.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        setup, _ = receive_frame(control, 1 << 20)
        _preload(setup["preload"])
    except Misconfigured as error:
        send_frame(control, _error(error), {})
        return 1
    except (FrameError, OSError):
        return 0
    prctl = _prctl()
    send_frame(control, {"facts": {}}, {})
    # Objects of the zygote stay out of every collection, so that children do not copy pages by marking them.
    gc.collect()
    gc.freeze()
    zygote = os.getpid()
    while (connection := _next_connection(control, parent)) is not None:
        if os.fork() == 0:
            control.close()
            _live(connection, setup, zygote, prctl)
        connection.close()
    return 0


def _next_connection(control: socket.socket, parent: int) -> socket.socket | None:
    """The next connection to serve; None when the parent is gone.

    The control socket ends with the parent, unless a fork of the parent holds a copy of it: hence the look at the
    parent's pid as well.
    """
    poll = select.poll()
    poll.register(control, select.POLLIN)
    while True:
        ready = poll.poll(_PARENT_CHECK_MS)
        if os.getppid() != parent:
            return None
        if not ready:
            continue
        try:
            message, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        except OSError:
            return None
        if not message or not descriptors:
            return None
        return socket.socket(fileno=descriptors[0])


def _preload(modules: list[str]) -> None:
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError:
            message = f"The module {name} cannot be imported by the workers."
            raise Misconfigured("pool_preload_failed", message) from None


def _prctl() -> Callable[[int, int], int] | None:
    """``prctl`` of Linux, looked up before forking; None elsewhere."""
    if not sys.platform.startswith("linux"):
        return None
    function = ctypes.CDLL(None, use_errno=True).prctl

    def call(option: int, value: int) -> int:
        return int(function(option, ctypes.c_ulong(value), 0, 0, 0))

    return call


def _live(connection: socket.socket, setup: dict[str, Any], zygote: int, prctl: Any) -> None:
    """The life of a child; ends the process."""
    sys.excepthook = _say_no_values
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != zygote:
        os._exit(0)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Warnings and log lines of libraries quote values of the patient's file.
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    _limit(setup["memory_bytes"])
    code = 1
    with contextlib.suppress(FrameError, OSError):
        send_frame(connection, {"pid": os.getpid()}, {})
        while _serve_one(connection, setup["max_output_bytes"]):
            pass
        code = 0
    os._exit(code)


def _limit(memory_bytes: int) -> None:
    """Bound what a job may add to what was inherited; no files, no core dumps."""
    inherited = 0
    with contextlib.suppress(OSError), open("/proc/self/statm", encoding="ascii") as statm:
        inherited = int(statm.read().split()[0]) * resource.getpagesize()
    limits = {
        resource.RLIMIT_AS: inherited + memory_bytes,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: MAX_OPEN_FILES,
    }
    for which, limit in limits.items():
        _, hard = resource.getrlimit(which)
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(which, (limit, limit))


def _limit_cpu(timeout_s: float) -> None:
    """Behind the parent's clock, in case the parent hangs; counted from now, for a child does many jobs."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    allowed = math.ceil(used.ru_utime + used.ru_stime + timeout_s) + 2
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    if hard != resource.RLIM_INFINITY:
        allowed = min(allowed, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (allowed, hard))


def _serve_one(connection: socket.socket, max_output_bytes: int) -> bool:
    """Do one job; False when the child is to end."""
    try:
        request, blobs = receive_frame(connection, _UNLIMITED)
        _limit_cpu(float(request["timeout_s"]))
        product = _job(str(request["function"]))(blobs["payload"], request["options"])
        del blobs
        if sum(map(len, product.blobs.values())) > max_output_bytes:
            raise TooLarge
        send_frame(connection, {"facts": product.facts}, product.blobs)
    except TelereadError as error:
        send_frame(connection, _error(error), {})
    except (MemoryError, TooLarge) as error:
        rejected = (
            InputRejected("too_much_output", "The analysis gave more output than is allowed.")
            if isinstance(error, TooLarge)
            else InputRejected("too_much_memory", "The analysis asked for more memory than is allowed.")
        )
        # What the job has left behind may still fill the memory: the next job gets a fresh child.
        send_frame(connection, {**_error(rejected), "spent": True}, {})
        return False
    return not request["last"]


def _job(function: str) -> Job:
    module_name, _, name = function.partition(":")
    try:
        job = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError):
        raise Misconfigured("unknown_function", "The workers do not know this function.") from None
    found: Job = job
    return found


def _error(error: TelereadError) -> dict[str, Any]:
    return {"error": type(error).__name__, "code": error.code, "message": error.safe_message}


def _say_no_values(kind: type[BaseException], _error: BaseException, trace: TracebackType | None) -> None:
    """Report a crash by type and place; its message may quote the patient's file."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}" if trace else "?"
    sys.stderr.write(f"teleread worker: {kind.__name__} at {place}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

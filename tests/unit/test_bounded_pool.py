"""Promises of the pool that runs parsers of untrusted bytes."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from teleread.errors import Conflict, InputRejected, Misconfigured, TelereadError
from teleread.ingest.bounded import BoundedPool

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Wait for a condition; False when it does not come true in time."""
    end = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        if time.monotonic() > end:
            return False
        pause.wait(0.005)
    return True


def gone(pid: int) -> bool:
    """Whether a process has ended (a zombie has)."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture(scope="module")
def jobs_importable() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(HERE))
        yield


@pytest.fixture(scope="module")
def pool(jobs_importable: None) -> Iterator[BoundedPool]:
    with BoundedPool(
        workers=2, memory_bytes=256 << 20, timeout_s=20, max_output_bytes=4 << 20, preload=("bounded_jobs",)
    ) as pool:
        yield pool


def test_what_goes_in_comes_out_equal(pool: BoundedPool) -> None:
    payload = bytes(range(256)) * 4096
    options = {"text": "王小东 \x00", "number": 1.5, "nested": [None, {"a": True}]}
    product = pool.run("bounded_jobs:echo", payload, options)
    assert product.blobs == {"payload": payload, "none": b""}
    assert product.facts["options"] == options
    assert product.facts["pid"] != os.getpid()


@pytest.mark.parametrize(
    ("job", "kind", "code", "message"),
    [
        ("reject", InputRejected, "dicom_truncated", "The file ends early."),
        ("conflict", Conflict, "lease_lost", "Somebody else has the case."),
        ("does_not_exist", Misconfigured, "unknown_function", None),
    ],
)
def test_errors_of_the_job_come_out_equal(
    pool: BoundedPool, job: str, kind: type[TelereadError], code: str, message: str | None
) -> None:
    with pytest.raises(kind) as caught:
        pool.run(f"bounded_jobs:{job}", b"", {})
    assert type(caught.value) is kind
    assert caught.value.code == code
    assert message is None or caught.value.safe_message == message


@pytest.mark.parametrize(
    ("job", "options", "code"),
    [
        ("forever", {}, "analysis_timeout"),
        ("wait_forever", {}, "analysis_timeout"),
        ("allocate", {"bytes": 4 << 30}, "too_much_memory"),
        ("leave", {}, "worker_crashed"),
        ("segfault", {}, "worker_crashed"),
        ("raise_value_error", {}, "worker_crashed"),
        ("big", {"bytes": 8 << 20}, "too_much_output"),
        ("big_facts", {"bytes": 8 << 20}, "too_much_output"),
    ],
)
def test_a_bad_job_is_refused_and_the_next_one_works(
    pool: BoundedPool, job: str, options: dict[str, int], code: str
) -> None:
    limit = 0.3 if code == "analysis_timeout" else 20.0
    with pytest.raises(InputRejected) as caught:
        pool.run(f"bounded_jobs:{job}", b"secret 4711", options, timeout_s=limit)
    assert caught.value.code == code
    assert "4711" not in str(caught.value)
    assert pool.run("bounded_jobs:echo", b"next", {}).blobs["payload"] == b"next"


def test_memory_within_the_limit_is_granted(pool: BoundedPool) -> None:
    """The twin of the refusal: the limit does not simply refuse everything."""
    assert pool.run("bounded_jobs:allocate", b"", {"bytes": 64 << 20}).facts["size"] == 64 << 20


@pytest.mark.parametrize("job", ["forever", "wait_forever"])
def test_a_child_that_ran_too_long_is_dead(pool: BoundedPool, job: str) -> None:
    pid = pool.run("bounded_jobs:echo", b"", {}).facts["pid"]  # the one used last is used next
    with pytest.raises(InputRejected):
        pool.run(f"bounded_jobs:{job}", b"", {}, timeout_s=0.3)
    assert wait_until(lambda: gone(pid))


def test_a_job_that_dies_with_its_zygote_is_done_again_and_convicts_nobody(jobs_importable: None) -> None:
    with BoundedPool(workers=1, timeout_s=30, preload=("bounded_jobs",)) as pool:
        zygote = pool._zygote
        ended = threading.Thread(target=lambda: (wait_until(lambda: pool._idle == deque()), zygote.kill()))
        ended.start()
        product = pool.run("bounded_jobs:sleep_once", b"", {"s": 1.0})
        ended.join()
        assert product.facts["done"]
        assert pool._zygote is not zygote


def test_a_zygote_outlives_the_polite_end_of_its_parents_group(jobs_importable: None) -> None:
    with BoundedPool(workers=1, timeout_s=30, preload=("bounded_jobs",)) as pool:
        zygote = pool._zygote
        zygote.terminate()
        assert pool.run("bounded_jobs:echo", b"x", {}).blobs["payload"] == b"x"
        assert pool._zygote is zygote


@pytest.mark.parametrize(
    "answer",
    [
        b"\xff\xff\xff\xff" + b"x" * 100,
        b"\x00\x00\x00\x10not json at all!",
        b'\x00\x00\x00\x1f{"facts":{},"blobs":[["a",-5]]}',
        b'\x00\x00\x00\x28{"facts":{},"blobs":[["a",999999999999]]}',
        b'\x00\x00\x00\x27{"error":"SystemExit","blobs":[]}      ',
        b"\x00\x00\x9c\x40" + b"[" * 40000,
    ],
)
def test_a_child_that_was_taken_over_cannot_hurt_the_parent(pool: BoundedPool, answer: bytes) -> None:
    with pytest.raises(InputRejected) as caught:
        pool.run("bounded_jobs:lie", answer, {})
    assert caught.value.code in ("worker_crashed", "too_much_output")
    assert pool.run("bounded_jobs:echo", b"next", {}).blobs["payload"] == b"next"


def test_a_job_is_not_blamed_for_a_child_that_dies_of_an_earlier_one(jobs_importable: None) -> None:
    answered = 0
    with BoundedPool(workers=1, preload=("bounded_jobs",)) as pool:
        for _ in range(20):
            with suppress(InputRejected):  # a busy machine lets it die before its answer is out, and that is its own
                answered += pool.run("bounded_jobs:answer_and_die", b"", {}).facts == {}
            assert pool.run("bounded_jobs:echo", b"innocent", {}).blobs["payload"] == b"innocent"
    assert answered


def test_a_child_cannot_write_files(pool: BoundedPool, tmp_path: Path) -> None:
    path = tmp_path / "written"
    assert pool.run("bounded_jobs:write_file", b"", {"path": str(path)}).facts == {"written": False}
    assert not path.exists() or path.read_bytes() == b""


def test_numeric_libraries_get_one_thread(pool: BoundedPool) -> None:
    assert pool.run("bounded_jobs:threads", b"", {}).facts["openblas"] == "1"


def test_children_are_recycled(jobs_importable: None) -> None:
    with BoundedPool(workers=1, recycle_after=3, preload=("bounded_jobs",)) as pool:
        pids = [pool.run("bounded_jobs:echo", b"", {}).facts["pid"] for _ in range(9)]
    assert [len(set(pids[i : i + 3])) for i in (0, 3, 6)] == [1, 1, 1]
    assert len(set(pids)) == 3


def test_many_threads_share_the_pool(pool: BoundedPool) -> None:
    def one(number: int) -> bool:
        payload = number.to_bytes(4, "big") * 1000
        if number % 7 == 0:
            with pytest.raises(InputRejected):
                pool.run("bounded_jobs:leave", payload, {})
            return True
        return pool.run("bounded_jobs:echo", payload, {}).blobs["payload"] == payload

    with concurrent.futures.ThreadPoolExecutor(16) as threads:
        assert all(threads.map(one, range(200)))


def test_the_pool_outlives_the_thread_that_made_it(jobs_importable: None) -> None:
    made: list[BoundedPool] = []
    thread = threading.Thread(target=lambda: made.append(BoundedPool(workers=1, preload=("bounded_jobs",))))
    thread.start()
    thread.join()
    with made[0] as pool:
        zygote = pool._zygote.pid
        assert pool.run("bounded_jobs:echo", b"a", {}).blobs["payload"] == b"a"
        assert pool._zygote.pid == zygote


def test_a_killed_zygote_is_replaced(jobs_importable: None) -> None:
    with BoundedPool(workers=2, preload=("bounded_jobs",)) as pool:
        first = pool.run("bounded_jobs:echo", b"a", {}).facts["pid"]
        os.kill(pool._zygote.pid, signal.SIGKILL)
        assert wait_until(lambda: gone(first)), "children die with their zygote"
        assert pool.run("bounded_jobs:echo", b"b", {}).blobs["payload"] == b"b"


def test_a_killed_idle_child_is_replaced(jobs_importable: None) -> None:
    with BoundedPool(workers=1, preload=("bounded_jobs",)) as pool:
        pid = pool.run("bounded_jobs:echo", b"a", {}).facts["pid"]
        os.kill(pid, signal.SIGKILL)
        assert wait_until(lambda: gone(pid))
        assert pool.run("bounded_jobs:echo", b"b", {}).blobs["payload"] == b"b"


def test_close_leaves_no_process(jobs_importable: None) -> None:
    pool = BoundedPool(workers=3, preload=("bounded_jobs",))
    pool.run("bounded_jobs:echo", b"", {})
    family = [pool._zygote.pid, *(child.pid for child in psutil.Process(pool._zygote.pid).children())]
    pool.close()
    pool.close()
    assert wait_until(lambda: all(map(gone, family)))
    with pytest.raises(Misconfigured) as caught:
        pool.run("bounded_jobs:echo", b"", {})
    assert caught.value.code == "pool_closed"


def test_a_missing_preload_is_misconfigured() -> None:
    with pytest.raises(Misconfigured) as caught:
        BoundedPool(preload=("teleread.there_is_no_such_module",))
    assert caught.value.code == "pool_preload_failed"


ORPHAN_MAKER = """
import os, sys, threading
from teleread.ingest.bounded import BoundedPool
pool = BoundedPool(workers=2, timeout_s=600, preload=("bounded_jobs",))
busy = pool.run("bounded_jobs:echo", b"", {}).facts["pid"]
threading.Thread(target=lambda: pool.run("bounded_jobs:forever", b"", {}), daemon=True).start()
copies = os.fork() if sys.argv[1] == "with_fork" else None
if copies == 0:
    threading.Event().wait()
print(pool._zygote.pid, busy, copies or 0, flush=True)
threading.Event().wait()
"""

UNPROTECTED = """
import subprocess, sys, threading
child = subprocess.Popen([sys.executable, "-c", "import threading; threading.Event().wait()"])
print(child.pid, child.pid, 0, flush=True)
threading.Event().wait()
"""


def killed_parent(script: str, mode: str) -> list[int]:
    """Start a script, read the pids it prints, kill it without warning, return the pids."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}"}
    with subprocess.Popen(
        [sys.executable, "-c", script, mode], env=environment, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        zygote_children = [child.pid for child in psutil.Process(pids[0]).children(recursive=True)]
        parent.kill()
    return [*pids, *zygote_children]


@pytest.mark.parametrize("mode", ["alone", "with_fork"])
def test_a_killed_parent_leaves_no_process_behind(mode: str) -> None:
    zygote, busy, copy, *children = killed_parent(ORPHAN_MAKER, mode)
    try:
        assert busy in children
        assert wait_until(lambda: all(map(gone, (zygote, *children))))
    finally:
        if copy:
            os.kill(copy, signal.SIGKILL)


def test_the_orphan_test_sees_an_orphan() -> None:
    """The broken twin: a child without protection outlives its killed parent, and the same check notices."""
    pid, *_ = killed_parent(UNPROTECTED, "alone")
    try:
        assert not wait_until(lambda: gone(pid), seconds=2.5)
    finally:
        os.kill(pid, signal.SIGKILL)


def test_a_fork_of_the_process_cannot_use_the_pool(pool: BoundedPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_owner", os.getpid() + 1)
    with pytest.raises(Misconfigured) as caught:
        pool.run("bounded_jobs:echo", b"", {})
    assert caught.value.code == "pool_after_fork"


def test_a_call_costs_less_than_two_milliseconds(pool: BoundedPool) -> None:
    payload = bytes(120_000)  # a ten-second twelve-lead recording
    pool.run("bounded_jobs:echo", payload, {})
    times = []
    for _ in range(100):
        start = time.perf_counter()
        pool.run("bounded_jobs:echo", payload, {})
        times.append(time.perf_counter() - start)
    assert sorted(times)[len(times) // 4] < 2e-3

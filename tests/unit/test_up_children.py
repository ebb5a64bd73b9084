"""What ``teleread up`` starts, it ends: also what its children leave behind."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

from teleread.up.children import end_leftovers

# a child that starts a stubborn grandchild in a session of its own, as airflow standalone does
STUBBORN = textwrap.dedent("""
    import os, signal, subprocess, sys, time
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    grandchild = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    open(sys.argv[1], "w").write(f"{os.getpid()} {grandchild.pid}")
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    time.sleep(600)
""")

SUPERVISOR = textwrap.dedent("""
    import os, sys, time
    from pathlib import Path
    from teleread.up.children import Children
    folder = Path(sys.argv[1])
    children = Children(folder)
    children.start("stubborn", [sys.executable, "-c", sys.argv[2], str(folder / "pids")], os.environ, folder / "log")
    (folder / "started").touch()
    sys.stdin.readline()
    children.end_all(patience_s=1.0)
""")


def wait_for(true: Callable[[], bool], patience_s: float = 30) -> None:
    deadline = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def started(folder: Path) -> tuple[subprocess.Popen[str], list[int]]:
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(folder), STUBBORN], stdin=subprocess.PIPE, text=True
    )
    pids = folder / "pids"
    wait_for(lambda: (folder / "started").exists() and pids.exists() and len(pids.read_text().split()) == 2)
    return supervisor, [int(pid) for pid in pids.read_text().split()]


def test_the_end_leaves_no_descendant_within_ten_seconds(tmp_path: Path) -> None:
    supervisor, pids = started(tmp_path)
    assert all(map(alive, pids))
    begun = time.monotonic()
    supervisor.communicate("end\n", timeout=30)
    assert time.monotonic() - begun < 10
    assert not any(map(alive, pids))


def test_ending_only_the_started_child_would_leave_its_own_behind(tmp_path: Path) -> None:
    """The broken twin: a terminated group alone does not reach the grandchild."""
    supervisor, (child, grandchild) = started(tmp_path)
    os.killpg(child, 15)
    wait_for(lambda: not alive(child))
    assert alive(grandchild)
    supervisor.communicate("end\n", timeout=30)
    assert not alive(grandchild)


def test_what_a_killed_run_left_is_ended_by_the_next(tmp_path: Path) -> None:
    supervisor, (child, grandchild) = started(tmp_path)
    supervisor.kill()
    supervisor.communicate(timeout=30)
    assert alive(child)
    assert alive(grandchild)
    assert end_leftovers(tmp_path) == 2
    wait_for(lambda: not alive(child) and not alive(grandchild))


def test_the_processes_of_another_home_are_left_alone(tmp_path: Path) -> None:
    supervisor, pids = started(tmp_path)
    assert end_leftovers(tmp_path / "elsewhere") == 0
    assert all(map(alive, pids))
    supervisor.communicate("end\n", timeout=30)

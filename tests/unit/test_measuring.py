"""Reading through by forked processes. They are forked only where no other thread is, so each test has a child."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_CHILD = """
import os, signal, sys
from pathlib import Path
from teleread.errors import StorageError
from teleread.storage.objects import FileBlobs, SealedStore, measure_batches
from tests.contract.keys import TestKeys

class Marked(FileBlobs):
    def open(self, key):
        (home / f"pid-{os.getpid()}").touch()
        if sys.argv[2] == "killed" and key == "a/7":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().open(key)

home = Path(sys.argv[1])
store = SealedStore(Marked(home / "objects"), TestKeys())
keys = [f"a/{i}" for i in range(40)]
held = [store.put(key, key.encode() * 9_000).sha256 for key in keys]
store.blobs.delete("a/3")
batches = [keys[i : i + 5] for i in range(0, 40, 5)]
try:
    found = [one for _, ones in measure_batches(store, batches, list, workers=2) for one in ones]
    assert [one.key for one in found] == keys
    assert [one.key for one in found if one.sha256 != held[keys.index(one.key)]] == ["a/3"]
    print(found[3].failure.code)
except StorageError as error:
    print(error.code)
print(sum(name.startswith("pid-") and name != f"pid-{os.getpid()}" for name in os.listdir(home)))
"""


def _child(home: Path, mode: str) -> list[str]:
    root = Path(__file__).parents[2]
    words = [sys.executable, "-c", _CHILD, str(home), mode]
    ended = subprocess.run(
        words, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.split()


def test_processes_read_in_order_and_a_missing_object_stops_nothing(tmp_path: Path) -> None:
    code, others = _child(tmp_path, "whole")
    assert code == "object_missing"
    assert int(others) in (1, 2)


def test_a_reader_that_is_killed_is_told_and_not_waited_for(tmp_path: Path) -> None:
    assert _child(tmp_path, "killed")[0] == "scrub_worker_ended"

"""Backups that are killed for good (SIGKILL) at every step while the system goes on landing.

python -m tests.prove.backups HOME FOLDER STEP SEED    the process that backs up and dies at the step
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from teleread.storage.backup.folder import finished
from teleread.storage.backup.make import make_backup
from teleread.storage.backup.restore import restore_backup
from tests.backups import land_one, small_on_files, wrong_with

STEPS = (
    "row_begun",
    "catalogue_dumped",
    "vault_dumped",
    "objects_copied",
    "ring_kept",
    "manifest_written",
    "copies_removed",
    "thinned",
    "row_made",
)
_MANIFEST = STEPS.index("manifest_written")


def die_at(home: Path, folder: Path, step_name: str, seed: int) -> None:
    """Back up, land something at each step and say so, and die at one of them."""
    small = small_on_files(home)
    parts = small.open()
    numbers = iter(range(seed * 1000 + 100, seed * 1000 + 1000))

    def step(name: str) -> None:
        number = next(numbers)
        print(number, land_one(small, parts, number), flush=True)
        if name == step_name:
            os.kill(os.getpid(), signal.SIGKILL)

    make_backup(parts, folder, keep=2, step=step)


def prove_one(place: Path, number: int) -> list[str]:
    """One kill; returns what is wrong afterwards."""
    rng = random.Random(number)
    step = STEPS[number % len(STEPS)]
    small = small_on_files(place / "home")
    folder = place / "backups"
    parts = small.open()
    told = {land_one(small, parts, n) for n in range(rng.randint(1, 4))}
    make_backup(parts, folder)
    late = {land_one(small, parts, 50 + n) for n in range(rng.randint(0, 3))}
    small.close()
    command = [sys.executable, "-m", "tests.prove.backups", str(small.home), str(folder), step, str(number)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    wrong = [] if done.returncode == -signal.SIGKILL else [f"not killed: {done.returncode}"]
    for line in done.stdout.splitlines():
        landed, arrival = line.split()
        small.landed[arrival] = f"bytes {landed}".encode() * 50
    if STEPS.index(step) >= _MANIFEST:
        told |= late
    for path in (small.home / "vault", small.home / "keys", small.home / "objects"):
        shutil.rmtree(path)
    for path in small.home.glob("catalogue.db*"):
        path.unlink()
    restore_backup(small.target(), folder, small.halves, actor="proof")
    parts = small.open()
    wrong += wrong_with(small, parts, told)
    make_backup(parts, folder, keep=1, verify=True)
    if len(finished(folder)) != 1:
        wrong.append(f"{len(finished(folder))} backups where one is kept")
    small.close()
    return wrong


@contextmanager
def killed_backups() -> Iterator[Callable[[int], None]]:
    """A backup killed at any step is a whole one or none, and stands in nobody's way."""

    def prove(number: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            wrong = prove_one(Path(folder), number)
            assert wrong == [], (number, json.dumps(wrong))

    yield prove


if __name__ == "__main__":
    die_at(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))

"""Programs that storage tests run as processes of their own, to be killed or to race.

    python -m tests.contract.storage_child COMMAND ARGUMENTS...

They speak one line at a time on standard output and wait for lines on standard input.
"""

from __future__ import annotations

import io
import os
import random
import resource
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from teleread.errors import StorageError
from teleread.storage.objects import FileBlobs, SealedStore
from tests.contract.keys import shared_keys

ROOT = Path(__file__).resolve().parents[2]
AT = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
PIECE = 1 << 16
OBJECTS = {
    "raw/sha256/ab/cd/first": b"1" * (2 * PIECE + 5),
    "raw/sha256/ab/ef/second": b"2" * 7,
}


class NaiveBlobs(FileBlobs):
    """The broken twin: writes to the final name."""

    def publish(self, handle: int, temporary: str, key: str) -> bool:
        final = self.root / key
        final.parent.mkdir(parents=True, exist_ok=True)
        data = Path(temporary).read_bytes()
        with open(final, "wb", buffering=0) as out:
            for start in range(0, len(data), PIECE):
                out.write(data[start : start + PIECE])
                self._step("piece_written")
        self._step("linked")
        return True


BLOBS = {"real": FileBlobs, "naive": NaiveBlobs}


def say(line: str) -> None:
    """To the parent, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def die_at(n: int) -> Callable[[str], None]:
    """A step hook that kills its own process at the n-th step."""
    done = 0

    def step(_: str) -> None:
        nonlocal done
        done += 1
        if done == n:
            os.kill(os.getpid(), signal.SIGKILL)

    return step


def store(kind: str, root: str, n: str) -> None:
    """Put all objects, acknowledging each; die at step n."""
    objects = SealedStore(BLOBS[kind](Path(root), step=die_at(int(n))), shared_keys())
    for key, data in OBJECTS.items():
        objects.put(key, data)
        say(key)


def full(root: str, limit: str) -> None:
    """Put an object when no file may be larger than the limit."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    try:
        SealedStore(FileBlobs(Path(root)), shared_keys()).put("a", b"x" * (2 * int(limit)))
    except StorageError as error:
        say(error.code)


def race(root: str, size: str) -> None:
    """Put the same raw bytes as everybody else, after the parent's word."""
    objects = SealedStore(FileBlobs(Path(root)), shared_keys())
    data = random.Random(2).randbytes(int(size))
    say("ready")
    sys.stdin.readline()
    for form in (data, io.BytesIO(data)):
        stored = objects.put_raw(form)
        say(f"{stored.sha256} {objects.header(stored.key).data_key_id.hex()}")


def big(root: str, size: str) -> None:
    """Put so many bytes from a stream and read them; say the largest memory (KB) before and after."""
    from tests.contract.stored_objects import Trickle

    objects = SealedStore(FileBlobs(Path(root)), shared_keys())
    objects.put_raw(Trickle(1 << 20))  # type: ignore[arg-type]
    say(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
    stored = objects.put_raw(Trickle(int(size)))  # type: ignore[arg-type]
    assert objects.measure(stored.key) == (stored.sha256, int(size))
    with objects.open(stored.key) as file:
        while file.read(1 << 20):
            pass
    objects.delete(stored.key)
    say(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))


def migrate(url: str, *others: str) -> None:
    """Bring the databases up to date, after the parent's word."""
    from teleread.storage.catalogue.database import Database

    databases = [Database(one) for one in (url, *others)]
    say("ready")
    sys.stdin.readline()
    for database in databases:
        database.migrate()
        database.close()


def hold(url: str, kind: str) -> None:
    """Write two rows that belong together; pause between them for the parent's word."""
    from sqlalchemy import insert

    from teleread.storage.catalogue.database import Database
    from teleread.storage.catalogue.schema import objects

    rows = [{"key": key, "sha256": "0" * 64, "size_bytes": 0, "created_at": AT} for key in ("first", "second")]
    database = Database(url)
    if kind == "naive":  # the broken twin: a transaction for each row
        with database.write() as connection:
            connection.execute(insert(objects), rows[:1])
        rows = rows[1:]
    with database.write() as connection:
        for row in rows:
            connection.execute(insert(objects), [row])
            if row["key"] == "first":
                say("holding")
                sys.stdin.readline()
        if kind == "naive":
            say("holding")
            sys.stdin.readline()
    database.close()
    say("committed")


def count(url: str, n: str) -> None:
    """Add one to a counter, n times."""
    from sqlalchemy import update

    from teleread.storage.catalogue.database import Database
    from teleread.storage.catalogue.schema import site_status

    database = Database(url)
    say("ready")
    sys.stdin.readline()
    for _ in range(int(n)):
        with database.write() as connection:
            connection.execute(update(site_status).values(failures=site_status.c.failures + 1))
    database.close()


def fork(url: str) -> None:
    """Use the pool, fork, and use it in child and parent."""
    from sqlalchemy import insert, text

    from teleread.storage.catalogue.database import Database
    from teleread.storage.catalogue.schema import objects

    database = Database(url)

    def add(key: str) -> None:
        with database.write() as connection:
            connection.execute(insert(objects), [{"key": key, "sha256": "0", "size_bytes": 0, "created_at": AT}])

    add("before")
    child = os.fork()
    if child == 0:
        for i in range(20):
            add(f"child-{i}")
        database.close()
        os._exit(0)
    for i in range(20):
        add(f"parent-{i}")
    assert os.waitpid(child, 0)[1] == 0
    with database.read() as connection:
        say(str(connection.execute(text("SELECT count(*) FROM objects")).scalar_one()))
    add("after")
    database.close()


def enroll(url: str, ring_path: str, n: str) -> None:
    """Enroll the same n patients as everybody else."""
    from teleread.storage.vault import Identity, KeyRing, Vault

    vault = Vault(url, KeyRing.open(ring_path, clock=lambda: AT))
    say("ready")
    sys.stdin.readline()
    for i in range(int(n)):
        say(vault.enroll(Identity("H1", str(i), "张三"), AT).pseudonym)
    vault.close()


def work_in_vault(url: str, ring_path: str, name: str) -> None:
    """Enroll, join and derive until told to stop; say how often, or what was wrong."""
    from teleread.storage.vault import Identity, KeyRing, Vault

    vault = Vault(url, KeyRing.open(ring_path, clock=lambda: AT))
    say("ready")
    rounds = 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        identity = Identity(name, str(rounds), "张三")
        pseudonym = vault.enroll(identity, AT).pseudonym
        found = vault.join([pseudonym], who="r1", why="read", case_ids=["c1"], at=AT)
        if found != {pseudonym: identity} or len(vault.project_key(f"{name}-{rounds}")) != 32:
            say("wrong")
            return
        rounds += 1
    say(str(rounds))
    vault.close()


@contextmanager
def child(command: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process that runs the command; killed when the block ends, if it is still there."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "tests.contract.storage_child", command, *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


def answer(process: subprocess.Popen[str]) -> str:
    """The child's next line."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str]) -> None:
    """Let the child go on."""
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def run(command: str, *arguments: str) -> tuple[int, list[str]]:
    """Run the command to its end; its exit status and the lines it said."""
    with child(command, *arguments) as process:
        assert process.stdout is not None
        lines = process.stdout.read().split()
        return process.wait(), lines


def main(words: Sequence[str]) -> None:
    """Do what the command line says."""
    commands: dict[str, Callable[..., None]] = {
        command.__name__: command
        for command in (store, full, race, big, migrate, hold, count, fork, enroll, work_in_vault)
    }
    commands[words[0]](*words[1:])


if __name__ == "__main__":
    main(sys.argv[1:])

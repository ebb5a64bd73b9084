"""A private PostgreSQL from Debian's package, on a free loopback port."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg

from tests.contract.servers import serving

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "100",
    "shared_buffers": "32MB",
    # the cluster is thrown away, so nothing has to survive a power cut
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
}


_UNSAFE = ("fsync", "full_page_writes", "synchronous_commit")


def postgres_programs() -> Path | None:
    """Folder of the newest installed server's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


@contextmanager
def postgres_server(*, durable: bool = False) -> Iterator[Callable[[], str]]:
    """A running cluster until the block ends.

    Args:
        durable: what is committed is on the disk, as where it matters.

    Yields:
        a function that makes an empty database and returns its URL.
    """
    programs = postgres_programs()
    assert programs is not None, "install the Debian package postgresql"
    # the server refuses to run as root
    user = "postgres" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="teleread-postgres-"))
    try:
        if user is not None:
            shutil.chown(folder, user, user)
        subprocess.run(
            [
                programs / "initdb",
                "-D",
                folder / "data",
                "-A",
                "trust",
                "-U",
                "teleread",
                "-E",
                "UTF8",
                "--locale=C",
                "--no-sync",
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd="/",
            user=user,
            group=user,
            extra_groups=[] if user else None,
        )
        port = _free_port()
        command = [str(programs / "postgres"), "-D", str(folder / "data"), "-p", str(port), "-k", str(folder)]
        settings = _SETTINGS | (dict.fromkeys(_UNSAFE, "on") if durable else {})
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with serving(command, "ready to accept connections", user=user):
            yield _maker(port)
    finally:
        shutil.rmtree(folder)


def _maker(port: int) -> Callable[[], str]:
    numbers = count(1)

    def make() -> str:
        name = f"test_{next(numbers)}"
        address = f"host=127.0.0.1 port={port} user=teleread dbname=postgres"
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql+psycopg://teleread@127.0.0.1:{port}/{name}"

    return make


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

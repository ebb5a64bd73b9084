"""What must be true of the machine before anything starts: one clear line when it is not."""

from __future__ import annotations

import fcntl
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from teleread.errors import Misconfigured

FREE_MB = 300


def check_ports(host: str, ports: Mapping[str, int]) -> None:
    """Each port can be bound.

    Args:
        ports: the environment variable that sets a port, and the port.

    Raises:
        Misconfigured: ``port_in_use``.
    """
    for variable, port in ports.items():
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            # as servers do: a port whose last connections are still closing is free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                raise Misconfigured(
                    "port_in_use",
                    f"Port {port} is used by another program. End that program, or choose another port: "
                    f"{variable}={port + 1000} make run",
                ) from None


def check_disk(home: Path) -> None:
    """There is room to work.

    Raises:
        Misconfigured: ``disk_full`` or ``home_unwritable``.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        home.chmod(0o700)  # studies, logs and Airflow's database are nobody else's business
        probe = home / ".probe"
        probe.write_bytes(b"x")
        probe.unlink()
        free_mb = shutil.disk_usage(home).free >> 20
    except OSError as error:
        if error.errno == 28:
            free_mb = 0
        else:
            raise Misconfigured("home_unwritable", f"{home} cannot be written: {error.strerror}.") from None
    if free_mb < FREE_MB:
        raise Misconfigured(
            "disk_full", f"The disk is nearly full: {free_mb} MB free at {home}, {FREE_MB} MB needed. Free some space."
        )


def hold_home(home: Path) -> IO[str]:
    """Lock the home folder for one run; the lock goes with the file that is returned, or with the process.

    Raises:
        Misconfigured: ``already_running``.
    """
    file = (home / "up.lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise Misconfigured(
            "already_running", f"teleread already runs with the data of {home}; end that run first (Ctrl-C)."
        ) from None
    return file


def rotate_logs(folder: Path, limit_bytes: int = 10 << 20) -> None:
    """Put each log that has grown past the limit aside, over the one put aside before."""
    for path in folder.glob("*.log"):
        if path.stat().st_size > limit_bytes:
            path.replace(path.with_suffix(".log.1"))


def free_ports(host: str, count: int) -> list[int]:
    """Ports that are free now."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind((host, 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()

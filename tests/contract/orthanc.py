"""A real Orthanc (Debian package) with a folder of its own, on free ports, ended by its own process id."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from teleread.alliance import Connection
from teleread.errors import PeerError
from teleread.ingest.sources.dimse import echo

AET = "COUNTY"


def connection_to(port: int, **other: Any) -> Connection:
    """A connection to an Orthanc of this fixture."""
    return Connection("county", "dicom", date(2026, 1, 1), host="127.0.0.1", port=port, ae_title=AET, **other)


@contextmanager
def running_orthanc(folder: Path, **settings: Any) -> Iterator[Connection]:
    """Start an Orthanc whose files lie in ``folder``; ``settings`` are added to its configuration."""
    program = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
    if program is None:
        pytest.skip("Orthanc is not installed")
    dicom_port, http_port = _free_ports()
    configuration = folder / "orthanc.json"
    configuration.write_text(
        json.dumps(
            {
                "Name": "county",
                "StorageDirectory": str(folder / "storage"),
                "IndexDirectory": str(folder / "storage"),
                "DicomAet": AET,
                "DicomPort": dicom_port,
                "HttpPort": http_port,
                "RemoteAccessAllowed": False,
                "AuthenticationEnabled": False,
                "DicomAlwaysAllowEcho": True,
                "DicomAlwaysAllowStore": True,
                "DicomAlwaysAllowFind": True,
                "DicomAlwaysAllowGet": True,
                "Plugins": [],
                **settings,
            }
        )
    )
    log = folder / "orthanc.log"
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [program, str(configuration)], stdout=output, stderr=output, env=os.environ | {"TCP_NODELAY": "1"}
        )
    try:
        connection = connection_to(dicom_port)
        _wait_for_answer(connection, process, log)
        yield connection
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


@pytest.fixture
def start_orthanc(tmp_path: Path) -> Iterator[Callable[..., Connection]]:
    """A function that starts an Orthanc for the time of the test."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(running_orthanc(tmp_path, **settings))


def _free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        return one.getsockname()[1], two.getsockname()[1]


def _wait_for_answer(connection: Connection, process: subprocess.Popen[bytes], log: Path) -> None:
    stop = time.monotonic() + 30
    while True:
        try:
            echo(connection)
            return
        except PeerError:
            if process.poll() is not None or time.monotonic() > stop:
                pytest.fail(f"Orthanc did not start:\n{log.read_text(errors='replace')[-2000:]}")
            threading.Event().wait(0.1)

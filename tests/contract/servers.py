"""Real servers for tests: started as our own child, ended by its own pid."""

from __future__ import annotations

import re
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO


@contextmanager
def serving(
    command: Sequence[str], ready: str, *, user: str | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[re.Match[str]]:
    """Run a server until the block ends; it is ready when its standard error has a line that matches.

    Yields:
        the match, which may name the port.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
        user=user,
        group=user,
        extra_groups=[] if user else None,
        env=environment,
    )
    assert process.stderr is not None
    # somebody has to go on reading, or a full pipe stops the server
    drain = threading.Thread(target=process.stderr.read, daemon=True)
    try:
        match = _wait_for(process.stderr, ready)
        drain.start()
        yield match
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if drain.ident is not None:
            drain.join(20)
        process.stderr.close()


def _wait_for(lines: IO[str], ready: str) -> re.Match[str]:
    seen: list[str] = []
    for line in lines:
        seen.append(line)
        if match := re.search(ready, line):
            return match
    raise AssertionError(f"the server did not start: {''.join(seen)[-2000:]}")

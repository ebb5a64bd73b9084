"""Ceph's S3 gateway from Debian's packages: a server that keeps what S3 promises.

One monitor, manager, object storage daemon and gateway on free loopback ports, each our own child and ended by its own
pid. Authentication inside the cluster stays on: without it the gateway does not come up.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import urllib3

PROGRAMS = ("ceph", "ceph-authtool", "ceph-mon", "ceph-mgr", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
ACCESS_KEY = "teleread"
SECRET_KEY = "not/a+secret"
_START_S = 240
_SETTINGS = """\
[global]
fsid = {fsid}
mon initial members = a
mon host = [v2:127.0.0.1:{v2}/0,v1:127.0.0.1:{v1}/0]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
public network = 127.0.0.0/8
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon warn on pool no redundancy = false
osd crush chooseleaf type = 0
run dir = {folder}/run
log file = {folder}/log/$name.log
admin socket = {folder}/run/$name.asok
pid file = {folder}/run/$name.pid
keyring = {folder}/keyring
mon data = {folder}/mon.a
mgr data = {folder}/mgr.x
osd data = {folder}/osd.0
rgw data = {folder}/rgw
osd objectstore = bluestore
bluestore block size = 20000000000
osd memory target = 1073741824
mgr initial modules =
rgw frontends = beast endpoint=127.0.0.1:{port}{tcp_nodelay}
"""


@dataclass(frozen=True, slots=True)
class CephServer:
    """``endpoint`` is host:port of the gateway, which speaks HTTP."""

    endpoint: str


def ceph_missing() -> tuple[str, ...]:
    """Programs that are not installed."""
    return tuple(name for name in PROGRAMS if shutil.which(name) is None)


@contextmanager
def ceph_server(*, tcp_nodelay: bool = False) -> Iterator[CephServer]:
    """A gateway with one user until the block ends; takes 15 to 100 s to start.

    Args:
        tcp_nodelay: the gateway's own setting, which it leaves off unless told.
    """
    missing = ceph_missing()
    assert not missing, f"install {', '.join(missing)} (sh deploy/install-peers.sh)"
    # sockets lie in it, whose paths must be short
    folder = Path(tempfile.mkdtemp(prefix="teleread-ceph-", dir="/tmp"))
    try:
        with ExitStack() as stack:
            yield _started(folder, stack, tcp_nodelay)
    finally:
        shutil.rmtree(folder)


def _started(folder: Path, stack: ExitStack, tcp_nodelay: bool) -> CephServer:
    for name in ("mon.a", "mgr.x", "osd.0", "run", "log", "rgw"):
        (folder / name).mkdir()
    v2, v1, port = _free_ports(3)
    fsid, settings = str(uuid.uuid4()), folder / "ceph.conf"
    settings.write_text(
        _SETTINGS.format(
            folder=folder, fsid=fsid, v2=v2, v1=v1, port=port, tcp_nodelay=" tcp_nodelay=1" if tcp_nodelay else ""
        )
    )
    cluster = _Cluster(folder, settings, stack)
    cluster.make_keys()
    cluster.run(
        "monmaptool", "--create", "--addv", "a", f"[v2:127.0.0.1:{v2},v1:127.0.0.1:{v1}]",
        "--fsid", fsid, folder / "map",
    )  # fmt: skip
    cluster.run("ceph-mon", "--mkfs", "-i", "a", "--monmap", folder / "map", "--keyring", folder / "keyring")
    cluster.serve("mon", "ceph-mon", "-i", "a")
    osd = str(uuid.uuid4())
    # waits until the monitor answers
    cluster.run("ceph", "--connect-timeout", "60", "osd", "new", osd)
    cluster.serve("mgr", "ceph-mgr", "-i", "x")
    cluster.run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
    cluster.serve("osd", "ceph-osd", "-i", "0")
    cluster.wait(lambda: b"1 up" in cluster.run("ceph", "--connect-timeout", "60", "osd", "stat"), "the storage daemon")
    cluster.serve("rgw", "radosgw", "-n", "client.admin")
    cluster.wait(lambda: _answers(port), "the gateway")
    cluster.run(
        "radosgw-admin", "user", "create", "--uid=teleread", "--display-name=teleread",
        f"--access-key={ACCESS_KEY}", f"--secret-key={SECRET_KEY}",
    )  # fmt: skip
    return CephServer(f"127.0.0.1:{port}")


@dataclass(frozen=True, slots=True)
class _Cluster:
    folder: Path
    settings: Path
    stack: ExitStack

    def make_keys(self) -> None:
        keyring = self.folder / "keyring"
        keyring.touch(0o600)
        everything = ("--cap", "mon", "allow *", "--cap", "osd", "allow *", "--cap", "mgr", "allow *")
        for name in ("mon.", "client.admin", "mgr.x", "osd.0"):
            self.run("ceph-authtool", keyring, "--gen-key", "-n", name, *everything)

    def run(self, program: str, *arguments: str | Path) -> bytes:
        """Run to the end and return what it printed; its complaints go into the failure's text."""
        command = [program, *map(str, arguments)]
        if program not in ("ceph-authtool", "monmaptool"):
            command += ["-c", str(self.settings)]
        done = subprocess.run(command, capture_output=True, timeout=_START_S, cwd="/", check=False)
        assert done.returncode == 0, f"{program}: {done.stderr.decode(errors='replace')[-2000:]}"
        return done.stdout

    def serve(self, name: str, program: str, *arguments: str) -> None:
        """Start a daemon that is ended with the block."""
        command: Sequence[str] = [program, "-c", str(self.settings), "-f", *arguments]
        # a file, because nobody reads a pipe and a full one stops the server
        with (self.folder / "log" / f"{name}.out").open("wb") as out:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/", start_new_session=True
            )
        self.stack.callback(_end, process)

    def wait(self, done: Callable[[], bool], what: str) -> None:
        """Until it is done."""
        until = time.monotonic() + _START_S
        while not done():
            said = "".join(
                path.read_text(errors="replace")[-1000:] for path in sorted((self.folder / "log").glob("*.out"))
            )
            assert time.monotonic() < until, f"{what} did not start: {said}"
            time.sleep(0.2)


def _end(process: subprocess.Popen[bytes]) -> None:
    # the cluster is thrown away: nothing has to be written back
    process.kill()
    process.wait()


def _answers(port: int) -> bool:
    with contextlib.suppress(urllib3.exceptions.HTTPError), urllib3.PoolManager(retries=False, timeout=5) as pool:
        return pool.request("GET", f"http://127.0.0.1:{port}/").status == 200
    return False


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def main() -> None:
    """Serve until the standard input ends: for trying things by hand."""
    with ceph_server(tcp_nodelay=bool(os.environ.get("NODELAY"))) as server:
        os.write(1, f"{server.endpoint}\n".encode())
        os.read(0, 1)


if __name__ == "__main__":
    main()

"""The whole system as a person starts it: ``teleread up`` on free ports, its table read, and ended with Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from teleread.up.children import is_ours


def free_ports(count: int) -> list[int]:
    """Ports that are free now."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def wait_for(true: Callable[[], bool], patience_s: float, what: str, pause_s: float = 0.2) -> float:
    """Wait for a condition; returns the seconds that it took."""
    begun = time.monotonic()
    while not true():
        assert time.monotonic() - begun < patience_s, f"{what}: not within {patience_s:.0f} s"
        time.sleep(pause_s)
    return time.monotonic() - begun


@dataclass(frozen=True)
class Ports:
    web: int
    airflow: int
    pacs: int


class System:
    """One run of the whole system."""

    def __init__(self, command: Sequence[str], home: Path, cwd: Path, ports: Ports) -> None:
        self.home = home
        self.ports = ports
        self.web = f"http://127.0.0.1:{ports.web}"
        self.airflow = f"http://127.0.0.1:{ports.airflow}"
        self.passwords: dict[str, str] = {}
        self.pins: dict[str, str] = {}
        self.output: list[str] = []
        self._command = command
        self._cwd = cwd
        self._process: subprocess.Popen[str] | None = None
        self._clients: list[httpx.Client] = []

    def start(self, patience_s: float = 300) -> float:
        """Start and wait for the table; returns the seconds until then."""
        begun = time.monotonic()
        self._process = subprocess.Popen(
            list(self._command),
            cwd=self._cwd,
            env={**os.environ, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), True)
        for line in self._process.stdout:
            self.output.append(line.rstrip())
            found = re.match(r"(?:\s+(?:uploader|reader|engineer)|Airflow)\s.*?(\w+)\s+(\S+)$", line)
            if found and "first start" not in line:
                self.passwords[found[1]] = found[2]
            if pin := re.match(r"PIN for signing, (\w+): (\d+)$", line):
                self.pins[pin[1]] = pin[2]
            if line.startswith("to stop"):
                return time.monotonic() - begun
            assert time.monotonic() - begun < patience_s, "\n".join(self.output)
        raise AssertionError("it ended:\n" + "\n".join(self.output))

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            "TELEREAD_HOME": str(self.home),
            "TELEREAD_WEB_PORT": str(self.ports.web),
            "TELEREAD_AIRFLOW_PORT": str(self.ports.airflow),
            "TELEREAD_PACS_PORT": str(self.ports.pacs),
        }

    def stop(self) -> float:
        """Ctrl-C as a terminal sends it, to the whole foreground group; returns the seconds until the end."""
        assert self._process is not None
        self._close_clients()
        begun = time.monotonic()
        os.killpg(self._process.pid, signal.SIGINT)
        self._process.communicate(timeout=60)
        return time.monotonic() - begun

    def kill(self) -> None:
        """End for certain, after a failed test."""
        self._close_clients()
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGINT)
            try:
                self._process.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)

    def _close_clients(self) -> None:
        for client in self._clients:
            client.close()
        self._clients.clear()

    def processes(self) -> list[int]:
        """Ids of every living process of this run."""
        found = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        ours = [pid for pid in found if is_ours(pid, self.home)]
        if self._process is not None and self._process.poll() is None:
            ours.append(self._process.pid)
        return sorted(ours)

    def held_ports(self) -> list[int]:
        """Those of our ports that something still listens on."""
        held = []
        for port in (self.ports.web, self.ports.airflow, self.ports.pacs):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    held.append(port)
        return held

    def sign_in(self, name: str) -> httpx.Client:
        """A client with a session of the page, as a browser has it."""
        client = httpx.Client(
            base_url=self.web, trust_env=False, timeout=30, headers={"Origin": self.web}, follow_redirects=True
        )
        self._clients.append(client)
        answer = client.post("/sign-in", data={"name": name, "password": self.passwords[name]})
        assert answer.status_code == 200, answer.status_code
        return client

    def airflow_client(self) -> httpx.Client:
        """A client of Airflow's API with the administrator's token."""
        account = {"username": "admin", "password": self.passwords["admin"]}
        token = httpx.post(f"{self.airflow}/auth/token", json=account, trust_env=False, timeout=30).json()
        bearer = {"Authorization": f"Bearer {token['access_token']}"}
        return httpx.Client(base_url=self.airflow, trust_env=False, timeout=30, headers=bearer)


def new_system(command: Sequence[str], home: Path, cwd: Path) -> System:
    """A system on free ports."""
    web, airflow, pacs = free_ports(3)
    return System(command, home, cwd, Ports(web, airflow, pacs))

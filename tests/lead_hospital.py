"""A lead hospital of its own for tests and benchmarks: ``teleread serve`` in a process, which can be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
from sqlalchemy import select

from teleread.agent import home as agent_home
from teleread.pipeline.services import Services
from teleread.services import open_services
from teleread.settings import Settings, load_settings
from teleread.storage import agents
from teleread.storage.catalogue.schema import arrivals
from teleread.up import sample
from tests.system import free_ports

SITE = sample.CLINIC


class LeadHospital:
    """Its data in ``folder``; the process is started and ended as often as one likes."""

    def __init__(self, folder: Path, **settings: str) -> None:
        (self.port,) = free_ports(1)
        self.environment = {
            "TELEREAD_HOME": str(folder),
            "TELEREAD_WEB_PORT": str(self.port),
            **{f"TELEREAD_{name.upper()}": value for name, value in settings.items()},
        }
        self.settings: Settings = load_settings(self.environment)
        folder.mkdir(parents=True, exist_ok=True)
        folders = sample.sample_folders(self.settings)
        sample.write_alliance(self.settings, folders, None, None)
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / "serve.log"

    def __enter__(self) -> LeadHospital:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end(signal.SIGTERM)

    def start(self, patience_s: float = 120) -> None:
        """Start it and wait until it is ready."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "teleread", "serve"],
                env={**os.environ, **self.environment},
                stdout=log,
                stderr=log,
            )
        ends = time.monotonic() + patience_s
        while True:
            assert time.monotonic() < ends, self._log.read_text()
            assert self._process.poll() is None, self._log.read_text()
            try:
                if httpx.get(f"http://127.0.0.1:{self.port}/readyz", trust_env=False).status_code == 200:
                    return
            except httpx.TransportError:
                pass  # not listening yet
            time.sleep(0.05)

    def end(self, number: int = signal.SIGKILL) -> None:
        """Kill it, or ask it to end."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait(60)

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    def open(self) -> Services:
        """Its parts, for a look from outside; the caller closes them."""
        return open_services(self.settings)

    def agent(self, folder: Path, port: int | None = None) -> agent_home.Identity:
        """An agent of the clinic, enrolled over the line at ``port``."""
        services = self.open()
        try:
            with services.catalogue.write() as conn:
                code = agents.invite(conn, SITE, "bench", services.clock(), actor="bench")
        finally:
            services.close()
        return agent_home.enrol(folder, agent_home.Invitation.parse(f"{code}@127.0.0.1:{port or self.port}"))

    def landed(self) -> list[tuple[str, int, str]]:
        """(hash, size, priority) of all that has landed, in order of arrival."""
        services = self.open()
        try:
            with services.catalogue.read() as conn:
                rows = conn.execute(
                    select(arrivals.c.sha256, arrivals.c.size_bytes, arrivals.c.clinic_priority).order_by(
                        arrivals.c.arrived_at
                    )
                )
                return [(row.sha256, row.size_bytes, row.clinic_priority) for row in rows]
        finally:
            services.close()

"""The order of ``teleread up``: check, start, warm up, show the table, watch, end."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import httpx

from teleread.errors import Misconfigured, PeerError
from teleread.pipeline.land import land
from teleread.services import open_services, utc_now
from teleread.settings import Settings
from teleread.up import airflow, sample
from teleread.up.children import Children, end_leftovers
from teleread.up.machine import check_disk, check_ports, free_ports, hold_home, rotate_logs
from teleread.web.certificates import fingerprint_words
from teleread.web.serving import address, agent_port, identity, tls_wanted

_AIRFLOW_PATIENCE_S = 240.0


class _Stop(Exception):
    """Ctrl-C, or a signal to end."""


def run_up(settings: Settings, studies: Path | None, *, pacs_port: int | None = None) -> int:
    """Run everything until Ctrl-C; returns the exit code."""
    if studies is not None and not studies.is_dir():
        raise Misconfigured("studies_missing", f"STUDIES={studies} is no folder.")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _raise_stop)
    check_disk(settings.home)
    children = Children(settings.home)
    lock = hold_home(settings.home)
    try:
        end_leftovers(settings.home)
        folders = sample.sample_folders(settings)
        sample_port = sample.write_alliance(settings, folders, studies, pacs_port)
        ports = {"TELEREAD_WEB_PORT": settings.web_port, "TELEREAD_AIRFLOW_PORT": settings.airflow_port}
        if (port := agent_port(settings)) is not None:
            ports["TELEREAD_AGENT_PORT"] = port
        if sample_port is not None:
            ports["TELEREAD_PACS_PORT"] = sample_port
        check_ports(settings.host, ports)
        _start(settings, folders, sample_port, children)
        while True:
            time.sleep(1)
            children.restart_ended(_line)
    except _Stop:
        _line("ending …")
        return 0
    finally:
        # a second Ctrl-C must not leave anything behind
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if children.end_all():
            _line("ended; `make run` goes on with the same data")
        lock.close()


def _raise_stop(_number: int, _frame: FrameType | None) -> None:
    raise _Stop


def _start(settings: Settings, folders: sample.Folders, pacs_port: int | None, children: Children) -> None:
    started = time.monotonic()
    step = _Steps(started)
    step("database and sample alliance")
    rotate_logs(settings.home / "log")
    services = open_services(settings)
    try:
        sign_ins = sample.make_accounts(services)
        admin_password = airflow.make_password(settings)
        environment = {**os.environ, **_own_environment(settings)}
        logs = settings.home / "log"
        step("Airflow and the web service")
        log_ports = free_ports(settings.host, 2)
        children.start(
            "Airflow",
            [_beside_python("airflow"), "standalone"],
            airflow.environment(settings, environment, (log_ports[0], log_ports[1])),
            logs / "airflow.log",
        )
        children.start("web", [sys.executable, "-m", "teleread", "serve"], environment, logs / "web.log")
        if pacs_port is not None:
            _start_members(folders, pacs_port, children, environment, logs)
            files = sample.clinic_files()
            land(services, site_id=sample.CLINIC, source="web", files=files, clinic_priority="routine", actor="nurse")
    finally:
        services.close()
    alive = _liveness(children)
    _wait_for_web(settings, alive)
    step("first tasks of Airflow")
    client = airflow.AirflowClient(settings)
    try:
        client.wait_until_healthy(_AIRFLOW_PATIENCE_S, alive)
        warm = client.run("warm_up", 120, alive)
        client.wait_for("warm_up", warm, 180, alive)
        step("first pull from the members")
        client.run("pull_hospitals", 60, alive)
    finally:
        client.close()
    step.done()
    _table(settings, sign_ins, admin_password)


def _start_members(
    folders: sample.Folders, pacs_port: int, children: Children, environment: dict[str, str], logs: Path
) -> None:
    from teleread.sample.studies import fill_cart, fill_county

    fill_county(folders.pacs)
    fill_cart(folders.cart)
    children.start(
        "county PACS",
        [
            sys.executable,
            *("-m", "teleread.sample.pacs", "--folder", str(folders.pacs)),
            *("--port", str(pacs_port), "--aet", sample.COUNTY_AE),
        ],
        environment,
        logs / "county-pacs.log",
    )


def _own_environment(settings: Settings) -> dict[str, str]:
    """The settings as variables, so that every child has the same, whatever folder it works in."""
    return {f"TELEREAD_{name.upper()}": str(getattr(settings, name)) for name in settings.redacted()}


def _beside_python(program: str) -> str:
    path = Path(sys.executable).parent / program
    if not path.exists():
        raise Misconfigured(
            "airflow_missing", "Airflow is not installed in this environment; `make run` installs it from the lock."
        )
    return str(path)


def _liveness(children: Children) -> Callable[[], None]:
    def alive() -> None:
        children.restart_ended(_line)

    return alive


def _wait_for_web(settings: Settings, alive: Callable[[], None]) -> None:
    deadline = time.monotonic() + 60
    url = f"{address(settings)}/readyz"
    # our own certificate, on our own machine: it is only asked whether it is ready
    with httpx.Client(trust_env=False, timeout=5, verify=False) as http:
        while time.monotonic() < deadline:
            alive()
            try:
                if http.get(url).status_code == 200:
                    return
            except httpx.TransportError:
                pass  # not listening yet
            time.sleep(0.2)
    raise PeerError("web_not_ready", f"The web service did not become ready; see {settings.home / 'log' / 'web.log'}.")


class _Steps:
    """One line that says what is being waited for."""

    def __init__(self, started: float) -> None:
        self._started = started

    def __call__(self, text: str) -> None:
        line = f"[{time.monotonic() - self._started:3.0f} s] starting {text}"
        print(f"\r\033[K{line}" if sys.stdout.isatty() else line, end="" if sys.stdout.isatty() else "\n", flush=True)

    def done(self) -> None:
        if sys.stdout.isatty():
            print("\r\033[K", end="")
        print(f"teleread is ready after {time.monotonic() - self._started:.0f} s\n")


def _line(text: str) -> None:
    print(f"teleread: {text}", flush=True)


def _table(settings: Settings, sign_ins: list[sample.SignIn], admin_password: str | None) -> None:
    web = address(settings)
    earlier = "as printed at the first start"
    rows = [("worklist, upload, sites", web, "", "")]
    rows += [(f"  {who.role}", "", who.name, who.password or earlier) for who in sign_ins]
    rows.append(
        ("Airflow", f"http://{settings.host}:{settings.airflow_port}", airflow.ADMIN, admin_password or earlier)
    )
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for who in sign_ins:
        if who.pin is not None:
            print(f"PIN for signing, {who.name}: {who.pin}")
    if any(who.password is None for who in sign_ins):
        print("forgotten: `.venv/bin/teleread account password NAME` makes a new one")
    if tls_wanted(settings):
        print(f"certificate SHA-256 {fingerprint_words(identity(settings, utc_now()).fingerprint)}")
    print(f"data and logs: {settings.home}")
    print("to stop: Ctrl-C", flush=True)

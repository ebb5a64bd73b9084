"""Airflow beside us: its environment, and the few calls that ``teleread up`` makes to it."""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import httpx

from teleread.errors import PeerError
from teleread.settings import Settings

DAGS_FOLDER = Path(__file__).resolve().parents[2] / "dags"
ADMIN = "admin"


def environment(settings: Settings, base: Mapping[str, str], log_ports: tuple[int, int]) -> dict[str, str]:
    """The variables of a standalone Airflow with SQLite, without examples, on our ports and with our secrets."""
    home = settings.home / "airflow"
    home.mkdir(parents=True, exist_ok=True)
    url = f"http://{settings.host}:{settings.airflow_port}"
    return {
        **base,
        # standalone starts its parts by the name `airflow`
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{base.get('PATH', os.defpath)}",
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS_FOLDER),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{ADMIN}:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
        "AIRFLOW__API__HOST": settings.host,
        "AIRFLOW__API__PORT": str(settings.airflow_port),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY": _secret(home / "api.secret"),
        # the default is 24 h; 64 bytes or more, the same for every component
        "AIRFLOW__API_AUTH__JWT_SECRET": _secret(home / "jwt.secret"),
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(log_ports[0]),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(log_ports[1]),
        # its scheduler tells every step of every task at INFO: 100 MB a day
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "60",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "NO_PROXY": f"{settings.host},localhost",
        "no_proxy": f"{settings.host},localhost",
    }


def make_password(settings: Settings) -> str | None:
    """Write the administrator's password file; returns the password when it is new, else none."""
    path = settings.home / "airflow" / "passwords.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        return None
    password = secrets.token_urlsafe(12)
    _write_private(path, json.dumps({ADMIN: password}))
    return password


class AirflowBusy(PeerError):
    """Airflow failed at a request that may be made again."""


class AirflowClient:
    """The REST calls needed at start: is it well, is a DAG known, run it, has it run."""

    def __init__(self, settings: Settings) -> None:
        self._http = httpx.Client(
            base_url=f"http://{settings.host}:{settings.airflow_port}", timeout=30, trust_env=False
        )
        self._passwords = settings.home / "airflow" / "passwords.json"

    def wait_until_healthy(self, patience_s: float, alive: Callable[[], None]) -> None:
        """Wait for the database, the scheduler and the DAG processor.

        Raises:
            PeerError: ``airflow_not_ready``.
        """
        self._wait(self._healthy, patience_s, alive, "Airflow did not become ready")

    def run(self, dag_id: str, patience_s: float, alive: Callable[[], None]) -> str:
        """Trigger a DAG as soon as Airflow knows it; returns the run's id."""
        self._wait(lambda: self._known(dag_id), patience_s, alive, f"Airflow does not know the DAG {dag_id}")
        run_id = ""

        def triggered() -> bool:
            nonlocal run_id
            try:
                answer = self._call("POST", f"/api/v2/dags/{dag_id}/dagRuns", {"logical_date": None})
            except AirflowBusy:
                return False  # its database was locked; a second run more does no harm
            run_id = str(answer["dag_run_id"])
            return True

        self._wait(triggered, patience_s, alive, f"Airflow does not run the DAG {dag_id}")
        return run_id

    def wait_for(self, dag_id: str, run_id: str, patience_s: float, alive: Callable[[], None]) -> str:
        """Wait until a run has ended; returns its state."""
        state = ""

        def ended() -> bool:
            nonlocal state
            with suppress(AirflowBusy):
                state = str(self._call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")["state"])
            return state in {"success", "failed"}

        self._wait(ended, patience_s, alive, f"The DAG {dag_id} did not end")
        return state

    def close(self) -> None:
        self._http.close()

    def _healthy(self) -> bool:
        health = self._http.get("/api/v2/monitor/health")
        if health.status_code != 200:
            return False
        parts = health.json()
        return all(
            (parts.get(part) or {}).get("status") == "healthy"
            for part in ("metadatabase", "scheduler", "dag_processor")
        )

    def _known(self, dag_id: str) -> bool:
        try:
            self._call("GET", f"/api/v2/dags/{dag_id}")
        except PeerError:
            return False
        return True

    def _call(self, method: str, path: str, body: object = None) -> dict[str, object]:
        if "Authorization" not in self._http.headers:
            password = json.loads(self._passwords.read_text())[ADMIN]
            token = self._http.post("/auth/token", json={"username": ADMIN, "password": password})
            if token.status_code != 201:
                raise PeerError("airflow_refused", "Airflow does not accept the administrator's password.")
            self._http.headers["Authorization"] = f"Bearer {token.json()['access_token']}"
        answer = self._http.request(method, path, json=body)
        if answer.status_code >= 500:
            raise AirflowBusy("airflow_busy", f"Airflow answered {answer.status_code} to {method} {path}.")
        if answer.status_code >= 400:
            raise PeerError("airflow_refused", f"Airflow answered {answer.status_code} to {method} {path}.")
        found: dict[str, object] = answer.json()
        return found

    def _wait(self, done: Callable[[], bool], patience_s: float, alive: Callable[[], None], failure: str) -> None:
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            alive()
            try:
                if done():
                    return
            except httpx.TransportError:
                pass  # not listening yet
            time.sleep(0.5)
        raise PeerError("airflow_not_ready", f"{failure} within {patience_s:.0f} s.")


def _secret(path: Path) -> str:
    if not path.exists():
        _write_private(path, secrets.token_hex(64))
    return path.read_text()


def _write_private(path: Path, text: str) -> None:
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(path)  # never half a secret, whenever we die

"""The DAG files: sound, quick to parse, and a second run of each changes nothing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import MetaData, select

from teleread.sample.studies import fill_cart, fill_county
from teleread.services import running_services
from teleread.settings import load_settings
from teleread.up.sample import sample_folders, write_alliance
from tests.airflow.conftest import DAGS, airflow_environment

pytestmark = [
    pytest.mark.airflow,
    # what Airflow says of itself is not ours to mend
    pytest.mark.filterwarnings("ignore"),
]

FILES = sorted(DAGS.glob("*.py"))
NAMES = {"pull_hospitals", "prepare_arrivals", "sweep_arrivals", "keep_records", "warm_up"}


@pytest.fixture(scope="session")
def dags(airflow_home: Path) -> dict[str, Any]:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(dag_folder=str(DAGS))
    assert bag.import_errors == {}
    return dict(bag.dags)


def test_every_dag_file_is_a_dag_and_the_other_way_round(dags: dict[str, Any]) -> None:
    assert set(dags) == NAMES == {path.stem for path in FILES}


def test_every_dag_says_whose_it_is_and_what_to_do_when_it_fails(dags: dict[str, Any]) -> None:
    for dag in dags.values():
        assert dag.tags
        assert dag.catchup is False
        for word in ("**Schedule**", "**Idempotence key**", "**When it fails**"):
            assert word in (dag.doc_md or ""), (dag.dag_id, word)
        for task in dag.tasks:
            assert task.owner == "teleread"
            assert task.retries >= 1, task.task_id
            assert task.execution_timeout is not None or dag.dag_id == "warm_up", task.task_id


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_parsing_a_dag_file_imports_no_numpy_and_opens_nothing(path: Path, airflow_home: Path) -> None:
    check = (
        "import runpy, sys\nimport airflow.sdk, airflow.exceptions\n"
        "sys.addaudithook(lambda name, args: name in ('socket.connect', 'sqlite3.connect') and sys.exit(name))\n"
        f"runpy.run_path({str(path)!r})\n"
        "bad = [m for m in ('numpy', 'scipy', 'pydicom', 'teleread.services') if m in sys.modules]\nassert not bad, bad"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_dag_files_stay_glue() -> None:
    for path in FILES:
        assert len(path.read_text().splitlines()) <= 80, path.name


@pytest.mark.parametrize("command", [["airflow", "version"], ["python", "-m", "airflow", "version"]])
def test_airflow_from_the_root_gets_the_standard_librarys_signal(
    command: list[str], root: Path, airflow_home: Path
) -> None:
    program = [str(Path(sys.executable).parent / command[0]), *command[1:]]
    done = subprocess.run(program, cwd=root, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().startswith("3.")


@pytest.fixture(scope="module")
def alliance_at_rest(airflow_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The sample alliance with its PACS running and its cart's folder filled."""
    home = tmp_path_factory.mktemp("teleread")
    os.environ["TELEREAD_HOME"] = str(home)
    settings = load_settings()
    folders = sample_folders(settings)
    fill_county(folders.pacs)
    fill_cart(folders.cart)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    write_alliance(settings, folders, None, port)
    pacs = subprocess.Popen(
        [
            *(sys.executable, "-m", "teleread.sample.pacs"),
            *("--folder", str(folders.pacs), "--port", str(port), "--aet", "COUNTY"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert pacs.stdout is not None
    assert pacs.stdout.readline().startswith("ready")
    yield home
    pacs.terminate()
    pacs.wait(10)
    pacs.stdout.close()


def run_dag(dag: Any) -> None:
    run = dag.test()
    assert str(run.state) == "success", {ti.task_id: ti.state for ti in run.get_task_instances()}


def everything() -> dict[str, Any]:
    with running_services() as services, services.catalogue.read() as conn:
        found = MetaData()
        found.reflect(conn)
        rows = {
            name: sorted(map(str, conn.execute(select(table)).all()))
            for name, table in found.tables.items()
            if name not in {"site_status", "store_walks", "scrubs"} and not name.startswith("audit_")
        }
        return {**rows, "keys": [info.key for info in services.store.list()]}


def test_a_second_run_of_every_dag_changes_nothing(
    dags: dict[str, Any], alliance_at_rest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEREAD_HOME", str(alliance_at_rest))
    order = ["warm_up", "pull_hospitals", "prepare_arrivals", "sweep_arrivals", "keep_records"]
    states = []
    for _ in range(2):
        for name in order:
            run_dag(dags[name])
        states.append(everything())
    assert len(states[0]["arrivals"]) >= 10
    assert len(states[0]["work_items"]) >= 9
    assert states[0] == states[1]


def test_the_environment_of_the_tests_is_not_the_users(airflow_home: Path) -> None:
    assert airflow_environment(airflow_home)["AIRFLOW_HOME"] == os.environ["AIRFLOW_HOME"]

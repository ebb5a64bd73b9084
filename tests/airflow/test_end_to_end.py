"""The real thing: standalone Airflow pulls, a person uploads, the worklist is read in Chromium, two members fail."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import httpx
import pydicom
import pytest
from playwright.sync_api import Browser, Page, expect
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid
from pynetdicom.ae import ApplicationEntity

from teleread.ingest.formats import write_wfdb
from teleread.settings import load_settings
from teleread.signal.ecg import simulate
from teleread.up.sample import sample_folders, write_alliance
from tests.system import System, free_ports, new_system, wait_for
from tests.ui.chromium import browser

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.peers,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore"),
]

MEMBERS = ("county-hospital", "township-clinic", "riverside-clinic")
BAD_MEMBERS = """
[[site]]
id = "{name}"
name_zh = "{name}"
name_en = "{name}"
role = "member"
[[connection]]
site = "{name}"
kind = "dicom"
valid_from = 2026-01-01
host = "127.0.0.1"
port = {port}
ae_title = "BAD"
connect_timeout_s = 2
answer_timeout_s = 3
"""


class SilentPeer:
    """Accepts connections and never answers."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                self._open.append(self._listener.accept()[0])
            except OSError:
                return

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for connection in self._open:
            connection.close()


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Iterator[System]:
    home = tmp_path_factory.mktemp("home")
    program = str(Path(sys.executable).parent / "teleread")
    running = new_system([program, "up"], home, root)
    silent, (dead,) = SilentPeer(), free_ports(1)
    settings = load_settings({"TELEREAD_HOME": str(home)})
    write_alliance(settings, sample_folders(settings), None, running.ports.pacs)
    with settings.alliance_file.open("a") as file:
        file.write(BAD_MEMBERS.format(name="dead-member", port=dead))
        file.write(BAD_MEMBERS.format(name="silent-member", port=silent.port))
    try:
        running.start()
        yield running
        assert running.stop() < 10
        assert running.processes() == []
        assert running.held_ports() == []
    finally:
        running.kill()
        silent.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


def shown(reader: httpx.Client, site: str, modality: str | None = None) -> int:
    filters = {"site": site, **({"modality": modality} if modality else {})}
    return reader.get("/worklist", params=filters).text.count('href="/cases/')


def test_airflow_brings_the_studies_of_all_three_members_into_the_worklist(system: System) -> None:
    reader = system.sign_in("reader")
    wait_for(lambda: all(shown(reader, member) for member in MEMBERS), 180, "studies of all members")
    # prepared by Airflow, and not merely queued unread by the web service's net
    for member in ("county-hospital", "township-clinic"):
        wait_for(lambda member=member: "Usable" in listed(reader, member), 60, "a judged ECG")
        assert "Not analysed" not in listed(reader, member)


def listed(reader: httpx.Client, site: str) -> str:
    return reader.get("/worklist", params={"site": site}, headers={"Accept-Language": "en"}).text


def test_a_person_uploads_and_a_reader_opens_it_in_the_browser(
    system: System, chromium: Browser, tmp_path: Path
) -> None:
    record, _truth = simulate("normal", 77)
    paths = []
    for name, data in write_wfdb(record, "walk-in").items():
        (tmp_path / name).write_bytes(data)
        paths.append(tmp_path / name)
    page = chromium.new_page(locale="en")
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(system.web)
    sign_in(page, "nurse", system.passwords["nurse"])
    page.locator("#plain").wait_for(state="hidden")  # the page's scripts are there
    with page.expect_file_chooser() as chooser:
        page.locator(".zone.urgent button").click()
    chooser.value.set_files(paths)
    receipt = page.locator(".card .receipt-no")
    expect(receipt).to_be_visible(timeout=15_000)
    number = receipt.inner_text().strip()
    page.context.clear_cookies()
    page.goto(system.web)
    sign_in(page, "reader", system.passwords["reader"])
    page.goto(f"{system.web}/worklist?site=riverside-clinic")
    row = page.locator("tr", has_text=number)
    expect(row).to_be_visible(timeout=15_000)
    row.locator("a").first.click()
    expect(page.locator("canvas").first).to_be_visible(timeout=15_000)
    assert problems == []


def sign_in(page: Page, name: str, password: str) -> None:
    page.locator("#name").fill(name)
    page.locator("#password").fill(password)
    page.keyboard.press("Enter")
    expect(page.locator("#password")).to_have_count(0)


def test_a_study_put_on_the_county_pacs_reaches_the_worklist_by_airflow(system: System) -> None:
    reader = system.sign_in("reader")
    wait_for(lambda: shown(reader, "county-hospital", "MR") > 0, 180, "the first pull")
    before = shown(reader, "county-hospital", "MR")
    path = get_testdata_file("MR_small.dcm")
    assert isinstance(path, str)
    dataset = pydicom.dcmread(path)
    dataset.PatientID = "NEW"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    entity = ApplicationEntity("TEST")
    entity.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    association = entity.associate("127.0.0.1", system.ports.pacs, ae_title="COUNTY")
    assert association.is_established
    assert association.send_c_store(dataset).Status == 0
    association.release()
    with system.airflow_client() as airflow:
        assert airflow.post("/api/v2/dags/pull_hospitals/dagRuns", json={"logical_date": None}).status_code < 300
    wait_for(lambda: shown(reader, "county-hospital", "MR") > before, 180, "the new study")


def test_a_dead_and_a_silent_member_give_one_message_each_and_hold_nobody_up(system: System) -> None:
    with system.airflow_client() as airflow:

        def scheduled() -> list[datetime]:
            answer = airflow.get("/api/v2/dags/pull_hospitals/dagRuns", params={"run_type": "scheduled", "limit": 50})
            runs = [run for run in answer.json()["dag_runs"] if run["start_date"]]
            return sorted(datetime.fromisoformat(run["start_date"]) for run in runs)

        wait_for(lambda: len(scheduled()) >= 3, 420, "three pulls by schedule", 2)
        starts = scheduled()
        gaps = [(later - earlier).total_seconds() for earlier, later in zip(starts[-3:], starts[-2:], strict=False)]
        assert all(90 < gap < 150 for gap in gaps), gaps
        runs = airflow.get("/api/v2/dags/pull_hospitals/dagRuns", params={"order_by": "-start_date"}).json()["dag_runs"]
        outcomes = {}
        for run in runs:
            path = f"/api/v2/dags/pull_hospitals/dagRuns/{run['dag_run_id']}/taskInstances"
            for task in airflow.get(path).json()["task_instances"]:
                if task["task_id"] == "pull" and task["state"] in {"success", "failed"}:
                    outcomes.setdefault(task["rendered_map_index"], set()).add(task["state"])
    assert outcomes["county-hospital"] == outcomes["township-clinic"] == {"success"}
    assert outcomes["dead-member"] == outcomes["silent-member"] == {"failed"}
    engineer = system.sign_in("engineer")
    for language in ("en", "zh"):
        text = engineer.get("/engineer", headers={"Accept-Language": language}).text
        for member in ("dead-member", "silent-member"):
            assert text.count(f"<b>{member}: ") == 1, (language, member)

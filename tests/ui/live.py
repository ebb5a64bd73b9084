"""The web application behind a real server on a free port, and what tests of it share."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import httpx
import pydicom
import uvicorn
from pydicom.data import get_testdata_file
from sqlalchemy import update

from teleread.ingest.formats import write_wfdb
from teleread.pipeline.services import Services
from teleread.signal.ecg import simulate
from teleread.storage import accounts
from teleread.storage.catalogue.schema import sessions
from teleread.web import serving
from teleread.web.app import create_app
from teleread.web.certificates import Identity
from tests.ecgs import from_another_moment

PASSWORD = "correct horse"
ACCOUNTS = {
    "nurse": ("uploader", "village"),
    "stranger": ("uploader", "other"),
    "reader": ("reader", None),
    "senior": ("senior_reader", None),
    "coordinator": ("coordinator", None),
    "engineer": ("engineer", None),
    "auditor": ("auditor", None),
    "administrator": ("administrator", None),
}
HOSTILE = "Bad\"'&<img src>^<script>alert(2)</script>"
BROKEN_DICOM = b"\0" * 128 + b"DICM" + b"\x02\x00\x00\x00UL\x04\x00\xff\xff"


class Page(httpx.Client):
    """A client that knows which services it talks to, and as whom."""

    services: Services
    who: str = ""


@dataclass(frozen=True, slots=True)
class Web:
    """A running application."""

    services: Services
    app: Any
    address: str

    def client(self, **more: Any) -> Page:
        """A client that behaves like a page of ours: it says where it comes from and keeps cookies."""
        headers = {"origin": self.address, "accept-language": "en"} | more.pop("headers", {})
        made = Page(base_url=self.address, headers=headers, timeout=60, **more)
        made.services = self.services
        return made

    @contextmanager
    def signed_in(self, name: str, **more: Any) -> Iterator[Page]:
        """A client with a session."""
        with self.client(**more) as client:
            answer = client.post("/sign-in", data={"name": name, "password": PASSWORD})
            assert answer.status_code == 303, answer.text
            if ACCOUNTS[name][0] in accounts.SECOND_FACTOR_ROLES:
                self.pass_second_factor(name)
            client.who = name
            yield client

    def pass_second_factor(self, name: str) -> None:
        """As if the account's sessions had given their code; how codes are given is tested by itself."""
        with self.services.catalogue.write() as conn:
            conn.execute(
                update(sessions).where(sessions.c.account == name).values(second_factor_at=self.services.clock())
            )


@contextmanager
def running(services: Services, **options: Any) -> Iterator[Web]:
    """Serve the application with the test accounts; ends with the block."""
    with services.catalogue.write() as conn:
        for name, (role, site) in ACCOUNTS.items():
            accounts.create_account(conn, name, PASSWORD, role, site, services.clock())
    app = create_app(services, **({"sweep_every": None} | options))
    with serving_on(app, server_header=False) as port:
        yield Web(services, app, f"http://127.0.0.1:{port}")


@contextmanager
def over_tls(app: Any, own: Identity, authority: Identity) -> Iterator[int]:
    """Serve as ``teleread serve`` does where agents and persons share a port; gives the port."""
    with serving_on(app, harden=True, **serving.tls_options(own, authority)) as port:
        yield port


@contextmanager
def serving_on(app: Any, *, harden: bool = False, **options: Any) -> Iterator[int]:
    """Serve on a free port of this machine, which is given, until the block ends."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", ws="none", **options)
    if harden:
        config.load()
        serving.harden(config)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < deadline
            thread.join(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def wfdb(condition: str = "normal", seed: int = 1) -> dict[str, bytes]:
    """A simulated recording as the two files of a WFDB record."""
    record, _truth = simulate(condition, seed)
    return write_wfdb(record, f"rec{seed}")


def named_ecg(name: str, patient_id: str = "110101", sex: str = "M", seed: int = 0) -> bytes:
    """A real 12-lead DICOM ECG with another patient's name and, for each seed, other UIDs."""
    path = get_testdata_file("waveform_ecg.dcm")
    assert isinstance(path, str)
    dataset = pydicom.dcmread(path)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName, dataset.PatientID, dataset.PatientSex = name, patient_id, sex
    dataset.PatientBirthDate = "19620304"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{dataset.SOPInstanceUID}.{seed}"
    dataset.StudyInstanceUID = f"{dataset.StudyInstanceUID}.{seed}"
    from_another_moment(dataset, seed)
    buffer = BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def upload(client: httpx.Client, files: Mapping[str, bytes], *, urgent: bool = False) -> httpx.Response:
    """Send files as the page does."""
    parts = [("file", (name, data)) for name, data in files.items()]
    return client.post("/api/upload", files=parts, data={"urgent": "1" if urgent else "0"})


def case_paths(reader: httpx.Client, query: str = "") -> list[str]:
    """Where the cases of the worklist open, in its order."""
    return re.findall(r'class="open" href="(/cases/\w+)"', reader.get(f"/worklist{query}").text)

"""Uploads over lines that break: what has come stays, nothing is doubled, and only a receipt is an acknowledgement."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import socket
import time
import zipfile
from datetime import timedelta
from urllib.parse import urlsplit

import httpx
import pytest
from sqlalchemy import func, select

from teleread.pipeline.services import Services
from teleread.pipeline.spool import KEEP, KEEP_SETTLED, Spool
from teleread.pipeline.uploads import finish_left
from teleread.storage.catalogue.schema import arrivals
from tests.conftest import Clock
from tests.ui.live import Web, named_ecg, wfdb

TUS = {"Tus-Resumable": "1.0.0"}
BYTES = {**TUS, "Content-Type": "application/offset+octet-stream"}


@pytest.fixture
def ecg() -> bytes:
    return named_ecg("Wang^XiaoDong=王^小东")


def metadata(**said: str) -> str:
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in said.items())


def announce(client: httpx.Client, data: bytes, **said: str) -> str:
    said = {"filename": "a.dcm", "sha256": hashlib.sha256(data).hexdigest()} | said
    headers = {**TUS, "Upload-Length": str(len(data)), "Upload-Metadata": metadata(**said)}
    answer = client.post("/api/tus", headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.headers["location"]


def patch(client: httpx.Client, where: str, offset: int, piece: bytes, **more: str) -> httpx.Response:
    return client.patch(where, content=piece, headers={**BYTES, "Upload-Offset": str(offset), **more})


def offset(client: httpx.Client, where: str) -> int:
    return int(client.head(where, headers=TUS).headers["upload-offset"])


def count(services: Services) -> int:
    with services.catalogue.read() as conn:
        return int(conn.scalar(select(func.count()).select_from(arrivals)) or 0)


def test_a_file_in_parts_is_one_recording_and_the_last_part_brings_its_receipt(
    nurse: httpx.Client, services: Services, ecg: bytes
) -> None:
    where = announce(nurse, ecg, urgent="1")
    middle = len(ecg) // 2
    first = patch(nurse, where, 0, ecg[:middle])
    assert (first.status_code, first.headers["upload-offset"]) == (204, str(middle))
    assert "teleread-receipts" not in first.headers
    last = patch(nurse, where, middle, ecg[middle:])
    assert last.status_code == 204
    (receipt,) = last.headers["teleread-receipts"].split(",")
    found = nurse.get(f"/api/receipts/{receipt}", params={"wait": 2}).json()["verdict"]
    assert found["state"] == "prepared"
    assert found["priority"] == "urgent"
    assert count(services) == 1
    # nothing of the patient stays where uploads lie
    assert list(Spool(services.spool_folder).folder.rglob("bytes")) == []  # type: ignore[arg-type]


def test_a_small_file_comes_with_its_announcement(nurse: httpx.Client, ecg: bytes) -> None:
    said = metadata(filename="a.dcm", sha256=hashlib.sha256(ecg).hexdigest())
    headers = {**BYTES, "Upload-Length": str(len(ecg)), "Upload-Metadata": said}
    answer = nurse.post("/api/tus", headers=headers, content=ecg)
    assert answer.status_code == 201
    assert answer.headers["upload-offset"] == str(len(ecg))
    assert answer.headers["teleread-receipts"]


def test_the_same_file_again_is_not_sent_again_and_has_the_same_receipt(
    nurse: httpx.Client, services: Services, ecg: bytes
) -> None:
    where = announce(nurse, ecg)
    receipt = patch(nurse, where, 0, ecg).headers["teleread-receipts"]
    again = announce(nurse, ecg, urgent="1")
    state = nurse.head(again, headers=TUS).headers
    assert state["upload-offset"] == str(len(ecg))
    assert state["teleread-receipts"] == receipt
    assert count(services) == 1
    # more urgent than before: it rises without its bytes
    assert nurse.get(f"/api/receipts/{receipt}", params={"wait": 2}).json()["verdict"]["priority"] == "urgent"


def test_two_tabs_with_the_same_file_share_one_upload(nurse: httpx.Client, web: Web, ecg: bytes) -> None:
    with web.signed_in("nurse") as other_tab:
        one, two = announce(nurse, ecg), announce(other_tab, ecg)
        assert one == two
        half = len(ecg) // 2
        assert patch(nurse, one, 0, ecg[:half]).status_code == 204
        refused = patch(other_tab, two, 0, ecg[:half])
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "upload_offset")
        assert offset(other_tab, two) == half
        assert patch(other_tab, two, half, ecg[half:]).headers["teleread-receipts"]


def test_files_of_one_recording_are_landed_together(nurse: httpx.Client, services: Services) -> None:
    files = wfdb("normal")
    answers = []
    for name, data in files.items():
        where = announce(nurse, data, filename=name, group="8f2c-recording", group_size=str(len(files)))
        answers.append(patch(nurse, where, 0, data))
    assert "teleread-receipts" not in answers[0].headers
    receipt = answers[-1].headers["teleread-receipts"]
    assert nurse.get(f"/api/receipts/{receipt}", params={"wait": 2}).json()["verdict"]["state"] == "prepared"
    assert count(services) == 1


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def test_a_zip_of_a_study_becomes_its_recordings_and_nothing_else(nurse: httpx.Client, services: Services) -> None:
    files = {"A/B/1": named_ecg("A"), "A/B/2": named_ecg("B"), "viewer.exe": b"MZ" * 500}
    files |= {f"holter/{name}": data for name, data in wfdb("normal").items()}
    data = zipped(files)
    receipts = patch(nurse, announce(nurse, data), 0, data).headers["teleread-receipts"].split(",")
    assert len(set(receipts)) == count(services) == 3
    for receipt in receipts:
        assert nurse.get(f"/api/receipts/{receipt}", params={"wait": 2}).json()["verdict"]["state"] == "prepared"


@pytest.mark.parametrize("n_others", [0, 1, 100])
def test_a_zip_with_one_recording_in_a_folder_is_that_recording(
    nurse: httpx.Client, services: Services, n_others: int
) -> None:
    data = zipped({"study/DICOM/A": named_ecg("A")} | {f"study/{k}.txt": b"text" for k in range(n_others)})
    receipt = patch(nurse, announce(nurse, data), 0, data).headers["teleread-receipts"]
    found = nurse.get(f"/api/receipts/{receipt}", params={"wait": 2}).json()["verdict"]
    assert (found["state"], found["failure_code"]) == ("prepared", None)
    assert count(services) == 1


def test_a_zip_that_is_set_aside_says_why(nurse: httpx.Client) -> None:
    folder = {"study/": b"", "study/a.txt": b"text"}
    locked = io.BytesIO(zipped({"study/a.dcm": named_ecg("A")}))
    flags = locked.getvalue().replace(b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00")
    assert flags != locked.getvalue()
    set_aside = {
        "bundle_no_recording": zipped(folder),
        "bundle_encrypted": flags,
        "bundle_ratio": zipped(folder | {"study/b": bytes(80 << 20)}),
        "bundle_broken": zipped(folder | {"study/a.dcm": named_ecg("A")})[:-5000] + bytes(5000),
    }
    for code, data in set_aside.items():
        receipt = patch(nurse, announce(nurse, data), 0, data).headers["teleread-receipts"]
        found = nurse.get(f"/api/receipts/{receipt}", params={"wait": 2}).json()["verdict"]
        assert (found["state"], found["failure_code"]) == ("quarantined", code)


def test_a_hostile_zip_is_kept_for_a_person_and_never_unpacked(nurse: httpx.Client, services: Services) -> None:
    hostile = {
        "bundle_ratio": zipped({"a": bytes(80 << 20), "b": bytes(10)}),
        "bundle_bad_name": zipped({"/etc/a": b"1", "../b": b"2"}),
        "bundle_too_many": zipped({str(k): b"" for k in range(30_000)}),
        "bundle_broken": b"PK\x03\x04" + bytes(1000),
    }
    for number, (code, data) in enumerate(hostile.items(), 1):
        receipt = patch(nurse, announce(nurse, data), 0, data).headers["teleread-receipts"]
        found = nurse.get(f"/api/receipts/{receipt}", params={"wait": 2}).json()["verdict"]
        assert (found["state"], found["failure_code"]) == ("quarantined", code)
        assert count(services) == number


def test_other_bytes_than_announced_are_refused_and_sent_again(nurse: httpx.Client, services: Services) -> None:
    good, bad = b"good" * 1000, b"bad!" * 1000
    where = announce(nurse, good)
    refused = patch(nurse, where, 0, bad)
    assert refused.json()["error"]["code"] == "upload_hash_mismatch"
    assert (offset(nurse, where), count(services)) == (0, 0)
    assert patch(nurse, where, 0, good).headers["teleread-receipts"]


def test_a_part_with_a_wrong_checksum_is_taken_back(nurse: httpx.Client) -> None:
    data = bytes(range(256)) * 40
    where = announce(nurse, data)
    right = base64.b64encode(hashlib.sha256(data[:4096]).digest()).decode()
    damaged = patch(nurse, where, 0, data[1:4097], **{"Upload-Checksum": f"sha256 {right}"})
    assert (damaged.status_code, offset(nurse, where)) == (460, 0)
    assert patch(nurse, where, 0, data[:4096], **{"Upload-Checksum": f"sha256 {right}"}).status_code == 204
    unknown = patch(nurse, where, 4096, data[4096:], **{"Upload-Checksum": "md5 aa=="})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (400, "upload_checksum_unknown")


class Line:
    """A request over a bare socket, which can stop in the middle."""

    def __init__(self, web: Web, client: httpx.Client, where: str, start: int, length: int) -> None:
        address = urlsplit(web.address)
        self.socket = socket.create_connection((address.hostname, address.port))
        cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
        self.socket.sendall(
            f"PATCH {where} HTTP/1.1\r\nHost: {address.netloc}\r\nOrigin: {web.address}\r\nCookie: {cookie}\r\n"
            f"Tus-Resumable: 1.0.0\r\nContent-Type: application/offset+octet-stream\r\n"
            f"Upload-Offset: {start}\r\nContent-Length: {length}\r\n\r\n".encode()
        )


def wait_for_offset(client: httpx.Client, where: str, wanted: int) -> None:
    deadline = time.monotonic() + 10
    while offset(client, where) != wanted:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_came_before_the_line_broke_stays(web: Web, nurse: httpx.Client, ecg: bytes) -> None:
    where = announce(nurse, ecg)
    line = Line(web, nurse, where, 0, len(ecg))
    line.socket.sendall(ecg[:5000])
    wait_for_offset(nurse, where, 5000)  # also while the request goes on
    line.socket.close()
    assert patch(nurse, where, 5000, ecg[5000:]).headers["teleread-receipts"]


def test_a_line_that_stands_still_gives_way_and_one_that_flows_does_not(
    web: Web, nurse: httpx.Client, ecg: bytes
) -> None:
    where = announce(nurse, ecg)
    line = Line(web, nurse, where, 0, len(ecg))
    line.socket.sendall(ecg[:5000])
    begun = time.monotonic()
    codes = []
    # the old request holds the upload while bytes may still come by it, and never for its whole minute
    while (answer := patch(nurse, where, offset(nurse, where), ecg[offset(nurse, where) :])).status_code != 204:
        codes.append(answer.json()["error"]["code"])
        assert time.monotonic() - begun < 20
        time.sleep(0.1)
    assert codes
    assert set(codes) <= {"upload_locked", "upload_offset"}
    assert answer.headers["teleread-receipts"]
    line.socket.close()


def test_what_was_whole_when_the_process_died_is_landed_by_the_next(
    services: Services, web: Web, nurse: httpx.Client, ecg: bytes
) -> None:
    where = announce(nurse, ecg)
    spool = Spool(services.spool_folder)  # type: ignore[arg-type]
    (upload,) = spool.uploads()
    with spool.append(upload, 0) as appender:
        appender.write(ecg)
    assert count(services) == 0
    assert finish_left(services, spool) == 1
    assert finish_left(services, spool) == 0
    assert nurse.head(where, headers=TUS).headers["teleread-receipts"]
    assert count(services) == 1


def test_uploads_that_nobody_goes_on_with_are_forgotten(services: Services, nurse: httpx.Client, clock: Clock) -> None:
    left, done = announce(nurse, b"1" * 100), announce(nurse, b"2" * 100)
    patch(nurse, done, 0, b"2" * 100)
    spool = Spool(services.spool_folder)  # type: ignore[arg-type]
    stamp = services.clock()
    for path in spool.folder.rglob("*"):
        os.utime(path, (stamp.timestamp(), stamp.timestamp()))
    assert spool.expire(stamp + KEEP_SETTLED + timedelta(seconds=1)) == 1
    assert offset(nurse, left) == 0
    assert spool.expire(stamp + KEEP + timedelta(seconds=1)) == 1
    assert nurse.head(left, headers=TUS).status_code == 404


def test_another_site_sees_no_upload_of_ours(web: Web, nurse: httpx.Client, ecg: bytes) -> None:
    where = announce(nurse, ecg)
    with web.signed_in("stranger") as stranger:
        assert stranger.head(where, headers=TUS).status_code == 404
        assert patch(stranger, where, 0, ecg).status_code == 404
        # the same bytes of another site are another upload: nobody learns that we have them
        assert announce(stranger, ecg) != where


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Upload-Length": "10"}, 412, "tus_version"),
        ({**TUS}, 400, "upload_invalid"),
        ({**TUS, "Upload-Length": "-1"}, 400, "upload_invalid"),
        ({**TUS, "Upload-Length": "1e3"}, 400, "upload_invalid"),
        ({**TUS, "Upload-Length": "9" * 40}, 400, "upload_invalid"),
        ({**TUS, "Upload-Length": str(9 << 30)}, 413, "upload_too_large"),
        ({**TUS, "Upload-Length": "0"}, 422, "empty_upload"),
        ({**TUS, "Upload-Defer-Length": "1"}, 400, "upload_invalid"),
        ({**TUS, "Upload-Length": "10", "Upload-Metadata": "filename ???"}, 400, "upload_invalid"),
        ({**TUS, "Upload-Length": "10", "Upload-Metadata": "filename " + "YQ==" * 3000}, 400, "upload_invalid"),
        ({**TUS, "Upload-Length": "10", "Upload-Metadata": "group " + "YQ=="}, 400, "upload_invalid"),
        ({**TUS, "Upload-Length": "10", "Upload-Metadata": "sha256 " + "YQ=="}, 400, "upload_invalid"),
    ],
)
def test_a_broken_announcement_has_a_code(nurse: httpx.Client, headers: dict[str, str], status: int, code: str) -> None:
    answer = nurse.post("/api/tus", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.headers["tus-resumable"] == "1.0.0"
    assert answer.json()["error"]["what"]


def test_more_bytes_than_announced_are_refused(nurse: httpx.Client) -> None:
    where = announce(nurse, b"1" * 100)
    answer = patch(nurse, where, 0, b"1" * 101)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "upload_too_long")
    assert offset(nurse, where) == 0
    assert patch(nurse, where, 50, b"1").status_code == 409
    assert patch(nurse, where, -1, b"1").status_code == 400


def test_an_upload_can_be_given_up(nurse: httpx.Client) -> None:
    where = announce(nurse, b"1" * 100)
    assert nurse.delete(where, headers=TUS).status_code == 204
    assert nurse.head(where, headers=TUS).status_code == 404


def test_the_server_says_what_it_can(nurse: httpx.Client) -> None:
    answer = nurse.options("/api/tus")
    assert answer.headers["tus-version"] == "1.0.0"
    assert "checksum" in answer.headers["tus-extension"]


def test_what_is_on_its_way_can_become_urgent(nurse: httpx.Client, ecg: bytes) -> None:
    where = announce(nurse, ecg)
    assert nurse.post(f"{where}/urgent").json() == {"priority": "urgent"}
    receipt = patch(nurse, where, 0, ecg).headers["teleread-receipts"]
    assert nurse.get(f"/api/receipts/{receipt}", params={"wait": 2}).json()["verdict"]["priority"] == "urgent"

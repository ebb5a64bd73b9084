"""Uploads from a client that is not ours: tus-js-client, as ``tests/tus_js/package-lock.json`` names it."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from teleread.pipeline.services import Services
from teleread.storage.catalogue.schema import arrivals
from teleread.testing.line import BadLine, Faults
from tests.conftest import ROOT
from tests.ui.live import Web, running

pytestmark = pytest.mark.peers

FOLDER = ROOT / "tests" / "tus_js"
Act = Callable[..., dict[str, Any]]


def why_not() -> str:
    if shutil.which("node") is None:
        return "node is missing"
    if not (FOLDER / "node_modules" / "tus-js-client").is_dir():
        return "tus-js-client is not installed: npm ci in tests/tus_js"
    return ""


@pytest.fixture
def web(services: Services) -> Iterator[Web]:
    if reason := why_not():
        pytest.skip(reason)
    with running(services) as started:
        yield started


@pytest.fixture
def act(web: Web) -> Act:
    with web.signed_in("nurse") as nurse:
        token = nurse.cookies["teleread_session"]

    def run(what: str, *files: Path, port: int | None = None) -> dict[str, Any]:
        url = web.address if port is None else f"http://127.0.0.1:{port}"
        command = ["node", "peer.mjs", what, url, token, *map(str, files)]
        done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return dict(json.loads(done.stdout))

    return run


def noise(folder: Path, name: str, size: int) -> Path:
    path = folder / name
    path.write_bytes(random.Random(name).randbytes(size))
    return path


def landed(services: Services) -> dict[str, str]:
    with services.catalogue.read() as conn:
        return {row.sha256: row.receipt for row in conn.execute(select(arrivals))}


def hash_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_it_uploads_in_parts(act: Act, services: Services, tmp_path: Path) -> None:
    path = noise(tmp_path, "a", 230_000)
    done = act("upload", path)
    assert [method for method, _ in done["requests"]] == ["POST", *["PATCH"] * 5]
    assert landed(services) == {hash_of(path): done["done"][0]["receipts"]}


def test_it_uploads_files_beside_each_other(act: Act, services: Services, tmp_path: Path) -> None:
    paths = [noise(tmp_path, name, 120_000) for name in "abcde"]
    done = act("parallel", *paths)["done"]
    assert landed(services) == {hash_of(path): one["receipts"] for path, one in zip(paths, done, strict=True)}


def test_it_goes_on_where_it_was_stopped(act: Act, services: Services, tmp_path: Path) -> None:
    path = noise(tmp_path, "a", 230_000)
    done = act("resume", path)
    assert done["same"]
    assert done["afterwards"][0] == ["HEAD", 200]
    assert [method for method, _ in done["afterwards"][1:]] == ["PATCH"] * 3
    assert landed(services) == {hash_of(path): done["done"]["receipts"]}


def test_it_goes_on_when_the_line_broke(act: Act, services: Services, web: Web, tmp_path: Path) -> None:
    path = noise(tmp_path, "a", 400_000)
    port = int(web.address.rsplit(":", 1)[1])
    with BadLine(port, Faults(cut_every_bytes=90_000)) as line:
        done = act("upload", path, port=line.port)
        assert line.cuts >= 4
    assert ["HEAD", 200] in done["requests"]
    assert landed(services) == {hash_of(path): done["done"][0]["receipts"]}


def test_it_gives_up(act: Act, services: Services, web: Web, tmp_path: Path) -> None:
    done = act("terminate", noise(tmp_path, "a", 230_000))
    assert done["requests"][-1] == ["DELETE", 204]
    with web.signed_in("nurse") as nurse:
        where = httpx.URL(done["url"]).path
        assert nurse.head(where, headers={"Tus-Resumable": "1.0.0"}).status_code == 404
    assert landed(services) == {}

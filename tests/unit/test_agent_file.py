"""The agent as one file: a PC that has only Python can enrol, send and ask how it goes."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from deploy.make_agent import ROOT, build
from teleread.pipeline.services import Services
from teleread.storage import agents
from teleread.storage.catalogue.schema import arrivals
from teleread.web import certificates
from tests.signing import post_report
from tests.ui.live import Web, named_ecg, running


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("build") / "teleread-agent.pyz")


@pytest.fixture
def web(services: Services, tmp_path: Path) -> Iterator[Web]:
    authority = certificates.agents_authority(tmp_path / "tls", services.clock())
    with running(services, agents_authority=authority) as started:
        yield started


def bare(file: Path, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python without any package beside its own."""
    command = [sys.executable, "-I", "-S", str(file), "--home", str(home), "--json", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=home.parent, check=False)


def said(answer: subprocess.CompletedProcess[str]) -> Any:
    return json.loads(answer.stdout)


def test_the_same_sources_give_the_same_file(file: Path, tmp_path: Path) -> None:
    assert build(tmp_path / "again.pyz").read_bytes() == file.read_bytes()


def test_it_enrols_sends_and_says_how_it_goes(file: Path, web: Web, services: Services, tmp_path: Path) -> None:
    home = tmp_path / "agent"
    with services.catalogue.write() as conn:
        code = agents.invite(conn, "village", "PC", services.clock(), actor="engineer")
    invitation = f"{code}@{web.address.removeprefix('http://')}"
    assert said(bare(file, home, "--enrol", invitation))["site"] == "village"
    recording = tmp_path / "a.bin"
    recording.write_bytes(os.urandom(100_000))
    sent = bare(file, home, "--urgent", str(recording))
    assert sent.returncode == 0, sent.stderr
    (item,) = said(sent)["items"]
    assert (item["state"], len(item["receipts"])) == ("sent", 1)
    status = said(bare(file, home, "--status"))
    assert (status["sent"], status["waiting"], status["site"]) == (1, 0, "village")
    with services.catalogue.read() as conn:
        assert [row.clinic_priority for row in conn.execute(select(arrivals))] == ["urgent"]


def test_it_watches_until_it_is_stopped_and_one_owns_its_folder(
    file: Path, web: Web, services: Services, tmp_path: Path
) -> None:
    home, folder = tmp_path / "agent", tmp_path / "watched"
    folder.mkdir()
    with services.catalogue.write() as conn:
        code = agents.invite(conn, "village", "PC", services.clock(), actor="engineer")
    bare(file, home, "--enrol", f"{code}@{web.address.removeprefix('http://')}")
    watch = [sys.executable, "-I", "-S", str(file), "--home", str(home), "--watch", str(folder), "--page", "0"]
    with subprocess.Popen(watch, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert "http://127.0.0.1:" in process.stderr.readline()
            second = bare(file, home, "--watch", str(folder))
            assert (second.returncode, said(second)["error"]["code"]) == (2, "usage")
            (folder / "a.bin").write_bytes(os.urandom(1000))
            ends = time.monotonic() + 60
            while said(bare(file, home, "--status"))["sent"] != 1:
                assert time.monotonic() < ends
        finally:
            process.kill()


def test_a_signed_report_comes_to_a_pc_that_has_only_python(
    file: Path, web: Web, services: Services, tmp_path: Path
) -> None:
    home, folder, reports = tmp_path / "agent", tmp_path / "watched", tmp_path / "reports"
    folder.mkdir()
    with services.catalogue.write() as conn:
        code = agents.invite(conn, "village", "PC", services.clock(), actor="engineer")
    bare(file, home, "--enrol", f"{code}@{web.address.removeprefix('http://')}")
    (folder / "a.dcm").write_bytes(named_ecg("Wang^XiaoDong=王^小东"))
    watch = [sys.executable, "-I", "-S", str(file), "--home", str(home), "--watch", str(folder), "--no-page"]
    with subprocess.Popen([*watch, "--reports", str(reports)], stderr=subprocess.DEVNULL) as process:
        try:
            ends = time.monotonic() + 120
            with web.signed_in("reader") as reader:
                while not (found := re.findall(r'href="(/cases/\w+)"', reader.get("/worklist").text)):
                    assert time.monotonic() < ends
                assert post_report(reader, found[0], {"text": "Words.", "critical": "1"}).status_code == 303
            while not (rows := said(bare(file, home, "--status"))["reports"]) or rows[0]["state"] != "here":
                assert time.monotonic() < ends
        finally:
            process.kill()
    assert (rows[0]["signature"], rows[0]["critical"], rows[0]["failure"]) == ("good", True, "")
    assert sorted(one.suffix for one in reports.iterdir()) == [".json", ".pdf"]
    assert all(one.name.startswith(rows[0]["receipt"]) for one in reports.iterdir())


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([], "usage"),
        (["--watch", "nowhere"], "usage"),
        (["--enrol", "nonsense"], "usage"),
        (["--enrol", "ABCD-EFGH-JKMN-PQRS@127.0.0.1:9"], "line_broken"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence_and_a_code(
    file: Path, tmp_path: Path, arguments: list[str], code: str
) -> None:
    answer = bare(file, tmp_path / "agent", *arguments)
    assert said(answer)["error"]["code"] == code
    assert answer.returncode in {2, 4}
    assert answer.stderr.count("\n") == 1


def test_it_needs_nothing_that_only_some_systems_have() -> None:
    """Every import at the top of a module is of the standard library on every system, or the agent's own."""
    posix = {"fcntl", "pwd", "grp", "resource", "termios", "tty", "pty", "syslog", "posix"}
    for path in sorted((ROOT / "teleread" / "agent").glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = []
            if isinstance(node, ast.Import):
                names = [one.name for one in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                top = name.split(".")[0]
                assert top not in posix, (path.name, name)
                assert top in sys.stdlib_module_names or name.startswith("teleread.agent"), (path.name, name)

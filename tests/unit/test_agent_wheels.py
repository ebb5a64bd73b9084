"""The one-file agent with what it judges with: built from wheels of the lock, used by a Python that has nothing."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import subprocess
import sys
import time
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

from deploy.agent_wheels import LEFT_OUT, CannotFetch, Target, locked, wheels
from deploy.make_agent import ROOT, build
from teleread.agent import carried
from teleread.agent.disk import write_json
from teleread.agent.judge import Judge
from teleread.agent.spool import Spool
from teleread.ingest.formats import write_wfdb
from teleread.signal.ecg import simulate
from tests.format_files import FILES

LOCK = ROOT / "requirements.lock"
PATIENCE_S = 120.0
WINDOWS = Target.parse("win_amd64:3.12")


def built(folder: Path, *targets: Target) -> Path:
    try:
        return build(folder / "teleread-agent.pyz", targets, folder / "wheels", PATIENCE_S)
    except CannotFetch as error:
        pytest.skip(f"no wheels here: {error}")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("here"), Target.here())


@pytest.fixture(scope="module")
def for_windows(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("windows")
    return built(folder, WINDOWS), folder / "wheels" / WINDOWS.key


def bundle(file: Path) -> zipfile.ZipFile:
    with zipfile.ZipFile(file) as archive:
        return zipfile.ZipFile(io.BytesIO(archive.read(carried.BUNDLE)))


def test_a_pc_with_only_python_judges_without_a_line(file: Path, tmp_path: Path) -> None:
    """Enrolled at an address where nobody answers, in an environment without a single package."""
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    python = str(tmp_path / "bare" / "bin" / "python")
    listed = subprocess.run([python, "-c", "import numpy"], capture_output=True, check=False)
    assert listed.returncode != 0
    home, folder = tmp_path / "agent", tmp_path / "watched"
    folder.mkdir()
    (home / "items").mkdir(parents=True)
    row = {"url": "http://127.0.0.1:9", "pinned": False, "agent": "a", "site": "s", "telephone": "1", "token": ""}
    write_json(home / "agent.json", {**row, "expires_at": "2030-01-01T00:00:00+00:00"})
    expected = {"normal": "green", "lead_off": "red"}
    for condition in expected:
        for name, data in write_wfdb(simulate(condition, 3)[0], condition).items():
            (folder / name).write_bytes(data)
    watch = [python, str(file), "--home", str(home), "--watch", str(folder), "--no-page"]
    with subprocess.Popen(watch, stderr=subprocess.DEVNULL, env={"PATH": os.defpath}) as agent:
        try:
            ends = time.monotonic() + 120
            while time.monotonic() < ends:
                items = Spool(home, owner=False).items()
                lights = {one.files[0].name.split(".")[0]: one.verdict.get("light") for one in items}
                if lights == expected:
                    break
                assert agent.poll() is None
                time.sleep(0.1)
            assert lights == expected
            assert all(one.state == "queued" for one in items)
        finally:
            agent.kill()


def test_the_same_wheels_give_the_same_file(file: Path, tmp_path: Path) -> None:
    again = build(tmp_path / "again.pyz", [Target.here()], file.parent / "wheels")
    assert again.read_bytes() == file.read_bytes()


def test_a_file_for_windows_holds_the_locks_bytes_for_windows(for_windows: tuple[Path, Path]) -> None:
    """Opened and compared; it was not run on Windows."""
    file, kept = for_windows
    hashes = locked(LOCK, WINDOWS)
    sources: dict[str, str] = {}
    for wheel in sorted(kept.glob("*.whl")):
        assert hashlib.sha256(wheel.read_bytes()).hexdigest() in hashes[wheel.name.split("-")[0]][1]
        with zipfile.ZipFile(wheel) as archive:
            sources |= {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}
    with bundle(file) as held:
        assert [name for name in held.namelist() if name.endswith(".json")] == ["cp312-win_amd64.json"]
        said = json.loads(held.read("cp312-win_amd64.json"))["files"]
        for sha256 in set(said.values()):
            assert hashlib.sha256(held.read(f"files/{sha256}")).hexdigest() == sha256
    theirs = {name: sha256 for name, sha256 in said.items() if not name.startswith("teleread/")}
    assert {name: sources[name] for name in theirs} == theirs
    assert {"teleread/agent/judge.py", "teleread/signal/ecg/quality.py", "teleread/errors.py"} <= said.keys()
    assert any(name.startswith("numpy/_core/_multiarray_umath.cp312-win_amd64") for name in theirs)
    assert any(name.startswith("scipy.libs/") and name.endswith(".dll") for name in theirs)
    assert any("LICENSE" in name for name in theirs)
    assert not [name for name in said if name.endswith(".so") or "/tests/" in name]
    assert max(map(len, said)) < 150, "Windows knows no longer path than 260"


_IMPORTED = """
import json, sys
from pathlib import Path
from teleread.errors import InputRejected
from teleread.ingest.formats import read_ecg
from teleread.signal.ecg import assess_quality
for path in sys.argv[1:]:
    try:
        record = read_ecg({"a": Path(path).read_bytes()})
    except InputRejected:
        continue  # its form leaves open what a person must state
    assess_quality(record.signals_mv, record.fs_hz, record.leads)
print(json.dumps([getattr(one, "__file__", None) for one in list(sys.modules.values())]))
"""


def every_format(folder: Path) -> list[Path]:
    """A file of each format and kind."""
    paths = []
    for name, make in FILES.items():
        for n, data in enumerate(make()):
            paths.append(folder / f"{name}{n}")
            paths[-1].write_bytes(data)
    return paths


def test_nothing_that_a_verdict_imports_is_left_out(tmp_path: Path) -> None:
    """Every format is read and judged with all that is installed; what that imported must not be among the left out."""
    command = [sys.executable, "-c", _IMPORTED, *map(str, every_format(tmp_path))]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    numpy = importlib.util.find_spec("numpy")
    assert numpy is not None
    assert numpy.origin is not None
    site = Path(numpy.origin).parents[1]
    names = [Path(name).relative_to(site).as_posix() for name in json.loads(done.stdout) if name and _below(name, site)]
    ours = [name for name in names if name.split("/")[0] in {"numpy", "scipy", "pydicom"}]
    assert len(ours) > 300
    assert [name for name in ours if LEFT_OUT.search(name)] == []


def test_every_format_gets_the_verdict_that_it_gets_where_everything_is_installed(file: Path, tmp_path: Path) -> None:
    carrying, installed = Judge(60, home=tmp_path / "home", archive=file), Judge(60)
    try:
        for path in every_format(tmp_path):
            verdict = carrying.judge({"a": path})
            assert carrying.ready
            assert verdict == installed.judge({"a": path}), path.name
            assert verdict["light"] != "none"
    finally:
        carrying.close()
        installed.close()


def _below(name: str, folder: Path) -> bool:
    return Path(name).is_relative_to(folder)


@pytest.mark.parametrize(
    ("target", "marker", "holds"),
    [
        ("win_amd64:3.11", "python_full_version < '3.12'", True),
        ("win_amd64:3.12", "python_full_version < '3.12'", False),
        ("linux_x86_64:3.13", "python_full_version >= '3.12' and sys_platform == 'win32'", False),
        ("win_amd64:3.13", "python_full_version >= '3.12' and sys_platform == 'win32'", True),
        ("macosx_arm64:3.11", "sys_platform == 'win32' or sys_platform == 'darwin'", True),
    ],
)
def test_a_line_of_the_lock_is_read_for_the_target_and_not_for_this_machine(
    target: str, marker: str, holds: bool
) -> None:
    assert Target.parse(target).holds(marker) is holds


def test_a_marker_that_is_not_understood_is_no_guess() -> None:
    with pytest.raises(CannotFetch, match="not understood"):
        WINDOWS.holds("implementation_name == 'cpython'")


@pytest.mark.parametrize("text", ["", "win_amd64", "win_amd64:2.7", "amiga:3.11", "win_amd64:3.12:x"])
def test_a_target_that_is_none_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ValueError, match="target"):
        Target.parse(text)


def test_a_wheel_with_other_bytes_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / WINDOWS.key
    place.mkdir()
    for name, (version, _) in locked(LOCK, WINDOWS).items():
        (place / f"{name}-{version}-cp312-cp312-win_amd64.whl").write_bytes(b"other bytes")
    fetched: list[Any] = []
    monkeypatch.setattr("deploy.agent_wheels._fetch", lambda *one: fetched.append(one))
    with pytest.raises(CannotFetch, match="numpy, pydicom, scipy"):
        wheels(LOCK, WINDOWS, tmp_path)
    assert fetched


def test_what_cannot_be_fetched_is_a_sentence_and_another_way(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "deploy" / "make_agent.py"), "--out", str(tmp_path / "a.pyz"), "amiga:1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "FOR=none" in done.stderr
    done = subprocess.run([*command[:-1], "none"], capture_output=True, text=True, check=False)
    assert (done.returncode, (tmp_path / "a.pyz").exists()) == (0, True)

"""What the one-file agent carries to judge with: whole or not there, whatever ends the unpacking."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from teleread.agent import carried
from teleread.agent.follow import Assessor
from teleread.agent.judge import Judge
from teleread.agent.lead import Lead, Where
from teleread.agent.lock import try_lock
from teleread.agent.sender import Sender
from teleread.agent.spool import Spool

ROOT = Path(__file__).resolve().parents[2]
FILES = {"numbers/core.so": b"\x7fELF" * 1000, "numbers/__init__.py": b"from numbers import core\n", "empty": b""}


def carrying(path: Path, files: Mapping[str, bytes], key: str | None = None, damage: str = "") -> Path:
    """An agent's file with something to unpack; ``damage`` names one whose bytes are others than it says."""
    buffer = io.BytesIO()
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr(f"{key or carried.key()}.json", json.dumps({"files": hashes}))
        for name, data in files.items():
            bundle.writestr(f"files/{hashes[name]}", b"other" if name == damage else data)
    with zipfile.ZipFile(path, "w") as archive:
        for source in (ROOT / "teleread" / "agent").glob("*.py"):
            archive.write(source, f"teleread/agent/{source.name}")
        archive.write(ROOT / "teleread" / "__init__.py", "teleread/__init__.py")
        archive.writestr(carried.BUNDLE, buffer.getvalue(), zipfile.ZIP_STORED)
    return path


def found(path: Path) -> carried.Carried:
    one = carried.find(path)
    assert one is not None
    return one


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def one(tmp_path: Path) -> carried.Carried:
    return found(carrying(tmp_path / "agent.pyz", FILES))


def test_what_fits_is_unpacked_once_and_stays(one: carried.Carried, tmp_path: Path) -> None:
    folder = carried.unpacked(one, tmp_path)
    assert content(folder) == FILES
    written = folder.stat().st_ino
    assert carried.unpacked(one, tmp_path) == folder
    assert folder.stat().st_ino == written


def _lose_a_file(folder: Path) -> None:
    (folder / "empty").unlink()


def _flip_a_bit(folder: Path) -> None:
    (folder / "numbers" / "core.so").write_bytes(b"\x7fELG" + FILES["numbers/core.so"][4:])


def _cut_it_short(folder: Path) -> None:
    (folder / "numbers" / "core.so").write_bytes(FILES["numbers/core.so"][:100])


@pytest.mark.parametrize("harm", [_lose_a_file, _flip_a_bit, _cut_it_short])
def test_a_broken_folder_is_made_anew(one: carried.Carried, tmp_path: Path, harm: Any) -> None:
    harm(carried.unpacked(one, tmp_path))
    assert content(carried.unpacked(one, tmp_path)) == FILES


@pytest.mark.parametrize("harm", [_flip_a_bit, _cut_it_short])
def test_the_twin_that_counts_names_alone_is_caught(
    one: carried.Carried, tmp_path: Path, harm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    harm(carried.unpacked(one, tmp_path))
    monkeypatch.setattr(carried, "is_whole", lambda what, folder: all((folder / name).exists() for name in what.files))
    assert content(carried.unpacked(one, tmp_path)) != FILES


def test_a_folder_that_another_program_holds_is_left_and_the_next_name_taken(
    one: carried.Carried, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, where a library that is loaded cannot be moved."""
    broken = carried.unpacked(one, tmp_path)
    _flip_a_bit(broken)
    real = carried.renamed

    def held(folder: Path, to: Path) -> None:
        if folder == broken:
            raise PermissionError("held open")
        real(folder, to)

    monkeypatch.setattr(carried, "renamed", held)
    folder = carried.unpacked(one, tmp_path)
    assert folder != broken
    assert content(folder) == FILES


def test_folders_of_older_versions_and_what_died_half_way_go(one: carried.Carried, tmp_path: Path) -> None:
    older = carried.unpacked(found(carrying(tmp_path / "old.pyz", {"old": b"1"})), tmp_path)
    half = older.with_name(f"{one.version}.part.00")
    half.mkdir()
    (half / "numbers").write_bytes(b"half")
    folder = carried.unpacked(one, tmp_path)
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == [folder.name]


def test_killed_in_the_middle_it_is_whole_at_the_next_start(tmp_path: Path) -> None:
    noise = random.Random(1)
    one = found(carrying(tmp_path / "agent.pyz", {str(n): noise.randbytes(200_000) for n in range(100)}))
    place = tmp_path / "home" / carried.FOLDER
    caught = 0
    for _ in range(5):
        command = [sys.executable, "-c", "from teleread.agent import carried; import sys; from pathlib import Path; "]
        command[-1] += "carried.main(Path(sys.argv[1]), Path(sys.argv[2]))"
        child = subprocess.Popen([*command, str(one.archive), str(tmp_path / "home")], cwd=ROOT)
        ends = time.monotonic() + 60
        while not list(place.glob("*.part.*")) and child.poll() is None:
            assert time.monotonic() < ends
        child.send_signal(signal.SIGKILL)
        child.wait()
        caught += bool(list(place.glob("*.part.*")))
        assert all(carried.is_whole(one, path) for path in place.glob(one.version))
    folder = carried.unpacked(one, tmp_path / "home")
    assert carried.is_whole(one, folder)
    assert [path.name for path in place.iterdir() if path.is_dir()] == [folder.name]
    assert caught, "no kill fell into the unpacking"


def test_several_that_start_at_once_share_one_whole_folder(tmp_path: Path) -> None:
    noise = random.Random(1)
    one = found(carrying(tmp_path / "agent.pyz", {str(n): noise.randbytes(50_000) for n in range(50)}))
    command = [sys.executable, "-m", "teleread.agent.carried", str(one.archive), str(tmp_path / "home")]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) for _ in range(4)]
    said = {child.communicate(timeout=60)[0] for child in children}
    (answer,) = (json.loads(text) for text in said)
    assert carried.is_whole(one, Path(answer["folder"]))


def test_what_is_damaged_in_the_file_itself_is_not_used(tmp_path: Path) -> None:
    one = found(carrying(tmp_path / "agent.pyz", FILES, damage="numbers/core.so"))
    with pytest.raises(OSError, match="damaged"):
        carried.unpacked(one, tmp_path)
    assert not [path for path in (tmp_path / carried.FOLDER).iterdir() if path.is_dir()]


@pytest.mark.parametrize("name", ["../out", "/out", "C:/out", "a\\..\\..\\out"])
def test_nothing_is_unpacked_outside(tmp_path: Path, name: str) -> None:
    assert carried.find(carrying(tmp_path / "agent.pyz", {name: b"1"})) is None


def test_where_nothing_fits_it_is_said_and_a_file_without_any_is_no_fault(tmp_path: Path) -> None:
    assert carried.find(carrying(tmp_path / "other.pyz", FILES, key="cp399-amiga")) is None
    with zipfile.ZipFile(tmp_path / "plain.pyz", "w") as archive:
        archive.writestr("__main__.py", "")
    assert carried.find(tmp_path / "plain.pyz") is None
    assert carried.find(tmp_path / "nowhere.pyz") is None


def test_what_cannot_be_used_is_said_and_tried_again_later(tmp_path: Path) -> None:
    moment = [0.0]
    archive = carrying(tmp_path / "agent.pyz", FILES)
    judge = Judge(home=tmp_path / "home", archive=archive, clock=lambda: moment[0])
    (tmp_path / "home").write_bytes(b"in the way")
    judge.warm_up()
    assert (judge.failure, judge.ready) == (carried.UNUSABLE, False)
    (tmp_path / "home").unlink()
    judge.warm_up()
    assert not (tmp_path / "home").exists(), "not at once"
    moment[0] = 601.0
    judge.warm_up()
    assert (tmp_path / "home" / carried.FOLDER).is_dir()
    judge.close()


class Taken(Lead):
    """A lead hospital that takes everything at once."""

    def announce(self, length: int, said: Mapping[str, str], first: bytes = b"") -> Any:
        return Where("/x", length, ("R",))


def test_sending_waits_neither_for_the_unpacking_nor_for_the_end_of_it(tmp_path: Path) -> None:
    archive, home = carrying(tmp_path / "agent.pyz", FILES), tmp_path / "home"
    (home / carried.FOLDER).mkdir(parents=True)
    spool = Spool(home)
    item = spool.add({"a": b"1"}, urgent=False, seen_at=0.0)
    with (home / carried.FOLDER / "lock").open("a+b") as held:
        assert try_lock(held.fileno())  # the unpacking stands still for as long as this is open
        assessor = Assessor(spool, Judge(home=home, archive=archive))
        thread = threading.Thread(target=assessor.run)
        thread.start()
        assert Sender(spool, Taken("http://127.0.0.1:9")).send(item)
        assert spool.find(item.id).state == "sent"  # type: ignore[union-attr]
        assert thread.is_alive()
        assessor.stop()
        thread.join(20)
        assert not thread.is_alive()
    assert not spool.find(item.id).verdict  # type: ignore[union-attr]


def test_what_was_not_judged_because_the_agent_ended_is_judged_at_the_next_start(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    item = spool.add({"a": b"1"}, urgent=False, seen_at=0.0)
    assessor = Assessor(spool, Judge())
    assessor.stop()
    assessor.assess(item)
    assert not spool.find(item.id).verdict  # type: ignore[union-attr]


def test_the_key_names_this_system_and_python() -> None:
    assert carried.key().startswith(f"cp{sys.version_info[0]}{sys.version_info[1]}-")
    assert os.sep not in carried.key()

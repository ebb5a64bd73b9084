"""The key ring: private, whole at every moment, and one for all processes."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from teleread.errors import Conflict, Misconfigured, StorageError, TelereadError
from teleread.storage.vault import keyring, recovery
from teleread.storage.vault.keyring import KeyRing
from tests.conftest import ROOT, Clock

CHILD = """
import sys
from datetime import UTC, datetime
from teleread.storage.vault.keyring import KeyRing
ring = KeyRing.open(sys.argv[1], clock=lambda: datetime.now(UTC))
sys.stdout.write("ready\\n"); sys.stdout.flush()
for line in sys.stdin:
    what = line.strip()
    if what == "add": answer = ring.new_intake().hex()
    elif what == "root": answer = ring.derive("audit").hex()
    else: answer = ring.intake()[0].hex()
    sys.stdout.write(answer + "\\n"); sys.stdout.flush()
"""


def opened(path: Path) -> KeyRing:
    return KeyRing.open(path, clock=lambda: datetime.now(UTC))


def start(path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def ask(process: subprocess.Popen[str], what: str = "") -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    if what:
        process.stdin.write(what + "\n")
        process.stdin.flush()
    return process.stdout.readline().strip()


def end(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        process.communicate(timeout=30)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "ring.json"


def code_of(act: Callable[[], object]) -> str:
    with pytest.raises(TelereadError) as failed:
        act()
    return failed.value.code


def test_only_its_owner_reads_the_file_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        ring = opened(path)
        ring.new_intake()
    finally:
        os.umask(before)
    assert {stat.S_IMODE(one.stat().st_mode) & 0o077 for one in (path, path.parent, *path.parent.iterdir())} == {0}
    assert stat.S_IMODE(path.stat().st_mode) == 0o400


@pytest.mark.parametrize("mode", [0o440, 0o404, 0o620, 0o601])
def test_a_file_that_others_may_read_is_refused_and_what_is_open_goes_on_without_changes(
    path: Path, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    ring = opened(path)
    kept = ring.intake()
    path.chmod(mode)
    assert code_of(lambda: opened(path)) == "key_file_open_to_others"
    assert [ring.intake(), ring.intake()] == [kept, kept]
    assert [record.getMessage().rpartition(" ")[2] for record in caplog.records] == ["key_file_open_to_others"]
    assert code_of(ring.new_intake) == "key_file_open_to_others"
    path.chmod(0o600)
    assert ring.intake() == opened(path).intake() == kept
    ring.new_intake()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_is_opened_again_holds_the_same_keys(path: Path, clock: Clock) -> None:
    ring = KeyRing.open(path, clock=clock)
    clock.advance(60)
    added = ring.new_intake()
    again = opened(path)
    assert again.intake() == ring.intake()
    assert again.intake()[0] == added
    assert again.master() == ring.master()
    assert again.derive("audit") == ring.derive("audit") != ring.derive("lookup")
    first, second = again.intakes()
    assert (second.made_at - first.made_at, second.made_at) == (timedelta(seconds=60), clock.now)


def test_a_retired_key_leaves_the_file_and_is_remembered(path: Path, clock: Clock) -> None:
    ring = KeyRing.open(path, clock=clock)
    old, key = ring.intake()
    assert code_of(lambda: ring.retire_intake(old)) == "key_in_use"
    ring.new_intake()
    assert ring.intake_key(old) == key
    assert key.hex() in path.read_text()
    ring.retire_intake(old)
    ring.retire_intake(old)
    assert ring.intake_key(old) is None
    assert key.hex() not in path.read_text()
    assert next((one.id, one.retired_at) for one in ring.intakes()) == (old, clock.now)
    assert code_of(lambda: ring.retire_intake(b"12345678")) == "no_such_key"


def test_what_stood_in_the_replaced_file_is_blanked_but_a_copy_by_another_name_is_not(path: Path) -> None:
    ring = opened(path)
    copy = path.with_name("copy")
    os.link(path, copy)
    ring.new_intake()
    assert b"root" in copy.read_bytes()
    with open(path, "rb") as held:
        ring.new_intake()
        assert set(held.read()) == {0}
    assert ring.intake() == opened(path).intake()


def test_masters_are_added_and_dropped(path: Path) -> None:
    ring = opened(path)
    old, key = ring.master()
    new = ring.add_master()
    assert (ring.master()[0], ring.master_key(old)) == (new, key)
    ring.drop_master(old)
    assert ring.master_key(old) is None
    assert code_of(lambda: ring.drop_master(new)) == "key_in_use"
    assert [one.retired_at is None for one in ring.masters()] == [False, True]


def test_no_key_shows_in_a_repr(path: Path) -> None:
    ring = opened(path)
    shown = repr((ring, ring.intakes(), ring._now()))
    for secret in (ring.intake()[1], ring.master()[1], ring._now().root):
        assert repr(secret) not in shown
        assert secret.hex() not in shown


def test_processes_that_start_together_agree_on_one_ring(path: Path) -> None:
    rivals = [start(path) for _ in range(4)]
    assert [ask(rival) for rival in rivals] == ["ready"] * 4
    assert len({ask(rival, "root") for rival in rivals} | {opened(path).derive("audit").hex()}) == 1
    end(*rivals)


def test_every_process_sees_a_change_and_none_is_lost(path: Path) -> None:
    ring = opened(path)
    rivals = [start(path) for _ in range(2)]
    assert [ask(rival) for rival in rivals] == ["ready"] * 2

    def act(i: int) -> list[str]:
        if i < 2:
            return [ask(rivals[i], "add") for _ in range(10)]
        return [ring.new_intake().hex() for _ in range(10)]

    with ThreadPoolExecutor(4) as threads:
        added = {one for part in threads.map(act, range(4)) for one in part}
    assert len(added) == 40
    assert added <= {one.id.hex() for one in ring.intakes()}
    assert {ask(rival, "intake") for rival in rivals} == {ring.intake()[0].hex()}
    end(*rivals)


def test_a_reader_beside_a_writer_always_sees_a_whole_ring(path: Path) -> None:
    ring, other = opened(path), opened(path)
    done = threading.Event()

    def read() -> int:
        seen = 0
        while not done.is_set() or not seen:
            other.intake()
            opened(path)
            seen += 1
        return seen

    with ThreadPoolExecutor(2) as threads:
        readers = [threads.submit(read) for _ in range(2)]
        for _ in range(40):
            ring.retire_intake(ring.intakes()[-2].id) if len(ring.intakes()) > 1 else None
            ring.new_intake()
        done.set()
        assert all(reader.result() for reader in readers)


def test_a_child_forked_while_the_lock_is_held_blocks_nobody(path: Path) -> None:
    ring = opened(path)
    gate, door = os.pipe()
    with ring._alone():
        child = os.fork()
        if child == 0:
            os.close(door)
            os.read(gate, 1)  # lives on until its parent is done
            os._exit(0 if ring.new_intake() else 1)
    added = ring.new_intake()
    os.close(gate)
    os.close(door)
    assert os.waitpid(child, 0)[1] == 0
    assert [one.id for one in ring.intakes()][1] == added
    assert len(ring.intakes()) == 3


@pytest.mark.parametrize("step", range(8))
def test_a_process_killed_while_it_changes_the_ring_leaves_the_old_or_the_new_one(path: Path, step: int) -> None:
    ring = opened(path)
    before = {one.id for one in ring.intakes()}
    child = os.fork()
    if child == 0:
        names = ("open", "fsync", "replace", "close")
        count = iter(range(100))

        def killing(real: Callable[..., object]) -> Callable[..., object]:
            def call(*arguments: object, **named: object) -> object:
                if next(count) == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*arguments, **named)

            return call

        for name in names:
            setattr(os, name, killing(getattr(os, name)))
        ring.new_intake()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    again = opened(path)
    assert before <= {one.id for one in again.intakes()}
    assert len(again.intakes()) in (1, 2)
    again.new_intake()
    assert len(list(path.parent.iterdir())) == 2


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: b"",
        lambda text: text[:-20],
        lambda text: text.replace(b'"root": "', b'"root": "0', 1),
        lambda text: text.replace(b'"generation": 1', b'"generation": 2'),
        lambda text: b"[1]",
        lambda text: b"\xff" + text,
    ],
)
def test_a_damaged_file_is_said_to_be_one_without_its_keys(path: Path, spoil: Callable[[bytes], bytes]) -> None:
    open_ring = opened(path)
    root = open_ring._now().root
    text = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(spoil(text))
    with pytest.raises(Misconfigured) as failed:
        opened(path)
    assert failed.value.code == "key_file_damaged"
    assert root.hex() not in repr(failed.value)
    assert failed.value.__cause__ is None
    assert open_ring.derive("audit")  # what is open goes on, and nothing is changed
    assert code_of(open_ring.new_intake) == "key_file_damaged"
    path.write_bytes(text)
    assert open_ring.new_intake()


def test_another_ring_in_its_place_is_not_taken_over(path: Path) -> None:
    ring = opened(path)
    path.rename(path.with_name("aside"))
    assert ring.intake()[1]  # what is open goes on reading
    assert code_of(ring.new_intake) == "key_file_missing"
    opened(path)
    assert code_of(ring.intake) == "key_file_foreign"


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError) as failed:
        opened(tmp_path / "file" / "ring.json")
    assert failed.value.code == "key_file_io"


def test_the_ring_comes_back_from_its_sealed_copy(path: Path, tmp_path: Path, clock: Clock) -> None:
    ring = opened(path)
    assert code_of(ring.sealed_for_recovery) == "no_recovery_key"
    private, public = recovery.new_pair()
    ring.set_recovery(public)
    ring.new_intake()
    halves = recovery.split(private)
    kept = recovery.open_sealed(recovery.join(*halves), ring.sealed_for_recovery())
    again = KeyRing.restore(tmp_path / "elsewhere" / "ring.json", kept, clock=clock)
    assert (again.intakes(), again.intake(), again.master()) == (ring.intakes(), ring.intake(), ring.master())
    assert (again.derive("audit"), again.recovery_public) == (ring.derive("audit"), public)
    with pytest.raises(Conflict):
        KeyRing.restore(path, kept, clock=clock)
    assert code_of(lambda: KeyRing.restore(tmp_path / "third", kept[:-9], clock=clock)) == "key_file_damaged"
    assert not (tmp_path / "third").exists()


def test_a_ring_of_a_newer_version_is_refused(path: Path) -> None:
    opened(path)
    path.chmod(0o600)
    path.write_bytes(path.read_bytes().replace(b'_ring": 1', b'_ring": 2'))
    assert code_of(lambda: opened(path)) == "key_file_newer"


def test_keys_are_as_long_as_the_header_of_an_object_has_room_for(path: Path) -> None:
    key_id, key = opened(path).intake()
    assert (len(key_id), len(key)) == (keyring.ID_BYTES, keyring.KEY_BYTES) == (8, 32)

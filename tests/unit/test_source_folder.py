"""Watching a folder: a file is taken when it is still and whole, and no file is ever passed over in silence."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pydicom.data
import pytest

from teleread.alliance import Connection
from teleread.errors import PeerError, StorageError
from teleread.ingest.formats import write_wfdb
from teleread.ingest.sources import folder_scan
from teleread.ingest.sources.base import PullResult, PullStopped, SourceItem
from teleread.ingest.sources.folder import FolderSource, Group, _Pull
from teleread.ingest.sources.folder_scan import Changed, Stamp, read_unchanged, scan
from teleread.signal.ecg import simulate
from tests.ledger import MemoryLedger

DICOM = (Path(pydicom.data.__file__).parent / "test_files" / "CT_small.dcm").read_bytes()
OTHER_DICOM = (Path(pydicom.data.__file__).parent / "test_files" / "MR_small.dcm").read_bytes()
WFDB = write_wfdb(simulate("normal", 1)[0], "ecg_1")
KEY = bytes(range(32))


class World:
    """A folder, its clocks, and what was landed; time passes only while the source waits or a test says so."""

    def __init__(self, root: Path, **limits: Any) -> None:
        self.root = root
        root.mkdir(exist_ok=True)
        settings = {"settle_s": 2.0, "whole_wait_s": 30.0} | limits
        self.connection = Connection("township", "folder", date(2026, 1, 1), path=root, **settings)
        self.seconds = 0.0
        self.meanwhile: list[Callable[[], object]] = []
        self.waited: list[float] = []
        self.landed: list[dict[str, bytes]] = []
        self.failing: set[bytes] = set()
        self.ledger = MemoryLedger(self.now)
        self.source = FolderSource(self.connection, KEY, now=self.now, monotonic=lambda: self.seconds, wait=self.wait)

    def now(self) -> datetime:
        return datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def wait(self, seconds: float) -> None:
        self.waited.append(seconds)
        while self.meanwhile:
            self.meanwhile.pop(0)()
        self.seconds += seconds

    def land(self, item: SourceItem) -> str:
        if self.failing & set(item.files.values()):
            raise StorageError("disk_full", "No space is left.")
        assert re.fullmatch(r"[0-9a-f]{64}", item.key)
        assert len(item.fingerprint) <= 160
        self.landed.append(dict(item.files))
        return f"arrival-{len(self.landed)}"

    def pull(self, budget_s: float = 60.0) -> PullResult:
        return self.source.pull(self.ledger, self.land, self.seconds + budget_s)

    def write(self, name: str, data: bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def later(self, seconds: float) -> PullResult:
        self.seconds += seconds
        return self.pull()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "cart")


# Stillness


def test_a_still_file_lands_in_one_pull_and_only_once(world: World) -> None:
    world.write("a.dcm", DICOM)
    assert world.pull() == PullResult(listed=1, landed=1)
    assert world.waited == [2.0]
    assert world.pull() == PullResult(listed=1, known=1)
    assert world.landed == [{"a.dcm": DICOM}]
    assert world.waited == [2.0]  # nothing new, nothing to wait for


def test_a_file_seen_by_an_earlier_pull_is_not_waited_for(world: World) -> None:
    world.write("a.dcm", DICOM)
    assert world.pull(budget_s=1.0) == PullResult(listed=1, waiting=1, complete=False)
    assert world.later(5.0) == PullResult(listed=1, landed=1)
    assert world.waited == []


class _HastyPull(_Pull):
    """The broken twin: what it sees is still for it."""

    def _deal(self, group: Group, *, still: bool) -> bool:
        return super()._deal(group, still=True)


@pytest.mark.parametrize("hasty", [False, True])
def test_half_a_file_is_never_taken(world: World, monkeypatch: pytest.MonkeyPatch, hasty: bool) -> None:
    """Samples without a header say nothing of their length, so only stillness can tell that more will come."""
    if hasty:
        monkeypatch.setattr("teleread.ingest.sources.folder._Pull", _HastyPull)
    growing = world.write("a.bin", b"first half, ")

    def grow() -> None:
        with open(growing, "ab") as file:
            file.write(b"second half")

    world.meanwhile.append(grow)
    first = world.pull()
    caught = {"a.bin": b"first half, "} in world.landed
    assert caught is hasty
    if not hasty:
        assert first == PullResult(listed=1, waiting=1, complete=False)
        # it stands still now; nothing in it says whether it is whole, so it is taken
        assert world.later(5.0).landed + world.later(40.0).landed == 1
        assert world.landed == [{"a.bin": b"first half, second half"}]


@pytest.mark.parametrize("blind", [False, True])
def test_a_file_rewritten_with_its_old_size_and_time_is_noticed(
    world: World, monkeypatch: pytest.MonkeyPatch, blind: bool
) -> None:
    if blind:  # the broken twin: size and modification time alone

        def of(found: os.stat_result) -> Stamp:
            return Stamp(0, 0, found.st_size, found.st_mtime_ns, 0)

        monkeypatch.setattr(Stamp, "of", of)
    path = world.write("a.dcm", DICOM)
    world.pull()
    times = path.stat()
    path.write_bytes(DICOM[:-2] + b"\1\1")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    world.pull()
    assert len(world.landed) == (1 if blind else 2)


def test_a_file_written_over_is_taken_again(world: World) -> None:
    world.write("a.dcm", DICOM)
    world.pull()
    world.write("a.dcm", OTHER_DICOM)
    assert world.later(10.0).landed == 1
    assert world.landed[-1] == {"a.dcm": OTHER_DICOM}


def test_a_file_that_changes_while_it_is_read_is_left_for_the_next_look(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = world.write("a.dcm", DICOM)
    real = folder_scan.Stamp.of
    looks = 0

    def of(found: os.stat_result) -> Stamp:
        nonlocal looks
        looks += 1
        if looks == 4:  # scan, scan, before reading, and now after reading
            path.write_bytes(OTHER_DICOM)
            found = os.stat(path)
        return real(found)

    monkeypatch.setattr(Stamp, "of", of)
    assert world.pull() == PullResult(listed=1, waiting=1, complete=False)
    monkeypatch.undo()
    assert world.later(1.0).landed == 1
    assert world.landed == [{"a.dcm": OTHER_DICOM}]


# Wholeness


def test_a_dicom_file_cut_short_waits_until_it_is_completed(world: World) -> None:
    world.write("a.dcm", DICOM[:5000])
    assert world.pull() == PullResult(listed=1, waiting=1, complete=False)
    assert world.later(10.0).landed == 0
    world.write("a.dcm", DICOM)
    assert world.later(1.0).landed == 1
    assert world.landed == [{"a.dcm": DICOM}]


def test_a_file_that_stays_cut_short_is_taken_as_it_is(world: World) -> None:
    world.write("a.dcm", DICOM[:5000])
    world.pull()
    assert world.later(20.0).landed == 0
    assert world.later(15.0) == PullResult(listed=1, landed=1)
    assert world.landed == [{"a.dcm": DICOM[:5000]}]
    assert world.later(60.0).landed == 0


def test_an_empty_file_is_given_time_and_then_shown(world: World) -> None:
    world.write("a.dcm", b"")
    assert world.pull().landed == 0
    assert world.later(31.0).landed == 1


# Recordings of two files


@pytest.mark.parametrize("order", [["ecg_1.hea", "ecg_1.dat"], ["ecg_1.dat", "ecg_1.hea"]])
def test_a_wfdb_pair_lands_together_in_whatever_order_it_comes(world: World, order: list[str]) -> None:
    world.write(order[0], WFDB[order[0]])
    first = world.pull()
    assert (first.landed, first.waiting) == (0, 1)
    world.write(order[1], WFDB[order[1]])
    assert world.later(5.0) == PullResult(listed=1, landed=1)
    assert world.landed == [dict(WFDB)]
    assert world.later(60.0) == PullResult(listed=1, known=1)


def test_wfdb_samples_that_are_still_short_wait_for_the_rest(world: World) -> None:
    world.write("ecg_1.hea", WFDB["ecg_1.hea"])
    world.write("ecg_1.dat", WFDB["ecg_1.dat"][:1000])
    assert world.pull().landed == 0
    world.write("ecg_1.dat", WFDB["ecg_1.dat"])
    assert world.later(5.0).landed == 1
    assert world.landed == [dict(WFDB)]


def test_a_header_whose_samples_never_come_is_shown_alone_and_the_pair_still_lands_later(world: World) -> None:
    world.write("ecg_1.hea", WFDB["ecg_1.hea"])
    world.pull()
    assert world.later(31.0).landed == 1
    assert world.landed == [{"ecg_1.hea": WFDB["ecg_1.hea"]}]
    world.write("ecg_1.dat", WFDB["ecg_1.dat"])
    assert world.later(5.0).landed == 1
    assert world.landed[-1] == dict(WFDB)


def test_samples_whose_header_does_not_come_are_taken_alone_and_so_in_view(world: World) -> None:
    world.write("ecg_1.dat", WFDB["ecg_1.dat"])
    assert world.pull() == PullResult(listed=1, waiting=1, complete=False)
    assert world.later(20.0).landed == 0  # the header may be on its way
    assert world.later(20.0).landed == 1
    assert world.landed == [{"ecg_1.dat": WFDB["ecg_1.dat"]}]
    world.write("ecg_1.hea", WFDB["ecg_1.hea"])
    assert world.pull().landed == 1  # late, but whole
    assert world.landed[-1] == WFDB


def test_in_somebody_elses_folder_samples_without_a_header_wait_only_for_a_while(tmp_path: Path) -> None:
    world = World(tmp_path / "own", take="recognised")
    world.write("game.dat", b"\x01\x02\x03\x04" * 100)
    assert world.pull() == PullResult(listed=1, waiting=1, complete=False)
    assert world.later(31.0) == PullResult(unrecognised=1)


def test_a_dicom_file_called_dat_needs_no_header(world: World) -> None:
    world.write("image.dat", DICOM)
    assert world.pull().landed == 1


def test_names_that_differ_in_case_still_belong_together(world: World) -> None:
    world.write("ECG_1.HEA", WFDB["ecg_1.hea"])
    world.write("ECG_1.DAT", WFDB["ecg_1.dat"])
    assert world.pull() == PullResult(listed=1, landed=1)
    assert world.landed[0]["ecg_1.dat"] == WFDB["ecg_1.dat"]


def test_a_header_that_names_a_file_elsewhere_gets_nothing_from_there(world: World) -> None:
    world.write("secret.dat", WFDB["ecg_1.dat"])
    header = WFDB["ecg_1.hea"].replace(b"ecg_1.dat", b"../secret.dat")
    world.write("in/ecg_1.hea", header)
    world.pull()
    world.later(60.0)
    assert {"ecg_1.hea": header} in world.landed
    assert {"secret.dat": WFDB["ecg_1.dat"]} in world.landed  # by itself: nobody knows whose it is
    assert len(world.landed) == 2


# What is left alone


@pytest.mark.parametrize("name", ["a.dcm.part", "a.tmp", "A.CRDOWNLOAD", "a.dcm~", ".a.dcm", ".hidden/a.dcm"])
def test_unfinished_names_are_skipped_until_they_are_renamed(world: World, name: str) -> None:
    path = world.write(name, DICOM)
    assert world.pull() == PullResult()
    path.rename(world.root / "a.dcm")
    assert world.later(5.0).landed == 1


def test_links_and_pipes_are_left_and_counted(world: World, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.dcm").write_bytes(DICOM)
    (world.root / "link.dcm").symlink_to(outside / "secret.dcm")
    (world.root / "folder").symlink_to(outside)
    os.mkfifo(world.root / "pipe.dcm")
    assert world.pull() == PullResult(unrecognised=3)


def test_a_folder_swapped_for_a_link_leads_nowhere(world: World, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.dcm").write_bytes(OTHER_DICOM)
    world.write("in/a.dcm", DICOM)
    stamp = scan(world.root).files["in/a.dcm"]
    (world.root / "in").rename(tmp_path / "moved")
    (world.root / "in").symlink_to(outside)
    with pytest.raises(Changed):
        read_unchanged(world.root, "in/a.dcm", stamp)


def test_in_somebody_elses_folder_only_studies_are_taken_and_the_rest_is_counted(tmp_path: Path) -> None:
    world = World(tmp_path / "own", take="recognised")
    world.write("photo.jpg", b"\xff\xd8\xff\xe0 not ours")
    world.write("thesis.txt", b"once upon a time")
    world.write("deep/ct", DICOM)
    world.write("DICOMDIR", DICOM.replace(b"1.2.840.10008.5.1.4.1.1.2\0", b"1.2.840.10008.1.3.10\0\0\0\0\0\0"))
    for name, data in WFDB.items():
        world.write(name, data)
    result = world.pull()
    assert (result.listed, result.landed, result.unrecognised) == (2, 2, 3)
    assert {"ct": DICOM} in world.landed


def test_in_a_cart_folder_everything_is_taken(world: World) -> None:
    world.write("note.txt", b"lead V3 hurts")
    world.pull()
    world.later(31.0)
    assert world.landed == [{"note.txt": b"lead V3 hurts"}]


def test_a_pair_with_a_name_that_cannot_be_stored_still_lands(world: World) -> None:
    world.write("a:b?.hea", WFDB["ecg_1.hea"])
    world.write("ecg_1.dat", WFDB["ecg_1.dat"])
    assert world.pull() == PullResult(listed=1, landed=1)
    assert world.landed == [{"recording.hea": WFDB["ecg_1.hea"], "ecg_1.dat": WFDB["ecg_1.dat"]}]


@pytest.mark.parametrize(
    "name", ["张三 1960.dcm", "new\nline.dcm", "a" * 250, "%2e%2e%2fetc", "=cmd()", b"\xd5\xc5\xc8\xfd.dcm"]
)
def test_no_name_can_hurt_or_leak(world: World, name: str | bytes) -> None:
    with open(os.path.join(os.fsencode(world.root), os.fsencode(name)), "wb") as file:
        file.write(DICOM)
    assert world.pull().landed == 1  # `land` checks the key
    ((known_as, data),) = world.landed[0].items()
    assert data == DICOM
    known_as.encode()  # text, whatever the bytes were


def test_another_key_gives_other_names(world: World) -> None:
    world.write("a.dcm", DICOM)
    world.pull()
    other = MemoryLedger(world.now)
    FolderSource(world.connection, b"other", now=world.now, monotonic=lambda: world.seconds, wait=world.wait).pull(
        other, world.land, world.seconds + 60
    )
    assert not set(other.rows) & set(world.ledger.rows)


# Limits and failures


def test_one_file_that_cannot_be_landed_stops_no_other(world: World) -> None:
    world.write("a.dcm", DICOM)
    world.write("b.dcm", OTHER_DICOM)
    world.failing = {DICOM}
    result = world.pull()
    assert (result.landed, result.waiting) == (1, 1)
    assert [code for _, code in result.refused] == ["disk_full"]
    world.failing = set()
    assert world.later(5.0) == PullResult(listed=2, landed=1, known=1)


def test_the_oldest_are_taken_first_and_max_items_holds(tmp_path: Path) -> None:
    world = World(tmp_path / "cart", max_items=2)
    for n in range(5):
        path = world.write(f"{n}.dcm", bytes([n]) + DICOM[1:])
        os.utime(path, ns=(10**18 - n * 10**9,) * 2)
    world.pull()
    assert [set(files) for files in world.landed] == [{"4.dcm"}, {"3.dcm"}]
    world.later(5.0)
    assert world.later(5.0) == PullResult(listed=5, landed=1, known=4)


def test_a_file_beyond_all_limits_is_reported(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_unchanged, "__defaults__", (1000,))
    world.write("a.dcm", DICOM)
    assert [code for _, code in world.pull().refused] == ["file_too_large"]


def test_a_missing_folder_is_an_error_and_not_an_empty_one(world: World) -> None:
    world.root.rmdir()
    with pytest.raises(PullStopped) as stopped:
        world.pull()
    assert stopped.value.code == "folder_missing"


def test_a_denied_folder_is_an_error(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: object) -> Any:
        raise PermissionError(errno.EACCES, "no")

    monkeypatch.setattr(folder_scan.os, "scandir", denied)
    with pytest.raises(PullStopped) as stopped:
        world.pull()
    assert stopped.value.code == "folder_denied"


def test_a_denied_folder_inside_is_reported_and_the_rest_is_taken(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write("a.dcm", DICOM)
    world.write("closed/b.dcm", DICOM)
    real = os.scandir

    def scandir(path: Path) -> Any:
        if Path(path).name == "closed":
            raise PermissionError(errno.EACCES, "no")
        return real(path)

    monkeypatch.setattr(folder_scan.os, "scandir", scandir)
    result = world.pull()
    assert result.landed == 1
    assert [code for _, code in result.refused] == ["folder_denied"]


def test_a_folder_that_is_too_deep_or_too_full_is_said_to_be(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.write("a.dcm", DICOM)
    world.write("/".join("abcdefghi") + "/b.dcm", DICOM)
    with pytest.raises(PullStopped) as stopped:
        world.pull()
    assert stopped.value.code == "folder_too_large"
    assert stopped.value.result.landed == 1


def test_too_many_entries_end_the_look() -> None:
    assert scan(Path(__file__).parent, max_entries=3).too_much


def test_an_unreadable_file_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"x")
    stamp = scan(tmp_path).files["a"]

    def denied(*_: object) -> int:
        raise PermissionError(errno.EACCES, "no")

    monkeypatch.setattr(folder_scan.os, "open", denied)
    with pytest.raises(PeerError) as caught:
        read_unchanged(tmp_path, "a", stamp)
    assert caught.value.code == "file_denied"

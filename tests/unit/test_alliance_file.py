"""A roster that changes needs no restart, and a file that is wrong changes nothing."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path

import pytest

from teleread.alliance import Alliance
from teleread.alliance_file import CHECK_EVERY_S, AllianceFile
from teleread.pipeline.room_watch import RoomWatch
from teleread.pipeline.services import Services
from teleread.reading.alarms import open_alarms
from teleread.reading.rules import rules_at
from teleread.services import read_alliance
from teleread.settings import load_settings
from tests.unit.test_alliance import HEAD, SITES
from tests.unit.test_reading_room_file import pool, shift

GOOD = HEAD + SITES + pool()


class Watched:
    """A file and the time since it was looked at."""

    def __init__(self, path: Path) -> None:
        self.path, self.seconds, self.reads = path, 0.0, 0
        path.write_text(GOOD, encoding="utf-8")
        self.file = AllianceFile(path, self._read(), self._read, lambda: self.seconds)

    def _read(self) -> Alliance:
        self.reads += 1
        return read_alliance(replace(load_settings(), alliance_file=self.path))

    def write(self, text: str) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(text, encoding="utf-8")
        os.replace(new, self.path)

    def look(self, seconds: float = CHECK_EVERY_S) -> AllianceFile:
        """What holds some seconds later."""
        self.seconds += seconds
        self.file()
        return self.file

    def later(self) -> AllianceFile:
        """What holds after two looks."""
        self.look()
        return self.look()


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path / "alliance.toml")


def test_a_changed_roster_holds_after_seconds_and_the_file_is_looked_at_no_oftener(watched: Watched) -> None:
    watched.later()
    watched.write(GOOD + shift(""))
    looks = [len(watched.look(CHECK_EVERY_S / 2)().room.shifts) for _ in range(4)]
    assert looks == [0, 0, 0, 1]
    reads = watched.reads
    assert watched.later().problem is None
    assert watched.reads == reads


def test_half_a_file_in_which_nobody_is_on_duty_is_never_believed(watched: Watched) -> None:
    whole = GOOD + shift("", "first") + shift("", "second")
    watched.write(whole)
    watched.later()
    for end in range(whole.index("[[shift]]"), len(whole), 40):
        watched.path.write_text(whole[:end], encoding="utf-8")
        file = watched.look()
        assert len(file().room.shifts) == 2
        assert file.problem is None
    watched.path.write_text(whole, encoding="utf-8")
    assert len(watched.later()().room.shifts) == 2


@pytest.mark.parametrize("text", ["[alliance", GOOD + shift("days = [9]")])
def test_a_file_that_is_wrong_keeps_the_rules_before_until_it_is_mended(
    watched: Watched, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    watched.write(GOOD + shift(""))
    before = watched.later()()
    watched.write(text)
    with caplog.at_level(logging.ERROR):
        file = watched.later()
        watched.later()
    assert file() is before
    assert file.problem is not None
    assert file.problem.code == "alliance_invalid"
    assert len(caplog.records) == 1
    assert "alliance_invalid" in caplog.text
    assert "days" not in caplog.text
    watched.write(GOOD)
    assert watched.later().problem is None
    assert watched.file().room.shifts == ()


def test_a_file_that_is_gone_keeps_the_rules_before(watched: Watched) -> None:
    watched.write(GOOD + shift(""))
    before = watched.later()()
    watched.path.unlink()
    file = watched.later()
    assert file() is before
    assert file.problem is not None
    assert file.problem.code == "alliance_missing"


def test_services_give_the_rules_as_they_stand_now_and_an_alarm_tells_of_a_wrong_file(
    watched: Watched, services: Services
) -> None:
    live = replace(services, alliance_file=watched.file)
    rounds = RoomWatch(live)
    rounds()

    def kinds() -> list[tuple[str, str]]:
        with services.catalogue.read() as conn:
            return [(alarm.kind, alarm.subject) for alarm in open_alarms(conn, kinds=["alliance_invalid"])]

    assert kinds() == []
    watched.write("[alliance")
    for _ in range(3):
        watched.seconds += CHECK_EVERY_S
        rounds()
    assert kinds() == [("alliance_invalid", "alliance")]
    assert rules_at(live).pools[0].id == "ecg"
    watched.write(GOOD + shift(""))
    for _ in range(2):
        watched.seconds += CHECK_EVERY_S
        rounds()
    assert kinds() == []
    assert len(rules_at(live).shifts) == 1
    assert rules_at(services).pools == ()

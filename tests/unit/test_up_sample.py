"""The sample alliance's file is the user's as much as ours, and the machine is checked before anything starts."""

from __future__ import annotations

import socket
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from teleread.errors import Misconfigured
from teleread.reading.coverage import gaps
from teleread.reading.eligibility import contacts, reach, who_is_on_duty
from teleread.services import read_alliance
from teleread.settings import Settings, load_settings
from teleread.up.machine import check_disk, check_ports, hold_home, rotate_logs
from teleread.up.sample import OWN, PACS_PORT, sample_folders, write_alliance

TODAY = date(2026, 11, 1)
MINE = '\n[[site]]\nid = "hill-clinic"\nname_zh = "山"\nname_en = "Hill"\nrole = "member"\n'


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"TELEREAD_HOME": str(tmp_path / "home")})


def write(settings: Settings, studies: Path | None = None, port: int | None = None) -> int | None:
    return write_alliance(settings, sample_folders(settings), studies, port)


def test_the_file_that_is_written_is_valid_and_has_three_members(settings: Settings) -> None:
    assert write(settings) == PACS_PORT
    alliance = read_alliance(settings)
    assert [site.role for site in alliance.sites.values()].count("member") == 3
    assert alliance.pulled_sites(TODAY) == ("county-hospital", "township-clinic")


def test_the_sample_has_a_reader_for_everything_at_every_hour_and_contacts_for_every_member(settings: Settings) -> None:
    write(settings)
    alliance = read_alliance(settings)
    at = datetime(2026, 11, 1, tzinfo=UTC)
    assert gaps(alliance.room, at, ("reader", "senior"), timedelta(days=9)) == ()
    for hour in range(24):
        now = at + timedelta(hours=hour)
        assert {"ecg", "imaging"} <= set(reach(alliance.room, "reader", "reader", now).pools)
        assert "partner" in reach(alliance.room, "senior", "senior_reader", now).pools
        assert who_is_on_duty(alliance.room, "ecg", now, role="coordinator") == ("coordinator",)
    members = [site.id for site in alliance.sites.values() if site.role == "member"]
    for site in members:
        assert [one.role for one in contacts(alliance.room, site, at)][-3:] == ["clinic", "coordinator", "duty_officer"]


def test_own_studies_move_and_leave_everything_else_alone(settings: Settings, tmp_path: Path) -> None:
    write(settings, tmp_path)
    with settings.alliance_file.open("a") as file:
        file.write(MINE)
    write(settings, tmp_path / "other")
    alliance = read_alliance(settings)
    assert "hill-clinic" in alliance.sites
    own = alliance.connection(OWN, TODAY)
    assert own is not None
    assert own.path == tmp_path / "other"
    assert settings.alliance_file.read_text().count(OWN) == 2  # the site and its connection, once each
    write(settings)
    assert read_alliance(settings).connection(OWN, TODAY) is not None


def test_the_pacs_listens_where_the_file_says_and_another_port_is_written_there(settings: Settings) -> None:
    write(settings)
    assert write(settings, port=9422) == 9422
    assert write(settings) == 9422
    county = read_alliance(settings).connection("county-hospital", TODAY)
    assert county is not None
    assert county.port == 9422


def test_an_alliance_of_your_own_is_left_alone(settings: Settings) -> None:
    settings.alliance_file.parent.mkdir(parents=True)
    settings.alliance_file.write_text('[alliance]\nname_zh = "盟"\nname_en = "A"\ntelephone = "1"\n' + MINE)
    before = settings.alliance_file.read_bytes()
    assert write(settings, port=9422) is None
    assert settings.alliance_file.read_bytes() == before


@pytest.mark.parametrize("content", [b"[alliance", b"\xff\xfe", b'[alliance]\nname_zh = "x"\n'])
def test_a_broken_file_is_one_clear_error_and_stays_as_it_is(
    settings: Settings, tmp_path: Path, content: bytes
) -> None:
    settings.alliance_file.parent.mkdir(parents=True)
    settings.alliance_file.write_bytes(content)
    with pytest.raises(Misconfigured):
        write(settings, tmp_path, 9422)
    assert settings.alliance_file.read_bytes() == content


def test_a_port_in_use_is_named_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(Misconfigured, match="TELEREAD_WEB_PORT") as caught:
            check_ports("127.0.0.1", {"TELEREAD_WEB_PORT": port})
    assert str(port) in caught.value.safe_message
    check_ports("127.0.0.1", {"TELEREAD_WEB_PORT": port})


def test_one_home_is_run_once_at_a_time(tmp_path: Path) -> None:
    check_disk(tmp_path)
    with hold_home(tmp_path), pytest.raises(Misconfigured, match="already runs"):
        hold_home(tmp_path)
    hold_home(tmp_path).close()


def test_the_home_is_nobody_elses_business(tmp_path: Path) -> None:
    check_disk(tmp_path / "home")
    assert (tmp_path / "home").stat().st_mode & 0o777 == 0o700


def test_a_log_that_has_grown_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / "web.log").write_bytes(b"x" * 11)
    (tmp_path / "small.log").write_bytes(b"x")
    rotate_logs(tmp_path, limit_bytes=10)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.log", "web.log.1"]

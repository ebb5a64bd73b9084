"""A backup touches nothing in its folder that is not its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from teleread.cli import main
from teleread.errors import Misconfigured
from teleread.storage.backup.folder import clean_up, opened_folder


@pytest.mark.parametrize("stranger", ["photos/a.jpg", ".git/HEAD", "report.pdf", "20260101t000000z-abc.txt"])
def test_a_folder_that_holds_other_things_is_refused_and_left_as_it_is(tmp_path: Path, stranger: str) -> None:
    path = tmp_path / "usb" / stranger
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(Misconfigured) as refused, opened_folder(tmp_path / "usb", "system"):
        pass
    assert refused.value.code == "backup_folder_not_empty"
    assert path.read_text() == "mine"


def test_what_was_put_beside_the_backups_afterwards_stays(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    with opened_folder(folder, "system"):
        for name in ("photos", "lost+found", ".trash", "20260101t000000z-abc", ".20260102t000000z-abc"):
            (folder / name).mkdir()
            (folder / name / "file").write_text("x")
        clean_up(folder, bytes(32))
    left = {path.name for path in folder.iterdir() if path.is_dir()}
    # the twin removed every folder without a manifest
    assert left >= {"photos", "lost+found", ".trash"}
    assert not left & {"20260101t000000z-abc", ".20260102t000000z-abc"}


@pytest.mark.parametrize("place", ["", "objects/backup", "vault", "keys", "s3://host/bucket", ".."])
def test_the_system_s_own_places_and_urls_are_no_backup_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    home = tmp_path / "deep" / "home"
    home.mkdir(parents=True)
    (home / "precious").write_text("x")
    monkeypatch.setenv("TELEREAD_HOME", str(home))
    monkeypatch.chdir(tmp_path)
    assert main(["backup", place if "://" in place else str(home / place)]) == 2
    assert "backup_folder_unusable" in capsys.readouterr().err
    assert (home / "precious").exists()
    assert not (tmp_path / "s3:").exists()

"""``teleread account``: the first administrator is made on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from teleread.cli import main
from teleread.settings import load_settings
from teleread.up.sample import sample_folders, write_alliance


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEREAD_HOME", str(tmp_path))
    settings = load_settings()
    write_alliance(settings, sample_folders(settings), None, 1)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[dict[str, object]]]:
    code = main(["account", *arguments, "--json"])
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_an_account_is_added_listed_closed_and_opened(capsys: pytest.CaptureFixture[str]) -> None:
    code, (made,) = run(capsys, "add", "wang", "--role", "administrator", "--display-name", "王")
    assert (code, made["role"]) == (0, "administrator")
    assert run(capsys, "add", "wang", "--role", "reader")[0] != 0
    (listed,) = run(capsys, "list")[1]
    assert (listed["name"], listed["display_name"], listed["disabled_at"]) == ("wang", "王", None)
    assert run(capsys, "add", "li", "--role", "administrator")[0] == 0
    assert run(capsys, "close", "wang")[0] == 0
    assert {one["name"]: one["disabled_at"] is None for one in run(capsys, "list")[1]} == {"wang": False, "li": True}
    assert run(capsys, "open", "wang")[0] == 0
    assert run(capsys, "password", "wang")[1][0]["password"] != made["password"]


@pytest.mark.parametrize("act", ["password", "close", "open", "reset-second-factor"])
def test_an_unknown_account_is_said_to_be_one(act: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["account", act, "nobody"]) == 3
    assert "account_unknown" in capsys.readouterr().err


def test_a_clinic_needs_its_site(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["account", "add", "n", "--role", "uploader"]) == 3
    assert main(["account", "add", "n", "--role", "uploader", "--site", "nowhere"]) == 3

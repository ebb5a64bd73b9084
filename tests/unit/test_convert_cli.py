"""Promises of ``teleread formats`` and ``teleread convert``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from teleread.cli import main
from teleread.cli.convert import _WRITTEN
from teleread.ingest.formats import read_ecg, write_wfdb
from teleread.ingest.formats.writers import WRITERS
from teleread.signal.ecg import simulate

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    for name, data in write_wfdb(simulate("normal", 1)[0], "rec").items():
        (tmp_path / name).write_bytes(data)
    return tmp_path / "rec.hea"


def test_formats_says_what_is_read_and_written_and_on_what_evidence(capsys: Capture) -> None:
    assert main(["formats", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["dicom"]["seen_from_device"]
    assert rows["wfdb"]["writes"]
    assert not rows["pdf"]["reads"]
    assert main(["formats"]) == 0
    table = capsys.readouterr().out
    assert "seen from a device" in table
    assert all(name in table for name in rows)


def test_the_command_offers_every_writer() -> None:
    assert {name: one.extensions for name, one in WRITERS.items()} == _WRITTEN


@pytest.mark.parametrize("ending", [ending for endings in _WRITTEN.values() for ending in endings])
def test_what_is_converted_comes_back_within_a_step(recording: Path, capsys: Capture, ending: str) -> None:
    out = recording.with_name(f"other{ending}")
    assert main(["convert", str(recording), str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert out in [Path(path) for path in told["written"]]
    before, after = read_ecg(recording), read_ecg(out)
    assert after.fs_hz == before.fs_hz
    for lead in before.leads:
        one, other = before.lead(lead), after.lead(lead)
        assert one is not None
        assert other is not None
        assert np.nanmax(np.abs(one - other)) <= 0.001


def test_what_is_there_is_not_replaced_unless_told(recording: Path, capsys: Capture) -> None:
    out = recording.with_name("other.hea")
    out.write_text("mine")
    assert main(["convert", str(recording), str(out)]) == 3
    assert "file_exists" in capsys.readouterr().err
    assert out.read_text() == "mine"
    assert not out.with_suffix(".dat").exists()
    assert main(["convert", str(recording), str(out), "--overwrite"]) == 0
    assert read_ecg(out).leads == read_ecg(recording).leads
    assert not list(recording.parent.glob(".*"))


@pytest.mark.parametrize(
    ("out", "code"),
    [("other.txt", "format_not_said"), ("nowhere/other.hea", "folder_missing"), ("a b.hea", "record_unfit")],
)
def test_what_cannot_be_written_is_said(recording: Path, capsys: Capture, out: str, code: str) -> None:
    assert main(["convert", str(recording), str(recording.parent / out)]) == 3
    assert code in capsys.readouterr().err


def test_the_ending_of_out_yields_to_the_option(recording: Path) -> None:
    assert main(["convert", str(recording), str(recording.with_name("other")), "--to", "wfdb"]) == 0
    assert read_ecg(recording.with_name("other.hea")).source_format == "wfdb"


@pytest.mark.parametrize("rate", ["0", "-1", "x", "nan", "inf"])
def test_a_rate_that_is_none_is_a_wrong_use(recording: Path, rate: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["ecg", str(recording), "--fs-hz", rate])
    assert caught.value.code == 2

"""What the sample hospitals hold is real or says that it is not, and is the same every time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pydicom
import pytest

from teleread.ingest.formats import is_whole, missing_part, read_ecg
from teleread.sample.studies import clinic_upload, fill_cart, fill_county
from teleread.signal.ecg import STANDARD_LEADS, analyse

CART = ["ecg_0001", "ecg_0002", "ecg_0003", "ecg_0004", "ecg_0005", "ecg_0006"]


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_the_county_holds_six_studies_of_four_modalities(tmp_path: Path) -> None:
    assert fill_county(tmp_path) == 6
    headers = [pydicom.dcmread(path) for path in tmp_path.iterdir()]
    assert sorted(ds.Modality for ds in headers) == ["CT", "CT", "ECG", "MR", "US", "US"]
    assert len({ds.StudyInstanceUID for ds in headers}) == 6
    assert all(ds.pixel_array.size for ds in headers if ds.Modality != "ECG")


def test_filling_twice_writes_nothing_new(tmp_path: Path) -> None:
    for fill in (fill_county, fill_cart):
        folder = tmp_path / fill.__name__
        assert fill(folder) > 0
        before = contents(folder)
        assert fill(folder) == 0
        assert contents(folder) == before


def test_a_cart_that_was_stopped_half_way_completes_its_file(tmp_path: Path) -> None:
    fill_cart(tmp_path)
    whole = (tmp_path / "ecg_0003.dat").read_bytes()
    (tmp_path / "ecg_0003.dat").write_bytes(whole[:1000])
    (tmp_path / "ecg_0004.hea").unlink()
    assert fill_cart(tmp_path) == 2
    assert (tmp_path / "ecg_0003.dat").read_bytes() == whole


def test_a_cart_writes_in_place_and_slowly_so_that_halves_can_be_seen(tmp_path: Path) -> None:
    sizes: list[int] = []

    def look() -> None:
        path = tmp_path / "ecg_0000.dcm"
        sizes.append(path.stat().st_size)

    fill_cart(tmp_path, pause=look)
    assert 0 < sizes[0] < sizes[1] < (tmp_path / "ecg_0000.dcm").stat().st_size


@pytest.mark.parametrize("name", CART)
def test_each_recording_of_the_cart_is_whole_and_readable(tmp_path: Path, name: str) -> None:
    fill_cart(tmp_path)
    files = {part.name: part.read_bytes() for part in tmp_path.glob(f"{name}.*")}
    assert missing_part(files) is None
    assert is_whole(files)
    record = read_ecg(files)
    assert record.leads == STANDARD_LEADS
    assert record.fs_hz == 500
    assert b"# Name: " in files[f"{name}.hea"]
    assert record.patient.sex in {"M", "F"}
    assert record.age_years
    assert analyse(record).to_json()


def test_the_clinics_recording_is_another_than_the_carts(tmp_path: Path) -> None:
    fill_cart(tmp_path)
    files = clinic_upload()
    assert clinic_upload() == files
    assert is_whole(files)
    assert not set(files.values()) & {path.read_bytes() for path in tmp_path.iterdir()}


def test_the_cart_is_a_process_that_writes_and_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "teleread.sample.cart", "--folder", str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60)
    assert done.stdout == "written 13\n"

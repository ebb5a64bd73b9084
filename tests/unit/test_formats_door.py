"""The door: each file is one format's, told from its content; and one that is cut off is waited for."""

from __future__ import annotations

from pathlib import Path

import pytest

from teleread.errors import InputRejected
from teleread.ingest.formats import is_whole, kind_of, read_ecg, sniff, write_wfdb
from teleread.ingest.formats.format import Given, Head
from teleread.ingest.formats.formats_table import all_formats
from teleread.ingest.formats.registry import FORMATS
from tests.format_files import FILES, GIVEN, recording

# no length and no mark of their end
_ENDLESS = {"csv", "contec"}


def claims(data: bytes) -> list[str]:
    """Every format that would take the file, whatever the order."""
    head = Head.of(data)
    return [one.name for one in FORMATS if one.recognises(head)]


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_exactly_one_formats(name: str) -> None:
    for data in FILES[name]():
        assert claims(data) == ([] if name == "dicom" else [name])
        assert (sniff(data), kind_of(data)) == (name, "ecg")
        given = Given(*GIVEN[name]) if name in GIVEN else None
        assert read_ecg(data, given=given).source_format == name


def test_a_real_file_is_exactly_one_formats(data_dir: Path) -> None:
    folders = {"healforce_scp": "healforce", "hl7aecg": "aecg", "muse_xml": "muse", "sierra_xml": "sierra"}
    for path in sorted((data_dir / "ecg_files").glob("*/*")):
        if ".gt." in path.name:
            continue
        data = path.read_bytes()
        name = "csv" if path.suffix == ".csv" else folders.get(path.parent.name, path.parent.name)
        expected = [] if name in ("dicom", "wfdb", "pdf") else [name]
        assert claims(data) == expected, path.name
    for path in sorted((data_dir / "dicom").rglob("*.dcm")):
        assert claims(path.read_bytes()) == [], path.name


def test_what_is_no_ecg_is_nobodys(root: Path) -> None:
    words = [path.read_bytes() for path in sorted(root.rglob("*.md"))[:20]]
    code = [path.read_bytes() for path in sorted((root / "pipeline").glob("*.py"))]
    for data in (
        *words,
        *code,
        b"",
        b"\0" * 5000,
        b"<html><body>hello</body></html>",
        b'{"a": 1}',
        bytes(range(256)) * 40,
    ):
        assert claims(data) == []


@pytest.mark.parametrize("name", sorted(set(FILES) - _ENDLESS))
def test_a_file_that_is_cut_off_is_not_whole(name: str) -> None:
    for data in FILES[name]():
        assert is_whole({"a": data})
        for part in (0.3, 0.6, 0.95):
            assert not is_whole({"a": data[: int(len(data) * part)]}), part


@pytest.mark.parametrize(
    ("data", "end"),
    [(b"%PDF-1.4 x %%EOF\n", 10), (b"\x89PNG\r\n\x1a\n....IEND\xaeB`\x82", 12), (b"\xff\xd8\xff\xe0....\xff\xd9", 8)],
)
def test_a_picture_that_is_cut_off_is_not_whole(data: bytes, end: int) -> None:
    assert is_whole({"a": data})
    assert not is_whole({"a": data[:end]})


def test_comments_and_empty_lines_behind_the_root_are_no_matter() -> None:
    (data,) = FILES["aecg"]()
    assert is_whole({"a": data + b"\n<!-- end -->\n\n"})
    assert is_whole({"a": b"<?xml version='1.0'?><x/>"})


def test_a_table_beside_a_recording_is_its_export() -> None:
    (table,) = FILES["csv"]()
    (aecg,) = FILES["aecg"]()
    assert read_ecg({"a.xml": aecg, "a.csv": table}).source_format == "aecg"
    with pytest.raises(InputRejected, match="several_recordings"):
        read_ecg({"a.xml": aecg, "b.xml": aecg})


@pytest.mark.parametrize("name", sorted(set(FILES) - {"csv"}))
def test_samples_that_look_like_another_file_are_their_headers(name: str) -> None:
    data = FILES[name]()[0]
    files = dict(write_wfdb(recording(), "rec"))
    lines = [line.split() for line in files["rec.hea"].decode().splitlines()]
    plain = [
        " ".join(["0" if at == 6 and line[0] == "rec.dat" else word for at, word in enumerate(line)]) for line in lines
    ]
    files["rec.hea"] = "\n".join(plain).encode()  # without checksums
    files["rec.dat"] = (data + files["rec.dat"])[: len(files["rec.dat"])]
    assert read_ecg(files).source_format == "wfdb"


def test_every_format_has_a_row_and_a_file() -> None:
    rows = {row["name"]: row for row in all_formats() if row["reads"]}
    assert set(rows) == {*FILES, "wfdb"}
    assert all(row["title"] and row["extensions"] for row in rows.values())

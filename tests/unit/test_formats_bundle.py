"""Promises of the bundle: same files, same bytes; nothing hostile is ever unpacked."""

from __future__ import annotations

import io
import struct
import zipfile

import pytest

from teleread.errors import InputRejected
from teleread.ingest.formats import bundle, kind_of, safe_name, unbundle, write_wfdb
from teleread.signal.ecg import simulate


def code(data: bytes) -> str:
    with pytest.raises(InputRejected) as caught:
        unbundle(data)
    return caught.value.code


def zipped(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def test_the_same_files_give_the_same_bytes_in_any_order() -> None:
    files = {"b.dat": b"2" * 50, "a.hea": b"1", "心电.txt": "中".encode()}
    assert bundle(files) == bundle(dict(reversed(files.items())))
    assert unbundle(bundle(files)) == files


def test_a_zip_made_elsewhere_is_opened() -> None:
    files = write_wfdb(simulate("normal", 1)[0], "rec")
    assert unbundle(zipped(files)) == files
    assert kind_of(zipped(files)) == "ecg"


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "a\\b", "..", ".", "", "c:x", "a\x00b", "x" * 129, "a\nb"])
def test_a_name_that_is_a_path_is_refused_both_ways(name: str) -> None:
    assert not safe_name(name)
    with pytest.raises(InputRejected):
        bundle({name: b"x"})


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "dir/"])
def test_a_path_in_a_zip_is_refused(name: str) -> None:
    assert code(zipped({name: b""})) == "bundle_bad_name"


def test_a_link_in_a_zip_is_refused() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo("link")
        info.create_system, info.external_attr = 3, 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    assert code(out.getvalue()) == "bundle_bad_name"


def test_too_many_entries_are_refused_before_they_are_listed() -> None:
    assert code(zipped({f"f{i}": b"" for i in range(65)})) == "bundle_too_many"
    assert len(unbundle(zipped({f"f{i}": b"" for i in range(64)}))) == 64
    with pytest.raises(InputRejected, match="bundle_too_many"):
        bundle({f"f{i}": b"" for i in range(65)})


def test_a_bomb_is_refused() -> None:
    assert code(zipped({"zeros": bytes(20 << 20)})) == "bundle_ratio"


def test_a_lie_about_the_size_is_refused() -> None:
    data = bytearray(zipped({"a": b"x" * 1000}))
    at = data.rfind(b"PK\x01\x02")
    struct.pack_into("<I", data, at + 24, 10)
    assert code(bytes(data)) == "bundle_broken"


def test_a_huge_claim_is_refused_without_memory() -> None:
    data = bytearray(zipped({"a": b"x" * 1000}))
    at = data.rfind(b"PK\x01\x02")
    struct.pack_into("<II", data, at + 20, 900_000_000, 0xFFFFFFF0)
    assert code(bytes(data)) in ("bundle_too_large", "bundle_broken")


def test_nesting_encryption_and_emptiness_are_refused() -> None:
    assert code(zipped({"inner.zip": zipped({"a": b"x"})})) == "bundle_nested"
    assert code(zipped({})) == "bundle_empty"
    data = bytearray(zipped({"a": b"x" * 50}))
    at = data.rfind(b"PK\x01\x02")
    data[at + 8] |= 1
    assert code(bytes(data)) == "bundle_encrypted"
    with pytest.raises(InputRejected, match="bundle_empty"):
        bundle({})


def test_a_cut_zip_is_broken_wherever_it_is_cut() -> None:
    data = bundle({"a.hea": b"hello", "b.dat": bytes(range(200))})
    for n in range(len(data)):
        assert code(data[:n]) == "bundle_broken"


def test_names_that_differ_in_case_only_are_refused() -> None:
    with pytest.raises(InputRejected, match="bundle_bad_name"):
        bundle({"A.dat": b"1", "a.dat": b"2"})
    assert code(zipped({"A.dat": b"1", "a.dat": b"2"})) == "bundle_bad_name"

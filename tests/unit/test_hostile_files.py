"""Files made to harm: each gives its coded error, in little time and memory, in the process that reads them."""

from __future__ import annotations

import base64
import re
import struct
import time

import pytest

from teleread.errors import InputRejected
from teleread.ingest.bounded import BoundedPool
from teleread.ingest.formats import bundle, read_ecg, write_wfdb
from teleread.ingest.parse_limits import CPU_S, parse_limits
from tests.format_files import FILES, recording
from tests.prove.mutate import mend_scp

XML = ("aecg", "muse", "sierra", "cardiosoft", "mortara", "schiller", "zoncare")
LIMITS = {"worker_crashed", "analysis_timeout", "too_much_memory", "too_much_output"}
OPTIONS = {"issuer": "village", "utc_offset_minutes": 480}


def code_of(data: bytes, pool: BoundedPool | None = None) -> str:
    """The code that a file is refused with, and not by a limit."""

    def read() -> None:
        if pool is not None:
            pool.run("teleread.pipeline.derive:derive", data, OPTIONS)
        else:
            with parse_limits(len(data)):
                read_ecg(data)

    with pytest.raises(InputRejected) as caught:
        read()
    assert caught.value.code not in LIMITS
    return caught.value.code


def text_of(name: str) -> tuple[str, str]:
    """A file of the format as text, and how it is encoded."""
    data = FILES[name]()[0]
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8"
    return data.decode(encoding), encoding


def inside(name: str, what: str) -> bytes:
    """A file of the format with something put behind its root's start tag."""
    text, encoding = text_of(name)
    root = re.search(r"<[A-Za-z_][^<>]*>", text)
    assert root is not None
    return (text[: root.end()] + what + text[root.end() :]).encode(encoding)


@pytest.mark.parametrize("name", XML)
def test_two_hundred_thousand_levels(name: str, pool: BoundedPool) -> None:
    data = inside(name, "<a>" * 200_000 + "</a>" * 200_000)
    assert code_of(data, pool).endswith("_too_deep")


@pytest.mark.parametrize("name", XML)
def test_sixty_megabytes_of_digits(name: str, pool: BoundedPool) -> None:
    data = inside(name, "<digits>" + "1 " * (30 << 20) + "</digits>")
    assert code_of(data, pool).endswith(("_too_large", "_bomb"))


@pytest.mark.parametrize("name", XML)
def test_billion_laughs(name: str, pool: BoundedPool) -> None:
    laughs = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))
    text, encoding = text_of(name)
    root = re.search(r"<([A-Za-z_][\w:.-]*)", text)
    assert root is not None
    bomb = f'<!DOCTYPE {root[1]} [<!ENTITY l0 "lol">{laughs}]>'
    at = text.index(">", root.start()) + 1
    told = code_of((text[: root.start()] + bomb + text[root.start() : at] + "&l9;" + text[at:]).encode(encoding), pool)
    assert told.endswith(("_bomb", "_broken", "_unsupported", "_entity"))


@pytest.mark.parametrize("name", ["muse", "sierra", "mortara", "zoncare"])
@pytest.mark.parametrize("less", [1, 3, 5])
def test_base64_of_the_wrong_length(name: str, less: int) -> None:
    text, encoding = text_of(name)
    block = max(re.finditer(r"[A-Za-z0-9+/=\s]{200,}", text), key=lambda one: len(one[0]))
    raw = base64.b64decode(block[0].strip())
    broken = base64.b64encode(raw[:-less]).decode()
    told = code_of((text[: block.start()] + broken + text[block.end() :]).encode(encoding))
    assert told.startswith(name)


def scp_sections(data: bytes) -> dict[int, int]:
    """Where the pointer of each section lies."""
    return {struct.unpack_from("<H", data, at)[0]: at for at in range(22, 22 + 10 * 12, 10)}


@pytest.mark.parametrize("section", [1, 3, 6])
def test_an_scp_section_past_the_end(section: int) -> None:
    data = bytearray(FILES["scp"]()[0])
    at = scp_sections(bytes(data))[section]
    struct.pack_into("<I", data, at + 6, len(data) + 1000)
    assert code_of(mend_scp(bytes(data))).startswith("scp_")


def test_an_scp_huffman_stream_that_never_ends() -> None:
    data = bytearray(FILES["scp"]()[0])
    at = scp_sections(bytes(data))[6]
    length, index = struct.unpack_from("<II", data, at + 2)
    # ones alone are the longest prefix again and again, and no sample ever
    start = index - 1 + 16 + 6 + 2 * 8
    data[start : index - 1 + length] = b"\xff" * (index - 1 + length - start)
    assert code_of(mend_scp(bytes(data))).startswith("scp_")


def test_an_scp_file_of_no_lead() -> None:
    data = bytearray(FILES["scp"]()[0])
    at = scp_sections(bytes(data))[3]
    (index,) = struct.unpack_from("<I", data, at + 6)
    data[index - 1 + 16] = 0
    assert code_of(mend_scp(bytes(data))).startswith("scp_")


@pytest.mark.parametrize(
    ("start", "width", "value"),
    [
        (184, 8, "-256"),
        (184, 8, "0"),
        (184, 8, "99999999"),
        (236, 8, "-2"),
        (236, 8, "99999999"),
        (244, 8, "-1"),
        (252, 4, "-1"),
        (252, 4, "0"),
        (252, 4, "9999"),
    ],
)
def test_edf_counts_that_are_none(start: int, width: int, value: str) -> None:
    data = bytearray(FILES["edf"]()[0])
    data[start : start + width] = value.ljust(width).encode()
    assert code_of(bytes(data)).startswith("edf_")


@pytest.mark.parametrize("name", ["../rec.dat", "/etc/passwd", "..", "a/b.dat", "~root", "C:\\x.dat"])
def test_a_wfdb_header_that_names_a_path(name: str) -> None:
    files = dict(write_wfdb(recording(), "rec"))
    files["rec.hea"] = files["rec.hea"].replace(b"rec.dat", name.encode())
    with pytest.raises(InputRejected) as caught:
        read_ecg(files)
    assert caught.value.code == "wfdb_unsafe_name"
    assert code_of(bundle(files)) == "wfdb_unsafe_name"


def test_a_parser_that_never_ends_is_stopped_after_its_time() -> None:
    def hang() -> None:
        with parse_limits(1000):
            while True:
                pass

    began = time.process_time()
    with pytest.raises(InputRejected, match="analysis_timeout"):
        hang()
    assert time.process_time() - began < CPU_S + 1.0


def test_a_parser_that_takes_too_much_memory_is_stopped() -> None:
    with pytest.raises(InputRejected, match="too_much_memory"), parse_limits(1000):
        bytearray(400 << 20)
    with parse_limits(1000):
        assert len(bytearray(100 << 20)) == 100 << 20


def test_a_day_long_recording_has_limits_in_proportion() -> None:
    with parse_limits(64 << 20):
        assert len(bytearray(400 << 20)) == 400 << 20

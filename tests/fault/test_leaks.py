"""The search for leaks finds what is planted, however it is written."""

from __future__ import annotations

import base64
import gzip
import io
import json
import random
import zipfile
from collections.abc import Callable
from datetime import date
from urllib.parse import quote, quote_plus

import pytest

from tests.fault.leaks import Known, find_leaks

PATIENT = Known(("诸葛小明", "Zhuge^Xiaoming"), ("510107196203041234",), date(1962, 3, 4))
SECRETS = ("诸葛小明", "诸^葛小明", "Zhuge^Xiaoming", "xiaoming zhuge", "ZHUGE, XIAOMING", "510107196203041234")
DATES = ("19620304", "1962-03-04", "1962年3月4日", "04.03.1962")
PLANT: dict[str, Callable[[str], bytes]] = {
    "utf-8": lambda text: text.encode(),
    "gbk": lambda text: text.encode("gbk"),
    "gb18030": lambda text: text.encode("gb18030"),
    "utf-16-le": lambda text: text.encode("utf-16-le"),
    "utf-16-be": lambda text: text.encode("utf-16-be"),
    "json": lambda text: json.dumps({"a": text}).encode(),
    "json in json": lambda text: json.dumps(json.dumps({"a": text})).encode(),
    "percent": lambda text: quote(text, "").encode(),
    "percent, small letters": lambda text: quote(text, "").lower().encode(),
    "percent, gbk": lambda text: quote(text.encode("gbk"), "").encode(),
    "form": lambda text: quote_plus(text).encode(),
    "hexadecimal": lambda text: text.encode().hex().encode(),
    "hexadecimal, gbk, capital": lambda text: text.encode("gbk").hex().upper().encode(),
    "base64": lambda text: base64.b64encode(text.encode()),
    "base64 at 1": lambda text: base64.b64encode(b"x" + text.encode() + b"tail"),
    "base64 at 2": lambda text: base64.b64encode(b"xy" + text.encode() + b"ta"),
    "base64, gbk": lambda text: base64.b64encode(b"x" + text.encode("gbk")),
    "base64 of utf-16": lambda text: base64.b64encode(b"xy" + text.encode("utf-16-le")),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(b"??" + text.encode()),
    "html": lambda text: "".join(f"&#{ord(sign)};" if ord(sign) > 127 else sign for sign in text).encode(),
    "html, hexadecimal": lambda text: "".join(f"&#x{ord(s):X};" if ord(s) > 127 else s for s in text).encode(),
    "python bytes": lambda text: repr(text.encode()).encode(),
    "gzip": lambda text: gzip.compress(text.encode()),
    "zip": lambda text: _zipped(text.encode()),
}
NOISE = random.Random(1).randbytes(30_000)


def _zipped(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("member", data)
    return buffer.getvalue()


@pytest.mark.parametrize("coding", PLANT)
@pytest.mark.parametrize("text", [*SECRETS, *DATES])
def test_what_is_planted_is_found(coding: str, text: str) -> None:
    planted = PLANT[coding](text)
    blob = planted if coding in ("gzip", "zip") else NOISE + b" " + planted + b" " + NOISE
    assert find_leaks({"log": blob}, [PATIENT]), (coding, text)


def test_a_plain_search_would_miss_most_of_them() -> None:
    """The broken twin: grep."""
    missed = [coding for coding, plant in PLANT.items() if "诸葛小明".encode() not in plant("诸葛小明")]
    assert len(missed) >= len(PLANT) - 3


def test_names_of_files_and_objects_are_searched() -> None:
    assert find_leaks({"objects/raw/诸葛小明.dcm": b""}, [PATIENT])
    assert find_leaks({"https://host/cases?patient=510107196203041234": b""}, [PATIENT])


def test_nothing_is_found_where_nothing_is() -> None:
    harmless = {
        "noise": NOISE * 20,
        "hashes": NOISE.hex().encode() * 4,
        "base64": base64.b64encode(NOISE) * 4,
        "another": "诸葛亮 Zhuge^Liang 1962-03-05 a19620304b 1119620304".encode(),
    }
    assert find_leaks(harmless, [PATIENT]) == []


def test_a_leak_at_the_border_of_two_pieces_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fault.leaks._CHUNK", 64)
    for before in range(50, 80):
        assert find_leaks({"log": b"-" * before + "诸葛小明".encode() + b"-" * 90}, [PATIENT]), before

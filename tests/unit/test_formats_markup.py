"""Promises of the bounded XML parser, of text in unknown character sets and of sample lists."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from teleread.errors import InputRejected
from teleread.ingest.formats.digits import Digits
from teleread.ingest.formats.markup import MAX_BYTES, MAX_DEPTH, parse
from teleread.ingest.formats.texts import decode

LAUGHS = "".join(f'<!ENTITY a{k} "{f"&a{k - 1};" * 10}">' for k in range(1, 10))


def code(act: Callable[[], object]) -> str:
    with pytest.raises(InputRejected) as caught:
        act()
    return caught.value.code


def test_the_tree_has_plain_names_and_own_text() -> None:
    root = parse(b'<n:A xmlns:n="x" B="1" xsi:b="2"><n:C> t<D/>u </n:C><C k="v">2</C></n:A>', "x")
    assert (root.name, root.get("b"), [c.text for c in root.all("c")]) == ("a", "1", [" tu ", "2"])
    assert root.at("c") == "tu"
    assert root.first("c/d") is not None
    assert [one.name for one in root.iter()] == ["a", "c", "d", "c"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"<a>" * 200_000 + b"</a>" * 200_000, "x_too_deep"),
        (b"<a>" + b"<b/>" * 300_000 + b"</a>", "x_too_many_elements"),
        (b"<a " + b" ".join(b'k%d=""' % k for k in range(600)) + b"/>", "x_too_many_elements"),
        (b"<a>" + b"".join(b"<n%d/>" % k for k in range(9000)) + b"</a>", "x_too_many_elements"),
        (b"<" + b"a" * 300 + b"/>", "x_too_many_elements"),
        (b"<a>" + b"1 " * (MAX_BYTES // 2) + b"</a>", "x_too_large"),
        (f'<!DOCTYPE a [<!ENTITY a0 "ha">{LAUGHS}]><a>&a9;</a>'.encode(), "x_entity"),
        (b'<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><a>&e;</a>', "x_entity"),
        (b'<!DOCTYPE a [<!ATTLIST a b CDATA "default">]><a/>', "x_entity"),
        (b'<!DOCTYPE a SYSTEM "a.dtd"><a>&unknown;</a>', "x_entity"),
        (b"<a>&unknown;</a>", "x_broken"),
        (b"", "x_truncated"),
        (b"<a><b>1", "x_truncated"),
        (b"<a><b", "x_truncated"),
        (b"<a></b>", "x_broken"),
        (b"<a/><b/>", "x_broken"),
        (b"<a>\x01</a>", "x_broken"),
    ],
    ids=range(17),
)
def test_a_hostile_file_is_refused_with_its_code(data: bytes, expected: str) -> None:
    assert code(lambda: parse(data, "x")) == expected


def test_without_its_cap_a_deep_file_would_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("teleread.ingest.formats.markup.MAX_DEPTH", 10_000)
    assert parse(b"<a>" * 300 + b"</a>" * 300, "x").name == "a"


def test_what_is_allowed_is_just_below_the_limit() -> None:
    assert parse(b"<a>" * MAX_DEPTH + b"</a>" * MAX_DEPTH, "x").name == "a"
    assert parse(b'<!DOCTYPE a SYSTEM "a.dtd"><a>&lt;&#65;</a>\0\0', "x").text == "<A"


@pytest.mark.parametrize("declared", ["", "utf-8", "utf-16", "gb2312", "GBK", "GB18030", "ISO-8859-1", "nonsense"])
@pytest.mark.parametrize("written", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "gb18030"])
def test_a_chinese_name_comes_out_whatever_is_declared(declared: str, written: str) -> None:
    head = f'<?xml version="1.0" encoding="{declared}"?>' if declared else ""
    text = f"{head}<a><name>张三</name><b>窦性心律 ST段抬高</b></a>"
    assert parse(text.encode(written), "x").at("name") == "张三"


@pytest.mark.parametrize(
    ("raw", "declared", "text"),
    [
        ("Müller".encode("latin-1"), "ISO-8859-1", "Müller"),
        ("Müller".encode("latin-1"), "", "Müller"),
        ("Müller".encode(), "ISO-8859-1", "Müller"),
        ("王小东".encode("gbk"), "windows-1252", "王小东"),
        ("朱镕喆".encode("gb18030"), "gb2312", "朱镕喆"),
        ("𠮷田".encode("gb18030"), "gb18030", "𠮷田"),
        ("王".encode("big5"), "big5", "王"),
        (b"\xff\xfe\xfd", "", "ÿþý"),
    ],
)
def test_text_is_what_it_is_not_what_it_is_said_to_be(raw: bytes, declared: str, text: str) -> None:
    assert decode(raw, declared) == text


@pytest.mark.parametrize(
    ("text", "commas", "gaps", "numbers"),
    [
        (" 1 -2\n+3\t4 ", False, "", [1, -2, 3, 4]),
        ("1.5 -0.25 1e3 .5", False, "", [1.5, -0.25, 1000, 0.5]),
        ("123456789012 7", False, "", [123456789012, 7]),
        ("1, 2,\n3,", True, "", [1, 2, 3]),
        ("1 E -2 U L", False, "EUL", [1, np.nan, -2, np.nan, np.nan]),
        ("1.5 E", False, "EUL", [1.5, np.nan]),
        ("1\u00a02\u20093", False, "", [1, 2, 3]),
        ("", False, "", []),
        (" \n", True, "", []),
    ],
)
def test_lists_of_numbers_are_read(text: str, commas: bool, gaps: str, numbers: list[float]) -> None:
    assert np.array_equal(Digits("x").numbers(text, commas=commas, gaps=gaps), numbers, equal_nan=True)


def test_a_long_list_is_cut_at_no_number() -> None:
    values = np.random.default_rng(3).integers(-30_000, 30_000, 400_000)
    assert np.array_equal(Digits("x").numbers(" ".join(map(str, values))), values)


@pytest.mark.parametrize(
    "text",
    ["1 x", "1-2", "--1", "1e999", "nan", "inf", "1_0", "٣", "-", "+", "0x1", "1E 2", "1.2.3", "1,2", "E", "1 EE"],
)
def test_a_wrong_token_is_refused(text: str) -> None:
    assert code(lambda: Digits("x").numbers(text)) == "x_broken"


@pytest.mark.parametrize("text", ["1,,2", ",1", "1 2,3", "1,2 3,", "1;2", ","])
def test_a_wrong_comma_is_refused(text: str) -> None:
    assert code(lambda: Digits("x").numbers(text, commas=True)) == "x_broken"


def test_numbers_are_counted_over_the_whole_file() -> None:
    digits = Digits("x", limit=5)
    digits.numbers("1 2 3")
    assert code(lambda: digits.numbers("4 5 6")) == "x_too_large"
    assert code(lambda: Digits("x", limit=3).base64("AAAAAAAAAAA=")) == "x_too_large"


@pytest.mark.parametrize("text", ["QUI", "QUIDQ===", "Q*==", "é", "QUI=QUI=", "QUJD"])
def test_base64_of_another_length_or_alphabet_is_refused(text: str) -> None:
    assert code(lambda: Digits("x").base64(text, 2)) == "x_broken"


def test_base64_may_be_broken_into_lines() -> None:
    assert Digits("x").base64("QU\nJD\tRA ==", 2) == b"ABCD"

"""By what patients are found again: names that mean the same, and valid national ids."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from teleread.storage.vault.keyring import KeyRing
from teleread.storage.vault.matching import MatchKeys, normalised_name, resident_id
from tests.conftest import Clock

TODAY = date(2026, 11, 1)


@pytest.mark.parametrize(
    "names",
    [
        ("张三", "张^三", "张 三", " 张三 ", "Zhang^San=张^三", "ZHANG^SAN=张^三=", "zhang=张三=zhāng", "张　三"),
        ("买买提·吐尔逊", "买买提吐尔逊", "买买提•吐尔逊", "买买提.吐尔逊"),
        (
            "ZHANG^XIAO MING",
            "Zhang Xiaoming",
            "zhang^xiao-ming",
            "ＺＨＡＮＧ＾ＸＩＡＯＭＩＮＧ",
            "Zhāng^Xiǎomíng",
            "=ZHANG^XIAOMING",
        ),
        ("O'Brien^Séan", "OBRIEN^SEAN", "o’brien séan"),
        ("STRASSE^ANNA", "Straße^Anna"),
        ("吕^布", "Lü^Bu=吕^布"),
    ],
)
def test_ways_to_write_one_name_are_equal(names: tuple[str, ...]) -> None:
    assert len({normalised_name(name) for name in names}) == 1
    assert normalised_name(names[0])


@pytest.mark.parametrize(
    ("one", "other"),
    [("张三", "张叁"), ("张三", "張三"), ("张三", "Zhang^San"), ("Zhang^San", "San^Zhang"), ("Li^Na", "Lin^Na")],
)
def test_different_names_stay_different(one: str, other: str) -> None:
    assert normalised_name(one) != normalised_name(other)


@pytest.mark.parametrize(
    "name", ["", "^^^^", "===", " ", "未知", "不 详", "Unknown", "ANONYMOUS^", "无名氏", "\x00", "-"]
)
def test_no_name_matches_nobody(name: str) -> None:
    assert normalised_name(name) == ""


def test_a_name_alone_or_a_birth_date_alone_has_no_key(tmp_path: Path, clock: Clock) -> None:
    keys = MatchKeys.of(KeyRing.open(tmp_path / "ring", clock=clock))
    assert keys.match_of("张三", None) is None
    assert keys.match_of(None, "1950-01-31") is None
    assert keys.match_of("未知", "1950-01-31") is None
    assert keys.match_of("\ud800", "1950-01-31") in (None, keys.match_of("\ud800", "1950-01-31"))
    assert keys.match_of("张三", "1950-01-31") == keys.match_of("张^三", "1950-01-31") is not None
    assert keys.match_of("张三", "1950-01-31") != keys.match_of("张三", "1950-01-30")


def test_rings_do_not_agree_on_any_hash(tmp_path: Path, clock: Clock) -> None:
    one, two = (MatchKeys.of(KeyRing.open(tmp_path / name, clock=clock)) for name in "ab")
    number = "11010519491231002X"
    assert one.lookup_of("H1", "7") != two.lookup_of("H1", "7")
    assert one.match_of("张三", "1950-01-31") != two.match_of("张三", "1950-01-31")
    assert one.national_of(number, "", TODAY) != two.national_of(number, "", TODAY)


@pytest.mark.parametrize(
    "number",
    ["11010519491231002X", " 11010519491231002x ", "１１０１０５１９４９１２３１００２Ｘ", "440524188001010014"],
)
def test_the_standard_s_own_examples_are_valid(number: str) -> None:
    """GB 11643-1999 prints both; the second is too old to be alive and is valid only in its time."""
    today = TODAY if "1949" in number or "１９４９" in number else date(1950, 1, 1)
    assert resident_id(number, today) is not None


@pytest.mark.parametrize(
    "number",
    [
        "",
        "110105194912310021",  # check
        "11010519491231002",  # a digit short
        "11010519491231002XX",
        "110105194913310021",  # month 13
        "110105194902300021",
        "00010519491231002X",  # no such province
        "99010519491231002X",
        "440524188001010014",  # 146 years old
        "110105491231002",  # the 15 digits of before 1999
        "1101051949123100٢X",
    ],
)
def test_what_is_no_national_id_is_none(number: str) -> None:
    assert resident_id(number, TODAY) is None


def test_every_wrong_digit_and_every_two_exchanged_ones_are_noticed() -> None:
    number = "11010519491231002X"
    for place in range(17):
        for digit in "0123456789":
            if digit != number[place]:
                assert resident_id(number[:place] + digit + number[place + 1 :], TODAY) is None
    for place in range(16):
        if number[place] != number[place + 1]:
            swapped = number[:place] + number[place + 1] + number[place] + number[place + 2 :]
            assert resident_id(swapped, TODAY) is None


def test_nobody_is_born_tomorrow(tmp_path: Path, clock: Clock) -> None:
    keys = MatchKeys.of(KeyRing.open(tmp_path / "ring", clock=clock))
    assert resident_id("11010519491231002X", date(1949, 12, 30)) is None
    assert keys.national_of(None, "11010519491231002x", TODAY) == keys.national_of("11010519491231002X", "7", TODAY)
    assert keys.national_of("nonsense", "11010519491231002X", TODAY) is not None
    assert keys.national_of(None, "7", TODAY) is None

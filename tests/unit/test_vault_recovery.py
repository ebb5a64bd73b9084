"""Two halves of a key on paper, and what is sealed to it."""

from __future__ import annotations

import random
import re
from itertools import pairwise

import pytest

from teleread.errors import InputRejected
from teleread.storage.vault import recovery


def code_of(one: str, other: str) -> str:
    with pytest.raises(InputRejected) as refused:
        recovery.join(one, other)
    return refused.value.code


@pytest.fixture(scope="module")
def private() -> bytes:
    return recovery.new_pair()[0]


@pytest.fixture(scope="module")
def halves(private: bytes) -> tuple[str, str]:
    return recovery.split(private)


def test_two_halves_give_the_key_in_either_order(private: bytes, halves: tuple[str, str]) -> None:
    assert recovery.join(*halves) == recovery.join(*reversed(halves)) == private


def test_a_half_is_what_a_person_can_type(halves: tuple[str, str]) -> None:
    for number, half in enumerate(halves, start=1):
        assert re.fullmatch(rf"half {number} of 2: ([0-9A-HJKMNP-TV-Z]{{4}}-){{15}}[0-9A-HJKMNP-TV-Z]{{4}}", half)


@pytest.mark.parametrize(
    "typed",
    [
        str.lower,
        lambda half: half.split(": ")[1],
        lambda half: half.split(": ")[1].replace("-", " "),
        lambda half: half.split(": ")[1].replace("-", ""),
        lambda half: "Half 1 of 2:" + half.split(":")[1].replace("0", "O").replace("1", "l"),
        lambda half: "teleread recovery key, " + half.replace(": ", ":\n\n  ") + "\n",
        lambda half: half.replace("-", "\u2014"),
    ],
)
def test_it_is_read_as_people_write(private: bytes, halves: tuple[str, str], typed: object) -> None:
    assert recovery.join(typed(halves[0]), halves[1]) == private  # type: ignore[operator]


def test_every_wrong_letter_and_every_two_exchanged_ones_are_noticed(halves: tuple[str, str]) -> None:
    head, letters = halves[0].split(": ")
    places = [place for place, letter in enumerate(letters) if letter != "-"]
    for place in places:
        wrong = "7" if letters[place] != "7" else "8"
        assert code_of(f"{head}: {letters[:place]}{wrong}{letters[place + 1 :]}", halves[1]) == "recovery_half_mistyped"
    for one, two in pairwise(places):
        if letters[one] != letters[two]:
            swapped = list(letters)
            swapped[one], swapped[two] = swapped[two], swapped[one]
            assert code_of(f"{head}: {''.join(swapped)}", halves[1]) == "recovery_half_mistyped"


@pytest.mark.parametrize("typed", ["", "half 1 of 2:", "ABCD", "U" * 64, "1" * 63, "1" * 65, "半" * 64, "\0" * 64])
def test_what_is_no_half_is_said_to_be_none(halves: tuple[str, str], typed: str) -> None:
    assert code_of(typed, halves[1]) == "recovery_half_unreadable"


def test_one_half_twice_and_halves_of_two_keys_are_told_apart(halves: tuple[str, str]) -> None:
    other = recovery.split(recovery.new_pair()[0])
    assert code_of(halves[0], halves[0]) == "recovery_half_twice"
    assert code_of(halves[0], other[1]) == "recovery_halves_mixed"
    assert code_of(other[0], halves[1]) == "recovery_halves_mixed"


def test_halves_of_two_splits_of_one_key_do_not_make_a_wrong_key(private: bytes, halves: tuple[str, str]) -> None:
    assert code_of(halves[0], recovery.split(private)[1]) == "recovery_halves_mixed"


def test_one_half_says_nothing_of_the_key() -> None:
    """Whatever the key is, each half takes every value equally often: shown for a source that counts."""
    private = recovery.new_pair()[0]
    seen: dict[int, set[bytes]] = {1: set(), 2: set()}
    for number in range(256):
        for half in recovery.split(private, lambda n, number=number: bytes([number]) * n):  # type: ignore[misc]
            which, (_, share) = recovery._read(half)
            seen[which].add(share[:1])
    assert len(seen[1]) == len(seen[2]) == 256


def test_the_same_key_split_twice_has_nothing_in_common(private: bytes) -> None:
    shares = [recovery._read(half)[1][1] for _ in range(2) for half in recovery.split(private)]
    assert len(set(shares)) == 4
    assert private not in shares


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (2 << 20) + 5])
def test_what_was_sealed_comes_back(private: bytes, size: int) -> None:
    data = random.Random(size).randbytes(size)
    sealed = recovery.seal_to(recovery.public_of(private), data)
    assert recovery.open_sealed(private, sealed) == data
    assert data[:64] not in sealed or size < 8


def test_nothing_sealed_can_be_changed_cut_added_or_exchanged(private: bytes) -> None:
    data = random.Random(1).randbytes((2 << 20) + 5)
    sealed = recovery.seal_to(recovery.public_of(private), data)
    chunk = (1 << 20) + 16
    start = len(sealed) - 2 * chunk - 21
    one, two, rest = sealed[start : start + chunk], sealed[start + chunk : start + 2 * chunk], sealed[-21:]
    spoilt = [
        sealed[:20],
        sealed[:-1],
        sealed[:-21],
        sealed[:start] + one,
        sealed + rest,
        sealed + b"\0",
        sealed[:start] + two + one + rest,
        b"",
        sealed[:12] + bytes(32) + sealed[44:],
    ]
    for place in (0, 13, start + 5, len(sealed) - 1):
        spoilt.append(sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :])
    for blob in spoilt:
        with pytest.raises(InputRejected) as refused:
            recovery.open_sealed(private, blob)
        assert refused.value.code == "recovery_damaged"


def test_another_key_does_not_open_it(private: bytes) -> None:
    sealed = recovery.seal_to(recovery.public_of(private), b"x")
    with pytest.raises(InputRejected) as refused:
        recovery.open_sealed(recovery.new_pair()[0], sealed)
    assert refused.value.code == "recovery_wrong_key"

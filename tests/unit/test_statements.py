"""The list of statements: whole, cited, dated; what it suggests exists and what it excludes cannot be signed."""

from __future__ import annotations

from datetime import date

import pytest

from teleread.errors import InputRejected
from teleread.reading.statements import LIMIT, lexicon, parse
from teleread.web.readings import FLAGS, RHYTHM_FINDINGS, RHYTHMS

WORDS = lexicon()
SMALL = """
version = "1"
[source.a]
title = "a"
[categories]
A = { en = "a", zh = "a" }
[[statement]]
code = "x"
category = "A"
aha = [1]
en = "x"
zh = "x"
initials = "x"
[[statement]]
code = "y"
category = "A"
aha = []
en = "y"
zh = "y"
initials = "y"
[[critical]]
codes = ["x"]
from = 2026-02-01
until = 2026-03-01
source = "a"
[[excludes]]
these = ["x"]
those = ["y"]
[[macro]]
name = "m"
statements = ["x"]
[suggests.flags]
f = ["x"]
[suggests.rhythms]
r = ["y"]
"""


def test_every_flag_of_the_program_can_be_answered_by_a_statement() -> None:
    assert set(WORDS.flags) == set(FLAGS)


def test_every_rhythm_that_suggests_something_is_one_of_the_program() -> None:
    assert set(WORDS.rhythms) <= set(RHYTHMS) | set(RHYTHM_FINDINGS)


def test_every_statement_has_both_languages_and_letters_to_type() -> None:
    for one in WORDS.statements.values():
        assert one.zh, one.code
        assert one.en, one.code
        assert one.initials.isascii(), one.code
        assert one.initials.isalnum(), one.code
        assert one.category in WORDS.categories, one.code
        assert one.snomed is None or one.snomed.isdigit()
    assert len({one.zh for one in WORDS.statements.values()}) == len(WORDS.statements)
    assert len({one.en for one in WORDS.statements.values()}) == len(WORDS.statements)


@pytest.mark.parametrize(
    ("code", "aha"),
    [("sinus_rhythm", (20,)), ("lbbb", (104,)), ("qt_long", (148,)), ("inferior_mi_acute", (161, 330))],
)
def test_numbers_are_those_of_the_aha_list(code: str, aha: tuple[int, ...]) -> None:
    assert WORDS.statements[code].aha == aha


def test_macros_have_one_key_each_and_never_contradict_themselves() -> None:
    keys = [macro.key for macro in WORDS.macros if macro.key]
    assert len(set(keys)) == len(keys)
    assert len({macro.name for macro in WORDS.macros}) == len(WORDS.macros)
    for macro in WORDS.macros:
        WORDS.checked(macro.statements)
    assert [macro.statements for macro in WORDS.macros if macro.normal] == [("sinus_rhythm", "normal_ecg")]


def test_a_normal_excludes_everything_abnormal_in_either_order() -> None:
    for code in ("atrial_fibrillation", "inferior_mi_acute", "st_t_nonspecific", "abnormal_ecg"):
        for codes in (("normal_ecg", code), (code, "normal_ecg")):
            with pytest.raises(InputRejected, match="statements_contradict"):
                WORDS.checked(codes)
    # the twin: what goes with a normal is not refused
    assert len(WORDS.checked(("sinus_rhythm", "sinus_arrhythmia", "normal_ecg", "normal_ecg"))) == 3


def test_unknown_and_too_many_statements_are_refused() -> None:
    with pytest.raises(InputRejected, match="statement_unknown"):
        WORDS.checked(("sinus_rhythm", "bliss"))
    with pytest.raises(InputRejected, match="statements_too_many"):
        WORDS.checked(tuple(WORDS.statements)[: LIMIT + 1])


def test_what_is_critical_has_its_days() -> None:
    small = parse(SMALL)
    days = [date(2026, 1, 31), date(2026, 2, 1), date(2026, 2, 28), date(2026, 3, 1)]
    assert [bool(small.critical_on(day)) for day in days] == [False, True, True, False]
    assert "inferior_mi_acute" in WORDS.critical_on(date(2026, 11, 1))
    assert "sinus_rhythm" not in WORDS.critical_on(date(2026, 11, 1))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('code = "y"', 'code = "x"'),
        ('those = ["y"]', 'those = ["z"]'),
        ('source = "a"', 'source = "b"'),
        ('statements = ["x"]', 'statements = ["z"]'),
        ('f = ["x"]', 'f = ["z"]'),
    ],
)
def test_a_wrong_list_is_refused(right: str, wrong: str) -> None:
    assert right in SMALL
    with pytest.raises(ValueError, match=r"twice|no such"):
        parse(SMALL.replace(right, wrong))


def test_suggestions_come_once_flags_first_and_a_flag_is_answered_by_any_of_its_line() -> None:
    assert WORDS.suggested(["st_elevation_inferior"], ["sinus_rhythm", "sinus_rhythm", "nothing"]) == (
        "inferior_mi_acute",
        "sinus_rhythm",
    )
    assert WORDS.answers("st_elevation_inferior", ["early_repolarization"])
    assert not WORDS.answers("st_elevation_inferior", ["sinus_rhythm", "anterior_mi_acute"])
    assert not WORDS.answers("a_flag_of_a_later_version", ["sinus_rhythm"])

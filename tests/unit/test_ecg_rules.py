"""What an alliance decides about automatic readings: limits, kinds of flags, and that they raise a case."""

from __future__ import annotations

from datetime import date

import pytest

from teleread.alliance import EcgRules, parse_alliance
from teleread.errors import Misconfigured
from teleread.pipeline.derive import derive
from teleread.reading.priority import decide
from teleread.signal.ecg import DEFAULT_PROFILE
from teleread.signal.ecg.flag_profile import load_profile, profile_names
from teleread.signal.ecg.rhythm_types import FINDING_CODES, SPAN_CODES
from teleread.web.readings import FLAGS, NOT_JUDGED, RHYTHM_FINDINGS, RHYTHMS, reading, st_judged
from tests.ecgs import ecg

HEAD = """
[alliance]
name_zh = "甲"
name_en = "A"
telephone = "1"
"""


def test_without_an_entry_the_standard_limits_hold_and_all_is_on() -> None:
    rules = parse_alliance(HEAD).ecg_rules(date(2026, 1, 1))
    assert rules.profile == DEFAULT_PROFILE
    assert all(rules.takes(kind) for kind in ("measurement", "order", "diagnosis_like"))


def test_an_entry_holds_from_its_day_to_its_end() -> None:
    text = HEAD + '[[ecg]]\nvalid_from = 2026-02-01\nvalid_to = 2026-03-01\nprofile = "udmi-2018"\norder = false\n'
    alliance = parse_alliance(text)
    assert [alliance.ecg_rules(date(2026, month, 1)).profile for month in (1, 2, 3)] == [
        "standard",
        "udmi-2018",
        "standard",
    ]
    assert not alliance.ecg_rules(date(2026, 2, 1)).takes("order")


@pytest.mark.parametrize("line", ["order = 1", 'measurement = "yes"', "unknown = true"])
def test_a_switch_is_true_or_false(line: str) -> None:
    with pytest.raises(Misconfigured):
        parse_alliance(HEAD + f"[[ecg]]\nvalid_from = 2026-01-01\n{line}\n")


@pytest.mark.parametrize(
    ("severities", "clinic", "expected"),
    [
        (["critical"], "routine", "urgent"),
        (["urgent"], "routine", "high"),
        (["note"], "routine", "routine"),
        (["note", "urgent", "critical"], "high", "urgent"),
        (["urgent"], "urgent", "urgent"),
        ([], "urgent", "urgent"),
    ],
)
def test_a_flag_raises_and_never_lowers(severities: list[str], clinic: str, expected: str) -> None:
    decision = decide(clinic, analysed=True, acceptable=True, severities=severities)  # type: ignore[arg-type]
    assert decision.priority == expected
    assert ("flagged" in decision.reasons) is bool({"critical", "urgent"} & set(severities))


def test_every_code_that_can_be_shown_has_words() -> None:
    assert set(SPAN_CODES) <= set(RHYTHMS)
    assert set(FINDING_CODES) <= set(RHYTHM_FINDINGS) | set(RHYTHMS)
    codes = {rule.code for name in profile_names() for rule in load_profile(name).rules}
    assert codes <= set(FLAGS)
    assert {"paced", "lbbb", "filter_narrow", "lead_missing"} <= set(NOT_JUDGED)


def test_what_is_switched_off_is_not_shown() -> None:
    analysis = {
        "recording": {"leads": ["I"]},
        "measurements": {"pr_ms": {"value": 160.0, "unit": "ms", "lead": "global", "confidence": 1.0}},
        "rhythm": [],
        "flags": [{"kind": "measurement"}, {"kind": "order"}, {"kind": "diagnosis_like"}, {"kind": "new"}],
    }
    day = date(2026, 1, 1)
    assert len(reading(analysis, EcgRules(day)).flags) == 4
    shown = reading(analysis, EcgRules(day, measurement=False, diagnosis_like=False))
    assert [flag["kind"] for flag in shown.flags] == ["order", "new"]
    assert (shown.beside, shown.others) == ((), ())


@pytest.mark.parametrize(
    ("low", "high", "judged"), [(0.05, 150.0, True), (0.5, 150.0, False), (0.05, 40.0, False), (None, 150.0, False)]
)
def test_st_is_judged_only_in_a_known_band_that_is_wide_enough(
    low: float | None, high: float | None, judged: bool
) -> None:
    assert st_judged({"high_pass_hz": low, "low_pass_hz": high}) is judged


def test_limits_that_are_not_in_force_on_a_day_stop_no_recording() -> None:
    options = {"issuer": "a", "utc_offset_minutes": 480, "ecg_profile": "gone", "ecg_profile_on": "1970-01-01"}
    assert derive(ecg(patient_id="1"), options).facts["failure"] is None

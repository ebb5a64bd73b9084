"""What an alliance decides about automatic readings: limits, kinds of flags, and that they raise a case."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from teleread.alliance import EcgRules, parse_alliance
from teleread.errors import Misconfigured
from teleread.pipeline.derive import derive
from teleread.reading.priority import decide
from teleread.signal.ecg import DEFAULT_PROFILE
from teleread.signal.ecg.flag_profile import load_profile, profile_names
from teleread.signal.ecg.rhythm_types import FINDING_CODES, SPAN_CODES
from teleread.web.readings import FLAGS, NOT_JUDGED, RHYTHM_FINDINGS, RHYTHMS, Reading, reading, st_doubt
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


def analysed(**parts: Any) -> dict[str, Any]:
    """A stored analysis of one lead with what a test puts into it."""
    empty = {"measurements": {}, "rhythm": [], "rhythm_findings": [], "flags": [], "not_judged": []}
    return {"recording": {"leads": ["I"]}} | empty | parts


def stored(code: str, **parts: Any) -> dict[str, Any]:
    """A stored flag."""
    rule = {"rule_id": f"a.{code}", "version": "1", "lead": "global", "kind": "order", "severity": "critical"}
    return rule | {"code": code, "value": 1.0, "limit": 0.1, "unit": "mV", "notes": [], "assumed": []} | parts


def skipped(code: str, reason: str, **parts: Any) -> dict[str, Any]:
    """A stored rule that was not judged."""
    return {"rule_id": f"a.{code}", "version": "1", "code": code, "reason": reason, "lead": None, "met": False} | parts


def shown(analysis: dict[str, Any], **switches: Any) -> Reading:
    return reading(analysis, EcgRules(date(2026, 1, 1), **switches))


def test_what_is_switched_off_is_not_shown_and_counted() -> None:
    kinds = ("measurement", "order", "diagnosis_like", "new")
    analysis = analysed(
        measurements={"pr_ms": {"value": 160.0, "unit": "ms", "lead": "global", "confidence": 1.0}},
        flags=[stored(kind, kind=kind) for kind in kinds],
        rhythm_findings=[rhythm_finding("tachycardia", 140.0, "bpm"), rhythm_finding("pause", 4.0, "s")],
    )
    everything = shown(analysis)
    assert (len(everything.flags), everything.hidden, everything.measured) == (4, 0, True)
    less = shown(analysis, measurement=False, diagnosis_like=False)
    assert [flag.code for flag in less.flags] == ["order", "new"]
    assert less.hidden == 2
    assert not less.measured
    assert (less.beside, less.others) == ((), ())
    assert [(one.code, one.value) for one in less.findings] == [("tachycardia", None), ("pause", 4.0)]


def rhythm_finding(code: str, value: float | None, unit: str) -> dict[str, Any]:
    return {"code": code, "start_s": 0.0, "end_s": 1.0, "value": value, "unit": unit, "confidence": 1.0}


def test_of_each_rhythm_finding_the_worst_value_is_shown_with_how_many_there_are() -> None:
    given: list[tuple[str, float | None, str]] = [
        ("pause", 6.0, "s"),
        ("bradycardia", 31.0, "bpm"),
        ("pause", 3.1, "s"),
        ("bradycardia", 44.0, "bpm"),
    ]
    given += [("av_block_3", None, ""), ("couplet", None, ""), ("couplet", 2.0, "%")]
    found = shown(analysed(rhythm_findings=[rhythm_finding(*one) for one in given])).findings
    assert {(one.code, one.value, one.unit, one.count) for one in found} == {
        ("pause", 6.0, "s", 2),
        ("bradycardia", 31.0, "bpm", 2),
        ("av_block_3", None, "", 1),
        ("couplet", 2.0, "%", 2),
    }


def test_a_limit_that_was_reached_and_not_judged_stands_by_itself() -> None:
    found = shown(
        analysed(
            not_judged=[
                skipped("st_elevation_anterior", "lbbb", met=True),
                skipped("st_elevation_anterior", "lbbb", met=True, rule_id="b.other"),
                skipped("st_elevation_inferior", "lbbb"),
                skipped("st_elevation_lateral", "lead_quality", lead="V5"),
                skipped("wellens_pattern", "age_outside"),
                skipped("st_elevation_posterior", "lead_missing"),
            ]
        )
    )
    assert found.reached == (("st_elevation_anterior", None, "lbbb"),)
    assert {one.reason: one.what for one in found.not_judged} == {
        "lbbb": (("st_elevation_inferior", None),),
        "lead_quality": (("st_elevation_lateral", "V5"),),
        "age_outside": (("wellens_pattern", None),),
        "lead_missing": (("st_elevation_posterior", None),),
    }
    assert found.n_not_judged == 4


def test_a_rule_of_a_kind_that_is_switched_off_is_not_shown_as_not_judged() -> None:
    analysis = analysed(
        not_judged=[
            skipped("wellens_pattern", "lbbb", met=True, kind="diagnosis_like"),
            skipped("qtc_long", "lbbb", met=True, kind="measurement"),
            skipped("st_elevation_lateral", "lbbb", kind="order"),
            skipped("de_winter_pattern", "lbbb", kind="diagnosis_like"),
            skipped("st_elevation_inferior", "paced", met=True),  # of an analysis before version 4
        ]
    )
    assert {code for code, _, _ in shown(analysis).reached} == {
        "wellens_pattern",
        "qtc_long",
        "st_elevation_inferior",
    }
    less = shown(analysis, diagnosis_like=False, measurement=False)
    assert [code for code, _, _ in less.reached] == ["st_elevation_inferior"]
    assert [(one.reason, one.what) for one in less.not_judged] == [("lbbb", (("st_elevation_lateral", None),))]
    assert less.n_not_judged == 2


def test_one_thing_flagged_by_two_rules_is_one_line_and_its_notes_stand_once() -> None:
    twice = [
        stored("st_elevation_inferior", lead="III", notes=["filter_unknown"]),
        stored("st_elevation_inferior", lead="II", rule_id="b.inferior", notes=["filter_unknown"], assumed=["age"]),
        stored("av_block_3", limit=1, unit="findings"),
        stored("ventricular_tachycardia", value=2.4, limit=0, unit="s"),
    ]
    found = shown(analysed(flags=twice))
    assert [(one.code, one.lead, one.value) for one in found.flags] == [
        ("st_elevation_inferior", "III", 1.0),
        ("av_block_3", None, None),
        ("ventricular_tachycardia", None, 2.4),
    ]
    assert [[rule[2] for rule in one.rules] for one in found.flags] == [[0.1, 0.1], [None], [None]]
    assert found.flag_notes == ("filter_unknown", "age")


def test_a_long_recording_has_its_rhythms_with_their_times() -> None:
    spans = [{"code": "sinus_rhythm", "start_s": 2.0 * n, "end_s": 2.0 * n + 2.0} for n in range(25)]
    found = shown(analysed(rhythm=spans))
    assert (len(found.spans), found.more_spans, found.spans[1]) == (20, 5, ("sinus_rhythm", 2.0, 4.0))
    assert shown(analysed(rhythm=spans[:5])).spans == ()


NARROW = [skipped("st_elevation_inferior", "filter_narrow")]


@pytest.mark.parametrize(
    ("low", "high", "not_judged", "flags", "doubt"),
    [
        (0.05, 150.0, [], [], ""),
        (0.5, 40.0, NARROW, [], "filter_narrow"),
        (0.5, 40.0, NARROW, [stored("st_depression_diffuse")], "filter_narrow"),
        (0.5, 40.0, [], [], "filter_narrow"),
        (None, 150.0, [], [], "filter_unknown"),
        (None, None, [], [stored("st_elevation_inferior")], "filter_unknown"),
        (0.05, 150.0, [skipped("st_elevation_inferior", "lbbb")], [], ""),
    ],
)
def test_st_is_not_judged_where_its_rules_were_left_out_or_the_band_is_narrow_or_unknown(
    low: float | None, high: float | None, not_judged: list[Any], flags: list[Any], doubt: str
) -> None:
    analysis = analysed(not_judged=not_judged, flags=flags)
    assert st_doubt(analysis, {"high_pass_hz": low, "low_pass_hz": high}) == doubt


def test_limits_that_are_not_in_force_on_a_day_stop_no_recording() -> None:
    options = {"issuer": "a", "utc_offset_minutes": 480, "ecg_profile": "gone", "ecg_profile_on": "1970-01-01"}
    assert derive(ecg(patient_id="1"), options).facts["failure"] is None

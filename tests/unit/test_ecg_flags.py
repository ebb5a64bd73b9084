"""Flags fire at their limits, exactly, and what was not judged is said."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from teleread.errors import Misconfigured
from teleread.signal.ecg import Filters, Finding, Quality
from teleread.signal.ecg.flag_profile import OPS, parse_profile
from teleread.signal.ecg.flag_tests import TESTS
from teleread.signal.ecg.flags import flag, load_profile, profile_names, suppressors
from tests.unit.flag_cases import STEP, WIDE_BAND, Case, F, M, R, cases, faulty, inputs, shifted, st

PROFILES = {name: load_profile(name) for name in profile_names()}
OWN = [p for name, p in PROFILES.items() if name != "standard"]
CASES = [case for profile in OWN for case in cases(profile)]


def fired(given: Any, name: str = "standard") -> dict[str, Any]:
    return {f.rule_id: f for f in flag(given, PROFILES[name]).flags}


def reasons(given: Any, name: str = "standard") -> dict[str, str]:
    return {n.rule_id: n.reason for n in flag(given, PROFILES[name]).not_judged if n.lead is None}


def alone(case: Case, rule: Any = None) -> Any:
    profile = PROFILES[case.rule.rule_id.rsplit(".", 1)[0]]
    return replace(profile, rules=(rule or case.rule,))


# --- both sides of every limit of every rule of every profile


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_limit_fires_on_one_side_and_not_on_the_other(case: Case) -> None:
    assert [f.rule_id for f in flag(case.inside, alone(case)).flags] == [case.rule.rule_id]
    assert flag(case.outside, alone(case)).flags == ()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_limit_moved_by_one_step_is_caught(case: Case) -> None:
    """The broken twin: a profile whose limit slipped either way answers differently on one of the two inputs."""
    index, step = case.rule.limits.index(case.limit), STEP[case.limit.unit]
    for by in (-step, step):
        if case.limit.name == "lead_count" and case.limit.value + by < 1:
            continue  # no lead at all is no pattern
        twin = alone(case, shifted(case.rule, index, by))
        answers = (bool(flag(case.inside, twin).flags), bool(flag(case.outside, twin).flags))
        assert answers != (True, False)


def test_every_rule_of_every_profile_has_its_boundary_tests() -> None:
    known = {(case.rule.rule_id, case.limit) for case in CASES}
    assert known == {
        (rule.rule_id, limit) for profile in PROFILES.values() for rule in profile.rules for limit in rule.limits
    }


@pytest.mark.parametrize("case", [c for c in CASES if c.rule.age_years[0] > 0], ids=str)
def test_a_rule_is_not_judged_below_its_age_and_says_so(case: Case) -> None:
    result = flag(replace(case.inside, age_years=case.rule.age_years[0] - 0.01), alone(case))
    assert result.flags == ()
    assert [n.reason for n in result.not_judged] == ["age_outside"]


# --- profiles are data: versioned, cited, dated


@pytest.mark.parametrize("profile", OWN, ids=lambda p: p.name)
def test_every_profile_cites_its_source_and_is_dated(profile: Any) -> None:
    source = profile.sources[profile.name]
    assert source.title
    assert source.seen
    assert profile.version
    assert all(rule.test in TESTS and rule.limits and rule.code for rule in profile.rules)
    assert all(limit.op in OPS for rule in profile.rules for limit in rule.limits)


def test_the_standard_profile_is_that_of_its_sources() -> None:
    assert {rule.rule_id.split(".")[0] for rule in PROFILES["standard"].rules} == set(PROFILES["standard"].sources)


def test_a_profile_not_yet_in_effect_is_refused() -> None:
    assert load_profile("udmi-2018", date(2020, 1, 1)).version == "1"
    with pytest.raises(Misconfigured) as caught:
        load_profile("udmi-2018", date(2018, 1, 1))
    assert caught.value.code == "flag_profile_not_in_effect"


def test_an_unknown_profile_is_refused_and_the_known_are_named() -> None:
    with pytest.raises(Misconfigured, match="udmi-2018"):
        load_profile("atlantis")


RULE = {
    "id": "a",
    "code": "a",
    "kind": "order",
    "severity": "note",
    "test": "measured",
    "age_years": [0, 200],
    "limits": [{"name": "x", "op": ">=", "value": 1, "unit": "ms"}],
}
TABLE = {
    "name": "t",
    "version": "1",
    "effective_from": date(2020, 1, 1),
    "source": {"title": "T", "seen": "all", "unverified": False},
    "rule": [RULE],
}


@pytest.mark.parametrize(
    "change",
    [
        {"surprise": 1},
        {"effective_from": "soon"},
        {"effective_to": "never"},
        {"source": {"title": "", "seen": "", "unverified": False}},
        {"rule": []},
        {"rule": [RULE, RULE]},
        {"rule": [RULE | {"kind": "guess"}]},
        {"rule": [RULE | {"limits": []}]},
        {"rule": [RULE | {"suppressed_by": ["mood"]}]},
        {"rule": [RULE | {"age_years": [5, 5]}]},
        {"rule": [RULE | {"limits": [{"name": "x", "op": "~", "value": 1, "unit": "ms"}]}]},
        {"rule": [{k: v for k, v in RULE.items() if k != "age_years"}]},
        {"source": None},
    ],
    ids=str,
)
def test_a_profile_that_is_not_whole_is_refused(change: dict[str, Any]) -> None:
    table = {k: v for k, v in (TABLE | change).items() if v is not None}
    with pytest.raises(Misconfigured) as caught:
        parse_profile(table)
    assert caught.value.code == "flag_profile_invalid"
    assert parse_profile(TABLE).rules[0].rule_id == "t.a"


def test_a_rule_with_an_unknown_test_is_refused() -> None:
    with pytest.raises(Misconfigured):
        flag(inputs(), parse_profile(TABLE | {"rule": [RULE | {"test": "astrology"}]}))


# --- unknown age and sex: the most sensitive limit, and said


@pytest.mark.parametrize(
    ("age", "sex", "limit_mv", "assumed"),
    [
        (39.9, "M", 0.25, ()),
        (40.0, "M", 0.20, ()),
        (25.0, "F", 0.15, ()),
        (70.0, "F", 0.15, ()),
        (None, "F", 0.15, ("age",)),
        (None, "M", 0.20, ("age",)),
        (60.0, None, 0.15, ("sex",)),
        (60.0, "O", 0.15, ("sex",)),
        (None, None, 0.15, ("age", "sex")),
    ],
)
def test_v2_and_v3_take_the_limit_of_the_patient(
    age: float | None, sex: str | None, limit_mv: float, assumed: tuple[str, ...]
) -> None:
    def with_level(level: float) -> Any:
        return inputs(measurements=st(V2=level, V3=level), age_years=age, sex=sex)

    found = fired(with_level(limit_mv), "udmi-2018")["udmi-2018.anterior"]
    assert (found.limit, found.assumed) == (limit_mv, assumed)
    assert not fired(with_level(limit_mv - 0.001), "udmi-2018")


def test_a_rule_for_all_ages_assumes_nothing() -> None:
    given = inputs(measurements={"rr_max_ms": M(3100.0, "ms")}, age_years=None, sex=None)
    assert fired(given)["cn-consensus-2017.long-rr"].assumed == ()


# --- two contiguous leads


@pytest.mark.parametrize(
    ("levels", "code"),
    [
        ({"II": 0.12, "III": 0.2, "aVF": 0.16}, "inferior"),
        ({"V1": 0.1, "V2": 0.2}, "anterior"),
        ({"V4": 0.1, "V5": 0.1}, "anterior"),
        ({"I": 0.1, "aVL": 0.15}, "lateral"),
        ({"V8": 0.06, "V9": 0.05}, "posterior"),
        ({"V3R": 0.05, "V4R": 0.07}, "right-ventricular"),
    ],
)
def test_st_elevation_in_two_neighbours_flags_its_wall(levels: dict[str, float], code: str) -> None:
    found = fired(inputs(measurements=st(**levels)), "udmi-2018")
    assert set(found) == {f"udmi-2018.{code}"}
    result = found[f"udmi-2018.{code}"]
    assert dict(result.evidence) == levels
    assert result.severity == "critical"
    assert levels[result.lead] == result.value >= result.limit


@pytest.mark.parametrize("levels", [{"II": 0.4}, {"V2": 0.4}, {"V1": 0.3, "V4": 0.3}, {"III": 0.3, "I": 0.3}])
def test_one_lead_or_two_apart_are_no_infarction(levels: dict[str, float]) -> None:
    assert not fired(inputs(measurements=st(**levels)), "udmi-2018")


# --- what is not judged is said, and whether the limits were met all the same

HIGH = st(II=0.2, III=0.2, aVF=0.2)


@pytest.mark.parametrize(
    ("rhythm", "reason"),
    [
        (R(findings=(F("paced"),)), "paced"),
        (R(((0.0, 10.0, "paced_rhythm"),)), "paced"),
        (R(((0.0, 4.0, "sinus_rhythm"), (4.0, 8.0, "ventricular_tachycardia"))), "ventricular_rhythm"),
        (R(findings=(F("lbbb"),)), "lbbb"),
        (R(findings=(F("pre_excitation"),)), "pre_excitation"),
        (R(findings=(F("pre_excited_af", 300.0, "ms"),)), "pre_excitation"),
    ],
)
def test_paced_blocked_and_pre_excited_traces_suppress_st_visibly(rhythm: R, reason: str) -> None:
    result = flag(inputs(measurements=HIGH, rhythm=rhythm), PROFILES["udmi-2018"])
    assert result.flags == ()
    assert result.st_not_judged == (reason,)
    assert [n.met for n in result.not_judged if n.rule_id == "udmi-2018.inferior"] == [True]
    assert [n.met for n in result.not_judged if n.rule_id == "udmi-2018.anterior"] == [False]


def test_a_short_ventricular_run_does_not_hide_an_infarction() -> None:
    rhythm = R(((0.0, 6.0, "sinus_rhythm"), (6.0, 9.0, "ventricular_tachycardia")))
    assert "udmi-2018.inferior" in fired(inputs(measurements=HIGH, rhythm=rhythm))


@pytest.mark.parametrize(
    ("voltages", "age", "sex", "suspected"),
    [
        ({"s_amplitude_mv.V1": M(-1.5), "r_amplitude_mv.V5": M(2.0)}, 35.0, "M", True),
        ({"s_amplitude_mv.V1": M(-1.5), "r_amplitude_mv.V6": M(1.999)}, 35.0, "M", False),
        ({"s_amplitude_mv.V1": M(1.5), "r_amplitude_mv.V5": M(2.5)}, 34.0, "M", False),
        ({"s_amplitude_mv.V1": M(1.5), "r_amplitude_mv.V5": M(2.5)}, None, "M", False),
        ({"s_amplitude_mv.V3": M(-1.5), "r_amplitude_mv.aVL": M(1.3)}, 50.0, "M", True),
        ({"s_amplitude_mv.V3": M(-1.5), "r_amplitude_mv.aVL": M(1.29)}, 50.0, "M", False),
        ({"s_amplitude_mv.V3": M(-1.0), "r_amplitude_mv.aVL": M(1.0)}, 50.0, "F", True),
        ({"s_amplitude_mv.V3": M(-1.0), "r_amplitude_mv.aVL": M(1.0)}, 50.0, None, False),
    ],
)
def test_hypertrophy_is_suspected_by_voltage(
    voltages: dict[str, M], age: float | None, sex: str | None, suspected: bool
) -> None:
    given = inputs(measurements=HIGH | voltages, age_years=age, sex=sex)
    assert ("lvh" in suppressors(given, PROFILES["standard"].lvh)) is suspected
    assert ("udmi-2018.inferior" in fired(given)) is not suspected
    assert (reasons(given).get("udmi-2018.inferior") == "lvh") is suspected


@pytest.mark.parametrize(
    ("band", "notes", "reason"),
    [
        (WIDE_BAND, (), ""),
        (Filters(0.01, 250.0), (), ""),
        (Filters(0.05, None), ("filter_unknown",), ""),
        (Filters(), ("filter_unknown",), ""),
        (Filters(0.5, 150.0), (), "filter_narrow"),
        (Filters(0.05, 40.0), (), "filter_narrow"),
        (Filters(0.5, None), (), "filter_narrow"),
    ],
)
def test_a_narrow_filter_is_not_judged_and_an_unknown_one_flags_with_a_note(
    band: Filters, notes: tuple[str, ...], reason: str
) -> None:
    result = flag(inputs(measurements=HIGH, filters=band), PROFILES["udmi-2018"])
    assert result.st_not_judged == ((reason,) if reason else ())
    assert [f.notes for f in result.flags] == ([] if reason else [notes])


def test_our_own_narrow_filter_counts_too() -> None:
    given = inputs(measurements=HIGH, applied=Filters(0.5, 40.0))
    assert reasons(given, "udmi-2018")["udmi-2018.inferior"] == "filter_narrow"


def test_a_dead_lead_is_left_out_and_named() -> None:
    given = inputs(measurements=HIGH, quality=faulty(("aVF", "flat")))
    result = flag(given, PROFILES["udmi-2018"])
    assert [f.rule_id for f in result.flags] == ["udmi-2018.inferior"]
    assert [(n.lead, n.reason) for n in result.not_judged if n.rule_id == "udmi-2018.inferior"] == [
        ("aVF", "lead_quality")
    ]
    two = replace(given, quality=faulty(("aVF", "flat"), ("III", "off")))
    assert reasons(two, "udmi-2018")["udmi-2018.inferior"] == "lead_quality"


def test_one_bad_limb_electrode_leaves_out_every_limb_lead() -> None:
    given = inputs(measurements=HIGH, quality=Quality(False, 0.4, (Finding("I", "off", "", "LA"),)))
    assert reasons(given, "udmi-2018")["udmi-2018.inferior"] == "lead_quality"


def test_swapped_electrodes_are_noted_on_a_flag() -> None:
    given = inputs(measurements=HIGH, quality=faulty(("I", "limb_reversal")))
    assert fired(given)["udmi-2018.inferior"].notes == ("limb_reversal",)


def test_flutter_waves_are_noted_on_an_st_flag() -> None:
    given = inputs(measurements=HIGH, rhythm=R(((0.0, 10.0, "atrial_flutter"),)))
    assert fired(given)["udmi-2018.inferior"].notes == ("atrial_flutter",)


def test_leads_that_are_not_there_or_not_measured_are_said() -> None:
    twelve = inputs(measurements=st(), leads=("I", "II", "III", "aVR", "aVL", "aVF"))
    assert reasons(twelve, "udmi-2018")["udmi-2018.posterior"] == "lead_missing"
    assert reasons(inputs(), "udmi-2018")["udmi-2018.inferior"] == "not_measured"
    guessed = {name: replace(m, confidence=0.1) for name, m in HIGH.items()}
    assert reasons(inputs(measurements=guessed), "udmi-2018")["udmi-2018.inferior"] == "not_measured"


def test_nothing_known_means_nothing_judged_and_everything_said() -> None:
    empty = inputs(rhythm=None, quality=None, age_years=None, sex=None, leads=())
    result = flag(empty, PROFILES["standard"])
    assert result.flags == ()
    told = {n.rule_id for n in result.not_judged}
    asked = {r.rule_id for r in PROFILES["standard"].rules if "requires" not in r.params}
    assert told == asked


# --- rhythm


def test_the_rate_of_a_run_is_that_of_its_own_beats() -> None:
    beats = tuple(k * 0.8 for k in range(8)) + tuple(6.0 + k * 0.3 for k in range(12))
    rhythm = R(((0.0, 5.7, "sinus_rhythm"), (6.0, 9.3, "ventricular_tachycardia")))
    found = fired(inputs(rhythm=rhythm, r_peaks_s=beats))["cn-consensus-2017.vt"]
    assert found.value == pytest.approx(200.0)


def test_a_rate_comes_from_the_finding_or_the_whole_where_beats_are_missing() -> None:
    rhythm = R(((0.0, 10.0, "ventricular_tachycardia"),))
    told = replace(rhythm, findings=(F("ventricular_tachycardia", 170.0, "bpm"),))
    assert fired(inputs(rhythm=told))["cn-consensus-2017.vt"].value == 170.0
    whole = inputs(rhythm=rhythm, measurements={"heart_rate_bpm": M(160.0, "bpm")})
    assert fired(whole)["cn-consensus-2017.vt"].value == 160.0
    assert reasons(inputs(rhythm=rhythm))["cn-consensus-2017.vt"] == "not_measured"


@pytest.mark.parametrize(("value", "unit", "ms"), [(3.2, "s", 3200.0), (3200.0, "ms", 3200.0)])
def test_a_pause_is_found_by_the_rhythm_as_well(value: float, unit: str, ms: float) -> None:
    found = fired(inputs(rhythm=R(findings=(F("pause", value, unit),))))
    assert found["cn-consensus-2017.long-rr"].value == ms


def test_pre_excited_af_takes_its_interval_in_any_unit_or_from_the_shortest_rr() -> None:
    def of(value: float | None, unit: str, **measurements: M) -> Any:
        return inputs(rhythm=R(findings=(F("pre_excited_af", value, unit),)), measurements=measurements)

    rule = "cn-consensus-2017.pre-excited-af"
    assert fired(of(250.0, "bpm"))[rule].value == 240.0
    assert fired(of(None, "", rr_min_ms=M(230.0, "ms")))[rule].value == 230.0
    assert reasons(of(None, ""))[rule] == "not_measured"
    assert reasons(of(0.0, "bpm"))[rule] == "not_measured"
    assert not fired(of(260.0, "ms"))


def test_provinces_differ_in_the_rate_that_is_critical() -> None:
    def of(rate: float, code: str) -> set[str]:
        given = inputs(rhythm=R(((0.0, 10.0, code),)), r_peaks_s=tuple(k * 60.0 / rate for k in range(30)))
        return {
            name
            for name in PROFILES
            if name.startswith("cn-") and any(f.code.endswith("_fast") for f in flag(given, PROFILES[name]).flags)
        }

    assert of(190.0, "supraventricular_tachycardia") == {"cn-shanxi-2017"}
    assert of(190.0, "atrial_fibrillation") == {"cn-shanxi-2017", "cn-zhejiang-trial"}
    assert of(210.0, "supraventricular_tachycardia") == {"cn-shanxi-2017", "cn-provincial-200", "cn-consensus-2017"}
    assert len(of(231.0, "supraventricular_tachycardia")) == 4


# --- switching, order, shape


def test_a_lead_without_a_limit_or_a_wave_for_it_is_not_judged() -> None:
    men = RULE | {
        "test": "lead_pattern",
        "params": {"leads": ["V2"]},
        "limits": [
            {"name": "st_j_mv", "op": ">=", "value": 0.1, "unit": "mV", "sex": "M"},
            {"name": "lead_count", "op": ">=", "value": 1, "unit": "leads"},
        ],
    }
    profile = parse_profile(TABLE | {"rule": [men]})
    given = inputs(measurements=st(V2=0.3))
    assert [f.rule_id for f in flag(given, profile).flags] == ["t.a"]
    assert [n.reason for n in flag(replace(given, sex="F"), profile).not_judged] == ["not_measured"]
    blocked = inputs(measurements=st(V5=0.3), rhythm=R(findings=(F("lbbb"),)))
    assert reasons(blocked)["teleread-patterns.concordant-elevation"] == "not_measured"
    tall = {f"t_amplitude_mv.{lead}": M(0.9, "mV", lead) for lead in ("V2", "V3", "V4", "V5", "V6")}
    assert reasons(inputs(measurements=tall))["teleread-patterns.hyperkalaemia"] == "not_measured"


def test_each_kind_is_switched_by_itself_and_visibly() -> None:
    given = inputs(measurements=HIGH | {"rr_max_ms": M(3500.0, "ms")})
    assert {f.kind for f in flag(given, PROFILES["standard"]).flags} == {"measurement", "order"}
    for kind in ("measurement", "order", "diagnosis_like"):
        result = flag(given, PROFILES["standard"].with_kinds(kind))
        assert {f.kind for f in result.flags} <= {kind}
        assert {n.reason for n in result.not_judged} >= {"switched_off"}
    with pytest.raises(Misconfigured):
        PROFILES["standard"].with_kinds("rumour")


def test_the_most_severe_stands_first() -> None:
    rhythm = R(((0.0, 10.0, "ventricular_tachycardia"),))
    given = inputs(rhythm=rhythm, r_peaks_s=tuple(k * 0.35 for k in range(28)))
    assert [f.severity for f in flag(given, PROFILES["standard"]).flags] == ["critical", "urgent"]


def test_json_holds_plain_types_and_all_keys() -> None:
    result = flag(inputs(measurements=HIGH, quality=faulty(("aVF", "flat"))), PROFILES["udmi-2018"])
    item = result.flags[0].to_json()
    assert item["rule_id"] == "udmi-2018.inferior"
    assert item["evidence"] == [{"lead": "II", "value": 0.2}, {"lead": "III", "value": 0.2}]
    assert set(result.not_judged[0].to_json()) == {"rule_id", "version", "code", "reason", "lead", "met", "kind"}

"""Patterns of ST: what is raised in proportion, what something else explains, and that it is said."""

from __future__ import annotations

from typing import Any

import pytest

from teleread.signal.ecg.flags import flag, load_profile, profile_names
from tests.unit.flag_cases import LEADS, F, M, R, faulty, inputs, st

PROFILES = {name: load_profile(name) for name in profile_names()}
HIGH = st(II=0.2, III=0.2, aVF=0.2)


def fired(given: Any, name: str = "standard") -> dict[str, Any]:
    return {f.rule_id: f for f in flag(given, PROFILES[name]).flags}


def reasons(given: Any, name: str = "standard") -> dict[str, str]:
    return {n.rule_id: n.reason for n in flag(given, PROFILES[name]).not_judged if n.lead is None}


def later(j80: float) -> dict[str, M]:
    """``HIGH`` with ST 80 ms after J."""
    return HIGH | {f"st_j80_mv.{lead}": M(j80, "mV", lead) for lead in LEADS}


def test_st_that_flutter_waves_lift_at_j_alone_is_no_flag_but_said() -> None:
    flutter = R(((0.0, 10.0, "atrial_flutter"),))
    rule = "udmi-2018.inferior"
    withheld = flag(inputs(measurements=later(0.149), rhythm=flutter), PROFILES["udmi-2018"])
    assert not withheld.flags
    assert [(n.rule_id, n.reason, n.met, n.kind) for n in withheld.not_judged if n.met] == [
        (rule, "atrial_flutter", True, "order")
    ]
    assert rule in fired(inputs(measurements=later(0.15), rhythm=flutter))
    assert rule in fired(inputs(measurements=HIGH, rhythm=flutter))  # not measured later: to the safe side
    assert rule in fired(inputs(measurements=later(0.0)))  # without flutter ST is judged at J
    mostly_sinus = R(((0.0, 6.0, "sinus_rhythm"), (6.0, 10.0, "atrial_flutter")))
    assert rule in fired(inputs(measurements=later(0.0), rhythm=mostly_sinus))


@pytest.mark.parametrize(("j60", "judged"), [(0.14, False), (0.2, True), (0.149, False), (0.1, False)])
def test_a_j_point_within_qrs_is_no_st_level(j60: float, judged: bool) -> None:
    level = 0.5 if j60 != 0.2 else 0.39  # 0.39 to 0.2 mV: more than half of it is left
    given = inputs(
        measurements=st(V1=level, V2=level) | {f"st_j60_mv.{lead}": M(j60, "mV", lead) for lead in ("V1", "V2")}
    )
    assert ("udmi-2018.anterior" in fired(given)) is judged
    left_out = {n.lead for n in flag(given, PROFILES["udmi-2018"]).not_judged if n.code == "st_elevation_anterior"}
    assert ({"V1", "V2"} <= left_out) is not judged


def test_with_hypertrophy_st_counts_in_proportion_to_qrs() -> None:
    voltage = {"s_amplitude_mv.V3": M(-2.0), "r_amplitude_mv.aVL": M(1.0)}
    waves = {f"s_amplitude_mv.{lead}": M(-2.0, "mV", lead) for lead in ("V1", "V2", "V3", "V4")}
    small = inputs(measurements=st(V2=0.3, V3=0.3) | waves | voltage)
    assert not fired(small)
    assert {n.rule_id for n in flag(small, PROFILES["standard"]).not_judged if n.met and n.kind == "order"} == {
        "udmi-2018.anterior"
    }
    large = inputs(measurements=st(V2=0.5, V3=0.5) | waves | voltage)
    assert set(fired(large)) == {"teleread-patterns.anterior-lvh"}
    assert reasons(large).get("udmi-2018.anterior") is None
    inferior = inputs(measurements=HIGH | voltage | {f"r_amplitude_mv.{lead}": M(1.0) for lead in ("II", "III", "aVF")})
    assert set(fired(inferior)) == {"teleread-patterns.inferior-lvh"}


def test_sgarbossa_is_asked_only_of_blocked_or_paced_traces() -> None:
    late = {f"st_j80_mv.{lead}": M(0.15, "mV", lead) for lead in LEADS} | {"qrs_duration_ms": M(150.0, "ms")}
    raised = st(V5=0.15) | late | {"r_amplitude_mv.V5": M(1.0), "q_amplitude_mv.V5": M(-0.1)}
    assert not fired(inputs(measurements=raised))
    for code in ("lbbb", "paced"):
        found = fired(inputs(measurements=raised, rhythm=R(findings=(F(code),))))
        assert set(found) == {"teleread-patterns.concordant-elevation"}
    discordant = st(V5=0.15) | late | {"s_amplitude_mv.V5": M(-1.0)}
    assert not fired(inputs(measurements=discordant, rhythm=R(findings=(F("lbbb"),))))
    excessive = st(V2=0.4) | late | {"s_amplitude_mv.V2": M(-1.5)}
    assert set(fired(inputs(measurements=excessive, rhythm=R(findings=(F("lbbb"),))))) == {
        "teleread-patterns.discordant-elevation"
    }


def test_diffuse_depression_needs_a_witness() -> None:
    low = {f"st_j_mv.{lead}": M(-0.12, "mV", lead) for lead in ("I", "II", "III", "aVF", "V4", "V5", "V6")}
    low |= {name.replace("st_j", "st_j80"): M(-0.1, "mV", level.lead) for name, level in low.items()}
    rest = {
        f"{name}.{lead}": M(0.0, "mV", lead) for lead in ("aVL", "V1", "V2", "V3") for name in ("st_j_mv", "st_j80_mv")
    }
    rule = "teleread-patterns.diffuse-depression"
    given = inputs(measurements=low | rest | {"st_j_mv.aVR": M(0.1, "mV", "aVR")})
    assert rule in fired(given)
    assert ("aVR", 0.1) in fired(given)[rule].evidence
    assert rule not in fired(inputs(measurements=low | rest))
    no_witness = inputs(
        measurements=low | rest | {"st_j_mv.aVR": M(0.1)}, quality=faulty(("aVR", "off"), ("V1", "off"))
    )
    assert reasons(no_witness)[rule] == "not_measured"

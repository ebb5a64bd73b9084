"""Promises of the comparison of two recordings."""

from __future__ import annotations

import pytest

from teleread.signal.ecg.measured import Measured
from teleread.signal.ecg.serial import (
    CONDUCTION_DIFFERS,
    DOUBTFUL_QUALITY,
    LOW_CONFIDENCE,
    Change,
    Compared,
    compare,
    serial_limits,
)

UNITS = {"bpm": "bpm", "ms": "ms", "mv": "mV", "deg": "deg"}


def of(*codes: str, acceptable: bool = True, sure: float = 0.9, **values: float) -> Compared:
    """A recording whose measurements are given by name, ``__`` for the point before a lead."""
    measurements = {}
    for key, value in values.items():
        name, _, lead = key.partition("__")
        measured = Measured(value, UNITS[name.rsplit("_", 1)[1]], lead or "global", sure)
        measurements[f"{name}.{lead}" if lead else name] = measured
    return Compared(measurements, ("sinus_rhythm",), codes, acceptable)


def only(changes: tuple[Change, ...], name: str) -> list[Change]:
    return [change for change in changes if change.name == name]


def test_every_limit_names_its_source() -> None:
    limits = serial_limits()
    entries = [
        *limits["limits"].values(),
        *(limits[k] for k in ("st_elevation", "st_depression", "t_inversion", "q_wave")),
    ]
    assert entries
    assert all(len(entry["source"]) > 10 for entry in entries)


@pytest.mark.parametrize("name", sorted(serial_limits()["limits"]))
def test_each_limit_on_both_sides(name: str) -> None:
    limit = serial_limits()["limits"][name]["limit"]
    for delta, significant in ((limit, True), (-limit, True), (limit - 0.1, False), (0.0, False)):
        change = compare(of(**{name: 100.0 + delta}), of(**{name: 100.0}))[0]
        assert (change.name, change.before, change.now) == (name, 100.0, 100.0 + delta)
        assert change.delta == pytest.approx(delta, abs=1e-3)
        assert change.significant is significant


def test_axes_take_the_shorter_way_round() -> None:
    change = compare(of(qrs_axis_deg=-170.0), of(qrs_axis_deg=175.0))[0]
    assert change.delta == 15.0
    assert not change.significant


def test_st_up_and_down_have_limits_of_their_own() -> None:
    for delta, significant in ((0.1, True), (0.09, False), (-0.05, True), (-0.04, False)):
        change = compare(of(st_j_mv__V2=0.02 + delta), of(st_j_mv__V2=0.02))[0]
        assert (change.name, change.lead, change.unit) == ("st_j_mv", "V2", "mV")
        assert change.significant is significant, delta


def test_t_inversions_new_and_gone_are_told_and_a_flat_t_is_not() -> None:
    new = compare(of(t_amplitude_mv__V4=-0.2), of(t_amplitude_mv__V4=0.3))[0]
    assert (new.name, new.lead, new.significant, new.delta) == ("t_inversion", "V4", True, -0.5)
    gone = compare(of(t_amplitude_mv__V4=0.2), of(t_amplitude_mv__V4=-0.3))[0]
    assert gone.significant
    assert compare(of(t_amplitude_mv__V4=-0.05), of(t_amplitude_mv__V4=0.3)) == ()
    assert compare(of(t_amplitude_mv__V4=-0.25), of(t_amplitude_mv__V4=-0.3)) == ()


def test_a_new_q_wave_counts_when_it_is_deep_and_long() -> None:
    before = of(st_j_mv__III=0.0)
    new = of(st_j_mv__III=0.0, q_amplitude_mv__III=-0.3, q_duration_ms__III=36.0)
    change = only(compare(new, before), "q_wave")[0]
    assert (change.lead, change.before, change.now, change.significant) == ("III", None, -0.3, True)
    back = only(compare(before, new), "q_wave")[0]
    assert (back.before, back.now) == (-0.3, None)
    short = of(st_j_mv__III=0.0, q_amplitude_mv__III=-0.3, q_duration_ms__III=24.0)
    assert only(compare(short, before), "q_wave") == []
    in_v2 = of(st_j_mv__V2=0.0, q_amplitude_mv__V2=-0.3, q_duration_ms__V2=24.0)
    assert len(only(compare(in_v2, of(st_j_mv__V2=0.0)), "q_wave")) == 1
    right_arm = of(st_j_mv__aVR=0.0, q_amplitude_mv__aVR=-0.9, q_duration_ms__aVR=60.0)
    assert only(compare(right_arm, of(st_j_mv__aVR=0.0)), "q_wave") == []


def test_a_lead_that_was_not_recorded_before_has_no_new_q() -> None:
    new = of(st_j_mv__V8=0.0, q_amplitude_mv__V8=-0.3, q_duration_ms__V8=36.0)
    assert compare(new, of(pr_ms=150.0)) == ()


def test_rhythms_that_are_not_one_for_one_stand_each_by_itself() -> None:
    now = Compared({}, ("atrial_fibrillation", "atrial_flutter"))
    changes = [(c.before, c.now) for c in compare(now, Compared({}, ("sinus_rhythm",)))]
    assert changes == [(None, "atrial_fibrillation"), (None, "atrial_flutter"), ("sinus_rhythm", None)]


def test_rhythms_and_findings_new_and_gone() -> None:
    now = Compared({}, ("atrial_fibrillation",), ("lbbb",))
    before = Compared({}, ("sinus_rhythm",), ("av_block_1",))
    seen = {(c.name, c.before, c.now, c.significant) for c in compare(now, before)}
    assert seen == {
        ("rhythm", "sinus_rhythm", "atrial_fibrillation", True),
        ("finding", None, "lbbb", True),
        ("finding", "av_block_1", None, True),
    }
    assert compare(now, now) == ()


def test_another_conduction_takes_significance_from_st_t_and_q_visibly() -> None:
    changes = compare(of("lbbb", st_j_mv__V2=0.4, t_amplitude_mv__V5=-0.4), of(st_j_mv__V2=0.0, t_amplitude_mv__V5=0.3))
    for name in ("st_j_mv", "t_inversion"):
        change = only(changes, name)[0]
        assert not change.significant
        assert change.note == CONDUCTION_DIFFERS
    assert only(changes, "finding")[0].significant


@pytest.mark.parametrize("doubtful", ["now", "before"])
def test_a_doubtful_recording_is_never_compared_silently(doubtful: str) -> None:
    now = of("lbbb", acceptable=doubtful != "now", pr_ms=240.0, st_j_mv__V2=0.5)
    before = of(acceptable=doubtful != "before", pr_ms=150.0, st_j_mv__V2=0.0)
    changes = compare(now, before)
    assert changes[0].name == "quality"
    assert {changes[0].before, changes[0].now} == {"acceptable", "doubtful"}
    assert all(change.note == DOUBTFUL_QUALITY and not change.significant for change in changes)
    assert only(changes, "pr_ms")[0].delta == 90.0


def test_unsure_numbers_are_listed_but_prove_nothing() -> None:
    change = compare(of(pr_ms=240.0, sure=0.2), of(pr_ms=150.0))[0]
    assert change.note == LOW_CONFIDENCE
    assert not change.significant


def test_nothing_in_common_is_no_change() -> None:
    assert compare(of(pr_ms=150.0), of(qt_ms=400.0)) == ()

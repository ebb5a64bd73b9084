"""Promises of the simulator: it obeys the laws of the leads, and its truth is true."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from teleread.signal.ecg import CONDITIONS, STANDARD_LEADS, EcgRecord, simulate


def lead(record: EcgRecord, name: str) -> NDArray[np.float64]:
    row = record.lead(name)
    assert row is not None
    return row


def breaks_lead_laws(record: EcgRecord) -> bool:
    one, two, three = (lead(record, name) for name in ("I", "II", "III"))
    expected = {"aVR": -(one + two) / 2, "aVL": (one - three) / 2, "aVF": (two + three) / 2}
    return not np.allclose(three, two - one) or any(not np.allclose(lead(record, k), v) for k, v in expected.items())


@pytest.mark.parametrize("condition", CONDITIONS)
def test_einthoven_and_goldberger_hold(condition: str) -> None:
    assert not breaks_lead_laws(simulate(condition, 3)[0])


def test_the_check_of_the_lead_laws_can_fail() -> None:
    record, _ = simulate("normal", 3)
    record.signals_mv[2] += 0.1
    assert breaks_lead_laws(record)  # the broken twin


@pytest.mark.parametrize("condition", CONDITIONS)
def test_the_same_arguments_give_the_same_samples(condition: str) -> None:
    first, truth = simulate(condition, 5)
    second, again = simulate(condition, 5)
    other, _ = simulate(condition, 6)
    assert first.signals_mv.tobytes() == second.signals_mv.tobytes()
    assert truth.r_peaks.tobytes() == again.r_peaks.tobytes()
    assert first.signals_mv.tobytes() != other.signals_mv.tobytes()


def test_an_arm_swap_is_exactly_what_the_electrodes_do() -> None:
    record, truth = simulate("ra_la_swap", 2)
    signals = dict(zip(STANDARD_LEADS, record.signals_mv, strict=True))
    beat = truth.r_peaks[3]
    assert signals["I"][beat] < 0 < signals["V6"][beat]
    assert truth.faults == (("I", "limb_reversal"),)
    assert not breaks_lead_laws(record)


def test_an_inferior_infarct_lifts_st_below_and_sinks_it_above() -> None:
    record, truth = simulate("inferior_stemi", 1)
    st = {name: np.median([row[r + 40] - row[r - 32] for r in truth.r_peaks[1:-1]])
          for name, row in zip(record.leads, record.signals_mv, strict=True)}  # fmt: skip
    assert st["III"] > st["II"] > 0.1
    assert st["aVF"] > 0.1
    assert st["I"] < -0.05
    assert st["aVL"] < -0.1


def test_a_complete_block_beats_slowly_and_regularly() -> None:
    _, truth = simulate("complete_block", 1, duration_s=30)
    rr = np.diff(truth.r_peaks)
    assert 35 < truth.heart_rate_bpm < 41
    assert rr.std() / rr.mean() < 0.02


def test_fibrillation_is_irregular_and_has_no_p_wave() -> None:
    af, truth = simulate("af", 1, duration_s=30)
    rr = np.diff(truth.r_peaks)
    assert rr.std() / rr.mean() > 0.12
    normal, regular = simulate("normal", 1, duration_s=30)

    def p_height(record: EcgRecord, peaks: NDArray[np.int64]) -> float:
        two = lead(record, "II")
        beats = np.median([two[r - 110 : r - 40] for r in peaks[1:-1]], axis=0)
        return float(np.ptp(beats))

    assert p_height(normal, regular.r_peaks) > 0.08 > p_height(af, truth.r_peaks)


def test_the_named_chest_lead_is_dead() -> None:
    record, truth = simulate("lead_off", 1, lead="V5")
    assert np.ptp(lead(record, "V5")) < 0.006 < np.ptp(lead(record, "V4"))
    assert truth.faults == (("V5", "flat"),)


@pytest.mark.parametrize(
    ("condition", "options"),
    [("no_heart", {}), ("normal", {"fs_hz": 50.0}), ("normal", {"duration_s": 0.5}), ("lead_off", {"lead": "II"})],
)
def test_what_cannot_be_simulated_is_refused(condition: str, options: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        simulate(condition, 1, **options)  # type: ignore[arg-type]

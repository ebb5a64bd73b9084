"""Promises of the networks that stand for the experts: any rate, any order of chest leads, any length."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from teleread.signal.ecg import STANDARD_LEADS, simulate
from teleread.signal.ecg.lead_measures import views
from teleread.signal.ecg.quality_judge import experts, stretches, unacceptable_to_experts


def heart(fs_hz: float = 500.0, spoilt: bool = False) -> NDArray[np.float64]:
    """Twelve leads; one of them jumps up and down where spoilt."""
    signals = simulate("normal", 1, fs_hz=fs_hz)[0].signals_mv.copy()
    if spoilt:
        t = np.arange(signals.shape[1]) / fs_hz
        signals[7] += 1.5 * np.sign(np.sin(2 * np.pi * 3.0 * t))
    return signals


def log_odds(signals: NDArray[np.float64], fs_hz: float = 500.0) -> float:
    seen = views(signals, fs_hz)
    (part,) = stretches(seen.work, seen.work_fs_hz)
    return experts().log_odds(part)


def test_experts_refuse_chaos_and_are_not_asked_without_all_twelve_leads() -> None:
    seen = views(np.random.default_rng(5).standard_normal((12, 5000)), 500.0)
    assert unacceptable_to_experts(seen.work, seen.work_fs_hz, STANDARD_LEADS)
    assert unacceptable_to_experts(seen.work, seen.work_fs_hz, STANDARD_LEADS[:8]) is None


@pytest.mark.parametrize("fs_hz", [250.0, 360.0, 500.0, 1000.0])
def test_a_spoilt_lead_is_seen_at_any_rate(fs_hz: float) -> None:
    clean = log_odds(heart(fs_hz), fs_hz)
    assert clean < -1.0
    assert log_odds(heart(fs_hz, spoilt=True), fs_hz) > clean + 2.0


def test_the_order_of_chest_leads_changes_nothing() -> None:
    signals = heart(spoilt=True)
    other = signals[[0, 1, 2, 3, 4, 5, 11, 10, 9, 8, 7, 6]]
    assert log_odds(other) == pytest.approx(log_odds(signals), abs=1e-3)


def test_half_a_minute_is_graded_in_stretches_of_ten_seconds() -> None:
    seen = views(np.concatenate([heart()] * 3, axis=1), 500.0)
    parts = stretches(seen.work, seen.work_fs_hz)
    assert [part.shape for part in parts] == [(12, 6, 250)] * 3
    assert not unacceptable_to_experts(seen.work, seen.work_fs_hz, STANDARD_LEADS)

"""Whether the few complexes of a recording are a very slow heart rather than chance.

Beats at under 20/min are too few for a verdict that goes by their rate, and the longest pause of all must not be thrown
away with them. Between two of them the ventricles stand still, and yet they are beats that can be measured.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg.filters import Samples, bridge_gaps
from teleread.signal.ecg.lead_measures import beat_band, to_work_rate

_MOST = 6
_HALF_S = 0.08
_SLACK_S = 0.02
_LIKE = 0.85
_OUTSIDE = 0.5
_LEAST_LEADS = 3
_REST_SHARE = 0.98
_SLOW_RR_S = 2.9
"""Just below the three seconds from which an interval is a standstill."""


def few_beats(ecg_mv: Samples, fs_hz: float, r_peaks: NDArray[np.int64]) -> bool:
    """Whether two to six complexes have one shape in all leads together and stand out of what lies between them.

    Args:
        ecg_mv: (n_leads, n) as recorded, NaN where missing. Fewer than three leads prove nothing.
        r_peaks: sample indices, ascending.
    """
    return 2 <= r_peaks.size <= _MOST and _clear(ecg_mv, fs_hz, r_peaks)


def slow_heart(ecg_mv: Samples, fs_hz: float, r_peaks: NDArray[np.int64]) -> bool:
    """Whether three beats or more, as clear as in ``few_beats``, go on at about 20/min or slower."""
    if r_peaks.size < 3 or float(np.median(np.diff(r_peaks))) < _SLOW_RR_S * fs_hz:
        return False
    return _clear(ecg_mv, fs_hz, r_peaks)


def _clear(ecg_mv: Samples, fs_hz: float, r_peaks: NDArray[np.int64]) -> bool:
    """Whether the complexes have one shape in all leads together and stand out of what lies between them."""
    live = [row for row in ecg_mv if np.isfinite(row).mean() > _REST_SHARE and np.nanmax(row) > np.nanmin(row)]
    if len(live) < _LEAST_LEADS:
        return False
    work, fs = to_work_rate(bridge_gaps(np.array(live)), fs_hz)
    band = beat_band(work, fs)
    half, slack = round(_HALF_S * fs), round(_SLACK_S * fs)
    at = np.rint(r_peaks * (fs / fs_hz)).astype(np.int64)
    at = at[(at >= half + slack) & (at + half + slack < band.shape[1])]
    if at.size < 2:
        return False
    first = band[:, at[0] - half : at[0] + half + 1]
    alike = all(_likeness(first, band, int(one), half, slack) >= _LIKE for one in at[1:])
    return alike and _stand_out(band, at, half)


def _likeness(first: Samples, band: Samples, at: int, half: int, slack: int) -> float:
    """The best correlation of the stretch around ``at`` with the first beat, shifted by up to ``slack`` samples."""
    best = -1.0
    for shift in range(-slack, slack + 1):
        other = band[:, at + shift - half : at + shift + half + 1]
        size = float(np.sqrt((first * first).sum() * (other * other).sum()))
        best = max(best, float((first * other).sum()) / size if size > 0 else -1.0)
    return best


def _stand_out(band: Samples, at: NDArray[np.int64], half: int) -> bool:
    """Whether what lies away from the beats is much smaller, so that no beat in between can have been missed."""
    beating = np.zeros(band.shape[1], dtype=np.bool_)
    for one in at:
        beating[max(0, one - half) : one + half + 1] = True
    inside = float(np.sqrt((band[:, beating] ** 2).mean()))
    return float(np.sqrt((band[:, ~beating] ** 2).mean())) < _OUTSIDE * inside

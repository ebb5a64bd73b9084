"""Electrodes on the wrong limb, found from the median beat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg.filters import Samples, band_pass

_BEFORE_S, _AFTER_S = 0.25, 0.40
_MIRRORED = -0.6
_VISIBLE_P_MV = 0.02


def median_beat(ecg_mv: Samples, fs_hz: float, r_peaks: NDArray[np.int64]) -> Samples | None:
    """The usual beat from 0.25 s before to 0.40 s after R, shape (n_leads, m); None with fewer than three beats.

    The median over beats drops what does not recur: noise, ectopic beats and P waves that are dissociated.
    """
    before, after = round(_BEFORE_S * fs_hz), round(_AFTER_S * fs_hz)
    whole = r_peaks[(r_peaks >= before) & (r_peaks + after < ecg_mv.shape[1])]
    if whole.size < 3:
        return None
    beats = ecg_mv[:, whole[:, None] + np.arange(-before, after)[None, :]]
    beat: Samples = np.median(beats, axis=1)
    return beat


def arms_look_exchanged(ecg_mv: Samples, fs_hz: float, leads: Sequence[str], r_peaks: NDArray[np.int64]) -> bool:
    """Whether the right and left arm electrodes look exchanged.

    The exchange turns lead I upside down and swaps aVR with aVL, while the chest leads stay as they are. So: the beat
    in I mirrors the one in V6 (V5 in its place), and P is negative in I or, where no P can be seen, aVR runs with V6.
    A heart on the right side turns V6 too and is not reported here.
    """
    if r_peaks.size < 3 or "I" not in leads or "aVR" not in leads:
        return False
    lateral = next((lead for lead in ("V6", "V5") if lead in leads), None)
    if lateral is None:
        return False
    rows = [list(leads).index(lead) for lead in ("I", "aVR", lateral)]
    beat = median_beat(band_pass(ecg_mv[rows], fs_hz, 0.5, 40.0), fs_hz, r_peaks)
    if beat is None:
        return False
    one, avr, chest = beat - np.median(beat, axis=1, keepdims=True)
    r = round(_BEFORE_S * fs_hz)
    p_wave = one[r - round(0.22 * fs_hz) : r - round(0.06 * fs_hz)]
    p_wave = p_wave - np.median(p_wave)
    p_peak = float(p_wave[np.argmax(np.abs(p_wave))])
    if p_peak > _VISIBLE_P_MV or float(chest.max()) < -float(chest.min()):
        return False
    p_turned = p_peak < -_VISIBLE_P_MV
    return _likeness(one, chest) < _MIRRORED and (p_turned or _likeness(avr, chest) > 0)


def _likeness(a: Samples, b: Samples) -> float:
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm > 0 else 0.0

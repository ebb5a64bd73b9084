"""The door to delineation: one lead is delineated by itself, several leads together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg.delineate_global import delineate_global
from teleread.signal.ecg.delineate_lead import delineate_lead
from teleread.signal.ecg.delineation import Delineation
from teleread.signal.ecg.qrs import detect_qrs


def delineate(ecg_mv: NDArray[np.floating], fs_hz: float, r_peaks: NDArray[np.integer] | None = None) -> Delineation:
    """On- and offsets of P, QRS and T, one entry per beat; absent waves are said to be absent.

    Args:
        ecg_mv: shape (n,) for that lead's own boundaries, (n_leads, n) for global ones. NaN marks missing samples.
        fs_hz: sampling rate.
        r_peaks: sample indices of the beats, ascending; None finds them with ``detect_qrs`` and, in one lead, with the
            network too that finds the boundaries.

    Raises:
        ValueError: ``ecg_mv`` has more than two dimensions, or ``fs_hz`` is not a positive number.
    """
    x = np.asarray(ecg_mv, dtype=np.float64)
    if x.ndim not in (1, 2):
        raise ValueError("ecg_mv must be (n,) or (n_leads, n)")
    if not (np.isfinite(fs_hz) and fs_hz > 0):
        raise ValueError("fs_hz must be a positive number")
    peaks = detect_qrs(x, fs_hz) if r_peaks is None else np.asarray(r_peaks, dtype=np.int64)
    if x.ndim == 2:
        return delineate_global(x, fs_hz, peaks)
    return delineate_lead(x, fs_hz, peaks, overlooked=r_peaks is None)

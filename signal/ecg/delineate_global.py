"""Boundaries of P, QRS and T over all leads together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg.delineate_lead import delineate_lead
from teleread.signal.ecg.delineation import Delineation
from teleread.signal.ecg.filters import band_pass


def delineate_global(ecg_mv: NDArray[np.floating], fs_hz: float, r_peaks: NDArray[np.integer]) -> Delineation:
    """Global boundaries of (n_leads, n): those of the root mean square over the leads."""
    x = np.asarray(ecg_mv, dtype=np.float64)
    if x.shape[0] == 0:
        return delineate_lead(np.zeros(x.shape[1]), fs_hz, r_peaks)
    together = np.sqrt(np.mean(band_pass(x, fs_hz, 0.5, 40.0) ** 2, axis=0))
    return delineate_lead(together, fs_hz, r_peaks)

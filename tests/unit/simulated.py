"""Simulated recordings and what is measured on them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg import EcgRecord, Truth


def row(record: EcgRecord, name: str) -> NDArray[np.float64]:
    samples = record.lead(name)
    assert samples is not None
    return samples


def st_at_j(record: EcgRecord, truth: Truth, lead: str) -> float:
    """Usual level at J above that before QRS."""
    samples = row(record, lead)
    inner = [k for k in range(1, truth.r_peaks.size - 1) if truth.qrs_on[k] > 0 and truth.qrs_off[k] > 0]
    return float(np.median([samples[truth.qrs_off[k]] - samples[truth.qrs_on[k] - 1] for k in inner]))

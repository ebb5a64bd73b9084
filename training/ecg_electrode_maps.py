"""Ridge maps that tell leads from other leads, wave by wave, fitted on recordings with their electrodes in place."""

from __future__ import annotations

import numpy as np

from teleread.signal.ecg.electrode_features import WAVES, Maps
from teleread.signal.ecg.filters import Samples

_HELD = 0.01


def limb_maps(shapes: Samples) -> Maps:
    """Leads I and II from the chest leads, (m, 8, 19) → one (6, 2) for each wave."""
    return tuple(_ridge(_rows(shapes, wave)[:, 2:], _rows(shapes, wave)[:, :2]) for wave in WAVES)


def chest_maps(shapes: Samples) -> Maps:
    """Each chest lead from all other leads, (m, 8, 19) → one (8, 6) for each wave; a lead's own row is zero."""
    maps = []
    for wave in WAVES:
        rows, whole = _rows(shapes, wave), np.zeros((8, 6))
        for j in range(2, 8):
            others = [k for k in range(8) if k != j]
            whole[others, j - 2] = _ridge(rows[:, others], rows[:, j])
        maps.append(whole)
    return tuple(maps)


def _rows(shapes: Samples, wave: slice) -> Samples:
    rows: Samples = shapes[:, :, wave].transpose(0, 2, 1).reshape(-1, 8)
    return rows


def _ridge(a: Samples, b: Samples) -> Samples:
    held = _HELD * len(a) * float(a.var()) * np.eye(a.shape[1])
    return np.asarray(np.linalg.solve(a.T @ a + held, a.T @ b), dtype=np.float64)

"""From the dipole to the electrodes, and from the electrodes to the leads.

Dower's matrix (doi:10.1016/S0022-0736(80)80014-5) gives the leads of the dipole; the rows of the right-sided and
posterior leads continue it around the chest. Everything that goes wrong goes wrong at an electrode, so that the laws
of Einthoven, Goldberger and Wilson hold for whatever is recorded.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from teleread.signal.ecg.record import STANDARD_LEADS
from teleread.signal.ecg.simulation.waves import Samples

EXTRA_LEADS = ("V3R", "V4R", "V7", "V8", "V9")
"""Further chest leads that can be asked for."""

INDEPENDENT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6", *EXTRA_LEADS)

_ROWS = {
    # left, foot, back
    "I": (0.632, -0.235, 0.059),
    "II": (0.235, 1.066, -0.132),
    "V1": (-0.515, 0.157, -0.917),
    "V2": (0.044, 0.164, -1.387),
    "V3": (0.882, 0.098, -1.277),
    "V4": (1.213, 0.127, -0.601),
    "V5": (1.125, 0.127, -0.086),
    "V6": (0.831, 0.076, 0.230),
    "V3R": (-0.600, 0.140, -0.600),
    "V4R": (-0.620, 0.120, -0.330),
    "V7": (0.620, 0.070, 0.420),
    "V8": (0.420, 0.060, 0.520),
    "V9": (0.200, 0.050, 0.550),
}

RA, LA, LL, RL = range(4)
LIMBS = {"RA": RA, "LA": LA, "LL": LL, "RL": RL}
LIMB_COUNT = 4


def lead_matrix(extra: Sequence[str] = ()) -> Samples:
    """Rows for I, II, V1 … V6 and the extra leads, columns left, foot, back."""
    return np.array([_ROWS[name] for name in (*INDEPENDENT[:8], *extra)])


def lead_vector(name: str) -> Samples:
    """What one lead, also a derived one, sees of the dipole; shape (3,).

    Raises:
        ValueError: an unknown lead.
    """
    one, two = np.array(_ROWS["I"]), np.array(_ROWS["II"])
    derived = {"III": two - one, "aVR": -(one + two) / 2, "aVL": one - two / 2, "aVF": two - one / 2}
    if name not in derived and name not in _ROWS:
        raise ValueError(f"there is no lead {name}")
    return derived[name] if name in derived else np.array(_ROWS[name])


def potentials(independent: Samples) -> Samples:
    """Potentials of RA, LA, LL, RL and the chest electrodes against Wilson's terminal.

    The right leg is as far from the heart as the left one and nearly at its potential.
    """
    one, two = independent[0], independent[1]
    left_leg = (2 * two - one) / 3
    out = np.empty((independent.shape[0] + 2, independent.shape[1]))
    out[RA] = -(one + two) / 3
    out[LA] = (2 * one - two) / 3
    out[LL] = left_leg
    out[RL] = 0.99 * left_leg
    out[LIMB_COUNT:] = independent[2:]
    return out


def leads_of(electrodes: Samples) -> Samples:
    """The twelve standard leads, then the extra ones, from the potentials."""
    ra, la, ll = electrodes[RA], electrodes[LA], electrodes[LL]
    out = np.empty((electrodes.shape[0] - LIMB_COUNT + 6, electrodes.shape[1]))
    out[0], out[1] = la - ra, ll - ra
    # from the rounded I and II, so that the laws hold to the last bit
    out[2] = out[1] - out[0]
    out[3] = -(out[0] + out[1]) / 2
    out[4] = (out[0] - out[2]) / 2
    out[5] = (out[1] + out[2]) / 2
    np.subtract(electrodes[LIMB_COUNT:], (ra + la + ll) / 3, out=out[6:])
    return out


def lead_names(extra: Sequence[str] = ()) -> tuple[str, ...]:
    """The names of the rows that ``leads_of`` gives."""
    return (*STANDARD_LEADS, *extra)

"""The forms of ventricular beats and P waves: how the heart's vector moves in health, block, pacing and infarction.

QRS waves are placed on the scale of the QRS complex, T waves on that from J to the end of T, P waves on that of P, so
that every interval can be set exactly. The vectors were drawn after the usual vectorcardiogram (small first vector to
the right and front, the main one to the left, down and back, the last one up and back) and checked on leads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from teleread.signal.ecg.simulation.electrodes import INDEPENDENT, lead_matrix
from teleread.signal.ecg.simulation.waves import Bump, Samples, Vector, course, ramp_and_fall, turn

NONE: Vector = (0.0, 0.0, 0.0)
ST_FOOT_QRS = 0.30
"""Part of QRS before J in which a shifted ST segment takes off."""


@dataclass(frozen=True, slots=True)
class Form:
    """One kind of ventricular beat.

    Args:
        qrs: waves on the scale of QRS.
        t: waves on the scale from J to the end of T.
        qrs_ms: the usual range of its duration.
        st: the vector of a shifted ST segment at J.
        st_bend: how high ST is at 60 % of the way to the end of T, as a part of its height at J.
        chest_st: what is added to ST in single chest leads, mV at J, beside the dipole.
        discordant: repolarisation follows depolarisation (blocks, ectopic and paced beats).
    """

    qrs: tuple[Bump, ...]
    t: tuple[Bump, ...]
    qrs_ms: tuple[float, float] = (84.0, 104.0)
    st: Vector = NONE
    st_bend: float = 0.6
    chest_st: tuple[tuple[str, float], ...] = ()
    discordant: bool = False


_SEPTAL = Bump(0.0, 0.20, 0.42, (-0.13, -0.04, -0.19), 1.25, 2.0)
_MAIN = Bump(0.10, 0.43, 0.76, (1.22, 0.80, 0.12), 2.6, 2.6)
_BACK = Bump(0.30, 0.60, 0.92, (0.12, 0.02, 0.78), 2.2, 2.0)
_LAST = Bump(0.56, 0.80, 1.0, (-0.16, -0.06, 0.22), 2.0, 1.25)
_T = (Bump(0.10, 0.68, 1.0, (0.39, 0.20, -0.14), 2.6, 1.2),)

NORMAL = Form((_SEPTAL, _MAIN, _BACK, _LAST), _T, st=(0.010, 0.008, -0.02), st_bend=0.8)
RBBB = Form(
    (
        Bump(0.0, 0.13, 0.28, _SEPTAL.vector, 1.25, 2.0),
        Bump(0.07, 0.28, 0.52, (1.15, 0.75, 0.10), 2.6, 2.6),
        Bump(0.20, 0.40, 0.62, (0.12, 0.02, 0.55), 2.2, 2.0),
        Bump(0.40, 0.68, 1.0, (-0.52, -0.10, -0.50), 2.0, 1.3),
    ),
    (Bump(0.10, 0.66, 1.0, (0.28, 0.20, 0.12), 2.4, 1.2),),
    (126.0, 152.0),
    st=(0.02, 0.01, 0.03),
    discordant=True,
)
LBBB = Form(
    (
        Bump(0.0, 0.26, 0.56, (0.42, 0.28, 0.26), 1.25, 2.0),
        Bump(0.16, 0.44, 0.76, (0.66, 0.20, 0.86), 2.0, 2.0),
        Bump(0.42, 0.70, 1.0, (0.72, 0.02, 0.62), 2.0, 1.3),
    ),
    (Bump(0.04, 0.60, 1.0, (-0.26, -0.06, -0.34), 2.0, 1.2),),
    (136.0, 168.0),
    st=(-0.07, -0.02, -0.13),
    st_bend=1.3,
    discordant=True,
)
IVCD = Form(
    (
        replace(_SEPTAL, vector=(-0.10, -0.03, -0.16)),
        Bump(0.08, 0.38, 0.66, (1.05, 0.62, 0.16), 2.4, 2.4),
        Bump(0.36, 0.56, 0.86, (0.34, -0.20, 0.70), 2.0, 2.0),
        Bump(0.52, 0.78, 1.0, (0.22, -0.30, 0.32), 2.0, 1.3),
    ),
    (Bump(0.10, 0.66, 1.0, (0.16, 0.16, -0.16), 2.4, 1.2),),
    (118.0, 136.0),
)
PRE_EXCITED_LEFT = Form(
    (
        Bump(0.0, 0.40, 0.66, (0.16, 0.26, -0.30), 1.2, 2.0),
        Bump(0.28, 0.58, 0.86, (1.00, 0.80, -0.30), 2.4, 2.4),
        Bump(0.52, 0.78, 1.0, (0.16, -0.10, 0.26), 2.0, 1.3),
    ),
    (Bump(0.10, 0.66, 1.0, (0.10, -0.06, 0.14), 2.4, 1.2),),
    (118.0, 146.0),
    st=(-0.03, -0.03, 0.05),
    discordant=True,
)
PRE_EXCITED_RIGHT = replace(
    PRE_EXCITED_LEFT,
    qrs=(
        Bump(0.0, 0.40, 0.66, (0.36, -0.10, 0.18), 1.2, 2.0),
        Bump(0.28, 0.58, 0.86, (1.10, 0.30, 0.60), 2.4, 2.4),
        Bump(0.52, 0.78, 1.0, (0.20, -0.22, 0.42), 2.0, 1.3),
    ),
    t=(Bump(0.10, 0.66, 1.0, (-0.10, 0.14, -0.26), 2.4, 1.2),),
    st=(-0.04, 0.02, -0.06),
)
PACED = Form(
    (
        Bump(0.0, 0.28, 0.56, (0.40, -0.55, 0.12), 1.25, 2.0),
        Bump(0.18, 0.48, 0.80, (0.45, -0.85, 0.75), 2.0, 2.0),
        Bump(0.46, 0.72, 1.0, (0.30, -0.62, 0.66), 2.0, 1.3),
    ),
    (Bump(0.04, 0.60, 1.0, (-0.14, 0.32, -0.36), 2.0, 1.2),),
    (148.0, 184.0),
    st=(-0.03, 0.09, -0.11),
    st_bend=1.2,
    discordant=True,
)
PVC_LEFT = Form(  # from the left ventricle: upright in V1
    (
        Bump(0.0, 0.30, 0.60, (-0.30, 0.30, -0.50), 1.25, 2.0),
        Bump(0.20, 0.50, 0.84, (-0.85, 0.95, -0.75), 2.0, 2.0),
        Bump(0.52, 0.76, 1.0, (-0.20, 0.30, -0.30), 2.0, 1.3),
    ),
    (Bump(0.04, 0.60, 1.0, (0.32, -0.34, 0.34), 2.0, 1.2),),
    (130.0, 168.0),
    st=(0.08, -0.08, 0.08),
    st_bend=1.3,
    discordant=True,
)
PVC_RIGHT = Form(  # from the right ventricle's outflow: like LBBB, pointing down
    (
        Bump(0.0, 0.30, 0.60, (0.10, 0.50, 0.30), 1.25, 2.0),
        Bump(0.20, 0.48, 0.82, (0.45, 1.25, 0.95), 2.0, 2.0),
        Bump(0.50, 0.74, 1.0, (0.15, 0.40, 0.60), 2.0, 1.3),
    ),
    (Bump(0.04, 0.60, 1.0, (-0.16, -0.42, -0.36), 2.0, 1.2),),
    (130.0, 164.0),
    st=(-0.04, -0.10, -0.08),
    st_bend=1.3,
    discordant=True,
)
ESCAPE = Form(
    (
        Bump(0.0, 0.30, 0.58, (0.40, 0.05, 0.32), 1.25, 2.0),
        Bump(0.18, 0.46, 0.80, (0.95, -0.30, 0.95), 2.0, 2.0),
        Bump(0.44, 0.70, 1.0, (0.52, -0.28, 0.40), 2.0, 1.3),
    ),
    (Bump(0.06, 0.62, 1.0, (-0.24, 0.06, -0.32), 2.0, 1.2),),
    (138.0, 172.0),
    st=(-0.06, 0.03, -0.08),
    st_bend=1.2,
    discordant=True,
)
VENTRICULAR = (PVC_LEFT, PVC_RIGHT, ESCAPE)

P_SINUS = (
    Bump(0.0, 0.40, 0.84, (0.042, 0.066, -0.032), 1.0, 1.4),
    Bump(0.18, 0.62, 1.0, (0.082, 0.046, 0.030), 1.4, 1.0),
)
P_ECTOPIC = (
    Bump(0.0, 0.40, 0.84, (0.055, -0.020, -0.055), 1.0, 1.4),
    Bump(0.18, 0.60, 1.0, (0.020, 0.045, -0.028), 1.4, 1.0),
)
P_RETROGRADE = (
    Bump(0.0, 0.42, 0.84, (0.000, -0.090, -0.028), 1.0, 1.4),
    Bump(0.20, 0.62, 1.0, (0.020, -0.070, -0.040), 1.4, 1.0),
)
P_FORMS = {"sinus": P_SINUS, "ectopic": P_ECTOPIC, "retrograde": P_RETROGRADE}

_ALL = lead_matrix(INDEPENDENT[8:])
_GRID = np.linspace(0.0, 1.0, 401)


def moved(form: Form, frontal_deg: float, horizontal_deg: float, rng: np.random.Generator) -> Form:
    """The form in a heart that lies differently, with vectors and times of its own.

    T turns half as far as QRS, so that the angle between them grows with the turn as it does in people.
    """
    whole, half = turn(frontal_deg, horizontal_deg), turn(0.5 * frontal_deg, 0.5 * horizontal_deg)
    return replace(
        form,
        qrs=tuple(_moved_bump(b, whole, rng, 0.18, 0.02) for b in form.qrs),
        t=tuple(_moved_bump(b, half, rng, 0.22, 0.02) for b in form.t),
        st=_vector(half @ np.array(form.st)),
    )


def moved_p(bumps: tuple[Bump, ...], frontal_deg: float, rng: np.random.Generator) -> tuple[Bump, ...]:
    """P waves in a heart that lies differently."""
    rotation = turn(0.4 * frontal_deg, 0.0)
    return tuple(_moved_bump(b, rotation, rng, 0.18, 0.03) for b in bumps)


def scaled(bumps: tuple[Bump, ...], factor: float) -> tuple[Bump, ...]:
    """The waves ``factor`` times as high."""
    return tuple(replace(b, vector=_vector(factor * np.array(b.vector))) for b in bumps)


def with_st(form: Form, vector: Vector, bend: float) -> Form:
    """The form with a shift of ST added to its own."""
    return replace(form, st=_vector(np.array(form.st) + np.array(vector)), st_bend=bend)


def main_deflection(form: Form) -> float:
    """Where in QRS (0 to 1) the leads together are farthest from their level."""
    leads = _ALL[:8] @ course(form.qrs, _GRID)
    return float(_GRID[int(np.argmax((leads * leads).sum(axis=0)))])


def t_peak(form: Form) -> float:
    """Where from J to the end of T (0 to 1) the leads together are farthest from their level, ST shift included."""
    st = np.array(form.st)[:, None] * ramp_and_fall(_GRID, -0.5, 0.6, form.st_bend)[None, :]
    leads = _ALL[:8] @ (course(form.t, _GRID) + st)
    power = (leads * leads).sum(axis=0)
    power[_GRID < 0.2] = 0.0  # a high J point is not T
    return float(_GRID[int(np.argmax(power))])


def p_peak(bumps: tuple[Bump, ...]) -> float:
    """Where in P (0 to 1) the leads together are farthest from their level."""
    leads = _ALL[:8] @ course(bumps, _GRID)
    return float(_GRID[int(np.argmax((leads * leads).sum(axis=0)))])


def _moved_bump(bump: Bump, rotation: Samples, rng: np.random.Generator, size: float, shift: float) -> Bump:
    """A copy whose inner times move a little; what begins at 0 or ends at 1 keeps doing so."""
    vector = (rotation @ np.array(bump.vector)) * (1.0 + size * rng.uniform(-1, 1, 3))
    moves = shift * rng.uniform(-1, 1, 3)
    on = bump.on + moves[0] if bump.on > 0.05 else bump.on
    off = bump.off + moves[2] if bump.off < 0.97 else bump.off
    peak = bump.peak + moves[1]
    return replace(bump, on=max(on, 0.0), peak=peak, off=min(off, 1.0), vector=_vector(vector))


def _vector(values: Samples) -> Vector:
    return float(values[0]), float(values[1]), float(values[2])

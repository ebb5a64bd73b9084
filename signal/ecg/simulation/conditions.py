"""What can be simulated: a table of conditions, each a few deviations from a healthy heart.

Conditions combine with a plus: ``"af+lbbb"``, ``"lvh+premature_ventricular"``; of two that say the same thing
(two rhythms) the later one holds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from teleread.signal.ecg.simulation.forms import (
    ESCAPE,
    IVCD,
    LBBB,
    NONE,
    NORMAL,
    PACED,
    PRE_EXCITED_LEFT,
    PRE_EXCITED_RIGHT,
    PVC_LEFT,
    PVC_RIGHT,
    RBBB,
    VENTRICULAR,
    Form,
)
from teleread.signal.ecg.simulation.waves import Bump, Vector

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Plan:
    """One kind of recording: ranges to draw from, and the forms of its beats."""

    rhythm: str = "sinus"
    rate_bpm: Range = (62.0, 84.0)
    variation: float = 0.03
    pr_ms: Range = (134.0, 186.0)
    p_ms: Range = (92.0, 116.0)
    p_size: Range = (0.85, 1.20)
    qtc_ms: Range = (385.0, 438.0)
    qrs_ms: Range | None = None
    size: Range = (0.75, 1.25)
    frontal_deg: Range = (-28.0, 20.0)
    horizontal_deg: Range = (-12.0, 12.0)
    forms: tuple[Form, ...] = (NORMAL,)
    broad: tuple[Form, ...] = (PVC_LEFT, PVC_RIGHT)
    first: Bump | None = None
    """In place of the first wave of QRS, on its scale: the Q wave of an infarction."""
    last: Bump | None = None
    """Beside the waves of QRS: a last one."""
    t: tuple[Bump, ...] | None = None
    st: Vector = NONE
    st_bend: float = 0.6
    st_lead: str = "V3"
    st_range_mv: Range | None = None
    ratio: int = 0
    pacing: str = "ventricular"
    pattern: str = "isolated"
    atria: str = "none"
    findings: frozenset[str] = frozenset()
    faults: tuple[tuple[str | None, str], ...] = ()
    """Pairs (where, kind): where "" means at the lead that the caller names."""


def _found(*codes: str) -> frozenset[str]:
    return frozenset(codes)


def _t(vector: Vector, on: float = 0.10, peak: float = 0.68, rise: float = 2.6) -> tuple[Bump, ...]:
    return (Bump(on, peak, 1.0, vector, rise, 1.2),)


_RHYTHMS: dict[str, dict[str, Any]] = {
    "normal": {},
    "sinus_bradycardia": {"rate_bpm": (38.0, 54.0)},
    "sinus_tachycardia": {"rate_bpm": (106.0, 142.0), "pr_ms": (118.0, 148.0), "p_ms": (84.0, 104.0)},
    "sinus_arrhythmia": {"variation": 0.16, "rate_bpm": (60.0, 80.0)},
    "af": {"rhythm": "af", "rate_bpm": (68.0, 112.0)},
    "atrial_flutter": {"rhythm": "flutter", "rate_bpm": (70.0, 150.0)},
    "svt": {"rhythm": "svt", "rate_bpm": (152.0, 214.0), "qtc_ms": (360.0, 400.0)},
    "vt": {"rhythm": "vt", "rate_bpm": (128.0, 205.0), "broad": VENTRICULAR},
    "vf": {"rhythm": "vf"},
    "asystole": {"rhythm": "asystole"},
    "pause": {"rhythm": "pause"},
    "junctional": {"rhythm": "junctional", "rate_bpm": (42.0, 58.0)},
    "idioventricular": {"rhythm": "idioventricular", "rate_bpm": (24.0, 39.0), "broad": (ESCAPE, PVC_LEFT)},
    "accelerated_idioventricular": {
        "rhythm": "accelerated_idioventricular",
        "rate_bpm": (58.0, 96.0),
        "broad": VENTRICULAR,
    },
    "premature_ventricular": {"rhythm": "premature_ventricular"},
    "premature_supraventricular": {"rhythm": "premature_supraventricular"},
    "av_block_1": {"rhythm": "av_block_1", "pr_ms": (224.0, 320.0)},
    "av_block_2_mobitz_1": {"rhythm": "mobitz_1", "pr_ms": (160.0, 210.0), "rate_bpm": (66.0, 88.0)},
    "av_block_2_mobitz_2": {"rhythm": "mobitz_2", "pr_ms": (150.0, 196.0), "rate_bpm": (66.0, 88.0)},
    "av_block_2_1": {"rhythm": "two_to_one", "pr_ms": (150.0, 200.0), "rate_bpm": (36.0, 46.0)},
    "complete_block": {"rhythm": "complete_block", "rate_bpm": (36.2, 39.6), "broad": (ESCAPE,)},
    "paced": {"rhythm": "paced", "rate_bpm": (60.0, 78.0), "broad": (PACED,), "pr_ms": (150.0, 190.0)},
}

_CONDUCTION: dict[str, dict[str, Any]] = {
    "lbbb": {"forms": (LBBB,), "findings": _found("lbbb")},
    "rbbb": {"forms": (RBBB,), "findings": _found("rbbb")},
    "ivcd": {"forms": (IVCD,), "findings": _found("ivcd")},
    "pre_excitation": {
        "forms": (PRE_EXCITED_LEFT, PRE_EXCITED_RIGHT),
        "pr_ms": (92.0, 114.0),
        "p_ms": (78.0, 88.0),
        "findings": _found("pre_excitation"),
    },
    "pre_excited_af": {
        "rhythm": "pre_excited_af",
        "forms": (PRE_EXCITED_LEFT, PRE_EXCITED_RIGHT),
        "rate_bpm": (165.0, 215.0),
        "qtc_ms": (360.0, 400.0),
    },
}

_STEMI: dict[str, dict[str, Any]] = {
    "inferior_stemi": {
        "st": (-0.13, 0.165, 0.05),
        "st_lead": "III",
        "st_range_mv": (0.24, 0.46),
        "st_bend": 1.05,
        "first": Bump(0.0, 0.24, 0.52, (0.02, -0.30, -0.18), 1.25, 2.0),
    },
    "anterior_stemi": {
        "st": (0.10, -0.055, -0.20),
        "st_lead": "V3",
        "st_range_mv": (0.32, 0.65),
        "st_bend": 1.25,
        "first": Bump(0.0, 0.24, 0.50, (-0.10, -0.02, 0.22), 1.25, 2.0),
    },
    "lateral_stemi": {
        "st": (0.20, -0.12, 0.03),
        "st_lead": "aVL",
        "st_range_mv": (0.16, 0.32),
        "st_bend": 1.15,
        "first": Bump(0.0, 0.24, 0.50, (-0.26, 0.02, -0.16), 1.25, 2.0),
    },
    "posterior_stemi": {
        "st": (0.06, 0.03, 0.20),
        "st_lead": "V8",
        "st_range_mv": (0.09, 0.16),
        "st_bend": 0.7,
        "last": Bump(0.20, 0.52, 0.86, (-0.05, 0.0, -0.75), 2.2, 2.2),
        "t": _t((0.20, 0.12, -0.28)),
    },
    "right_ventricular_stemi": {
        "st": (-0.26, 0.19, -0.10),
        "st_lead": "V4R",
        "st_range_mv": (0.14, 0.28),
        "st_bend": 1.0,
        "first": Bump(0.0, 0.24, 0.52, (0.02, -0.26, -0.18), 1.25, 2.0),
    },
}

_REPOLARISATION: dict[str, dict[str, Any]] = {
    "st_depression": {
        "st": (-0.10, -0.09, 0.05),
        "st_lead": "V5",
        "st_range_mv": (-0.30, -0.13),
        "st_bend": 1.0,
        "t": _t((0.14, 0.12, -0.12), on=0.35),
    },
    "wellens": {"t": _t((-0.10, 0.10, 0.30), on=0.25, rise=2.0)},
    "de_winter": {
        "st": (-0.09, -0.05, 0.13),
        "st_lead": "V3",
        "st_range_mv": (-0.30, -0.15),
        "st_bend": 0.2,
        "t": _t((0.38, 0.22, -0.52), on=0.18, peak=0.64, rise=1.8),
    },
    "hyperkalaemia": {
        "rhythm": "hyperkalaemia",
        "t": _t((0.60, 0.36, -0.58), on=0.40, peak=0.72, rise=1.8),
        "rate_bpm": (52.0, 76.0),
        "forms": (IVCD,),
        "qtc_ms": (390.0, 440.0),
    },
    "long_qt": {"qtc_ms": (560.0, 640.0), "rate_bpm": (50.0, 68.0), "t": _t((0.26, 0.20, -0.18), on=0.22)},
    "short_qt": {"qtc_ms": (285.0, 318.0), "t": _t((0.36, 0.28, -0.30), on=0.15, peak=0.62)},
    "low_voltage": {"size": (0.24, 0.31), "p_size": (0.50, 0.75)},
    "lvh": {
        "size": (1.75, 2.15),
        "frontal_deg": (-34.0, -6.0),
        "horizontal_deg": (4.0, 16.0),
        "qrs_ms": (98.0, 112.0),
        "st": (-0.07, -0.01, 0.03),
        "st_bend": 1.3,
        "t": _t((-0.20, -0.04, -0.16), on=0.06),
    },
}

_VARIANTS: dict[str, dict[str, Any]] = {
    "early_repolarisation": {
        "rate_bpm": (52.0, 68.0),
        "size": (1.05, 1.3),
        "st": (0.028, 0.030, -0.070),
        "st_lead": "V3",
        "st_range_mv": (0.07, 0.11),
        "st_bend": 1.5,
        "last": Bump(0.72, 0.86, 1.0, (0.16, 0.12, 0.02), 2.0, 1.3),
        "t": _t((0.42, 0.32, -0.28)),
    },
    "juvenile_t": {"rate_bpm": (66.0, 92.0), "t": _t((0.30, 0.22, 0.14))},
    "rsr_prime": {
        "last": Bump(0.62, 0.82, 1.0, (-0.24, -0.02, -0.42), 2.0, 1.25),
        "qrs_ms": (92.0, 106.0),
        "t": _t((0.28, 0.22, -0.12)),
    },
    "left_axis": {"frontal_deg": (-70.0, -56.0)},
    "athlete": {
        "rate_bpm": (41.0, 54.0),
        "size": (1.3, 1.55),
        "variation": 0.06,
        "pr_ms": (160.0, 198.0),
        "st": (0.02, 0.015, -0.035),
        "st_lead": "V3",
        "st_range_mv": (0.05, 0.10),
        "st_bend": 1.6,
        "t": _t((0.38, 0.28, -0.24)),
    },
    "child": {
        "rate_bpm": (92.0, 138.0),
        "variation": 0.05,
        "pr_ms": (104.0, 128.0),
        "p_ms": (62.0, 80.0),
        "qrs_ms": (62.0, 76.0),
        "frontal_deg": (4.0, 32.0),
        "horizontal_deg": (-52.0, -34.0),
        "t": _t((0.30, 0.22, 0.16)),
    },
}

_FAULTY: dict[str, dict[str, Any]] = {
    "lead_off": {"faults": (("", "flat"),)},
    "ra_la_swap": {"faults": ((None, "ra_la"),)},
}

_TABLE = _RHYTHMS | _CONDUCTION | _STEMI | _REPOLARISATION | _VARIANTS | _FAULTY

CONDITIONS = tuple(_TABLE)
"""What ``simulate`` can show."""

NORMAL_VARIANTS = ("normal", "sinus_arrhythmia", *_VARIANTS)
"""Conditions of the healthy, that nothing should be flagged in."""


def plan_of(condition: str) -> Plan:
    """The plan of a condition or of several joined by ``+``.

    Raises:
        ValueError: an unknown condition.
    """
    plan = Plan()
    for name in condition.split("+"):
        if name not in _TABLE:
            raise ValueError(f"condition must be one of {', '.join(CONDITIONS)}")
        changes = dict(_TABLE[name])
        changes["findings"] = plan.findings | changes.get("findings", frozenset())
        changes["faults"] = plan.faults + changes.get("faults", ())
        plan = replace(plan, **changes)
    return plan

"""Is this the recording that we have already? Told by the samples, whatever format they came in.

Two encodings of one recording differ by the rounding to their scales: each sample by less than one step of the
coarser one. A :class:`Fingerprint` is the little that a catalogue can search by without missing such a pair, and
:func:`same_recording` compares the samples themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg.record import CALIBRATION_PULSE, EcgRecord

Samples = NDArray[np.float64]
Span = tuple[int, int]

MAX_SHIFT = 2
"""Samples by which one encoding may begin later or end earlier than another."""

MAX_STEP_UV = 50.0
"""The coarsest scale met so far is 46 µV; a lead of a few values only has none that could be told."""

ROUNDING_UV = 1.5
"""What keeping both as whole microvolts about a whole median adds."""

_CLIP_UV = 300.0
_LEVEL_SLACK_UV = 8.0  # a pulse of 1 mV that one encoding has and the other not, and the shift
_MIN_SWING_UV = 100.0
_MIN_STEPS = 10.0
_MIN_SECONDS = 1.0
_TRAILING = 0.2  # a pulse in this last part ends the recording
_STEP_SAMPLES = 20_000


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a recording is searched by.

    Attributes:
        n_samples: of each lead.
        pulses: spans of calibration pulses, in samples.
        levels_uv: of each stored lead, the mean distance from its median, no sample counting for more than 300 µV.
            Rounding to a scale moves it by less than one step.
        steps_uv: of each stored lead, the smallest difference between two of its values.
    """

    fs_hz: float
    n_samples: int
    pulses: tuple[Span, ...]
    levels_uv: Mapping[str, float]
    steps_uv: Mapping[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class Tracing:
    """Samples in µV by lead, NaN missing, with their fingerprint; leads without a level there are derived."""

    about: Fingerprint
    leads: tuple[str, ...]
    samples_uv: Samples


def fingerprint(record: EcgRecord) -> Fingerprint | None:
    """The fingerprint of a recording; None when nothing in it could tell it from another one."""
    n = record.signals_mv.shape[1]
    if n < _MIN_SECONDS * record.fs_hz:
        return None
    pulses = tuple(sorted({(a.start, a.end) for a in record.annotations if a.kind == CALIBRATION_PULSE}))
    patient = _outside(pulses, n)
    levels, steps = {}, {}
    swings = False
    for lead, row in zip(record.leads, record.signals_mv, strict=True):
        if lead in record.derived_leads:
            continue
        uv = row[patient] * 1000.0
        uv = uv[np.isfinite(uv)]
        if not uv.size:
            continue
        levels[lead] = float(np.mean(np.minimum(np.abs(uv - np.median(uv)), _CLIP_UV)))
        steps[lead] = _step(uv)
        swings |= bool(np.ptp(uv) >= max(_MIN_SWING_UV, _MIN_STEPS * steps[lead]))
    return Fingerprint(record.fs_hz, n, pulses, levels, steps) if swings else None


def level_range(level_uv: float) -> tuple[float, float]:
    """Between which levels the same lead of another encoding lies for certain."""
    slack = MAX_STEP_UV + _LEVEL_SLACK_UV
    return level_uv - slack, level_uv + slack


def may_be_same(earlier: Fingerprint, later: Fingerprint) -> bool:
    """What the fingerprints alone say: rate, length, and levels of the leads that both have stored."""
    if abs(earlier.fs_hz - later.fs_hz) > 0.001 * earlier.fs_hz or not _as_long(earlier, later):
        return False
    both = earlier.levels_uv.keys() & later.levels_uv.keys()
    return bool(both) and all(
        abs(earlier.levels_uv[lead] - later.levels_uv[lead])
        <= max(earlier.steps_uv[lead], later.steps_uv[lead]) + _LEVEL_SLACK_UV
        for lead in both
    )


def same_recording(earlier: Tracing, later: Tracing) -> bool:
    """Whether the later one holds nothing but what the earlier one holds, within one step of the coarser scale.

    Every lead that the later one stored must be in the earlier one, stored or derived. Calibration pulses that only
    one of them has are left out, and one may begin or end up to two samples off.
    """
    if not may_be_same(earlier.about, later.about):
        return False
    if any(lead not in earlier.leads for lead in later.about.levels_uv):
        return False
    return any(_equal(earlier, later, shift) for shift in sorted(range(-MAX_SHIFT, MAX_SHIFT + 1), key=abs))


def _equal(earlier: Tracing, later: Tracing, shift: int) -> bool:
    """``later`` begins ``shift`` samples behind ``earlier``."""
    start, late_start = max(shift, 0), max(-shift, 0)
    n = min(earlier.about.n_samples - start, later.about.n_samples - late_start)
    here = _outside(_moved(earlier.about.pulses, -start), n) & _outside(_moved(later.about.pulses, -late_start), n)
    told = False
    for lead in later.about.levels_uv:
        one = earlier.samples_uv[earlier.leads.index(lead), start : start + n]
        other = later.samples_uv[later.leads.index(lead), late_start : late_start + n]
        both = here & np.isfinite(one) & np.isfinite(other)
        if np.count_nonzero(here & (np.isfinite(one) != np.isfinite(other))) > MAX_SHIFT or not both.any():
            return False
        step = _coarser(earlier.about, later.about, lead)
        if np.max(np.abs(one[both] - other[both])) > step + ROUNDING_UV:
            return False
        told |= bool(np.ptp(one[both]) >= max(_MIN_SWING_UV, _MIN_STEPS * step))
    return told


def _coarser(earlier: Fingerprint, later: Fingerprint, lead: str) -> float:
    if lead in earlier.steps_uv:
        return max(earlier.steps_uv[lead], later.steps_uv[lead])
    # derived from two leads, each rounded
    return 2 * max(later.steps_uv[lead], *(step for name, step in earlier.steps_uv.items() if name in ("I", "II")))


def _as_long(earlier: Fingerprint, later: Fingerprint) -> bool:
    if abs(earlier.n_samples - later.n_samples) <= MAX_SHIFT:
        return True
    # one of them was cut where the pulse begins, or just behind it
    return any(
        _end(one) - MAX_SHIFT <= other.n_samples <= one.n_samples for one, other in ((earlier, later), (later, earlier))
    )


def _end(one: Fingerprint) -> int:
    """Where the patient's signal ends: before a pulse that ends the recording."""
    return min((a for a, _ in one.pulses if a >= (1 - _TRAILING) * one.n_samples), default=one.n_samples)


def _outside(spans: Sequence[Span], n: int) -> NDArray[np.bool_]:
    here = np.ones(n, dtype=bool)
    for start, end in spans:
        here[max(0, start) : max(0, end)] = False
    return here


def _moved(spans: Sequence[Span], by: int) -> list[Span]:
    # one sample more on each side: where a pulse begins is a matter of taste
    return [(start + by - 1, end + by + 1) for start, end in spans]


def _step(uv: Samples) -> float:
    """The smallest difference between two values; float noise below a hundredth of a microvolt is none."""
    values = np.unique(np.round(uv[:_STEP_SAMPLES], 3))
    gaps = np.diff(values)
    gaps = gaps[gaps > 0.01]
    return min(float(gaps.min()), MAX_STEP_UV) if gaps.size else MAX_STEP_UV

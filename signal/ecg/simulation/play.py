"""From a score to the dipole over time, and to the truth about every wave in it."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg.simulation.electrodes import INDEPENDENT, lead_matrix, lead_vector
from teleread.signal.ecg.simulation.forms import ST_FOOT_QRS, Form, main_deflection, p_peak, t_peak
from teleread.signal.ecg.simulation.heart import Anatomy
from teleread.signal.ecg.simulation.quivering import add_waves
from teleread.signal.ecg.simulation.score import Beat, Score
from teleread.signal.ecg.simulation.truth import Indices, Truth
from teleread.signal.ecg.simulation.waves import Samples, pour, pour_st

_SPIKE_S = 0.0008
_SPIKE_VECTOR = np.array([0.35, 0.75, -0.35])


def dipole_of(score: Score, anatomy: Anatomy, p_s: float, n: int, fs_hz: float, rng: np.random.Generator) -> Samples:
    """The dipole over time, shape (3, n), mV."""
    dipole = np.zeros((3, n))
    for name, bumps in anatomy.p_forms.items():
        starts = np.array([a.on_s for a in score.p_waves if a.form == name])
        if starts.size:
            turns = _changes(anatomy, starts, rng)
            length = np.full(starts.size, p_s)
            for bump in bumps:
                pour(dipole, fs_hz, starts, length, bump, turns @ np.array(bump.vector))
    for name, form in anatomy.forms.items():
        beats = [b for b in score.beats if b.form == name]
        if beats:
            _pour_beats(dipole, fs_hz, form, beats, _changes(anatomy, np.array([b.at_s for b in beats]), rng))
    for waves in score.waves:
        size = anatomy.quiver_mv if waves.kind == "ventricular_fibrillation" else anatomy.size
        add_waves(dipole, fs_hz, waves, rng, size)
    for spike in score.spikes_s:
        _add_spike(dipole, fs_hz, spike, anatomy.spike_mv)
    return dipole


def independent_leads(dipole: Samples, score: Score, anatomy: Anatomy, fs_hz: float, extra: tuple[str, ...]) -> Samples:
    """I, II, V1 … V6 and the extra leads, with ST shifts that were set lead by lead."""
    names = (*INDEPENDENT[:8], *extra)
    near = np.array([anatomy.gains.get(name, 1.0) for name in names])
    signals: Samples = (near[:, None] * lead_matrix(extra)) @ dipole
    for key, form in anatomy.forms.items():
        beats = [b for b in score.beats if b.form == key]
        if form.chest_st and beats:
            at, qrs, jt = _times(beats)
            add = np.tile(_lead_by_lead(form, names, anatomy.gains), (len(beats), 1))
            foot = -ST_FOOT_QRS * float(np.median(qrs / jt))
            pour_st(signals, fs_hz, at + qrs, jt, foot, form.st_bend, add)
    return signals


def truth_of(
    condition: str,
    score: Score,
    anatomy: Anatomy,
    p_s: float,
    n: int,
    fs_hz: float,
    faults: tuple[tuple[str, str], ...],
) -> Truth:
    """Everything that is known about the recording."""
    peaks = {name: (main_deflection(f), t_peak(f)) for name, f in anatomy.forms.items()}
    p_tops = {name: p_peak(f) if any(any(b.vector) for b in f) else 0.5 for name, f in anatomy.p_forms.items()}
    forms_of_p = {a.on_s: a.form for a in score.p_waves}
    r_s = np.array([b.at_s + peaks[b.form][0] * b.qrs_s for b in score.beats])
    marks = np.rint(r_s * fs_hz)
    keep = np.flatnonzero((marks >= 0) & (marks < n))
    beats = [score.beats[i] for i in keep.tolist()]
    at, qrs, jt = _times(beats)
    p_on = np.array([b.p_on_s for b in beats])
    p_part = np.array([p_tops[forms_of_p[b.p_on_s]] if b.p_on_s in forms_of_p else 0.5 for b in beats])

    def mark(times_s: Samples) -> Indices:
        known = np.isfinite(times_s)
        index = np.rint(np.where(known, times_s, -1.0) * fs_hz).astype(np.int64)
        return np.where(known & (index >= 0) & (index < n), index, -1)

    waves = np.array([a.on_s + p_tops[a.form] * p_s for a in score.p_waves])
    in_view = mark(waves)
    spikes = mark(np.array(score.spikes_s))
    r_peaks = marks[keep].astype(np.int64)
    distance = float(np.diff(r_peaks).mean()) if r_peaks.size > 1 else float("nan")
    return Truth(
        condition=condition,
        r_peaks=r_peaks,
        heart_rate_bpm=60.0 * fs_hz / distance,
        faults=faults,
        beats=tuple(b.kind for b in beats),
        p_on=mark(p_on),
        p_peak=mark(p_on + p_part * p_s),
        p_off=mark(p_on + p_s),
        qrs_on=mark(at),
        qrs_off=mark(at + qrs),
        t_peak=mark(at + qrs + np.array([peaks[b.form][1] for b in beats]) * jt),
        t_off=mark(at + qrs + jt),
        p_waves=np.unique(in_view[in_view >= 0]),
        intervals_ms=MappingProxyType(_intervals(beats, p_s)),
        rhythm=score.rhythm,
        findings=tuple(sorted(score.findings)),
        spikes=np.unique(spikes[spikes >= 0]),
    )


def _times(beats: list[Beat]) -> tuple[Samples, Samples, Samples]:
    """QRS onsets, QRS durations and distances from J to the end of T."""
    table = np.array([(b.at_s, b.qrs_s, b.qt_s - b.qrs_s) for b in beats], dtype=np.float64).reshape(-1, 3)
    return table[:, 0], table[:, 1], table[:, 2]


def _pour_beats(dipole: Samples, fs_hz: float, form: Form, beats: list[Beat], turns: Samples) -> None:
    at, qrs, jt = _times(beats)
    for bump in form.qrs:
        pour(dipole, fs_hz, at, qrs, bump, turns @ np.array(bump.vector))
    for bump in form.t:
        pour(dipole, fs_hz, at + qrs, jt, bump, turns @ np.array(bump.vector))
    if any(form.st):
        # ST does not change from beat to beat, so that a set level is exact
        foot = -ST_FOOT_QRS * float(np.median(qrs / jt))
        pour_st(dipole, fs_hz, at + qrs, jt, foot, form.st_bend, np.tile(np.array(form.st), (len(beats), 1)))


def _changes(anatomy: Anatomy, times_s: Samples, rng: np.random.Generator) -> Samples:
    """How each beat's vector differs from the usual: breathing turns and sizes it; shape (beats, 3, 3)."""
    rate, phase, part, degrees = anatomy.breath
    breath = np.sin(2 * np.pi * rate * times_s + phase)
    size = 1.0 + part * breath + anatomy.spread * np.clip(rng.standard_normal(times_s.size), -2.5, 2.5)
    angle = np.deg2rad(degrees) * breath
    turns = np.zeros((times_s.size, 3, 3))
    turns[:, 0, 0] = turns[:, 1, 1] = size * np.cos(angle)
    turns[:, 0, 1], turns[:, 1, 0] = -size * np.sin(angle), size * np.sin(angle)
    turns[:, 2, 2] = size
    return turns


def _add_spike(dipole: Samples, fs_hz: float, at_s: float, height_mv: float) -> None:
    """A pacing pulse as a sampler sees it: its area is spread over the samples that it covers."""
    lo = int(np.floor(at_s * fs_hz))
    for k in range(lo, lo + int(np.ceil(_SPIKE_S * fs_hz)) + 1):
        cover = min((k + 1) / fs_hz, at_s + _SPIKE_S) - max(k / fs_hz, at_s)
        if 0 <= k < dipole.shape[1] and cover > 0:
            # an anti-aliased pulse is lower at a low rate, but never lost
            dipole[:, k] += _SPIKE_VECTOR * height_mv * min(1.0, cover * max(fs_hz, 1 / _SPIKE_S))


def _lead_by_lead(form: Form, names: tuple[str, ...], gains: dict[str, float]) -> Samples:
    """What is missing in each independent lead to the ST level that was set for it; mV at J."""
    missing = np.zeros(len(names))
    rows, wanted = [], []
    one_and_two = {"I": (1.0, 0.0), "II": (0.0, 1.0), "III": (-1.0, 1.0), "aVR": (-0.5, -0.5), "aVL": (1.0, -0.5),
                   "aVF": (-0.5, 1.0)}  # fmt: skip
    for lead, level in form.chest_st:
        gap = level - gains.get(lead, 1.0) * float(lead_vector(lead) @ np.array(form.st))
        if lead in one_and_two:
            rows.append(one_and_two[lead])
            wanted.append(gap)
        elif lead in names:
            missing[names.index(lead)] = gap
    if rows:
        limbs = np.linalg.lstsq(np.array(rows), np.array(wanted), rcond=None)[0]
        if not np.allclose(np.array(rows) @ limbs, wanted, atol=1e-6):
            raise ValueError("limb leads must obey Einthoven's equation")
        missing[:2] = limbs
    return missing


def _intervals(beats: list[Beat], p_s: float) -> dict[str, float]:
    """Of the prevailing beats, in ms."""
    if not beats:
        return {}
    kinds: NDArray[np.str_] = np.array([b.kind for b in beats])
    names, counts = np.unique(kinds, return_counts=True)
    usual = [b for b, kind in zip(beats, kinds, strict=True) if kind == names[int(np.argmax(counts))]]
    out = {
        "qrs_duration_ms": 1000.0 * float(np.median([b.qrs_s for b in usual])),
        "qt_ms": 1000.0 * float(np.median([b.qt_s for b in usual])),
    }
    pr = [b.at_s - b.p_on_s for b in usual if b.p_on_s == b.p_on_s]
    if 2 * len(pr) > len(usual):
        out |= {"p_duration_ms": 1000.0 * p_s, "pr_ms": 1000.0 * float(np.median(pr))}
    return out

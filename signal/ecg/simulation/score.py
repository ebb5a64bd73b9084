"""The score of a recording: which beats and P waves happen when. Rhythms write it, the heart plays it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypedDict

import numpy as np

BEFORE_S, AFTER_S = 2.5, 1.5
"""How far a score reaches beyond the recording, so that no wave begins or ends at its edges by accident."""


class Settings(TypedDict, total=False):
    """What can be fixed instead of being drawn by the seed. Everything holds exactly where it is set."""

    rate_bpm: float  # of the ventricles; with Mobitz blocks, pauses and premature beats that of the sinus node
    atrial_bpm: float  # P waves of complete block, flutter waves without a set ratio
    p_ms: float
    pr_ms: float
    qrs_ms: float  # of the prevailing beats
    qt_ms: float  # of the prevailing beats
    qtc_ms: float  # after Fridericia, in place of qt_ms
    st_mv: float | Mapping[str, float]  # at J: of ``st_lead``, the others in proportion; or lead by lead
    st_lead: str
    axis_deg: float  # turns the heart in the frontal plane, 0 is usual
    scale: float  # of all ventricular amplitudes
    regular: bool  # no variation from beat to beat, neither in time nor in size
    pause_s: float  # the longest RR, of a sinus pause or in fibrillation
    ratio: int  # flutter waves per beat; 0 for a varying one
    shortest_rr_ms: float  # of pre-excited fibrillation
    pattern: str  # premature beats: isolated, bigeminy, couplet
    pacing: str  # atrial, ventricular, dual
    spike_mv: float
    escape: str  # complete block: ventricular, junctional
    amplitude_mv: float  # of ventricular fibrillation, root mean square of the largest component
    p_waves: bool  # asystole with P waves
    severity: float  # of hyperkalaemia, 0 to 1
    episode_s: tuple[float, float]  # the rhythm lasts only that long, before and after is sinus rhythm


@dataclass(frozen=True, slots=True)
class Beat:
    """One ventricular beat; times in seconds. ``p_on_s`` is NaN when no P wave leads to it."""

    at_s: float
    kind: str = "normal"
    form: str = "usual"
    qt_s: float = 0.4
    p_on_s: float = float("nan")
    qrs_s: float = 0.09


@dataclass(frozen=True, slots=True)
class Atrial:
    """One P wave."""

    on_s: float
    form: str = "sinus"


@dataclass(frozen=True, slots=True)
class Waves:
    """A stretch of flutter or fibrillation, of the atria or the ventricles."""

    kind: str  # flutter, fibrillation, ventricular_fibrillation
    start_s: float
    end_s: float
    rate_bpm: float = 0.0
    phase_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Score:
    """Everything that happens, in order of time."""

    beats: tuple[Beat, ...] = ()
    p_waves: tuple[Atrial, ...] = ()
    waves: tuple[Waves, ...] = ()
    spikes_s: tuple[float, ...] = ()
    rhythm: tuple[tuple[float, float, str], ...] = ()
    findings: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Heart:
    """The timing of this heart and what the caller fixed."""

    rng: np.random.Generator
    duration_s: float
    rate_bpm: float
    p_s: float
    pr_s: float
    qrs_s: float
    qtc_s: float
    qt_s: float | None
    settings: Settings
    sinus_variation: float = 0.03
    broad_s: float = field(default=0.15)
    """Duration of its ectopic and paced beats."""

    def qt(self, rr_s: float, qrs_s: float | None = None) -> float:
        """QT at this RR after Fridericia, longer in broad beats by half of what QRS is longer."""
        if self.qt_s is not None:
            return self.qt_s
        extra = 0.5 * max(0.0, (qrs_s or self.qrs_s) - 0.10)
        return self.qtc_s * float(np.cbrt(min(max(rr_s, 0.24), 2.0))) + extra


def joined(parts: list[Score]) -> Score:
    """Scores one after the other."""
    return Score(
        beats=tuple(sorted((b for p in parts for b in p.beats), key=lambda b: b.at_s)),
        p_waves=tuple(sorted((a for p in parts for a in p.p_waves), key=lambda a: a.on_s)),
        waves=tuple(w for p in parts for w in p.waves),
        spikes_s=tuple(sorted(s for p in parts for s in p.spikes_s)),
        rhythm=tuple(r for p in parts for r in p.rhythm),
        findings=frozenset().union(*(p.findings for p in parts)),
    )


def cut(score: Score, start_s: float, end_s: float) -> Score:
    """What of the score begins from ``start_s`` to before ``end_s``; a P wave stays with its beat."""
    beats = tuple(b for b in score.beats if start_s <= _first(b) < end_s)
    led = {b.p_on_s for b in beats}
    everyone = {b.p_on_s for b in score.beats}
    return Score(
        beats=beats,
        p_waves=tuple(
            a for a in score.p_waves if a.on_s in led or (a.on_s not in everyone and start_s <= a.on_s < end_s)
        ),
        waves=tuple(replace(w, start_s=max(w.start_s, start_s), end_s=min(w.end_s, end_s)) for w in score.waves),
        spikes_s=tuple(s for s in score.spikes_s if start_s <= s < end_s),
        rhythm=tuple((max(a, start_s), min(b, end_s), code) for a, b, code in score.rhythm),
        findings=score.findings,
    )


def room_for_t(beats: tuple[Beat, ...], fixed: bool) -> tuple[Beat, ...]:
    """T ends before the next QRS: a beat that comes early cuts it short, unless QT was fixed by the caller."""
    if fixed:
        return beats
    out = []
    for beat, after in zip(beats, [*beats[1:], None][: len(beats)], strict=True):
        room = after.at_s - beat.at_s - 0.012 if after is not None else np.inf
        least = beat.qrs_s + 0.03
        out.append(replace(beat, qt_s=max(min(beat.qt_s, room), least)) if beat.qt_s > room else beat)
    return tuple(out)


def _first(beat: Beat) -> float:
    return beat.p_on_s if beat.p_on_s == beat.p_on_s else beat.at_s

"""Rhythms without a block between atria and ventricles: when the beats come and what leads to them."""

from __future__ import annotations

import numpy as np

from teleread.signal.ecg.simulation.score import AFTER_S, BEFORE_S, Atrial, Beat, Heart, Score, Waves
from teleread.signal.ecg.simulation.waves import Samples

SLOW_BPM, FAST_BPM = 60.0, 100.0


def beat_times(heart: Heart, rate_bpm: float, variation: float, jitter_s: float) -> Samples:
    """QRS onsets from before the recording to after it, whose mean distance inside is exactly that of the rate.

    Args:
        variation: how much breathing changes the distance, as a part of it.
        jitter_s: random change of each distance, standard deviation.
    """
    usual = 60.0 / rate_bpm
    rng = heart.rng
    start = rng.uniform(0.25, 0.25 + min(usual, 1.2))
    before = int(np.ceil((BEFORE_S + start) / usual))
    count = before + int(np.ceil((heart.duration_s + AFTER_S) / usual)) + 2
    breath = np.sin(2 * np.pi * np.arange(count) * usual / rng.uniform(3.4, 4.8) + rng.uniform(0, 6.28))
    change = usual * variation * breath + jitter_s * np.clip(rng.standard_normal(count), -2.5, 2.5)
    if heart.settings.get("regular", False):
        change = np.zeros(count)
    inside = max(1, int((heart.duration_s - start) / usual))
    change -= change[before : before + inside].mean()
    distances = usual + change
    # the beat with index ``before`` is the first of the recording
    times: Samples = start + np.concatenate(([0.0], np.cumsum(distances[:-1])))
    times -= times[before] - start
    return times


def sinus(heart: Heart) -> Score:
    """Every beat after its P wave."""
    jitter = 0.004 if heart.rate_bpm < 120 else 0.002
    times = beat_times(heart, heart.rate_bpm, heart.sinus_variation, jitter)
    rr = 60.0 / heart.rate_bpm
    qt = heart.qt(rr)
    if heart.qt_s is None and "qtc_ms" not in heart.settings:
        # a fast sinus rhythm comes with a shorter QT, and T keeps clear of the next P
        qt = max(min(qt, rr - heart.pr_s - 0.005), 0.8 * qt)
    beats = tuple(Beat(t, qt_s=qt, p_on_s=t - heart.pr_s, qrs_s=heart.qrs_s) for t in times.tolist())
    return Score(beats, p_of(beats), rhythm=((0.0, heart.duration_s, sinus_code(heart)),), findings=_rate(heart))


def sinus_code(heart: Heart) -> str:
    """The rhythm's name from its rate and how much it varies."""
    if heart.sinus_variation >= 0.08:
        return "sinus_arrhythmia"
    if heart.rate_bpm < SLOW_BPM:
        return "sinus_bradycardia"
    return "sinus_tachycardia" if heart.rate_bpm > FAST_BPM else "sinus_rhythm"


def p_of(beats: tuple[Beat, ...], form: str = "sinus") -> tuple[Atrial, ...]:
    """The P waves that lead to these beats."""
    return tuple(Atrial(b.p_on_s, form) for b in beats if b.p_on_s == b.p_on_s)


def fibrillation(heart: Heart) -> Score:
    """Irregular beats without P over fibrillating atria.

    Distances follow a gamma distribution that the refractory AV node cuts off below; one is a pause if that is set.
    """
    usual = 60.0 / heart.rate_bpm
    count = int((heart.duration_s + BEFORE_S + AFTER_S) / usual * 1.3) + 12
    spread = 0.21 if heart.rate_bpm < 130 else 0.17
    shape = 1.0 / spread**2
    distances = heart.rng.gamma(shape, usual / shape, count)
    distances = np.clip(distances, max(0.62 * usual, 0.23), 1.75 * usual)
    distances = _centred(distances, usual, heart.duration_s)
    if "pause_s" not in heart.settings:
        return _irregular(heart, distances, "usual")
    length = heart.settings["pause_s"]
    if length > heart.duration_s - 2.5:
        raise ValueError("the recording is too short for the pause")
    latest = 0.35 * (heart.duration_s - length)
    distances[int(np.searchsorted(_placed(heart, distances), latest))] = length
    return _irregular(heart, distances, "usual", extra=frozenset({"pause"}))


def pre_excited_fibrillation(heart: Heart) -> Score:
    """Fibrillation over an accessory pathway: fast, very irregular, broad; one distance is exactly the shortest."""
    shortest = heart.settings.get("shortest_rr_ms", float(heart.rng.uniform(190, 245))) / 1000.0
    usual = max(60.0 / heart.rate_bpm, 1.25 * shortest)
    count = int((heart.duration_s + BEFORE_S + AFTER_S) / shortest) + 12
    distances = shortest * 1.04 + heart.rng.gamma(1.6, (usual - shortest * 1.04) / 1.6, count)
    distances = np.minimum(distances, 3.2 * usual)
    times = _placed(heart, distances)
    inside = int(np.searchsorted(times, 0.35 * heart.duration_s))
    distances[inside] = shortest
    return _irregular(heart, distances, "usual", extra=frozenset({"pre_excited_af", "pre_excitation"}))


def flutter(heart: Heart, ratio: int) -> Score:
    """Atrial flutter with every second, third, fourth wave conducted, or now this now that many (ratio 0)."""
    given = heart.settings.get("atrial_bpm")
    if ratio:
        atrial = 60.0 / (heart.rate_bpm * ratio)
        steps = np.full(int((heart.duration_s + BEFORE_S + AFTER_S) / atrial / ratio) + 4, ratio)
    else:
        atrial = 60.0 / (given or float(heart.rng.uniform(260, 320)))
        steps = heart.rng.choice([2, 3, 4], int((heart.duration_s + BEFORE_S + AFTER_S) / atrial / 2) + 4)
    start = -BEFORE_S + float(heart.rng.uniform(0, atrial))
    times = start + atrial * np.concatenate(([0], np.cumsum(steps)[:-1]))
    delay = float(heart.rng.uniform(0.35, 0.6)) * atrial
    rr = np.diff(times, prepend=times[0] - atrial * steps[0])
    beats = tuple(
        Beat(t + delay, qt_s=heart.qt(r), qrs_s=heart.qrs_s) for t, r in zip(times.tolist(), rr.tolist(), strict=True)
    )
    waves = (Waves("flutter", -BEFORE_S, heart.duration_s + AFTER_S, 60.0 / atrial, start),)
    rate = 60.0 / float(np.mean(rr))
    spans = ((0.0, heart.duration_s, "atrial_flutter"),)
    return Score(beats, waves=waves, rhythm=spans, findings=_rate_code(rate))


def regular(
    heart: Heart, form: str, kind: str, code: str, *, qrs_s: float, atria: str = "none", jitter_s: float = 0.004
) -> Score:
    """A regular rhythm from below the sinus node.

    Args:
        atria: none (no P to be seen), retrograde (after QRS), dissociated (their own slower rhythm).
    """
    times = beat_times(heart, heart.rate_bpm, 0.0, jitter_s)
    qt = heart.qt(60.0 / heart.rate_bpm, qrs_s)
    beats = tuple(Beat(t, kind, form, qt, qrs_s=qrs_s) for t in times.tolist())
    p_waves: tuple[Atrial, ...] = ()
    if atria == "retrograde":
        late = qrs_s * 0.55 + float(heart.rng.uniform(0.02, 0.05))
        p_waves = tuple(Atrial(b.at_s + late, "retrograde") for b in beats)
    elif atria == "dissociated":
        p_waves = own_atria(heart, heart.settings.get("atrial_bpm", float(heart.rng.uniform(70, 95))))
    return Score(beats, p_waves, rhythm=((0.0, heart.duration_s, code),), findings=_rate(heart))


def own_atria(heart: Heart, atrial_bpm: float) -> tuple[Atrial, ...]:
    """P waves by their own clock."""
    period = 60.0 / atrial_bpm
    times = np.arange(-BEFORE_S + heart.rng.uniform(0, period), heart.duration_s + AFTER_S, period)
    if not heart.settings.get("regular", False):
        times = times + heart.rng.normal(0.0, 0.004, times.size)
    return tuple(Atrial(t) for t in times.tolist())


def ventricular_fibrillation(heart: Heart) -> Score:
    """No beats at all: the ventricles quiver."""
    waves = (Waves("ventricular_fibrillation", -BEFORE_S, heart.duration_s + AFTER_S),)
    return Score(waves=waves, rhythm=((0.0, heart.duration_s, "ventricular_fibrillation"),))


def asystole(heart: Heart) -> Score:
    """No beats; P waves where the settings say so."""
    p_waves = own_atria(heart, heart.settings.get("atrial_bpm", 72.0)) if heart.settings.get("p_waves") else ()
    return Score(p_waves=p_waves, rhythm=((0.0, heart.duration_s, "asystole"),))


def pause(heart: Heart) -> Score:
    """Sinus rhythm in which the node stops once: one RR is exactly the pause."""
    drawn = min(float(heart.rng.uniform(3.1, 4.6)), heart.duration_s - 2.5)
    length = heart.settings.get("pause_s", drawn)
    if length > heart.duration_s - 2.5 or length < 60.0 / heart.rate_bpm:
        raise ValueError("the recording is too short for the pause")
    whole = sinus(heart)
    latest = heart.duration_s - length - 1.0
    inside = [b.at_s for b in whole.beats if 0.5 <= b.at_s <= max(latest, 0.5 + 60.0 / heart.rate_bpm)]
    last = inside[int(heart.rng.uniform(0.3, 0.8) * len(inside))]
    early = tuple(b for b in whole.beats if b.at_s <= last)
    later = [b for b in whole.beats if b.at_s > last]
    shift = last + length - later[0].at_s
    late = tuple(
        Beat(b.at_s + shift, b.kind, b.form, b.qt_s, b.p_on_s + shift, b.qrs_s)
        for b in later
        if b.at_s + shift < heart.duration_s + AFTER_S
    )
    beats = early + late
    return Score(beats, p_of(beats), rhythm=whole.rhythm, findings=whole.findings | {"pause"})


def paced(heart: Heart, pacing: str) -> Score:
    """A pacemaker's rhythm: spikes before P, before QRS, or both."""
    if pacing not in ("atrial", "ventricular", "dual"):
        raise ValueError("pacing must be atrial, ventricular or dual")
    times = beat_times(heart, heart.rate_bpm, 0.0, 0.0)
    broad = pacing != "atrial"
    qrs_s = heart.broad_s if broad else heart.qrs_s
    qt = heart.qt(60.0 / heart.rate_bpm, qrs_s)
    form = "broad" if broad else "usual"
    p_on = times - heart.pr_s if pacing != "ventricular" else np.full(times.size, np.nan)
    beats = tuple(Beat(t, "paced", form, qt, p, qrs_s) for t, p in zip(times.tolist(), p_on.tolist(), strict=True))
    spikes = []
    if pacing != "ventricular":
        spikes += (p_on - 0.008).tolist()
    if broad:
        spikes += (times - 0.006).tolist()
    p_waves = p_of(beats, "ectopic" if pacing == "atrial" else "sinus")
    spans = ((0.0, heart.duration_s, "paced_rhythm"),)
    return Score(beats, p_waves, spikes_s=tuple(spikes), rhythm=spans, findings=_rate(heart) | {"paced"})


def _irregular(heart: Heart, distances: Samples, form: str, extra: frozenset[str] = frozenset()) -> Score:
    times = _placed(heart, distances)
    # QT follows the mean distance and only a little the last one
    mean = 60.0 / heart.rate_bpm
    qt = [heart.qt(0.7 * mean + 0.3 * d) for d in np.concatenate(([mean], distances[:-1])).tolist()]
    beats = tuple(Beat(t, "normal", form, q, qrs_s=heart.qrs_s) for t, q in zip(times.tolist(), qt, strict=True))
    waves = (Waves("fibrillation", -BEFORE_S, heart.duration_s + AFTER_S),)
    spans = ((0.0, heart.duration_s, "atrial_fibrillation"),)
    return Score(beats, waves=waves, rhythm=spans, findings=_rate(heart) | extra)


def _placed(heart: Heart, distances: Samples) -> Samples:
    times: Samples = -BEFORE_S + np.concatenate(([0.0], np.cumsum(distances[:-1])))
    return times


def _centred(distances: Samples, usual: float, duration_s: float) -> Samples:
    """Distances whose mean inside the recording is the usual one."""
    for _ in range(3):
        times = -BEFORE_S + np.concatenate(([0.0], np.cumsum(distances[:-1])))
        inside = np.flatnonzero((times >= 0) & (times < duration_s))
        if inside.size < 3:
            break
        distances = distances * (usual / distances[inside[:-1]].mean())
    return distances


def _rate(heart: Heart) -> frozenset[str]:
    return _rate_code(heart.rate_bpm)


def _rate_code(rate_bpm: float) -> frozenset[str]:
    if rate_bpm < SLOW_BPM:
        return frozenset({"bradycardia"})
    return frozenset({"tachycardia"}) if rate_bpm > FAST_BPM else frozenset()

"""Blocks between atria and ventricles, and beats that come too early."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from teleread.signal.ecg.simulation.rhythms import beat_times, own_atria, p_of, sinus, sinus_code
from teleread.signal.ecg.simulation.score import Atrial, Beat, Heart, Score

ECTOPIC_FORM = "broad"


def first_degree(heart: Heart) -> Score:
    """Sinus rhythm that reaches the ventricles late (PR is the heart's)."""
    score = sinus(heart)
    return replace(score, findings=score.findings | {"av_block_1"})


def wenckebach(heart: Heart) -> Score:
    """Second degree, Mobitz I: PR grows by less and less until a P wave is not conducted."""
    rng = heart.rng
    node = _node(heart)
    cycle = int(rng.integers(3, 6))
    growth = np.array([0.0, *np.cumsum(float(rng.uniform(0.07, 0.10)) * 0.62 ** np.arange(cycle - 2))])
    return _dropped(heart, node, cycle, heart.pr_s + growth, "av_block_2_mobitz_1", sinus_code(heart))


def mobitz_2(heart: Heart) -> Score:
    """Second degree, Mobitz II: PR is constant, and now and then a P wave is not conducted."""
    cycle = int(heart.rng.integers(3, 6))
    return _dropped(
        heart, _node(heart), cycle, np.full(cycle - 1, heart.pr_s), "av_block_2_mobitz_2", sinus_code(heart)
    )


def two_to_one(heart: Heart) -> Score:
    """Every second P wave is conducted; the rate is that of the ventricles."""
    atrial = replace(heart, rate_bpm=2 * heart.rate_bpm)
    score = _dropped(
        atrial, _node(atrial), 2, np.array([heart.pr_s]), "av_block_2_1", sinus_code(replace(atrial, sinus_variation=0))
    )
    return replace(score, findings=score.findings | ({"bradycardia"} if heart.rate_bpm < 60 else set()))


def complete(heart: Heart, escape: str) -> Score:
    """Third degree: the atria by their own clock, the ventricles by a slow one of their own."""
    if escape not in ("ventricular", "junctional"):
        raise ValueError("escape must be ventricular or junctional")
    broad = escape == "ventricular"
    qrs_s = heart.broad_s if broad else heart.qrs_s
    times = beat_times(heart, heart.rate_bpm, 0.0, 0.006)
    qt = heart.qt(60.0 / heart.rate_bpm, qrs_s)
    form = "broad" if broad else "usual"
    beats = tuple(Beat(t, escape, form, qt, qrs_s=qrs_s) for t in times.tolist())
    atria = own_atria(heart, heart.settings.get("atrial_bpm", float(heart.rng.uniform(68, 92))))
    code = "idioventricular_rhythm" if broad else "junctional_rhythm"
    findings = frozenset({"av_block_3"}) | ({"bradycardia"} if heart.rate_bpm < 60 else set())
    return Score(beats, atria, rhythm=((0.0, heart.duration_s, code),), findings=findings)


def premature_ventricular(heart: Heart, pattern: str) -> Score:
    """Sinus rhythm with beats of the ventricles; the sinus node goes on by its clock, so that a full pause follows."""
    whole = sinus(heart)
    rr = 60.0 / heart.rate_bpm
    early = max(float(heart.rng.uniform(0.52, 0.66)) * rr, 0.36)
    beats, atria = [], list(p_of(whole.beats))
    broad_qt = heart.qt(rr, heart.broad_s) if heart.qt_s is None else heart.qt(rr) + 0.03
    chosen = _chosen(heart, whole.beats, pattern)
    skipped: set[int] = set()
    for k, beat in enumerate(whole.beats):
        if k in skipped:
            continue
        beats.append(beat)
        if k not in chosen:
            continue
        count = 2 if pattern == "couplet" else 1
        for i in range(count):
            at = beat.at_s + early * (1 + 0.97 * i)
            beats.append(Beat(at, "ventricular", ECTOPIC_FORM, broad_qt, qrs_s=heart.broad_s))
        skipped |= {k + 1 + i for i in range(count)}
    # the P waves of the skipped beats are there, though nothing follows them
    found = {"premature_ventricular"} | ({pattern} if pattern in ("bigeminy", "couplet") else set())
    return Score(tuple(beats), tuple(atria), rhythm=whole.rhythm, findings=whole.findings | found)


def premature_supraventricular(heart: Heart, pattern: str) -> Score:
    """Sinus rhythm with beats of the atria, whose P has another form; they reset the sinus node."""
    whole = sinus(heart)
    rr = 60.0 / heart.rate_bpm
    early = float(heart.rng.uniform(0.36, 0.44)) * rr
    chosen = _chosen(heart, whole.beats, pattern)
    beats: list[Beat] = []
    atria: list[Atrial] = []
    shift = 0.0
    for k, beat in enumerate(whole.beats):
        premature = k - 1 in chosen
        shift -= early if premature else 0.0
        p_on, at = beat.p_on_s + shift, beat.at_s + shift + (0.015 if premature else 0.0)
        beats.append(replace(beat, at_s=at, p_on_s=p_on, kind="supraventricular" if premature else beat.kind))
        atria.append(Atrial(p_on, "ectopic" if premature else "sinus"))
        # the node needs a little longer after it was reset
        shift += 0.12 * rr if premature else 0.0
    found = {"premature_supraventricular"} | ({pattern} if pattern in ("bigeminy", "couplet") else set())
    return Score(tuple(beats), tuple(atria), rhythm=whole.rhythm, findings=whole.findings | found)


def _chosen(heart: Heart, beats: tuple[Beat, ...], pattern: str) -> set[int]:
    """Indices of sinus beats after which an early beat comes."""
    if pattern not in ("isolated", "bigeminy", "couplet"):
        raise ValueError("pattern must be isolated, bigeminy or couplet")
    inside = [k for k, b in enumerate(beats) if 0.6 <= b.at_s <= heart.duration_s - 1.8]
    if not inside:
        raise ValueError("the recording is too short for premature beats")
    if pattern == "bigeminy":
        return set(range(int(heart.rng.integers(0, 2)), len(beats), 2))
    gap = int(heart.rng.integers(5, 8))
    first = int(heart.rng.integers(0, min(gap, len(inside))))
    return set(inside[first::gap])


def _node(heart: Heart) -> list[float]:
    """When the sinus node fires, seen from where QRS would be without a block."""
    times: list[float] = beat_times(heart, heart.rate_bpm, 0.01, 0.004).tolist()
    return times


def _dropped(
    heart: Heart, node: list[float], cycle: int, pr_s: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    finding: str, code: str,
) -> Score:  # fmt: skip
    """Beats after each P wave but the last of every cycle."""
    beats: list[Beat] = []
    place = int(heart.rng.integers(0, cycle))
    qt = heart.qt(60.0 / heart.rate_bpm * cycle / (cycle - 1))
    atria = [t - heart.pr_s for t in node]
    for k, p_on in enumerate(atria):
        step = (k + place) % cycle
        if step < cycle - 1:
            beats.append(Beat(p_on + float(pr_s[step]), qt_s=qt, p_on_s=p_on, qrs_s=heart.qrs_s))
    rate = heart.rate_bpm * (cycle - 1) / cycle
    findings = frozenset({finding}) | ({"bradycardia"} if rate < 60 else set())
    return Score(
        tuple(beats), tuple(Atrial(p) for p in atria), rhythm=((0.0, heart.duration_s, code),), findings=findings
    )

"""One heart drawn from a plan, the score its rhythm writes, and the forms of its beats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from teleread.signal.ecg.simulation import blocks, rhythms
from teleread.signal.ecg.simulation.conditions import Plan, Range
from teleread.signal.ecg.simulation.electrodes import lead_vector
from teleread.signal.ecg.simulation.forms import P_FORMS, Form, moved, moved_p, scaled, with_st
from teleread.signal.ecg.simulation.score import AFTER_S, BEFORE_S, Heart, Score, Settings, cut, joined, room_for_t
from teleread.signal.ecg.simulation.waves import Bump

_LIMITS = {
    "rate_bpm": (10.0, 320.0),
    "atrial_bpm": (20.0, 400.0),
    "p_ms": (40.0, 200.0),
    "pr_ms": (60.0, 600.0),
    "qrs_ms": (40.0, 260.0),
    "qt_ms": (150.0, 900.0),
    "qtc_ms": (150.0, 900.0),
    "pause_s": (1.0, 60.0),
    "shortest_rr_ms": (150.0, 500.0),
    "scale": (0.0, 10.0),
    "spike_mv": (0.0, 20.0),
    "amplitude_mv": (0.0, 5.0),
    "severity": (0.0, 1.0),
    "axis_deg": (-180.0, 180.0),
}


@dataclass(frozen=True, slots=True)
class Anatomy:
    """How this heart looks from outside.

    Args:
        forms: of its ventricular beats by name, ``usual`` and ``broad``.
        p_forms: of its P waves.
        size: of what flutters and fibrillates.
        spike_mv: of pacing.
        breath: how breathing changes the beats: rate in Hz, phase, part of size, degrees.
        spread: random change of size from beat to beat.
        gains: how near each chest electrode is, a factor by lead.
    """

    forms: dict[str, Form]
    p_forms: dict[str, tuple[Bump, ...]]
    size: float
    quiver_mv: float
    spike_mv: float
    breath: tuple[float, float, float, float]
    spread: float
    gains: dict[str, float]


def check(settings: Settings) -> None:
    """Refuses settings that no heart has.

    Raises:
        ValueError: which one.
    """
    for name, (low, high) in _LIMITS.items():
        value = settings.get(name)
        if value is not None and not (isinstance(value, (int, float)) and low <= value <= high):
            raise ValueError(f"{name} must be from {low:g} to {high:g}")
    if settings.get("ratio", 0) not in (0, 1, 2, 3, 4, 5, 6):
        raise ValueError("ratio must be 0 (varying) to 6")


def draw_heart(plan: Plan, settings: Settings, duration_s: float, rng: np.random.Generator) -> Heart:
    """The timing of one heart. What is set does not change what is drawn for the rest."""

    def drawn(limits: Range) -> float:
        return float(rng.uniform(*limits))

    rate, pr, p, qtc = drawn(plan.rate_bpm), drawn(plan.pr_ms), drawn(plan.p_ms), drawn(plan.qtc_ms)
    usual_qrs, broad_qrs = drawn(plan.qrs_ms or plan.forms[0].qrs_ms), drawn(plan.broad[0].qrs_ms)
    rate = settings.get("rate_bpm", rate)
    if plan.pr_ms[1] <= 210.0:
        pr = min(pr, 20.0 + 0.32 * 60000.0 / rate)  # a fast heart conducts faster
    pr = settings.get("pr_ms", pr)
    p = settings.get("p_ms", min(p, pr - 12.0))
    qt = settings.get("qt_ms")
    beats_are_broad = plan.rhythm in _BROAD or (
        plan.rhythm == "paced" and settings.get("pacing", plan.pacing) != "atrial"
    )
    given = settings.get("qrs_ms")
    if given is not None:
        usual_qrs, broad_qrs = (usual_qrs, given) if beats_are_broad else (given, broad_qrs)
    elif plan.forms[0].discordant or plan.forms[0].qrs_ms[0] > 110:
        qtc += 0.5 * (usual_qrs - 100.0)  # in blocks QRS lengthens QT
    return Heart(
        rng=rng,
        duration_s=duration_s,
        rate_bpm=rate,
        p_s=p / 1000.0,
        pr_s=pr / 1000.0,
        qrs_s=usual_qrs / 1000.0,
        qtc_s=settings.get("qtc_ms", qtc) / 1000.0,
        qt_s=None if qt is None else qt / 1000.0,
        settings=settings,
        sinus_variation=plan.variation,
        broad_s=broad_qrs / 1000.0,
    )


def write_score(plan: Plan, heart: Heart) -> Score:
    """What happens when, from before the recording to after it."""
    score = _RHYTHMS[plan.rhythm](plan, heart)
    episode = heart.settings.get("episode_s")
    if episode is not None:
        score = _episode(heart, score, episode)
    fixed = "qt_ms" in heart.settings or "qtc_ms" in heart.settings
    return replace(score, beats=room_for_t(score.beats, fixed), findings=score.findings | plan.findings)


def draw_anatomy(plan: Plan, settings: Settings, rng: np.random.Generator) -> Anatomy:
    """The forms of one heart's beats."""
    frontal = float(rng.uniform(*plan.frontal_deg)) + settings.get("axis_deg", 0.0)
    horizontal = float(rng.uniform(*plan.horizontal_deg))
    size = float(rng.uniform(*plan.size)) * settings.get("scale", 1.0)
    p_size = float(rng.uniform(*plan.p_size)) * _p_left(plan, settings)
    form = plan.forms[int(rng.integers(0, len(plan.forms)))]
    broad = plan.broad[int(rng.integers(0, len(plan.broad)))]
    t_size, st_mv = float(rng.uniform(0.7, 1.25)), rng.uniform(*(plan.st_range_mv or (0.0, 0.0)))
    if plan.first is not None and not form.discordant:
        form = replace(form, qrs=(plan.first, *form.qrs[1:]))
    if plan.last is not None:
        form = replace(form, qrs=(*form.qrs, plan.last))
    if plan.t is not None:
        form = replace(form, t=plan.t)
    usual = moved(form, frontal, horizontal, rng)
    # T is not the larger for a large muscle, but small where all is small
    t_scale = t_size * (min(size, 1.0) if plan.t is None or size < 0.5 else 1.0)
    usual = replace(usual, qrs=scaled(usual.qrs, size), t=scaled(usual.t, t_scale))
    gains = _draw_gains(rng)
    usual = _shift_st(usual, plan, settings, float(st_mv), gains)
    others = moved(broad, 0.5 * frontal, 0.5 * horizontal, rng)
    large = size if plan.size[1] < 1.3 else 1.0
    others = replace(others, qrs=scaled(others.qrs, large), t=scaled(others.t, large), st=_times(others.st, large))
    if _main_is_broad(plan) and "st_mv" in settings:
        others = _shift_st(others, plan, settings, 0.0, gains)
    p_forms = {name: scaled(moved_p(bumps, frontal, rng), p_size) for name, bumps in P_FORMS.items()}
    breath = (float(rng.uniform(0.18, 0.32)), float(rng.uniform(0, 6.28)), float(rng.uniform(0.01, 0.04)),
              float(rng.uniform(0.5, 3.0)))  # fmt: skip
    quiver = settings.get("amplitude_mv", float(np.exp(rng.uniform(np.log(0.14), np.log(0.75)))))
    spike = settings.get("spike_mv", float(rng.uniform(0.5, 3.0)))
    still = settings.get("regular", False)
    if still:
        breath = (breath[0], breath[1], 0.0, 0.0)
    return Anatomy(
        {"usual": usual, "broad": others}, p_forms, float(rng.uniform(0.7, 1.3)), quiver, spike, breath,
        0.0 if still else 0.012, gains,
    )  # fmt: skip


_NEARNESS = {
    "V1": (0.80, 1.10), "V2": (0.75, 1.10), "V3": (0.62, 1.00), "V4": (0.58, 0.94), "V5": (0.58, 0.90),
    "V6": (0.64, 0.94), "V3R": (0.80, 1.10), "V4R": (0.80, 1.10), "V7": (0.80, 1.10), "V8": (0.80, 1.10),
    "V9": (0.80, 1.10),
}  # fmt: skip


def _draw_gains(rng: np.random.Generator) -> dict[str, float]:
    """Chest walls differ: neighbours alike, and all of them together."""
    common = float(rng.uniform(0.0, 1.0))
    return {
        lead: low + (high - low) * (0.6 * common + 0.4 * float(rng.uniform(0.0, 1.0)))
        for lead, (low, high) in _NEARNESS.items()
    }


_BROAD = frozenset({"vt", "idioventricular", "accelerated_idioventricular", "complete_block"})


def _main_is_broad(plan: Plan) -> bool:
    return plan.rhythm in _BROAD


def _p_left(plan: Plan, settings: Settings) -> float:
    """What potassium leaves of P."""
    if plan.rhythm != "hyperkalaemia":
        return 1.0
    return max(0.0, 1.0 - 1.4 * settings.get("severity", 0.6))


def _shift_st(form: Form, plan: Plan, settings: Settings, drawn_mv: float, gains: dict[str, float]) -> Form:
    """ST at J as the caller or the condition wants it."""
    wanted = settings.get("st_mv")
    lead = settings.get("st_lead", plan.st_lead)
    if wanted is not None and not isinstance(wanted, (int, float)):
        # lead by lead: beside the dipole, at the electrodes
        return replace(form, chest_st=tuple(sorted(wanted.items())), st_bend=plan.st_bend)
    if wanted is None and plan.st_range_mv is None:
        # ST of blocks and strain goes with the size of the beats
        return with_st(form, plan.st, plan.st_bend if any(plan.st) else form.st_bend)
    target = drawn_mv if wanted is None else float(wanted)
    vector = np.array(plan.st if any(plan.st) else form.st)
    seen = float(lead_vector(lead) @ vector) * gains.get(lead, 1.0)
    if abs(seen) < 0.1 * float(np.sqrt((vector * vector).sum())):
        raise ValueError("this ST shift cannot be seen in that lead")
    shifted = vector * (target / seen)
    t = form.t
    if wanted is None or plan.st_range_mv is not None:
        # an acutely ischaemic T points where ST points
        more = 0.45 * shifted * float(np.sign(target) > 0)
        t = (replace(t[0], vector=tuple(np.array(t[0].vector) + more)), *t[1:])
    return replace(form, st=tuple(shifted.tolist()), st_bend=plan.st_bend, t=t)


def _times(vector: tuple[float, float, float], factor: float) -> tuple[float, float, float]:
    return vector[0] * factor, vector[1] * factor, vector[2] * factor


def _episode(heart: Heart, score: Score, episode: tuple[float, float]) -> Score:
    """The rhythm for a while, sinus rhythm before and after."""
    start, end = episode
    if not 0 <= start < end:
        raise ValueError("an episode begins at 0 or later and ends after that")
    calm = replace(
        heart, rate_bpm=float(heart.rng.uniform(64, 82)), sinus_variation=0.03, pr_s=min(heart.pr_s, 0.19), qt_s=None
    )
    sinus = rhythms.sinus(calm)
    parts = [cut(sinus, -BEFORE_S, start), cut(score, start, end), cut(sinus, end + 0.35, heart.duration_s + AFTER_S)]
    whole = joined(parts)
    spans = [(0.0, min(start, heart.duration_s), "sinus_rhythm"), *parts[1].rhythm]
    spans.append((min(end, heart.duration_s), heart.duration_s, "sinus_rhythm"))
    spans = [(a, min(b, heart.duration_s), code) for a, b, code in spans]
    return replace(whole, rhythm=tuple(s for s in spans if s[1] > s[0]))


def _hyperkalaemia(_plan: Plan, heart: Heart) -> Score:
    """QRS broadens and P fades as potassium rises; without P the rhythm cannot be told."""
    severity = heart.settings.get("severity", 0.6)
    qrs_s = heart.settings.get("qrs_ms", 105.0 + 75.0 * severity) / 1000.0
    score = rhythms.sinus(replace(heart, qrs_s=qrs_s, pr_s=max(heart.pr_s, 0.19), p_s=max(heart.p_s, 0.115)))
    if severity < 0.7:
        return score
    beats = tuple(replace(b, p_on_s=float("nan")) for b in score.beats)
    spans = ((0.0, heart.duration_s, "undetermined"),)
    return replace(score, beats=beats, p_waves=(), rhythm=spans)


def _vt(_plan: Plan, heart: Heart) -> Score:
    atria = "dissociated" if heart.rng.uniform() < 0.4 else "none"
    return rhythms.regular(
        heart, "broad", "ventricular", "ventricular_tachycardia", qrs_s=heart.broad_s, atria=atria, jitter_s=0.006
    )


def _idioventricular(heart: Heart, code: str) -> Score:
    return rhythms.regular(heart, "broad", "ventricular", code, qrs_s=heart.broad_s, jitter_s=0.008)


def _svt(_plan: Plan, heart: Heart) -> Score:
    atria = "retrograde" if heart.rng.uniform() < 0.4 else "none"
    return rhythms.regular(
        heart, "usual", "supraventricular", "supraventricular_tachycardia", qrs_s=heart.qrs_s, atria=atria,
        jitter_s=0.002,
    )  # fmt: skip


def _junctional(_plan: Plan, heart: Heart) -> Score:
    atria = "retrograde" if heart.rng.uniform() < 0.4 else "none"
    return rhythms.regular(heart, "usual", "junctional", "junctional_rhythm", qrs_s=heart.qrs_s, atria=atria)


def _flutter(plan: Plan, heart: Heart) -> Score:
    ratio = heart.settings.get("ratio")
    if ratio is None:
        # 2:1 when fast, 4:1 when slow: the atria flutter at 240 to 340
        ratio = int(np.clip(round(290.0 / heart.rate_bpm), 2, 4))
        atrial = float(np.clip(ratio * heart.rate_bpm, 245.0, 330.0))
        heart = heart if "rate_bpm" in heart.settings else replace(heart, rate_bpm=atrial / ratio)
    elif ratio and "rate_bpm" not in heart.settings:
        heart = replace(heart, rate_bpm=float(np.clip(ratio * heart.rate_bpm, 250.0, 330.0)) / ratio)
    return rhythms.flutter(heart, ratio)


_RHYTHMS: dict[str, Callable[[Plan, Heart], Score]] = {
    "sinus": lambda _, heart: rhythms.sinus(heart),
    "af": lambda _, heart: rhythms.fibrillation(heart),
    "pre_excited_af": lambda _, heart: rhythms.pre_excited_fibrillation(heart),
    "flutter": _flutter,
    "svt": _svt,
    "vt": _vt,
    "vf": lambda _, heart: rhythms.ventricular_fibrillation(heart),
    "asystole": lambda _, heart: rhythms.asystole(heart),
    "pause": lambda _, heart: rhythms.pause(heart),
    "junctional": _junctional,
    "idioventricular": lambda _, heart: _idioventricular(heart, "idioventricular_rhythm"),
    "accelerated_idioventricular": lambda _, heart: _idioventricular(heart, "accelerated_idioventricular_rhythm"),
    "premature_ventricular": lambda p, h: blocks.premature_ventricular(h, h.settings.get("pattern", p.pattern)),
    "premature_supraventricular": lambda p, h: blocks.premature_supraventricular(
        h, h.settings.get("pattern", p.pattern)
    ),
    "av_block_1": lambda _, heart: blocks.first_degree(heart),
    "mobitz_1": lambda _, heart: blocks.wenckebach(heart),
    "mobitz_2": lambda _, heart: blocks.mobitz_2(heart),
    "two_to_one": lambda _, heart: blocks.two_to_one(heart),
    "complete_block": lambda _, heart: blocks.complete(heart, heart.settings.get("escape", "ventricular")),
    "paced": lambda p, h: rhythms.paced(h, h.settings.get("pacing", p.pacing)),
    "hyperkalaemia": _hyperkalaemia,
}

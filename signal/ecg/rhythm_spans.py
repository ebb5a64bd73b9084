"""From evidence per beat to the name of the rhythm at each beat, and from there to spans."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from teleread.signal.ecg.atrial import fibrillating, p_seen
from teleread.signal.ecg.beat_shapes import Indices, Mask
from teleread.signal.ecg.beat_table import BeatTable, local_mean, local_median
from teleread.signal.ecg.beats import PACED, SUPRAVENTRICULAR, VENTRICULAR, Kinds
from teleread.signal.ecg.filters import Samples, run_lengths
from teleread.signal.ecg.rhythm_types import SPAN_CODES, Spans
from teleread.signal.ecg.ventricular import Span, ventricular_runs

(
    SINUS,
    SINUS_BRADY,
    SINUS_TACHY,
    SINUS_ARRHYTHMIA,
    AF,
    FLUTTER,
    SVT,
    VT,
    VF,
    ASYSTOLE,
    JUNCTIONAL,
    IDIOVENTRICULAR,
    ACCELERATED,
    PACED_RHYTHM,
    UNDETERMINED,
) = range(len(SPAN_CODES))

BRADYCARDIA_BPM = 60.0
TACHYCARDIA_BPM = 100.0
WIDE_S = 0.12

_SVT_BPM = 150.0
_SVT_REGULAR_BPM = 120.0
IDIOVENTRICULAR_BPM = 50.0
_VT_BPM = 100.0
_RATE_REACH = 8
_PAUSE_LIKE = 1.35
_QUIET = 0.035
_T_IS_OVER_S = 0.55
_RUN_IN_FIBRILLATION = 4
_LONG_RUN, _QUICK_RUN_BPM = 6, 150.0
_RUN_SWING = 0.12
_STEADY_RUN, _STEADY_RUN_SWING = 5, 0.06
_HIDDEN_S = 30.0
_IRREGULAR = 0.15


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """Per beat: how sure it is of fibrillation, of a P wave (see ``p_seen``), the local rate and how regular it is
    (median step between intervals over their median), whether the usual beat there is wide, how alike the beats are,
    and whether it is quiet enough before the QRS to see a P wave if there were one, the rate without pauses, and
    whether it lies in an episode of fibrillation."""

    fibrillation: Samples
    p: Samples
    rate_bpm: Samples
    step: Samples
    wide: Mask
    clear: Samples
    quiet: Mask
    sinus_bpm: Samples
    fibrillates: Mask


def evidence(table: BeatTable, width_s: float | None, delineated_p: Samples | None, fibrillation: Samples) -> Evidence:
    """``width_s`` is the duration of the usual QRS where it was measured, ``delineated_p`` the share of beats with a
    P."""
    mean_rr = local_mean(np.nan_to_num(table.rr_s), np.isfinite(table.rr_s).astype(np.float64), _RATE_REACH)
    rate = np.where(mean_rr > 0.1, 60.0 / np.maximum(mean_rr, 0.1), 0.0)
    middle = local_median(table.rr_s, _RATE_REACH, otherwise=0.8)
    between = np.isfinite(table.rr_s) & (np.nan_to_num(table.rr_s, nan=9.0) < _PAUSE_LIKE * middle)
    sinus_rr = local_mean(np.nan_to_num(table.rr_s), between.astype(np.float64), _RATE_REACH)
    alike = table.alike & np.concatenate(([False], table.alike[:-1])) if table.r_s.size else table.alike
    rr = np.where(alike, table.rr_s, np.nan)
    step = np.abs(np.diff(rr, prepend=np.nan))
    p = p_seen(table)
    if delineated_p is not None:
        repeats = local_mean(table.p[:, 2], np.ones(p.size), _RATE_REACH)
        # at fast rates what the delineation calls P may be the T wave of the beat before
        slow = table.usual_rr_s > _T_IS_OVER_S
        p = np.where(slow & (p < 1.0) & (delineated_p > 0.7) & ((p > 0.4) | (repeats > 0.5)), 1.0, p)
    wide = np.full(table.r_s.size, width_s >= WIDE_S) if width_s is not None else table.usual_width_s >= WIDE_S
    return Evidence(
        fibrillation=fibrillation,
        p=p,
        rate_bpm=rate,
        step=local_median(step, _RATE_REACH, otherwise=0.0) / np.maximum(mean_rr, 0.1),
        wide=wide & (table.usual_spread_s > 0.026),
        quiet=local_median(table.p[:, 4], _RATE_REACH, otherwise=0.0) < _QUIET,
        sinus_bpm=np.where(sinus_rr > 0.1, 60.0 / np.maximum(sinus_rr, 0.1), rate),
        clear=local_mean(np.maximum(table.match, 0.0), np.ones(table.r_s.size), _RATE_REACH),
        fibrillates=fibrillating(fibrillation, table.r_s, table.rr_s),
    )


def base_codes(e: Evidence, kinds: Kinds, flutter: Mask) -> Indices:
    """The prevailing rhythm at each beat, before runs of other beats are laid over it."""
    n = kinds.size
    code = np.full(n, SINUS, dtype=np.int64)
    code[e.sinus_bpm < BRADYCARDIA_BPM] = SINUS_BRADY
    code[e.sinus_bpm > TACHYCARDIA_BPM] = SINUS_TACHY
    absent, seen = e.p < 0.4, e.p >= 1.0
    regular = e.step < 0.06
    quick = (e.rate_bpm >= _SVT_BPM) & ~seen | (e.rate_bpm >= _SVT_REGULAR_BPM) & absent & regular
    code[quick & ~e.wide] = SVT
    slow = (e.rate_bpm < TACHYCARDIA_BPM) & absent & regular
    code[slow & ~e.wide] = np.where(e.quiet[slow & ~e.wide], JUNCTIONAL, UNDETERMINED)
    own = slow & e.wide & e.quiet & (e.clear > 0.8)
    code[slow & e.wide] = UNDETERMINED
    code[own] = np.where(e.rate_bpm[own] < IDIOVENTRICULAR_BPM, IDIOVENTRICULAR, ACCELERATED)
    code[(e.rate_bpm > TACHYCARDIA_BPM) & (e.rate_bpm < _SVT_BPM) & absent & ~quick & ~e.wide] = UNDETERMINED
    fast_wide = e.wide & ((e.rate_bpm >= 130.0) | (e.rate_bpm >= _VT_BPM) & ~seen)
    code[fast_wide] = VT
    fib = e.fibrillates
    code[fib & ~(fast_wide & regular)] = AF
    code[flutter & ~(fib & (e.fibrillation > 0.8)) & ~fast_wide] = FLUTTER
    code[(e.clear < 0.45) & (code != AF)] = UNDETERMINED
    paced = local_mean((kinds == PACED).astype(np.float64), np.ones(n), 4) > 0.5
    code[paced] = PACED_RHYTHM
    return code


def with_arrhythmia(code: Indices, table: BeatTable, kinds: Kinds) -> Indices:
    """Sinus rhythm whose interval swings by more than 0.16 s and a sixth within some ten beats is sinus arrhythmia."""
    plain = kinds == 0
    both = plain & np.concatenate(([False], plain[:-1])) if kinds.size else plain
    rr = np.where(both, table.rr_s, np.nan)
    if not np.isfinite(rr).any():
        return code
    middle = local_median(rr, 7, otherwise=0.8)
    swing = np.abs(rr - middle)
    swing[rr > _PAUSE_LIKE * middle] = np.nan  # a dropped beat is no breathing
    swing = local_mean(np.nan_to_num(swing), np.isfinite(swing).astype(np.float64), 7)
    out = code.copy()
    wide_swing = (swing > 0.055) & (swing > 0.065 * middle)
    out[np.isin(code, (SINUS, SINUS_BRADY)) & wide_swing] = SINUS_ARRHYTHMIA
    return out


def overlaid(code: Indices, table: BeatTable, kinds: Kinds) -> Indices:
    """Runs of three and more ventricular or early supraventricular beats over the prevailing rhythm.

    In fibrillation it takes four that keep a rhythm of their own, or a long quick run: there, short quick runs of
    another shape are often aberrant conduction, as irregular as the rest.
    """
    out = code.copy()
    for first, last, rate in ventricular_runs(kinds == VENTRICULAR, table.rr_s):
        if (code[first:last] == AF).any() and not _own_rhythm(table.rr_s[first + 1 : last], last - first, rate):
            continue
        out[first:last] = VT if rate >= _VT_BPM else ACCELERATED if rate >= IDIOVENTRICULAR_BPM else IDIOVENTRICULAR
    for first, last, rate in ventricular_runs(kinds == SUPRAVENTRICULAR, table.rr_s):
        if rate >= TACHYCARDIA_BPM:
            out[first:last] = SVT
    return out


def _own_rhythm(rr_s: Samples, beats: int, rate_bpm: float) -> bool:
    """Whether a run of broad beats within fibrillation is a rhythm of the ventricles."""
    if beats >= _LONG_RUN and rate_bpm >= _QUICK_RUN_BPM:
        return True
    # a beat that comes late ends the run
    quick = np.nan_to_num(rr_s, nan=9.0) < _PAUSE_LIKE * 60.0 / rate_bpm
    starts, stops = run_lengths(quick)
    return any(
        _swing(rr_s[k : k + n]) < limit
        for a, b in zip(starts, stops, strict=True)
        for n, limit in ((b - a, _RUN_SWING), (_STEADY_RUN - 1, _STEADY_RUN_SWING))
        if b - a >= n >= _RUN_IN_FIBRILLATION - 1
        for k in range(a, b - n + 1)
    )


def _swing(rr_s: Samples) -> float:
    return float(rr_s.std()) / float(rr_s.mean())


def continued(code: Indices, e: Evidence, table: BeatTable) -> Indices:
    """Fibrillation goes on between two stretches of it, up to half a minute apart, where the beats stay irregular and
    no P wave is seen: among many broad beats its own intervals are too few to show it."""
    out = code.copy()
    starts, stops = run_lengths(code != AF)
    for a, b in zip(starts, stops, strict=True):
        if a == 0 or b == code.size or table.r_s[b] - table.r_s[a - 1] > _HIDDEN_S:
            continue
        rr = table.rr_s[a : b + 1]
        rr = rr[np.isfinite(rr)]
        irregular = rr.size > 2 and _swing(rr) > _IRREGULAR
        hidden = np.isin(code[a:b], tuple(_SOFT))
        if irregular and hidden.all() and float(np.median(e.p[a:b])) < 1.0:
            out[a:b] = AF
    return out


def settled(code: Indices, rr_s: Samples, least_s: float = 8.0) -> Indices:
    """Short stretches of a sinus code between others take the code of the longer neighbour, so that spans do not
    flicker."""
    out = code.copy()
    for _ in range(2):
        edges = np.flatnonzero(np.diff(out)) + 1
        starts = np.concatenate(([0], edges))
        stops = np.concatenate((edges, [out.size]))
        length = np.array([np.nansum(rr_s[a:b]) for a, b in zip(starts, stops, strict=True)])
        for k in range(starts.size):
            if length[k] >= least_s or out[starts[k]] not in _SOFT or starts.size == 1:
                continue
            around = [j for j in (k - 1, k + 1) if 0 <= j < starts.size and out[starts[j]] in _SOFT]
            if around:
                best = max(around, key=lambda j: float(length[j]))
                if length[best] > length[k]:
                    out[starts[k] : stops[k]] = out[starts[best]]
    return out


_SOFT = frozenset(
    {SINUS, SINUS_BRADY, SINUS_TACHY, SINUS_ARRHYTHMIA, JUNCTIONAL, UNDETERMINED, ACCELERATED, IDIOVENTRICULAR}
)


def to_spans(code: Indices, r_s: Samples, duration_s: float) -> Spans:
    """Spans from beats: a span begins midway between two beats, the first at 0, the last ends with the recording."""
    if code.size == 0:
        return []
    edges = np.flatnonzero(np.diff(code)) + 1
    starts = np.concatenate(([0], edges))
    stops = np.concatenate((edges, [code.size]))
    spans: Spans = []
    for a, b in zip(starts, stops, strict=True):
        begin = 0.0 if a == 0 else 0.5 * float(r_s[a - 1] + r_s[a])
        end = duration_s if b == code.size else 0.5 * float(r_s[b - 1] + r_s[b])
        spans.append((round(begin, 3), round(end, 3), SPAN_CODES[int(code[a])]))
    return spans


def laid_over(spans: Spans, over: list[Span], name: str) -> Spans:
    """The spans with ``over`` cut out of them and put in under ``name``."""
    for start, end in over:
        rest: Spans = []
        for a, b, code in spans:
            if b <= start or a >= end:
                rest.append((a, b, code))
                continue
            if a < start:
                rest.append((a, round(start, 3), code))
            if b > end:
                rest.append((round(end, 3), b, code))
        spans = sorted([*rest, (round(start, 3), round(end, 3), name)])
    return joined(spans)


def joined(spans: Spans) -> Spans:
    """Neighbours of one name become one."""
    out: Spans = []
    for a, b, code in spans:
        if out and out[-1][2] == code and a - out[-1][1] < 0.01:
            out[-1] = (out[-1][0], b, code)
        else:
            out.append((a, b, code))
    return out

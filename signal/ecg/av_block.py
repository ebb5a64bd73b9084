"""AV block of second and third degree: P waves that no QRS follows.

The usual QRS and T are subtracted, so that P waves stand out wherever they fall; a regular train of them is sought;
then trains are compared with the beats. Sought only where beats are slow or missing, in stretches of some ten seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import maximum_filter1d

from teleread.signal.ecg.beat_shapes import Indices, Mask, decimated
from teleread.signal.ecg.filters import Samples

_WORK_FS_HZ = 125.0
_LEADS = ("II", "V1", "I", "III", "aVF", "V2")
_MOST_LEADS = 4
_PERIODS_S = (0.40, 1.30)
_JITTER_S = 0.05
_SURE = 1.05
_CONTRAST = 1.4
_LEAST_MV = 0.012
_DROPPED = 1.4
_APART = 0.80
_DRIFT_S = 0.07
_EXACT_S, _EXACT_DRIFT_S = 0.008, 0.035
_WALK_S = 0.05
_LATEST_P_S = 0.5
_LOOSE_S, _CLEAR = 0.018, 2.3
_BEYOND_T = 2.5
_WHOLE = 0.12
_NEARLY_BEST = 0.35
_MOST_TRAINS = 3
_PROBABLE = 0.9
_T_ELSEWHERE, _T_WIDE = 1.5, 1.2
_TWO_TO_ONE_RR_S = 1.15
_TOGETHER = 0.90


@dataclass(frozen=True, slots=True, eq=False)
class PTrain:
    """A train of P waves: its period, the peaks in working samples, how far they stand out (standard deviations) and by
    how much the lower of them exceed what else is high (contrast)."""

    period_s: float
    peaks: Indices
    score: float
    contrast: float

    @property
    def real(self) -> bool:
        return self.score > _SURE and self.contrast > _CONTRAST

    @property
    def confidence(self) -> float:
        return min(0.9, 0.4 * self.score + (0.1 if self.contrast > _CLEAR else 0.0))


@dataclass(frozen=True, slots=True)
class Block:
    """A code of the findings, the period of the P waves in s, how sure it is, and the contrast of the P waves."""

    code: str
    period_s: float
    confidence: float
    contrast: float


def av_block(signals_mv: Samples, fs_hz: float, leads: tuple[str, ...], r_peaks: Indices, plain: Mask) -> Block | None:
    """The block of one stretch, or None. ``plain`` marks the beats of the usual kind: only intervals between two of
    them count."""
    if plain.sum() < 3 or plain.mean() < 0.6:
        return None
    rows = [leads.index(lead) for lead in _LEADS if lead in leads][:_MOST_LEADS] or list(range(min(2, len(leads))))
    step = max(1, round(fs_hz / _WORK_FS_HZ))
    fs = fs_hz / step
    r = r_peaks // step
    rr = np.diff(r) / fs
    usual_rr = float(np.median(rr))
    work = decimated(signals_mv[rows], step)
    hump = p_humps(work, r, fs, usual_rr)
    between = plain[1:] & plain[:-1]
    if not between.any():
        return None
    dropped = between & (rr > _DROPPED * float(np.percentile(rr[between], 20)))
    if dropped.any():
        return _second_degree(hump, r, fs, rr, dropped)
    if usual_rr < 0.9 or float(np.ptp(rr[between])) > 0.2 * usual_rr:
        return None
    return _slow_and_regular(work, hump, r, fs, usual_rr)


def p_humps(x: Samples, r: Indices, fs: float, usual_rr_s: float) -> Samples:
    """How much of a hump of some 80 ms there is at each sample once the usual QRS and T are gone; NaN over the QRS."""
    before, after = round(0.08 * fs), round(min(0.41 * np.sqrt(max(usual_rr_s, 0.5)) + 0.02, usual_rr_s - 0.15) * fs)
    offsets = np.arange(-before, after)
    where = np.clip(r[:, None] + offsets[None, :], 0, x.shape[1] - 1)
    cuts = x[:, where]
    cuts = cuts - cuts[:, :, :2].mean(axis=2, keepdims=True)
    usual = np.median(cuts, axis=1)
    # down to nothing at the end, so that no step remains
    ramp = np.linspace(0.0, 1.0, usual.shape[1])[None, :]
    usual = usual - ramp * usual[:, -3:].mean(axis=1, keepdims=True)
    y = x.copy()
    inside = (r[:, None] + offsets[None, :] >= 0) & (r[:, None] + offsets[None, :] < x.shape[1])
    for beat in range(r.size):
        y[:, where[beat][inside[beat]]] -= usual[:, inside[beat]]
    height = _hump(y, fs)
    size: Samples = np.sqrt((height * height).mean(axis=0))
    for beat in r:
        size[max(0, beat - round(0.05 * fs)) : beat + round(0.09 * fs)] = np.nan
    return size


def _hump(y: Samples, fs: float, core_s: float = 0.028, side_s: float = 0.05) -> Samples:
    core, side = max(1, round(core_s * fs)), max(2, round(side_s * fs))
    n = y.shape[1]
    total = np.concatenate((np.zeros((y.shape[0], 1)), np.cumsum(y, axis=1)), axis=1)
    at = np.arange(n)

    def sums(lo: Indices, hi: Indices) -> Samples:
        return np.asarray(total[:, np.clip(hi, 0, n)] - total[:, np.clip(lo, 0, n)])

    inner = sums(at - core, at + core + 1) / (2 * core + 1)
    outer = sums(at - core - side, at - core) + sums(at + core + 1, at + core + side + 1)
    height: Samples = inner - outer / (2 * side)
    reach = core + side
    height[:, :reach] = 0.0
    height[:, n - reach :] = 0.0
    return height


def p_train(hump: Samples, fs: float, periods_s: tuple[float, float] = _PERIODS_S) -> PTrain | None:
    """The regular train that stands out most; what lies over a QRS does not count for or against it."""
    known = np.isfinite(hump)
    if known.sum() < 2 * fs:
        return None
    filled = np.where(known, hump, 0.0)
    wide = maximum_filter1d(filled, 2 * round(_JITTER_S * fs) + 1)
    mean, spread = float(wide[known].mean()), float(wide[known].std())
    if spread <= 0:
        return None
    found: list[tuple[float, int, int]] = []
    hop = max(1, round(0.024 * fs))
    for period in range(round(periods_s[0] * fs), round(periods_s[1] * fs) + 1):
        count = hump.size // period
        if count < 4:
            break
        folded = np.where(known, wide, 0.0)[: count * period].reshape(count, period)[:, ::hop]
        seen = known[: count * period].reshape(count, period)[:, ::hop].sum(axis=0)
        score = np.where(seen >= 0.5 * count, folded.sum(axis=0) / np.maximum(seen, 1), 0.0)
        k = int(np.argmax(score))
        found.append((float(score[k]), period, k * hop))
    trains = []
    for height, period, phase in _summits(found, _NEARLY_BEST * spread):
        peaks = _followed(filled, known, period, phase, fs)
        trains.append(PTrain(period / fs, peaks, (height - mean) / spread, _contrast(hump, known, peaks, fs)))
    return max(trains, key=lambda train: train.contrast, default=None)


def _summits(found: list[tuple[float, int, int]], within: float) -> list[tuple[float, int, int]]:
    """Of (score, period, phase) by period the best one, and the two next summits that are nearly as high."""
    scores = np.array([one[0] for one in found])
    if scores.size == 0:
        return []
    edged = np.concatenate(([-np.inf], scores, [-np.inf]))
    summit = np.flatnonzero((scores >= edged[:-2]) & (scores > edged[2:]) & (scores > scores.max() - within))
    return [found[k] for k in summit[np.argsort(-scores[summit], kind="stable")][:_MOST_TRAINS]]


def _contrast(hump: Samples, known: Mask, peaks: Indices, fs: float) -> float:
    reach = round(0.08 * fs)
    own = np.zeros(hump.size, dtype=np.bool_)
    own[np.clip(peaks[:, None] + np.arange(-reach, reach + 1)[None, :], 0, hump.size - 1)] = True
    heights = hump[peaks]
    heights = heights[np.isfinite(heights)]
    other = hump[known & ~own]
    if heights.size < 3 or other.size == 0 or float(np.median(heights)) < _LEAST_MV:
        return 0.0
    return float(np.percentile(heights, 25) / max(float(np.percentile(other, 90)), 1e-9))


def _followed(hump: Samples, known: Mask, period: int, phase: int, fs: float) -> Indices:
    """The summit near each place of the train; a place over a QRS keeps its own."""
    reach = round(_JITTER_S * fs)
    peaks = []
    for at in range(phase, hump.size, period):
        lo, hi = max(0, at - reach), min(hump.size, at + reach + 1)
        peaks.append(lo + int(np.argmax(hump[lo:hi])) if known[at] else at)
    return np.asarray(peaks, dtype=np.int64)


def _slow_and_regular(x: Samples, hump: Samples, r: Indices, fs: float, rr_s: float) -> Block | None:
    """Two P waves to each beat at fixed places, or P waves that know nothing of the beats."""
    train = p_train(hump, fs, (_PERIODS_S[0], min(_PERIODS_S[1], 0.86 * rr_s)))
    if train is None or not train.real:
        return None
    period_s, jitter_s = _clock(train, hump, fs)
    distance = _distance_before(train.peaks, r, fs)
    # where in their period the P waves stand when a beat comes: one place when they conduct, anywhere when they do not
    turn = 2j * np.pi * distance[np.isfinite(distance)] / train.period_s
    together = float(np.abs(np.exp(turn).mean()))
    confidence = train.confidence
    ratio = rr_s / train.period_s
    unlocked = abs(ratio - round(ratio)) > 0.08 and train.contrast > 1.5 * _CONTRAST
    two = abs(ratio - 2.0) < 0.06
    late = float(np.nanmedian(distance))
    # what stands still beside the beats, at a whole number to each, may be parts of their T waves
    vague = jitter_s > _LOOSE_S and train.contrast < _CLEAR
    if together > _APART and vague and abs(ratio - round(ratio)) < _WHOLE:
        return None
    if together > _APART and two and train.contrast < _BEYOND_T and _is_t(x, r, fs, rr_s, late):
        return None
    least_s = _DRIFT_S if jitter_s > _EXACT_S else _EXACT_DRIFT_S
    if together < _APART or unlocked or _drifts(distance, train.period_s, least_s) or _walks(period_s, r, fs):
        return Block("av_block_3", train.period_s, confidence, train.contrast)
    if two and together > _TOGETHER and late > _LATEST_P_S:
        # no P wave waits so long for its beat
        return Block("av_block_3", train.period_s, confidence, train.contrast)
    if two and together > _TOGETHER and rr_s > _TWO_TO_ONE_RR_S and _conducts(hump, train.peaks, r, fs):
        return Block("av_block_2_1", train.period_s, confidence, train.contrast)
    return None


def _drifts(distance_s: Samples, period_s: float, least_s: float) -> bool:
    """The P waves walk steadily past the beats: two rhythms that happen to be nearly two to one."""
    known = distance_s[np.isfinite(distance_s)]
    if known.size < 4:
        return False
    walk = np.unwrap(2.0 * np.pi * known / period_s) * period_s / (2.0 * np.pi)
    if float(walk.std()) < 1e-6:
        return False
    order = np.arange(known.size)
    steady = abs(float(np.corrcoef(order, walk)[0, 1]))
    return steady > 0.9 and abs(float(np.polyfit(order, walk, 1)[0])) * (known.size - 1) > least_s


def _clock(train: PTrain, hump: Samples, fs: float) -> tuple[float, float]:
    """The period in s of the P waves that are seen, and how far they stand from it (standard deviation): parts of T
    waves that were mistaken for P waves keep no time."""
    seen = train.peaks[np.isfinite(hump[train.peaks])] / fs
    if seen.size < 4:
        return train.period_s, 0.0
    number = np.rint((seen - seen[0]) / train.period_s)
    period, first = np.polyfit(number, seen, 1)
    return float(period), float((seen - first - period * number).std())


def _walks(period_s: float, r: Indices, fs: float) -> bool:
    """The period of the P waves, times a whole number, is not that of the beats."""
    if r.size < 4:
        return False
    rr = float(r[-1] - r[0]) / fs / (r.size - 1)
    return abs(rr - round(rr / period_s) * period_s) * (r.size - 1) > _WALK_S


def _is_t(x: Samples, r: Indices, fs: float, rr_s: float, before_s: float) -> bool:
    """Whether what stands between the beats is a late T wave: wider than the wave before the beat, and no other
    wave between it and the beat."""
    offsets = np.arange(round((rr_s + 0.1) * fs))
    whole = r[r + offsets[-1] < x.shape[1]]
    if whole.size == 0:
        return False
    usual = np.median(x[:, whole[:, None] + offsets], axis=1)
    narrow, wide = _hump(usual, fs), _hump(usual, fs, 0.06, 0.1)
    small, large = np.sqrt((narrow * narrow).mean(axis=0)), np.sqrt((wide * wide).mean(axis=0))
    reach = round(0.05 * fs)
    first, second = round((0.5 * rr_s - before_s) * fs), round((rr_s - before_s) * fs)
    start, stop = round(0.16 * fs), round((0.41 * np.sqrt(rr_s) - 0.03) * fs)
    if first - reach < start or stop <= start:
        return False

    def top(height: Samples, at: int) -> float:
        return float(height[max(0, at - reach) : at + reach + 1].max(initial=1e-9))

    alone = float(large[start:stop].max()) < _T_ELSEWHERE * top(large, first)
    wider = top(large, first) * top(small, second) > _T_WIDE * top(small, first) * top(large, second)
    return alone and wider


def _conducts(hump: Samples, peaks: Indices, r: Indices, fs: float) -> bool:
    """P waves are seen before the beats as well as between them; a late T wave has none before the beat."""
    follows = np.searchsorted(r, peaks)
    close = (follows < r.size) & (r[np.minimum(follows, r.size - 1)] - peaks < 0.35 * fs)
    known = np.isfinite(hump[peaks])
    if (close & known).sum() < 2 or (~close & known).sum() < 2:
        return False
    ratio = np.median(hump[peaks[close & known]]) / max(float(np.median(hump[peaks[~close & known]])), 1e-9)
    return 0.2 < float(ratio) < 6.0


def _distance_before(peaks: Indices, r: Indices, fs: float) -> Samples:
    """From the last P wave to each beat in s, NaN for a beat without one before it."""
    k = np.searchsorted(peaks, r) - 1
    return np.where(k >= 0, (r - peaks[np.maximum(k, 0)]) / fs, np.nan)


def _second_degree(hump: Samples, r: Indices, fs: float, rr_s: Samples, dropped: Mask) -> Block | None:
    """A P wave in each long interval where the rhythm of the P waves goes on, and no beat after it."""
    conducted = float(np.median(rr_s[~dropped])) if (~dropped).any() else float(rr_s.min())
    train = p_train(hump, fs, (max(_PERIODS_S[0], 0.75 * conducted), min(_PERIODS_S[1], 1.15 * conducted)))
    if train is None or not (train.score > _SURE or (train.score > _PROBABLE and train.contrast > _CONTRAST)):
        return None
    height = float(np.nanmedian(hump[train.peaks]))
    if not height >= _LEAST_MV:
        return None
    blocked = 0
    for k in np.flatnonzero(dropped):
        # the last P wave before the beat was conducted, one before it was not; a pause of the sinus node has none
        inside = train.peaks[(train.peaks > r[k] + 0.12 * fs) & (train.peaks < r[k + 1] - 0.35 * fs)]
        blocked += int(inside.size > 0 and float(np.nan_to_num(hump[inside]).max()) > 0.5 * height)
    if blocked < 0.6 * dropped.sum():
        return None
    at = _distance_before(train.peaks, r, fs)
    growth = at[:-1][dropped] - at[1:][dropped]
    growth = growth[np.isfinite(growth)]
    longer = float(np.median(growth)) if growth.size else 0.0
    # after a constant PR the long interval is twice the others; after a growing one it is shorter than that
    short = float(np.median(rr_s[dropped])) < 1.94 * train.period_s
    code = "av_block_2_mobitz_1" if longer > 0.02 and short else "av_block_2_mobitz_2"
    return Block(code, train.period_s, train.confidence, train.contrast)

"""Global boundaries of P, QRS and T on one clean beat of all leads together.

Everything rests on the spatial velocity, the root mean square over the leads of the slope of each: it is quiet where
all leads are quiet, so its first and last movement are the earliest onset and the latest end in any lead, which is
how IEC 60601-2-25 and the AHA/ACC/HRS recommendations (doi:10.1161/CIRCULATIONAHA.106.180200) define global
intervals. Each wave is sought from its steepest part outwards until the velocity has fallen to a small part of its
largest value, or to the noise, for a while.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from teleread.signal.ecg.delineation import ABSENT
from teleread.signal.ecg.filters import Samples


@dataclass(frozen=True, slots=True)
class Boundaries:
    """Samples of one beat, ``ABSENT`` (-1) where there is no such wave."""

    p_on: int = ABSENT
    p_peak: int = ABSENT
    p_off: int = ABSENT
    qrs_on: int = ABSENT
    qrs_off: int = ABSENT
    t_on: int = ABSENT
    t_peak: int = ABSENT
    t_off: int = ABSENT


@dataclass(frozen=True, slots=True)
class _Tuning:
    """Found on recordings with device measurements, on LUDB's marks and on simulated beats, all at once."""

    qrs_smooth_s: float = 0.014
    qrs_reach_s: tuple[float, float] = (0.13, 0.15)
    qrs_lasting_s: float = 0.022
    qrs_peaked: float = 1.7
    qrs_hot: float = 0.30
    qrs_on_part: float = 0.036
    qrs_off_part: float = 0.036
    qrs_sloping: float = 0.05
    qrs_quiet_s: float = 0.008
    qrs_rest: float = 0.09
    qrs_least_s: float = 0.10
    qrs_gap_s: float = 0.055
    qrs_foot_s: tuple[float, float] = (0.060, 0.075)
    qrs_turn: float = 0.10
    qrs_full_s: float = 0.13
    qrs_full_turn: float = 0.08
    qrs_trim_s: float = 0.0026  # what smoothing makes wider, here and below
    noise_times: float = 2.8
    noise_percentile: float = 8.0  # at a high rate there is little rest between waves
    t_smooth_s: float = 0.020
    t_part: float = 0.12
    t_trim_s: float = 0.006
    p_smooth_s: float = 0.018
    p_part: float = 0.25
    p_noise_times: float = 2.5
    p_quiet_s: float = 0.012
    p_trim_s: tuple[float, float] = (0.002, 0.004)
    p_farthest_s: float = 0.36
    p_crowded_part: float = 0.25
    p_touch_s: float = 0.032
    p_rise_s: float = 0.05
    p_longest_s: float = 0.135
    overlap_s: float = 0.08


_TUNING = _Tuning()


def find_boundaries(beat: Samples, fs_hz: float, r_index: int, rr_before_s: float, rr_after_s: float) -> Boundaries:
    """Boundaries of one beat.

    Args:
        beat: (n_leads, m) in mV, without NaN; a lead of zeros has no say.
        fs_hz: 400 Hz or more.
        r_index: the sample of R.
        rr_before_s, rr_after_s: distance of the beats before and after; the T wave before limits P, the next beat T.

    Returns:
        The samples. P is the likeliest stretch before QRS, whether or not it is a P wave: that takes more than one
        beat to tell.
    """
    qrs_on, qrs_off = _qrs(beat, fs_hz, r_index)
    if qrs_on == ABSENT:
        return Boundaries()
    t_on, t_peak, t_off = _t_wave(beat, fs_hz, r_index, qrs_on, qrs_off, rr_after_s)
    ended = (t_off if t_off != ABSENT else qrs_off) - round(rr_before_s * fs_hz)
    p_on, p_peak, p_off = _p_wave(beat, beat, fs_hz, qrs_on, ended)
    if t_off != ABSENT and p_on <= ended + round(_TUNING.p_touch_s * fs_hz):
        # at a high rate P begins on T, which is taken away by looking across the direction that it moves in
        across = _across(beat, t_peak, t_off)
        crowded = _p_wave(beat, across, fs_hz, qrs_on, ended - round(_TUNING.overlap_s * fs_hz))
        if p_on == ABSENT or 0 <= crowded[2] - crowded[0] <= _TUNING.p_longest_s * fs_hz:
            p_on, p_peak, p_off = crowded
    return Boundaries(p_on, p_peak, p_off, qrs_on, qrs_off, t_on, t_peak, t_off)


def isoelectric(beat: Samples, fs_hz: float, qrs_on: int) -> Samples:
    """Each lead's level just before QRS, (n_leads, 1): the mean of the last 16 ms before its onset."""
    stop = max(1, qrs_on - round(0.002 * fs_hz))
    start = max(0, stop - round(0.016 * fs_hz))
    level: Samples = beat[:, start:stop].mean(axis=1, keepdims=True)
    return level


def smooth(x: Samples, width: int) -> Samples:
    """Centred moving mean of odd width along the last axis, ends held."""
    width |= 1
    if width <= 1 or x.shape[-1] == 0:
        return x
    half = width // 2
    total = np.empty((*x.shape[:-1], x.shape[-1] + 2 * half + 1))
    total[..., 0] = 0.0
    total[..., 1 : half + 1] = x[..., :1]
    total[..., half + 1 : half + 1 + x.shape[-1]] = x
    total[..., half + 1 + x.shape[-1] :] = x[..., -1:]
    np.cumsum(total, axis=-1, out=total)
    mean: Samples = (total[..., width:] - total[..., :-width]) / width
    return mean


def velocity(beat: Samples, fs_hz: float, smooth_s: float, twice: bool) -> Samples:
    """Spatial velocity (m,) in mV/s of (n_leads, m) after a moving mean of ``smooth_s``, once or twice."""
    width = round(smooth_s * fs_hz)
    y = smooth(beat, width)
    y = smooth(y, width) if twice else y
    slope = np.empty_like(y)
    slope[:, 1:-1] = (y[:, 2:] - y[:, :-2]) * (0.5 * fs_hz)
    slope[:, 0], slope[:, -1] = slope[:, 1], slope[:, -2]
    speed: Samples = np.sqrt(np.mean(slope * slope, axis=0))
    return speed


def _qrs(beat: Samples, fs: float, r: int) -> tuple[int, int]:
    speed = velocity(beat, fs, _TUNING.qrs_smooth_s, twice=False)
    first, last = max(0, r - round(_TUNING.qrs_reach_s[0] * fs)), r + round(_TUNING.qrs_reach_s[1] * fs)
    # the running median is blind to a pacing spike, which is over in a few milliseconds
    lasting = median_filter(speed[first:last], max(1, round(_TUNING.qrs_lasting_s * fs)) | 1, mode="nearest")
    high = float(lasting.max(initial=0.0))
    if high <= 0:
        return ABSENT, ABSENT
    most = min(float(speed[first:last].max()), _TUNING.qrs_peaked * high)
    hot = np.flatnonzero(lasting > _TUNING.qrs_hot * high) + first
    hot = _around(hot, r, round(_TUNING.qrs_gap_s * fs))
    hot = _without_t(hot, r, speed, _TUNING.qrs_rest * most, round(_TUNING.qrs_least_s * fs))
    rest = np.concatenate((speed[: max(1, r - round(0.15 * fs))], speed[r + round(0.2 * fs) :]))
    noise = _TUNING.noise_times * float(np.percentile(rest, _TUNING.noise_percentile))
    quiet = round(_TUNING.qrs_quiet_s * fs)
    on = walk_back(speed, int(hot[0]), max(_TUNING.qrs_on_part * most, noise), quiet, max(0, first - quiet))
    on = _or_quietest(speed, on, int(hot[0]), round(_TUNING.qrs_foot_s[0] * fs), _TUNING.qrs_turn * most)
    spikes = np.flatnonzero((speed[first:last] > 2.5 * lasting) & (speed[first:last] > 0.4 * high)) + first
    spikes = spikes[spikes < hot[0] + round(0.006 * fs)]
    if spikes.size:
        on = max(on, min(int(spikes[-1]) + round(0.004 * fs), int(hot[0])))
    # a sloping ST segment moves all the time and still is not QRS; what moves faster is a late part of it
    after = int(hot[-1]) + round(0.05 * fs)
    sloping = float(np.median(speed[after : after + round(0.06 * fs)])) if after + 2 < speed.size else 0.0
    still = max(_TUNING.qrs_off_part * most, noise, min(sloping, _TUNING.qrs_sloping * most))
    off = walk_on(speed, int(hot[-1]), still, quiet, min(speed.size - 1, last + quiet))
    off = _or_quietest(speed, off, int(hot[-1]), round(_TUNING.qrs_foot_s[1] * fs), _TUNING.qrs_turn * most)
    # no QRS that has lasted so long begins anew: what follows the turn is T
    enough = max(int(hot[-1]), on + round(_TUNING.qrs_full_s * fs))
    turns = _slow_turns(speed[enough - 1 : off + 1], _TUNING.qrs_full_turn * most)
    off = enough - 1 + int(turns[0]) if turns.size else off
    return on, max(off - round(_TUNING.qrs_trim_s * fs), int(hot[-1]))


def _around(found: NDArray[np.intp], r: int, gap: int) -> NDArray[np.intp]:
    """Of ascending samples the group next to ``r``, groups being more than ``gap`` apart."""
    groups = np.split(found, np.flatnonzero(np.diff(found) > gap) + 1)
    return min(groups, key=lambda group: max(int(group[0]) - r, r - int(group[-1]), 0))


def _without_t(hot: NDArray[np.intp], r: int, speed: Samples, rest: float, least: int) -> NDArray[np.intp]:
    """The moving samples without those of a steep T wave: parted from QRS by rest, when what is left is long enough.

    Within QRS there may be rest too, before the late part of a right bundle-branch block for one.
    """
    pauses = [k for k in np.flatnonzero(np.diff(hot) > 1) if speed[hot[k] : hot[k + 1]].min() < rest]
    after = [k for k in pauses if hot[k + 1] > r and hot[k] - hot[0] >= least]
    if after:
        hot = hot[: after[0] + 1]
    before = [k for k in pauses if k + 1 < hot.size and hot[k] < r and hot[-1] - hot[k + 1] >= least]
    return hot[before[-1] + 1 :] if before else hot


def _or_quietest(speed: Samples, found: int, flank: int, farthest: int, slow: float) -> int:
    """The boundary found, or, where there is no rest so far from the flank (P or T joins QRS), where it is slowest.

    That is the first slow turn on the way, or the slowest sample when none is slow.
    """
    if abs(found - flank) <= farthest:
        return found
    step = -1 if found < flank else 1
    way = speed[flank + step * np.arange(min(farthest + 1, flank + 1 if step < 0 else speed.size - flank))]
    turns = _slow_turns(way, slow)
    return flank + step * (int(turns[0]) if turns.size else int(np.argmin(way)))


def _slow_turns(speed: Samples, slow: float) -> NDArray[np.intp]:
    """Where a slow speed rises again."""
    inner = speed[1:-1]
    return np.flatnonzero((inner <= speed[:-2]) & (inner < speed[2:]) & (inner < slow)) + 1


def _t_wave(beat: Samples, fs: float, r: int, qrs_on: int, qrs_off: int, rr_s: float) -> tuple[int, int, int]:
    root = float(np.sqrt(max(rr_s, 0.3)))
    start = qrs_off + round(0.04 * fs)
    stop = min(beat.shape[1] - 1, r + round(min(rr_s - 0.10, 0.12 + 0.55 * root) * fs))
    if stop - start < 0.08 * fs:
        return ABSENT, ABSENT, ABSENT
    level = isoelectric(beat, fs, qrs_on)
    held = beat[:, qrs_off:] - level
    width = round(_TUNING.t_smooth_s * fs)
    y = smooth(smooth(held, width), width)
    slope = smooth(np.gradient(y, axis=1) * fs, round(0.016 * fs))
    speed = np.sqrt(np.mean(slope * slope, axis=0))
    a, b = start - qrs_off, stop - qrs_off
    # T peaks before the next P begins
    latest = max(min(0.10 + 0.46 * root, rr_s - 0.19), 0.5 * rr_s)
    c = min(b, max(a + round(0.06 * fs), r - qrs_off + round(latest * fs)))
    # the one direction in which T moves most, as a lead of its own
    direction = np.linalg.eigh(slope[:, a:c] @ slope[:, a:c].T)[1][:, -1]
    z = direction @ y
    peak = a + int(np.argmax(np.abs(z[a:c] - np.linspace(z[a], z[c - 1], c - a))))
    course = np.gradient(smooth(z, round(0.012 * fs)))
    end = min(b, peak + round(0.16 * fs))
    steep = peak + _first_steep(np.abs(course[peak:end])) if end > peak + 2 else peak
    near = slice(max(peak, steep - round(0.02 * fs)), steep + round(0.02 * fs))
    most = float(speed[near].max(initial=0.0))
    limit = max(_TUNING.t_part * most, 2.0 * float(np.percentile(speed[a:], 10)))
    off = _down_the_slope(speed, steep, limit, 0.5 * most, round(0.02 * fs), b - 1)
    off = max(off - round(_TUNING.t_trim_s * fs), peak)
    rising = int(np.argmax(np.abs(course[a : peak + 1]))) + a
    on = walk_back(speed, rising, max(_TUNING.t_part * float(speed[rising]), limit), round(0.02 * fs), 0)
    return qrs_off + max(on, 0), qrs_off + peak, qrs_off + off


def _across(beat: Samples, first: int, last: int) -> Samples:
    """The beat without its part along the one direction in lead space in which it moves between two samples."""
    slope = np.diff(beat[:, first : last + 1], axis=1)
    direction = np.linalg.eigh(slope @ slope.T)[1][:, -1]
    left: Samples = beat - np.outer(direction, direction @ beat)
    return left


def _p_wave(beat: Samples, seen: Samples, fs: float, qrs_on: int, t_before: int) -> tuple[int, int, int]:
    """P between the T wave before and QRS, sought in ``seen``."""
    first = max(round(0.02 * fs), t_before + round(0.01 * fs), qrs_on - round(_TUNING.p_farthest_s * fs))
    last = qrs_on - round(0.008 * fs)
    if last - first < 0.06 * fs:
        return ABSENT, ABSENT, ABSENT
    speed = velocity(seen[:, : qrs_on + 1], fs, _TUNING.p_smooth_s, twice=True)
    energy = np.convolve(speed[first:last] ** 2, np.ones(round(0.11 * fs)), "same")
    centre = first + int(np.argmax(energy[: last - first]))
    reach, limit = round(0.08 * fs), round(0.10 * fs)
    low, high = max(first, centre - reach), min(last, centre + reach)
    left = low + int(np.argmax(speed[low : centre + 1]))
    right = centre + int(np.argmax(speed[centre:high])) if high > centre else centre
    most = max(float(speed[left]), float(speed[right]))
    noise = float(np.percentile(speed[first:last], 10))
    part = _TUNING.p_part if seen is beat else _TUNING.p_crowded_part
    still = max(part * most, min(_TUNING.p_noise_times * noise, 0.6 * most))
    quiet = round(_TUNING.p_quiet_s * fs)
    on = walk_back(speed, left, still, quiet, max(first, centre - limit))
    if seen is not beat:
        # what is left of T moves on: P begins where that is slowest
        way = speed[max(first, left - round(_TUNING.p_rise_s * fs)) : left + 1]
        on = max(on, left - way.size + 1 + int(np.argmin(way)))
        # T has ended by then, so nothing has to be taken away any more
        speed = velocity(beat[:, : qrs_on + 1], fs, _TUNING.p_smooth_s, twice=True)
        right = centre + int(np.argmax(speed[centre:high])) if high > centre else centre
        still = max(_TUNING.p_part * float(speed[right]), min(_TUNING.p_noise_times * noise, 0.6 * most))
    off = walk_on(speed, right, still, quiet, min(last, centre + limit))
    on, off = on + round(_TUNING.p_trim_s[0] * fs), off - round(_TUNING.p_trim_s[1] * fs)
    if off - on < 0.04 * fs:
        return ABSENT, ABSENT, ABSENT
    wave = beat[:, on : off + 1] - np.linspace(0.0, 1.0, off - on + 1) * (beat[:, off] - beat[:, on])[:, None]
    wave = wave - beat[:, on, None]
    return on, on + int(np.argmax(np.sum(wave * wave, axis=0))), off


def walk_back(speed: Samples, start: int, still: float, quiet: int, limit: int) -> int:
    """From ``start`` leftwards to the first moving sample that ``quiet`` still ones precede, not beyond ``limit``."""
    i = start
    while i > limit:
        low = max(limit, i - quiet)
        moving = np.flatnonzero(speed[low:i] >= still)
        if moving.size == 0:
            break
        i = low + int(moving[0])
    return i


def walk_on(speed: Samples, start: int, still: float, quiet: int, limit: int) -> int:
    """From ``start`` rightwards to the last moving sample that ``quiet`` still ones follow, not beyond ``limit``."""
    i = start
    while i < limit:
        moving = np.flatnonzero(speed[i + 1 : min(limit, i + quiet) + 1] >= still)
        if moving.size == 0:
            break
        i = i + 1 + int(moving[-1])
    return i


def _first_steep(slope: Samples) -> int:
    """The first steep place: the first peak of at least half the highest one. What comes after T may be steeper."""
    inner = slope[1:-1]
    tops = np.flatnonzero((inner >= slope[:-2]) & (inner > slope[2:]) & (inner >= 0.5 * slope.max())) + 1
    return int(tops[0]) if tops.size else int(np.argmax(slope))


def _down_the_slope(speed: Samples, start: int, still: float, low: float, ahead: int, limit: int) -> int:
    """Right end of a falling flank: where it is still, or where something else begins (U, the next P)."""
    for i in range(start, limit):
        if speed[i] <= still:
            return i
        if speed[i] < low and speed[i : i + ahead].min() >= speed[i]:
            return i
    return limit


def template_marks(marks: Boundaries) -> NDArray[np.int64]:
    """The eight samples in the order p_on, p_peak, p_off, qrs_on, qrs_off, t_on, t_peak, t_off."""
    order = (marks.p_on, marks.p_peak, marks.p_off, marks.qrs_on, marks.qrs_off, marks.t_on, marks.t_peak, marks.t_off)
    return np.array(order, dtype=np.int64)

"""Recordings with known beats for training the QRS judges, and synthetic variants of them.

Signals are taken to the detector's working rate (120 Hz) at once. A variant mixes leads, stretches time, scales P and
T waves, weakens beats, inserts premature wide beats, and adds recorded and made noise, pacing spikes, gain steps,
dropouts and clipping, so that a few dozen recordings stand for more hearts and worse electrodes than they show.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import wfdb
from numpy.typing import NDArray

from teleread.signal.ecg import CONDITIONS, simulate
from teleread.signal.ecg.qrs_front import WORK_HZ, to_work_rate, without_spikes
from training.ecg_qrs_noise import atrial, disturbance, flutter, smooth, spikes
from training.ecg_qrs_teacher import threshold_beats

Array = NDArray[np.float64]
BEATS = frozenset("NLRBAaJSVrFejnE/fQ?")


@dataclass(frozen=True)
class Source:
    """Signals (leads, n) at 120 Hz with beats in working samples; ``ignored`` spans neither train nor count.

    ``group`` is what is left out together, ``ratio`` file samples per working sample, ``worth`` its share in training,
    ``again`` that share once more for the second network.
    """

    database: str
    group: str
    signals: Array
    beats: NDArray[np.int64]
    ignored: tuple[tuple[float, float], ...]
    ratio: float = 3.0
    worth: float = 1.0
    again: float = 1.0


def _take(path: Path, extension: str) -> tuple[Array, float, Array, tuple[tuple[float, float], ...]]:
    record = wfdb.rdrecord(str(path))
    marks = wfdb.rdann(str(path), extension)
    beats = np.array([s for s, c in zip(marks.sample, marks.symbol, strict=True) if c in BEATS], dtype=float)
    signals, ratio = [], 1.0
    for lead in np.nan_to_num(record.p_signal.T):
        raw = np.ascontiguousarray(lead)[None]
        work, ratio = to_work_rate(raw, float(record.fs))
        signals.append(without_spikes(work, raw, float(record.fs), ratio)[0])
    spans, start = [], None
    for s, c in zip(marks.sample, marks.symbol, strict=True):
        if c == "[":
            start = s
        elif c == "]" and start is not None:
            spans.append((start / ratio, s / ratio))
    return np.array(signals), ratio, beats, tuple(spans)


def _source(path: Path, extension: str, database: str, group: str) -> Source:
    signals, ratio, beats, ignored = _take(path, extension)
    work = np.rint((beats - (ratio - 1) / 2) / ratio).astype(np.int64)
    return Source(database, group, signals, work, ignored, ratio)


def sources(data: Path) -> list[Source]:
    """All named recordings with beats."""
    found = []
    for header in sorted((data / "mitdb").glob("*.hea")):
        found.append(_source(header.with_suffix(""), "atr", "mitdb", header.stem))
    for header in sorted((data / "cpsc2019s").glob("*.hea")):
        one = _source(header.with_suffix(""), "atr", "cpsc2019s", header.stem)
        n = one.signals.shape[1]
        found.append(replace(one, ignored=((-1, 36), (n - 36, n))))
    for header in sorted((data / "cpsc2021s").glob("*.hea")):
        found.append(_source(header.with_suffix(""), "atr", "cpsc2021s", header.stem.rsplit("_", 1)[0]))
    for header in sorted((data / "ludb").glob("*.hea")):
        one = _source(header.with_suffix(""), "ii", "ludb", "ludb" + header.stem)
        n = one.signals.shape[1]
        if one.beats.size:
            edge = ((-1, one.beats[0] - 18), (one.beats[-1] + 18, n))
            found.append(replace(one, ignored=edge))
    return [*found, *_marked_by_ourselves(data), *_simulated()]


def _simulated() -> Iterator[Source]:
    """The project's own simulator, for what the recordings hardly show: blocked P waves, dead electrodes."""
    for number in range(12):
        for condition in CONDITIONS:
            record, truth = simulate(condition, 5000 + number, fs_hz=480.0, duration_s=20.0)
            work = np.array([to_work_rate(lead, 480.0)[0] for lead in record.signals_mv])
            beats = np.rint((truth.r_peaks - 1.5) / 4).astype(np.int64)
            n = work.shape[1]
            cut = tuple((b - 18.0, b + 18.0) for b in beats if b < 12 or b > n - 12)
            cut += tuple(
                (a * WORK_HZ, b * WORK_HZ) for a, b, code in truth.rhythm if code == "ventricular_fibrillation"
            )
            # hardly any recording shows these: ventricular tachycardia, and T waves as tall and near as flutter's
            worth = 4.0 if condition in ("vt", "short_qt") else 1.0
            # whether a P wave is followed by its beat is seen in the rhythm, which the second network judges
            again = 4.0 if condition == "complete_block" else 1.0
            yield Source("simulated", f"simulated{number}", work, beats, cut, 4.0, worth, again)


def _marked_by_ourselves(data: Path) -> Iterator[Source]:
    """12-lead recordings without beat marks, where a threshold detector finds the same beats in both halves of them."""
    for header in sorted((data / "twelve").glob("*.hea")):
        record = wfdb.rdrecord(str(header.with_suffix("")))
        yield from _agreed("twelve", header.stem, np.nan_to_num(record.p_signal.T)[:12], float(record.fs))
    with np.load(data / "cinc2011" / "set_a.npz") as arrays:
        leads, names, fs = arrays["ecg_int16"], arrays["ids"], float(arrays["fs"])
    for name, signals in zip(names, leads, strict=True):
        yield from _agreed("cinc2011", str(name), signals / 200.0, fs)


def _agreed(database: str, name: str, signals: Array, fs_hz: float) -> Iterator[Source]:
    alive = signals[np.ptp(signals, axis=1) > 0.1]
    if alive.shape[0] < 8:
        return
    one, other = threshold_beats(alive[::2], fs_hz), threshold_beats(alive[1::2], fs_hz)
    if one.size != other.size or one.size < 4 or np.abs(one - other).max() > 0.06 * fs_hz:
        return
    together = threshold_beats(alive, fs_hz)
    if together.size != one.size:
        return
    work = np.array([to_work_rate(np.ascontiguousarray(lead), fs_hz)[0] for lead in alive])
    ratio = to_work_rate(np.ascontiguousarray(alive[0]), fs_hz)[1]
    beats = np.rint((together - (ratio - 1) / 2) / ratio).astype(np.int64)
    n = work.shape[1]
    # a beat cut by an end is marked by chance
    yield Source(database, database + name, work, beats, ((-1, 36), (n - 36, n)), ratio)


def recorded_noise(data: Path) -> Array:
    """(2, n) electrode motion noise at 120 Hz: what the noise stress test added to record 118."""
    clean = wfdb.rdrecord(str(data / "nstdb" / "118")).p_signal.T
    noisy = wfdb.rdrecord(str(data / "nstdb" / "118e24")).p_signal.T
    n = min(clean.shape[1], noisy.shape[1])
    added = noisy[:, :n] - clean[:, :n]
    noise = np.array([to_work_rate(np.ascontiguousarray(lead), 360.0)[0] for lead in added])
    # noise is added in stretches of two minutes; what lies between is left out
    active = np.convolve(np.abs(noise[0]), np.ones(600) / 600, mode="same") > 0.002
    kept = noise[:, active]
    return kept / kept.std(axis=1, keepdims=True)


def amplitude(x: Array) -> float:
    """Half the usual peak-to-peak range within 1.4 s."""
    rows = x[: x.size // 168 * 168].reshape(-1, 168)
    return float(np.median(np.ptp(rows, axis=1)) / 2) or 1.0


@dataclass(frozen=True)
class Variant:
    """One lead at 120 Hz, its beats and the weight of each sample (0: ignored)."""

    signal: Array
    beats: NDArray[np.int64]
    weight: Array


def plain(source: Source, lead: int) -> Variant:
    """A lead as it is."""
    weight = np.ones(source.signals.shape[1])
    for start, stop in source.ignored:
        weight[max(0, int(start)) : max(0, int(stop))] = 0.0
    return Variant(source.signals[lead], source.beats, weight)


def vary(source: Source, noise: Array, rng: np.random.Generator) -> Variant:
    """A random variant of one recording."""
    lead = 0 if source.signals.shape[0] < 3 else 1
    base = plain(source, lead)
    x = _mixed(source, lead, rng)
    x, beats, weight = _stretched(x, base.beats, base.weight, rng)
    x, beats, weight = _warped(x, beats, weight, rng)
    x = x - smooth(x, 145)
    x = x / amplitude(x)
    x = x * _wave_gain(x.size, beats, rng)
    x, beats, weight = _premature(x, beats, weight, rng)
    x, beats = _blocked(x, beats, rng)
    x = x * _beat_gain(x.size, beats, rng)
    x = x + disturbance(x.size, noise, rng) + spikes(x.size, beats, rng) + atrial(x.size, rng)
    if rng.random() < 0.07:
        x = x + flutter(x.size, rng)
    return _damaged(x, beats, weight, rng)


def silence(seconds: int, noise: Array, rng: np.random.Generator) -> Variant:
    """Noise without a heart in it."""
    n = int(seconds * WORK_HZ)
    x = sum((disturbance(n, noise, rng) for _ in range(2)), 1e-3 * rng.standard_normal(n))
    if rng.random() < 0.3:
        x = x + np.exp(rng.uniform(-4, 0)) * np.cumsum(rng.standard_normal(n))
    return Variant(x, np.empty(0, np.int64), np.ones(n))


def _mixed(source: Source, lead: int, rng: np.random.Generator) -> Array:
    leads = [row / amplitude(row) for row in source.signals if np.ptp(row) > 0]
    if len(leads) < 2 or rng.random() < 0.4:
        return source.signals[min(lead, source.signals.shape[0] - 1)]
    a, b = rng.choice(len(leads), 2, replace=False)
    angle = rng.uniform(0, np.pi) if rng.random() < 0.7 else 0.0
    return np.cos(angle) * leads[a] + np.sin(angle) * leads[b]


def _stretched(
    x: Array, beats: NDArray[np.int64], weight: Array, rng: np.random.Generator
) -> tuple[Array, NDArray[np.int64], Array]:
    if rng.random() < 0.3:
        return x, beats, weight
    factor = np.exp(rng.uniform(-0.22, 0.22))
    n = int(x.size * factor)
    at = np.arange(n) / factor
    moved = np.rint(beats * factor).astype(np.int64)
    return np.interp(at, np.arange(x.size), x), moved[moved < n], weight[np.minimum(at.astype(int), x.size - 1)]


def _warped(
    x: Array, beats: NDArray[np.int64], weight: Array, rng: np.random.Generator
) -> tuple[Array, NDArray[np.int64], Array]:
    """Time runs unevenly: beats come early or late, some of them or all are wider or narrower, and larger if wide."""
    kind = rng.random()
    if kind < 0.45 or beats.size < 5:
        return x, beats, weight
    n, rr = beats.size, np.diff(beats).astype(float)
    wide = np.full(n, rng.choice([1.0, rng.uniform(0.75, 2.2)], p=[0.6, 0.4]))
    new = rr.copy()
    if kind < 0.75:  # an irregular rhythm
        new *= np.exp(rng.normal(0.0, rng.uniform(0.05, 0.35), rr.size))
    else:  # premature beats with a pause, mostly wide and of another size
        early = np.flatnonzero(rng.random(rr.size - 1) < rng.choice([0.02, 0.1, 0.3]))
        early = early[np.diff(early, prepend=-9) > 1]
        taken = rng.uniform(0.2, 0.55, early.size) * new[early]
        new[early] -= taken
        new[early + 1] += taken * rng.choice([0.0, 1.0])
        if rng.random() < 0.8:
            wide[early + 1] *= rng.uniform(1.3, 2.6)
    new = np.maximum(new, np.minimum(rr, 0.16 * WORK_HZ * (wide[1:] + wide[:-1]) / 2 + 12))
    at = np.concatenate(([beats[0]], beats[0] + np.cumsum(new)))
    source = np.stack((beats - 7, beats, beats + 9), axis=1).ravel().astype(float)
    target = np.stack((at - 7 * wide, at, at + 9 * wide), axis=1).ravel()
    order = np.maximum.accumulate(target)
    length = int(order[-1] + (x.size - source[-1]))
    back = np.interp(np.arange(length), np.concatenate(([0.0], order, [length])),
                     np.concatenate(([0.0], source, [x.size - 1.0])))  # fmt: skip
    warped = np.interp(back, np.arange(x.size), x)
    if kind >= 0.75:
        gain = np.ones(length)
        size = np.exp(rng.uniform(-0.6, 0.9)) * rng.choice([-1.0, 1.0])
        for beat, w in zip(at[early + 1], wide[early + 1], strict=True):
            low, high = max(0, int(beat - 9 * w)), min(length, int(beat + 36 * w))
            edge = np.minimum(np.arange(high - low), np.arange(high - low)[::-1])
            gain[low:high] = 1.0 + (size - 1.0) * np.minimum(1.0, edge / 4.0)
        warped = (warped - np.convolve(warped, np.ones(145) / 145, mode="same")) * gain
    moved = np.rint(at).astype(np.int64)
    keep = (moved >= 0) & (moved < length)
    return warped, moved[keep], weight[np.minimum(back.astype(int), x.size - 1)]


def _wave_gain(n: int, beats: NDArray[np.int64], rng: np.random.Generator) -> Array:
    """T and P zones are made smaller or larger, or turned over, a minute at a time."""
    gain = np.ones(n)
    if beats.size < 3:
        return gain
    r, rr = beats[:-1].astype(float), np.diff(beats).astype(float)
    piece = (r // (WORK_HZ * rng.uniform(10, 90))).astype(int)
    size = int(piece.max()) + 1
    t_gain = np.where(rng.random(size) < 0.55, np.exp(rng.uniform(-1.2, 1.3, size)), 1.0)
    t_gain *= np.where(rng.random(size) < 0.15, -1.0, 1.0)
    p_gain = np.where(rng.random(size) < 0.45, np.exp(rng.uniform(-1.2, 1.8, size)), 1.0)
    good = rr > 48
    if not good.any():
        return gain
    r, rr, piece = r[good], rr[good], piece[good]
    nxt = r + rr
    one = np.ones_like(r)
    knots = np.stack(
        (r + 12, r + 18, r + np.minimum(46, 0.5 * rr), r + np.minimum(56, 0.62 * rr),
         nxt - np.minimum(32, 0.36 * rr), nxt - np.minimum(25, 0.3 * rr), nxt - 13, nxt - 8), axis=1
    )  # fmt: skip
    t, p = t_gain[piece], p_gain[piece]
    values = np.stack((one, t, t, one, one, p, p, one), axis=1)
    return np.interp(np.arange(n), knots.ravel(), values.ravel(), left=1.0, right=1.0)


def _premature(
    x: Array, beats: NDArray[np.int64], weight: Array, rng: np.random.Generator
) -> tuple[Array, NDArray[np.int64], Array]:
    """Wide beats of made shape, early, mostly in place of the next beat (compensatory pause)."""
    share = rng.choice([0.0, 0.02, 0.06, 0.15], p=[0.4, 0.3, 0.2, 0.1])
    if share == 0.0 or beats.size < 4:
        return x, beats, weight
    x, kept = x.copy(), np.ones(beats.size, bool)
    added = []
    shapes = [_wide_beat(rng) for _ in range(3)]
    k = 1
    while k < beats.size - 2:
        rr = beats[k + 1] - beats[k]
        if rng.random() < share and rr > 54:
            at = int(beats[k] + max(36, rng.uniform(0.42, 0.7) * rr))
            if rng.random() < 0.75 or beats[k + 1] - at < 40:
                low, high = (
                    int(beats[k + 1] - 0.25 * rr),
                    int(beats[k + 1] + min(54, 0.4 * (beats[k + 2] - beats[k + 1]))),
                )
                fade = np.ones(x.size if high > x.size else high - low)
                fade = 1.0 - np.minimum(1.0, np.minimum(np.arange(high - low), np.arange(high - low)[::-1]) / 8.0)
                stop = min(high, x.size)
                x[low:stop] *= fade[: stop - low]
                kept[k + 1] = False
            shape = shapes[rng.integers(3)] * rng.uniform(0.85, 1.15)
            start = at - 30
            if start < 0 or start + shape.size > x.size:
                break
            x[start : start + shape.size] += shape
            added.append(at)
            k += 1
        k += 1
    return x, np.sort(np.concatenate((beats[kept], np.array(added, dtype=np.int64)))), weight


def _blocked(x: Array, beats: NDArray[np.int64], rng: np.random.Generator) -> tuple[Array, NDArray[np.int64]]:
    """Beats that do not follow their P wave, and P waves that follow a rhythm of their own."""
    kind = rng.random()
    if kind > 0.16 or beats.size < 4:
        return x, beats
    x = x.copy()
    n = x.size
    if kind < 0.10:
        gone = rng.random(beats.size) < rng.choice([0.03, 0.1, 0.4])
        rr = np.diff(beats, append=beats[-1] + 96)
        for beat, distance in zip(beats[gone], rr[gone], strict=True):
            low, high = max(0, beat - 8), min(n, int(beat + max(24, min(60, 0.6 * distance))))
            edge = np.minimum(np.arange(high - low), np.arange(high - low)[::-1])
            x[low:high] *= 1.0 - np.minimum(1.0, edge / 5.0)
        beats = beats[~gone]
    if kind > 0.05:
        t = (np.arange(25) - 12) / WORK_HZ
        wave = rng.uniform(0.05, 0.3) * rng.choice([-1, 1]) * np.exp(-0.5 * (t / rng.uniform(0.018, 0.032)) ** 2)
        period = WORK_HZ * rng.uniform(0.5, 1.0)
        at = (np.arange(20, n - 40, period) + rng.normal(0, 1.5, np.arange(20, n - 40, period).size)).astype(int)
        for start in at[(at > 0) & (at < n - 26)]:
            x[start : start + 25] += wave
    return x, beats


def _wide_beat(rng: np.random.Generator) -> Array:
    t = (np.arange(108) - 30) / WORK_HZ
    width = rng.uniform(0.02, 0.045)
    size = rng.uniform(0.4, 2.2) * rng.choice([-1, 1])
    first = np.exp(-0.5 * ((t - rng.uniform(-0.01, 0.01)) / width) ** 2)
    second = rng.uniform(-0.9, 0.9) * np.exp(
        -0.5 * ((t - rng.uniform(0.05, 0.09)) / (width * rng.uniform(0.8, 1.3))) ** 2
    )
    t_wave = rng.uniform(-0.6, 0.1) * np.exp(-0.5 * ((t - rng.uniform(0.26, 0.36)) / rng.uniform(0.04, 0.08)) ** 2)
    return size * (first + second + t_wave) * np.minimum(1, np.arange(108)[::-1] / 12)


def _beat_gain(n: int, beats: NDArray[np.int64], rng: np.random.Generator) -> Array:
    """Slow changes, steps of gain, and single beats that come out weak."""
    gain = np.ones(n)
    if rng.random() < 0.3:
        for at in rng.integers(0, n, rng.integers(1, 4)):
            gain[at:] *= np.exp(rng.uniform(-1.2, 1.2))
    if rng.random() < 0.4:
        knots = np.arange(0, n + 1200, 600)
        walk = np.cumsum(rng.normal(0, 0.25, knots.size))
        gain *= np.exp(np.interp(np.arange(n), knots, np.clip(walk - walk.mean(), -1.0, 1.0)))
    if rng.random() < 0.5:
        for beat in beats[rng.random(beats.size) < rng.choice([0.01, 0.04])]:
            low, high = max(0, beat - 24), min(n, beat + 48)
            shape = np.minimum(1.0, np.minimum(np.arange(high - low), np.arange(high - low)[::-1]) / 10.0)
            gain[low:high] *= 1.0 - rng.uniform(0.2, 0.75) * shape
    return gain


def _damaged(x: Array, beats: NDArray[np.int64], weight: Array, rng: np.random.Generator) -> Variant:
    n = x.size
    weight = weight.copy()
    if rng.random() < 0.2:
        x = smooth(x, int(rng.integers(2, 4)))
    if rng.random() < 0.06:
        x = np.clip(x, -rng.uniform(0.4, 1.5), rng.uniform(0.4, 1.5))
    if rng.random() < 0.06 and n > 6000:
        for at in rng.integers(0, n - 1300, 3):
            stop = at + int(rng.integers(240, 1200))
            x[at:stop] = x[at] if rng.random() < 0.5 else 0.0
            beats = beats[(beats < at - 12) | (beats > stop + 12)]
            for edge in (at, stop):
                if beats.size and np.abs(beats - edge).min() < 30:
                    weight[max(0, edge - 40) : edge + 40] = 0.0
    return Variant(x, beats, weight)


def strips(variant: Variant, rng: np.random.Generator, count: int) -> Iterator[Variant]:
    """Short recordings cut from a long one, so that the ends of a recording are nothing new."""
    n = variant.signal.size
    for _ in range(count):
        length = int(WORK_HZ * np.exp(rng.uniform(np.log(2.0), np.log(30.0))))
        if length >= n:
            continue
        start = int(rng.integers(0, n - length))
        inside = variant.beats[(variant.beats >= start) & (variant.beats < start + length)] - start
        weight = variant.weight[start : start + length].copy()
        for beat, edge in ((b, e) for b in inside for e in (0, length)):
            if abs(beat - edge) < 10:
                weight[max(0, beat - 18) : beat + 19] = 0.0
        yield Variant(variant.signal[start : start + length], inside, weight)


def variants(source: Source, count: int, noise: Array, seed: int) -> Iterator[Variant]:
    """The lead as it is, then ``count`` variants; the same arguments give the same samples."""
    lead = 0 if source.signals.shape[0] < 3 else 1
    rng = np.random.default_rng([seed, *source.group.encode(), source.beats.size])
    yield plain(source, lead)
    for k in range(count):
        variant = vary(source, noise, rng)
        yield variant
        if k == 0:
            yield from strips(variant, rng, variant.signal.size // 3600)
            yield from strips(plain(source, lead), rng, variant.signal.size // 3600)

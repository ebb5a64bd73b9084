"""Where the ventricles do not beat in an ordered way, or not at all: fibrillation, flutter, standstill."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from teleread.signal.ecg.beat_shapes import Mask, decimated
from teleread.signal.ecg.fibrillation import HOP_S, WINDOW_S, WORK_FS_HZ, ChaosMeasures, measures, repetition
from teleread.signal.ecg.filters import Samples, run_lengths

Span = tuple[float, float]

_CHUNK_S = 300.0
_LIVE_MV = 0.12
FLAT_MV = 0.08
_ATRIAL_MV = 0.4
QRS_MV_S = 8.0
_LEAST_VF_S = 3.0
_ORDERLY_MATCH = 0.85
_SWING = 0.6
_REPEATS = 0.9
_CHAOTIC = 1.5


def chaotic(m: ChaosMeasures) -> Samples:
    """Evidence per window and lead: above 1.5 speaks for ventricular fibrillation or flutter."""
    score = (0.62 - m.leakage) / 0.08 + (m.away - 0.40) / 0.10 + (7.0 - m.steep) / 2.5 + (m.narrow - 0.35) / 0.2
    in_range = (m.rate_hz >= 2.4) & (m.rate_hz <= 9.0)
    return np.where(in_range, score, np.minimum(score, -1.0))


def unordered_spans(
    signals_mv: Samples, fs_hz: float, rows: list[int]
) -> tuple[list[Span], list[tuple[float, float, float]]]:
    """Spans of ventricular fibrillation or flutter, and flat spans with what is left of the signal (mV, peak to peak).

    Works on the signal alone, in stretches of five minutes.
    """
    step = max(1, round(fs_hz / WORK_FS_HZ))
    fs = fs_hz / step
    chunk = int(_CHUNK_S * fs_hz) // step * step
    lead_over = int(WINDOW_S * fs_hz) // step * step
    hits: list[Mask] = []
    calm: list[Samples] = []
    steep: list[Samples] = []
    n = signals_mv.shape[1]
    for start in range(0, max(n, 1), chunk):
        piece = signals_mv[rows, start : min(n, start + chunk + lead_over)]
        if piece.shape[1] < WINDOW_S * fs_hz:
            break
        work = decimated(piece, step)
        m = measures(work, fs)
        if start + chunk < n:
            last = int(_CHUNK_S / HOP_S)
            m = ChaosMeasures(
                *(getattr(m, name)[:last] for name in ("leakage", "away", "steep", "height_mv", "rate_hz", "narrow"))
            )
        hits.append(_fibrillating(m))
        calm.append(m.height_mv.max(axis=1))
        steep.append(_steepest(work, fs)[: len(m.height_mv)])
    if not hits:
        return [], []
    hit, height = np.concatenate(hits), np.concatenate(calm)
    still = (height < FLAT_MV) | ((height < _ATRIAL_MV) & (np.concatenate(steep) < QRS_MV_S))
    return _merged(hit, n / fs_hz), _flat_spans(height, still, n / fs_hz)


def slopes(work_mv: Samples, fs_hz: float) -> Samples:
    """The largest slope of any lead in mV/s, over 16 ms after smoothing over 24 ms, one for each sample but the
    outermost: a P wave reaches 6, the QRS of a heart with low voltage 11."""
    smooth = (work_mv[:, 2:] + work_mv[:, 1:-1] + work_mv[:, :-2]) / 3.0
    return np.asarray((np.abs(smooth[:, 2:] - smooth[:, :-2]) * (0.5 * fs_hz)).max(axis=0))


def _steepest(work_mv: Samples, fs_hz: float) -> Samples:
    """The largest slope in each window."""
    width, hop = round(WINDOW_S * fs_hz), round(HOP_S * fs_hz)
    return np.asarray(sliding_window_view(slopes(work_mv, fs_hz), width - 4)[::hop].max(axis=1))


def _fibrillating(m: ChaosMeasures) -> Mask:
    """Most of the leads that show anything must agree, weighted by nothing but their being alive."""
    live = (m.height_mv > _LIVE_MV) & (m.height_mv > 0.2 * m.height_mv.max(axis=1, keepdims=True))
    score = np.where(live, np.clip(chaotic(m), -6.0, 6.0), 0.0)
    count = live.sum(axis=1)
    mean = score.sum(axis=1) / np.maximum(count, 1)
    return np.asarray((count > 0) & (mean > _CHAOTIC), dtype=np.bool_)


def _merged(hit: Mask, duration_s: float) -> list[Span]:
    """Windows to spans: each hit stands for the middle half of its window, gaps of two seconds are closed."""
    starts, stops = run_lengths(hit)
    spans: list[Span] = []
    for first, last in zip(starts, stops - 1, strict=True):
        start = 0.0 if first == 0 else first * HOP_S + WINDOW_S / 4
        end = duration_s if last == hit.size - 1 else last * HOP_S + 0.75 * WINDOW_S
        if spans and start - spans[-1][1] <= 2.0:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((float(start), float(end)))
    return [s for s in spans if s[1] - s[0] >= min(_LEAST_VF_S, 0.5 * duration_s)]


def _flat_spans(height: Samples, still: Mask, duration_s: float) -> list[tuple[float, float, float]]:
    starts, stops = run_lengths(still)
    spans = []
    for first, last in zip(starts, stops - 1, strict=True):
        end = duration_s if last == height.size - 1 else last * HOP_S + WINDOW_S
        spans.append((float(first * HOP_S), float(end), float(height[first : last + 1].max())))
    return spans


def disordered(spans: list[Span], r_s: Samples, match: Samples) -> tuple[list[Span], Mask]:
    """The spans without those that like beats fill, 100 to 240/min, and the beats of the latter.

    Such broad beats leave no base line (ventricular tachycardia, pre-excited fibrillation); in ventricular
    fibrillation no two beats are alike, or what is found of them is full of holes.
    """
    kept: list[Span] = []
    orderly = np.zeros(r_s.size, dtype=np.bool_)
    for start, end in spans:
        inside = (r_s >= start) & (r_s < end)
        rr = np.diff(r_s[inside])
        if rr.size >= 3:
            usual = float(np.median(rr))
            whole = float(rr.sum()) > 0.6 * (end - start) and float(rr.std()) < _SWING * float(rr.mean())
            if 0.25 <= usual <= 0.6 and whole and float(np.median(match[inside])) > _ORDERLY_MATCH:
                orderly |= inside
                continue
        kept.append((start, end))
    return kept, orderly


def repeating(
    spans: list[Span], signals_mv: Samples, fs_hz: float, rows: list[int]
) -> tuple[list[tuple[float, float, float]], list[Span]]:
    """Spans whose signal repeats itself at up to 240/min, with that rate: tachycardia; and the others."""
    step = max(1, round(fs_hz / WORK_FS_HZ))
    turning: list[tuple[float, float, float]] = []
    rest: list[Span] = []
    for start, end in spans:
        middle = 0.5 * (start + end)
        lo = max(0, round((max(start, middle - 4.0)) * fs_hz))
        hi = min(signals_mv.shape[1], round(min(end, middle + 4.0) * fs_hz))
        repeats, period = repetition(decimated(signals_mv[rows, lo:hi], step), fs_hz / step)
        if repeats > _REPEATS and period >= 0.25:
            turning.append((start, end, 60.0 / period))
        else:
            rest.append((start, end))
    return turning, rest


def beats_within(r_s: Samples, spans: list[Span]) -> Mask:
    """Which beats lie in any of the spans."""
    inside = np.zeros(r_s.size, dtype=np.bool_)
    for start, end in spans:
        inside |= (r_s >= start) & (r_s < end)
    return inside


def ventricular_runs(ventricular: Mask, rr_s: Samples, least: int = 3) -> list[tuple[int, int, float]]:
    """Runs of at least ``least`` beats: first beat, one after the last, rate in 1/min (from the intervals inside)."""
    starts, stops = run_lengths(ventricular)
    runs = []
    for first, last in zip(starts, stops, strict=True):
        if last - first >= least:
            inside = rr_s[first + 1 : last]
            inside = inside[np.isfinite(inside)]
            if inside.size:
                runs.append((int(first), int(last), 60.0 / float(np.median(inside))))
    return runs

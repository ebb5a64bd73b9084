"""Rhythm: what the heart does over time, beat by beat, from one lead or many. Nothing here is a diagnosis.

The parts: shapes of beats (``beat_shapes``), P waves (``p_evidence``), irregularity, fibrillation and flutter
(``atrial``), disorder and standstill of the ventricles (``ventricular``), pacing spikes, conduction. Rules of
safety: whatever cannot be told is
``undetermined``, which never means normal; a regular fast rhythm with wide QRS and no visible P is called ventricular
tachycardia, with lower confidence, because to take it for a harmless one would be the worse mistake.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg import rhythm_spans as rs
from teleread.signal.ecg.atrial import fibrillation_share, p_seen
from teleread.signal.ecg.av_block import Block, av_block
from teleread.signal.ecg.beat_shapes import Indices, Mask, chosen_leads
from teleread.signal.ecg.beat_table import BeatTable, beat_table, local_mean
from teleread.signal.ecg.beats import PACED, SUPRAVENTRICULAR, UNKNOWN, VENTRICULAR, Kinds, beat_kinds, kind_names
from teleread.signal.ecg.conduction import UsualBeat, averaged, from_median
from teleread.signal.ecg.delineation import Delineation
from teleread.signal.ecg.filters import Samples
from teleread.signal.ecg.flutter import Spectra, flutters
from teleread.signal.ecg.gaps import between, missing_spans
from teleread.signal.ecg.pacing import find_pacing
from teleread.signal.ecg.rhythm_findings import Seen, findings_of
from teleread.signal.ecg.rhythm_standstill import standstills, windows
from teleread.signal.ecg.rhythm_types import FINDING_CODES, SPAN_CODES, BeatLike, Rhythm, RhythmFinding
from teleread.signal.ecg.ventricular import beats_within, disordered, repeating, unordered_spans

__all__ = ["FINDING_CODES", "SPAN_CODES", "Rhythm", "RhythmFinding", "classify_rhythm"]

_FLUTTER_WINDOW_S = 10.0
_FEWEST_BEATS = 3
_CLEAR_TRAIN = 1.8
_SINUS = (rs.SINUS, rs.SINUS_BRADY, rs.SINUS_ARRHYTHMIA, rs.UNDETERMINED)
_NO_BLOCK = (rs.FLUTTER, rs.VT, rs.PACED_RHYTHM, rs.SVT)


def classify_rhythm(
    filtered_mv: NDArray[np.floating],
    fs_hz: float,
    leads: Sequence[str],
    r_peaks: NDArray[np.integer],
    delineation: Delineation | None,
    beat: BeatLike | None,
    raw_mv: NDArray[np.floating] | None = None,
) -> Rhythm:
    """Names the rhythm over time, the kind of each beat, and what else there is to say.

    Args:
        filtered_mv: (n_leads, n) or (n,) mV in the diagnostic band (0.05 to 150 Hz) or as recorded; NaN where missing.
        fs_hz: 100 to 2000 Hz.
        leads: names, one per row; standard spelling where they are standard leads.
        r_peaks: beats in samples, ascending.
        delineation: of the same beats, or None.
        beat: the median beat, or None; then a mean beat is made here.
        raw_mv: the signal as recorded, for pacing spikes; ``filtered_mv`` is searched without it.

    Returns:
        Spans over the whole recording. Never raises for a bad recording: it is ``undetermined`` then.
    """
    x = np.atleast_2d(np.asarray(filtered_mv, dtype=np.float64))
    names = tuple(leads)
    r = np.asarray(r_peaks, dtype=np.int64)
    duration = x.shape[1] / fs_hz
    rows = chosen_leads(names, x)
    if not rows or x.shape[1] == 0 or duration < 1.0:
        return Rhythm(_whole(duration), kind_names(np.full(r.size, UNKNOWN)), ())
    few = _few(rows, names)
    chaos, flat = unordered_spans(x, fs_hz, few)
    gaps = missing_spans(x, fs_hz, range(x.shape[0]))
    unseen = missing_spans(x, fs_hz, few)
    # a bridged gap is flat, and flat lines beside it are only as long as what is there
    flat = [(a, b, height) for start, end, height in flat for a, b in between(start, end, unseen)]
    raw = x if raw_mv is None else np.atleast_2d(np.asarray(raw_mv, dtype=np.float64))
    pacing = find_pacing(raw, fs_hz, r, rows if raw.shape[0] == x.shape[0] else None)
    table = beat_table(x, fs_hz, names, r)
    chaos, orderly = disordered(chaos, table.r_s, table.match)
    turning, chaos = repeating(chaos, x, fs_hz, rows)
    turning = [(a, b, rate) for start, end, rate in turning for a, b in between(start, end, gaps)]
    chaos = [span for start, end in chaos for span in between(start, end, gaps)]
    standstill = standstills(x, fs_hz, few, r / fs_hz, flat, unseen)
    fibrillation = fibrillation_share(table)
    kinds, sure = beat_kinds(table, pacing.paced, fibrillation > 0.5)
    usual = _usual_beat(x, fs_hz, names, r, table, beat)
    codes, e = _codes(x, fs_hz, names, r, table, kinds, delineation, usual, duration, orderly, fibrillation)
    blocks = _blocks(x, fs_hz, names, r, codes, kinds, table, gaps)
    codes = rs.overlaid(_with_blocks(codes, e, table, blocks), table, kinds)
    spans = rs.joined(rs.to_spans(codes, table.r_s, duration)) if r.size >= _FEWEST_BEATS else list(_whole(duration))
    spans = rs.laid_over(spans, [s[:2] for s in standstill], "asystole")
    spans = rs.laid_over(spans, [t[:2] for t in turning], "ventricular_tachycardia")
    spans = rs.laid_over(spans, chaos, "ventricular_fibrillation")
    spans = rs.laid_over(spans, gaps, "undetermined")
    kinds = np.where(beats_within(table.r_s, chaos), UNKNOWN, kinds)
    in_tachycardia = [(a, b) for a, b, code in spans if code == "ventricular_tachycardia"]
    kinds = np.where(beats_within(table.r_s, in_tachycardia) & (kinds != PACED), VENTRICULAR, kinds)
    seen = Seen(
        table,
        kinds,
        sure,
        codes,
        e,
        pacing,
        usual,
        delineation,
        fs_hz,
        duration,
        tuple(chaos),
        tuple(standstill),
        tuple(turning),
        blocks,
        tuple(gaps),
    )
    return Rhythm(tuple(spans), kind_names(kinds), findings_of(seen, tuple(spans)))


def _few(rows: list[int], leads: tuple[str, ...]) -> list[int]:
    """Four leads that look from different sides are enough to see disorder."""
    wanted = [i for i in rows if leads[i] in ("I", "II", "V1", "V5")]
    return wanted if len(wanted) == 4 else rows[:4]


def _whole(duration_s: float) -> tuple[tuple[float, float, str], ...]:
    return ((0.0, round(duration_s, 3), "undetermined"),) if duration_s > 0 else ()


def _usual_beat(
    x: Samples, fs_hz: float, leads: tuple[str, ...], r: Indices, table: BeatTable, beat: BeatLike | None
) -> UsualBeat | None:
    measured = from_median(beat) if beat is not None else None
    return measured if measured is not None else averaged(x, fs_hz, leads, r, table.group == 0)


def _codes(
    x: Samples,
    fs_hz: float,
    leads: tuple[str, ...],
    r: Indices,
    table: BeatTable,
    kinds: Kinds,
    delineation: Delineation | None,
    usual: UsualBeat | None,
    duration: float,
    orderly: Mask,
    fibrillation: Samples,
) -> tuple[Indices, rs.Evidence]:
    p_share = None
    if delineation is not None and delineation.p_on.shape == r.shape:
        p_share = local_mean((delineation.p_on >= 0).astype(np.float64), np.ones(r.size), 6)
    e = rs.evidence(table, usual.qrs_s if usual is not None and duration < 60.0 else None, p_share, fibrillation)
    if r.size < _FEWEST_BEATS:
        return np.full(r.size, rs.UNDETERMINED), e
    codes = rs.base_codes(e, kinds, _flutter(x, fs_hz, leads, r, table, fibrillation))
    # broad beats without any base line between them are ventricular, unless they are irregular (pre-excited
    # fibrillation)
    codes[orderly & (codes != rs.AF)] = rs.VT
    codes = rs.with_arrhythmia(codes, table, kinds)
    return rs.continued(rs.settled(codes, table.rr_s), e, table), e


def _with_blocks(
    codes: Indices, e: rs.Evidence, table: BeatTable, blocks: tuple[tuple[float, float, Block], ...]
) -> Indices:
    """Where P waves go on behind dropped beats, the irregular intervals are no fibrillation and the atria beat in sinus
    rhythm; in complete block the beats are the ventricles' own."""
    out = codes.copy()
    for start, end, block in blocks:
        inside = (table.r_s >= start) & (table.r_s < end)
        if block.code == "av_block_3":
            out[inside & np.isin(codes, _SINUS)] = rs.JUNCTIONAL
            wide = inside & e.wide
            slow = e.rate_bpm < rs.IDIOVENTRICULAR_BPM
            out[wide & slow] = rs.IDIOVENTRICULAR
            out[wide & ~slow] = rs.ACCELERATED
        else:
            other = inside & np.isin(codes, (rs.AF, rs.JUNCTIONAL, *_SINUS))
            out[other] = rs.SINUS_BRADY if 60.0 / block.period_s < rs.BRADYCARDIA_BPM else rs.SINUS
    return out


def _flutter(
    x: Samples, fs_hz: float, leads: tuple[str, ...], r: Indices, table: BeatTable, fibrillation: Samples
) -> Mask:
    """Beats in windows of ten seconds in which the atria flutter; in a long recording slow beats with clear P waves are
    not looked at."""
    doubtful = (p_seen(table) < 1.0) | (fibrillation > 0.2) | (table.usual_rr_s < 0.6)
    mask = np.zeros(r.size, dtype=np.bool_)
    width = round(_FLUTTER_WINDOW_S * fs_hz)
    n = x.shape[1]
    for start in range(0, n, width):
        stop = n if start + 1.5 * width > n else start + width
        inside = (r >= start) & (r < stop)
        if inside.any() and stop - start >= 0.5 * min(width, n) and (n <= 6 * width or doubtful[inside].any()):
            spectra = Spectra(x[:, start:stop], fs_hz, leads, r[inside] - start)
            if flutters(spectra, table, inside, fibrillation):
                mask |= inside
        if stop == n:
            break
    return mask


def _blocks(
    x: Samples,
    fs_hz: float,
    leads: tuple[str, ...],
    r: Indices,
    codes: Indices,
    kinds: Kinds,
    table: BeatTable,
    gaps: list[tuple[float, float]],
) -> tuple[tuple[float, float, Block], ...]:
    """AV block in stretches of ten seconds that are slow or miss beats; none reaches over a gap."""
    found: list[tuple[float, float, Block]] = []
    for start_s, stop_s in windows(x.shape[1] / fs_hz, gaps):
        start, stop = round(start_s * fs_hz), min(x.shape[1], round(stop_s * fs_hz))
        inside = (r >= start) & (r < stop)
        at = r[inside]
        if at.size >= 3 and not np.isin(codes[inside], _NO_BLOCK).mean() > 0.5:
            rr = np.diff(at) / fs_hz
            if float(np.median(rr)) > 0.9 or float(rr.max()) > 1.35 * float(np.median(rr)):
                plain = table.alike[inside] & (kinds[inside] != SUPRAVENTRICULAR)
                block = av_block(x[:, start:stop], fs_hz, leads, at - start, plain)
                # what looks like fibrillation by its intervals must show its P waves very clearly
                irregular = bool((codes[inside] == rs.AF).mean() > 0.5)
                if block is not None and (not irregular or block.contrast > _CLEAR_TRAIN):
                    found.append((start / fs_hz, stop / fs_hz, block))
    return tuple(found)

"""A stored tracing in parts and through filters, and its usual beat: what a page draws.

Everything follows from immutable objects, so it is kept by their keys for as long as there is room. A part is at most
some 100 s long, so no request costs more than that, whatever the recording's length.
"""

from __future__ import annotations

import json
import struct
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg.delineation import ABSENT
from teleread.signal.ecg.filters import CHILD_LOW_PASS_HZ, AppliedFilters, Filtered, blocks, find_mains, mains_look
from teleread.signal.ecg.median_beat import MedianBeat, delineate_and_median
from teleread.signal.ecg.views import View, look, st_may_be_read
from teleread.storage.objects.protocol import ObjectStore

WINDOW_S = 60.0
"""The longest window."""

_CACHE_BYTES = 48 << 20
_LARGEST_STEP = 32_700
_UV_PER_MV = 1000.0
_BYTES_PER_STEP = 2
_MARKS = ("p_on", "p_off", "qrs_on", "qrs_off", "t_off")

Samples = NDArray[np.float64]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Keys:
    """Where the objects of one tracing lie; no analysis where it failed."""

    display: str
    wave: str
    analysis: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """What is known of a tracing without its samples.

    Args:
        display: as stored: leads, rate, scale, device filters.
        r_peaks: sample indices, None where nothing was analysed.
        child: whether the diagnostic band goes up to 250 Hz.
        has_p: whether the analysis measured a PR interval.
        has_t: whether it measured QT.
    """

    display: Mapping[str, Any]
    r_peaks: NDArray[np.int64] | None
    child: bool
    has_p: bool
    has_t: bool

    @property
    def leads(self) -> tuple[str, ...]:
        return tuple(self.display["leads"])

    @property
    def fs_hz(self) -> float:
        return float(self.display["fs_hz"])

    @property
    def n(self) -> int:
        return int(self.display["n_samples"])


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Consecutive samples (n_leads, n) in mV in one view, NaN where missing."""

    head: Head
    view: View
    start: int
    signals_mv: Samples
    applied: AppliedFilters

    def to_bytes(self) -> bytes:
        """For a browser: length of the head (uint32), the head (JSON, padded to 4), then 16-bit steps, lead after lead;
        all little-endian. A sample in µV is its step times ``uv_per_step`` plus its lead's ``offset_uv``.
        """
        display = self.head.display
        per_step = float(display["uv_per_step"])
        offsets = _offsets_uv(display) if self.view == "raw" else np.zeros(len(self.head.leads))
        uv = self.signals_mv * _UV_PER_MV - offsets[:, np.newaxis]
        here = np.isfinite(uv)
        steps = np.clip(np.rint(np.where(here, uv, 0.0) / per_step), -_LARGEST_STEP, _LARGEST_STEP)
        head = {
            "start": self.start,
            "n": int(steps.shape[1]),
            "view": self.view,
            "uv_per_step": per_step,
            "offset_uv": offsets.tolist(),
            "missing": int(display["missing"]),
            "applied": asdict(self.applied),
            "st": st_may_be_read(self.applied),
            "r_peaks": self.peaks(),
        }
        text = json.dumps(head, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        samples = np.where(here, steps, display["missing"]).astype("<i2")
        return struct.pack("<I", len(text)) + text + samples.tobytes()

    def peaks(self) -> list[int]:
        """R peaks within, as sample indices of the whole recording."""
        if self.head.r_peaks is None:
            return []
        first, last = np.searchsorted(self.head.r_peaks, (self.start, self.start + self.signals_mv.shape[1]))
        found: list[int] = self.head.r_peaks[first:last].tolist()
        return found


class Tracings:
    """Reads tracings and keeps what was computed last, up to a bounded size. Thread-safe."""

    def __init__(self, store: ObjectStore, cache_bytes: int = _CACHE_BYTES) -> None:
        self._store = store
        self._cache: OrderedDict[tuple[str, ...], tuple[Any, int]] = OrderedDict()
        self._room = cache_bytes
        self._used = 0
        self._lock = threading.Lock()

    def head(self, keys: Keys) -> Head:
        """Raises ``StorageError`` as the store does, here and below."""
        return self._kept(("head", keys.display, keys.analysis or ""), lambda: self._head(keys), _head_bytes)

    def window(self, keys: Keys, start: int, n: int, view: View) -> Window:
        """``n`` samples from ``start``, fewer at the end and at most ``WINDOW_S`` of them.

        Sample for sample what ``views.look`` gives of the whole recording with its R peaks.
        """
        head = self.head(keys)
        start = min(max(0, start), max(0, head.n - 1))
        stop = min(head.n, start + min(max(1, n), round(WINDOW_S * head.fs_hz)))
        if view == "raw":
            raw = self._samples(keys, head, start, stop)
            return Window(head, view, start, raw, look(raw, head.fs_hz, view).applied)
        pieces, applied = [], None
        for first, last, begin, end in blocks(head.n, head.fs_hz):
            if end <= start or begin >= stop:
                continue
            part = self._part(keys, head, view, (first, last))
            pieces.append(part.signals_mv[:, max(begin, start) - first : min(end, stop) - first])
            applied = part.applied
        if applied is None:
            applied = AppliedFilters(None, None, None, baseline_removed=False)
        signals = np.concatenate(pieces, axis=1) if pieces else np.empty((len(head.leads), 0))
        return Window(head, view, start, signals, applied)

    def beat(self, keys: Keys, at: int) -> dict[str, Any] | None:
        """The usual beat of the part in which a sample lies, in the diagnostic band, as JSON; None where there is none.

        ``samples_uv`` has a list for each lead, None for one with too few samples; marks are its sample indices or
        None; ``from_s`` and ``to_s`` say of which part it is.
        """
        head = self.head(keys)
        parts = blocks(head.n, head.fs_hz)
        first, last, start, stop = next((part for part in parts if part[2] <= at < part[3]), parts[-1])
        if head.r_peaks is None:
            return None

        def compute() -> dict[str, Any] | None:
            found = self.median(keys, (first, last))
            span = {"from_s": start / head.fs_hz, "to_s": stop / head.fs_hz}
            return None if found is None else beat_json(found, head) | span

        return self._kept(("beat", keys.wave, keys.analysis or "", str(first)), compute, lambda _: 1 << 18)

    def median(self, keys: Keys, part: tuple[int, int]) -> MedianBeat | None:
        """The usual beat of one part, as measured."""
        head = self.head(keys)
        filtered = self._part(keys, head, "diagnostic", part)
        first, last = part
        assert head.r_peaks is not None
        peaks = head.r_peaks[(head.r_peaks >= first) & (head.r_peaks < last)] - first
        return delineate_and_median(filtered.signals_mv, head.fs_hz, head.leads, peaks)[1]

    def _part(self, keys: Keys, head: Head, view: View, part: tuple[int, int]) -> Filtered:
        first, last = part

        def compute() -> Filtered:
            raw = self._samples(keys, head, first, last)
            peaks = None if head.r_peaks is None else head.r_peaks - first
            return look(
                raw, head.fs_hz, view, child=head.child, mains_hz=self._mains(keys, head), r_peaks=_inside(peaks, part)
            )

        place = (view, keys.wave, keys.analysis or "", str(first))
        return self._kept(place, compute, lambda found: found.signals_mv.nbytes)

    def _mains(self, keys: Keys, head: Head) -> float:
        """The recording's mains, 0 where there is none: sought once for all its parts."""

        def compute() -> float:
            start, stop = mains_look(head.n, head.fs_hz)
            return find_mains(self._samples(keys, head, start, stop), head.fs_hz) or 0.0

        return self._kept(("mains", keys.wave), compute, lambda _: 64)

    def _samples(self, keys: Keys, head: Head, start: int, stop: int) -> Samples:
        """As stored, in mV."""
        rows, length = len(head.leads), stop - start
        if length == head.n:
            data = self._store.get(keys.wave)
        else:
            at = [(row * head.n + start) * _BYTES_PER_STEP for row in range(rows)]
            data = b"".join(self._store.get_range(keys.wave, one, length * _BYTES_PER_STEP) for one in at)
        steps = np.frombuffer(data, "<i2").reshape(rows, length)
        uv = steps * float(head.display["uv_per_step"]) + _offsets_uv(head.display)[:, np.newaxis]
        return np.where(steps == head.display["missing"], np.nan, uv / _UV_PER_MV)

    def _head(self, keys: Keys) -> Head:
        display = json.loads(self._store.get(keys.display))
        if keys.analysis is None:
            return Head(display, None, False, False, False)
        analysis = json.loads(self._store.get(keys.analysis))
        measured = analysis["measurements"]
        child = analysis.get("filters_applied", {}).get("low_pass_hz") == CHILD_LOW_PASS_HZ
        peaks = np.asarray(analysis["r_peaks"], dtype=np.int64)
        return Head(display, peaks, child, "pr_ms" in measured, "qt_ms" in measured)

    def _kept(self, place: tuple[str, ...], compute: Callable[[], _T], size: Callable[[_T], int]) -> _T:
        with self._lock:
            if place in self._cache:
                self._cache.move_to_end(place)
                kept: _T = self._cache[place][0]
                return kept
        found = compute()
        bytes_ = size(found)
        with self._lock:
            if place not in self._cache and bytes_ <= self._room // 2:
                self._cache[place] = (found, bytes_)
                self._used += bytes_
            while self._used > self._room:
                self._used -= self._cache.popitem(last=False)[1][1]
        return found


def beat_json(beat: MedianBeat, head: Head) -> dict[str, Any]:
    """A median beat as a page takes it; without P or T marks where the analysis measured no such wave."""
    marks = {name: None if getattr(beat, name) == ABSENT else int(getattr(beat, name)) for name in _MARKS}
    if not head.has_p:
        marks |= {"p_on": None, "p_off": None}
    if not head.has_t:
        marks |= {"t_off": None}
    rows = np.rint(beat.signals_mv * _UV_PER_MV)
    return {
        "fs_hz": beat.fs_hz,
        "leads": list(beat.leads),
        "r_index": beat.r_index,
        "beats": beat.beats,
        "n": int(rows.shape[1]),
        "samples_uv": [row.astype(int).tolist() if np.isfinite(row).all() else None for row in rows],
        "marks": marks,
    }


def _inside(peaks: NDArray[np.int64] | None, part: tuple[int, int]) -> NDArray[np.int64] | None:
    return None if peaks is None else peaks[(peaks >= 0) & (peaks < part[1] - part[0])]


def _offsets_uv(display: Mapping[str, Any]) -> Samples:
    return np.asarray(display.get("offset_uv") or [0.0] * len(display["leads"]), dtype=np.float64)


def _head_bytes(head: Head) -> int:
    return 4096 + (0 if head.r_peaks is None else head.r_peaks.nbytes)

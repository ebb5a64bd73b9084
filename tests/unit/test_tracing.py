"""A tracing is shown in parts and through filters, and each sample is the one that the core gives of the whole."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from teleread.pipeline import derive
from teleread.reading import tracing
from teleread.reading.tracing import Keys, Tracings
from teleread.signal.ecg import EcgRecord, analyse, diagnostic, monitoring, simulate
from teleread.signal.ecg.filters import AppliedFilters, blocks, find_mains
from teleread.signal.ecg.views import VIEWS, View, look, st_may_be_read

KEYS = Keys("display", "wave", "analysis")


class Shelf:
    """As much of an object store as a tracing reads; counts what it gives."""

    def __init__(self, record: EcgRecord) -> None:
        blobs = derive._display(record)
        self.held = {"display": blobs["display.json"], "wave": blobs["wave.i16"]}
        self.held["analysis"] = json.dumps(analyse(record).to_json()).encode()
        self.given = 0

    def get(self, key: str) -> bytes:
        self.given += len(self.held[key])
        return self.held[key]

    def get_range(self, key: str, start: int, length: int) -> bytes:
        self.given += length
        return self.held[key][start : start + length]

    @property
    def stored_mv(self) -> NDArray[np.float64]:
        """The whole recording as stored, straight from the bytes."""
        display = json.loads(self.held["display"])
        steps = np.frombuffer(self.held["wave"], "<i2").reshape(len(display["leads"]), -1).astype(np.float64)
        found = (steps * display["uv_per_step"] + np.array(display["offset_uv"])[:, np.newaxis]) / 1000.0
        return np.where(steps == display["missing"], np.nan, found)

    @property
    def r_peaks(self) -> NDArray[np.int64]:
        return np.asarray(json.loads(self.held["analysis"])["r_peaks"], dtype=np.int64)


def held(record: EcgRecord) -> tuple[Shelf, Tracings]:
    shelf = Shelf(record)
    return shelf, Tracings(shelf)  # type: ignore[arg-type]


def long_record() -> EcgRecord:
    """Four minutes at a low rate, with wander, mains and a gap."""
    record, _truth = simulate("normal", 4, duration_s=240.0, fs_hz=250.0)
    t = np.arange(record.signals_mv.shape[1]) / record.fs_hz
    signals = record.signals_mv + 0.4 * np.sin(2 * np.pi * 0.2 * t) + 0.1 * np.sin(2 * np.pi * 50.0 * t)
    signals[1, 20_000:20_400] = np.nan
    return EcgRecord(signals, record.leads, record.fs_hz)


@pytest.mark.parametrize("view", VIEWS)
def test_a_window_of_ten_seconds_is_what_the_core_gives(view: View) -> None:
    record, _truth = simulate("inferior_stemi", 3)
    shelf, tracings = held(record)
    whole = look(shelf.stored_mv, record.fs_hz, view, r_peaks=shelf.r_peaks)
    found = tracings.window(KEYS, 0, 5000, view)
    np.testing.assert_array_equal(found.signals_mv, whole.signals_mv)
    assert found.applied == whole.applied


def test_the_diagnostic_view_is_what_was_measured() -> None:
    record, _truth = simulate("inferior_stemi", 3)
    shelf, tracings = held(record)
    measured = diagnostic(record.signals_mv, record.fs_hz, r_peaks=shelf.r_peaks).signals_mv
    shown = tracings.window(KEYS, 0, 5000, "diagnostic").signals_mv
    assert np.abs(shown - measured).max() < 0.005  # the stored steps are 1 µV; on paper that is a twentieth of a mm


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("start_s", [0.0, 57.3, 61.0, 150.0, 232.0])
def test_any_page_of_a_long_recording_is_a_piece_of_the_whole(view: View, start_s: float) -> None:
    shelf, tracings = held(long_record())
    whole = look(shelf.stored_mv, 250.0, view, r_peaks=shelf.r_peaks)
    start = round(start_s * 250.0)
    found = tracings.window(KEYS, start, 2500, view)
    np.testing.assert_array_equal(found.signals_mv, whole.signals_mv[:, start : start + 2500])


def test_a_page_that_is_filtered_by_itself_would_be_another_one() -> None:
    """The broken twin: what a filter sees of ten seconds is not what it sees of the whole."""
    shelf, _tracings = held(long_record())
    whole = look(shelf.stored_mv, 250.0, "diagnostic", r_peaks=shelf.r_peaks).signals_mv
    start = 57 * 250
    alone = look(shelf.stored_mv[:, start : start + 2500], 250.0, "diagnostic").signals_mv
    assert np.nanmax(np.abs(alone - whole[:, start : start + 2500])) > 0.02


@pytest.mark.parametrize("n", [0, 1, 2500, 30_000, 30_001, 45_001, 60_000, 21_600_000])
def test_the_parts_of_a_recording_are_all_of_it_and_bounded(n: int) -> None:
    parts = blocks(n, 250.0)
    assert [start for _f, _l, start, _s in parts] == [0, *(stop for *_rest, stop in parts[:-1])]
    assert parts[-1][3] == n
    assert all(first <= start <= stop <= last for first, last, start, stop in parts)
    assert max(last - first for first, last, *_rest in parts) <= 120 * 250


def test_a_page_of_a_day_reads_minutes_and_not_the_day() -> None:
    record, _truth = simulate("normal", 1, duration_s=60.0, fs_hz=125.0)
    shelf, tracings = held(record)
    hours = 20
    wave = np.frombuffer(shelf.held["wave"], "<i2").reshape(len(record.leads), -1)
    display = json.loads(shelf.held["display"]) | {"n_samples": wave.shape[1] * 60 * hours}
    shelf.held["wave"] = np.tile(wave, (1, 60 * hours)).tobytes()
    shelf.held["display"] = json.dumps(display).encode()
    tracings.window(KEYS, 125 * 3600 * 13, 1250, "diagnostic")
    assert shelf.given < len(shelf.held["wave"]) / 100
    assert tracings.window(KEYS, 0, 1 << 40, "raw").signals_mv.shape[1] == 125 * 60  # a minute at the most


def test_what_was_computed_is_kept_in_bounded_room(monkeypatch: pytest.MonkeyPatch) -> None:
    record, _truth = simulate("normal", 1)
    shelf, _tracings = held(record)
    tracings = Tracings(shelf, cache_bytes=2 << 20)  # type: ignore[arg-type]
    calls: list[Any] = []
    real: Callable[..., Any] = tracing.look
    monkeypatch.setattr(tracing, "look", lambda *args, **more: calls.append(args) or real(*args, **more))
    for _ in range(3):
        tracings.window(KEYS, 0, 5000, "diagnostic")
    assert len(calls) == 1
    for n in range(20):
        tracings.window(Keys("display", "wave", None if n % 2 else "analysis"), 0, 5000, VIEWS[n % 3])
        assert tracings._used <= 2 << 20


def test_bytes_for_the_browser_say_how_to_read_them() -> None:
    record, _truth = simulate("normal", 2)
    raised = record.signals_mv + 15.0
    raised[0, 100:200] = np.nan
    shelf, tracings = held(EcgRecord(raised, record.leads, record.fs_hz))
    for view in VIEWS:
        window = tracings.window(KEYS, 50, 1000, view)
        data = window.to_bytes()
        (length,) = struct.unpack_from("<I", data)
        assert length % 4 == 0
        head = json.loads(data[4 : 4 + length])
        steps = np.frombuffer(data[4 + length :], "<i2").reshape(len(record.leads), head["n"])
        mv = (steps * head["uv_per_step"] + np.array(head["offset_uv"])[:, np.newaxis]) / 1000.0
        assert (head["start"], head["n"]) == (50, 1000)
        np.testing.assert_array_equal(steps == head["missing"], np.isnan(window.signals_mv))
        here = steps != head["missing"]
        assert np.abs(mv - window.signals_mv)[here].max() <= 0.0005 + 1e-9
        assert head["r_peaks"] == [int(peak) for peak in shelf.r_peaks if 50 <= peak < 1050]


def test_st_may_not_be_read_through_the_narrow_filter_alone() -> None:
    record, _truth = simulate("normal", 1)
    _shelf, tracings = held(record)
    said = {view: st_may_be_read(tracings.window(KEYS, 0, 5000, view).applied) for view in VIEWS}
    assert said == {"diagnostic": True, "monitor": False, "baseline": True, "raw": True}
    assert not st_may_be_read(AppliedFilters(0.05, 100.0, None, baseline_removed=False))
    assert not st_may_be_read(AppliedFilters(0.5, None, None, baseline_removed=False))


def test_a_tracing_whose_analysis_failed_is_shown_all_the_same() -> None:
    record, _truth = simulate("normal", 1)
    shelf, tracings = held(record)
    keys = Keys("display", "wave", None)
    found = tracings.window(keys, 0, 5000, "diagnostic")
    np.testing.assert_array_equal(found.signals_mv, look(shelf.stored_mv, record.fs_hz, "diagnostic").signals_mv)
    assert found.peaks() == []
    assert tracings.beat(keys, 0) is None


@pytest.mark.parametrize("condition", ["normal", "inferior_stemi", "lbbb", "av_block_1"])
def test_the_marks_of_the_usual_beat_give_the_measured_intervals(condition: str) -> None:
    record, _truth = simulate(condition, 5)
    shelf, tracings = held(record)
    beat = tracings.beat(KEYS, 0)
    assert beat is not None
    measured = json.loads(shelf.held["analysis"])["measurements"]
    per_sample = 1000.0 / beat["fs_hz"]
    marks = beat["marks"]
    spans = {"pr_ms": ("p_on", "qrs_on"), "qrs_duration_ms": ("qrs_on", "qrs_off"), "qt_ms": ("qrs_on", "t_off")}
    for name, (first, last) in spans.items():
        assert (marks[last] - marks[first]) * per_sample == pytest.approx(measured[name]["value"], abs=2 * per_sample)


def test_without_p_waves_there_are_no_marks_of_one() -> None:
    record, _truth = simulate("af", 2)
    _shelf, tracings = held(record)
    beat = tracings.beat(KEYS, 0)
    assert beat is not None
    assert (beat["marks"]["p_on"], beat["marks"]["p_off"]) == (None, None)


def test_known_mains_is_not_sought_again() -> None:
    record, _truth = simulate("normal", 1)
    x = record.signals_mv + 0.1 * np.sin(2 * np.pi * 50.0 * np.arange(record.signals_mv.shape[1]) / record.fs_hz)
    assert find_mains(x, record.fs_hz) == 50.0
    for filtered in (diagnostic(x, record.fs_hz, mains_hz=0.0), monitoring(x, record.fs_hz, mains_hz=0.0)):
        assert filtered.applied.notch_hz is None
    with pytest.raises(ValueError, match="view must be one of"):
        look(x, record.fs_hz, "nothing")  # type: ignore[arg-type]

"""What goes wrong at the bedside, laid over any recording, simulated or real.

Each fault knows which leads it spoils and by which fault code of ``teleread.signal.ecg.quality`` it should be found.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.signal import butter, sosfiltfilt

from teleread.signal.ecg.filters import bridge_gaps
from teleread.signal.ecg.record import EcgRecord
from teleread.signal.ecg.simulation import contacts, noise
from teleread.signal.ecg.simulation.contacts import Faults, How
from teleread.signal.ecg.simulation.montage import LIMB_LEADS, montage_of
from teleread.signal.ecg.simulation.waves import Samples

REVERSALS = {"ra_la": "I", "la_ll": "III", "ra_ll": "II", "ra_rl": "II", "la_rl": "III", "ll_rl": ""}
"""Exchanged limb electrodes, and the lead that tells. The legs are alike: exchanging them changes nothing."""

_SWAP = re.compile(r"^(v[1-6])_(v[1-6])$")


def apply_fault(
    record: EcgRecord,
    fault: str,
    seed: int,
    *,
    where: str | None = None,
    size: float | None = None,
    style: str | None = None,
    span_s: tuple[float, float] | None = None,
    mains_hz: float = 50.0,
) -> tuple[EcgRecord, Faults]:
    """The recording with a fault, and (lead, fault code) of what is wrong with it now; lead "" means the whole.

    Args:
        fault: one of ``FAULT_KINDS`` or an exchange of two chest electrodes (``v1_v3``).
        seed: chooses what is left open; the same arguments give the same samples.
        where, size, style, span_s, mains_hz: see ``How``.

    Raises:
        ValueError: an unknown fault, or one that this recording cannot have (no such electrode).
    """
    how = How(where, size, style, span_s, mains_hz)
    rng = np.random.default_rng([seed, len(fault), *fault.encode()])
    swap = _SWAP.match(fault)
    if swap:
        return _precordial_swap(record, swap[1].upper(), swap[2].upper())
    if fault in REVERSALS:
        return _reversal(record, fault)
    if fault not in _MAKERS:
        raise ValueError(f"fault must be vN_vM or one of {', '.join(FAULT_KINDS)}")
    return _MAKERS[fault](record, how, rng)


def lay_noise(record: EcgRecord, noise_mv: Samples, seed: int, *, snr_db: float | None = None) -> EcgRecord:
    """Recorded noise over a recording: each electrode gets a stretch of one channel of its own.

    Args:
        noise_mv: shape (m,) or (channels, m), at the recording's sampling rate, NaN taken as 0.
        snr_db: if given, the noise is scaled as PhysioNet's nst does: signal power is an eighth of the square of the
            usual peak-to-peak of a second, noise power its mean square.
    """
    rng = np.random.default_rng([seed, 7])
    bank = np.atleast_2d(np.nan_to_num(np.asarray(noise_mv, dtype=np.float64)))
    montage = montage_of(record)
    n = record.signals_mv.shape[1]
    added = np.zeros_like(montage.electrodes)
    for i in range(added.shape[0]):
        channel, start = bank[int(rng.integers(0, bank.shape[0]))], int(rng.integers(0, bank.shape[1]))
        stretch = channel[(start + np.arange(n)) % channel.size]
        added[i] = stretch - stretch.mean()
    if snr_db is not None:
        second = max(2, min(n, round(record.fs_hz)))
        whole = n // second * second
        spans = np.ptp(bridge_gaps(record.signals_mv)[:, :whole].reshape(len(record.leads), -1, second), axis=2)
        signal_power = float(np.median(spans)) ** 2 / 8.0
        noise_power = float((added * added).mean())
        added *= np.sqrt(signal_power / max(noise_power, 1e-12) / 10 ** (snr_db / 10))
    montage.electrodes += added
    return montage.recorded()


def _reversal(record: EcgRecord, fault: str) -> tuple[EcgRecord, Faults]:
    montage = montage_of(record)
    rows = [montage.row(name.upper()) for name in fault.split("_")]
    montage.electrodes[rows] = montage.electrodes[rows[::-1]]
    lead = REVERSALS[fault]
    return montage.recorded(), ((lead, "limb_reversal"),) if lead else ()


def _precordial_swap(record: EcgRecord, one: str, other: str) -> tuple[EcgRecord, Faults]:
    montage = montage_of(record)
    rows = [montage.row(one), montage.row(other)]
    montage.electrodes[rows] = montage.electrodes[rows[::-1]]
    faults = tuple((lead, "precordial_swap") for lead in sorted((one, other)))
    return montage.recorded(), faults if one != other else ()


def _mains(record: EcgRecord, how: How, rng: np.random.Generator) -> tuple[EcgRecord, Faults]:
    n, fs = record.signals_mv.shape[1], record.fs_hz
    size = how.size or float(rng.uniform(0.12, 0.45))
    hum = np.sin(2 * np.pi * how.mains_hz * np.arange(n) / fs + rng.uniform(0, 6.28))
    hum *= 1.0 + 0.1 * np.sin(2 * np.pi * 0.2 * np.arange(n) / fs)
    return _added(record, how, rng, "mains", lambda: size * hum, 0.07)


def _drift(record: EcgRecord, how: How, rng: np.random.Generator) -> tuple[EcgRecord, Faults]:
    n, fs = record.signals_mv.shape[1], record.fs_hz
    size = how.size or float(rng.uniform(1.8, 4.0))

    def wander() -> Samples:
        slow = np.zeros(n)
        for rate in rng.uniform((0.2, 0.28, 0.36), (0.28, 0.36, 0.45)).tolist():
            slow += np.sin(2 * np.pi * rate * np.arange(n) / fs + rng.uniform(0, 6.28))
        swing: Samples = size * slow / float(np.ptp(slow))
        return swing

    return _added(record, how, rng, "drift", wander, 0.6)


def _burst(record: EcgRecord, how: How, rng: np.random.Generator) -> tuple[EcgRecord, Faults]:
    """The patient or the cable moves: jerks of a few millivolts with muscle noise in a part of the recording."""
    n, fs = record.signals_mv.shape[1], record.fs_hz
    length = n / fs
    part = float(rng.uniform(0.3, 0.5)) * length
    begin = float(rng.uniform(0.1, 0.9)) * (length - part)
    start, end = how.span_s or (begin, begin + part)
    size = how.size or float(rng.uniform(1.5, 4.0))

    def jerks() -> Samples:
        t = np.arange(n) / fs
        inside = np.clip(np.minimum(t - start, end - t) / 0.1, 0.0, 1.0)
        shaken = noise.banded(n, fs, 0.8, 8.0, rng) * size / 2.5
        moved: Samples = inside * (shaken + noise.muscle_noise(1, n, fs, rng)[0] / 0.014 * 0.12 * size)
        return moved

    return _added(record, how, rng, "burst", jerks, 0.8)


def _muscle(record: EcgRecord, how: How, rng: np.random.Generator) -> tuple[EcgRecord, Faults]:
    n, fs = record.signals_mv.shape[1], record.fs_hz
    size = how.size or float(rng.uniform(0.09, 0.22))
    return _added(record, how, rng, "muscle", lambda: size * noise.muscle_noise(1, n, fs, rng)[0] / 0.014, 0.2)


def _added(
    record: EcgRecord, how: How, rng: np.random.Generator, code: str, make: Callable[[], Samples], least_mv: float
) -> tuple[EcgRecord, Faults]:
    """Noise at one electrode or, with "all", at each with its own strength; leads that show enough of it are named."""
    montage = montage_of(record)
    where = how.where or ("all" if rng.uniform() < 0.5 else contacts.drawn_chest(record, rng))
    names = montage.names() if where == "all" else (where,)
    for name in names:
        gain = 1.0 if where != "all" else float(rng.uniform(0.5, 1.1)) * (1.0 if rng.uniform() < 0.5 else -1.0)
        montage.electrodes[montage.row(name)] += gain * make()
    after = montage.recorded()
    change = np.nan_to_num(after.signals_mv - record.signals_mv)
    # a jerk is as high as its peaks, mains and muscle as their usual height
    height = np.percentile(np.abs(change), 98.0, axis=1) if change.shape[1] else np.zeros(len(record.leads))
    return after, tuple((lead, code) for lead, h in zip(record.leads, height.tolist(), strict=True) if h >= least_mv)


def _low_amplitude(record: EcgRecord, how: How, rng: np.random.Generator) -> tuple[EcgRecord, Faults]:
    where = how.where or contacts.drawn_chest(record, rng)
    leads = record.leads if where == "all" else (where,)
    signals = record.signals_mv.copy()
    for lead in leads:
        i = contacts.row(record, lead)
        tall = float(np.nanmax(signals[i]) - np.nanmin(signals[i])) if np.isfinite(signals[i]).any() else 1.0
        signals[i] *= how.size or min(1.0, float(rng.uniform(0.03, 0.06)) / max(tall, 1e-6))
    return replace(record, signals_mv=signals), tuple((lead, "low_amplitude") for lead in leads)


def _too_short(record: EcgRecord, how: How, rng: np.random.Generator) -> tuple[EcgRecord, Faults]:
    length = how.size or float(rng.uniform(1.5, 4.5))
    keep = min(record.signals_mv.shape[1], round(length * record.fs_hz))
    return replace(record, signals_mv=record.signals_mv[:, :keep].copy()), (("", "too_short"),)


def _undersampled(record: EcgRecord, how: How, rng: np.random.Generator) -> tuple[EcgRecord, Faults]:
    """Fewer samples per second, between which the device drew straight lines before it threw them away."""
    fs = how.size or float(rng.choice([80.0, 100.0, 125.0, 150.0]))
    if fs >= record.fs_hz:
        raise ValueError("the recording has no more samples per second than that")
    n = record.signals_mv.shape[1]
    sos = butter(4, 0.42 * fs, fs=record.fs_hz, output="sos")
    smooth = sosfiltfilt(sos, bridge_gaps(record.signals_mv), axis=1) if n > 60 else bridge_gaps(record.signals_mv)
    times = np.arange(int(n / record.fs_hz * fs)) / fs * record.fs_hz
    signals = np.array([np.interp(times, np.arange(n), row) for row in smooth])
    signals[np.isnan(record.signals_mv).all(axis=1)] = np.nan
    return replace(record, signals_mv=signals, fs_hz=fs), (("", "undersampled"),)


def _band_limited(record: EcgRecord, how: How, rng: np.random.Generator) -> tuple[EcgRecord, Faults]:
    """A monitor's filter: nothing above 20 to 35 Hz is left. The header does not tell."""
    corner = how.size or float(rng.uniform(18.0, 32.0))
    if corner >= 0.45 * record.fs_hz:
        raise ValueError("the recording has no higher frequencies than that")
    sos = butter(4, corner, fs=record.fs_hz, output="sos")
    gaps = np.isnan(record.signals_mv)
    signals = sosfiltfilt(sos, bridge_gaps(record.signals_mv), axis=1)
    signals[gaps] = np.nan
    return replace(record, signals_mv=signals), (("", "band_limited"),)


def _einthoven(record: EcgRecord, how: How, rng: np.random.Generator) -> tuple[EcgRecord, Faults]:
    """One limb lead does not follow from the others: turned over, from another moment, or of another gain."""
    lead = how.where or "III"
    if lead not in LIMB_LEADS:
        raise ValueError("only a limb lead can break Einthoven's law")
    i = contacts.row(record, lead)
    signals = record.signals_mv.copy()
    style = how.style or ("turned", "late", "gain")[int(rng.integers(0, 3))]
    if style == "turned":
        signals[i] = -signals[i]
    elif style == "late":
        signals[i] = np.roll(signals[i], round(float(rng.uniform(0.2, 0.4)) * record.fs_hz))
    else:
        signals[i] *= how.size or float(rng.choice([0.4, 2.0]))
    return replace(record, signals_mv=signals), ((lead, "einthoven"),)


_MAKERS: dict[str, Callable[[EcgRecord, How, np.random.Generator], tuple[EcgRecord, Faults]]] = {
    "off": contacts.off,
    "flat": contacts.flat,
    "saturated": contacts.saturated,
    "mains": _mains,
    "drift": _drift,
    "burst": _burst,
    "muscle": _muscle,
    "low_amplitude": _low_amplitude,
    "too_short": _too_short,
    "undersampled": _undersampled,
    "band_limited": _band_limited,
    "einthoven": _einthoven,
    "all_leads_bad": contacts.all_bad,
}

FAULT_KINDS = (*_MAKERS, *REVERSALS)
"""Faults by name; exchanges of two chest electrodes (``v1_v2`` … ``v5_v6``) come on top."""

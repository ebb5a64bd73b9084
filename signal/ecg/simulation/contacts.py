"""Electrodes without contact and inputs at the end of their range."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from teleread.signal.ecg.record import EcgRecord
from teleread.signal.ecg.simulation import noise
from teleread.signal.ecg.simulation.montage import montage_of

Faults = tuple[tuple[str, str], ...]
"""Pairs (lead, or "" for the whole recording, fault code)."""

_OFF_BY_LIMB = {
    "RA": ("I", "II", "aVR", "aVL", "aVF"),
    "LA": ("I", "III", "aVR", "aVL", "aVF"),
    "LL": ("II", "III", "aVR", "aVL", "aVF"),
}


@dataclass(frozen=True, slots=True)
class How:
    """Where and how strongly; None is drawn by the seed.

    Args:
        where: a chest lead, a limb electrode (RA, LA, LL), or "all"; for einthoven and flat also a limb lead.
        size: mV of mains (amplitude), drift (peak to peak), burst (peak), muscle (root mean square), saturated (the
            rail); a factor for low_amplitude; seconds for too_short; Hz for undersampled and band_limited.
        style: of an electrode that is off: floating, rail, flat, missing.
        span_s: when the burst is.
        mains_hz: 50 or 60.
    """

    where: str | None = None
    size: float | None = None
    style: str | None = None
    span_s: tuple[float, float] | None = None
    mains_hz: float = 50.0


def off(record: EcgRecord, how: How, rng: np.random.Generator) -> tuple[EcgRecord, Faults]:
    """An electrode has no contact: its leads float, rest on a rail, are dead or are left out by the device."""
    where = how.where or drawn_chest(record, rng)
    style = how.style or ("floating", "rail", "flat", "missing")[int(rng.integers(0, 4))]
    codes = {"floating": "off", "rail": "saturated", "flat": "flat", "missing": "off"}
    if style not in codes:
        raise ValueError(f"style must be one of {', '.join(codes)}")
    leads = _OFF_BY_LIMB.get(where, (where,)) if where != "all" else record.leads
    leads = tuple(lead for lead in leads if lead in record.leads)
    if not leads:
        raise ValueError(f"this recording has no electrode {where}")
    n, fs = record.signals_mv.shape[1], record.fs_hz
    if style == "floating":
        return _floating(record, where, leads, how, rng)
    signals = record.signals_mv.copy()
    rail = how.size or float(rng.choice([3.2767, 5.0, 10.0]))
    for lead in leads:
        i = record.leads.index(lead)
        if style == "rail":
            signals[i] = rail * (1.0 if rng.uniform() < 0.5 else -1.0)
        elif style == "flat":
            signals[i] = 0.0006 * noise.white(n, fs, rng)  # the amplifier's own noise
        else:
            signals[i] = np.nan
    return replace(record, signals_mv=signals), tuple((lead, codes[style]) for lead in leads)


def _floating(
    record: EcgRecord, where: str, leads: tuple[str, ...], how: How, rng: np.random.Generator
) -> tuple[EcgRecord, Faults]:
    """A floating input drifts about by many millivolts and picks up the mains."""
    montage = montage_of(record)
    n, fs = record.signals_mv.shape[1], record.fs_hz
    for name in montage.names() if where == "all" else (where,):
        size = how.size or float(rng.uniform(4.0, 12.0))
        slow = noise.slow_noise(1, n, fs, rng)[0]
        hum = np.sin(2 * np.pi * how.mains_hz * np.arange(n) / fs + rng.uniform(0, 6.28))
        crackle = np.cumsum(noise.white(n, fs, rng) * (noise.white(n, fs, rng) > 3.0)) / np.sqrt(fs)
        level = float(rng.uniform(60.0, 200.0)) * (1.0 if rng.uniform() < 0.5 else -1.0)
        # nothing of the heart is left at this electrode; half-cell potentials are tens of millivolts
        own = level + size * slow / 0.075 + float(rng.uniform(0.4, 2.0)) * hum + crackle
        montage.electrodes[montage.row(name)] = own
    return montage.recorded(), tuple((lead, "off") for lead in leads)


def flat(record: EcgRecord, how: How, rng: np.random.Generator) -> tuple[EcgRecord, Faults]:
    """No contact, and the device shows a dead line."""
    return off(record, replace(how, style="flat"), rng)


def saturated(record: EcgRecord, how: How, rng: np.random.Generator) -> tuple[EcgRecord, Faults]:
    """An input whose offset pushes the signal against the end of its range: now free, now cut off."""
    where = how.where or drawn_chest(record, rng)
    leads = record.leads if where == "all" else tuple(x for x in _OFF_BY_LIMB.get(where, (where,)) if x in record.leads)
    rail = how.size or float(rng.uniform(2.5, 5.5))
    signals = record.signals_mv.copy()
    n, fs = signals.shape[1], record.fs_hz
    for lead in leads:
        i = row(record, lead)
        # pushed against the rail for about half of the time
        push = rail + 1.6 * np.sin(2 * np.pi * np.arange(n) / fs / rng.uniform(4.0, 7.0) + rng.uniform(0, 6.28))
        signals[i] = np.minimum(signals[i] + push, rail)
    return replace(record, signals_mv=signals), tuple((lead, "saturated") for lead in leads)


def all_bad(record: EcgRecord, how: How, rng: np.random.Generator) -> tuple[EcgRecord, Faults]:
    """No electrode has contact, or there is nobody to touch."""
    spoiled, faults = off(record, replace(how, where="all", style=how.style or "floating"), rng)
    return spoiled, (("", "all_leads_bad"), *faults)


def drawn_chest(record: EcgRecord, rng: np.random.Generator) -> str:
    """A chest electrode by lot; any lead where there is none."""
    chest = montage_of(record).chest or record.leads
    return chest[int(rng.integers(0, len(chest)))]


def row(record: EcgRecord, lead: str) -> int:
    """The row of a lead.

    Raises:
        ValueError: the recording has no such lead.
    """
    if lead not in record.leads:
        raise ValueError(f"this recording has no lead {lead}")
    return record.leads.index(lead)

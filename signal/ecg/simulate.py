"""Simulated recordings whose truth is known: for demonstrations, tests and training, never for a patient.

The heart is one dipole that moves in space. Each wave has a vector of three amplitudes (McSharry et al.,
doi:10.1109/TBME.2003.808805, in three dimensions as in Sameni et al., doi:10.1155/2007/43407; unlike their Gaussians
ours begin and end, see ``simulation.waves``); Dower's matrix (doi:10.1016/S0022-0736(80)80014-5) turns it into leads,
and those into the potentials of the electrodes. Noise and wrong or loose electrodes act there, so that Einthoven's
and Goldberger's equations hold exactly.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Unpack

import numpy as np

from teleread.signal.ecg.record import STANDARD_LEADS, Device, EcgRecord, Filters, Patient
from teleread.signal.ecg.simulation.conditions import CONDITIONS, NORMAL_VARIANTS, plan_of
from teleread.signal.ecg.simulation.electrodes import EXTRA_LEADS, lead_names, leads_of, potentials
from teleread.signal.ecg.simulation.faults import FAULT_KINDS, apply_fault, lay_noise
from teleread.signal.ecg.simulation.heart import check, draw_anatomy, draw_heart, write_score
from teleread.signal.ecg.simulation.noise import clinic_noise
from teleread.signal.ecg.simulation.play import dipole_of, independent_leads, truth_of
from teleread.signal.ecg.simulation.score import Settings
from teleread.signal.ecg.simulation.truth import Truth

__all__ = [
    "CONDITIONS",
    "EXTRA_LEADS",
    "FAULT_KINDS",
    "NORMAL_VARIANTS",
    "Settings",
    "Truth",
    "apply_fault",
    "lay_noise",
    "simulate",
]


def simulate(
    condition: str,
    seed: int,
    *,
    fs_hz: float = 500.0,
    duration_s: float = 10.0,
    lead: str = "V3",
    noise: float = 0.3,
    mains_hz: float = 50.0,
    extra_leads: Sequence[str] = (),
    faults: Sequence[str] = (),
    patient: Patient = Patient(),  # noqa: B008 - frozen
    **settings: Unpack[Settings],
) -> tuple[EcgRecord, Truth]:
    """A recording of one condition. The same arguments give the same samples.

    The heart and the noise are functions of time: another sampling rate shows the same ones.

    Args:
        condition: one of ``CONDITIONS``, or several joined by ``+``.
        seed: 0 or more; chooses whatever the settings leave open, and the noise.
        fs_hz: 100 to 2000 Hz.
        duration_s: 2 to 3600 s.
        lead: the chest lead whose electrode is off, for ``lead_off`` only.
        noise: 0 none, 0.3 quiet, 1 an ordinary day in a clinic.
        mains_hz: 50 or 60.
        faults: any of ``FAULT_KINDS``, one after the other; ``apply_fault`` says where and how strongly.
        extra_leads: any of ``EXTRA_LEADS``, after the standard twelve.
        settings: what is fixed, see ``Settings``.

    Raises:
        ValueError: an unknown condition, a lead that is not a chest lead, or a setting out of range.
    """
    plan = plan_of(condition)
    _check_recorder(fs_hz, duration_s, lead, noise, mains_hz, extra_leads)
    check(settings)
    key, extra = [seed, zlib.crc32(condition.encode())], tuple(extra_leads)
    n = round(duration_s * fs_hz)
    heart = draw_heart(plan, settings, duration_s, np.random.default_rng([*key, 0]))
    anatomy = draw_anatomy(plan, settings, np.random.default_rng([*key, 1]))
    score = write_score(plan, heart)
    dipole = dipole_of(score, anatomy, heart.p_s, n, fs_hz, np.random.default_rng([*key, 2]))
    electrodes = potentials(independent_leads(dipole, score, anatomy, fs_hz, extra))
    electrodes += clinic_noise(electrodes.shape[0], n, fs_hz, noise, mains_hz, [*key, 3])
    record = EcgRecord(
        signals_mv=leads_of(electrodes),
        leads=lead_names(extra),
        fs_hz=float(fs_hz),
        source_format="simulated",
        filters=Filters(high_pass_hz=0.05, low_pass_hz=150.0),
        patient=patient,
        device=Device(manufacturer="teleread", model="simulator"),
    )
    found: tuple[tuple[str, str], ...] = ()
    for i, (where, kind) in enumerate((*plan.faults, *((None, kind) for kind in faults))):
        record, more = apply_fault(record, kind, seed + i, where=lead if where == "" else where, mains_hz=mains_hz)
        found += more
    # a fault may have cut or thinned the recording
    truth = truth_of(condition, score, anatomy, heart.p_s, record.signals_mv.shape[1], record.fs_hz, found)
    return record, truth


def _check_recorder(
    fs_hz: float, duration_s: float, lead: str, noise: float, mains_hz: float, extra_leads: Sequence[str]
) -> None:
    if lead not in STANDARD_LEADS[6:]:
        raise ValueError("only a chest electrode can be off alone")
    if not (100 <= fs_hz <= 2000 and 2 <= duration_s <= 3600):
        raise ValueError("100 to 2000 Hz and 2 to 3600 s")
    if not noise >= 0 or mains_hz not in (50.0, 60.0):
        raise ValueError("noise from 0, mains of 50 or 60 Hz")
    if any(name not in EXTRA_LEADS for name in extra_leads):
        raise ValueError(f"extra leads are {', '.join(EXTRA_LEADS)}")

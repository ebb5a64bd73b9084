"""Promises of the simulated faults: they do to the leads exactly what the electrodes do, on any recording."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from teleread.signal.ecg import STANDARD_LEADS, EcgRecord
from teleread.signal.ecg.simulate import FAULT_KINDS, apply_fault, lay_noise, simulate

SWAPS = [f"v{a}_v{b}" for a in range(1, 7) for b in range(a + 1, 7)]
KEEPS_THE_LAWS = ["mains", "drift", "burst", "muscle", "ra_la", "la_ll", "ra_ll", "ra_rl", "la_rl", "ll_rl", *SWAPS]


@pytest.fixture(scope="module")
def healthy() -> EcgRecord:
    return simulate("normal", 3, noise=0.3)[0]


def row(record: EcgRecord, name: str) -> NDArray[np.float64]:
    samples = record.lead(name)
    assert samples is not None
    return samples


def lawful(record: EcgRecord) -> bool:
    return np.allclose(row(record, "III"), row(record, "II") - row(record, "I"), atol=1e-9)


@pytest.mark.parametrize("fault", [*FAULT_KINDS, "v1_v2", "v1_v6"])
def test_the_same_seed_gives_the_same_fault(healthy: EcgRecord, fault: str) -> None:
    before = healthy.signals_mv.tobytes()
    one, faults = apply_fault(healthy, fault, 4)
    again, same = apply_fault(healthy, fault, 4)
    assert one.signals_mv.tobytes() == again.signals_mv.tobytes()
    assert faults == same
    assert healthy.signals_mv.tobytes() == before  # the original is left alone
    assert all(lead == "" or lead in one.leads for lead, _ in faults)
    assert bool(faults) == (fault != "ll_rl")  # exchanged legs show nowhere


@pytest.mark.parametrize("fault", KEEPS_THE_LAWS)
def test_what_happens_at_electrodes_keeps_the_laws(healthy: EcgRecord, fault: str) -> None:
    for seed in range(3):
        assert lawful(apply_fault(healthy, fault, seed)[0])


def test_a_lead_that_breaks_the_law_is_named(healthy: EcgRecord) -> None:
    for style in ("turned", "late", "gain"):
        broken, faults = apply_fault(healthy, "einthoven", 1, style=style)
        assert not lawful(broken)
        assert faults == (("III", "einthoven"),)


@pytest.mark.parametrize("fault", [f for f in KEEPS_THE_LAWS if "_" in f])
def test_an_exchange_done_twice_is_undone(healthy: EcgRecord, fault: str) -> None:
    once, faults = apply_fault(healthy, fault, 1)
    twice, _ = apply_fault(once, fault, 1)
    limit = 0.02 if "rl" in fault else 1e-9  # the recording does not say what the right leg was
    if "rl" not in fault:
        np.testing.assert_allclose(twice.signals_mv, healthy.signals_mv, atol=limit)
    assert all(code in ("limb_reversal", "precordial_swap") for _, code in faults)


def test_each_limb_reversal_does_what_books_say(healthy: EcgRecord) -> None:
    one, two, three, avr, avl, avf = healthy.signals_mv[:6]
    arms = apply_fault(healthy, "ra_la", 1)[0].signals_mv
    np.testing.assert_allclose(arms[:6], [-one, three, two, avl, avr, avf], atol=1e-9)
    left = apply_fault(healthy, "la_ll", 1)[0].signals_mv
    np.testing.assert_allclose(left[:6], [two, one, -three, avr, avf, avl], atol=1e-9)
    right = apply_fault(healthy, "ra_ll", 1)[0].signals_mv
    np.testing.assert_allclose(right[:6], [-three, -two, -one, avf, avl, avr], atol=1e-9)
    for fault in ("ra_la", "la_ll", "ra_ll"):
        np.testing.assert_allclose(apply_fault(healthy, fault, 1)[0].signals_mv[6:], healthy.signals_mv[6:], atol=1e-9)
    assert np.ptp(row(apply_fault(healthy, "ra_rl", 1)[0], "II")) < 0.05 * np.ptp(two)
    assert np.ptp(row(apply_fault(healthy, "la_rl", 1)[0], "III")) < 0.05 * np.ptp(two)


def test_chest_electrodes_change_places_and_nothing_else(healthy: EcgRecord) -> None:
    for fault in SWAPS:
        swapped, faults = apply_fault(healthy, fault, 1)
        a, b = fault.upper().split("_")
        np.testing.assert_allclose(row(swapped, a), row(healthy, b), atol=1e-12)
        np.testing.assert_allclose(row(swapped, b), row(healthy, a), atol=1e-12)
        rest = [i for i, name in enumerate(STANDARD_LEADS) if name not in (a, b)]
        np.testing.assert_allclose(swapped.signals_mv[rest], healthy.signals_mv[rest], atol=1e-9)
        assert faults == ((a, "precordial_swap"), (b, "precordial_swap"))


@pytest.mark.parametrize(("style", "code"), [
    ("floating", "off"), ("rail", "saturated"), ("flat", "flat"), ("missing", "off"),
])  # fmt: skip
def test_an_electrode_that_is_off_spoils_its_leads(healthy: EcgRecord, style: str, code: str) -> None:
    spoiled, faults = apply_fault(healthy, "off", 2, where="V4", style=style)
    assert faults == (("V4", code),)
    rest = [i for i, name in enumerate(STANDARD_LEADS) if name != "V4"]
    np.testing.assert_allclose(spoiled.signals_mv[rest], healthy.signals_mv[rest], atol=1e-9)
    dead = row(spoiled, "V4")
    assert np.isnan(dead).all() or np.ptp(dead) < 0.006 or np.median(np.abs(dead)) > 2
    limb, faults = apply_fault(healthy, "off", 2, where="LA", style=style)
    assert {lead for lead, _ in faults} == {"I", "III", "aVR", "aVL", "aVF"}
    np.testing.assert_allclose(row(limb, "II"), row(healthy, "II"), atol=1e-9)


def test_all_leads_can_be_bad(healthy: EcgRecord) -> None:
    spoiled, faults = apply_fault(healthy, "all_leads_bad", 1)
    assert faults[0] == ("", "all_leads_bad")
    assert len(faults) == 13
    assert (np.abs(np.median(spoiled.signals_mv[6:], axis=1)) > 5).all()
    dead, _ = apply_fault(healthy, "all_leads_bad", 1, style="flat")
    assert np.ptp(dead.signals_mv) < 0.01


@pytest.mark.parametrize("mains_hz", [50.0, 60.0])
def test_mains_are_of_the_size_and_rate_that_was_asked_for(healthy: EcgRecord, mains_hz: float) -> None:
    hum, faults = apply_fault(healthy, "mains", 1, where="V2", size=0.2, mains_hz=mains_hz)
    added = row(hum, "V2") - row(healthy, "V2")
    spectrum = np.abs(np.fft.rfft(added)) / added.size * 2
    assert np.argmax(spectrum) == round(mains_hz * 10)
    assert spectrum.max() == pytest.approx(0.2, rel=0.05)
    assert faults == (("V2", "mains"),)


def test_a_limb_electrode_gives_its_noise_to_all_its_leads(healthy: EcgRecord) -> None:
    for fault in ("mains", "drift", "burst", "muscle"):
        _, faults = apply_fault(healthy, fault, 1, where="RA")
        assert {"I", "II", "aVR"} <= {lead for lead, _ in faults}
        assert "III" not in {lead for lead, _ in faults}


def test_drift_has_its_size_and_a_burst_its_span(healthy: EcgRecord) -> None:
    slow, _ = apply_fault(healthy, "drift", 1, where="V3", size=3.0)
    assert np.ptp(row(slow, "V3") - row(healthy, "V3")) == pytest.approx(3.0)
    moved, _ = apply_fault(healthy, "burst", 1, where="V3", span_s=(4.0, 6.0))
    change = np.abs(row(moved, "V3") - row(healthy, "V3"))
    assert change[:1990].max() < 1e-12
    assert change[3010:].max() < 1e-12
    assert change[2000:3000].max() > 0.8


def test_a_saturated_lead_rests_on_its_rail(healthy: EcgRecord) -> None:
    spoiled, faults = apply_fault(healthy, "saturated", 1, where="V5", size=3.0)
    lead = row(spoiled, "V5")
    assert lead.max() == 3.0
    assert 0.2 < (lead == 3.0).mean() < 0.9
    assert faults == (("V5", "saturated"),)
    every, faults = apply_fault(healthy, "saturated", 1, where="all")
    assert len(faults) == 12
    assert (every.signals_mv.max(axis=1) > 1).all()


def test_a_small_lead_is_small_and_a_dead_one_stays_dead(healthy: EcgRecord) -> None:
    small, faults = apply_fault(healthy, "low_amplitude", 1, where="V6")
    assert np.ptp(row(small, "V6")) < 0.07
    assert faults == (("V6", "low_amplitude"),)
    gone, _ = apply_fault(healthy, "off", 1, where="V6", style="missing")
    assert np.isnan(row(apply_fault(gone, "low_amplitude", 1, where="V6")[0], "V6")).all()
    every, faults = apply_fault(healthy, "low_amplitude", 1, where="all", size=0.05)
    assert np.ptp(every.signals_mv) < 0.2
    assert len(faults) == 12


def test_a_short_thin_or_narrow_recording_is_one(healthy: EcgRecord) -> None:
    short, _ = apply_fault(healthy, "too_short", 1, size=3.0)
    assert short.duration_s == 3.0
    thin, _ = apply_fault(healthy, "undersampled", 1, size=100.0)
    assert thin.fs_hz == 100.0
    assert thin.signals_mv.shape == (12, 1000)
    narrow, _ = apply_fault(healthy, "band_limited", 1, size=20.0)
    fast = np.abs(np.fft.rfft(narrow.signals_mv, axis=1))[:, 450:]
    assert fast.max() < 0.02 * np.abs(np.fft.rfft(healthy.signals_mv, axis=1))[:, 450:].max()


def test_truth_follows_a_recording_that_was_cut_or_thinned() -> None:
    record, truth = simulate("normal", 2, faults=["too_short"])
    assert (truth.r_peaks < record.signals_mv.shape[1]).all()
    whole, before = simulate("normal", 2)
    thin, after = simulate("normal", 2, faults=["undersampled"])
    assert np.abs(after.r_peaks / thin.fs_hz - before.r_peaks / whole.fs_hz).max() < 0.51 / thin.fs_hz + 0.001
    assert ("", "undersampled") in after.faults


def test_faults_lie_over_recordings_of_other_leads(healthy: EcgRecord) -> None:
    def only(*names: str) -> EcgRecord:
        rows = np.stack([row(healthy, name) for name in names])
        return replace(healthy, signals_mv=rows, leads=names)

    pair = only("aVL", "aVF")
    swapped, _ = apply_fault(pair, "ra_la", 1)
    np.testing.assert_allclose(row(swapped, "aVL"), row(healthy, "aVR"), atol=1e-9)
    chest = only("V1", "V5")
    assert np.allclose(row(apply_fault(chest, "v1_v5", 1)[0], "V1"), row(healthy, "V5"))
    assert apply_fault(chest, "muscle", 1, where="V5")[1] == (("V5", "muscle"),)
    single = replace(only("II"), leads=("MLII",))
    assert apply_fault(single, "flat", 1)[1] == (("MLII", "flat"),)
    assert apply_fault(single, "mains", 1, size=0.3)[1] == (("MLII", "mains"),)
    for fault, record in (("ra_la", chest), ("v1_v2", chest), ("einthoven", chest)):
        with pytest.raises(ValueError):
            apply_fault(record, fault, 1)


def test_recorded_noise_keeps_the_laws_and_its_strength(healthy: EcgRecord) -> None:
    rng = np.random.default_rng(1)
    bank = np.cumsum(rng.standard_normal((2, 3000)), axis=1) * 0.01
    bank[0, :50] = np.nan
    laid = lay_noise(healthy, bank, 1)
    assert lawful(laid)
    assert laid.signals_mv.tobytes() == lay_noise(healthy, bank, 1).signals_mv.tobytes()
    weak, strong = (lay_noise(healthy, bank, 1, snr_db=snr).signals_mv - healthy.signals_mv for snr in (24.0, 6.0))
    assert strong.std() == pytest.approx(weak.std() * 10 ** (18 / 20), rel=1e-6)


@pytest.mark.parametrize(("fault", "options"), [
    ("broken", {}), ("v1_v7", {}), ("off", {"where": "V9"}), ("off", {"style": "upside down"}),
    ("einthoven", {"where": "V1"}), ("undersampled", {"size": 900.0}), ("band_limited", {"size": 400.0}),
    ("low_amplitude", {"where": "V9"}), ("mains", {"where": "V9"}),
])  # fmt: skip
def test_a_fault_that_cannot_be_is_refused(healthy: EcgRecord, fault: str, options: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        apply_fault(healthy, fault, 1, **options)  # type: ignore[arg-type]

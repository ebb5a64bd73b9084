"""Any recording seen as electrodes, so that faults and noise reach just the leads that use an electrode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from teleread.signal.ecg.record import EcgRecord
from teleread.signal.ecg.simulation.electrodes import LA, LIMB_COUNT, LIMBS, LL, RA, potentials
from teleread.signal.ecg.simulation.waves import Samples

_OF_TWO = {  # limb leads as parts of I and II
    "I": (1.0, 0.0),
    "II": (0.0, 1.0),
    "III": (-1.0, 1.0),
    "aVR": (-0.5, -0.5),
    "aVL": (1.0, -0.5),
    "aVF": (-0.5, 1.0),
}
LIMB_LEADS = tuple(_OF_TWO)


@dataclass(slots=True, eq=False)
class Montage:
    """The electrodes of one recording: RA, LA, LL, RL, then one per chest lead in the order of the record.

    Leads of unknown electrodes (MLII, X, a single limb lead) count as electrodes of their own among the chest ones.
    Without leads I and II (or two others that give them) the limb electrodes are unknown: ``limbs`` is False.
    """

    record: EcgRecord
    chest: tuple[str, ...]
    electrodes: Samples
    limbs: bool

    def row(self, electrode: str) -> int:
        """The row of an electrode: RA, LA, LL, RL or the name of a chest lead.

        Raises:
            ValueError: the recording has no such electrode.
        """
        if electrode in LIMBS and self.limbs:
            return LIMBS[electrode]
        if electrode in self.chest:
            return LIMB_COUNT + self.chest.index(electrode)
        raise ValueError(f"this recording has no electrode {electrode}")

    def names(self) -> tuple[str, ...]:
        """The electrodes that can be touched."""
        return (*(LIMBS if self.limbs else ()), *self.chest)

    def recorded(self) -> EcgRecord:
        """The recording that these electrodes give; leads that belong to no electrode stay as they were."""
        ra, la, ll = self.electrodes[RA], self.electrodes[LA], self.electrodes[LL]
        one, two = la - ra, ll - ra
        centre = (ra + la + ll) / 3 if self.limbs else 0.0
        signals = self.record.signals_mv.copy()
        for i, name in enumerate(self.record.leads):
            if name in self.chest:
                own = self.electrodes[LIMB_COUNT + self.chest.index(name)]
                signals[i] = own - centre if name[:1] == "V" else own
            elif self.limbs and name in _OF_TWO:
                signals[i] = _limb(name, one, two)
        return replace(self.record, signals_mv=signals)


def montage_of(record: EcgRecord) -> Montage:
    """The electrodes behind a recording. Chest leads are those that are called V something."""
    known = [name for name in _OF_TWO if name in record.leads]
    limbs = len(known) >= 2
    chest = tuple(name for name in record.leads if not (limbs and name in _OF_TWO))
    n = record.signals_mv.shape[1]
    independent = np.zeros((2 + len(chest), n))
    if limbs:
        independent[:2] = _one_and_two(record, known)
    for i, name in enumerate(chest):
        independent[2 + i] = record.signals_mv[record.leads.index(name)]
    return Montage(record, chest, potentials(independent), limbs)


def _one_and_two(record: EcgRecord, known: Sequence[str]) -> Samples:
    if "I" in known and "II" in known:
        return np.stack([record.signals_mv[record.leads.index(name)] for name in ("I", "II")])
    parts = np.array([_OF_TWO[name] for name in known])
    rows = record.signals_mv[[record.leads.index(name) for name in known]]
    solved: Samples = np.linalg.pinv(parts) @ rows
    return solved


def _limb(name: str, one: Samples, two: Samples) -> Samples:
    """A limb lead from I and II in the order of operations of ``leads_of``, so that nothing differs in the last bit."""
    three = two - one
    made = {
        "I": one,
        "II": two,
        "III": three,
        "aVR": -(one + two) / 2,
        "aVL": (one - three) / 2,
        "aVF": (two + three) / 2,
    }
    return made[name]

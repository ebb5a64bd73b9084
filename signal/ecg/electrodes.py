"""Electrodes in the wrong place, found from the usual beat.

Each guess about which electrodes were exchanged is put right in thought, and a small network tells how much the
outcome looks like a heart with its electrodes in place: P, QRS and T in every lead, how well the chest leads foretell
the limb leads and each other. It learned from real recordings alone, each against its own exchanges
(training/ecg_electrodes.py). A guess is said only when it is far likelier than the recording as it is: most odd
hearts are hearts, and to be told twice a day to check electrodes that are right is to be told nothing.

An arm electrode exchanged with the right leg leaves one bipolar lead all but empty, because both legs carry the same
potential; that is seen without learning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from teleread.signal.ecg import electrode_features as look
from teleread.signal.ecg.beat_measures import BeatMeasures
from teleread.signal.ecg.filters import Samples
from teleread.signal.ecg.quality_types import Finding, finding

_EXCHANGED = (
    (None, None),
    ("I", "RA-LA"),
    ("III", "LA-LL"),
    ("II", "RA-LL"),
    (None, "RA-LA-LL"),
    (None, "RA-LA-LL"),
)
"""For each guess about the limbs, the lead that is turned over and what was exchanged."""
_EMPTY = {"I": "arms-legs", "II": "RA-RL", "III": "LA-RL"}
_EMPTY_RATIO = 0.09
_EMPTY_MV = 0.10
_OTHERS_MV = 0.25
_LEAST_LIKENESS = 0.85
_NARROW_S = 0.08
_P_SEEN, _CROWDED = 0.02, 0.15
"""Size of what precedes the QRS, in parts of it: the least that is a P wave, the most that still is one."""


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A layer of tanh over standardised features, and a score; and how far ahead a guess must be to be said."""

    mean: Samples
    scale: Samples
    inner: Samples
    inner_bias: Samples
    outer: Samples
    maps: look.Maps
    margin: Samples

    def scores(self, features: Samples) -> Samples:
        """(guesses,) from (guesses, k), higher is likelier: a mean over networks, shape of ``inner`` (nets, k, m)."""
        standard = (features - self.mean) / self.scale
        hidden = np.tanh(standard @ self.inner + self.inner_bias[:, None])
        total: Samples = np.einsum("ngm,nm->g", hidden, self.outer) / self.inner.shape[0]
        return total


@lru_cache(maxsize=2)
def network(kind: str) -> Network:
    """The network for ``limb`` or ``chest``, from the package's weights."""
    source = resources.files("teleread.signal.ecg").joinpath("weights", "electrodes.weights")
    with source.open("rb") as file, np.load(file, allow_pickle=False) as held:

        def of(name: str) -> Samples:
            return np.asarray(held[f"{kind}_{name}"], dtype=np.float64)

        maps = tuple(of(f"map{wave}") for wave in range(len(look.WAVES)))
        return Network(of("mean"), of("scale"), of("inner"), of("inner_bias"), of("outer"), maps, of("margin"))


def misplaced_electrodes(beats: BeatMeasures, leads: Sequence[str], dead: NDArray[np.bool_]) -> list[Finding]:
    """At most one finding about the limbs and one about the chest, for twelve-lead recordings with clear beats."""
    usable = {lead: row for row, lead in enumerate(leads) if not dead[row]}
    if any(lead not in usable for lead in look.LEADS):
        return []
    shape = look.describe(beats, np.array([usable[lead] for lead in look.LEADS]))
    if shape is None or not can_tell(beats, shape):
        return []
    found: list[Finding] = []
    limb = network("limb")
    scores = limb.scores(look.limb_features(look.limb_versions(shape[None]), limb.maps)[0])
    guess = look.said_guess(scores, limb.margin, "limb")
    if guess:
        lead, exchanged = _EXCHANGED[guess]
        found.append(finding(lead, "limb_reversal", exchanged))
        shape = look.limb_versions(shape[None])[0, guess]
    chest = network("chest")
    scores = chest.scores(look.chest_features(look.chest_versions(shape[None]), chest.maps)[0])
    guess = look.said_guess(scores, chest.margin, "chest")
    if guess:
        first, second = look.CHEST_PAIRS[guess - 1]
        found += [finding(look.LEADS[2 + i], "precordial_swap") for i in (first, second)]
    return found


def can_tell(beats: BeatMeasures, shape: Samples) -> bool:
    """Whether the beats of a recording say anything about its electrodes: alike, and come from the sinus."""
    return beats.likeness >= _LEAST_LIKENESS and _comes_from_the_sinus(beats, shape)


def _comes_from_the_sinus(beats: BeatMeasures, shape: Samples) -> bool:
    """Whether the usual beat is one whose axes mean something: narrow, or wide with a P wave of its own before it.

    A beat that starts in a ventricle may point anywhere, and those patients are the last to be told to check clips.
    """
    before = shape[:, look.WAVES[0]]
    atria = float(np.sqrt(((before - np.median(before, axis=1, keepdims=True)) ** 2).mean()))
    reach = (beats.r_index - round(0.14 * beats.fs_hz), beats.r_index + round(0.16 * beats.fs_hz))
    size = np.sqrt((beats.beat_mv**2).mean(axis=0))[slice(*reach)]
    width_s = float((size > 0.3 * size.max()).sum()) / beats.fs_hz
    if atria > _CROWDED:
        return False
    return width_s <= _NARROW_S or atria >= _P_SEEN


def empty_lead(beats: BeatMeasures | None, leads: Sequence[str], gone: NDArray[np.bool_]) -> Finding | None:
    """An arm on the right leg: one bipolar lead hardly shows what the two others show well, and rightly so.

    Where a lead is empty for another reason, the other two do not agree that it should be. ``gone`` are leads without
    any usable samples; a flat one is not gone.
    """
    names = ("I", "II", "III")
    usable = {lead: row for row, lead in enumerate(leads) if not gone[row]}
    if beats is None or not set(names) <= set(usable):
        return None
    one, two, three = beats.beat_mv[[usable[lead] for lead in names]]
    sizes = np.array([np.ptp(beat) for beat in (one, two, three)])
    due = np.array([np.ptp(beat) for beat in (two - three, one + three, two - one)])
    least = int(np.argmin(sizes))
    others = float(np.delete(sizes, least).min())
    limit = min(_EMPTY_MV, _EMPTY_RATIO * others)
    if others < _OTHERS_MV or max(sizes[least], due[least]) > limit:
        return None
    return finding(names[least], "limb_reversal", _EMPTY[names[least]])


def limb_leads_disagree(beats: BeatMeasures, leads: Sequence[str], culprit_mv: float, any_mv: float) -> tuple[str, ...]:
    """Which limb leads are not as Einthoven and Goldberger say; empty where all agree or cannot be checked.

    Some carts process each lead by itself, so that none agrees wholly with any other. Hence one lead is named from
    ``culprit_mv`` on where the others agree far better without it, and all from ``any_mv`` on.
    """
    names = [lead for lead in _FROM_I_II if lead in leads]
    if len(names) < 3:
        return ()
    seen = beats.beat_mv[[list(leads).index(lead) for lead in names]]
    seen = seen - seen.mean(axis=1, keepdims=True)
    told = np.array([_FROM_I_II[lead] for lead in names])
    whole = _misfit(seen, told)
    if whole <= culprit_mv:
        return ()
    if len(names) >= 4:
        without = [_misfit(np.delete(seen, k, axis=0), np.delete(told, k, axis=0)) for k in range(len(names))]
        if min(without) <= _CULPRIT_LEAVES * whole:
            return (names[int(np.argmin(without))],)
    return tuple(names) if whole > any_mv else ()


_CULPRIT_LEAVES = 0.25
_FROM_I_II = {
    "I": (1.0, 0.0),
    "II": (0.0, 1.0),
    "III": (-1.0, 1.0),
    "aVR": (-0.5, -0.5),
    "aVL": (1.0, -0.5),
    "aVF": (-0.5, 1.0),
}


def _misfit(seen: Samples, told: Samples) -> float:
    """Rms in mV of what the best two leads cannot explain; the largest over leads."""
    best, *_ = np.linalg.lstsq(told, seen, rcond=None)
    left = seen - told @ best
    return float(np.sqrt((left * left).mean(axis=1)).max())

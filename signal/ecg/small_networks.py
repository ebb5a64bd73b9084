"""The small trained networks of the rhythm analysis: one hidden layer each, weights made by
``training/ecg_rhythm.py``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import as_file, files

import numpy as np

from teleread.signal.ecg.filters import Samples

_FILE = "ecg_rhythm.weights"
_REACH = 4.0


@dataclass(frozen=True, slots=True, eq=False)
class SmallNetwork:
    """tanh layer, then linear: (n, features) → logits (n, classes). Features beyond four standard deviations are
    cut."""

    mean: Samples
    scale: Samples
    hidden: Samples
    hidden_bias: Samples
    out: Samples
    out_bias: Samples

    def logits(self, features: Samples) -> Samples:
        x = np.clip((features - self.mean) / self.scale, -_REACH, _REACH)
        result: Samples = np.tanh(x @ self.hidden + self.hidden_bias) @ self.out + self.out_bias
        return result


@lru_cache(maxsize=4)
def network(name: str) -> SmallNetwork:
    """``"beats"`` (normal, supraventricular, ventricular) ``"fibrillation"`` or ``"flutter"`` (one logit)."""
    with as_file(files("teleread.signal.ecg") / "weights" / _FILE) as path:
        return read_network(str(path), name)


@lru_cache(maxsize=256)
def read_network(path: str, name: str) -> SmallNetwork:
    """A network of a weight file."""
    with np.load(path, allow_pickle=False) as data:
        parts = [np.asarray(data[f"{name}_{part}"], dtype=np.float64) for part in _PARTS]
    return SmallNetwork(*parts)


_PARTS = ("mean", "scale", "hidden", "hidden_bias", "out", "out_bias")

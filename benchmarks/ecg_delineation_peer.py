"""Runs neurokit2 for benchmarks/ecg_delineation.py, in an environment of its own: signals in, marks out, as .npz."""

from __future__ import annotations

import sys
import warnings

import numpy as np

_KEYS = {
    "p_on": "ECG_P_Onsets",
    "p_off": "ECG_P_Offsets",
    "qrs_on": "ECG_R_Onsets",
    "qrs_off": "ECG_R_Offsets",
    "t_on": "ECG_T_Onsets",
    "t_off": "ECG_T_Offsets",
}


def main(source: str, target: str) -> None:
    """Every signal of ``source`` by both methods."""
    import neurokit2

    warnings.simplefilter("ignore")
    out = {}
    with np.load(source, allow_pickle=False) as stored:
        fs = int(stored["fs"])
        for key in stored.files:
            if key == "fs":
                continue
            for method in ("dwt", "prominence"):
                marks = {}
                try:
                    clean = neurokit2.ecg_clean(stored[key], sampling_rate=fs)
                    peaks = neurokit2.ecg_peaks(clean, sampling_rate=fs)[1]["ECG_R_Peaks"]
                    marks = neurokit2.ecg_delineate(clean, np.asarray(peaks), sampling_rate=fs, method=method)[1]
                except (ValueError, IndexError, ZeroDivisionError, TypeError, KeyError):
                    pass  # it fails on some recordings; then nothing is found
                for point, name in _KEYS.items():
                    values = np.asarray(marks.get(name, []), dtype=float)
                    out[f"neurokit2 {method}/{key}/{point}"] = values[np.isfinite(values)]
    np.savez(target, **out)


if __name__ == "__main__":
    main(*sys.argv[1:3])

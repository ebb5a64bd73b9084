"""Numbers of ECG leads in ISO 11073-91064 (SCP-ECG), which ISO 22077 (MFER) took over."""

from __future__ import annotations

from teleread.signal.ecg.record import STANDARD_LEADS

LEAD_NAMES = {
    **dict(zip((1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8), STANDARD_LEADS, strict=True)),
    9: "V7", 10: "V2R", 11: "V3R", 12: "V4R", 13: "V5R", 14: "V6R", 15: "V7R", 16: "X", 17: "Y", 18: "Z",
    19: "CC5", 20: "CM5", 21: "LA", 22: "RA", 23: "LL", 24: "fI", 25: "fE", 26: "fC", 27: "fA", 28: "fM", 29: "fF",
    30: "fH", 65: "-aVR", 66: "V8", 67: "V9", 68: "V8R", 69: "V9R", 70: "D", 71: "A", 72: "J",
    **{31 + k: f"{name} calibration" for k, name in enumerate(
        ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6", "V7", "V2R", "V3R", "V4R", "V5R", "V6R", "V7R", "X", "Y", "Z",
         "CC5", "CM5", "LA", "RA", "LL", "fI", "fE", "fC", "fA", "fM", "fF", "fH")
    )},
}  # fmt: skip
"""Our names by number."""

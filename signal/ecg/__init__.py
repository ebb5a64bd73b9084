"""ECG core: pure functions from samples to beats, waves, measurements, rhythm, quality and flags. NumPy and SciPy only.

Samples are float64 millivolts, shape (n,) or (n_leads, n), NaN where missing. Positions are sample indices.
"""

from __future__ import annotations

from teleread.signal.ecg.analyse import analyse
from teleread.signal.ecg.analysis import Analysis
from teleread.signal.ecg.delineate import delineate
from teleread.signal.ecg.delineation import ABSENT, Delineation
from teleread.signal.ecg.filters import AppliedFilters, Filtered, diagnostic, find_mains, monitoring
from teleread.signal.ecg.flags import DEFAULT_PROFILE, Flag, NotJudged, Profile, load_profile, profile_names
from teleread.signal.ecg.measured import Measured
from teleread.signal.ecg.median_beat import MedianBeat
from teleread.signal.ecg.qrs import detect_qrs
from teleread.signal.ecg.quality import FAULTS, REMEDIES, Finding, Quality, assess_quality
from teleread.signal.ecg.record import (
    CALIBRATION_PULSE,
    STANDARD_LEADS,
    Annotation,
    Device,
    DeviceMeasurement,
    EcgRecord,
    Filters,
    OtherChannel,
    Patient,
    standard_lead_name,
    with_derived_leads,
)
from teleread.signal.ecg.rhythm import Rhythm, RhythmFinding, classify_rhythm
from teleread.signal.ecg.serial import Change, compare
from teleread.signal.ecg.simulate import (
    CONDITIONS,
    EXTRA_LEADS,
    FAULT_KINDS,
    NORMAL_VARIANTS,
    Truth,
    apply_fault,
    lay_noise,
    simulate,
)

__all__ = [
    "ABSENT",
    "CALIBRATION_PULSE",
    "CONDITIONS",
    "DEFAULT_PROFILE",
    "EXTRA_LEADS",
    "FAULTS",
    "FAULT_KINDS",
    "NORMAL_VARIANTS",
    "REMEDIES",
    "STANDARD_LEADS",
    "Analysis",
    "Annotation",
    "AppliedFilters",
    "Change",
    "Delineation",
    "Device",
    "DeviceMeasurement",
    "EcgRecord",
    "Filtered",
    "Filters",
    "Finding",
    "Flag",
    "Measured",
    "MedianBeat",
    "NotJudged",
    "OtherChannel",
    "Patient",
    "Profile",
    "Quality",
    "Rhythm",
    "RhythmFinding",
    "Truth",
    "analyse",
    "apply_fault",
    "assess_quality",
    "classify_rhythm",
    "compare",
    "delineate",
    "detect_qrs",
    "diagnostic",
    "find_mains",
    "lay_noise",
    "load_profile",
    "monitoring",
    "profile_names",
    "simulate",
    "standard_lead_name",
    "with_derived_leads",
]

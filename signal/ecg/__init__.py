"""ECG core: pure functions from samples to beats, quality and measurements. NumPy and SciPy only.

Samples are float64 millivolts, shape (n,) or (n_leads, n), NaN where missing. Positions are sample indices.
"""

from __future__ import annotations

from teleread.signal.ecg.analyse import Analysis, Flag, Measured, analyse
from teleread.signal.ecg.delineate import delineate
from teleread.signal.ecg.delineation import Delineation
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
from teleread.signal.ecg.simulate import CONDITIONS, Truth, simulate

__all__ = [
    "CALIBRATION_PULSE",
    "CONDITIONS",
    "FAULTS",
    "REMEDIES",
    "STANDARD_LEADS",
    "Analysis",
    "Annotation",
    "Delineation",
    "Device",
    "DeviceMeasurement",
    "EcgRecord",
    "Filters",
    "Finding",
    "Flag",
    "Measured",
    "OtherChannel",
    "Patient",
    "Quality",
    "Truth",
    "analyse",
    "assess_quality",
    "delineate",
    "detect_qrs",
    "simulate",
    "standard_lead_name",
    "with_derived_leads",
]

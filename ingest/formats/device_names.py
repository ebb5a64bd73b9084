"""The names and units that every reader gives to what a device measured, whatever its format calls them."""

from __future__ import annotations

import math

from teleread.signal.ecg.record import DeviceMeasurement

HEART_RATE = "heart_rate"
"""Of the ventricles, mean over the recording."""
ATRIAL_RATE = "atrial_rate"
RR_INTERVAL = "rr_interval"
P_DURATION = "p_duration"
PR_INTERVAL = "pr_interval"
QRS_DURATION = "qrs_duration"
QT_INTERVAL = "qt_interval"
QTC_INTERVAL = "qtc_interval"
"""Corrected by the device's own choice of formula; Bazett's where it does not say."""
QTC_BAZETT = "qtc_bazett"
QTC_FRIDERICIA = "qtc_fridericia"
QTC_FRAMINGHAM = "qtc_framingham"
QTC_HODGES = "qtc_hodges"
P_AXIS = "p_axis"
QRS_AXIS = "qrs_axis"
T_AXIS = "t_axis"

UNITS = {
    HEART_RATE: "/min",
    ATRIAL_RATE: "/min",
    RR_INTERVAL: "ms",
    P_DURATION: "ms",
    PR_INTERVAL: "ms",
    QRS_DURATION: "ms",
    QT_INTERVAL: "ms",
    QTC_INTERVAL: "ms",
    QTC_BAZETT: "ms",
    QTC_FRIDERICIA: "ms",
    QTC_FRAMINGHAM: "ms",
    QTC_HODGES: "ms",
    P_AXIS: "deg",
    QRS_AXIS: "deg",
    T_AXIS: "deg",
}
"""Unit of each name; a reader converts to it."""

_LIMITS = {"/min": (1.0, 1500.0), "ms": (1.0, 20_000.0), "deg": (-360.0, 360.0)}


def measured(name: str, value: float | None, code: str = "") -> DeviceMeasurement | None:
    """A measurement in the unit of its name, or None.

    Devices write 0, -1, 29999, 32767 or 65535 for an interval that they could not measure: what no patient can have
    is left out, 0 degrees is kept.

    Args:
        value: in ``UNITS[name]``.
        code: ``scheme:code`` of the device's own name for it.
    """
    if value is None or not math.isfinite(value):
        return None
    low, high = _LIMITS[UNITS[name]]
    return DeviceMeasurement(name, float(value), UNITS[name], code) if low <= value <= high else None

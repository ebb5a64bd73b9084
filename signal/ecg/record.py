"""The one shape of an ECG recording inside teleread, whatever file it came from.

Samples are float64 millivolts as stored, a missing sample is NaN. Nothing here is filtered, resampled or cut.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

STANDARD_LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
"""The twelve standard leads in their conventional order and spelling."""

INDEPENDENT_LEADS = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
"""The eight leads from which the other four follow by Einthoven's and Goldberger's equations."""

LIMB_LEADS = ("I", "II", "III")
"""Einthoven's: any one is the sum or the difference of the other two."""

CALIBRATION_PULSE = "calibration_pulse"
"""Annotation kind: the span holds a calibration pulse instead of the patient's signal."""


@dataclass(frozen=True, slots=True)
class Patient:
    """What the file says about the patient. Personal data: it never enters a log, a file name or an error."""

    id: str | None = None
    issuer: str | None = None
    name: str | None = None
    birth_date: date | None = None
    sex: str | None = None
    """``"M"``, ``"F"``, ``"O"`` or None when unknown."""


@dataclass(frozen=True, slots=True)
class Device:
    """The recording device as the file names it."""

    manufacturer: str | None = None
    model: str | None = None
    serial: str | None = None
    software: str | None = None


@dataclass(frozen=True, slots=True)
class Filters:
    """Filters already applied by the device: corner frequencies in Hz, None where the file does not say."""

    high_pass_hz: float | None = None
    low_pass_hz: float | None = None
    notch_hz: float | None = None


@dataclass(frozen=True, slots=True)
class Annotation:
    """A marked span of samples, ``start`` inclusive to ``end`` exclusive.

    ``kind`` is ``calibration_pulse``, ``device_beat`` or ``pacing``; ``lead`` is None when it holds for all leads.
    """

    kind: str
    start: int
    end: int
    lead: str | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class DeviceMeasurement:
    """A number that the device computed. Kept beside ours and never mixed with them."""

    name: str
    value: float
    unit: str
    code: str = ""
    """``scheme:code`` of the device's own coding, empty when it gave none."""


@dataclass(frozen=True, slots=True, eq=False)
class OtherChannel:
    """A stored channel that is not an ECG lead at the common rate (slower lead, respiration, pressure…)."""

    name: str
    unit: str
    fs_hz: float
    samples: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class EcgRecord:
    """One recording.

    Args:
        signals_mv: shape (n_leads, n), millivolts, NaN where the file has no sample.
        leads: one name per row; the standard twelve in the spelling of ``STANDARD_LEADS``.
        fs_hz: the one sampling rate of all rows.
        source_format: the reader's name, for example ``"dicom"`` or ``"wfdb"``.
        other_channels: what was stored beside the leads or at another rate.
        derived_leads: names of rows that were computed from others, not stored.
        acquired_at: aware UTC, None when the file does not say.
        age_years: age at acquisition as the file states it, None when it does not.
        device_statements: the device's own interpretation, sentence by sentence, unjudged.

    Raises:
        ValueError: shape, names and rate do not fit together (a reader's programming error).
    """

    signals_mv: NDArray[np.float64]
    leads: tuple[str, ...]
    fs_hz: float
    source_format: str = "memory"
    other_channels: tuple[OtherChannel, ...] = ()
    derived_leads: tuple[str, ...] = ()
    annotations: tuple[Annotation, ...] = ()
    filters: Filters = Filters()
    patient: Patient = Patient()
    acquired_at: datetime | None = None
    age_years: float | None = None
    device: Device = Device()
    device_measurements: tuple[DeviceMeasurement, ...] = ()
    device_statements: tuple[str, ...] = ()
    extra: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Format-specific facts without personal data, for example ``{"transfer_syntax": "…"}``."""

    def __post_init__(self) -> None:
        if self.signals_mv.ndim != 2 or self.signals_mv.shape[0] != len(self.leads):
            raise ValueError("one row of samples per lead name")
        if not (np.isfinite(self.fs_hz) and self.fs_hz > 0):
            raise ValueError("sampling rate must be positive")
        if self.acquired_at is not None and self.acquired_at.tzinfo is None:
            raise ValueError("acquired_at must be aware")

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return float(self.signals_mv.shape[1] / self.fs_hz)

    def lead(self, name: str) -> NDArray[np.float64] | None:
        """The samples of one lead, or None when the record has no such lead."""
        return self.signals_mv[self.leads.index(name)] if name in self.leads else None


def standard_lead_name(name: str) -> str:
    """``name`` in the standard spelling when it means one of the twelve leads, else stripped and unchanged.

    Accepts any case and the words ``lead``, ``ecg``, ``derivation`` before it, and MLII as it is (a modified lead
    is not lead II).
    """
    bare = " ".join(name.replace("\x00", " ").split())
    key = bare.upper()
    for prefix in ("MDC_ECG_LEAD_", "ECG LEAD ", "LEAD ", "ECG ", "DERIVATION "):
        key = key.removeprefix(prefix)
    return _SPELLING.get(key.strip(), bare)


_SPELLING = {lead.upper(): lead for lead in STANDARD_LEADS}


@dataclass(frozen=True, slots=True, eq=False)
class LeadRows:
    """Rows to be filled, those that will follow from the others among them: nothing is ever copied to make room.

    Limb leads follow where V1 to V6 and two of I, II and III are there and they are not; a stored lead is never
    replaced. The standard leads then stand first and in their order, else all stand as they were given.
    """

    signals_mv: NDArray[np.float64]
    """Shape (n_leads, n), not initialised."""
    leads: tuple[str, ...]
    derived: tuple[str, ...]
    """Names of the rows that :meth:`derive` fills."""

    @classmethod
    def of(cls, stored: Sequence[str], n: int) -> LeadRows:
        """Room for ``n`` samples of leads of different names."""
        leads, derived = tuple(stored), tuple(lead for lead in STANDARD_LEADS if lead not in stored)
        if not derived or not _follow(derived):
            return cls(np.empty((len(leads), n)), leads, ())
        ordered = (*STANDARD_LEADS, *(lead for lead in leads if lead not in STANDARD_LEADS))
        return cls(np.empty((len(ordered), n)), ordered, derived)

    def __getitem__(self, lead: str) -> NDArray[np.float64]:
        """The row of a lead, to be written to."""
        row: NDArray[np.float64] = self.signals_mv[self.leads.index(lead)]
        return row

    def derive(self) -> None:
        """Fills the rows that follow from the others (Einthoven, Goldberger), in place."""
        for lead in self.derived:  # in standard order, so that I and II come before what follows from them
            row, one, two = self[lead], self["I"], self["II"]
            if lead == "I":
                np.subtract(two, self["III"], out=row)
            elif lead == "II":
                np.add(one, self["III"], out=row)
            elif lead == "III":
                np.subtract(two, one, out=row)
            elif lead == "aVR":
                np.add(one, two, out=row)
                row /= -2
            else:
                whole, half = (one, two) if lead == "aVL" else (two, one)
                np.divide(half, -2, out=row)
                row += whole


def _follow(missing: Collection[str]) -> bool:
    """Whether the missing standard leads can be computed from the others."""
    return not any(lead in missing for lead in STANDARD_LEADS[6:]) and sum(lead in missing for lead in LIMB_LEADS) <= 1


def with_derived_leads(record: EcgRecord) -> EcgRecord:
    """The record with the limb leads added that are missing, when V1 to V6 and two of I, II and III are there.

    Einthoven: III = II - I, else I = II - III or II = I + III. Goldberger: aVR = -(I + II)/2, aVL = I - II/2,
    aVF = II - I/2. Added names are listed in ``derived_leads``; a stored lead is never replaced.
    """
    missing = [lead for lead in STANDARD_LEADS if lead not in record.leads]
    if not missing or not _follow(missing):
        return record
    rows = LeadRows.of(record.leads, record.signals_mv.shape[1])
    for lead, samples in zip(record.leads, record.signals_mv, strict=True):
        rows[lead][:] = samples
    rows.derive()
    return replace(
        record,
        signals_mv=rows.signals_mv,
        leads=rows.leads,
        derived_leads=(*record.derived_leads, *rows.derived),
    )

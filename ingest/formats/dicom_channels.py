"""One channel of a DICOM multiplex group: what it is called, its unit and scale, its samples (PS3.3 C.10.9.1.4)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from teleread.errors import InputRejected
from teleread.ingest.formats.units import PER_MV
from teleread.signal.ecg.filters import run_lengths
from teleread.signal.ecg.record import STANDARD_LEADS, standard_lead_name

MAX_FS_HZ = 100_000.0
_SCALE_RANGE = (1e-12, 1e9)  # of one step, in whatever unit
_PADDING_RUN_S = 0.1
_PART = 1 << 18

Samples = NDArray[np.float64]

_PER_MV = PER_MV | {"\u00b5v": PER_MV["uv"]}
# dimensions of ISO 11073-10101 with and without their partition, and the words for units without a code
_PER_MV |= {"266418": 1.0, "4:4274": 1.0, "266419": 1e-3, "4:4275": 1e-3, "266420": 1e-6, "4:4276": 1e-6}
_PER_MV |= {"millivolt": 1.0, "microvolt": 1e-3, "nanovolt": 1e-6, "volt": 1e3}
# lead numbers of ISO 11073-91064, which SCPECG ("5.6.3-9-1") and MDC ("2:1", later 131073 and 131329) share
_LEAD_NUMBERS = dict(zip((1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8), STANDARD_LEADS, strict=True))
_LEAD_NUMBERS |= {9: "V7", 66: "V8", 67: "V9", 10: "V2R", 11: "V3R", 12: "V4R", 13: "V5R", 14: "V6R", 15: "V7R"}
_LEAD_NUMBERS |= {16: "X", 17: "Y", 18: "Z"}
KNOWN_LEADS = frozenset(_LEAD_NUMBERS.values())
DERIVATIONS = {"I": "II - III", "III": "II - I", "aVR": "-(I + II)/2", "aVL": "I - II/2", "aVF": "II - I/2"}
DERIVED = "computed from other leads"
"""How :mod:`.dicom_write` describes leads that were computed, not recorded."""
_LEAD_CODE = re.compile(r"(?:2:|5\.6\.3-9-|MDC_)?(\d{1,6})\Z", re.ASCII)
_LEAD_WORDS = re.compile(r"(?:ecg\s+)?(?:lead\s+)?(III|II|I|aVR|aVL|aVF|V[1-6])\b(?![+/-])", re.IGNORECASE)


@dataclass(frozen=True, slots=True, eq=False)
class Channel:
    """One channel; ``is_ecg`` when it is a voltage."""

    name: str
    unit: str
    """``"mV"`` for every voltage, empty where the file states none."""
    is_ecg: bool
    stored: NDArray[Any]
    padding: int | None
    fs_hz: float
    scale: float
    """Of one step, in ``unit``."""
    baseline: float
    skew: int
    """How many samples later than its group it begins; below zero, earlier."""
    high_pass_hz: float | None
    low_pass_hz: float | None
    notch_hz: float | None
    bits_stored: int | None = None
    is_derived: bool = False
    """Computed from other leads, as the file says in our own words."""

    @property
    def exceeds_its_bits(self) -> bool:
        """Whether a sample, which is taken as it stands, needs more bits than the file says that it has."""
        bits = self.bits_stored
        if bits is None or not 1 <= bits < 8 * self.stored.dtype.itemsize:
            return False
        bounds = (0, (1 << bits) - 1) if self.stored.dtype.kind == "u" else (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
        there = self.stored if self.padding is None else self.stored[self.stored != self.padding]
        return there.size > 0 and not (bounds[0] <= int(there.min()) and int(there.max()) <= bounds[1])

    @property
    def samples(self) -> Samples:
        """In ``unit``, NaN where the file has none."""
        values = np.empty(self.stored.size)
        self.write(values)
        return values

    def write(self, out: Samples) -> None:
        """Puts :attr:`samples` into ``out``, of their number, without a copy of them."""
        late, early, n = max(self.skew, 0), max(-self.skew, 0), self.stored.size
        out[:late], out[n - early :] = np.nan, np.nan
        values, stored = out[late : n - early], self.stored[early : n - late]
        # the baseline is stated in the unit of the sensitivity (PS3.3 C.10.9.1.4.2), so it is added after scaling
        np.multiply(stored, self.scale, out=values, dtype=np.float64)
        if self.baseline:
            values += self.baseline
        if self.padding is not None:
            values[_padded(self.stored, self.padding, self.fs_hz)[early : n - late]] = np.nan


def channel(definition: Dataset, name: str, row: NDArray[Any], padding: int | None, fs_hz: float) -> Channel:
    """A channel from its definition.

    Raises:
        InputRejected: ``ecg_no_scale`` (an ECG lead without sensitivity or unit), ``dicom_waveform_invalid``.
    """
    sensitivity = number(definition, "ChannelSensitivity")
    unit, per_mv = _unit(definition)
    correction = number(definition, "ChannelSensitivityCorrectionFactor")
    baseline = number(definition, "ChannelBaseline") or 0.0
    scale = (sensitivity or 0.0) * (1.0 if correction is None else correction)
    if sensitivity is None or not unit:
        # PS3.3 C.10.9.1.4: a channel without sensitivity is in no absolute unit, so it is no ECG lead
        if name in KNOWN_LEADS:
            raise InputRejected("ecg_no_scale", "A waveform channel states no sensitivity or no unit.")
        unit, per_mv, scale = "", None, 1.0
    if not (_SCALE_RANGE[0] <= abs(scale) <= _SCALE_RANGE[1] and abs(baseline) <= _SCALE_RANGE[1]):
        raise InputRejected("ecg_no_scale", "A waveform channel's sensitivity or baseline is out of range.")
    return Channel(
        name=name,
        unit="mV" if per_mv else unit,
        is_ecg=per_mv is not None,
        stored=row,
        padding=padding,
        fs_hz=fs_hz,
        scale=scale * (per_mv or 1.0),
        baseline=baseline * (per_mv or 1.0),
        skew=_skew(definition, fs_hz, row.size),
        high_pass_hz=number(definition, "FilterLowFrequency"),
        low_pass_hz=number(definition, "FilterHighFrequency") or None,  # 0 Hz is how "off" is written
        notch_hz=number(definition, "NotchFilterFrequency") or None,
        bits_stored=bits if isinstance(bits := definition.get("WaveformBitsStored"), int) else None,
        is_derived=definition.get("ChannelDerivationDescription") in (DERIVATIONS.get(name, DERIVED), DERIVED),
    )


def _unit(definition: Dataset) -> tuple[str, float | None]:
    """(the unit's code, or its meaning where that is what is known; millivolts per unit, None for no voltage)."""
    units = definition.get("ChannelSensitivityUnitsSequence")
    if not units:
        return "", None
    code = str(units[0].get("CodeValue") or "").strip()
    meaning = str(units[0].get("CodeMeaning") or "").strip()
    for text in (code, meaning):
        key = text.lower().replace("\u03bc", "\u00b5")
        per_mv = _PER_MV.get(key, _PER_MV.get(key.removesuffix("s")))
        if per_mv is not None:
            return text, per_mv
    return (code or meaning)[:64], None


def _skew(definition: Dataset, fs_hz: float, n: int) -> int:
    """Whole samples; a skew of less than half a sample is that of an ordinary multiplexer."""
    in_time, in_samples = number(definition, "ChannelTimeSkew"), number(definition, "ChannelSampleSkew")
    skew = in_time * fs_hz if in_time else in_samples or 0.0
    if not abs(skew) < n - 0.5:
        raise invalid("a channel's skew is out of range")
    return round(skew)


def _padded(row: NDArray[Any], padding: int, fs_hz: float) -> NDArray[np.bool_]:
    """Which samples are padding. An end of the sample range always is; any other value only in runs of 0.1 s.

    Writers in use declare 0 as padding while 0 is also an ordinary sample.
    """
    bounds = np.iinfo(row.dtype)
    if not bounds.min <= padding <= bounds.max:
        return np.zeros(row.shape, dtype=np.bool_)
    same = np.asarray(row == padding)
    if padding in (bounds.min, bounds.max):
        return same
    at = 0
    while at < same.size:
        # in parts that end between two runs, because places of runs take far more than the flags themselves
        behind = same[at + _PART :]
        stop = same.size if behind.all() else at + _PART + int(behind.argmin())
        _drop_short_runs(same[at:stop], _PADDING_RUN_S * fs_hz)
        at = stop
    return same


def _drop_short_runs(flags: NDArray[np.bool_], length: float) -> None:
    """Makes False, in place, the runs of True of less than ``length`` samples."""
    starts, stops = run_lengths(flags)
    short = stops - starts < length
    if short.any():
        # +1 where a short run begins and -1 behind it, summed up, is 1 within one
        steps = np.zeros(flags.size + 1, dtype=np.int8)
        steps[starts[short]], steps[stops[short]] = 1, -1
        flags &= np.cumsum(steps[:-1], dtype=np.int8) == 0


def channel_name(definition: Dataset) -> str:
    """The lead by its code, else by label or meaning; otherwise the label as it is."""
    sources = definition.get("ChannelSourceSequence")
    source = sources[0] if sources else Dataset()
    scheme = str(source.get("CodingSchemeDesignator") or "").strip().upper()
    named = _by_code(str(source.get("CodeValue") or "").strip(), scheme)
    if named:
        return named
    meaning, label = str(source.get("CodeMeaning") or "").strip(), str(definition.get("ChannelLabel") or "").strip()
    for text in (label, meaning):
        named = standard_lead_name(text)
        if named in STANDARD_LEADS:
            return named
        words = _LEAD_WORDS.match(text)
        if words:
            return standard_lead_name(words[1])
    return (label or meaning or "channel")[:64]


def _by_code(code: str, scheme: str) -> str | None:
    named = standard_lead_name(code)
    if code.upper().startswith("MDC_ECG_LEAD_") and named in STANDARD_LEADS:
        return named  # the name of a code in place of the code
    match = _LEAD_CODE.match(code)
    if match is None or (match[1] == code and scheme != "MDC"):
        return None
    lead = int(match[1])
    for base in (0, 256, 131072, 131328):
        if lead - base in _LEAD_NUMBERS:
            return _LEAD_NUMBERS[lead - base]
    return None


def number(item: Dataset, keyword: str) -> float | None:
    """A finite number, None when absent.

    Raises:
        InputRejected: ``dicom_waveform_invalid``.
    """
    value = item.get(keyword)
    if value is None or value == "":
        return None
    try:
        found = float(value)
    except (TypeError, ValueError) as e:
        raise invalid(f"{keyword} is not a number") from e
    if not math.isfinite(found):
        raise invalid(f"{keyword} is not finite")
    return found


def invalid(what: str) -> InputRejected:
    """``dicom_waveform_invalid``."""
    return InputRejected("dicom_waveform_invalid", f"The waveform cannot be read: {what}.")

"""From a DICOM Waveform Sequence to rows of millivolts (PS3.3 C.10.9)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from teleread.errors import InputRejected
from teleread.ingest.formats.names import unique_name
from teleread.signal.ecg.filters import run_lengths
from teleread.signal.ecg.record import STANDARD_LEADS, Filters, OtherChannel, standard_lead_name

MAX_CHANNELS = 64
MAX_SAMPLES = 200_000_000
MAX_GROUPS = 64
MAX_FS_HZ = 100_000.0
_SCALE_RANGE = (1e-12, 1e9)  # of one step, in whatever unit

_PADDING_RUN_S = 0.1

Samples = NDArray[np.float64]

_SAMPLE_TYPES = {"SB": "i1", "UB": "u1", "SS": "i2", "US": "u2", "SL": "i4", "UL": "u4"}
_PER_MV = {"nv": 1e-6, "uv": 1e-3, "\u00b5v": 1e-3, "mv": 1.0, "v": 1e3}
# lead numbers of ISO 11073-91064, used by the code schemes MDC ("2:1") and SCPECG ("5.6.3-9-1")
_LEAD_NUMBERS = dict(zip((1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8), STANDARD_LEADS, strict=True))
_LEAD_CODE = re.compile(r"(?:2:|5\.6\.3-9-)(\d{1,3})\Z")
_LEAD_WORDS = re.compile(r"(?:lead\s+)?(III|II|I|aVR|aVL|aVF|V[1-6])\b", re.IGNORECASE)
_MEDIAN_WORDS = ("MEDIAN", "REPRESENT", "AVERAGE", "TEMPLATE")


@dataclass(frozen=True, slots=True, eq=False)
class Channel:
    """One channel in its own unit; ``is_ecg`` when that is a voltage, then ``samples`` are millivolts."""

    name: str
    unit: str
    is_ecg: bool
    samples: Samples
    high_pass_hz: float | None
    low_pass_hz: float | None
    notch_hz: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """One multiplex group."""

    label: str
    is_median: bool
    is_original: bool
    fs_hz: float
    channels: tuple[Channel, ...]

    @property
    def duration_s(self) -> float:
        return float(self.channels[0].samples.size / self.fs_hz) if self.channels else 0.0


def read_groups(dataset: Dataset, big_endian: bool) -> list[Group]:
    """All multiplex groups.

    Raises:
        InputRejected: ``dicom_no_waveform``, ``dicom_waveform_invalid``, ``dicom_waveform_encoding``,
            ``dicom_truncated``, ``ecg_no_scale``.
    """
    sequence = dataset.get("WaveformSequence")
    if not sequence:
        raise InputRejected("dicom_no_waveform", "The DICOM file holds no waveform.")
    if len(sequence) > MAX_GROUPS:
        raise _invalid("too many multiplex groups")
    return [_group(item, big_endian) for item in sequence]


def choose(groups: list[Group]) -> tuple[Group, list[Channel], list[OtherChannel]]:
    """(the rhythm group, its ECG channels and those of equal groups, everything else but medians)."""
    main = max(
        groups,
        key=lambda g: (
            not g.is_median,
            g.is_original,
            sum(c.name in STANDARD_LEADS for c in g.channels if c.is_ecg),
            g.duration_s,
        ),
    )
    rows: dict[str, Channel] = {}
    others: list[OtherChannel] = []
    for group in [main, *(g for g in groups if g is not main and not g.is_median)]:
        for channel in group.channels:
            same = group.fs_hz == main.fs_hz and channel.samples.size == main.channels[0].samples.size
            if channel.is_ecg and same and channel.name not in rows:
                rows[channel.name] = channel
            else:
                others.append(OtherChannel(channel.name, channel.unit, group.fs_hz, channel.samples))
    return main, list(rows.values()), others


def common_filters(channels: list[Channel]) -> Filters:
    """The narrowest band that any of the channels states; unknown as soon as one does not state it."""

    def narrowest(values: list[float | None], pick: Any) -> float | None:
        known = [v for v in values if v is not None]
        return float(pick(known)) if known and len(known) == len(values) else None

    return Filters(
        high_pass_hz=narrowest([c.high_pass_hz for c in channels], max),
        low_pass_hz=narrowest([c.low_pass_hz for c in channels], min),
        notch_hz=narrowest([c.notch_hz for c in channels], min),
    )


def _group(item: Dataset, big_endian: bool) -> Group:
    count, n = _integer(item, "NumberOfWaveformChannels"), _integer(item, "NumberOfWaveformSamples")
    fs = _number(item, "SamplingFrequency")
    if not 1 <= count <= MAX_CHANNELS or not n >= 1 or count * n > MAX_SAMPLES:
        raise _invalid("number of channels or samples out of range")
    if fs is None or not 1.0 <= fs <= MAX_FS_HZ:
        raise _invalid("sampling frequency missing or out of range")
    definitions = item.get("ChannelDefinitionSequence")
    if definitions is None or len(definitions) != count:
        raise _invalid("channel definitions and number of channels differ")
    stored, padding = _stored_samples(item, count, n, big_endian)
    names: set[str] = set()
    channels = []
    for row, definition in zip(stored, definitions, strict=True):
        name = unique_name(_channel_name(definition), names)
        channels.append(_channel(definition, name, row, padding, fs))
    label = str(item.get("MultiplexGroupLabel") or "").upper()
    return Group(
        label=label,
        is_median=any(word in label for word in _MEDIAN_WORDS),
        is_original=str(item.get("WaveformOriginality") or "ORIGINAL").upper() != "DERIVED",
        fs_hz=fs,
        channels=tuple(channels),
    )


def _stored_samples(item: Dataset, count: int, n: int, big_endian: bool) -> tuple[NDArray[Any], int | None]:
    """(samples as stored, shape (count, n); the padding value or None)."""
    interpretation = str(item.get("WaveformSampleInterpretation") or "")
    if interpretation not in _SAMPLE_TYPES:
        raise InputRejected("dicom_waveform_encoding", "The waveform's sample encoding is not supported.")
    kind = np.dtype((">" if big_endian else "<") + _SAMPLE_TYPES[interpretation])
    if _integer(item, "WaveformBitsAllocated") != 8 * kind.itemsize:
        raise _invalid("bits allocated and sample interpretation differ")
    raw = item.get("WaveformData")
    if not isinstance(raw, bytes) or len(raw) < count * n * kind.itemsize:
        raise InputRejected("dicom_truncated", "The waveform holds fewer samples than it declares.")
    stored = np.frombuffer(raw, dtype=kind, count=count * n).reshape(n, count).T
    padding = item.get("WaveformPaddingValue")
    if isinstance(padding, bytes) and len(padding) >= kind.itemsize:
        return stored, int(np.frombuffer(padding, dtype=kind, count=1)[0])
    return stored, int(padding) if isinstance(padding, int) else None


def _channel(definition: Dataset, name: str, row: NDArray[Any], padding: int | None, fs_hz: float) -> Channel:
    sensitivity = _number(definition, "ChannelSensitivity")
    units = definition.get("ChannelSensitivityUnitsSequence")
    unit = str(units[0].get("CodeValue") or "").strip() if units else ""
    if not sensitivity or not unit:
        raise InputRejected("ecg_no_scale", "A waveform channel states no sensitivity or no unit.")
    correction = _number(definition, "ChannelSensitivityCorrectionFactor")
    baseline = _number(definition, "ChannelBaseline") or 0.0
    scale = sensitivity * (1.0 if correction is None else correction)
    if not (_SCALE_RANGE[0] <= abs(scale) <= _SCALE_RANGE[1] and abs(baseline) <= _SCALE_RANGE[1]):
        raise InputRejected("ecg_no_scale", "A waveform channel's sensitivity or baseline is out of range.")
    # the baseline is stated in the unit of the sensitivity (PS3.3 C.10.9.1.4.2), so it is added after scaling
    values = row.astype(np.float64) * scale + baseline
    if padding is not None:
        values[_padded(row, padding, fs_hz)] = np.nan
    per_mv = _PER_MV.get(unit.lower().replace("\u03bc", "\u00b5"))
    return Channel(
        name=name,
        unit="mV" if per_mv else unit,
        is_ecg=per_mv is not None,
        samples=values * per_mv if per_mv else values,
        high_pass_hz=_number(definition, "FilterLowFrequency"),
        low_pass_hz=_number(definition, "FilterHighFrequency"),
        notch_hz=_number(definition, "NotchFilterFrequency"),
    )


def _padded(row: NDArray[Any], padding: int, fs_hz: float) -> NDArray[np.bool_]:
    """Which samples are padding. An end of the sample range always is; any other value only in runs of 0.1 s.

    Writers in use declare 0 as padding while 0 is also an ordinary sample.
    """
    same = np.asarray(row == padding)
    bounds = np.iinfo(row.dtype)
    if padding in (bounds.min, bounds.max):
        return same
    padded = np.zeros_like(same)
    for start, stop in zip(*run_lengths(same), strict=True):
        padded[start:stop] = stop - start >= _PADDING_RUN_S * fs_hz
    return padded


def _channel_name(definition: Dataset) -> str:
    sources = definition.get("ChannelSourceSequence")
    source = sources[0] if sources else Dataset()
    code = _LEAD_CODE.match(str(source.get("CodeValue") or "").strip())
    if code and int(code[1]) in _LEAD_NUMBERS:
        return _LEAD_NUMBERS[int(code[1])]
    meaning, label = str(source.get("CodeMeaning") or "").strip(), str(definition.get("ChannelLabel") or "").strip()
    for text in (label, meaning):
        named = standard_lead_name(text)
        if named in STANDARD_LEADS:
            return named
        words = _LEAD_WORDS.match(text)
        if words:
            return standard_lead_name(words[1])
    return (label or meaning or "channel")[:64]


def _number(item: Dataset, keyword: str) -> float | None:
    value = item.get(keyword)
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError) as e:
        raise _invalid(f"{keyword} is not a number") from e
    if not math.isfinite(number):
        raise _invalid(f"{keyword} is not finite")
    return number


def _integer(item: Dataset, keyword: str) -> int:
    value = item.get(keyword)
    if not isinstance(value, int):
        raise _invalid(f"{keyword} is missing")
    return int(value)


def _invalid(what: str) -> InputRejected:
    return InputRejected("dicom_waveform_invalid", f"The waveform cannot be read: {what}.")

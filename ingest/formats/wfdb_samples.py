"""The storage formats of WFDB signal files (WFDB Applications Guide, signal(5)): bytes to stored samples, in bulk."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from teleread.errors import InputRejected
from teleread.ingest.formats.wfdb_header import BITS, FLAC_FORMATS, MAX_SAMPLES, Signal

Stored = NDArray[Any]
"""Whole numbers, in the narrowest type that holds them."""

MISSING = {
    "16": -(1 << 15), "61": -(1 << 15), "160": -(1 << 15), "80": -(1 << 7), "212": -(1 << 11), "310": -(1 << 9),
    "311": -(1 << 9), "24": -(1 << 23), "32": -(1 << 31), "508": -(1 << 7), "516": -(1 << 15), "524": -(1 << 23),
}  # fmt: skip
"""The value that stands for "no sample" in each format; format 8 has none."""

_PART = 1 << 18
# a flat line compresses without limit: so many samples per byte of FLAC, and always that many
_FLAC_RATIO = 2
_FLAC_SMALL = 4_000_000
_FLAC_BITS = {"PCM_S8": 8, "PCM_16": 16, "PCM_24": 24}


def size(samples: int, fmt: str) -> int:
    """Bytes that so many samples take; of FLAC the least that a file can have."""
    if fmt in FLAC_FORMATS:
        return 42
    if fmt == "212":
        return samples // 2 * 3 + (2 if samples % 2 else 0)
    if fmt in ("310", "311"):
        return samples // 3 * 4 + (0, 2, 4 if fmt == "310" else 3)[samples % 3]
    return samples * int(BITS[fmt]) // 8


def read_file(data: bytes, group: list[Signal], frames: int) -> Iterator[Stored]:
    """The stored samples of each signal in one file; one after another, as together they may be many times the file.

    Raises:
        InputRejected: ``wfdb_truncated``, ``wfdb_checksum`` (samples do not sum up to what the header states),
            ``wfdb_too_large``, ``wfdb_flac_broken``, ``wfdb_format_unsupported``.
    """
    rows = (_flac if group[0].format in FLAC_FORMATS else _plain)(data, group, frames)
    for signal, stored in zip(group, rows, strict=True):
        # writers that know no checksum leave a zero there
        if signal.checksum and (int(stored.sum(dtype=np.int64)) - signal.checksum) & 0xFFFF:
            raise InputRejected("wfdb_checksum", "The samples do not sum up to the checksum in the WFDB header.")
        yield stored


def frames_in(data: bytes, group: list[Signal]) -> int:
    """How many frames a file holds whose header leaves it to the file's size; of FLAC what the stream says.

    Raises:
        InputRejected: ``wfdb_truncated``, ``wfdb_flac_broken``.
    """
    if group[0].format in FLAC_FORMATS:
        return max(0, _stream_info(data)[2] - group[0].offset_bytes) // group[0].per_frame
    there = int(max(0, len(data) - group[0].offset_bytes) * 8 / BITS[group[0].format])
    per_frame = sum(s.per_frame for s in group)
    frames = there // per_frame
    if frames == 0 or frames * per_frame > MAX_SAMPLES:
        raise InputRejected("wfdb_truncated", "The signal file is empty or too large.")
    return frames


def _plain(data: bytes, group: list[Signal], frames: int) -> Iterator[Stored]:
    fmt, offset = group[0].format, group[0].offset_bytes
    per_frame = sum(s.per_frame for s in group)
    total = frames * per_frame
    if len(data) - offset < size(total, fmt):
        raise InputRejected("wfdb_truncated", "The signal file holds fewer samples than its header declares.")
    flat = _decode(data[offset : offset + size(total, fmt)], fmt, total).reshape(frames, per_frame)
    at = 0
    for signal in group:
        stored = flat[:, at : at + signal.per_frame].reshape(-1)
        yield _summed(stored, signal.initial) if fmt == "8" else stored
        at += signal.per_frame


def _summed(differences: Stored, initial: int) -> Stored:
    """Format 8: each sample is the one before and a difference, the first one ``initial`` and a difference."""
    fits = 128 * differences.size + abs(initial) < 1 << 31
    total: Stored = np.empty(differences.size, dtype=np.int32 if fits else np.int64)
    before = initial
    for at in range(0, total.size, _PART):
        part = total[at : at + _PART]
        np.cumsum(differences[at : at + _PART], out=part)
        part += before
        before = int(part[-1])
    return total


def _decode(data: bytes, fmt: str, total: int) -> Stored:
    if fmt in ("16", "61", "32", "8"):
        kind = {"16": "<i2", "61": ">i2", "32": "<i4", "8": "i1"}[fmt]
        return np.frombuffer(data, dtype=kind, count=total)
    if fmt == "160":
        return (np.frombuffer(data, dtype="<u2", count=total) ^ 0x8000).view("<i2")
    raw = np.frombuffer(data, dtype=np.uint8)
    if fmt == "80":
        return (raw[:total] ^ 0x80).view(np.int8)
    if fmt == "24":
        wide = np.zeros((total, 4), dtype=np.uint8)
        wide[:, 1:] = raw.reshape(-1, 3)
        return wide.view("<i4")[:, 0] >> 8
    group = 3 if fmt == "212" else 4
    # in parts: what is between bytes and samples is many times both
    parts = [_packed(raw[at : at + _PART * group], fmt) for at in range(0, raw.size, _PART * group)]
    return np.concatenate(parts)[:total]


def _packed(data: NDArray[np.uint8], fmt: str) -> Stored:
    """Two samples of 12 bits in three bytes, or three of 10 bits in four; unneeded bytes at the end are left out."""
    group, bits = (3, 12) if fmt == "212" else (4, 10)
    raw = data.astype(np.int16)
    if raw.size % group:
        raw = np.concatenate((raw, np.zeros(-raw.size % group, dtype=np.int16)))
    one, two, three = raw[0::group], raw[1::group], raw[2::group]
    if fmt == "212":
        parts = [one | (two & 0x0F) << 8, three | (two & 0xF0) << 4]
    elif fmt == "310":
        four = raw[3::group]
        parts = [one >> 1 | (two & 0x07) << 7, three >> 1 | (four & 0x07) << 7, two >> 3 | (four >> 3) << 5]
    else:
        four = raw[3::group]
        parts = [one | (two & 0x03) << 8, two >> 2 | (three & 0x0F) << 6, three >> 4 | (four & 0x3F) << 4]
    value = np.empty(raw.size // group * len(parts), dtype=np.int16)
    for k, part in enumerate(parts):
        value[k :: len(parts)] = part
    value -= (value >> (bits - 1)) << bits
    return value


def _flac(data: bytes, group: list[Signal], frames: int) -> Iterator[Stored]:
    """Formats 508, 516 and 524: one FLAC stream, a channel per signal; the byte offset counts samples here."""
    per_frame, skip = group[0].per_frame, group[0].offset_bytes
    if any(s.per_frame != per_frame for s in group):
        raise InputRejected("wfdb_header_invalid", "Signals in one FLAC file differ in samples per frame.")
    channels, bits, length = _stream_info(data)
    if channels != len(group) or bits > int(group[0].format) - 500:
        raise InputRejected("wfdb_flac_broken", "The FLAC file and its header do not fit.")
    wanted = frames * per_frame + skip
    if wanted > length or wanted <= skip:
        raise InputRejected("wfdb_truncated", "The signal file holds fewer samples than its header declares.")
    if length * channels > max(_FLAC_SMALL, _FLAC_RATIO * len(data)):
        raise InputRejected("wfdb_too_large", "The FLAC file holds far more samples than its size allows for.")
    samples = _flac_samples(data, length, channels, bits)
    yield from np.ascontiguousarray(samples[skip:wanted].T)


def _stream_info(data: bytes) -> tuple[int, int, int]:
    """(channels, bits of a sample, samples of a channel) of a FLAC stream."""
    if len(data) < 42 or not data.startswith(b"fLaC"):
        raise InputRejected("wfdb_flac_broken", "The signal file is no FLAC file.")
    # STREAMINFO comes first: 20 bits of rate, 3 of channels, 5 of bits, 36 of length, 16 bytes of MD5
    packed = int.from_bytes(data[18:26], "big")
    return (packed >> 41 & 7) + 1, (packed >> 36 & 31) + 1, packed & ((1 << 36) - 1)


def _flac_samples(data: bytes, length: int, channels: int, bits: int) -> Stored:
    """All samples, shape (length, channels), checked against the stream's own MD5 where it has one."""
    try:
        import soundfile
    except (ImportError, OSError) as e:  # no such package, or no such system library
        raise InputRejected("wfdb_format_unsupported", "FLAC cannot be read on this machine.") from e
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if file.format != "FLAC" or _FLAC_BITS.get(file.subtype) != bits or file.channels != channels:
                raise InputRejected("wfdb_flac_broken", "The FLAC file is of an unknown kind.")
            wide = file.read(frames=length, dtype="int32", always_2d=True)
    except (RuntimeError, ValueError, TypeError) as e:  # what soundfile makes of a broken stream
        raise InputRejected("wfdb_flac_broken", "The FLAC file is damaged.") from e
    if wide.shape != (length, channels):
        raise InputRejected("wfdb_truncated", "The FLAC file ends before its last sample.")
    samples: Stored = wide >> (32 - bits)
    digest = data[26:42]
    if any(digest) and _md5(samples, bits) != digest:
        raise InputRejected("wfdb_flac_broken", "The samples of the FLAC file do not fit its checksum.")
    return samples


def _md5(samples: Stored, bits: int) -> bytes:
    plain = np.ascontiguousarray(samples, dtype="<i4").view(np.uint8).reshape(-1, 4)[:, : bits // 8]
    return hashlib.md5(plain.tobytes(), usedforsecurity=False).digest()

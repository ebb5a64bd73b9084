"""Writing WFDB: a record as header and format 16, and a record made free of what tells who and when."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import tzinfo

import numpy as np

from teleread.errors import InputRejected
from teleread.ingest.dicom_values import ALLIANCE_ZONE
from teleread.ingest.formats.sniff import sniff
from teleread.ingest.formats.wfdb import bytes_needed
from teleread.ingest.formats.wfdb_header import GAP, Header, Signal, parse_header
from teleread.signal.ecg.record import STANDARD_LEADS, EcgRecord

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\Z", re.ASCII)
_PLAIN_LEAD = re.compile(r"(?:MLI{1,3}|MV[1-6]|V[1-9]R?|CC5|CM[25]|NASA|E[ASI]{1,2}|[XYZ]|ECG ?\d{0,2})\Z", re.ASCII)
_STEPS_PER_MV = 1000.0


def write_wfdb(record: EcgRecord, name: str, *, zone: tzinfo = ALLIANCE_ZONE) -> dict[str, bytes]:
    """``{name.hea, name.dat}`` in format 16, 1 µV per step unless the signal is too large for that.

    Derived leads are left out (the reader derives them again). Patient name and identifier are not written, sex and
    age are, as comments.

    Raises:
        ValueError: ``name`` is not made of letters, digits, ``_`` and ``-``.
    """
    if not _NAME.match(name):
        raise ValueError("a record name is made of letters, digits, _ and -")
    rows = [i for i, lead in enumerate(record.leads) if lead not in record.derived_leads]
    signals = record.signals_mv[rows]
    largest = float(np.nanmax(np.abs(signals), initial=0.0))
    gain = min(_STEPS_PER_MV, 32000.0 / largest) if largest > 0 else _STEPS_PER_MV
    gain = float(f"{gain:.6g}")
    steps = np.where(np.isfinite(signals), np.rint(np.nan_to_num(signals) * gain), -32768).astype("<i2")
    when = f" {record.acquired_at.astimezone(zone):%H:%M:%S %d/%m/%Y}" if record.acquired_at else ""
    lines = [f"{name} {len(rows)} {record.fs_hz:.12g} {steps.shape[1]}{when}"]
    for i, row in zip(rows, steps, strict=True):
        lead = " ".join(record.leads[i].split())
        lines.append(f"{name}.dat 16 {gain:g}(0)/mV 16 0 {row[0] if row.size else 0} {_checksum(row)} 0 {lead}")
    if record.age_years is not None:
        lines.append(f"# Age: {record.age_years:.0f}")
    if record.patient.sex in ("M", "F"):
        lines.append(f"# Sex: {record.patient.sex}")
    header = "\n".join(lines) + "\n"
    return {f"{name}.hea": header.encode(), f"{name}.dat": np.ascontiguousarray(steps.T).tobytes()}


def _checksum(row: np.ndarray[tuple[int, ...], np.dtype[np.int16]]) -> int:
    total = int(row.astype(np.int64).sum()) & 0xFFFF
    return total - 0x10000 if total >= 0x8000 else total


def pseudonymise_wfdb(files: Mapping[str, bytes], pseudonym: str) -> dict[str, bytes]:
    """The same samples under a pseudonym: no comments, no date or time, no names, nothing but the samples.

    The header is written anew from its numbers, so nothing unknown can pass. Bytes before the first and after the
    last sample are dropped, a channel whose description is no known lead name becomes ``channel N``, and other files
    (annotations) are left out.

    Raises:
        InputRejected: the record cannot be read (see ``read_wfdb``).
        ValueError: ``pseudonym`` is not made of letters, digits, ``_`` and ``-``.
    """
    if not _NAME.match(pseudonym):
        raise ValueError("a pseudonym is made of letters, digits, _ and -")
    headers = [data for data in files.values() if sniff(data) == "wfdb"]
    if len(headers) != 1:
        raise InputRejected("several_recordings", "Exactly one WFDB header is expected.")
    header = parse_header(headers[0], ALLIANCE_ZONE)
    if header.segments:
        raise InputRejected("wfdb_multi_segment", "A WFDB record of several segments cannot be pseudonymised.")
    renamed: dict[str, str] = {}
    out: dict[str, bytes] = {}
    for k, file in enumerate(header.files):
        if file not in files:
            raise InputRejected("wfdb_missing_file", "A signal file that the WFDB header names is not there.")
        start = next(s.offset_bytes for s in header.signals if s.file == file)
        stop = bytes_needed(header, file)
        if stop is not None and len(files[file]) < stop:
            raise InputRejected("wfdb_truncated", "The signal file holds fewer samples than its header declares.")
        renamed[file] = f"{pseudonym}.dat" if k == 0 else f"{pseudonym}_{k + 1}.dat"
        out[renamed[file]] = files[file][start:stop]
    out[f"{pseudonym}.hea"] = _plain_header(header, pseudonym, renamed)
    return dict(sorted(out.items()))


def _plain_header(header: Header, pseudonym: str, renamed: Mapping[str, str]) -> bytes:
    frames = f" {header.frames}" if header.frames is not None else ""
    lines = [f"{pseudonym} {len(header.signals)} {header.fs_hz!r}{frames}"]
    lines += [_plain_signal(s, renamed.get(s.file, GAP), k) for k, s in enumerate(header.signals, start=1)]
    return ("\n".join(lines) + "\n").encode()


def _plain_signal(signal: Signal, file: str, number: int) -> str:
    layout = signal.format
    layout += f"x{signal.per_frame}" if signal.per_frame > 1 else ""
    layout += f":{signal.skew_frames}" if signal.skew_frames else ""
    known = {lead.upper() for lead in STANDARD_LEADS}
    name = signal.description
    plain = name if name.upper() in known or _PLAIN_LEAD.match(name) else f"channel {number}"
    units = signal.units if re.fullmatch(r"[A-Za-zµ%/]{1,8}", signal.units) else "unknown"
    checksum = signal.checksum if signal.checksum is not None else 0
    return f"{file} {layout} {signal.gain!r}({signal.baseline})/{units} 0 0 {signal.initial} {checksum} 0 {plain}"

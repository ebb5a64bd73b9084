"""What the sample hospitals hold: real images and one real ECG that pydicom ships, and simulated ECGs.

The people are invented and their names say so. Everything is seeded: the same call writes the same bytes.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pydicom.data

from teleread.errors import Misconfigured
from teleread.ingest.formats import write_wfdb
from teleread.signal.ecg import Patient, simulate

REAL_ECG = "waveform_ecg.dcm"
COUNTY = (
    "CT_small.dcm",  # CT, uncompressed
    "J2K_pixelrep_mismatch.dcm",  # CT of a head, JPEG 2000
    "examples_overlay.dcm",  # MR of an abdomen
    "examples_rgb_color.dcm",  # ultrasound, colour
    "examples_ybr_color.dcm",  # echocardiogram, 30 frames, JPEG
    REAL_ECG,  # 12 leads
)
"""Files of pydicom's wheel (its own licence and origin notes lie beside them)."""


@dataclass(frozen=True, slots=True)
class _Simulated:
    name: str
    condition: str
    seed: int
    patient: Patient
    age_years: float
    minute: int  # of the sample's morning


_CART = (
    _Simulated("ecg_0001", "normal", 11, Patient("SAMPLE-0001", None, "张示例", None, "M"), 41, 5),
    _Simulated("ecg_0002", "af", 12, Patient("SAMPLE-0002", None, "李样本", None, "F"), 73, 17),
    _Simulated("ecg_0003", "inferior_stemi", 13, Patient("SAMPLE-0003", None, "王演示", None, "M"), 58, 31),
    _Simulated("ecg_0004", "complete_block", 14, Patient("SAMPLE-0004", None, "赵测试", None, "F"), 81, 44),
    _Simulated("ecg_0005", "lead_off", 15, Patient("SAMPLE-0005", None, "孙虚构", None, "M"), 36, 52),
    _Simulated("ecg_0006", "ra_la_swap", 16, Patient("SAMPLE-0006", None, "周假名", None, "F"), 29, 58),
)
_CLINIC = _Simulated("ecg_0101", "af", 21, Patient("SAMPLE-0101", None, "吴试用", None, "F"), 68, 12)


def fill_county(folder: Path) -> int:
    """Put the real files where the county hospital's PACS keeps its own; returns how many were not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    written = 0
    for name in COUNTY:
        data = shipped(name)
        target = folder / f"{hashlib.sha256(data).hexdigest()}.dcm"
        if target.exists():
            continue
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        temporary.write_bytes(data)
        os.replace(temporary, target)
        written += 1
    return written


def fill_cart(folder: Path, *, pause: Callable[[], None] | None = None) -> int:
    """Write what an ECG cart writes, the way it does: in place, piece by piece, header before samples.

    Args:
        pause: called between two pieces, to write as slowly as a cart.

    Returns:
        How many files were not there, or not whole, before.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {"ecg_0000.dcm": shipped(REAL_ECG)}
    for one in _CART:
        files |= _wfdb(one)
    written = 0
    for name, data in files.items():
        target = folder / name
        if target.exists() and target.read_bytes() == data:
            continue
        _write_slowly(target, data, pause)
        written += 1
    return written


def clinic_upload() -> dict[str, bytes]:
    """The files of one ECG (atrial fibrillation) for a clinic to send through the page."""
    return dict(_wfdb(_CLINIC))


def shipped(name: str) -> bytes:
    """A file of pydicom's wheel; nothing is ever downloaded.

    Raises:
        Misconfigured: ``sample_missing``.
    """
    path = Path(pydicom.data.__file__).parent / "test_files" / name
    try:
        return path.read_bytes()
    except OSError as error:
        raise Misconfigured("sample_missing", f"This pydicom comes without {name}.") from error


def slowly() -> None:
    """Half a tenth of a second: the pause of a cart's processor between two blocks."""
    time.sleep(0.05)


def _wfdb(one: _Simulated) -> Mapping[str, bytes]:
    record, _ = simulate(one.condition, one.seed)
    acquired_at = datetime(2026, 3, 2, 0, one.minute, tzinfo=UTC)
    named = replace(record, patient=one.patient, age_years=one.age_years, acquired_at=acquired_at)
    files = write_wfdb(named, one.name)
    # carts put the name into a comment; our own writer never does
    who = f"# Name: {one.patient.name}\n# Patient ID: {one.patient.id}\n"
    return {name: data + who.encode() if name.endswith(".hea") else data for name, data in files.items()}


def _write_slowly(target: Path, data: bytes, pause: Callable[[], None] | None) -> None:
    step = max(1, len(data) // 4)
    with open(target, "wb", buffering=0) as file:
        for start in range(0, len(data), step):
            file.write(data[start : start + step])
            if pause is not None:
                pause()

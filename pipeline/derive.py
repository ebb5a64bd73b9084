"""What is computed from one arrival's bytes. Runs in a bounded parser process; pure, so the same bytes give the same.

:func:`derive` reads and analyses; :func:`pseudonymise` makes the copy for export, under a pseudonym that it is given.
The product's ``facts`` (JSON) are ``modality``, ``header`` (study, series and instance), ``patient`` (identity, for
the vault alone), ``recording`` and ``fingerprint`` (ECG only) and ``failure`` (a code and a sentence, when the header
could be read and the rest not, or the tracing and not its analysis, or there is a picture of an ECG alone). Its
``blobs`` are the derived objects by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import date, datetime, timedelta, timezone
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from teleread.errors import InputRejected, Misconfigured
from teleread.ingest.bounded import Product
from teleread.ingest.formats import bundle, kind_of, pseudonymise_wfdb, read_ecg, sniff, unbundle, write_wfdb
from teleread.ingest.imaging import read_header, thumbnail
from teleread.ingest.parse_limits import parse_limits
from teleread.pipeline import pictures, unpack
from teleread.signal.anonymise import Policy, pseudonymise_dicom
from teleread.signal.ecg import DEFAULT_PROFILE, Analysis, EcgRecord, Patient, Profile, analyse, load_profile
from teleread.signal.ecg.fingerprint import fingerprint

MISSING_SAMPLE = -32768
_UV_PER_STEP = 1.0
_LARGEST_STEP = 32_700


def derive(payload: bytes, options: Mapping[str, Any]) -> Product:
    """Read and analyse one arrival.

    Args:
        payload: the bytes as received, or the bundle of the files received together.
        options: ``issuer`` (whose patient identifiers these are when the bytes do not say), ``utc_offset_minutes``,
            and ``ecg_profile`` with ``ecg_profile_on`` (which limits judge an ECG, in the edition of which day).

    Raises:
        InputRejected: nothing could be read.
    """
    files = _files(payload)
    if (single := _single_dicom(files)) is not None:
        return _derive_dicom(single, options)
    if (shown := pictures.documents(files)) is not None:
        return shown
    record = _read(files, options)
    facts, blobs = _ecg(record, _profile(options))
    patient = _with_issuer(record.patient, options)
    facts |= {
        "modality": "ECG",
        "header": None,
        "age_years": record.age_years,
        "patient": _plain(asdict(patient)),
    }
    return Product(facts, blobs)


def pseudonymise(payload: bytes, options: Mapping[str, Any]) -> Product:
    """The copy of one arrival that may leave: pseudonymised, not anonymous.

    Args:
        payload: as for :func:`derive`.
        options: ``pseudonym``, ``shift_days`` (whole days that dates are moved by, the same for all of a patient),
            ``utc_offset_minutes`` and ``uid_key`` (hexadecimal, keys the UIDs). What is neither DICOM nor WFDB is
            written anew as WFDB; a WFDB copy holds no date, and nothing but the samples under known lead names.

    Raises:
        InputRejected: it cannot be pseudonymised.
    """
    files = _files(payload)
    pseudonym = str(options["pseudonym"])
    if (single := _single_dicom(files)) is None:
        return Product({}, {"pseudonymised.zip": bundle(_plain_wfdb(files, pseudonym, options))})
    key = bytes.fromhex(str(options["uid_key"]))
    policy = Policy(uid_key=key, pseudonym=pseudonym, shift_days=int(options["shift_days"]))
    copy, _manifest = pseudonymise_dicom(single, policy)
    return Product({}, {"pseudonymised.dcm": copy})


def _read(files: Mapping[str, bytes], options: Mapping[str, Any]) -> EcgRecord:
    with parse_limits(sum(map(len, files.values()))):
        return read_ecg(files, zone=_zone(options))


def _plain_wfdb(files: Mapping[str, bytes], pseudonym: str, options: Mapping[str, Any]) -> Mapping[str, bytes]:
    if sum(sniff(data) == "wfdb" for data in files.values()) != 1:
        # never the bytes as they came: identity may stand anywhere in them
        record = _read(files, options)
        files = write_wfdb(replace(record, patient=Patient(), acquired_at=None, age_years=None), "rec")
    return pseudonymise_wfdb(files, pseudonym)


def _files(payload: bytes) -> Mapping[str, bytes]:
    if sniff(payload) != "zip":
        return {"": payload}
    try:
        return unbundle(payload)
    except InputRejected:
        _say_why(payload)
        raise


def _say_why(payload: bytes) -> None:
    """Why an archive of a whole study was not taken apart: as one recording's it would be refused for its folders."""
    with unpack.opened(BytesIO(payload)) as archive:
        if not unpack.look(archive).recordings:
            raise InputRejected("bundle_no_recording", "No file in the ZIP file is a recording or an image.")


def _single_dicom(files: Mapping[str, bytes]) -> bytes | None:
    only = next(iter(files.values())) if len(files) == 1 else None
    return only if only is not None and sniff(only) == "dicom" else None


def _derive_dicom(data: bytes, options: Mapping[str, Any]) -> Product:
    zone = _zone(options)
    header = read_header(data, zone)
    patient = _with_issuer(header.patient, options)
    facts: dict[str, Any] = {
        "modality": header.modality,
        "header": _plain(asdict(replace(header, patient=patient))),
        "patient": _plain(asdict(patient)),
        "recording": None,
        "failure": None,
    }
    blobs: dict[str, bytes] = {}
    try:
        if kind_of(data) == "ecg":
            recorded, blobs = _ecg(_read({"": data}, options), _profile(options))
            facts |= recorded
        elif (document := pictures.encapsulated_pdf(data)) is not None:
            facts["failure"], blobs = dict(pictures.READ_BY_EYE), {"document.pdf": document}
        elif header.n_frames is not None:
            blobs["thumbnail.png"] = thumbnail(data)
    except InputRejected as error:
        # the study is known all the same: a person must see whose it is and why it could not be analysed
        facts["failure"] = {"code": error.code, "safe_message": error.safe_message}
    return Product(facts, blobs)


def _profile(options: Mapping[str, Any]) -> Profile:
    """The limits in force on the day; the newest standard ones where that day has none: nothing stops an ECG."""
    name, on = options.get("ecg_profile"), options.get("ecg_profile_on")
    try:
        return load_profile(name or DEFAULT_PROFILE, None if on is None else date.fromisoformat(on))
    except Misconfigured:
        return load_profile()


def _ecg(record: EcgRecord, profile: Profile) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The facts and blobs of an ECG. The tracing comes first: it can be read also where the analysis fails."""
    blobs = _display(record)
    facts: dict[str, Any] = {
        "recording": None,
        "acquired_at": _plain(record.acquired_at),
        "failure": None,
        "fingerprint": _fingerprint(record),
    }
    try:
        analysis = analyse(record, profile)
        blobs["analysis.json"] = _json(analysis.to_json())
    # a number that nobody foresaw (LinAlgError and JSON without NaN are ValueErrors) must not hide the tracing from
    # its reader; whatever else is wrong is a fault of the program and stays one
    except (ArithmeticError, ValueError, IndexError):
        facts["failure"] = {"code": "analysis_failed", "safe_message": "The recording could not be analysed."}
        return facts, blobs
    facts["recording"] = _recording(record, analysis)
    facts["device"] = _device(record)
    return facts, blobs


def _fingerprint(record: EcgRecord) -> dict[str, Any] | None:
    found = fingerprint(record)
    return None if found is None else asdict(found)


def _display(record: EcgRecord) -> dict[str, bytes]:
    """What a page draws: the samples as steps, and how to read them.

    A sample's value in µV is its step times ``uv_per_step`` plus its lead's ``offset_uv``; ``display.json`` of
    before offsets has none, and means 0.
    """
    steps, offset_uv = _display_steps(record.signals_mv)
    display = {
        "leads": list(record.leads),
        "derived_leads": list(record.derived_leads),
        "fs_hz": record.fs_hz,
        "n_samples": int(record.signals_mv.shape[1]),
        "uv_per_step": _UV_PER_STEP,
        "offset_uv": offset_uv,
        "missing": MISSING_SAMPLE,
        "filters": asdict(record.filters),
        "source_format": record.source_format,
        "device": _device(record),
    }
    return {"display.json": _json(display), "wave.i16": steps.astype("<i2").tobytes()}


def _device(record: EcgRecord) -> str:
    return " ".join(filter(None, (record.device.manufacturer, record.device.model)))


def _recording(record: EcgRecord, analysis: Analysis) -> dict[str, Any]:
    rate = analysis.measurements.get("heart_rate_bpm")
    return {
        "fs_hz": float(record.fs_hz),
        "n_leads": len(record.leads),
        "duration_s": float(record.signals_mv.shape[1] / record.fs_hz),
        "heart_rate_bpm": None if rate is None else float(rate.value),
        "quality_acceptable": bool(analysis.quality.acceptable),
        "quality_score": float(analysis.quality.score),
        "quality_findings": len(analysis.quality.findings),
        "flags": [[flag.code, flag.kind, flag.severity] for flag in analysis.flags],
    }


def _display_steps(signals_mv: NDArray[np.float64]) -> tuple[NDArray[np.float64], list[float]]:
    """Samples (leads, n) as 16-bit steps of 1 µV about each lead's own median, and these medians in whole µV.

    What is farther off than the steps reach stands at their end, where every paper says "off scale": a wild sample
    or an offset, however large, coarsens neither its own lead nor another.
    """
    uv = signals_mv * 1000.0
    present = np.isfinite(uv)
    offsets = [
        float(np.rint(np.median(lead[here]))) if here.any() else 0.0 for lead, here in zip(uv, present, strict=True)
    ]
    about = np.rint(np.where(present, uv, 0.0) - np.array(offsets)[:, np.newaxis])
    steps = np.clip(about, -_LARGEST_STEP, _LARGEST_STEP)
    return np.where(present, steps, MISSING_SAMPLE), offsets


def _zone(options: Mapping[str, Any]) -> timezone:
    return timezone(timedelta(minutes=int(options["utc_offset_minutes"])))


def _with_issuer(patient: Patient | None, options: Mapping[str, Any]) -> Patient:
    known = patient or Patient(id=None, issuer=None, name=None, birth_date=None, sex=None)
    return replace(known, issuer=known.issuer or str(options["issuer"]))


def _json(value: object) -> bytes:
    # a browser cannot read NaN
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    return value

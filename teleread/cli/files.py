"""Commands on files: read, measure and judge an ECG, and pseudonymise DICOM. They need no running system."""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import secrets
from dataclasses import asdict
from pathlib import Path
from typing import Any

from teleread.cli import convert, ecg
from teleread.cli.ecg_report import finding_text
from teleread.errors import InputRejected, TelereadError


def add_commands(commands: Any) -> None:
    """Add ``ecg``, ``check``, ``formats``, ``convert`` and ``anonymise``."""
    ecg.add_command(commands)

    check = commands.add_parser("check", help="the quality verdict alone")
    check.add_argument("files", type=Path, nargs="+", metavar="FILE")
    check.add_argument("--json", action="store_true", help="one JSON object a line")
    ecg.add_given(check)
    check.set_defaults(run=run_check)
    convert.add_commands(commands)

    anonymise = commands.add_parser(
        "anonymise",
        help="pseudonymise DICOM files (PS3.15 Basic Profile)",
        description="Writes a pseudonymised copy of each DICOM file of SRC to DST. Pseudonymised is not anonymous: "
        "text burned into pixels stays, and a rare finding may still point to a person.",
    )
    anonymise.add_argument("source", type=Path, metavar="SRC", help="a DICOM file or a folder of them")
    anonymise.add_argument(
        "destination", type=Path, metavar="DST", help="a file, or a folder for a folder (its files get new names)"
    )
    anonymise.add_argument("--policy", choices=["basic"], default="basic", help="which rules (default: basic)")
    anonymise.add_argument(
        "--key-file",
        type=Path,
        help="32 or more secret bytes that key UIDs and pseudonyms; the same key gives the same ones. "
        "Without it a key is made and forgotten, so that runs cannot be linked.",
    )
    anonymise.add_argument("--json", action="store_true", help="one JSON object a file")
    anonymise.set_defaults(run=run_anonymise)


def run_check(options: argparse.Namespace) -> int:
    """Print the quality verdict of each file; exit code 3 when one could not be read."""
    from teleread.ingest.formats import read_ecg
    from teleread.signal.ecg import assess_quality

    worst = 0
    for path in options.files:
        try:
            record = read_ecg(ecg.existing_file(path), given=ecg.given(options))
            quality = assess_quality(record.signals_mv, record.fs_hz, record.leads)
        except TelereadError as error:
            worst = max(worst, error.exit_code)
            line: dict[str, Any] = {"file": str(path), "error": {"code": error.code, "message": error.safe_message}}
            print(json.dumps(line) if options.json else f"{path}: {error.safe_message} [{error.code}]")
            continue
        findings = [asdict(finding) for finding in quality.findings]
        if options.json:
            line = {"file": str(path), "acceptable": quality.acceptable, "score": quality.score, "findings": findings}
            print(json.dumps(line, ensure_ascii=False))
        else:
            details = "; ".join(" ".join(finding_text(finding)) for finding in findings)
            print(f"{path}: {_verdict_line(quality)}" + (f" ({details})" if details else ""))
    return worst


def run_anonymise(options: argparse.Namespace) -> int:
    """Pseudonymise one file or a folder; a bad file does not stop the others."""
    key = options.key_file.read_bytes() if options.key_file else secrets.token_bytes(32)
    if len(key) < 32:
        raise InputRejected("key_too_short", "The key file must hold 32 bytes or more.")
    source = _existing(options.source)
    if source.is_dir():
        # file and folder names often hold the patient's: they are replaced as well
        found = [path for path in sorted(source.rglob("*")) if path.is_file()]
        jobs = [(path, options.destination / f"{_keyed(key, str(path.relative_to(source)))}.dcm") for path in found]
    else:
        target = options.destination / source.name if options.destination.is_dir() else options.destination
        jobs = [(source, target)]
    worst = 0
    for path, target in jobs:
        try:
            manifest = _pseudonymise(path, target, key)
        except TelereadError as error:
            worst = max(worst, error.exit_code)
            problem = {"file": str(path), "error": {"code": error.code, "message": error.safe_message}}
            print(json.dumps(problem) if options.json else f"{path}: {error.safe_message} [{error.code}]")
            continue
        if options.json:
            print(json.dumps({"file": str(path), "written": str(target), "manifest": manifest}))
        else:
            counts = ", ".join(f"{count} {action}" for action, count in manifest["counts"].items() if count)
            print(f"{path} → {target}: {counts}; burned-in text: {manifest['burned_in']}")
    return worst


def _pseudonymise(path: Path, target: Path, key: bytes) -> dict[str, Any]:
    from teleread.ingest.imaging import read_header
    from teleread.signal.anonymise import Policy, pseudonymise_dicom

    data = path.read_bytes()
    patient = read_header(data).patient
    pseudonym = "X" + _keyed(key, f"{patient.issuer or ''}\0{patient.id or path.name}").upper()
    copy, manifest = pseudonymise_dicom(data, Policy(uid_key=key, pseudonym=pseudonym))
    if target.exists() and target.samefile(path):
        raise InputRejected("same_file", "Source and destination are the same file; nothing was written.")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(copy)
    return manifest.to_json()


def _keyed(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()[:20]


def _verdict_line(quality: Any) -> str:
    return f"quality: {'acceptable' if quality.acceptable else 'NOT acceptable'}, score {quality.score:.2f}"


def _existing(path: Path) -> Path:
    if not path.exists():
        raise InputRejected("file_missing", f"There is no file {path}.")
    return path

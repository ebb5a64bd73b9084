"""``teleread formats`` and ``teleread convert``: what can be read, and one recording in another format."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from teleread.cli.ecg import add_given, existing_file, given
from teleread.errors import InputRejected

if TYPE_CHECKING:
    from teleread.signal.ecg.record import EcgRecord

# the writers and their endings, said again: to import them is to wait for NumPy
_WRITTEN = {"dicom": (".dcm",), "wfdb": (".hea", ".dat"), "aecg": (".xml",)}


def add_commands(commands: Any) -> None:
    """Add ``formats`` and ``convert``."""
    formats = commands.add_parser(
        "formats",
        help="the ECG formats that are read and written",
        description="A format that was not yet seen from a device was written from its published description alone.",
    )
    formats.add_argument("--json", action="store_true", help="a JSON array of the formats")
    formats.set_defaults(run=run_formats)

    convert = commands.add_parser(
        "convert",
        help="write one recording in another format",
        description="The samples come back within one step of the coarser scale. Leads that follow from others, "
        "device statements and marks are written as far as the format can hold them. WFDB is two files, .hea and "
        ".dat, without the patient's name and number; DICOM and aECG name the patient.",
    )
    convert.add_argument("source", type=Path, metavar="IN", help="an ECG file, a WFDB header, or a ZIP of a recording")
    convert.add_argument("destination", type=Path, metavar="OUT", help="its ending says the format, unless --to does")
    convert.add_argument("--to", choices=sorted(_WRITTEN), help="the format (default: by the ending of OUT)")
    convert.add_argument("--overwrite", action="store_true", help="replace files that are there")
    convert.add_argument("--json", action="store_true", help="one JSON object: what was read, what was written")
    add_given(convert)
    convert.set_defaults(run=run_convert)


def run_formats(options: argparse.Namespace) -> int:
    """Print the table of formats."""
    from teleread.ingest.formats.formats_table import all_formats

    rows = all_formats()
    if options.json:
        print(json.dumps(rows, ensure_ascii=False))
        return 0
    head = ("name", "title", "reads", "writes", "seen from a device", "usual endings")
    table = [head, *(_line(row) for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(head))]
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    return 0


def _line(row: Mapping[str, Any]) -> tuple[str, ...]:
    seen = "–" if not row["reads"] else "yes" if row["seen_from_device"] else "not yet"
    return (
        row["name"],
        row["title"],
        "yes" if row["reads"] else "shown, not measured",
        "yes" if row["writes"] else "–",
        seen,
        " ".join(row["extensions"]),
    )


def run_convert(options: argparse.Namespace) -> int:
    """Write one recording in another format; nothing that is there is replaced unless told so."""
    from teleread.ingest.formats import read_ecg
    from teleread.ingest.formats.writers import write_ecg

    out: Path = options.destination
    to = options.to or next((name for name, endings in _WRITTEN.items() if out.suffix.lower() in endings), None)
    if to is None:
        raise InputRejected("format_not_said", "The ending of OUT names no format; use .dcm, .hea or .xml, or --to.")
    if out.is_dir():
        raise InputRejected("file_is_folder", f"{out} is a folder; name a file in it.")
    if not out.parent.is_dir():
        raise InputRejected("folder_missing", f"There is no folder {out.parent} to write {out.name} to.")
    record = read_ecg(existing_file(options.source), given=given(options))
    try:
        files = write_ecg(record, to, out.stem if out.suffix.lower() in _WRITTEN[to] else out.name)
    except ValueError as error:
        raise InputRejected("record_unfit", f"This recording cannot be written so: {error}.") from error
    targets = _targets(files, out, to)
    if not options.overwrite:
        _refuse_existing(targets)
    for path, data in targets.items():
        _write(path, data, overwrite=options.overwrite)
    _tell(options, record, to, list(targets))
    return 0


def _targets(files: Mapping[str, bytes], out: Path, to: str) -> dict[Path, bytes]:
    # a format of one file gets exactly the name that was asked for
    if len(files) == 1:
        return dict.fromkeys([out], next(iter(files.values())))
    return {out.parent / name: data for name, data in files.items()}


def _refuse_existing(targets: Mapping[Path, bytes]) -> None:
    there = [path.name for path in targets if path.exists()]
    if there:
        raise InputRejected("file_exists", f"{', '.join(there)} is there already; --overwrite replaces it.")


def _write(path: Path, data: bytes, *, overwrite: bool) -> None:
    """The whole file under its name, or nothing; what is there is replaced only when told so."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        beside.write_bytes(data)
        if overwrite:
            beside.replace(path)
        else:
            os.link(beside, path)  # fails where the name was taken meanwhile
    except FileExistsError as error:
        raise InputRejected("file_exists", f"{path.name} is there already; --overwrite replaces it.") from error
    except OSError as error:
        raise InputRejected("file_not_written", f"{path} was not written: {error.strerror}.") from error
    finally:
        with suppress(OSError):
            beside.unlink()


def _tell(options: argparse.Namespace, record: EcgRecord, to: str, written: list[Path]) -> None:
    n_samples = int(record.signals_mv.shape[1])
    if options.json:
        facts = {
            "source_format": record.source_format,
            "leads": list(record.leads),
            "derived_leads": list(record.derived_leads),
            "fs_hz": record.fs_hz,
            "n_samples": n_samples,
            "to": to,
            "written": [str(path) for path in written],
        }
        print(json.dumps(facts, ensure_ascii=False))
        return
    derived = f" ({len(record.derived_leads)} of them derived)" if record.derived_leads else ""
    size = f"{len(record.leads)} leads{derived}, {n_samples} samples at {record.fs_hz:g} Hz"
    print(f"read      {record.source_format}: {size}")
    print(f"written   {', '.join(map(str, written))} ({to})")

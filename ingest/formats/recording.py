"""One way in for every supported ECG file: a path, bytes, or several files by name."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import tzinfo
from pathlib import Path

from teleread.errors import InputRejected
from teleread.ingest.dicom_file import split
from teleread.ingest.dicom_values import ALLIANCE_ZONE
from teleread.ingest.formats.bundle import MAX_TOTAL_BYTES, unbundle
from teleread.ingest.formats.dicom import read_dicom
from teleread.ingest.formats.format import Given, Source
from teleread.ingest.formats.names import safe_name
from teleread.ingest.formats.registry import FORMATS
from teleread.ingest.formats.sniff import ECG_FORMATS, kind_of, sniff
from teleread.ingest.formats.wfdb import bytes_needed, main_header, read_wfdb
from teleread.ingest.formats.wfdb_header import MAX_HEADER_BYTES, Header, parse_header
from teleread.ingest.formats.wholeness import picture_is_whole, text_is_whole
from teleread.signal.ecg.record import EcgRecord

_SOP_INSTANCE_UID, _WAVEFORM_SEQUENCE = 0x00080018, 0x54000100
_READABLE = ECG_FORMATS | {"dicom", "zip"}
_READERS = {one.name: one.read for one in FORMATS}
_WHOLENESS = {one.name: one.is_whole for one in FORMATS}
_STATED_BY_PERSON = frozenset({"csv"})
_PIXELS = frozenset({0x7FE00010, 0x7FE00008, 0x7FE00009, 0x00287FE0})


def read_ecg(
    source: Path | str | bytes | Mapping[str, bytes], *, zone: tzinfo = ALLIANCE_ZONE, given: Given | None = None
) -> EcgRecord:
    """Reads one ECG recording in any known format, told by its content; also from a ZIP that holds one.

    Args:
        source: a path (of a WFDB record its header or its signal file; the others are read beside it), the bytes of
            one file, or file names with their bytes.
        zone: what a time without offset is in.
        given: the rate and unit of a file that cannot say them itself (CSV).

    Returns:
        Samples as stored. Leads that follow from the stored ones are added and listed in ``derived_leads``.

    Raises:
        InputRejected: whatever is wrong with the bytes; each reader lists its codes. Here: ``file_unreadable``,
            ``file_too_large``, ``format_unknown``, ``format_unsupported``, ``several_recordings``.
    """
    given = given or Given()
    if isinstance(source, (str, Path)):
        return _read_files(_gather(Path(source)), zone, given)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _read_files({"recording": bytes(source)}, zone, given)
    return _read_files(source, zone, given)


def missing_part(files: Mapping[str, bytes]) -> str | None:
    """The name of a file that belongs to the recording and is not there, or None.

    Only a plain file name is ever returned; a header that names anything else is no reason to wait.
    """
    headers = [header for header in map(_header, files.values()) if header is not None]
    if headers:
        return next((name for header in headers for name in header.files if name not in files), None)
    if len(files) == 1:
        (name,) = files
        stem, _, ending = name.rpartition(".")
        if ending.lower() == "dat" and stem and safe_name(name) and sniff(files[name]) is None:
            return f"{stem}.hea"
    return None


def is_whole(files: Mapping[str, bytes]) -> bool:
    """False while the bytes end before what they declare: a file is still being written, or was cut off.

    What is not understood counts as whole; to wait would not help it. A DICOM file that lacks only elements behind
    its waveform or pixels cannot be told from a whole one.
    """
    if not files or not all(files.values()) or missing_part(files) is not None:
        return False
    signals = {name for data in files.values() if (header := _header(data)) for name in header.files}
    return all(_is_whole(data, files) for name, data in files.items() if name not in signals or _header(data))


def _is_whole(data: bytes, files: Mapping[str, bytes]) -> bool:
    found = sniff(data)
    if found == "dicom":
        return _dicom_is_whole(data)
    if len(data) < 132 and not any(data[:128]) and b"DICM".startswith(data[128:]):
        return False  # the preamble of a DICOM file, so far
    if found == "zip":
        try:
            return is_whole(unbundle(data))
        except InputRejected as e:
            return e.code != "bundle_broken"
    if found == "wfdb":
        try:
            header = parse_header(data, ALLIANCE_ZONE)
        except InputRejected as e:
            return e.code != "wfdb_truncated"
        return all(len(files[name]) >= (bytes_needed(header, name) or 1) for name in header.files)
    if found in ("pdf", "png", "jpeg"):
        return picture_is_whole(data, found)
    known = _WHOLENESS.get(str(found))
    return known(data) if known is not None else text_is_whole(data)


def _dicom_is_whole(data: bytes) -> bool:
    try:
        layout = split(data).layout
    except InputRejected as e:
        return e.code not in ("dicom_truncated", "dicom_empty")
    if layout.cut:
        return False
    # a cut between two elements is seen by no length, but what matters most comes last
    kind = kind_of(data)
    if kind == "ecg":
        return _WAVEFORM_SEQUENCE in layout.tags
    if kind == "image":
        return not layout.tags.isdisjoint(_PIXELS)
    return _SOP_INSTANCE_UID in layout.tags


def _header(data: bytes) -> Header | None:
    if sniff(data) != "wfdb":
        return None
    try:
        return parse_header(data, ALLIANCE_ZONE)
    except InputRejected:
        return None


def _read_files(files: Mapping[str, bytes], zone: tzinfo, given: Given) -> EcgRecord:
    found = _kinds(files)
    readable = [name for name, kind in found.items() if kind in _READABLE]
    if len(readable) > 1 and not given:
        # a table beside a recording is its export: it cannot say its rate or unit itself
        readable = [name for name in readable if found[name] not in _STATED_BY_PERSON] or readable
    if not readable:
        if any(kind is not None for kind in found.values()):
            raise InputRejected("format_unsupported", "Files of this kind cannot be read as an ECG.")
        raise InputRejected("format_unknown", "The file is of no known kind.")
    if len(readable) > 1 and all(found[name] == "wfdb" for name in readable):
        main = main_header(files, readable)  # of a record of several segments, each with a header of its own
        readable = [main] if main else readable
    if len(readable) > 1:
        raise InputRejected("several_recordings", "More than one recording was given where one is expected.")
    name = readable[0]
    kind, data = found[name], files[name]
    if kind == "dicom":
        return read_dicom(data, zone)
    if kind == "zip":
        return _read_files(unbundle(data), zone, given)
    if kind == "wfdb":
        return read_wfdb(data, files, zone)
    return _READERS[str(kind)](Source(data, files, zone, given))


def _kinds(files: Mapping[str, bytes]) -> dict[str, str | None]:
    """What each file is. A signal file is its header's, whatever its samples look like."""
    headers = [header for data in files.values() if (header := _header(data)) is not None]
    signals = {name for header in headers for name in header.files}
    return {name: None if name in signals else sniff(data) for name, data in files.items()}


def _gather(path: Path) -> dict[str, bytes]:
    """The file and, for a WFDB record, the files beside it that belong to it."""
    data = _load(path)
    header_path = path
    if sniff(data) is None:
        # a signal file says nothing about itself; its header has its name
        header_path = path.with_suffix(".hea")
        if not header_path.is_file():
            return {path.name: data}
        data = _load(header_path, MAX_HEADER_BYTES)
    files = {header_path.name: data}
    header = parse_header(data, ALLIANCE_ZONE) if sniff(data) == "wfdb" else None
    _add_beside(header_path.parent, header, files)
    for name in header.files if header and header.segments else ():
        if name in files and sniff(files[name]) == "wfdb":
            _add_beside(header_path.parent, parse_header(files[name], ALLIANCE_ZONE), files)
    return files


def _add_beside(folder: Path, header: Header | None, files: dict[str, bytes]) -> None:
    for name in header.files if header else ():
        if name not in files and (folder / name).is_file():
            files[name] = _load(folder / name, MAX_TOTAL_BYTES - sum(len(data) for data in files.values()))


def _load(path: Path, limit: int = MAX_TOTAL_BYTES) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as e:
        raise InputRejected("file_unreadable", "The file cannot be opened.") from e
    if len(data) > limit:
        raise InputRejected("file_too_large", "The file exceeds the size limit.")
    return data

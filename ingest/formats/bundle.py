"""Several files of one recording as one object: a ZIP without folders, whose bytes depend on the content alone."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping

from teleread.errors import InputRejected
from teleread.ingest.formats.names import safe_name

MAX_ENTRIES = 64
MAX_TOTAL_BYTES = 256 << 20
MAX_RATIO = 100

_SMALL = 64 << 10  # below this, a high ratio harms nobody
_EOCD = b"PK\x05\x06"
_FIXED_DATE = (1980, 1, 1, 0, 0, 0)


def bundle(files: Mapping[str, bytes]) -> bytes:
    """One stored (uncompressed) ZIP of ``files``: sorted names, fixed date, so the same files give the same bytes.

    Raises:
        InputRejected: ``bundle_empty``, ``bundle_too_many``, ``bundle_too_large``, ``bundle_bad_name``.
    """
    if not files:
        raise InputRejected("bundle_empty", "There is no file to keep.")
    if len(files) > MAX_ENTRIES:
        raise InputRejected("bundle_too_many", f"More than {MAX_ENTRIES} files belong to one recording.")
    if sum(len(data) for data in files.values()) > MAX_TOTAL_BYTES:
        raise InputRejected("bundle_too_large", "The files of one recording exceed the size limit.")
    if len({name.casefold() for name in files}) != len(files):
        raise InputRejected("bundle_bad_name", "Two files differ in upper and lower case only.")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            if not safe_name(name):
                raise InputRejected("bundle_bad_name", "A file name holds a folder or a forbidden character.")
            info = zipfile.ZipInfo(name, _FIXED_DATE)
            info.create_system = 3
            info.external_attr = (stat.S_IFREG | 0o600) << 16
            archive.writestr(info, files[name])
    return out.getvalue()


def unbundle(data: bytes, head_bytes: int = -1) -> dict[str, bytes]:
    """The files in a ZIP, bounded before anything is inflated; only their first ``head_bytes`` when given.

    Raises:
        InputRejected: ``bundle_broken`` (also cut off), ``bundle_empty``, ``bundle_too_many``, ``bundle_too_large``,
            ``bundle_ratio``, ``bundle_bad_name``, ``bundle_encrypted``, ``bundle_nested``.
    """
    _check_directory_size(data)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            _check_entries(entries)
            files = {info.filename: _read(archive, info, head_bytes) for info in entries}
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, RuntimeError) as e:
        raise InputRejected("bundle_broken", "The ZIP file is damaged, cut off or of an unsupported kind.") from e
    if any(content.startswith((b"PK\x03\x04", _EOCD)) for content in files.values()):
        raise InputRejected("bundle_nested", "The ZIP file holds another ZIP file.")
    return files


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, head_bytes: int) -> bytes:
    with archive.open(info) as member:
        return member.read(head_bytes)


def _check_directory_size(data: bytes) -> None:
    # zipfile builds an object for every entry of the directory before it can be asked how many there are
    at = data.rfind(_EOCD, max(0, len(data) - 65557))
    if at < 0 or at + 22 > len(data):
        raise InputRejected("bundle_broken", "The ZIP file has no end: it is cut off or damaged.")
    entries, size = struct.unpack_from("<HI", data, at + 10)
    if entries > MAX_ENTRIES or size > MAX_ENTRIES * 4096:
        raise InputRejected("bundle_too_many", f"The ZIP file holds more than {MAX_ENTRIES} files.")


def _check_entries(entries: list[zipfile.ZipInfo]) -> None:
    if not entries:
        raise InputRejected("bundle_empty", "The ZIP file is empty.")
    if len(entries) > MAX_ENTRIES:
        raise InputRejected("bundle_too_many", f"The ZIP file holds more than {MAX_ENTRIES} files.")
    if sum(info.file_size for info in entries) > MAX_TOTAL_BYTES:
        raise InputRejected("bundle_too_large", "The ZIP file unpacks to more than the size limit.")
    if len({info.filename.casefold() for info in entries}) != len(entries):
        raise InputRejected("bundle_bad_name", "Two files in the ZIP file have the same name.")
    for info in entries:
        if info.flag_bits & 0x1:
            raise InputRejected("bundle_encrypted", "The ZIP file is encrypted.")
        if not safe_name(info.filename) or stat.S_ISLNK(info.external_attr >> 16):
            raise InputRejected("bundle_bad_name", "The ZIP file holds a folder, a link or a forbidden name.")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputRejected("bundle_broken", "The ZIP file uses an unsupported compression.")
        if info.file_size > max(_SMALL, MAX_RATIO * info.compress_size):
            raise InputRejected("bundle_ratio", "A file in the ZIP file unpacks to far more than its size.")

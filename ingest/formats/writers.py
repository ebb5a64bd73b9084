"""The formats that a record can be written in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import tzinfo

from teleread.ingest.dicom_values import ALLIANCE_ZONE
from teleread.ingest.formats.aecg_write import write_aecg
from teleread.ingest.formats.dicom_write import derived_uids, write_dicom
from teleread.ingest.formats.wfdb_write import write_wfdb
from teleread.signal.ecg.record import EcgRecord

_UID_KEY = b"teleread convert"  # no secret: the file names its patient, and the same file gives the same UIDs


@dataclass(frozen=True, slots=True)
class Writer:
    """One way to write a record.

    Attributes:
        write: gives the files by name from the record, the name without its ending, and the zone of local times.
        extensions: by which a person names it; the first one is that of the file to be opened.
    """

    write: Callable[[EcgRecord, str, tzinfo], Mapping[str, bytes]]
    extensions: tuple[str, ...]


def _wfdb(record: EcgRecord, stem: str, zone: tzinfo) -> Mapping[str, bytes]:
    return write_wfdb(record, stem, zone=zone)


def _aecg(record: EcgRecord, stem: str, zone: tzinfo) -> Mapping[str, bytes]:
    return {f"{stem}.xml": write_aecg(record)}


def _dicom(record: EcgRecord, stem: str, zone: tzinfo) -> Mapping[str, bytes]:
    return {f"{stem}.dcm": write_dicom(record, uids=derived_uids(record, _UID_KEY), zone=zone)}


WRITERS: Mapping[str, Writer] = {
    "aecg": Writer(_aecg, (".xml",)),
    "dicom": Writer(_dicom, (".dcm",)),
    "wfdb": Writer(_wfdb, (".hea", ".dat")),
}


def write_ecg(record: EcgRecord, to: str, stem: str, *, zone: tzinfo = ALLIANCE_ZONE) -> Mapping[str, bytes]:
    """The files of ``record`` in format ``to``, one of ``WRITERS``.

    Raises:
        ValueError: the format cannot hold this record, or not under this name.
    """
    return WRITERS[to].write(record, stem, zone)

"""The formats that a record can be written in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import tzinfo

from teleread.errors import InputRejected
from teleread.ingest.dicom_values import ALLIANCE_ZONE
from teleread.ingest.formats.wfdb_write import write_wfdb
from teleread.signal.ecg.record import EcgRecord


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
    try:
        return write_wfdb(record, stem, zone=zone)
    except ValueError as error:
        raise InputRejected("name_unfit", "A WFDB record's name is made of letters, digits, _ and -.") from error


WRITERS: Mapping[str, Writer] = {
    "wfdb": Writer(_wfdb, (".hea", ".dat")),
}


def write_ecg(record: EcgRecord, to: str, stem: str, *, zone: tzinfo = ALLIANCE_ZONE) -> Mapping[str, bytes]:
    """The files of ``record`` in format ``to``, one of ``WRITERS``.

    Raises:
        InputRejected: ``name_unfit``; what the format cannot hold (each writer lists its codes).
    """
    return WRITERS[to].write(record, stem, zone)

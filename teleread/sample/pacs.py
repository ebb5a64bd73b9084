"""The county hospital's PACS: a DICOM archive over one folder, as a process of its own.

    python -m teleread.sample.pacs --folder F --port P --aet COUNTY

It answers C-ECHO, C-FIND and C-GET (study root) and takes C-STORE, on loopback only, prints ``ready PORT`` when it
listens and ends within a second of SIGTERM. A peer for trials and tests, not for patients.

pynetdicom's listener believes any PDU length: six bytes that claim 4 GiB make it read for gigabytes before any AE
title is checked. ``Wire`` stands in front of it here as it does in our own pulls.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, cast

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from pynetdicom.transport import ThreadedAssociationServer

from teleread.ingest.sources.dicom_query import STUDY_ROOT_FIND, STUDY_ROOT_GET, TRANSFER_SYNTAXES, USUAL_CLASSES
from teleread.ingest.sources.dimse import MAX_PDU_BYTES
from teleread.ingest.sources.part10 import dataset_uid, is_uid, part10
from teleread.ingest.sources.wire import Wire

CLASSES = (
    *USUAL_CLASSES,
    "1.2.840.10008.5.1.4.1.1.9.1.3",  # ambulatory ECG
    "1.2.840.10008.5.1.4.1.1.2.1",  # enhanced CT
    "1.2.840.10008.5.1.4.1.1.4.1",  # enhanced MR
    "1.2.840.10008.5.1.4.1.1.88.11",  # basic text SR: reports come back
    "1.2.840.10008.5.1.4.1.1.104.1",  # encapsulated PDF
)

_MAX_OBJECT_BYTES = 1 << 30
_LEVELS = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}
_KEYS = (
    "SpecificCharacterSet",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyDescription",
    "AccessionNumber",
    "StudyID",
    "ReferringPhysicianName",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "Modality",
    "BodyPartExamined",
    "SOPInstanceUID",
    "SOPClassUID",
    "InstanceNumber",
    "NumberOfFrames",
    "Rows",
    "Columns",
)
_PENDING, _CANCELLED = 0xFF00, 0xFE00
_CANNOT_STORE, _NO_MATCHING_OBJECT, _UNABLE = 0xA700, 0xA900, 0xC000


@dataclass(frozen=True, slots=True)
class Stored:
    """One file of the archive and its header."""

    path: Path
    header: Dataset


class Archive:
    """The folder's DICOM files, looked at anew whenever it is asked; a header is read once per change of its file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[tuple[int, int], Stored | None]] = {}

    def instances(self) -> list[Stored]:
        """One entry per SOP instance, in a stable order; of several files for one instance the newest."""
        with self._lock:
            found: dict[str, tuple[tuple[int, int], Stored | None]] = {}
            for entry in sorted(os.scandir(self.folder), key=lambda entry: entry.name):
                if entry.name.startswith(".") or not entry.is_file(follow_symlinks=False):
                    continue
                stat = entry.stat(follow_symlinks=False)
                mark = (stat.st_mtime_ns, stat.st_size)
                old = self._seen.get(entry.name)
                found[entry.name] = old if old is not None and old[0] == mark else (mark, _read(Path(entry.path)))
            self._seen = found
            newest_last = sorted(found.values(), key=lambda pair: pair[0])
        held = {str(one.header.SOPInstanceUID): one for _, one in newest_last if one is not None}
        return [held[uid] for uid in sorted(held)]

    def add(self, data: bytes) -> None:
        """Keep a file under the hash of its bytes; the same bytes twice are one file."""
        name = hashlib.sha256(data).hexdigest()
        temporary = self.folder / f".{name}.{threading.get_ident()}"
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self.folder / f"{name}.dcm")
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def matching(instances: Sequence[Stored], query: Dataset) -> list[Stored]:
    """The instances that a query's keys select: UID lists, wildcards, date ranges (PS3.4 section C.2.2.2)."""
    tests: list[Callable[[Dataset], bool]] = []
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        if wanted := _values(query, keyword):
            tests.append(lambda header, k=keyword, w=wanted: str(header.get(k, "")) in w)  # type: ignore[misc]
    for keyword in ("PatientID", "PatientName", "AccessionNumber", "Modality", "ModalitiesInStudy"):
        held = "Modality" if keyword == "ModalitiesInStudy" else keyword
        if wanted := [value for value in _values(query, keyword) if value != "*"]:
            tests.append(lambda header, k=held, w=wanted: _like(str(header.get(k, "")), w))  # type: ignore[misc]
    if days := _values(query, "StudyDate"):
        tests.append(lambda header: _within(str(header.get("StudyDate", "")), days[0]))
    return [one for one in instances if all(test(one.header) for test in tests)]


def answers(instances: Sequence[Stored], query: Dataset) -> list[Dataset]:
    """One answer per entity of the query's level, holding the keys that were asked for."""
    level = str(query.get("QueryRetrieveLevel", ""))
    groups: dict[str, list[Dataset]] = {}
    for one in matching(instances, query):
        groups.setdefault(str(one.header.get(_LEVELS[level], "")), []).append(one.header)
    return [_answer(headers, query, level) for headers in groups.values()]


def _answer(headers: Sequence[Dataset], query: Dataset, level: str) -> Dataset:
    answer = Dataset()
    counted = {
        "ModalitiesInStudy": sorted({str(header.get("Modality", "")) for header in headers}),
        "NumberOfStudyRelatedSeries": len({str(header.get("SeriesInstanceUID", "")) for header in headers}),
        "NumberOfStudyRelatedInstances": len(headers),
        "NumberOfSeriesRelatedInstances": len(headers),
    }
    for element in query:
        keyword = element.keyword
        if keyword in counted:
            setattr(answer, keyword, counted[keyword])
        elif keyword in headers[0]:
            answer[element.tag] = headers[0][element.tag]
        elif keyword:
            setattr(answer, keyword, "")
    answer.QueryRetrieveLevel = level
    if "SpecificCharacterSet" in headers[0]:
        answer.SpecificCharacterSet = headers[0].SpecificCharacterSet
    return answer


def _read(path: Path) -> Stored | None:
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_KEYS))
    except (InvalidDicomError, OSError, ValueError, EOFError, KeyError):
        return None
    return Stored(path, header) if is_uid(str(header.get("SOPInstanceUID", ""))) else None


def _values(query: Dataset, keyword: str) -> list[str]:
    value = query.get(keyword)
    if value is None or value == "":
        return []
    many = value if isinstance(value, (list, pydicom.multival.MultiValue)) else [value]
    return [str(one) for one in many if str(one)]


def _like(value: str, patterns: Sequence[str]) -> bool:
    # fnmatch knows one special character more than DICOM
    return any(fnmatchcase(value.casefold(), pattern.casefold().replace("[", "[[]")) for pattern in patterns)


def _within(day: str, wanted: str) -> bool:
    bare = day.replace(".", "")
    if "-" not in wanted:
        return bare == wanted
    first, _, last = wanted.partition("-")
    return bool(re.fullmatch(r"\d{8}", bare)) and (not first or first <= bare) and (not last or bare <= last)


class Pacs:
    """The archive behind a listening port.

    Args:
        folder: where the files lie; made when absent.
        port: 0 for a free one; ``port`` says which.
        silence_s: a peer that sends nothing for so long is cut off.
    """

    def __init__(self, folder: Path, aet: str, port: int = 0, *, silence_s: float = 60.0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.archive = Archive(folder)
        self._silence_s = silence_s
        entity = AE(ae_title=aet)
        entity.maximum_associations = 10
        entity.acse_timeout, entity.dimse_timeout, entity.network_timeout = 10, 30, silence_s
        entity.maximum_pdu_size = MAX_PDU_BYTES
        for service in (Verification, STUDY_ROOT_FIND, STUDY_ROOT_GET):
            entity.add_supported_context(service, list(TRANSFER_SYNTAXES[:2]))
        for sop_class in CLASSES:
            entity.add_supported_context(sop_class, list(TRANSFER_SYNTAXES), scu_role=True, scp_role=True)
        handlers: list[Any] = [
            (evt.EVT_CONN_OPEN, self._on_open),
            (evt.EVT_C_ECHO, lambda event: 0x0000),
            (evt.EVT_C_FIND, self._on_find),
            (evt.EVT_C_GET, self._on_get),
            (evt.EVT_C_STORE, self._on_store),
        ]
        server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
        self._entity = entity
        self._server = cast(ThreadedAssociationServer, server)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(cast(Any, self._server.socket).getsockname()[1])

    def close(self) -> None:
        """Stop listening and break off what is going on."""
        self._entity.shutdown()

    def _on_open(self, event: evt.Event) -> None:
        Wire(self._silence_s, None, _MAX_OBJECT_BYTES).on_open(event)

    def _on_find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        query = event.identifier
        if str(query.get("QueryRetrieveLevel", "")) not in _LEVELS:
            yield _NO_MATCHING_OBJECT, None
            return
        for answer in answers(self.archive.instances(), query):
            if event.is_cancelled:
                yield _CANCELLED, None
                return
            yield _PENDING, answer

    def _on_get(self, event: evt.Event) -> Iterator[int | tuple[int, Dataset | None]]:
        query = event.identifier
        level = str(query.get("QueryRetrieveLevel", ""))
        chosen = matching(self.archive.instances(), query) if _values(query, _LEVELS.get(level, "")) else []
        yield len(chosen)
        for one in chosen:
            if event.is_cancelled:
                yield _CANCELLED, None
                return
            yield _PENDING, pydicom.dcmread(one.path)

    def _on_store(self, event: evt.Event) -> int:
        request = cast(C_STORE, event.request)
        uid, sop_class = str(request.AffectedSOPInstanceUID), str(request.AffectedSOPClassUID)
        if request.DataSet is None or not (is_uid(uid) and is_uid(sop_class)):
            return _UNABLE
        syntax = str(event.context.transfer_syntax)
        received = request.DataSet.getbuffer()
        if dataset_uid(received, syntax) != uid:
            return _NO_MATCHING_OBJECT
        try:
            self.archive.add(part10(sop_class, uid, syntax, received))
        except OSError:
            return _CANNOT_STORE
        return 0x0000


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m teleread.sample.pacs", description="A sample PACS on loopback.")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True, help="0 for a free one")
    parser.add_argument("--aet", default="COUNTY")
    options = parser.parse_args(arguments)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    try:
        pacs = Pacs(options.folder, options.aet, options.port)
    except OSError as error:
        print(f"cannot listen on port {options.port}: {error.strerror}", file=sys.stderr)
        return 4
    print(f"ready {pacs.port}", flush=True)
    ended.wait()
    # pynetdicom's threads outlive their associations by seconds; what was stored is already durable
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())

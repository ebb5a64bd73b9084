"""What to ask a PACS and how to read its answers: pure, no network.

Answers are read from their raw elements. Nothing is converted, so that no warning repeats a value, and only what
looks like a UID, a date or a count is believed.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag
from pynetdicom.presentation import PresentationContext, build_context

from teleread.ingest.sources.part10 import is_uid

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"

TRANSFER_SYNTAXES = (
    "1.2.840.10008.1.2.1",  # explicit VR little endian
    "1.2.840.10008.1.2",  # implicit VR little endian
    "1.2.840.10008.1.2.4.50",  # JPEG baseline
    "1.2.840.10008.1.2.4.51",  # JPEG extended
    "1.2.840.10008.1.2.4.57",  # JPEG lossless
    "1.2.840.10008.1.2.4.70",  # JPEG lossless, first-order prediction
    "1.2.840.10008.1.2.4.80",  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.81",  # JPEG-LS near-lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.4.102",  # MPEG-4 AVC
    "1.2.840.10008.1.2.4.201",  # HTJ2K lossless
    "1.2.840.10008.1.2.4.203",  # HTJ2K
    "1.2.840.10008.1.2.5",  # RLE lossless
)
"""One presentation context each, so that a peer can send what it stores without converting it."""

USUAL_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.9.1.1",  # 12-lead ECG
    "1.2.840.10008.5.1.4.1.1.9.1.2",  # general ECG
    "1.2.840.10008.5.1.4.1.1.2",  # CT
    "1.2.840.10008.5.1.4.1.1.4",  # MR
    "1.2.840.10008.5.1.4.1.1.6.1",  # ultrasound
    "1.2.840.10008.5.1.4.1.1.3.1",  # ultrasound, several frames
    "1.2.840.10008.5.1.4.1.1.1",  # CR
    "1.2.840.10008.5.1.4.1.1.1.1",  # DX
    "1.2.840.10008.5.1.4.1.1.7",  # secondary capture
)
"""Proposed when the peer does not say what it holds: 9 times 14 contexts and the query's own are 127 of 128."""

STUDY_UID, SERIES_UID = Tag(0x0020, 0x000D), Tag(0x0020, 0x000E)
SOP_UID, SOP_CLASS_UID = Tag(0x0008, 0x0018), Tag(0x0008, 0x0016)
_STUDY_DATE, _STUDY_TIME, _INSTANCE_COUNT = Tag(0x0008, 0x0020), Tag(0x0008, 0x0030), Tag(0x0020, 0x1208)

_MAX_CLASSES = len(USUAL_CLASSES)
_NEWEST_FIRST = 64


@dataclass(frozen=True, slots=True)
class Study:
    """A study as the peer lists it; ``when`` is date and time as digits, ``count`` the peer's own hint."""

    uid: str
    when: str
    count: int | None


@dataclass(frozen=True, slots=True)
class Series:
    """A series with what is missing of it: SOP instance UID to SOP class UID ("" when the peer does not say)."""

    study_uid: str
    uid: str
    size: int
    missing: dict[str, str]

    @property
    def fingerprint(self) -> str:
        """Where an instance stands: it changes when the hospital moves it to another study or series."""
        return f"{self.study_uid}/{self.uid}"


def context(abstract_syntax: str) -> PresentationContext:
    """A query context: plain little endian, never deflated, because answers are decoded in this process."""
    return build_context(abstract_syntax, list(TRANSFER_SYNTAXES[:2]))


def storage_contexts(classes: Sequence[str]) -> list[PresentationContext]:
    """Contexts that let a peer send any of the classes as it is stored."""
    return [build_context(sop_class, syntax) for sop_class in classes for syntax in TRANSFER_SYNTAXES]


def studies_query(since: str | None) -> Dataset:
    """All studies, or those dated ``since`` (YYYYMMDD) and later."""
    query = _query("STUDY", STUDY_UID, _STUDY_TIME, _INSTANCE_COUNT)
    query.StudyDate = "" if since is None else f"{since}-"
    return query


def series_query(study_uid: str) -> Dataset:
    """All series of a study."""
    query = _query("SERIES", SERIES_UID)
    query.StudyInstanceUID = study_uid
    return query


def instances_query(study_uid: str, series_uid: str) -> Dataset:
    """All instances of a series."""
    query = _query("IMAGE", SOP_UID, SOP_CLASS_UID)
    query.StudyInstanceUID, query.SeriesInstanceUID = study_uid, series_uid
    return query


def retrieve_query(study_uid: str, series_uid: str, sop_uids: Sequence[str] | None) -> Dataset:
    """A whole series, or the named instances of it."""
    query = _query("SERIES" if sop_uids is None else "IMAGE")
    query.StudyInstanceUID, query.SeriesInstanceUID = study_uid, series_uid
    if sop_uids is not None:
        query.SOPInstanceUID = list(sop_uids)
    return query


def read_study(answer: Dataset) -> Study | None:
    """A STUDY answer, None without a usable UID."""
    uid = read_uid(answer, STUDY_UID)
    if uid is None:
        return None
    day, clock, count = (_text(answer, tag) for tag in (_STUDY_DATE, _STUDY_TIME, _INSTANCE_COUNT))
    when = day + (clock[:6] if clock[:6].isdecimal() else "") if re.fullmatch(r"\d{8}", day) else ""
    return Study(uid, when, int(count) if re.fullmatch(r"\d{1,9}", count) else None)


def read_instance(answer: Dataset) -> tuple[str, str] | None:
    """An IMAGE answer as (SOP instance UID, SOP class UID or ""), None without a usable instance UID."""
    uid = read_uid(answer, SOP_UID)
    return None if uid is None else (uid, read_uid(answer, SOP_CLASS_UID) or "")


def read_uid(answer: Dataset, tag: BaseTag) -> str | None:
    """A UID of an answer, None when absent or not made of digits and dots."""
    text = _text(answer, tag)
    return text if is_uid(text) else None


def in_order(studies: Sequence[Study], rng: random.Random) -> list[Study]:
    """The newest first, then the others from a random place on: a budget that always ends early reaches all in time."""
    ordered = sorted(studies, key=lambda study: (study.when, study.uid), reverse=True)
    newest, older = ordered[:_NEWEST_FIRST], ordered[_NEWEST_FIRST:]
    start = rng.randrange(len(older)) if older else 0
    return newest + older[start:] + older[:start]


def partition(wanted: Sequence[Series]) -> Iterator[tuple[list[str], list[Series]]]:
    """Series grouped so that the classes of each group fit into one association."""
    classes: dict[str, None] = {}
    group: list[Series] = []
    for series in wanted:
        own = dict.fromkeys(sop_class for sop_class in series.missing.values() if sop_class)
        if "" in series.missing.values():
            own |= dict.fromkeys(USUAL_CLASSES)
        if group and len(classes | own) > _MAX_CLASSES:
            yield list(classes)[:_MAX_CLASSES], group
            classes, group = {}, []
        classes |= own
        group.append(series)
    if group:
        yield list(classes)[:_MAX_CLASSES], group


def _query(level: str, *wanted: BaseTag) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = level
    for tag in wanted:
        query.add_new(tag, _VR[tag], "")
    return query


_VR = {
    STUDY_UID: "UI",
    SERIES_UID: "UI",
    SOP_UID: "UI",
    SOP_CLASS_UID: "UI",
    _STUDY_DATE: "DA",
    _STUDY_TIME: "TM",
    _INSTANCE_COUNT: "IS",
}


def _text(answer: Dataset, tag: BaseTag) -> str:
    element = answer.get_item(tag)
    value = None if element is None else element.value
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    return value.strip(" \0") if isinstance(value, str) else ""

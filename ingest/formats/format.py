"""What a file format is to teleread: how its first bytes look, and how its bytes become a record."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from types import MappingProxyType

from teleread.ingest.dicom_values import ALLIANCE_ZONE
from teleread.ingest.formats.units import PER_MV
from teleread.signal.ecg.record import EcgRecord

LOOK_BYTES = 4096
"""How much of a file its format is told from."""

_PROLOG = re.compile(r"\s*(?:<\?.*?\?>\s*|<!--.*?-->\s*|<!DOCTYPE[^>\[]*(?:\[.*?\]\s*)?>\s*)*", re.DOTALL)
_ROOT = re.compile(r"<(?:[\w.-]+:)?([A-Za-z_][\w.-]*)")
_GIVEN = re.compile(r"(\d{1,6}(?:\.\d{1,9})?|\.\d{1,9})?\s*([munMUN]?[vV])", re.ASCII)
_MARKUP = re.compile(rb"(?:\xef\xbb\xbf)?\s{0,64}<[?!A-Za-z]")


@dataclass(frozen=True, slots=True)
class Head:
    """The first bytes of a file and what every recogniser wants to know of them."""

    data: bytes
    """At most ``LOOK_BYTES`` bytes."""
    size: int
    """Of the whole file."""
    is_xml: bool
    root: str
    """Local name of the XML root element in lower case; empty where there is none within the head."""

    @classmethod
    def of(cls, data: bytes) -> Head:
        """Looks at the first ``LOOK_BYTES`` of a whole file, never farther."""
        head = bytes(data[:LOOK_BYTES])
        is_xml = bool(_MARKUP.match(head)) or head.startswith((b"\xff\xfe<\x00", b"\xfe\xff\x00<"))
        return cls(head, len(data), is_xml, _root(head) if is_xml else "")


@dataclass(frozen=True, slots=True)
class Given:
    """What a person states about a file that cannot say it itself. None: the file must say it."""

    fs_hz: float | None = None
    unit: str | None = None
    """``"mV"``, ``"uV"``, ``"nV"`` or ``"V"``, or a number of them such as ``"5uV"``: what one step of the stored
    numbers is."""

    @property
    def per_mv(self) -> float | None:
        """Millivolts in one step of the stored numbers, None where nobody stated it or it is no voltage."""
        found = _GIVEN.fullmatch((self.unit or "").strip())
        if found is None:
            return None
        step = float(found[1] or "1") * PER_MV[found[2].lower()]
        return step if step > 0 else None

    def __bool__(self) -> bool:
        return self.fs_hz is not None or self.unit is not None


@dataclass(frozen=True, slots=True)
class Source:
    """One recording's bytes, as a reader gets them."""

    data: bytes
    """The file that was recognised."""
    files: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}))
    """All files that were given together, by plain name."""
    zone: tzinfo = ALLIANCE_ZONE
    """What a time without offset is in."""
    given: Given = Given()


@dataclass(frozen=True, slots=True)
class Format:
    """One file format.

    Attributes:
        name: stable, lower case; it is the record's ``source_format`` and begins every error code of the reader.
        title: how people call it.
        recognises: tells it from the head alone; cheap, and never raises.
        read: gives the record; raises ``InputRejected`` and nothing else. Pure: no file, no clock, no network.
        seen_from_device: whether a file that a device or its software wrote has been read and compared with a key, or,
            where there is none (Heal Force), with another decoding of the same file. Otherwise the reader was
            written from the published description alone, and does not count as read.
        extensions: as found in the field; for people only, nothing is told from them.
        is_whole: False while the bytes end before what their own header declares; cheap, looks at a header and at
            lengths only, never raises. None: nothing in the format tells. Markup needs none: its root must be closed.
    """

    name: str
    title: str
    recognises: Callable[[Head], bool]
    read: Callable[[Source], EcgRecord]
    seen_from_device: bool
    extensions: tuple[str, ...] = ()
    is_whole: Callable[[bytes], bool] | None = None


def _root(head: bytes) -> str:
    """The local name of the root element, lower case, from the head of an XML file in any encoding of ASCII's kind."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = head[: len(head) & ~1].decode("utf-16", "replace")
    else:
        text = head.decode("latin-1").removeprefix("\xef\xbb\xbf")
    prolog = _PROLOG.match(text)
    found = _ROOT.match(text, prolog.end() if prolog else 0)
    return found[1].lower() if found else ""

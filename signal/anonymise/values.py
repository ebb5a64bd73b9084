"""Values that replace what is taken out: dummies by value representation, keyed UIDs, the meaning of public codes."""

from __future__ import annotations

import hashlib
import hmac
import uuid
from functools import lru_cache

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

_TEXT = "ANONYMIZED"
_DUMMIES: dict[str, object] = {
    **dict.fromkeys(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT"), _TEXT),
    "AS": "000D",
    "DA": "19000101",
    "DT": "19000101000000",
    "TM": "000000",
    "UR": "urn:anonymized",
    **dict.fromkeys(("DS", "IS"), "0"),
    **dict.fromkeys(("FL", "FD"), 0.0),
    **dict.fromkeys(("SL", "SS", "SV", "UL", "US", "UV", "AT"), 0),
    **dict.fromkeys(("OB", "OW", "UN"), b"\0\0"),
    **dict.fromkeys(("OF", "OL"), bytes(4)),
    **dict.fromkeys(("OD", "OV"), bytes(8)),
}

PUBLIC_SCHEMES = frozenset(
    (
        *("DCM", "SCT", "SRT", "SNM3", "SCPECG", "MDC", "LN", "UCUM", "RADLEX", "FMA", "NCIt", "UMLS", "MSH", "RXNORM"),
        *("ICD10", "ICD11", "I10", "I10C", "I10P", "I9", "I9C", "ACR", "BI", "IBSI", "C4", "ATC", "NEU", "UNS"),
        *("ISO639_1", "ISO639_2", "ISO3166_1", "RFC3066", "RFC5646", "PUBCHEM_CID"),
    )
)
"""Coding scheme designators of published vocabularies (PS3.16 table 8-1); a code of these names no person."""


def single_vr(vr: str) -> str:
    """The first of an ambiguous pair such as ``"US or SS"``; for pixel-like values the wider ``OW``."""
    return "OW" if vr == "OB or OW" else vr.split(" ")[0]


def dummy(tag: int, vr: str) -> DataElement:
    """A non-empty value, valid for its value representation and equal for everybody."""
    vr = single_vr(vr)
    if vr not in _DUMMIES:
        vr = "UN"
    return DataElement(tag, vr, _DUMMIES[vr])


def empty(tag: int, vr: str) -> DataElement:
    """The attribute without a value."""
    vr = single_vr(vr)
    return DataElement(tag, vr, Sequence() if vr == "SQ" else None)


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """One item of a code sequence (PS3.3 table 8.8-1)."""
    item = Dataset()
    item.CodeValue = value
    item.CodingSchemeDesignator = scheme
    item.CodeMeaning = meaning
    return item


def dummy_code(tag: int) -> DataElement:
    """A code sequence whose one item says nothing."""
    return DataElement(tag, "SQ", Sequence([code(_TEXT, "99TELEREAD", "Anonymized")]))


def texts(element: DataElement | RawDataElement) -> list[str]:
    """The values of a short ASCII element, not decoded further; padding removed."""
    value = element.value
    if value is None:
        return []
    if isinstance(value, bytes):
        parts = value.decode("latin-1").split("\\")
    elif isinstance(value, str) or not hasattr(value, "__iter__"):
        parts = [str(value)]
    else:
        parts = [str(part) for part in value]
    return [part.strip(" \0") for part in parts]


def is_registered(uid: str) -> bool:
    """Whether the standard registers the UID; only such a UID has a name of its own in pydicom's dictionary."""
    return UID(uid).name != uid


def keyed_uid(uid: str, key: bytes) -> str:
    """The pseudonymous UID ``2.25.<n>``, n being a version 4 UUID made of HMAC-SHA256(key, uid).

    Registered UIDs (SOP classes, transfer syntaxes, coding schemes, well-known frames of reference) name no instance
    and stay. Without the key nobody can tell whether a UID belongs to a known original.
    """
    if not uid or is_registered(uid):
        return uid
    digest = hmac.new(key, uid.encode("utf-8", "surrogateescape"), hashlib.sha256).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=4).int}"


@lru_cache(maxsize=1)
def _dcm_meanings() -> dict[str, str]:
    # Imported here: the vocabulary takes 70 ms to load and most objects hold no code.
    from pydicom.sr.codedict import codes

    return {concept.value: concept.meaning for concept in codes.DCM.concepts.values()}


def dcm_meaning(value: str) -> str | None:
    """The meaning that PS3.16 annex D gives a ``DCM`` code, None for codes that pydicom does not know."""
    return _dcm_meanings().get(value)

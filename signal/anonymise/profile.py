"""PS3.15 Annex E Basic Application Level Confidentiality Profile on a pydicom data set; dates may be moved.

The input is not changed. Elements that stay are passed on as the bytes they were read from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from copy import copy
from types import MappingProxyType

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag

from teleread.errors import InputRejected
from teleread.signal.anonymise import dates, values
from teleread.signal.anonymise.e11_table import EDITION
from teleread.signal.anonymise.part10 import dicom_boundary
from teleread.signal.anonymise.policy import BurnedIn, Manifest, Policy
from teleread.signal.anonymise.rules import Treatment, treatment_of
from teleread.signal.anonymise.streams import blank_comments
from teleread.signal.anonymise.structure import MAX_DEPTH, known_vr

METHOD = "Pseudonymised: PS3.15 2026c Basic Profile, teleread"
"""De-identification Method (0012,0063)."""

_PATIENT_ID, _PATIENT_NAME = 0x00100020, 0x00100010
_CODE_VALUES = (0x00080100, 0x00080119, 0x00080120)
_CODE_SCHEME, _CODE_MEANING, _CODE_SCHEME_VERSION = 0x00080102, 0x00080104, 0x00080103
_CHARACTER_SET = 0x00080005
_BURNED_IN = 0x00280301
_PIXEL_DATA = 0x7FE00010
_UNDEFINED = 0xFFFFFFFF
_STRICT_TEXT = frozenset(("AE", "AS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UR", "UT"))

Element = DataElement | RawDataElement


def anonymise(dataset: Dataset, policy: Policy) -> tuple[Dataset, Manifest]:
    """Pseudonymise a data set at every depth.

    Args:
        dataset: as read by :func:`~teleread.signal.anonymise.part10.read_dataset`, or built by hand.
        policy: key, pseudonym and strictness.

    Returns:
        A new data set in the same encoding, without file meta information, and what was done. It is pseudonymised,
        not anonymous: pixels are not looked at, and Burned In Annotation is passed on as the file states it.

    Raises:
        InputRejected: ``dicom_too_deep`` or ``dicom_malformed``.
    """
    with dicom_boundary():
        run = _Run(dataset, policy)
        out = run.clean(dataset, 0, strict=False)
        out[_PATIENT_ID] = DataElement(_PATIENT_ID, "LO", policy.pseudonym)
        out[_PATIENT_NAME] = DataElement(_PATIENT_NAME, "PN", policy.pseudonym)
        out.PatientIdentityRemoved = "YES"
        out.DeidentificationMethod = METHOD
        methods = [values.code("113100", "DCM", "Basic Application Confidentiality Profile")]
        if policy.shift_days is not None:
            meaning = "Retain Longitudinal Temporal Information Modified Dates Option"
            methods.append(values.code("113107", "DCM", meaning))
        out.DeidentificationMethodCodeSequence = Sequence(methods)
        out.LongitudinalTemporalInformationModified = "REMOVED" if policy.shift_days is None else "MODIFIED"
        stated = values.texts(dataset.get_item(_BURNED_IN)) if _BURNED_IN in dataset else []
    answers: Mapping[str, BurnedIn] = {"YES": "yes", "NO": "no"}
    burned_in = answers.get(stated[0].upper(), "unknown") if stated else "unknown"
    return out, Manifest(policy.version, EDITION, MappingProxyType(dict(run.counts)), burned_in)


class _Run:
    """One pass over one object."""

    def __init__(self, dataset: Dataset, policy: Policy) -> None:
        self.policy = policy
        self.counts: Counter[str] = Counter()
        self.patient = {tag: _identity(dataset, tag) for tag in (_PATIENT_ID, _PATIENT_NAME)}

    def clean(self, source: Dataset, depth: int, *, strict: bool) -> Dataset:
        """A cleaned copy of one data set or sequence item."""
        if depth > MAX_DEPTH:
            raise InputRejected("dicom_too_deep", f"Sequences are nested more than {MAX_DEPTH} deep.")
        encoding = source.original_character_set
        out = Dataset(parent_encoding=encoding)
        implicit, little = source.original_encoding
        out.set_original_encoding(implicit, little, encoding)
        out.is_undefined_length_sequence_item = source.is_undefined_length_sequence_item
        scheme = _first(source, _CODE_SCHEME)
        public_code = scheme in values.PUBLIC_SCHEMES
        for tag in list(source.keys()):
            if tag.group in (0, 2) or tag.element == 0:
                continue
            if tag.group & 1:
                self.counts["private"] += 1
                continue
            kept = self._element(source, tag, depth, strict and not (public_code and tag in _code_tags()))
            if kept is not None:
                out[tag] = kept
        if self.policy.beyond_table and scheme == "DCM" and _CODE_MEANING in out:
            self._restore_meaning(out)
        return out

    def _element(self, source: Dataset, tag: BaseTag, depth: int, strict: bool) -> Element | None:
        element = source.get_item(tag)
        vr = _vr(element)
        if self.policy.shift_days is not None and int(tag) in dates.MOVED:
            moved = dates.moved(tag, vr, element, self.policy.shift_days)
            if moved is not None:
                self.counts["replaced"] += 1
                return moved
        treatment = treatment_of(int(tag), vr == "SQ")
        if treatment is Treatment.REMOVE:
            self.counts["removed"] += 1
            return None
        if treatment is Treatment.EMPTY and not self._is_patient(tag, element):
            self.counts["emptied"] += 1
            return values.empty(tag, vr)
        if treatment in (Treatment.DUMMY, Treatment.EMPTY, Treatment.DUMMY_CODE):
            return self._dummy(tag, vr, element, treatment)
        if treatment is Treatment.UID:
            return self._uids(tag, element)
        if vr == "SQ":
            return self._sequence(source, tag, depth, strict or treatment is Treatment.CLEAN_STRICTLY)
        return self._outside_table(tag, vr, element, strict)

    def _dummy(self, tag: BaseTag, vr: str, element: Element, treatment: Treatment) -> DataElement:
        if vr == "UI":
            return self._uids(tag, element)
        self.counts["replaced"] += 1
        if treatment is Treatment.DUMMY_CODE:
            return values.dummy_code(tag)
        if self._is_patient(tag, element):
            return DataElement(tag, "PN" if tag == _PATIENT_NAME else "LO", self.policy.pseudonym)
        return values.dummy(tag, vr)

    def _is_patient(self, tag: int, element: Element) -> bool:
        """Whether a nested name or id is that of the object's own patient; other people get no pseudonym of his."""
        known = self.patient.get(tag)
        return known is not None and known == values.texts(element)

    def _uids(self, tag: BaseTag, element: Element) -> DataElement:
        self.counts["uids"] += 1
        mapped = [values.keyed_uid(uid, self.policy.uid_key) for uid in values.texts(element)]
        return DataElement(tag, "UI", mapped[0] if len(mapped) == 1 else mapped or None)

    def _sequence(self, source: Dataset, tag: BaseTag, depth: int, strict: bool) -> DataElement | None:
        element = source[tag]  # parses the items of a sequence of defined length
        if element.VR != "SQ":
            # The dictionary says sequence, the bytes say otherwise: nobody can tell what is in there.
            self.counts["removed"] += 1
            return None
        self.counts["sequences"] += 1
        items = [self.clean(item, depth + 1, strict=strict) for item in element.value]
        cleaned = DataElement(tag, "SQ", Sequence(items))
        cleaned.is_undefined_length = element.is_undefined_length
        return cleaned

    def _outside_table(self, tag: BaseTag, vr: str, element: Element, strict: bool) -> Element | None:
        if self.policy.beyond_table and tag.group & 0xFF00 == 0x6000:
            # The table takes the overlay's data and comments; what is left names a plane that is no longer there.
            self.counts["beyond_table"] += 1
            return None
        if strict and vr in _STRICT_TEXT:
            self.counts["replaced"] += 1
            return values.dummy(tag, vr)
        if strict and vr == "UN":
            self.counts["removed"] += 1
            return None
        self.counts["kept" if known_vr(tag) else "unknown"] += 1
        if not isinstance(element, RawDataElement):
            return copy(element)
        if element.value is None:
            return element._replace(value=b"", length=0)
        if tag == _PIXEL_DATA and element.length == _UNDEFINED and self.policy.beyond_table:
            value, blanked = blank_comments(element.value)
            self.counts["beyond_table"] += blanked
            return element._replace(value=value)
        return element

    def _restore_meaning(self, item: Dataset) -> None:
        """A DCM code means what PS3.16 says; other text in its meaning is somebody's note."""
        value = next((v for tag in _CODE_VALUES if (v := _first(item, tag))), "")
        meaning = values.dcm_meaning(value)
        stated = _first(item, _CODE_MEANING)
        if meaning is not None and " ".join(stated.split()).casefold() != meaning.casefold():
            item[_CODE_MEANING] = DataElement(_CODE_MEANING, "LO", meaning[:64])
            self.counts["beyond_table"] += 1


def _code_tags() -> tuple[int, ...]:
    return (*_CODE_VALUES, _CODE_SCHEME, _CODE_SCHEME_VERSION, _CODE_MEANING)


def _vr(element: Element) -> str:
    """The value representation, from the dictionary where the file does not say."""
    vr = element.VR
    return (known_vr(element.tag) or "UN") if vr is None or vr == "UN" else str(vr)


def _first(dataset: Dataset, tag: int) -> str:
    found = values.texts(dataset.get_item(tag)) if tag in dataset else []
    return found[0] if found else ""


def _identity(dataset: Dataset, tag: int) -> list[str] | None:
    """The top-level value, None when absent or empty, so that an empty nested value matches nobody."""
    found = values.texts(dataset.get_item(tag)) if tag in dataset else []
    return found if any(found) else None

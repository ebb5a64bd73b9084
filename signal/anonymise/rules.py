"""Which attribute is treated how: Table E.1-1 with its compound actions resolved.

A compound action leaves the choice to the attribute's type in the object at hand (PS3.15 E.3): type 1 needs a dummy,
type 2 may be empty, type 3 may go. teleread does not carry the object definitions, so it takes the choice that is
valid for every type and still hides the value:

====================  =====================  =================================================
code                  single value           sequence
====================  =====================  =================================================
``X``                 removed                removed
``Z``                 zero length            no items
``D`` or with ``D``   dummy of the right VR  kept, cleaned strictly inside; a sequence of codes
                                             (``...CodeSequence``) becomes one dummy code
``X/Z``               zero length            no items (Referenced Study Sequence: removed)
``U`` or with ``U``   keyed UID              kept, cleaned inside, references mapped
``K``, ``C``          dummy                  kept, cleaned strictly inside (no options here)
====================  =====================  =================================================

*Cleaned strictly*: besides the table, every text, date, time and unknown value in the items is replaced too, and
codes of schemes that are not public lose value and meaning, because the standard asks for the whole sequence to be a
dummy. Numbers, enumerated values, references and public codes stay, so that a structured report keeps its measurements.
"""

from __future__ import annotations

from enum import Enum
from functools import lru_cache

from pydicom.datadict import keyword_for_tag

from teleread.signal.anonymise.e11_table import ACTIONS, PATTERNS

_REFERENCED_STUDY_SEQUENCE = 0x00081110


class Treatment(Enum):
    """What happens to one element."""

    KEEP = "keep"
    REMOVE = "remove"
    EMPTY = "empty"
    DUMMY = "dummy"
    DUMMY_CODE = "dummy_code"
    UID = "uid"
    CLEAN = "clean"
    CLEAN_STRICTLY = "clean_strictly"


def action_for(tag: int) -> str | None:
    """The code of Table E.1-1 for a tag, ``"X"`` for private attributes, None for tags outside the table."""
    if tag >> 16 & 1:
        return "X"
    action = ACTIONS.get(tag)
    if action is None:
        for mask, value, pattern_action in PATTERNS:
            if tag & mask == value:
                return pattern_action
    return action


@lru_cache(maxsize=8192)
def treatment_of(tag: int, sequence: bool) -> Treatment:
    """The safe resolution of the table's action; see the module's table."""
    action = action_for(tag)
    if action is None:
        return Treatment.CLEAN if sequence else Treatment.KEEP
    parts = set(action.replace("*", "").split("/"))
    if parts == {"X"}:
        return Treatment.REMOVE
    if "U" in parts:
        return Treatment.CLEAN if sequence else Treatment.UID
    if parts & {"D", "C", "K"}:
        if not sequence:
            return Treatment.DUMMY
        return Treatment.DUMMY_CODE if keyword_for_tag(tag).endswith("CodeSequence") else Treatment.CLEAN_STRICTLY
    if tag == _REFERENCED_STUDY_SEQUENCE:
        return Treatment.REMOVE
    return Treatment.EMPTY

"""Which electrodes to look at, from the findings on a recording: what the picture of the torso marks. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_OF_LEAD = {
    "I": ("RA", "LA"),
    "II": ("RA", "LL"),
    "III": ("LA", "LL"),
    "aVR": ("RA",),
    "aVL": ("LA",),
    "aVF": ("LL",),
}
_NAMED = {"arms-legs": ("RA", "LA", "LL", "RL")}
_REMEDIES = frozenset({"reattach_electrode", "check_limb_electrodes", "check_chest_electrodes"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where an electrode lies in the picture, and its colour by IEC 60601-2-25 (code 1)."""

    code: str
    x: int
    y: int
    colour: str


PLACES = (
    Place("RA", 22, 62, "#d0021b"),
    Place("LA", 178, 62, "#f5c400"),
    Place("RL", 62, 214, "#111111"),
    Place("LL", 138, 214, "#138a36"),
    Place("V1", 90, 104, "#d0021b"),
    Place("V2", 110, 104, "#f5c400"),
    Place("V3", 119, 117, "#138a36"),
    Place("V4", 129, 130, "#8a5a2b"),
    Place("V5", 145, 131, "#111111"),
    Place("V6", 159, 131, "#7b2fa0"),
)
"""On a torso of 200 × 236, seen from the front: the patient's right is on the left."""


def marked(findings: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Codes of the electrodes that findings ask to look at, in the picture's order; none where the patient is first."""
    found: set[str] = set()
    for one in findings:
        if one.get("fault") == "all_leads_bad":
            return ()
        if one.get("remedy") not in _REMEDIES:
            continue
        electrode, lead = one.get("electrode"), one.get("lead")
        if electrode:
            found.update(_NAMED.get(electrode, tuple(str(electrode).split("-"))))
        elif lead:
            found.update(_OF_LEAD.get(str(lead), (str(lead),)))
    return tuple(place.code for place in PLACES if place.code in found)
